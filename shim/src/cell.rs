//! The counter of an eventfd in memory that eventd and its clients share, so that reading and writing need no system call while nobody sleeps.
//!
//! Every operation is one exchange on the count, and then two looks: has anybody gone to sleep for want of this, and does eventd want to hear of it?
//! What follows from it is returned; the caller does the waking and telling. Both sides run this code, and neither can rely on what the other
//! wrote: whatever a page holds, nothing here panics, overflows or goes on for ever. Who writes nonsense harms only those who hold the same counter.
//!
//! *No lost wake-up* is twice the same argument. Whoever waits leaves word (in a gate, or as eventd's interest) and looks at the count after that;
//! whoever changes the count looks for word after that. All four steps are SeqCst, so they have one order, in which one of the two comes last and
//! sees what the other did. Any one of them weaker, and both could look too early.
//!
//! *SIGKILL* ends a process between any two steps. A sleeper that is gone costs a needless wake-up. Who is killed after it changed the count and
//! before it woke or told has made a change that nobody hears of; the next operation of the same kind makes up for it, see [`Gate::wake`].
//!
//! *Close beside an operation.* A client finds its cell by the number of the descriptor, so a close in another thread can take the page away in the
//! middle of an operation. The client puts a page in its place, in one step, that holds a [closed](Cell::close) cell and is its own: then
//! - an operation that had not exchanged the count yet is [`Refused::NotLive`] and goes to the kernel, which knows whether the number means
//!   anything. It cannot change the closed cell, so nothing is written into the void and nothing is read out of it. This needs no look at the flags
//!   after the exchange, which could not tell a change before the close from one after it anyway;
//! - an operation that had exchanged the count came before the close. But it looks for word at the closed cell: whom it should have woken sleeps
//!   on, until the next operation of the same kind. To prevent it an operation would have to hold the page, at the price of a second locked
//!   instruction. On Linux a program that closes beside a write may as well get EBADF for the write, or write to another file;
//! - who was about to sleep finds another word at the address and does not sleep. Who is asleep keeps the page where it is, so it is served still, as on
//!   Linux; unless eventd ends the counter, since all have closed it: then it is woken, told `NotLive`, and has to fail with EBADF, since the descriptor
//!   may be another file by now. On Linux it would sleep on, until a signal.
//!
//! Each closed page has to be fresh. Otherwise the word of a gate, left by who was about to sleep on it, could match once more when the number was
//! used for a counter and closed again. So that it costs one call of the system, which has no other fresh pages than such of zeros, a page of zeros is
//! a closed cell: the count is kept with all its bits inverted.
//!
//! The module above decides what atomics these are: `core`'s, or loom's in the models of `tests/models`.

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The largest count that writing can reach (semantics 35).
pub const MAX: u64 = u64::MAX - 1;

/// The count of a closed cell. Nothing can be added to it, and clients do not read it. In memory it is zero.
const CLOSED: u64 = u64::MAX;

/// How often an operation tries to exchange the count.
///
/// Without malice every attempt that fails is another's that succeeded, and this many in a row do not happen.
const TRIES: u32 = 1000;

/// The flag of EFD_SEMAPHORE.
const SEMAPHORE: u32 = 1;
/// The flag of O_NONBLOCK.
const NONBLOCK: u32 = 2;
/// This byte of the flags is the version of the layout. Memory full of zeros is no cell.
const LAYOUT_MASK: u32 = 0xff00_0000;
const LAYOUT: u32 = 0x0100_0000;

/// What a read takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The whole count (semantics 20).
    Counter,
    /// One, as with EFD_SEMAPHORE (semantics 21).
    Semaphore,
}

/// Who operates on a cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// A client, which asks eventd wherever the cell is not as it should be.
    Client,
    /// eventd, which nobody else can help.
    Eventd,
}

/// Why an operation changed nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// There is nothing to read, or no room to write.
    WouldBlock,
    /// The value can never be written (semantics 33).
    Invalid,
    /// The count was another one at each attempt. A client asks eventd.
    ///
    /// eventd takes it for [`WouldBlock`](Self::WouldBlock). If its interest was set before, it loses nothing by that: whoever came in between looks
    /// for it afterwards.
    Contended,
    /// Not for clients: they ask eventd.
    NotLive,
}

/// What eventd wants to hear of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Nothing.
    None,
    /// Changes, for those who poll. The system can tell them as well.
    Polled,
    /// Changes, for requests that it has parked, and for those who poll.
    Parked,
}

/// What has to be done after the count has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct After {
    /// Call [`Gate::wake`]: of the gate for readers after a write, for writers after a read.
    pub wake: bool,
    /// Tell eventd to look at the cell.
    pub tell: bool,
    /// Only those who poll are to hear of it: let the system tell them, if it can.
    pub polled: bool,
}

