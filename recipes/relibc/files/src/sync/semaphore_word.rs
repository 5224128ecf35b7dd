//! The algorithm of a POSIX semaphore, in one 64-bit word and without anything of relibc.
//!
//! The low half is the value and what the futex looks at; the high half counts the threads that
//! are waiting. With both in one word, a post learns in the step in which it hands out its token
//! whether anybody has to be woken, and need not look at the memory again.
//!
//! The module above decides what atomics these are: `core`'s in relibc, loom's in the models of
//! `tests/models`.

use super::atomic::{AtomicU64, Ordering};

/// The largest value of a semaphore, `SEM_VALUE_MAX`.
pub const VALUE_MAX: u32 = 0x7fff_ffff;

const TOKEN: u64 = 1;
const WAITER: u64 = 1 << 32;

/// The value of the semaphore is at its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The word. It may lie in memory shared by processes, each of which has this code.
///
/// A waiter that is killed by SIGKILL stays counted. From then on every post asks the kernel to
/// wake somebody, mostly for nothing; no token is lost by it.
#[derive(Debug)]
#[repr(transparent)]
pub struct SemaphoreWord(AtomicU64);

impl SemaphoreWord {
    /// A word without waiters. `value` is at most [`VALUE_MAX`].
    pub fn new(value: u32) -> Self {
        Self(AtomicU64::new(u64::from(value)))
    }

    /// The value, which may be another one by now.
    pub fn value(&self) -> u32 {
        value(self.0.load(Ordering::Relaxed))
    }

    /// How many threads are waiting, which may be other ones by now.
    pub fn waiters(&self) -> u32 {
        waiters(self.0.load(Ordering::Relaxed))
    }

    /// Adds a token. `wake` is called if anybody may be asleep: it has to wake a sleeper, and may
    /// not touch the memory of the semaphore.
    ///
    /// No lock is taken, so a signal handler can call this whatever it has interrupted.
    pub fn post(&self, wake: impl FnOnce()) -> Result<(), Full> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if value(seen) >= VALUE_MAX {
                return Err(Full);
            }
            // Release: who takes the token sees all that happened before the post. Every other
            // step is a read-modify-write too, so a later one does not end that release sequence,
            // and a taker synchronises with all posts before it, not only with the last.
            match self.0.compare_exchange_weak(
                seen,
                seen + TOKEN,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        // The token is out: another thread may take it and free the memory. What is needed to
        // know was in the same word. A waiter counted only after this exchange finds the token.
        if waiters(seen) > 0 {
            wake();
        }
        Ok(())
    }

    /// Takes a token if there is one. Does not fail while there is.
    pub fn try_take(&self) -> bool {
        self.take(self.0.load(Ordering::Relaxed), TOKEN)
    }

    /// Takes a token, and sleeps until there is one.
    ///
    /// `sleep` returns at once unless the value is 0, compared under the lock that `wake` takes.
    /// It may return early. When it fails, this thread gives up for that reason; if `wake` may
    /// have chosen it in the same moment, nothing is lost.
    pub fn wait<E>(
        &self,
        mut sleep: impl FnMut() -> Result<(), E>,
        wake: impl FnOnce(),
    ) -> Result<(), E> {
        // No lost wake-up: all steps on the word have one order, whatever their orderings. A post
        // that comes after this step sees the waiter, and calls `wake`. That comes either before
        // the comparison in `sleep`, which then sees the post's value or a later one, as the lock
        // orders the two, or after this thread has lain down, and wakes it or another sleeper. A
        // post that comes before this step is seen by it. Relaxed: nothing is published here.
        let mut seen = self
            .0
            .fetch_add(WAITER, Ordering::Relaxed)
            .wrapping_add(WAITER);
        loop {
            // Taking and not waiting any more is one step, so no post calls `wake` for a waiter
            // that is already served.
            if self.take(seen, TOKEN + WAITER) {
                return Ok(());
            }
            if let Err(reason) = sleep() {
                self.leave(wake);
                return Err(reason);
            }
            // Relaxed: only a hint. The exchange that takes the token makes sure of it.
            seen = self.0.load(Ordering::Relaxed);
        }
    }

    /// Stops waiting without a token.
    fn leave(&self, wake: impl FnOnce()) {
        // Relaxed: nothing is published. A post before this step has counted this thread, and may
        // have spent its `wake` on it; a post after it has not. In the first case the token of
        // that post is seen here, or another thread has it already.
        let left = self
            .0
            .fetch_sub(WAITER, Ordering::Relaxed)
            .wrapping_sub(WAITER);
        if value(left) > 0 && waiters(left) > 0 {
            wake();
        }
    }

    /// Subtracts `what`, a token and perhaps a waiter, unless the value is 0.
    fn take(&self, mut seen: u64, what: u64) -> bool {
        while value(seen) > 0 {
            // Acquire: see the Release in `post`.
            match self.0.compare_exchange_weak(
                seen,
                seen - what,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }
}

fn value(word: u64) -> u32 {
    word as u32
}

fn waiters(word: u64) -> u32 {
    (word >> 32) as u32
}
