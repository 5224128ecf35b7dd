//! The counter cell under loom: every order in which clients and eventd can run, as far as the bound goes.
//!
//! A sleeper that nobody wakes although it could go on makes a model fail as a deadlock.
#![allow(clippy::unwrap_used)] // A lock of loom's is never poisoned.

mod orders;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;
use orders::{explore, spawn};

#[allow(missing_docs)] // They are those of core.
pub mod atomic {
    //! loom's atomics, with what C++ promises for SeqCst and loom leaves out.
    //!
    //! loom takes SeqCst for little more than AcqRel. Of the one order of all SeqCst steps the cell uses only this: of two threads that each write and
    //! then read what the other writes, one sees the other. So a SeqCst read that comes after a SeqCst write finds the newest value, which loom gives to
    //! read-modify-writes only. Every other read may find an old one, but not the read in an exchange that fails.

    use std::cell::Cell;

    pub use loom::sync::atomic::Ordering;
    use loom::sync::atomic::Ordering::{Acquire, SeqCst};

    loom::thread_local! {
        static WROTE_IN_ORDER: Cell<bool> = Cell::new(false);
    }

    fn wrote(ordering: Ordering) {
        if ordering == SeqCst {
            WROTE_IN_ORDER.with(|wrote| wrote.set(true));
        }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                pub fn load(&self, ordering: Ordering) -> $value {
                    match ordering {
                        SeqCst if WROTE_IN_ORDER.with(Cell::get) => self.0.fetch_or(0, Acquire),
                        SeqCst => self.0.load(Acquire),
                        _ => self.0.load(ordering),
                    }
                }

                pub fn store(&self, value: $value, ordering: Ordering) {
                    // loom leaves open which came first, a store or a read-modify-write that it takes for a read.
                    if ordering == SeqCst {
                        _ = self.0.swap(value, ordering)
                    } else {
                        self.0.store(value, ordering)
                    }
                    wrote(ordering);
                }

                pub fn fetch_add(&self, value: $value, ordering: Ordering) -> $value {
                    let before = self.0.fetch_add(value, ordering);
                    wrote(ordering);
                    before
                }

                pub fn fetch_or(&self, bits: $value, ordering: Ordering) -> $value {
                    let before = self.0.fetch_or(bits, ordering);
                    wrote(ordering);
                    before
                }

                pub fn fetch_and(&self, bits: $value, ordering: Ordering) -> $value {
                    let before = self.0.fetch_and(bits, ordering);
                    wrote(ordering);
                    before
                }

                pub fn compare_exchange(
                    &self,
                    seen: $value,
                    wanted: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let result = self.0.compare_exchange(seen, wanted, success, failure);
                    if result.is_ok() {
                        wrote(success);
                    }
                    result
                }
            }
        };
    }
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}

#[path = "../../../shim/src/cell.rs"]
pub mod cell;

use atomic::Ordering::Relaxed;
use cell::{After, Cell, Gate, Interest, MAX, Mode, Readiness, Refused, Side};

/// The threads of a model, by numbers that it gives them.
type Thread = usize;

/// Why a thread does not sleep on: a signal, or it is killed. For the cell it is the same.
#[derive(Debug, PartialEq, Eq)]
struct Interrupted;

#[derive(Default)]
struct Sleepers {
    asleep: Vec<Thread>,
    interrupted: Vec<Thread>,
}

#[derive(Default)]
struct Futex {
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

impl Futex {
    fn wait(&self, gate: &Gate, word: u32, me: Thread) -> Result<(), Interrupted> {
        let mut sleepers = self.sleepers.lock().unwrap();
        if gate.word().load(Relaxed) != word {
            return Ok(());
        }
        sleepers.asleep.push(me);
        while sleepers.asleep.contains(&me) && !sleepers.interrupted.contains(&me) {
            sleepers = self.changed.wait(sleepers).unwrap();
        }
        sleepers.asleep.retain(|thread| *thread != me);
        if sleepers.interrupted.contains(&me) { Err(Interrupted) } else { Ok(()) }
    }

    fn wake_all(&self) {
        self.sleepers.lock().unwrap().asleep.clear();
        self.changed.notify_all();
    }