/// What a counter can be used for without waiting (semantics 42-44).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Readiness {
    /// POLLIN.
    pub readable: bool,
    /// POLLOUT.
    pub writable: bool,
    /// POLLERR: an impossible count.
    pub error: bool,
}

/// Where those sleep who wait for one change of the count: a futex, which may have sleepers of many processes.
///
/// Bit 0 says that somebody may be asleep. The bits above are a number, which a wake-up makes larger by one, and somebody who comes to sleep makes
/// odd. So it only grows; it is even if nobody came since the last wake-up; and who came before a wake-up expects a number that does not return,
/// except after two thousand million wake-ups while it is on its way into the kernel.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Gate(AtomicU32);

const SLEEPERS: u32 = 1;
const ODD: u32 = 2;
const NEXT: u32 = 2;

impl Gate {
    /// What the futex looks at.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Makes `attempt` until it is no longer refused for want of something, and sleeps in between.
    ///
    /// `sleep` has to return if the gate's word is not the given one, compared under the lock that a wake-up takes, and may return early at any
    /// time. If it fails, this is given up, and nothing is left to be undone.
    ///
    /// # Errors
    /// What `sleep` returned.
    pub fn wait<T, E>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Refused>,
        mut sleep: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<Result<T, Refused>, E> {
        loop {
            // SeqCst: the word that is left, before the count is looked at in `attempt`.
            let word = self.0.fetch_or(SLEEPERS | ODD, SeqCst) | SLEEPERS | ODD;
            match attempt() {
                Err(Refused::WouldBlock) => sleep(word)?,
                result => return Ok(result),
            }
        }
    }

    /// Whether [`wake`](Self::wake) is needed.
    #[must_use]
    #[inline]
    pub fn may_have_sleepers(&self) -> bool {
        // SeqCst: the look for word, after the change of the count.
        self.0.load(SeqCst) & SLEEPERS != 0
    }

    /// Wakes all: `wake_all` has to wake whoever sleeps at the gate's word.
    ///
    /// All, since one that is woken can be killed before it takes what it was woken for; and Redox's kernel keeps in the futex's list who is gone,
    /// and counts it as woken.
    ///
    /// The bit is cleared when they are awake, not before: somebody killed in here would leave sleepers behind whom no later operation sees.
    pub fn wake(&self, wake_all: impl FnOnce()) {
        // All who came before this step are either asleep already, and woken below, or will not fall asleep, as the number has grown. Relaxed:
        // it is the look before it that has its place in the one order. Who comes after this step came after that look, and sees the change.
        let word = self.0.fetch_add(NEXT, Relaxed).wrapping_add(NEXT);
        wake_all();
        if word & ODD == 0 {
            // Succeeds unless somebody came, or woke, since the step above: so nobody is asleep. Should it fail without cause, or not come about
            // as the number happened to be odd, the next operation wakes nobody and clears it. Release: not before they are awake.
            let _left_to_others = self.0.compare_exchange(word, word & !SLEEPERS, Release, Relaxed);
        }
    }
}

/// The cell, at the start of a page. All zeros is one that is [closed](Self::close).
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Cell {
    /// The count with all its bits inverted.
    inverted: AtomicU64,
    flags: AtomicU32,
    interest: AtomicU32,
    readable: Gate,
    writable: Gate,
}

impl Cell {
    /// Makes a counter of it. The cell is the caller's alone.
    pub fn open(&self, count: u64, mode: Mode, nonblocking: bool) {
        self.inverted.store(!count.min(MAX), Relaxed);
        let mode = if mode == Mode::Semaphore { SEMAPHORE } else { 0 };
        let nonblocking = if nonblocking { NONBLOCK } else { 0 };
        // Release: the count comes first for who sees that it is a cell.
        self.flags.store(LAYOUT | mode | nonblocking, Release);
    }

    /// Makes a cell of it whose count no client can change, nor eventd make larger.
    pub fn close(&self) {
        self.inverted.store(!CLOSED, Relaxed);
        self.flags.store(0, Relaxed);
    }

    /// Takes what a read gets (semantics 20, 21, 28).
    ///
    /// # Errors
    /// Any but [`Refused::Invalid`]; the count is unchanged.
    pub fn read(&self, side: Side) -> Result<(u64, After), Refused> {
        let value = self.take(side, TRIES)?;
        Ok((value, self.after(&self.writable)))
    }

    /// [`read`](Self::read) by a client who comes again if this fails, for whatever cause: a few instructions, to be inlined.
    #[inline]
    #[must_use]
    pub fn read_at_once(&self) -> Option<(u64, After)> {
        let value = self.take(Side::Client, 1).ok()?;
        Some((value, self.after(&self.writable)))
    }

