//! Which descriptors of this process are eventfds whose [cell](crate::cell) is mapped.
//!
//! The cell of descriptor `n` is mapped in page `n` of a range of addresses that the process has reserved, so an address means the same number as
//! long as the process lives. The table has a word per descriptor. A descriptor that is no eventfd costs one comparison and one load.
//!
//! The table never knows more than the system: whenever it is not sure, an operation takes the system's way, which is always right. So nobody waits
//! for anybody, and a signal handler can do anything whatever it has interrupted. What could go wrong is only that a word says "mapped" of a number
//! that has become another file; hence:
//!
//! - *Closing* has a beginning, before the system is asked, and an end after that. At the beginning the word forgets what it said and the page is
//!   replaced by one with a closed cell. In between nobody finds out what the number is: it could be the file that is about to go, or already the
//!   next one. `dup2` and `dup3` close the number that they assign to. The other calls that make descriptors need not come here, as the number was
//!   closed before, or never used. Calls that close in bulk, or inside a C library, have to.
//! - *Finding out* takes several steps: asking the system what the number is, and mapping. One thread does it at a time. A close in the meantime
//!   changes the word's generation. Then what was found is not entered but taken back; and only after that somebody else begins, so that nothing is
//!   mapped over a newer page.
//! - *An operation in another thread*, which has found the word "mapped", goes on to the page whatever happens to the word. It finds the closed cell
//!   there, or the cell of what the number is by then, as the system would. `cell.rs` says what becomes of it.
//! - *Closed twice at once*, which is a mistake of the program, as the second close may hit somebody else's descriptor: closing ends when all of them
//!   have ended.
//!
//! fork gives the child the words and the mappings. Of a number at which another thread was just busy it does not learn any more what it is, and
//! takes the system's way. exec begins with an empty table. A child of vfork has descriptors of its own but its parent's table, so it must not come
//! here.
//!
//! The module above decides what atomics these are: `core`'s, or loom's in the models of `tests/models`.

use super::atomic::{AtomicU32, Ordering};
use Ordering::{Acquire, Relaxed, Release};

/// What the number is, if it is known.
const KNOWN: u32 = 3;
const UNKNOWN: u32 = 0;
const OTHER: u32 = 1;
const MAPPED: u32 = 2;
/// Somebody finds out, and may map at the address.
const FINDING: u32 = 4;
/// One who closes. There is room for 511 at once.
const CLOSER: u32 = 8;
const CLOSERS: u32 = GENERATION - CLOSER;
/// How often closing has begun, in the bits from here on.
const GENERATION: u32 = 1 << 12;

/// What a descriptor was found to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// An eventfd. Its cell is mapped in its page.
    Mapped,
    /// Something else, or an eventfd that cannot be mapped.
    Other,
    /// Not open. That is not remembered, since nobody says when it will be.
    Nothing,
}

/// The range of pages. None of its calls may wait for another thread.
pub trait Pages {
    /// Finds out what a descriptor is. If it is an eventfd, maps its cell over what is in its page.
    fn find(&self, descriptor: usize) -> Found;

    /// Puts a fresh page with a closed cell over what is in the page of a descriptor, in one step.
    fn replace(&self, descriptor: usize);
}

/// The table. All zeros is one that knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    words: &'a [AtomicU32],
}

impl<'a> Table<'a> {
    /// A table of the descriptors below the number of `words`; all others take the system's way.
    #[must_use]
    pub const fn new(words: &'a [AtomicU32]) -> Self {
        Self { words }
    }

    /// Whether the cell of `descriptor` is to be used. It may be closed, or another one, by the time that it is.
    #[inline]
    #[must_use]
    pub fn is_mapped(&self, descriptor: usize, pages: &impl Pages) -> bool {
        let Some(word) = self.words.get(descriptor) else { return false };
        // Acquire: the page is there for who sees the word that `find` entered.
        let seen = word.load(Acquire);
        match seen & KNOWN {
            MAPPED => true,
            UNKNOWN if seen & (FINDING | CLOSERS) == 0 => find(descriptor, word, seen, pages),
            _ => false,
        }
    }

    /// Closes `descriptor`: `system` does it, or assigns something else to the number.
    pub fn close<T>(&self, descriptor: usize, pages: &impl Pages, system: impl FnOnce() -> T) -> T {
        let Some(word) = self.words.get(descriptor) else { return system() };
        let mut before = word.load(Relaxed);
        loop {
            let closing = (before & !KNOWN).wrapping_add(CLOSER + GENERATION);
            // Acquire: what is mapped was mapped before it is replaced. Release is not needed, as nothing was done yet.
            match word.compare_exchange_weak(before, closing, Acquire, Relaxed) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        if before & KNOWN == MAPPED {
            pages.replace(descriptor);
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
    let known = match found {
        Found::Mapped => MAPPED,
        Found::Other => OTHER,
        Found::Nothing => UNKNOWN,
    };
    // Release: the page comes first for who sees it entered. It fails if a close has begun, which did not see that there was a page to replace.
    // What the system said of the number may have been true before that close only.
    if word.compare_exchange(seen | FINDING, seen | known, Release, Relaxed).is_ok() {
        return found == Found::Mapped;
    }
    if found == Found::Mapped {
        pages.replace(descriptor);
    }
    // Release: nobody maps before the page is replaced.
    word.fetch_and(!FINDING, Release);
    false
}
