//! The counter cell without concurrency: every short sequence of operations beside a plain counter, odd contents, and others who never let it be.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

#[allow(missing_docs)] // They are those of core.
pub mod atomic {
    //! core's atomics, with others who change the count before each exchange.

    use std::cell::Cell;
    pub use std::sync::atomic::{AtomicU32, Ordering};

    thread_local! {
        pub static DISTURBANCES: Cell<u32> = const { Cell::new(0) };
        pub static ATTEMPTS: Cell<u32> = const { Cell::new(0) };
    }

    #[derive(Debug, Default)]
    pub struct AtomicU64(std::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        pub fn store(&self, value: u64, ordering: Ordering) {
            self.0.store(value, ordering);
        }

        pub fn compare_exchange(
            &self,
            seen: u64,
            wanted: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            ATTEMPTS.set(ATTEMPTS.get() + 1);
            if DISTURBANCES.get() > 0 {
                DISTURBANCES.set(DISTURBANCES.get() - 1);
                self.0.fetch_xor(1 << 40, Ordering::Relaxed);
            }
            self.0.compare_exchange(seen, wanted, success, failure)
        }
    }
}

#[path = "../../../shim/src/cell.rs"]
pub mod cell;

use atomic::Ordering::SeqCst;
use atomic::{ATTEMPTS, DISTURBANCES};
use cell::{After, Cell, Interest, MAX, Mode, Readiness, Refused, Side};

const IMPOSSIBLE: u64 = MAX + 1;

fn opened(count: u64, mode: Mode) -> Cell {
    let cell = Cell::default();
    cell.open(count, mode, false);
    cell
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Read,
    Write(u64),
    Nonblocking(bool),
}

const OPERATIONS: [Operation; 9] = [
    Operation::Read,
    Operation::Write(0),
    Operation::Write(1),
    Operation::Write(2),
    Operation::Write(MAX - 1),
    Operation::Write(MAX),
    Operation::Write(IMPOSSIBLE),
    Operation::Nonblocking(true),
    Operation::Nonblocking(false),
];

/// What semantics 20-38 say, in numbers that do not overflow.
struct Reference {
    count: u128,
    mode: Mode,
    nonblocking: bool,
}

impl Reference {
    fn read(&mut self) -> Result<u64, Refused> {
        let value = if self.mode == Mode::Semaphore { self.count.min(1) } else { self.count };
        self.count -= value;
        if value == 0 { Err(Refused::WouldBlock) } else { Ok(value.try_into().unwrap()) }
    }

    fn write(&mut self, value: u64) -> Result<(), Refused> {
        if value == u64::MAX {
            return Err(Refused::Invalid);
        }
        if self.count + u128::from(value) > (1 << 64) - 2 {
            return Err(Refused::WouldBlock);
        }
        self.count += u128::from(value);
        Ok(())
    }

    fn apply(&mut self, cell: &Cell, side: Side, operation: Operation) {
        match operation {
            Operation::Read => assert_eq!(cell.read(side).map(|(value, _)| value), self.read()),
            Operation::Write(value) => assert_eq!(cell.write(value, side).map(|_| ()), self.write(value)),
            Operation::Nonblocking(nonblocking) => {
                cell.set_nonblocking(nonblocking);
                self.nonblocking = nonblocking;
            }
        }
        assert_eq!(u128::from(cell.count()), self.count);
        assert_eq!(cell.nonblocking(), self.nonblocking);
        let expected = Readiness { readable: self.count > 0, writable: self.count < (1 << 64) - 2, error: false };
        assert_eq!(cell.readiness(), expected);
    }
}

/// Five operations in every order, from counts at both ends, in both modes.
#[test]
fn as_a_plain_counter_20_38_42_43() {
    for mode in [Mode::Counter, Mode::Semaphore] {
        for start in [0, 1, MAX - 1, MAX] {
            for sequence in 0..OPERATIONS.len().pow(5) {
                let cell = opened(start, mode);
                let mut reference = Reference { count: start.into(), mode, nonblocking: false };
                let mut rest = sequence;
                for step in 0..5 {
                    let side = if step % 2 == 0 { Side::Client } else { Side::Eventd };
                    reference.apply(&cell, side, OPERATIONS[rest % OPERATIONS.len()]);
                    rest /= OPERATIONS.len();
                }
            }
        }
    }
}

#[test]
fn nobody_is_woken_or_told_for_nothing() {
    let cell = opened(0, Mode::Counter);
    let nothing = After { wake: false, tell: false, polled: false };
    assert_eq!(cell.write(1, Side::Client), Ok(nothing));
    assert_eq!(cell.read(Side::Client), Ok((1, nothing)));
}

#[test]
fn each_write_and_each_read_is_heard_of_48_50() {
    let cell = opened(0, Mode::Counter);
    cell.set_interest(Interest::Parked);
    assert!(cell.write(0, Side::Client).unwrap().tell);
    assert!(cell.write(1, Side::Client).unwrap().tell);
    assert!(cell.write(1, Side::Client).unwrap().tell);
    assert!(cell.read(Side::Client).unwrap().1.tell);
    cell.set_interest(Interest::Polled);
    assert_eq!(cell.write(1, Side::Client), Ok(After { wake: false, tell: true, polled: true }));
    cell.set_interest(Interest::Parked);
    assert_eq!(cell.write(1, Side::Client), Ok(After { wake: false, tell: true, polled: false }));
    cell.set_interest(Interest::None);
    assert!(!cell.write(1, Side::Client).unwrap().tell);
}