    #[inline]
    fn take(&self, side: Side, tries: u32) -> Result<u64, Refused> {
        // Relaxed: it never changes.
        if self.flags.load(Relaxed) & SEMAPHORE == 0 {
            self.change(side, tries, |count| (count > 0).then_some(0))
        } else {
            self.change(side, tries, |count| count.checked_sub(1)).map(|_| 1)
        }
    }

    /// Adds `value`. Zero is added like any other, and heard of (semantics 33-36, 48).
    ///
    /// # Errors
    /// Any; the count is unchanged.
    pub fn write(&self, value: u64, side: Side) -> Result<After, Refused> {
        self.add(value, side, TRIES)?;
        Ok(self.after(&self.readable))
    }

    /// [`write`](Self::write), as [`read_at_once`](Self::read_at_once).
    #[inline]
    #[must_use]
    pub fn write_at_once(&self, value: u64) -> Option<After> {
        self.add(value, Side::Client, 1).ok()?;
        Some(self.after(&self.readable))
    }

    #[inline]
    fn add(&self, value: u64, side: Side, tries: u32) -> Result<(), Refused> {
        if value > MAX {
            return Err(Refused::Invalid);
        }
        self.change(side, tries, |count| (value < u64::MAX - count).then(|| count + value)).map(drop)
    }

    /// Whether it has been a cell of this layout, as far as can be seen. To be asked once, when it was mapped.
    #[must_use]
    pub fn is_known(&self) -> bool {
        // Acquire: see `open`.
        self.flags.load(Acquire) & LAYOUT_MASK == LAYOUT
    }

    /// Where readers sleep.
    #[must_use]
    pub fn readable(&self) -> &Gate {
        &self.readable
    }

    /// Where writers sleep.
    #[must_use]
    pub fn writable(&self) -> &Gate {
        &self.writable
    }

    /// Says what eventd wants to be told of.
    ///
    /// After it was set, eventd has to look at the count once more, by [`readiness`](Self::readiness) or by the operation that it is about to park.
    pub fn set_interest(&self, interest: Interest) {
        // SeqCst: the word that is left, before the count is looked at. Clearing it needs no order: a call too many does no harm.
        self.interest.store(interest as u32, SeqCst);
    }

    /// What it is ready for.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        // SeqCst: the look at the count after eventd's interest was set.
        let count = !self.inverted.load(SeqCst);
        Readiness { readable: count > 0, writable: count < MAX, error: count > MAX }
    }

    /// The count, for those who look on.
    #[must_use]
    pub fn count(&self) -> u64 {
        !self.inverted.load(Relaxed)
    }

    /// Whether O_NONBLOCK is set. Who waits already goes on waiting when it changes (semantics 7), so this is asked once for an operation.
    #[must_use]
    pub fn nonblocking(&self) -> bool {
        // Relaxed: nothing depends on it but itself. Who knows that it was changed sees it changed.
        self.flags.load(Relaxed) & NONBLOCK != 0
    }

    /// Sets or clears O_NONBLOCK.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        // Relaxed: see above. In one step, so that no other flag is brought back.
        if nonblocking {
            self.flags.fetch_or(NONBLOCK, Relaxed);
        } else {
            self.flags.fetch_and(!NONBLOCK, Relaxed);
        }
    }

    /// Exchanges the count for what `next` makes of it, and returns what it was.
    #[inline]
    fn change(&self, side: Side, mut tries: u32, next: impl Fn(u64) -> Option<u64>) -> Result<u64, Refused> {
        // SeqCst: this is the look at the count of who has left word, in a gate or as eventd's interest. The same holds for an exchange that fails.
        let mut seen = !self.inverted.load(SeqCst);
        loop {
            if seen == CLOSED && side == Side::Client {
                return Err(Refused::NotLive);
            }
            let wanted = next(seen).ok_or(Refused::WouldBlock)?;
            // SeqCst: the change, before the look for word in `after`. It also publishes what came before a write to who reads it: all steps on the
            // count after `open` are read-modify-writes, so a read synchronises with all writes whose values it takes. An exchange that fails
            // without cause would be counted for another's success, hence not the weak one.
            match self.inverted.compare_exchange(!seen, !wanted, SeqCst, SeqCst) {
                Ok(_) => return Ok(seen),
                Err(now) => seen = !now,
            }
            tries -= 1;
            if tries == 0 {
                return Err(Refused::Contended);
            }
        }
    }

    /// Looks for those who have left word.
    #[inline]
    fn after(&self, gate: &Gate) -> After {
        // SeqCst: as in `may_have_sleepers`.
        let (wake, interest) = (gate.may_have_sleepers(), self.interest.load(SeqCst));
        After { wake, tell: interest != Interest::None as u32, polled: interest == Interest::Polled as u32 }
    }
}