    fn interrupt(&self, thread: Thread) {
        self.sleepers.lock().unwrap().interrupted.push(thread);
        self.changed.notify_all();
    }
}

/// What eventd knows of the counter besides its cell.
#[derive(Default)]
struct Eventd {
    polled: bool,
    announced: Vec<Readiness>,
    parked_reads: usize,
    answers: Vec<u64>,
    parked_writes: Vec<u64>,
}

/// A counter with its sleepers and eventd. Calls to eventd take its lock, since it handles one after the other.
struct Counter {
    cell: Cell,
    readers: Futex,
    writers: Futex,
    eventd: Mutex<Eventd>,
}

impl Counter {
    fn new(count: u64, mode: Mode) -> Arc<Self> {
        let cell = Cell::default();
        cell.open(count, mode, false);
        Arc::new(Self { cell, readers: Futex::default(), writers: Futex::default(), eventd: Mutex::default() })
    }

    fn read(&self, me: Thread) -> Result<Result<u64, Refused>, Interrupted> {
        let attempt = || self.cell.read(Side::Client);
        let result = match attempt() {
            Err(Refused::WouldBlock) => {
                let gate = self.cell.readable();
                gate.wait(attempt, |word| self.readers.wait(gate, word, me))?
            }
            result => result,
        };
        Ok(result.map(|(value, after)| {
            self.follow_read(after);
            value
        }))
    }

    fn write(&self, value: u64, me: Thread) -> Result<Result<(), Refused>, Interrupted> {
        let attempt = || self.cell.write(value, Side::Client);
        let result = match attempt() {
            Err(Refused::WouldBlock) => {
                let gate = self.cell.writable();
                gate.wait(attempt, |word| self.writers.wait(gate, word, me))?
            }
            result => result,
        };
        Ok(result.map(|after| self.follow_write(after)))
    }

    fn follow_read(&self, after: After) {
        if after.wake {
            self.cell.writable().wake(|| self.writers.wake_all());
        }
        if after.tell {
            self.settle(&mut self.eventd());
        }
    }

    fn follow_write(&self, after: After) {
        if after.wake {
            self.cell.readable().wake(|| self.readers.wake_all());
        }
        if after.tell {
            self.settle(&mut self.eventd());
        }
    }

    fn eventd(&self) -> MutexGuard<'_, Eventd> {
        self.eventd.lock().unwrap()
    }

    /// eventd looks at the cell, for all who wait for it there.
    fn settle(&self, eventd: &mut Eventd) {
        while eventd.parked_reads > 0
            && let Ok((value, after)) = self.cell.read(Side::Eventd)
        {
            eventd.parked_reads -= 1;
            eventd.answers.push(value);
            if after.wake {
                self.cell.writable().wake(|| self.writers.wake_all());
            }
        }
        eventd.parked_writes.retain(|value| match self.cell.write(*value, Side::Eventd) {
            Ok(after) => {
                if after.wake {
                    self.cell.readable().wake(|| self.readers.wake_all());
                }
                false
            }
            Err(_) => true,
        });
        if eventd.polled {
            eventd.announced.push(self.cell.readiness());
        }
        if !eventd.polled && eventd.parked_reads == 0 && eventd.parked_writes.is_empty() {
            self.cell.set_interest(Interest::None);
        }
    }

    /// A read of a client that does not map.
    fn unmapped_read(&self) {
        let eventd = &mut self.eventd();
        eventd.parked_reads += 1;
        self.cell.set_interest(Interest::Parked);
        self.settle(eventd);
    }

    /// A write of a client that does not map.
    fn unmapped_write(&self, value: u64) {
        let eventd = &mut self.eventd();
        eventd.parked_writes.push(value);
        self.cell.set_interest(Interest::Parked);
        self.settle(eventd);
    }

    /// Somebody polls from now on, and is told the readiness at once.
    fn poll(&self) {
        let eventd = &mut self.eventd();
        eventd.polled = true;
        self.cell.set_interest(Interest::Parked);
        self.settle(eventd);
    }

    fn last_announced(&self) -> Readiness {
        *self.eventd().announced.last().unwrap()
    }
}

/// A reader that is about to sleep does not miss the write.
fn a_write_reaches_a_reader_falling_asleep(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(0, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        assert_eq!(counter.write(1, 0), Ok(Ok(())));
        assert_eq!(reader.join().unwrap(), Ok(Ok(1)));
        assert_eq!(counter.cell.count(), 0);
    });
}

