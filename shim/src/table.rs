//! Which descriptors of this process are eventfds whose [cell](crate::cell) is mapped.
//!
//! The cell of descriptor `n` is mapped in page `n` of a range of addresses that the process has reserved, so an address means the same number as
//! long as the process lives. The table has a word per descriptor. A descriptor that is no eventfd costs one comparison and one load.
//!
//! Nobody asks the system what a number is before somebody has said that it is an eventfd: its maker, or who has duplicated one. To ask once after
//! every open would cost a program that opens files more than it could ever gain, on Redox a request to the file's scheme. It may be said of what is
//! none; the system is asked before anything is mapped.
//!
//! The table never knows more than the system: whenever it is not sure, an operation takes the system's way, which is always right. So nobody waits
//! for anybody, and a signal handler can do anything whatever it has interrupted. What could go wrong is only that a word says "mapped" of a number
//! that has become another file; hence:
//!
//! - *Closing* has a beginning, before the system is asked, and an end after that. At the beginning the word forgets what it said and the page is
//!   replaced by one with a closed cell, if nobody sleeps there. In between nobody finds out what the number is: it could be the file that is about to go, or already the
//!   next one. `dup2` and `dup3` close the number that they assign to. The other calls that make descriptors need not come here, as the number was
//!   closed before, or never used. Calls that close in bulk, or inside a C library, have to.
//! - *Finding out* takes several steps: asking the system what the number is, and mapping. One thread does it at a time. A close in the meantime
//!   changes the word's generation. Then what was found is not entered but taken back; and only after that somebody else begins, so that nothing is
//!   mapped over a newer page.
//! - *An operation in another thread*, which has found the word "mapped", goes on to the page whatever happens to the word. It finds the closed cell
//!   there, or the cell of what the number is by then, as the system would. `cell.rs` says what becomes of it.
//! - *Who sleeps in another thread* has its counter until it wakes, as in Linux. So the page stays where it is as long as anybody sleeps there, and the
//!   last one to leave replaces it; until then the number, whatever it is by now, takes the system's way. A thread that is cancelled in its sleep leaves
//!   the page there for good, and so does, in a child of fork, one that slept in the parent.
//! - *Closed twice at once*, which is a mistake of the program, as the second close may hit somebody else's descriptor: closing ends when all of them
//!   have ended.
//!
//! fork gives the child the words and the mappings. Of a number at which another thread was just busy it does not learn any more what it is, and
//! takes the system's way. exec begins with an empty table. A child of vfork has descriptors of its own but its parent's table, so it must not come
//! here.
//!
//! The module above decides what atomics these are: `core`'s, or loom's in the models of `tests/models`.

use super::atomic::{AtomicU32, Ordering};
use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// What the number is. All but the first have a bit each, so that asking for one is one instruction.
const KNOWN: u32 = EXPECTED | MAPPED | LEFT;
/// Whatever it is, operations take the system's way.
const SYSTEM: u32 = 0;
/// Somebody has said that it is an eventfd.
const EXPECTED: u32 = 1;
const MAPPED: u32 = 2;
/// It was mapped and has been closed, and the page is still there.
const LEFT: u32 = 4;
/// Somebody finds out, and may map at the address, or replaces what was left.
const FINDING: u32 = 8;
/// One who closes. There is room for 511 at once.
const CLOSER: u32 = 16;
const CLOSERS: u32 = GENERATION - CLOSER;
/// How often closing has begun, in the bits from here on.
const GENERATION: u32 = 1 << 13;

/// The range of pages. None of its calls may wait for another thread.
pub trait Pages {
    /// Maps the cell of a descriptor over what is in its page, if it is an eventfd whose cell can be had; returns whether it was.
    fn find(&self, descriptor: usize) -> bool;

    /// Puts a fresh page with a closed cell over what is in the page of a descriptor, in one step.
    fn replace(&self, descriptor: usize);
}

/// The table. All zeros is one that knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    words: &'a [AtomicU32],
    /// How many sleep at the page of each.
    asleep: &'a [AtomicU32],
}

impl<'a> Table<'a> {
    /// A table of as many descriptors as both have words; all others take the system's way.
    #[must_use]
    pub const fn new(words: &'a [AtomicU32], asleep: &'a [AtomicU32]) -> Self {
        Self { words, asleep }
    }

    /// Whether the cell of `descriptor` is mapped. It may be closed, or another one, by the time that it is used.
    #[inline]
    #[must_use]
    pub fn is_mapped(&self, descriptor: usize) -> bool {
        // Acquire: the page is there for who sees the word that `find` entered.
        self.words.get(descriptor).is_some_and(|word| word.load(Acquire) & MAPPED != 0)
    }

    /// As [`is_mapped`](Self::is_mapped), after it was mapped if that had not been tried yet.
    pub fn map(&self, descriptor: usize, pages: &impl Pages) -> bool {
        let Some(word) = self.words.get(descriptor) else { return false };
        // Acquire: as above.
        let seen = word.load(Acquire);
        match seen & KNOWN {
            MAPPED => true,
            EXPECTED if seen & (FINDING | CLOSERS) == 0 => find(descriptor, word, seen, pages),
            _ => false,
        }
    }

