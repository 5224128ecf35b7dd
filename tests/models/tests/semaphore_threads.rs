//! The semaphore's algorithm with the machine's atomics and Linux' futex.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

use core::sync::atomic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[rustfmt::skip] // It is formatted as relibc is.
#[path = "../../../recipes/relibc/files/src/sync/semaphore_word.rs"]
pub mod semaphore_word;

use semaphore_word::{Full, SemaphoreWord, VALUE_MAX};

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

fn wake(address: *mut u32) {
    #[allow(unsafe_code)]
    // SAFETY: a wake-up accesses no memory.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE, 1) };
}

/// Sleeps for at most `timeout`, then fails.
fn sleep(address: *mut u32, timeout: Option<Duration>) -> Result<(), TimedOut> {
    let timeout = timeout.map(|timeout| libc::timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    #[allow(unsafe_code)]
    // SAFETY: both pointers outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAIT, 0, timeout) };
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) if result == -1 => Err(TimedOut),
        _ => Ok(()),
    }
}

fn address(word: &SemaphoreWord) -> *mut u32 {
    std::ptr::from_ref(word).cast_mut().cast()
}

fn post(word: &SemaphoreWord) -> Result<(), Full> {
    let address = address(word);
    word.post(|| wake(address))
}

fn wait(word: &SemaphoreWord, timeout: Option<Duration>) -> Result<(), TimedOut> {
    word.wait(|| sleep(address(word), timeout), || wake(address(word)))
}

#[test]
fn value_counts_posts_and_takes() {
    let word = SemaphoreWord::new(1);
    post(&word).unwrap();
    assert_eq!(word.value(), 2);
    assert!(word.try_take());
    assert_eq!(wait(&word, None), Ok(()));
    assert!(!word.try_take());
    assert_eq!((word.value(), word.waiters()), (0, 0));
}

#[test]
fn a_full_semaphore_refuses_a_post() {
    let word = SemaphoreWord::new(VALUE_MAX);
    assert_eq!(post(&word), Err(Full));
    assert_eq!(word.value(), VALUE_MAX);
    assert!(word.try_take());
    assert_eq!(post(&word), Ok(()));
}

#[test]
fn nobody_is_woken_without_waiters() {
    let word = SemaphoreWord::new(0);
    let woken = AtomicU32::new(0);
    word.post(|| _ = woken.fetch_add(1, Ordering::Relaxed)).unwrap();
    assert_eq!(woken.into_inner(), 0);
}

#[test]
fn giving_up_is_not_waiting_any_more() {
    let word = SemaphoreWord::new(0);
    assert_eq!(wait(&word, Some(Duration::from_millis(1))), Err(TimedOut));
    assert_eq!((word.value(), word.waiters()), (0, 0));
}

#[test]
fn waiters_are_counted_while_they_wait() {
    let word = SemaphoreWord::new(0);
    let mut waiters_inside = 0;
    let result = word.wait(
        || {
            waiters_inside = word.waiters();
            Err(TimedOut)
        },
        || (),
    );
    assert_eq!((result, waiters_inside), (Err(TimedOut), 1));
}

/// The value is what eventd and the futex read: the first four bytes.
#[test]
fn value_is_at_the_address_of_the_word() {
    let word = SemaphoreWord::new(0x0102_0304);
    #[allow(unsafe_code)]
    // SAFETY: the word is eight bytes that nobody else uses.
    let first_half = unsafe { address(&word).read() };
    assert_eq!(first_half, word.value());
}

/// Many threads wait, try and give up; every token that was posted is taken once or is left.
#[test]
fn no_token_is_lost_or_made_up_under_load() {
    const POSTS: u32 = 100_000;
    let word = Arc::new(SemaphoreWord::new(0));
    let taken = Arc::new(AtomicU32::new(0));

    let takers: Vec<_> = (0..6_u32)
        .map(|index| {
            let word = Arc::clone(&word);
            let taken = Arc::clone(&taken);
            thread::spawn(move || {
                // The last tokens are one for each thread, so that no wait is for ever.
                while taken.fetch_add(1, Ordering::Relaxed) < 2 * POSTS {
                    match index {
                        0 | 1 => wait(&word, None).unwrap(),
                        2 | 3 => while wait(&word, Some(Duration::from_micros(20))).is_err() {},
                        _ => {
                            while !word.try_take() {
                                thread::yield_now();
                            }
                        }
                    }
                }
            })
        })
        .collect();
    let posters: Vec<_> = (0..2)
        .map(|_| {
            let word = Arc::clone(&word);
            thread::spawn(move || (0..POSTS).for_each(|_| post(&word).unwrap()))
        })
        .collect();

    for thread in takers.into_iter().chain(posters) {
        thread.join().unwrap();
    }
    assert_eq!((word.value(), word.waiters()), (0, 0));
}

/// One token goes to and fro between two threads: a wake-up that is lost ends it.
#[test]
fn ping_pong_does_not_stop() {
    let table = Arc::new([SemaphoreWord::new(0), SemaphoreWord::new(0)]);
    let started = Instant::now();
    let other = thread::spawn({
        let table = Arc::clone(&table);
        move || {
            for _ in 0..20_000 {
                wait(&table[0], None).unwrap();
                post(&table[1]).unwrap();
            }
        }
    });
    for _ in 0..20_000 {
        post(&table[0]).unwrap();
        wait(&table[1], None).unwrap();
    }
    other.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(60));
}