/// A writer that is about to sleep does not miss the read that makes room.
fn a_read_reaches_a_writer_falling_asleep(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(MAX, mode);
        let writer = spawn(&counter, |counter| counter.write(1, 1));
        let value = counter.read(0).unwrap().unwrap();
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        assert_eq!(counter.cell.count(), MAX - value + 1);
    });
}

/// A sleeper that is interrupted or killed at any moment takes nothing along, whether it was first or second.
fn a_sleeper_that_goes_leaves_the_write_to_the_other(mode: Mode) {
    explore(2, move || {
        let counter = Counter::new(0, mode);
        let goes = spawn(&counter, |counter| counter.read(1));
        let stays = spawn(&counter, |counter| counter.read(2));
        let signal = spawn(&counter, |counter| counter.readers.interrupt(1));
        assert_eq!(counter.write(1, 0), Ok(Ok(())));
        if goes.join().unwrap().is_ok() {
            assert_eq!(counter.write(1, 0), Ok(Ok(())));
        }
        assert_eq!(stays.join().unwrap(), Ok(Ok(1)));
        signal.join().unwrap();
    });
}

/// A sleeper that is long gone does not swallow the wake-up, which also clears what it left.
fn a_sleeper_that_is_gone_costs_one_wake_up(mode: Mode) {
    explore(3, move || {
        let counter = Counter::new(0, mode);
        let goes = spawn(&counter, |counter| counter.read(1));
        counter.readers.interrupt(1);
        assert_eq!(goes.join().unwrap(), Err(Interrupted));
        let after = counter.cell.write(1, Side::Client).unwrap();
        assert!(after.wake);
        let stays = spawn(&counter, |counter| counter.read(2));
        counter.follow_write(after);
        assert_eq!(stays.join().unwrap(), Ok(Ok(1)));
    });
}

/// Somebody who writes is killed in the middle of waking the readers. The next who writes wakes them.
fn a_killed_waker_is_made_up_for(mode: Mode) {
    explore(2, move || {
        let counter = Counter::new(0, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        if counter.cell.write(1, Side::Client).unwrap().wake {
            let killed =
                catch_unwind(AssertUnwindSafe(|| counter.cell.readable().wake(|| resume_unwind(Box::new(())))));
            assert!(killed.is_err());
        }
        assert_eq!(counter.write(1, 0), Ok(Ok(())));
        assert!(reader.join().unwrap().is_ok());
    });
}

/// Two wake at once, and a new sleeper comes in between: neither clears the gate when it sleeps, so the next write wakes it.
fn two_wakers_do_not_clear_for_a_new_sleeper(mode: Mode) {
    explore(3, move || {
        let counter = Counter::new(0, mode);
        let follow = |counter: &Counter| counter.follow_write(After { wake: true, tell: false, polled: false });
        let other = spawn(&counter, follow);
        let reader = spawn(&counter, |counter| counter.read(1));
        follow(&counter);
        other.join().unwrap();
        assert_eq!(counter.write(1, 0), Ok(Ok(())));
        assert_eq!(reader.join().unwrap(), Ok(Ok(1)));
    });
}

/// A write tells a poller, unless the poller has seen it.
fn a_poller_registering_does_not_miss_a_write(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(0, mode);
        let writer = spawn(&counter, |counter| counter.write(1, 1));
        counter.poll();
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        assert!(counter.last_announced().readable);
    });
}

/// The same for room to write.
fn a_poller_registering_does_not_miss_a_read(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(MAX, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        counter.poll();
        assert!(reader.join().unwrap().is_ok());
        assert!(counter.last_announced().writable);
    });
}

/// A read that eventd parks gets what a client writes into the cell.
fn a_write_reaches_a_read_being_parked(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(0, mode);
        let writer = spawn(&counter, |counter| counter.write(1, 1));
        counter.unmapped_read();
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        assert_eq!(counter.eventd().answers, [1]);
    });
}

/// A write that eventd parks gets the room that a client's read makes.
fn a_read_reaches_a_write_being_parked(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(MAX, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        counter.unmapped_write(1);
        assert!(reader.join().unwrap().is_ok());
        assert!(counter.eventd().parked_writes.is_empty());
    });
}

/// eventd writes for a client that does not map, and a client sleeps at the cell.
fn an_unmapped_write_wakes_a_mapped_reader(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(0, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        counter.unmapped_write(1);
        assert_eq!(reader.join().unwrap(), Ok(Ok(1)));
    });
}

