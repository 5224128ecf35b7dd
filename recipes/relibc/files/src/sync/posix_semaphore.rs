//! POSIX semaphores for targets with 64-bit pointers, in place of `semaphore.rs`.
//!
//! `sem_t` has 8 bytes there. Elsewhere it has 4, too few for value and waiters, and upstream's
//! file is used.

use core::{ptr, sync::atomic};

#[cfg(target_os = "redox")]
use crate::header::errno::EINTR;
use crate::{
    error::{Errno, Result},
    header::{
        bits_timespec::timespec,
        errno::{EAGAIN, EINVAL, EOVERFLOW, ETIMEDOUT},
        time::{CLOCK_MONOTONIC, CLOCK_REALTIME},
    },
    out::Out,
    platform::{
        Pal, Sys,
        types::{c_uint, clockid_t, time_t},
    },
    pthread,
};

#[path = "semaphore_word.rs"]
mod word;
use word::SemaphoreWord;

// The futex and eventd's listing look at the first four bytes, which have to be the value.
const _: () = assert!(cfg!(target_endian = "little"));
// `sem_t`, which programs have compiled in.
const _: () = assert!(size_of::<SemaphoreWord>() == 8);

/// How many sleepers a post wakes.
///
/// One would do. But Redox's kernel keeps in the futex's list whoever has timed out, got a signal
/// or been killed, and counts it as woken: the wake-up of one would now and then go to a thread
/// that is gone, and the sleeper behind it would stay asleep beside a token. Only waking all
/// empties the list. All but one find no token and sleep on.
const WAKE: u32 = if cfg!(target_os = "redox") {
    i32::MAX as u32
} else {
    1
};

/// What `sem_t` holds.
#[derive(Debug)]
#[repr(transparent)]
pub struct Semaphore {
    word: SemaphoreWord,
}

/// A time on one of the two clocks that a semaphore can wait by.
#[derive(Clone, Copy)]
struct Deadline {
    clock: clockid_t,
    nanoseconds: i128,
}

impl Semaphore {
    pub fn new(value: c_uint) -> Self {
        Self {
            word: SemaphoreWord::new(value),
        }
    }

    pub fn value(&self) -> c_uint {
        self.word.value()
    }

    /// Adds one token. Async-signal-safe.
    pub fn post_one(&self) -> Result<()> {
        let address = self.address();
        self.word
            .post(|| wake(address))
            .map_err(|word::Full| Errno(EOVERFLOW))
    }

    /// As upstream's: adds tokens as far as they fit.
    pub fn post(&self, count: c_uint) {
        for _ in 0..count {
            if self.post_one().is_err() {
                return;
            }
        }
    }

    pub fn try_wait(&self) -> bool {
        self.word.try_take()
    }

    /// Takes a token. A deadline is checked even if there is one to be had at once.
    pub fn wait(&self, timeout_opt: Option<&timespec>, clock_id: clockid_t) -> Result<()> {
        let deadline = match timeout_opt {
            Some(timeout) => Some(Deadline::new(timeout, clock_id)?),
            None => None,
        };
        if self.word.try_take() {
            return Ok(());
        }
        // SAFETY: no lock is held and nothing is counted yet, so the thread may end here.
        unsafe { pthread::testcancel() };
        let result = self.block(deadline);
        // Redox's kernel has still got the entry of a thread that gave up, see WAKE, and of a
        // semaphore that is mostly polled with a deadline the list would grow without end. If
        // others wait, the next post empties it.
        if cfg!(target_os = "redox") && result.is_err() && self.word.waiters() == 0 {
            wake(self.address());
        }
        result
    }

    /// Linux runs the handlers inside the system call, and restarts it by the rules that POSIX
    /// programs know: with a deadline never.
    #[cfg(not(target_os = "redox"))]
    fn block(&self, deadline: Option<Deadline>) -> Result<()> {
        let address = self.address();
        self.word
            .wait(|| sleep(address, deadline), || wake(address))
    }

    /// On Redox the handlers are run by libc. A signal that ends the sleep leaves the system call
    /// with success, and the next attempt to sleep is refused with EINTR before it begins, as long
    /// as the signal is pending. So signals are held back from before this thread is counted as a
    /// waiter, and let in when it no longer is: a handler that ends the thread, as cancellation
    /// does, or that jumps out of here, leaves nothing behind, and no signal slips in between the
    /// check and the sleep.
    #[cfg(target_os = "redox")]
    fn block(&self, deadline: Option<Deadline>) -> Result<()> {
        let address = self.address();
        loop {
            let _held_back = redox_rt::signal::tmp_disable_signals();
            match self
                .word
                .wait(|| sleep(address, deadline), || wake(address))
            {
                Err(Errno(EINTR)) => (),
                result => return result,
            }
            // As with a futex of Linux: a wait with a deadline ends after any handler.
            if !run_handlers() || deadline.is_some() {
                return Err(Errno(EINTR));
            }
        }
    }

