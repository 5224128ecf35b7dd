//! The counter cell with the machine's atomics and Linux' futex.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

use core::sync::atomic;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../../../shim/src/cell.rs"]
pub mod cell;

use cell::{After, Cell, Gate, Interest, MAX, Mode, Refused, Side};

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

fn wake_all(gate: &Gate) {
    #[allow(unsafe_code)]
    // SAFETY: a wake-up accesses no memory.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, gate.word().as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Sleeps for at most `timeout`, then fails.
fn sleep(gate: &Gate, word: u32, timeout: Option<Duration>) -> Result<(), TimedOut> {
    let timeout = timeout.map(|timeout| libc::timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    #[allow(unsafe_code)]
    // SAFETY: both pointers outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, gate.word().as_ptr(), libc::FUTEX_WAIT, word, timeout) };
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) if result == -1 => Err(TimedOut),
        _ => Ok(()),
    }
}

/// A read or write: `attempt`, waiting at `gate` where it has to, and then waking who sleeps at `other`.
fn operate<T>(
    attempt: impl Fn() -> Result<(T, After), Refused>,
    gate: &Gate,
    other: &Gate,
    timeout: Option<Duration>,
) -> Result<T, TimedOut> {
    let result = match attempt() {
        Err(Refused::WouldBlock) => gate.wait(&attempt, |word| sleep(gate, word, timeout))?,
        result => result,
    };
    let (value, after) = result.unwrap();
    if after.wake {
        other.wake(|| wake_all(other));
    }
    Ok(value)
}

fn read(cell: &Cell, timeout: Option<Duration>) -> Result<u64, TimedOut> {
    operate(|| cell.read(Side::Client), cell.readable(), cell.writable(), timeout)
}

fn write(cell: &Cell, value: u64, timeout: Option<Duration>) -> Result<(), TimedOut> {
    operate(|| cell.write(value, Side::Client).map(|after| ((), after)), cell.writable(), cell.readable(), timeout)
}

fn opened(count: u64, mode: Mode) -> Cell {
    let cell = Cell::default();
    cell.open(count, mode, false);
    cell
}

/// Some sleep until they are woken, some give up all the time.
fn patience(thread: u64) -> Option<Duration> {
    thread.is_multiple_of(2).then_some(Duration::from_micros(20))
}

/// What is written is read, once: nothing is lost, nothing is made up, nobody sleeps beside it.
#[test]
fn the_sum_read_is_the_sum_written() {
    const WRITES: u64 = 5_000_000;
    let cell = opened(0, Mode::Counter);
    let sum_read = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|index| {
                let (cell, sum_read, ended) = (&cell, &sum_read, &ended);
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        if let Ok(value) = read(cell, patience(index)) {
                            sum_read.fetch_add(value, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let writers = [1, 2, 3].map(|value| {
            let cell = &cell;
            scope.spawn(move || (0..WRITES).for_each(|_| write(cell, value, None).unwrap()))
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::Relaxed);
        // Releases those who fell asleep in the end.
        let mut written = WRITES * (1 + 2 + 3);
        while !readers.iter().all(thread::ScopedJoinHandle::is_finished) {
            write(&cell, 1, None).unwrap();
            written += 1;
            thread::yield_now();
        }
        written
    });
    assert_eq!(sum_read.into_inner() + cell.count(), written);
}

/// As many reads as tokens were written come back, with readers that sleep at zero.
#[test]
fn every_token_is_read_once() {
    const WRITES: u64 = 3_000_000;
    let cell = opened(0, Mode::Semaphore);
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        for index in 0..4 {
            let (cell, begun) = (&cell, &begun);
            scope.spawn(move || {
                while begun.fetch_add(1, Ordering::Relaxed) < WRITES * (1 + 2) {
                    while read(cell, patience(index)).is_err() {}
                }
            });
        }
        for value in 1..=2 {
            let cell = &cell;
            scope.spawn(move || (0..WRITES).for_each(|_| write(cell, value, None).unwrap()));
        }
    });
    assert_eq!(cell.count(), 0);
}

/// The same at the other end, with writers that sleep for want of room.
#[test]
fn every_write_gets_its_room() {
    const WRITES: u64 = 2_000_000;
    let cell = opened(MAX - 3, Mode::Semaphore);
    thread::scope(|scope| {
        for value in 1..=3 {
            let cell = &cell;
            scope.spawn(move || {
                for _ in 0..WRITES {
                    while write(cell, value, patience(value)).is_err() {}
                }
            });
            scope.spawn(move || (0..WRITES * value).for_each(|_| assert_eq!(read(cell, None), Ok(1))));
        }
    });
    assert_eq!(cell.count(), MAX - 3);
}

/// One value goes to and fro between two threads: a wake-up that is lost ends it.
#[test]
fn ping_pong_does_not_stop() {
    let cells = [opened(0, Mode::Counter), opened(0, Mode::Counter)];
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                let value = read(&cells[0], None).unwrap();
                write(&cells[1], value, None).unwrap();
            }
        });
        for value in 1..=20_000 {
            write(&cells[0], value, None).unwrap();
            assert_eq!(read(&cells[1], None), Ok(value));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// eventd comes to an end with every operation beside a client that never stops to write nonsense.
#[test]
fn eventd_goes_on_beside_nonsense() {
    let cell = opened(0, Mode::Counter);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 1_u64;
            while !ended.load(Ordering::Relaxed) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match seed >> 62 {
                    0 => cell.close(),
                    1 => cell.open(seed, Mode::Semaphore, true),
                    _ => cell.open(seed, Mode::Counter, false),
                }
                for gate in [cell.readable(), cell.writable()] {
                    gate.word().store(seed as u32, Ordering::Relaxed);
                }
            }
        });
        for value in 0..300_000 {
            let _any = cell.write(value, Side::Eventd);
            let _any = cell.read(Side::Eventd);
            cell.set_interest([Interest::None, Interest::Polled, Interest::Parked][value as usize % 3]);
            cell.readable().wake(|| wake_all(cell.readable()));
        }
        ended.store(true, Ordering::Relaxed);
    });
}

/// What a write and a read cost beside those of Linux' eventfd. Run by hand, with `--release --ignored --nocapture`.
#[test]
#[ignore = "measures, and needs a machine that does nothing else"]
fn cost_of_a_write_and_a_read() {
    fn nanoseconds(rounds: u32, mut pair: impl FnMut()) -> f64 {
        let mut medians: Vec<_> = (0..9)
            .map(|_| {
                let started = Instant::now();
                (0..rounds).for_each(|_| pair());
                started.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        medians[4]
    }
    for mode in [Mode::Counter, Mode::Semaphore] {
        let cell = opened(0, mode);
        let ours = nanoseconds(5_000_000, || {
            write(black_box(&cell), 1, None).unwrap();
            assert_eq!(read(black_box(&cell), None), Ok(1));
        });
        println!("{mode:?}: {ours:.1} ns");
    }
    #[allow(unsafe_code)]
    // SAFETY: takes no pointers.
    let eventfd = unsafe { libc::eventfd(0, 0) };
    let native = nanoseconds(500_000, || {
        let mut value = 1_u64;
        let buffer = std::ptr::from_mut(&mut value).cast();
        #[allow(unsafe_code)]
        // SAFETY: the buffer has the eight bytes.
        let moved = unsafe { (libc::write(eventfd, buffer, 8), libc::read(eventfd, buffer, 8)) };
        assert_eq!(moved, (8, 8));
    });
    println!("native: {native:.1} ns");
}
