//! Where the count of an eventfd is: in a cell of eventd's own, or, once a client has asked for it, in one that clients map.

use core::ops::Deref;
use core::sync::atomic::{Ordering, fence};

use eventd_shim::cell::{Cell, Gate, Interest, MAX, Mode};

use super::{Readiness, Sleepers};

/// The cell of an eventfd. `P` is what clients map, and has the cell in it.
///
/// Clients that map it change the count at any time, to anything.
#[derive(Debug)]
pub struct Counter<P> {
    /// Kept here as well: the cell's flags are whatever clients make of them.
    mode: Mode,
    own: Cell,
    shared: Option<P>,
}

impl<P: Deref<Target = Cell>> Counter<P> {
    /// A counter that starts at `initval` (semantics 1), in a cell of its own.
    #[must_use]
    pub fn new(initval: u32, mode: Mode) -> Self {
        let own = Cell::default();
        own.open(initval.into(), mode, false);
        Self { mode, own, shared: None }
    }

    /// The cell that counts.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        self.shared.as_deref().unwrap_or(&self.own)
    }

    /// What clients map. There is none before the first has asked.
    #[must_use]
    pub fn shared(&self) -> Option<&P> {
        self.shared.as_ref()
    }

    /// Moves the count to the cell in `page`, which nobody else has yet, as nobody else ever has the one that it leaves. So nothing happens in between.
    pub(super) fn share(&mut self, page: P, interest: Interest) {
        page.open(self.own.count(), self.mode, self.own.nonblocking());
        page.set_interest(interest);
        self.shared = Some(page);
    }

    /// What clients map, after the end of the counter: those who use it, and those who come to use it, see that it has ended.
    pub(super) fn end(self) -> Option<P> {
        self.cell().close();
        // Before the look for those who sleep: who comes later sees the end.
        fence(Ordering::SeqCst);
        self.shared
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cell().count()
    }

    /// What a read takes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The largest value that can be added now.
    #[must_use]
    pub fn room(&self) -> u64 {
        MAX.saturating_sub(self.count())
    }

    /// Semantics 42 and 43. An impossible count is readable and leaves no room; Redox's events have no POLLERR.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let readiness = self.cell().readiness();
        Readiness { readable: readiness.readable, writable: readiness.writable }
    }

    /// Where clients sleep.
    #[must_use]
    pub fn gate(&self, sleepers: Sleepers) -> &Gate {
        match sleepers {
            Sleepers::Readers => self.cell().readable(),
            Sleepers::Writers => self.cell().writable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use eventd_shim::cell::{Cell, Interest, MAX, Mode, Refused, Side};

    type Counter = super::Counter<Rc<Cell>>;

    fn take(counter: &Counter) -> Option<u64> {
        counter.cell().read(Side::Eventd).ok().map(|(value, _)| value)
    }

    fn add(counter: &Counter, value: u64) -> Result<(), Refused> {
        counter.cell().write(value, Side::Eventd).map(|_| ())
    }

    #[test]
    fn counter_read_takes_all_20() {
        let counter = Counter::new(5, Mode::Counter);
        assert_eq!(take(&counter), Some(5));
        assert_eq!(take(&counter), None);
    }

    #[test]
    fn semaphore_read_takes_one_21() {
        let counter = Counter::new(2, Mode::Semaphore);
        assert_eq!((take(&counter), take(&counter), take(&counter)), (Some(1), Some(1), None));
    }

    #[test]
    fn maximum_34_35_36() {
        let counter = Counter::new(1, Mode::Counter);
        assert_eq!(add(&counter, MAX), Err(Refused::WouldBlock));
        assert_eq!(counter.count(), 1);
        assert_eq!(add(&counter, MAX - 1), Ok(()));
        assert_eq!(add(&counter, 1), Err(Refused::WouldBlock));
        assert_eq!(add(&counter, 0), Ok(()));
        assert_eq!((counter.count(), counter.room()), (MAX, 0));
    }

    #[test]
    fn readiness_42_43() {
        let counter = Counter::new(0, Mode::Counter);
        assert!(!counter.readiness().readable && counter.readiness().writable);
        assert_eq!(add(&counter, MAX - 1), Ok(()));
        assert!(counter.readiness().readable && counter.readiness().writable);
        assert_eq!(add(&counter, 1), Ok(()));
        assert!(counter.readiness().readable && !counter.readiness().writable);
    }

    #[test]
    fn what_there_was_is_in_the_page() {
        for mode in [Mode::Counter, Mode::Semaphore] {
            let mut counter = Counter::new(3, mode);
            counter.cell().set_nonblocking(true);
            let page = Rc::new(Cell::default());
            counter.share(Rc::clone(&page), Interest::Parked);
            assert!(page.nonblocking());
            assert_eq!(page.write(4, Side::Client).map(|after| (after.wake, after.tell)), Ok((false, true)));
            assert_eq!(take(&counter), Some(if mode == Mode::Counter { 7 } else { 1 }));
            assert!(counter.end().is_some_and(|ended| Rc::ptr_eq(&ended, &page)));
            assert_eq!(page.read(Side::Client), Err(Refused::NotLive));
        }
    }

    #[test]
    fn an_impossible_count_leaves_no_room_28() {
        let mut counter = Counter::new(3, Mode::Counter);
        let page = Rc::new(Cell::default());
        counter.share(Rc::clone(&page), Interest::None);
        page.close();
        assert_eq!((counter.count(), counter.room()), (u64::MAX, 0));
        assert!(counter.readiness().readable && !counter.readiness().writable);
        assert_eq!(take(&counter), Some(u64::MAX));
    }
}