    /// Whether `descriptor` is an eventfd, as far as anybody has said.
    #[inline]
    #[must_use]
    pub fn is_eventfd(&self, descriptor: usize) -> bool {
        // Relaxed: it is a guess, which the system confirms.
        self.words.get(descriptor).is_some_and(|word| word.load(Relaxed) & KNOWN != SYSTEM)
    }

    /// A number that is another one after `descriptor` has been closed, or assigned to.
    #[must_use]
    pub fn generation(&self, descriptor: usize) -> u32 {
        // Acquire: who finds a page closed sees the generation that closing it began with, as the system orders the two.
        self.words.get(descriptor).map_or(0, |word| word.load(Acquire) & !(GENERATION - 1))
    }

    /// Says that the system has given `descriptor` to an eventfd.
    pub fn expect(&self, descriptor: usize, pages: &impl Pages) {
        let Some(word) = self.words.get(descriptor) else { return };
        // Relaxed: it is still a guess.
        if word.load(Relaxed) & KNOWN >= MAPPED {
            // It was closed by a call that did not come here.
            self.close(descriptor, pages, || ());
        }
        // Relaxed: as above. It is left alone if it is mapped by now, or if somebody sleeps there.
        let _already_known =
            word.fetch_update(Relaxed, Relaxed, |word| (word & KNOWN == SYSTEM).then_some(word | EXPECTED));
    }

    /// Keeps the page of `descriptor` where it is while `sleep` uses it. None if the number has been closed, and `sleep` was not called.
    pub fn stay<T>(&self, descriptor: usize, pages: &impl Pages, sleep: impl FnOnce() -> T) -> Option<T> {
        let (word, asleep) = (self.words.get(descriptor)?, self.asleep.get(descriptor)?);
        // Relaxed: the next step publishes it.
        asleep.fetch_add(1, Relaxed);
        // A read-modify-write, so it comes before the step that begins a close, which then sees the sleeper, or after it, and sees that. Release: for
        // the former. Acquire: as a lookup.
        let result = (word.fetch_or(0, AcqRel) & KNOWN == MAPPED).then(sleep);
        // Release: what was done to the page comes before it is replaced.
        asleep.fetch_sub(1, Release);
        self.tidy(descriptor, pages);
        result
    }

    /// Replaces what was left, if nobody sleeps there any more.
    fn tidy(&self, descriptor: usize, pages: &impl Pages) {
        let (Some(word), Some(asleep)) = (self.words.get(descriptor), self.asleep.get(descriptor)) else { return };
        loop {
            // Who leaves does this after that; who closes, after the close began. AcqRel read-modify-writes on both words: if the one who leaves finds it
            // not yet closed, the one who closes finds that it has left. So one of them does what is to be done.
            let seen = word.fetch_or(0, AcqRel);
            if seen & KNOWN != LEFT || seen & FINDING != 0 || asleep.fetch_add(0, AcqRel) != 0 {
                return;
            }
            // Nobody has come since the word said so. Acquire: what is mapped was mapped before it is replaced.
            if word.compare_exchange(seen, seen | FINDING, Acquire, Relaxed).is_ok() {
                pages.replace(descriptor);
                // Release: nobody maps before the page is replaced.
                word.fetch_and(!(KNOWN | FINDING), Release);
                return;
            }
        }
    }

    /// Closes `descriptor`: `system` does it, or assigns something else to the number.
    pub fn close<T>(&self, descriptor: usize, pages: &impl Pages, system: impl FnOnce() -> T) -> T {
        let Some(word) = self.words.get(descriptor) else { return system() };
        let mut before = word.load(Relaxed);
        loop {
            let known = if before & KNOWN >= MAPPED { LEFT } else { SYSTEM };
            let closing = (before & !KNOWN | known).wrapping_add(CLOSER + GENERATION);
            // Acquire: what is mapped was mapped before it is replaced; and who sleeps is seen, see `stay`. Release is not needed, as nothing was done yet.
            match word.compare_exchange_weak(before, closing, Acquire, Relaxed) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        if before & KNOWN >= MAPPED {
            self.tidy(descriptor, pages);
        }
        let result = system();
        // Release: whoever finds out after this asks after the system has closed, and maps after the page was replaced. (The system, which orders
        // its own calls, is relied on for nothing here.)
        word.fetch_sub(CLOSER, Release);
        result
    }
}

/// Finds out what `descriptor` is, if nobody else does.
#[cold]
fn find(descriptor: usize, word: &AtomicU32, seen: u32, pages: &impl Pages) -> bool {
    // Acquire: what others did to the page came before. The lookup, which found the same word, has seen to that already. Release is not needed, as
    // nothing was done yet.
    if word.compare_exchange(seen, seen | FINDING, Acquire, Relaxed).is_err() {
        return false;
    }
    let found = pages.find(descriptor);
    let known = if found { MAPPED } else { SYSTEM };
    // Release: the page comes first for who sees it entered. It fails if a close has begun, which did not see that there was a page to replace.
    // What the system said of the number may have been true before that close only.
    if word.compare_exchange(seen | FINDING, seen & !KNOWN | known, Release, Relaxed).is_ok() {
        return found;
    }
    if found {
        pages.replace(descriptor);
    }
    // Release: nobody maps before the page is replaced.
    word.fetch_and(!FINDING, Release);
    false
}
