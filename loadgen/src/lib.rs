//! `loadgen`: makes line protocol load, receives it, proves that nothing was lost, and measures
//! relays.
//!
//! ```text
//! payload (line) -> generator (pace) -> target -> sink -> ledger (line, sequence)
//!                                                              |
//! bench: starts a relay as the target, reads its counters, -> books -> report
//! drain: how fast a relay works off what lies in its sockets
//! compare: several relays in turns; floor: the least that a relay can do, as the measure
//! ```
//!
//! The proof shares no code with the relay: lines, sequences and sinks are this program's own.
//! Only [`floor`] is made of the relay's ring, so that both receive in the same way.

pub mod arguments;
pub mod bench;
pub mod books;
pub mod compare;
pub mod demo;
pub mod drain;
pub mod floor;
pub mod generator;
pub mod interrupt;
pub mod kernel;
pub mod ledger;
pub mod line;
pub mod pace;
pub mod payload;
pub mod relay;
pub mod report;
pub mod sequence;
pub mod sink;
pub mod standalone;