/// A write wakes readers, and a read writers.
#[test]
fn sleepers_are_woken_by_what_they_wait_for() {
    let cell = opened(2, Mode::Semaphore);
    let gone = |_| Err(());
    assert_eq!(cell.readable().wait(|| Err::<(), _>(Refused::WouldBlock), gone), Err(()));
    assert!(!cell.read(Side::Client).unwrap().1.wake);
    assert!(cell.write(1, Side::Client).unwrap().wake);
    assert_eq!(cell.writable().wait(|| Err::<(), _>(Refused::WouldBlock), gone), Err(()));
    assert!(cell.read(Side::Client).unwrap().1.wake);
}

/// The gate's number changes with each wake-up, and the gate is clear after it.
#[test]
fn a_wake_up_changes_and_clears_the_gate() {
    let cell = opened(0, Mode::Counter);
    for _ in 0..3 {
        let mut words = Vec::new();
        let result: Result<Result<(), _>, ()> = cell.readable().wait(
            || Err(Refused::WouldBlock),
            |word| {
                assert_eq!(cell.readable().word().load(SeqCst), word);
                words.push(word);
                let after = cell.write(0, Side::Client).unwrap();
                assert!(after.wake);
                cell.readable().wake(|| assert_ne!(cell.readable().word().load(SeqCst), word));
                assert!(!cell.write(0, Side::Client).unwrap().wake);
                if words.len() == 2 { Err(()) } else { Ok(()) }
            },
        );
        assert_eq!(result, Err(()));
        assert_ne!(words[0], words[1]);
    }
}

#[test]
fn a_wait_ends_with_any_other_answer() {
    let cell = opened(0, Mode::Counter);
    let awake = |_| Ok::<(), ()>(());
    assert_eq!(cell.readable().wait(|| Err::<(), _>(Refused::NotLive), awake), Ok(Err(Refused::NotLive)));
    assert_eq!(cell.readable().wait(|| Ok(7), awake), Ok(Ok(7)));
}

#[test]
fn clients_stay_away_from_what_is_no_cell() {
    let zeros = Cell::default();
    assert_eq!(zeros.read(Side::Client), Err(Refused::NotLive));
    assert_eq!(zeros.write(1, Side::Client), Err(Refused::NotLive));
    assert_eq!(zeros.count(), IMPOSSIBLE);
    let closed = Cell::default();
    closed.open(3, Mode::Counter, true);
    closed.close();
    assert_eq!(closed.read(Side::Client), Err(Refused::NotLive));
    assert_eq!(closed.write(0, Side::Client), Err(Refused::NotLive));
    assert_eq!((closed.read_at_once(), closed.write_at_once(1)), (None, None));
    assert!(!closed.nonblocking());
    assert!(!zeros.is_known() && !closed.is_known() && opened(0, Mode::Counter).is_known());
}

#[test]
fn at_once_is_one_attempt() {
    for mode in [Mode::Counter, Mode::Semaphore] {
        let (once, cell) = (opened(3, mode), opened(3, mode));
        while let Some(taken) = once.read_at_once() {
            assert_eq!(cell.read(Side::Client), Ok(taken));
        }
        assert_eq!((once.count(), cell.read(Side::Client)), (0, Err(Refused::WouldBlock)));
        assert_eq!(once.write_at_once(MAX).map(Ok), Some(cell.write(MAX, Side::Client)));
        assert_eq!((once.write_at_once(1), once.write_at_once(u64::MAX), once.count()), (None, None, MAX));
        DISTURBANCES.set(1);
        assert_eq!(once.read_at_once(), None);
        assert!(once.read_at_once().is_some());
        DISTURBANCES.set(1);
        assert_eq!(once.write_at_once(0), None);
        once.set_interest(Interest::Parked);
        assert_eq!(once.write_at_once(0), Some(After { wake: false, tell: true, polled: false }));
    }
}

/// eventd serves what a client made unusable.
#[test]
fn eventd_reads_an_impossible_count_28_44() {
    let cell = opened(1, Mode::Counter);
    cell.close();
    assert_eq!(cell.readiness(), Readiness { readable: true, writable: false, error: true });
    assert_eq!(cell.write(0, Side::Eventd), Err(Refused::WouldBlock));
    assert_eq!(cell.read(Side::Eventd).unwrap().0, IMPOSSIBLE);
    assert!(cell.write(1, Side::Eventd).is_ok());
}

/// Others who always come in between end an operation after a while, which has changed nothing.
#[test]
fn tries_are_bounded() {
    for side in [Side::Client, Side::Eventd] {
        for mode in [Mode::Counter, Mode::Semaphore] {
            let cell = opened(1, mode);
            DISTURBANCES.set(u32::MAX);
            ATTEMPTS.set(0);
            assert_eq!(cell.read(side), Err(Refused::Contended));
            assert_eq!(cell.write(1, side), Err(Refused::Contended));
            assert!(ATTEMPTS.get() <= 2000);
            DISTURBANCES.set(0);
            assert_eq!(cell.count() & !(1 << 40), 1);
        }
    }
}

/// A few others do not.
#[test]
fn a_few_failed_tries_are_made_up_for() {
    let cell = opened(1, Mode::Counter);
    DISTURBANCES.set(500);
    assert!(cell.write(1, Side::Client).is_ok());
    assert_eq!(cell.count() & !(1 << 40), 2);
    DISTURBANCES.set(0);
}