/// eventd reads for a client that does not map, and a client sleeps at the full cell.
fn an_unmapped_read_wakes_a_mapped_writer(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(MAX, mode);
        let writer = spawn(&counter, |counter| counter.write(1, 1));
        counter.unmapped_read();
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        assert_eq!(counter.eventd().answers.len(), 1);
    });
}

/// Two reads, one parked and one asleep, and two writes, of which one reader can take both: the other one gets the third.
fn parked_and_sleeping_readers_are_both_served(mode: Mode) {
    explore(1, move || {
        let counter = Counter::new(0, mode);
        let sleeps = spawn(&counter, |counter| counter.read(1));
        let writer = spawn(&counter, |counter| counter.write(1, 2));
        counter.unmapped_read();
        assert_eq!(counter.write(1, 0), Ok(Ok(())));
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        let parked_is_first = !counter.eventd().answers.is_empty();
        if parked_is_first {
            assert_eq!(counter.write(1, 0), Ok(Ok(())));
        }
        assert!(sleeps.join().unwrap().is_ok());
        if !parked_is_first {
            assert_eq!(counter.write(1, 0), Ok(Ok(())));
        }
        assert_eq!(counter.eventd().answers.len(), 1);
    });
}

/// O_NONBLOCK changes beside an operation: no other flag does, and who sleeps sleeps on.
fn changing_a_flag_disturbs_nobody(mode: Mode) {
    explore(2, move || {
        let counter = Counter::new(0, mode);
        let reader = spawn(&counter, |counter| counter.read(1));
        let setter = spawn(&counter, |counter| counter.cell.set_nonblocking(true));
        counter.cell.set_nonblocking(false);
        assert_eq!(counter.write(2, 0), Ok(Ok(())));
        let taken = if mode == Mode::Semaphore { 1 } else { 2 };
        assert_eq!(reader.join().unwrap(), Ok(Ok(taken)));
        setter.join().unwrap();
        assert_eq!(counter.cell.count(), 2 - taken);
        counter.cell.set_nonblocking(true);
        assert!(counter.cell.nonblocking());
    });
}

/// Two reads for one value: one gets it.
fn two_reads_do_not_take_the_same(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(1, mode);
        let other = spawn(&counter, |counter| counter.cell.read(Side::Client).map(|(value, _)| value));
        let mine = counter.cell.read(Side::Client).map(|(value, _)| value);
        let others = other.join().unwrap();
        assert!(matches!((mine, others), (Ok(1), Err(Refused::WouldBlock)) | (Err(Refused::WouldBlock), Ok(1))));
        assert_eq!(counter.cell.count(), 0);
    });
}

/// Of two writes with room for one, one is refused.
fn two_writes_do_not_overflow_together(mode: Mode) {
    explore(5, move || {
        let counter = Counter::new(MAX - 1, mode);
        let other = spawn(&counter, |counter| counter.cell.write(1, Side::Client).map(|_| ()));
        let mine = counter.cell.write(1, Side::Client).map(|_| ());
        let others = other.join().unwrap();
        assert!(matches!((mine, others), (Ok(()), Err(Refused::WouldBlock)) | (Err(Refused::WouldBlock), Ok(()))));
        assert_eq!(counter.cell.count(), MAX);
    });
}

/// A client writes anything anywhere while eventd serves others: eventd comes to an end, and so do honest clients that do not sleep.
fn garbage_harms_nobody_else(mode: Mode) {
    explore(2, move || {
        let counter = Counter::new(1, mode);
        let hostile = spawn(&counter, |counter| {
            counter.cell.close();
            counter.cell.readable().word().store(u32::MAX, Relaxed);
            counter.cell.set_interest(Interest::Parked);
            counter.cell.writable().word().store(1, Relaxed);
            counter.cell.open(MAX, Mode::Semaphore, true);
        });
        counter.unmapped_read();
        counter.unmapped_write(MAX);
        counter.poll();
        let _any = counter.cell.read(Side::Client).map(|(_, after)| counter.follow_read(after));
        hostile.join().unwrap();
    });
}

