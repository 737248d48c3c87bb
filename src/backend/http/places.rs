//! The places of destinations, which are costly to find out: the last is remembered.
//!
//! Used by the sender loop.

use crate::write::Destination;
use std::sync::Arc;

/// The last destination, and its place: that of the next is most often the same.
#[derive(Debug, Default)]
pub(super) struct Places(Option<(Arc<Destination>, Arc<Destination>)>);

impl Places {
    /// The place of a destination.
    pub(super) fn of(&mut self, destination: &Arc<Destination>) -> Arc<Destination> {
        match &self.0 {
            Some((last, place)) if last == destination => Arc::clone(place),
            _ => {
                let place = Arc::new(destination.place());
                self.0 = Some((Arc::clone(destination), Arc::clone(&place)));
                place
            }
        }
    }
}