    fn address(&self) -> *mut u32 {
        ptr::from_ref(&self.word).cast_mut().cast()
    }
}

impl Deadline {
    fn new(time: &timespec, clock: clockid_t) -> Result<Self> {
        if !matches!(clock, CLOCK_REALTIME | CLOCK_MONOTONIC)
            || !(0..1_000_000_000).contains(&time.tv_nsec)
        {
            return Err(Errno(EINVAL));
        }
        Ok(Self {
            clock,
            nanoseconds: nanoseconds(time),
        })
    }

    /// The same time on the monotonic clock, which the futex goes by, or ETIMEDOUT if it has come.
    fn on_futex_clock(self) -> Result<timespec> {
        let left = self.nanoseconds - now(self.clock)?;
        // The kernel takes the seconds without their sign, so negative ones must end here.
        if left <= 0 {
            return Err(Errno(ETIMEDOUT));
        }
        let then = now(CLOCK_MONOTONIC)? + left;
        Ok(timespec {
            tv_sec: time_t::try_from(then / 1_000_000_000).unwrap_or(time_t::MAX),
            tv_nsec: (then % 1_000_000_000) as _,
        })
    }
}

fn nanoseconds(time: &timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn now(clock: clockid_t) -> Result<i128> {
    let mut time = timespec::default();
    Sys::clock_gettime(clock, Out::from_mut(&mut time))?;
    Ok(nanoseconds(&time))
}

/// Sleeps unless the value at `address` is no longer 0. Fails if the deadline has come, a signal
/// wants to be handled, or the futex refuses.
fn sleep(address: *mut u32, deadline: Option<Deadline>) -> Result<()> {
    let until = match deadline {
        Some(deadline) => Some(deadline.on_futex_clock()?),
        None => None,
    };
    match futex_wait(address, until.as_ref()) {
        // The value has changed. Or the kernel says that it is time, which by our clock, asked
        // before the next sleep, can be too early: Redox's monotonic clock goes back a little.
        Err(Errno(EAGAIN | ETIMEDOUT)) => Ok(()),
        result => result,
    }
}

/// Wakes sleepers at `address`, which may no longer be mapped or be something else by now.
fn wake(address: *mut u32) {
    // SAFETY: a wake-up accesses no memory; the address is only a name to the kernel. What lives
    // there by now has to stand a wake-up too many, as all users of futexes do.
    let _failed_for_unmapped_memory = unsafe { Sys::futex_wake(address, WAKE) };
}

#[cfg(not(target_os = "redox"))]
fn futex_wait(address: *mut u32, until: Option<&timespec>) -> Result<()> {
    // SAFETY: the address is in the semaphore that the caller waits for.
    unsafe { Sys::futex_wait(address, 0, until) }
}

/// The bare system call. `Sys::futex_wait` would run handlers, and sleep on after those with
/// SA_RESTART, even with a deadline.
#[cfg(target_os = "redox")]
fn futex_wait(address: *mut u32, until: Option<&timespec>) -> Result<()> {
    let until = until.map(syscall::TimeSpec::from);
    // SAFETY: the address is in the semaphore that the caller waits for, and `until` outlives the
    // call.
    unsafe {
        syscall::syscall5(
            syscall::SYS_FUTEX,
            address as usize,
            syscall::FUTEX_WAIT,
            0,
            until
                .as_ref()
                .map_or(0, |until| ptr::from_ref(until) as usize),
            0,
        )
    }?;
    Ok(())
}

/// Runs the handlers of the pending signals, and tells whether a wait may go on after them.
///
/// Signals are to be held back by the caller.
#[cfg(target_os = "redox")]
fn run_handlers() -> bool {
    let area = redox_rt::RtTcb::current().arch.get();
    // SAFETY: this thread's own, and no handler runs between here and the trampoline. A signal for
    // the process may be gone, as another thread has taken it: then no handler changes this.
    unsafe { (*area).last_sig_was_restart = true };
    // SAFETY: signals are held back, as the trampoline expects.
    unsafe { redox_rt::arch::manually_enter_trampoline() };
    // SAFETY: as above.
    unsafe { (*area).last_sig_was_restart }
}
