//! Packs consecutive lines into datagrams up to an `mtu`. Pure: works on offsets, touches no byte.
//!
//! The newline behind a datagram's last line does not count against the `mtu`. A line that alone
//! is longer is left out and counted; its neighbours are not harmed.

/// A run of whole lines that fits one datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// Offset of its first byte in the batch.
    pub start: usize,
    /// Offset behind its last line's newline.
    pub end: usize,
    /// How many lines it holds.
    pub lines: u64,
}

impl Datagram {
    /// Bytes of payload without the newline behind the last line.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.end - self.start - 1
    }
}

/// Walks the line ends of one batch.
#[derive(Debug)]
pub struct Packer<'a> {
    ends: &'a [u32],
    mtu: usize,
    next: usize,
    start: usize,
    overlong: u64,
}

impl<'a> Packer<'a> {
    /// Packs the lines that end behind `ends` (ascending offsets) into datagrams of `mtu` bytes.
    #[must_use]
    pub fn new(ends: &'a [u32], mtu: usize) -> Self {
        Self { ends, mtu, next: 0, start: 0, overlong: 0 }
    }

    /// Puts the next datagrams into `run`, in order: at most `run.len()` of them, and at most as
    /// many as `bytes_max` bytes hold if each were `mtu` long. Answers how many; 0 is the end.
    pub fn fill(&mut self, run: &mut [Datagram], bytes_max: usize) -> usize {
        let most = run.len().min((bytes_max / self.mtu).max(1));
        let mut count = 0;
        while count < most {
            let Some(datagram) = self.datagram() else { break };
            run[count] = datagram;
            count += 1;
        }
        count
    }

    /// Lines left out so far because each alone is longer than the `mtu`.
    #[must_use]
    pub fn overlong(&self) -> u64 {
        self.overlong
    }

    fn datagram(&mut self) -> Option<Datagram> {
        let first = self.skip_overlong()?;
        let limit = self.start + self.mtu + 1;
        let more = self.ends[first..].iter().take_while(|&&end| end as usize <= limit).count();
        let end = self.ends[first + more - 1] as usize;
        let datagram = Datagram { start: self.start, end, lines: more as u64 };
        self.next = first + more;
        self.start = end;
        Some(datagram)
    }

    /// The next line that fits; its start is then `self.start`.
    fn skip_overlong(&mut self) -> Option<usize> {
        while let Some(&end) = self.ends.get(self.next) {
            if end as usize <= self.start + self.mtu + 1 {
                return Some(self.next);
            }
            self.overlong += 1;
            self.next += 1;
            self.start = end as usize;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(ends: &[u32], mtu: usize) -> (Vec<Datagram>, u64) {
        let mut packer = Packer::new(ends, mtu);
        let mut all = Vec::new();
        let mut run = [Datagram::default(); 4];
        loop {
            match packer.fill(&mut run, 4 * mtu) {
                0 => return (all, packer.overlong()),
                count => all.extend_from_slice(&run[..count]),
            }
        }
    }

    #[test]
    fn the_last_newline_does_not_count() {
        let exact = Datagram { start: 0, end: 11, lines: 1 };
        assert_eq!(pack(&[11], 10), (vec![exact], 0));
        assert_eq!(pack(&[11], 9), (vec![], 1));
    }

    #[test]
    fn an_overlong_line_harms_itself_alone() {
        let (datagrams, overlong) = pack(&[5, 100, 105], 20);
        assert_eq!(overlong, 1);
        assert_eq!(datagrams[0], Datagram { start: 0, end: 5, lines: 1 });
        assert_eq!(datagrams[1], Datagram { start: 100, end: 105, lines: 1 });
    }

    proptest! {
        #[test]
        fn every_line_is_packed_once_in_order_or_counted(
            lengths in proptest::collection::vec(1u32..60, 1..300),
            mtu in 10usize..80,
        ) {
            let ends: Vec<u32> = lengths
                .iter()
                .scan(0, |end, length| { *end += length + 1; Some(*end) })
                .collect();
            let (datagrams, overlong) = pack(&ends, mtu);
            let fits = lengths.iter().filter(|&&length| length as usize <= mtu).count() as u64;
            prop_assert_eq!(overlong, lengths.len() as u64 - fits);
            prop_assert_eq!(datagrams.iter().map(|datagram| datagram.lines).sum::<u64>(), fits);
            prop_assert!(datagrams.iter().all(|datagram| datagram.payload_len() <= mtu));
            prop_assert!(datagrams.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for pair in datagrams.windows(2) {
                let next_line = ends.iter().find(|&&end| end as usize > pair[1].start);
                let longer = next_line.map_or(0, |&end| end as usize) - pair[0].start - 1;
                let greedy = longer > mtu || pair[0].end != pair[1].start;
                prop_assert!(greedy, "the next line would have fitted");
            }
        }
    }
}
