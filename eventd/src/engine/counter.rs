//! The count of an eventfd and its arithmetic.

use super::{Error, Readiness};

/// The largest count that writing can reach (semantics 35).
pub const MAX: u64 = u64::MAX - 1;

/// What a read takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The whole count (semantics 20).
    Counter,
    /// One, as with EFD_SEMAPHORE (semantics 21).
    Semaphore,
}

/// A count between 0 and [`MAX`].
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    count: u64,
    mode: Mode,
}

impl Counter {
    /// A counter that starts at `initval` (semantics 1).
    #[must_use]
    pub fn new(initval: u32, mode: Mode) -> Self {
        Self { count: initval.into(), mode }
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What a read takes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The largest value that can be added now.
    #[must_use]
    pub fn room(&self) -> u64 {
        MAX - self.count
    }

    /// Semantics 42 and 43.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness { readable: self.count > 0, writable: self.room() > 0 }
    }

    /// Takes what a read gets, or nothing from a counter at zero.
    pub fn take(&mut self) -> Option<u64> {
        let value = match self.mode {
            Mode::Counter => self.count,
            Mode::Semaphore => self.count.min(1),
        };
        self.count -= value;
        (value > 0).then_some(value)
    }

    /// Adds `value`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is no room for the whole of it; the count is unchanged then (semantics 35 and 36).
    pub fn add(&mut self, value: u64) -> Result<(), Error> {
        if value > self.room() {
            return Err(Error::WouldBlock);
        }
        self.count += value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, Error, MAX, Mode};

    #[test]
    fn counter_read_takes_all_20() {
        let mut counter = Counter::new(5, Mode::Counter);
        assert_eq!(counter.take(), Some(5));
        assert_eq!(counter.take(), None);
    }

    #[test]
    fn semaphore_read_takes_one_21() {
        let mut counter = Counter::new(2, Mode::Semaphore);
        assert_eq!((counter.take(), counter.take(), counter.take()), (Some(1), Some(1), None));
    }

    #[test]
    fn maximum_34_35_36() {
        let mut counter = Counter::new(1, Mode::Counter);
        assert_eq!(counter.add(MAX), Err(Error::WouldBlock));
        assert_eq!(counter.count(), 1);
        assert_eq!(counter.add(MAX - 1), Ok(()));
        assert_eq!(counter.add(1), Err(Error::WouldBlock));
        assert_eq!(counter.add(0), Ok(()));
        assert_eq!(counter.count(), MAX);
    }

    #[test]
    fn readiness_42_43() {
        let mut counter = Counter::new(0, Mode::Counter);
        assert!(!counter.readiness().readable && counter.readiness().writable);
        assert_eq!(counter.add(MAX - 1), Ok(()));
        assert!(counter.readiness().readable && counter.readiness().writable);
        assert_eq!(counter.add(1), Ok(()));
        assert!(counter.readiness().readable && !counter.readiness().writable);
    }
}
