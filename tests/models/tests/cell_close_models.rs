//! The counter cell under loom while another thread closes the descriptor: at any moment the page is replaced by one with a closed cell.
#![allow(clippy::unwrap_used)] // A lock of loom's is never poisoned.

mod orders;

use loom::sync::{Arc, Condvar, Mutex};
use orders::{explore, spawn};

#[allow(missing_docs)] // They are those of core.
pub mod atomic {
    //! loom's atomics, each of them twice: in the page of the counter, and in the one that takes its place in the process that closes.
    //!
    //! Orderings are the business of `cell_models.rs`. Here nothing is stale, which loom only gives to read-modify-writes.

    use std::cell::Cell;

    pub use loom::sync::atomic::Ordering;
    use loom::sync::atomic::Ordering::SeqCst;

    loom::lazy_static! {
        static ref REPLACED: loom::sync::atomic::AtomicUsize = loom::sync::atomic::AtomicUsize::new(0);
    }
    loom::thread_local! {
        static IN_OTHER_PROCESS: Cell<bool> = Cell::new(false);
    }

    /// Which page this thread finds.
    pub fn page() -> usize {
        if IN_OTHER_PROCESS.with(Cell::get) { 0 } else { REPLACED.fetch_add(0, SeqCst) }
    }

    /// What a thread of another process does, which keeps the counter's page.
    pub fn in_other_process<T>(work: impl FnOnce() -> T) -> T {
        IN_OTHER_PROCESS.with(|other| other.set(true));
        work()
    }

    pub fn map(page: usize) {
        REPLACED.store(page, SeqCst);
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub struct $name([loom::sync::atomic::$name; 2]);

            impl $name {
                pub fn load(&self, _ordering: Ordering) -> $value {
                    self.0[page()].fetch_add(0, SeqCst)
                }

                pub fn store(&self, value: $value, ordering: Ordering) {
                    self.0[page()].store(value, ordering);
                }

                pub fn fetch_add(&self, value: $value, ordering: Ordering) -> $value {
                    self.0[page()].fetch_add(value, ordering)
                }

                pub fn fetch_or(&self, bits: $value, ordering: Ordering) -> $value {
                    self.0[page()].fetch_or(bits, ordering)
                }

                pub fn fetch_and(&self, bits: $value, ordering: Ordering) -> $value {
                    self.0[page()].fetch_and(bits, ordering)
                }

                pub fn compare_exchange(
                    &self,
                    seen: $value,
                    wanted: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0[page()].compare_exchange(seen, wanted, success, failure)
                }
            }
        };
    }
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}

#[path = "../../../shim/src/cell.rs"]
pub mod cell;

use atomic::Ordering::SeqCst;
use atomic::{in_other_process, map, page};
use cell::{Cell, MAX, Mode, Refused, Side};

/// A counter, and a futex for its readers that knows its sleepers by page.
struct Counter {
    cell: Cell,
    asleep: Mutex<Vec<usize>>,
    changed: Condvar,
}

impl Counter {
    fn new(count: u64, mode: Mode) -> Arc<Self> {
        let cell = Cell::default();
        map(1);
        cell.close();
        map(0);
        cell.open(count, mode, false);
        Arc::new(Self { cell, asleep: Mutex::default(), changed: Condvar::new() })
    }

    fn sleep(&self, word: u32) -> Result<(), ()> {
        let mut asleep = self.asleep.lock().unwrap();
        let page = page();
        if self.cell.readable().word().load(SeqCst) != word {
            return Ok(());
        }
        asleep.push(page);
        while asleep.contains(&page) {
            asleep = self.changed.wait(asleep).unwrap();
        }
        Ok(())
    }

    fn wake_all(&self) {
        let page = page();
        self.asleep.lock().unwrap().retain(|asleep| *asleep != page);
        self.changed.notify_all();
    }

    fn count_and_dummy(&self) -> (u64, u64) {
        map(0);
        let count = self.cell.count();
        map(1);
        (count, self.cell.count())
    }
}

/// A write is added to the counter, or refused; it does not go to the page that replaces it.
#[test]
fn a_write_beside_a_close_is_added_or_refused() {
    explore(5, || {
        let counter = Counter::new(1, Mode::Counter);
        let writer = spawn(&counter, |counter| counter.cell.write(2, Side::Client).map(|_| ()));
        map(1);
        match writer.join().unwrap() {
            Ok(()) => assert_eq!(counter.count_and_dummy(), (3, MAX + 1)),
            Err(refused) => {
                assert_eq!(refused, Refused::NotLive);
                assert_eq!(counter.count_and_dummy(), (1, MAX + 1));
            }
        }
    });
}

/// A read takes what is in the counter, or is refused; it does not take what the replacement holds.
fn a_read_beside_a_close_takes_or_is_refused(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(1, mode);
        let reader = spawn(&counter, |counter| counter.cell.read(Side::Client).map(|(value, _)| value));
        map(1);
        match reader.join().unwrap() {
            Ok(value) => {
                assert_eq!(value, 1);
                assert_eq!(counter.count_and_dummy(), (0, MAX + 1));
            }
            Err(refused) => {
                assert_eq!(refused, Refused::NotLive);
                assert_eq!(counter.count_and_dummy(), (1, MAX + 1));
            }
        }
    });
}

#[test]
fn a_read_beside_a_close_takes_or_is_refused_as_a_counter() {
    a_read_beside_a_close_takes_or_is_refused(Mode::Counter);
}

#[test]
fn a_read_beside_a_close_takes_or_is_refused_as_a_semaphore() {
    a_read_beside_a_close_takes_or_is_refused(Mode::Semaphore);
}

/// A reader that is about to sleep while its descriptor is closed comes back: another process writes. It does not sleep on the replacement.
#[test]
fn a_sleeper_beside_a_close_comes_back() {
    explore(3, || {
        let counter = Counter::new(0, Mode::Counter);
        let reader = spawn(&counter, |counter| {
            counter.cell.readable().wait(|| counter.cell.read(Side::Client), |word| counter.sleep(word))
        });
        let writer = spawn(&counter, |counter| {
            in_other_process(|| {
                let after = counter.cell.write(2, Side::Client).unwrap();
                if after.wake {
                    counter.cell.readable().wake(|| counter.wake_all());
                }
            });
        });
        map(1);
        match reader.join().unwrap().unwrap() {
            Ok((value, _)) => assert_eq!(value, 2),
            Err(refused) => assert_eq!(refused, Refused::NotLive),
        }
        writer.join().unwrap();
    });
}
