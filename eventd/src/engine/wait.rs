//! Lists of those who wait for one object.

use std::collections::BTreeMap;
use std::collections::btree_map::{self, OccupiedEntry};

/// A position in a [`WaitList`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place(u64);

/// A first-in-first-out list that entries can leave from anywhere.
///
/// Every operation costs the logarithm of the length of this list at most. An empty list owns no memory, so that idle objects stay small.
#[derive(Debug)]
pub(super) struct WaitList<W> {
    waiting: BTreeMap<Place, W>,
    /// Arrivals are numbered: at one per nanosecond the numbers last for 584 years.
    arrivals: u64,
}

impl<W> WaitList<W> {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), arrivals: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds an entry at the end.
    pub(super) fn join(&mut self, waiter: W) -> Place {
        let place = Place(self.arrivals);
        self.arrivals += 1;
        self.waiting.insert(place, waiter);
        place
    }

    /// The entry that waits longest.
    pub(super) fn first(&mut self) -> Option<OccupiedEntry<'_, Place, W>> {
        self.waiting.first_entry()
    }

    /// The first entry after `place` (from the beginning if that is none).
    pub(super) fn after(&mut self, place: Option<Place>) -> Option<(Place, &W)> {
        let from = place.map_or(Place(0), |place| Place(place.0 + 1));
        self.waiting.range(from..).next().map(|(place, waiter)| (*place, waiter))
    }

    pub(super) fn leave(&mut self, place: Place) -> Option<W> {
        self.waiting.remove(&place)
    }

    /// All entries, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &W> {
        self.waiting.values()
    }

    /// Empties the list, in order of arrival.
    pub(super) fn drain(&mut self) -> btree_map::IntoValues<Place, W> {
        std::mem::take(&mut self.waiting).into_values()
    }
}
