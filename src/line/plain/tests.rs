//! What `plain` vouches for and what it leaves; and that whatever it does, wherever its blocks and
//! looks begin and end, the lines are those that are found byte by byte.

use super::super::simd::Portable;
use super::super::{Instructions, Item, Line, Lines};
use super::*;
use crate::timestamp::Precision;
use proptest::prelude::*;

const NS: Precision = Precision::Nanosecond;

/// The ends of the lines that one look finds.
fn found(input: &str) -> Vec<usize> {
    let mut found = Found::new();
    let limit = TimeLimit::new(NS);
    let input = input.as_bytes();
    Portable.run(Find { input, start: 0, limit, found: &mut found });
    std::iter::from_fn(|| found.take())
        .inspect(|&(end, stamped)| {
            let line = input[..end].rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
            let words = line.split(|&byte| byte == b' ').count();
            assert!(line.contains(&b'"') || stamped == (words == 3), "{}", line.escape_ascii());
        })
        .map(|(end, _)| end)
        .collect()
}

#[test]
fn common_lines_are_vouched_for() {
    for line in [
        "m f=1",
        "m f=1 5",
        "m,a=b f=1.5,g=-2i,h=1. 1434055562000000000\nn f=12\n",
        "m,a=b,c=d,ab=x f=1,g=true,h=F,i=-0.5",
        "cpu,container_id=1,container_name=2,'a'=! 'f'=1",
        "m a=9223372036854775807,b=1795438713082740999i,c=-8999999999999999999i",
        "m,a\\ b=c\\,d f\\ g=1,h=\"x, y=\\\"z\\\" # \t\",i=\"\" 7",
    ] {
        let ends: Vec<_> = line.match_indices('\n').map(|(at, _)| at).collect();
        let ends = if line.ends_with('\n') { ends } else { [ends, vec![line.len()]].concat() };
        for pad in 1..FEW * BLOCK - line.len() {
            let expected: Vec<_> = ends.iter().map(|end| end + pad).collect();
            assert_eq!(found(&format!("{}{line}", "p".repeat(pad))), expected, "{pad} {line}");
        }
    }
}

#[test]
fn other_lines_are_left() {
    for line in [
        ",a=b f=1",
        "m,a=\" f=1",
        "m,a=b,c f=1",
        "m,a f=1",
        "m,a= f=1",
        "m,=b f=1",
        "m,a=b=c f=1",
        "m=1 f=1",
        "m,,a=b f=1",
        "m,a=b, f=1",
        "m",
        "m ",
        "m f",
        "m f=",
        "m =1",
        "m f=1,",
        "m f=1,g",
        "m f=1,=2",
        "m f=1,,g=2",
        "m f=1=2",
        "m,a=b",
        "m  f=1",
        "m f=1 ",
        "m f=1  5",
        "m f=1 5 ",
        "m f=1 5x",
        "m f=1 -",
        "m f=-",
        "m f=--1",
        "m f=1-",
        "m f=-true",
        "m f=1.2.3",
        "m f=i",
        "m f=.",
        "m f=1.5i",
        "m f=1ii",
        "m f=1i2",
        "m f=1e5",
        "m f=\"s\"x",
        "m f=\"s\" \"",
        "m f=1\"s\"",
        "m f=\"s\nt\"",
        "m f=\"s",
        "m f=tru",
        "m f=truex",
        "m\\\\ f=1",
        "m,a=b\\",
        "m f=1\r",
        "#m f=1",
        "\tm f=1",
        " m f=1",
        "m f=9999999999999999999i",
        "m f=10000000000000000000i",
        "m f=1 9999999999999999999",
        "m,a=1,b=2,a=3 f=1",
        "m,container_id=1,container_id=2 f=1",
        "\n",
    ] {
        for pad in 0..BLOCK + 2 {
            let before = format!("m,p={}q f=1 5\n", "p".repeat(pad));
            for after in ["", "\nn f=1 5\n", "\nn f=\"s\" 5\n"] {
                let input = format!("{before}{line}{after}");
                assert_eq!(found(&input), [before.len() - 1], "{input}");
            }
        }
    }
    let apart = format!("m,a=1,b={},a=2 f=1", "v".repeat(BLOCK));
    assert!(found(&apart).is_empty(), "{apart}");
    assert!(found(&format!("m f={}\n", "1".repeat(400))).is_empty());
}

#[test]
fn what_is_not_vouched_for_is_not_looked_at_again_and_again() {
    let mut found = Found::new();
    let mut looks = 0;
    let limit = TimeLimit::new(NS);
    for _ in 0..1_000 {
        if !found.pauses() {
            looks += 1;
            Portable.run(Find { input: b"m f=1e5\n", start: 0, limit, found: &mut found });
        }
    }
    assert!((50..80).contains(&looks), "{looks}");
}

