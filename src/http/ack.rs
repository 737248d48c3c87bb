//! When a client is told that its write succeeded: once as many backends have it as `ack` asks.
//!
//! Called by the write endpoint. Pure but for the waiting.

use crate::config::Ack;
use crate::fanout::Answers;
use crate::write::{Answer, Refusal};

/// Why a write did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// This output, by its index, refused it.
    Refused(usize, Refusal),
    /// Too few backends took it, and none refused.
    Unavailable,
}

/// Waits until enough backends have delivered, or keep it in their backlogs. Otherwise gives, once
/// all have answered, what the first backend in the file's order that refused said: the same
/// answer whoever was faster.
/// A backend whose filter lets nothing pass is not asked, and not counted.
pub(super) async fn settle(mut answers: Answers, ack: Ack) -> Result<(), Failure> {
    let mut missing = match ack {
        Ack::Any => answers.asked.min(1),
        Ack::Quorum if answers.asked == 0 => 0,
        Ack::Quorum => answers.asked / 2 + 1,
        Ack::All => answers.asked,
    };
    let mut refused: Option<(usize, Refusal)> = None;
    while missing > 0 {
        let Some((output, answer)) = answers.receiver.recv().await else {
            let failure = refused.map(|(output, refusal)| Failure::Refused(output, refusal));
            return Err(failure.unwrap_or(Failure::Unavailable));
        };
        match answer {
            // What a backend keeps in its backlog it will get.
            Answer::Delivered | Answer::Buffered => missing -= 1,
            Answer::Refused(refusal) => {
                if refused.as_ref().is_none_or(|(first, _)| output < *first) {
                    refused = Some((output, refusal));
                }
            }
            Answer::Unavailable => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{self, Wakes};
    use Answer::{Buffered, Delivered, Refused, Unavailable};
    use bytes::Bytes;

    fn refusal(status: u16) -> Answer {
        Refused(Refusal { status, content_type: None, error: None, body: Bytes::new() })
    }

    /// The status of a refusal, or `None` for "unavailable".
    fn outcome(ack: Ack, answers: Vec<(usize, Answer)>) -> Result<(), Option<u16>> {
        let asked = answers.len();
        let (sender, receiver) = answers::channel();
        for (output, answer) in answers {
            sender.send(output, answer, &mut Wakes::default());
        }
        drop(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(settle(Answers { asked, receiver }, ack)).map_err(
            |failure| match failure {
                Failure::Refused(_, refusal) => Some(refusal.status),
                Failure::Unavailable => None,
            },
        )
    }

    #[test]
    fn one_delivery_is_enough_and_refusals_are_ranked_by_output() {
        assert_eq!(outcome(Ack::Any, vec![(1, refusal(400)), (0, Delivered)]), Ok(()));
        assert_eq!(outcome(Ack::All, vec![(1, Delivered), (0, Buffered)]), Ok(()));
        let late_first = vec![(2, refusal(404)), (1, refusal(400)), (0, Unavailable)];
        assert_eq!(outcome(Ack::Any, late_first), Err(Some(400)));
        assert_eq!(outcome(Ack::Any, vec![(0, Unavailable), (1, Unavailable)]), Err(None));
    }

    #[test]
    fn all_and_most_are_counted_among_those_that_were_asked() {
        for ack in [Ack::Any, Ack::Quorum, Ack::All] {
            assert_eq!(outcome(ack, Vec::new()), Ok(()), "nobody had to be asked");
            assert_eq!(outcome(ack, vec![(0, Delivered)]), Ok(()));
        }
        let two_of_three = || vec![(0, Delivered), (1, Unavailable), (2, Delivered)];
        assert_eq!(outcome(Ack::Quorum, two_of_three()), Ok(()));
        assert_eq!(outcome(Ack::All, two_of_three()), Err(None));
        let one_of_two = || vec![(1, refusal(404)), (0, Delivered)];
        assert_eq!(outcome(Ack::Quorum, one_of_two()), Err(Some(404)));
        assert_eq!(outcome(Ack::Any, one_of_two()), Ok(()));
        let two_refuse = vec![(2, refusal(404)), (0, Delivered), (1, refusal(400))];
        assert_eq!(outcome(Ack::All, two_refuse), Err(Some(400)));
    }
}
