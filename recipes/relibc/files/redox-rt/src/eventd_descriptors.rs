//! Which descriptors are eventfds or signalfds, as far as the process knows: those that it has opened itself, and their copies.
//!
//! What another process sent, or the program before exec had, is unknown here. A forked child has what its parent had. All of it can be called in signal handlers.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// As many as a process can have.
const DESCRIPTORS: usize = crate::sys::FdTbl::CONTEXT_MAX_FILES as usize;

/// One bit for each. Nothing is published by it: who uses a descriptor has learnt its number from who opened it.
static KNOWN: [AtomicU64; DESCRIPTORS / 64] = [const { AtomicU64::new(0) }; DESCRIPTORS / 64];

/// Whether there has ever been one, as most programs have none.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether anything has been noted.
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// `fd` is eventd's.
pub fn note(fd: usize) {
    ANY.store(true, Ordering::Relaxed);
    if let Some(word) = KNOWN.get(fd / 64) {
        word.fetch_or(1 << (fd % 64), Ordering::Relaxed);
    }
}

/// Whether `fd` is known to be eventd's.
pub fn is_known(fd: usize) -> bool {
    KNOWN
        .get(fd / 64)
        .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (fd % 64)) != 0)
}

/// `fd` is about to be closed. Before that, as afterwards it can be somebody else's.
pub fn forget(fd: usize) {
    if is_known(fd) {
        KNOWN[fd / 64].fetch_and(!(1 << (fd % 64)), Ordering::Relaxed);
    }
}

/// `copy` is a duplicate of `fd`.
pub fn copied(fd: usize, copy: usize) {
    if is_known(fd) {
        note(copy);
    } else {
        forget(copy);
    }
}