/// The items of datagrams of `part` bytes: one by one, or in runs where there are.
fn items<'a>(
    input: &'a [u8],
    part: usize,
    precision: Precision,
    instructions: Instructions,
    runs: bool,
) -> Vec<Item<'a>> {
    let mut lines = Lines::with(input, part, precision, instructions);
    let mut items = Vec::new();
    loop {
        while let Some(run) = runs.then(|| lines.next_run()).flatten() {
            let offset = run.bytes.as_ptr() as usize - input.as_ptr() as usize;
            let mut start = offset + run.start;
            for &end in run.ends {
                let end = offset + end as usize;
                items.push(Item::Line(Line { bytes: &input[start..end], start, stamped: true }));
                start = end + 1;
            }
        }
        match lines.next() {
            Some(item) => items.push(item),
            None => return items,
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    let pairs = |key: &'static str, value: &'static str, count| {
        prop::collection::vec((key, value).prop_map(|(key, value)| format!("{key}={value}")), count)
    };
    let tags = pairs("[ab]{1,2}|container_[a-d]{1,2}|a\\\\[ ,=]b", "[a-z0-9.-]{1,80}", 0..6);
    let value = "-?[0-9]{1,4}|[0-9]{1,3}\\.[0-9]{0,40}|-?[0-9]{1,5}i|[0-9]{17,20}i?|true|f\
                 |\"[a-z ,=#0-9]{0,90}\"|\"[a\\\\\"]{0,3}\"";
    let stamp = prop_oneof![6 => " 1[0-9]{18}", 2 => "", 1 => " [0-9]{1,20}"];
    let end = prop_oneof![20 => "\n", 1 => "\r\n", 1 => "\n\n"];
    ("[a-z]{1,9}", tags, pairs("[a-z_]{1,9}", value, 1..8), stamp, end).prop_map(
        |(measurement, tags, fields, stamp, end)| {
            let key = [vec![measurement], tags].concat().join(",");
            format!("{key} {}{stamp}{end}", fields.join(","))
        },
    )
}

/// Many lines, of which some bytes may have been replaced.
fn many() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::sample::select(&b",,== \n\r\"\\.-i0123456789eua#\t\0\xc3"[..]);
    let faults = prop::collection::vec((any::<prop::sample::Index>(), bytes), 0..3);
    (prop::collection::vec(line(), 1..40), faults).prop_map(|(lines, faults)| {
        let mut bytes = lines.concat().into_bytes();
        for (at, byte) in faults {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn many_lines_are_as_byte_by_byte_wherever_looks_and_datagrams_end(
        input in many(),
        cut in any::<prop::sample::Index>(),
        part in prop_oneof![1_usize..2_000, Just(usize::MAX)],
        whole_lines in any::<bool>(),
    ) {
        let input = &input[..cut.index(input.len() + 1)];
        // Datagrams of one length, most of which end with their line.
        let line = memchr::memchr(b'\n', input).map_or(input.len(), |end| end + 1);
        let (repeated, part) = if whole_lines {
            ([&input[..line].repeat(70), input].concat(), line)
        } else {
            (input.to_vec(), part)
        };
        let input = &repeated[..];
        let part = part.clamp(1, input.len().max(1));
        for precision in [NS, Precision::Second] {
            let truth = items(input, part, precision, Instructions::Scalar, false);
            let mut separate = Vec::new();
            for (datagram, number) in input.chunks(part).zip(0..) {
                for item in Lines::with(datagram, part, precision, Instructions::Scalar) {
                    separate.push(match item {
                        Item::Line(line) => {
                            Item::Line(Line { start: line.start + number * part, ..line })
                        }
                        refused => refused,
                    });
                }
            }
            prop_assert_eq!(without_numbers(&truth), without_numbers(&separate));
            for instructions in Instructions::all() {
                for runs in [false, true] {
                    let items = items(input, part, precision, instructions, runs);
                    prop_assert_eq!(&items, &truth, "{:?} {} {}", instructions, runs, part);
                }
            }
        }
    }
}

/// The number of a refused line is counted in the whole input.
fn without_numbers<'a>(items: &[Item<'a>]) -> Vec<Item<'a>> {
    let without = |item: &Item<'a>| match *item {
        Item::Refused(mut refused) => {
            refused.number = 0;
            Item::Refused(refused)
        }
        line => line,
    };
    items.iter().map(without).collect()
}