macro_rules! in_both_modes {
    ($($model:ident),+ $(,)?) => {
        mod counter {
            $(#[test] fn $model() { super::$model(super::Mode::Counter); })+
        }
        mod semaphore {
            $(#[test] fn $model() { super::$model(super::Mode::Semaphore); })+
        }
    };
}

in_both_modes!(
    a_write_reaches_a_reader_falling_asleep,
    a_read_reaches_a_writer_falling_asleep,
    a_sleeper_that_goes_leaves_the_write_to_the_other,
    a_sleeper_that_is_gone_costs_one_wake_up,
    a_killed_waker_is_made_up_for,
    two_wakers_do_not_clear_for_a_new_sleeper,
    a_poller_registering_does_not_miss_a_write,
    a_poller_registering_does_not_miss_a_read,
    a_write_reaches_a_read_being_parked,
    a_read_reaches_a_write_being_parked,
    an_unmapped_write_wakes_a_mapped_reader,
    an_unmapped_read_wakes_a_mapped_writer,
    parked_and_sleeping_readers_are_both_served,
    changing_a_flag_disturbs_nobody,
    two_reads_do_not_take_the_same,
    two_writes_do_not_overflow_together,
    garbage_harms_nobody_else,
);

/// A write of two releases two readers in semaphore mode (semantics 27).
#[test]
fn one_write_releases_two_semaphore_readers() {
    explore(2, || {
        let counter = Counter::new(0, Mode::Semaphore);
        let readers = [spawn(&counter, |counter| counter.read(1)), spawn(&counter, |counter| counter.read(2))];
        assert_eq!(counter.write(2, 0), Ok(Ok(())));
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Ok(Ok(1)));
        }
        assert_eq!(counter.cell.count(), 0);
    });
}

/// In counter mode one reader takes all, and the other one sleeps on until there is more (semantics 27).
#[test]
fn one_write_releases_one_counter_reader() {
    explore(2, || {
        let counter = Counter::new(0, Mode::Counter);
        let readers = [spawn(&counter, |counter| counter.read(1)), spawn(&counter, |counter| counter.read(2))];
        assert_eq!(counter.write(2, 0), Ok(Ok(())));
        while counter.cell.count() != 0 {
            thread::yield_now();
        }
        assert_eq!(counter.write(3, 0), Ok(Ok(())));
        let values = readers.map(|reader| reader.join().unwrap().unwrap().unwrap());
        assert!(values == [2, 3] || values == [3, 2]);
    });
}

/// A writer that needs more room than one read makes sleeps again (semantics 37).
#[test]
fn a_large_write_waits_for_two_semaphore_reads() {
    explore(2, || {
        let counter = Counter::new(MAX, Mode::Semaphore);
        let writer = spawn(&counter, |counter| counter.write(2, 1));
        let reader = spawn(&counter, |counter| counter.read(2));
        assert_eq!(counter.read(0), Ok(Ok(1)));
        assert_eq!(reader.join().unwrap(), Ok(Ok(1)));
        assert_eq!(writer.join().unwrap(), Ok(Ok(())));
        assert_eq!(counter.cell.count(), MAX);
    });
}

/// Who reads a count sees what each of its writers did before.
#[test]
fn writes_publish_what_came_before() {
    explore(2, || {
        let counter = Counter::new(0, Mode::Counter);
        let written = Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
        for index in 0..2 {
            let written = Arc::clone(&written);
            spawn(&counter, move |counter| {
                // Loom finds out if anybody else is there.
                #[allow(unsafe_code)]
                // SAFETY: only this thread uses this cell until the write.
                written[index].with_mut(|cell| unsafe { *cell = index + 1 });
                counter.write(1, index + 1).unwrap().unwrap();
            });
        }
        let mut sum = 0;
        while sum < 2 {
            sum += counter.read(0).unwrap().unwrap();
        }
        for (index, cell) in written.iter().enumerate() {
            #[allow(unsafe_code)]
            // SAFETY: the writers are through with the cells; loom finds out if that is not known here.
            let value = cell.with(|cell| unsafe { *cell });
            assert_eq!(value, index + 1);
        }
    });
}

/// Who sees that it is a cell sees its count.
#[test]
fn opening_publishes_the_count() {
    explore(5, || {
        let counter = Arc::new(Cell::default());
        let opener = thread::spawn({
            let counter = Arc::clone(&counter);
            move || counter.open(7, Mode::Counter, false)
        });
        match counter.read(Side::Client) {
            Ok((value, _)) => assert_eq!(value, 7),
            Err(refused) => assert_eq!(refused, Refused::NotLive),
        }
        opener.join().unwrap();
    });
}
