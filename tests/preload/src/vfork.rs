//! Children of vfork: they have descriptors of their own, but memory, and in it the table of descriptors, of their parent.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::c_abi::pthread_atfork;

/// Whose memory this is, in a page that is wiped in a child with memory of its own (MADV_WIPEONFORK). It says nothing as long as it is zero.
static OWNER: AtomicPtr<AtomicI32> = AtomicPtr::new(std::ptr::null_mut());

fn owner() -> Option<&'static AtomicI32> {
    // SAFETY: the page stays mapped.
    NonNull::new(OWNER.load(Ordering::Relaxed)).map(|owner| unsafe { owner.as_ref() })
}

extern "C" fn remember() {
    if let Some(owner) = owner() {
        owner.store(std::process::id().cast_signed(), Ordering::Relaxed);
    }
}

pub(crate) fn on_load() {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of one page at an address that the system chooses; the handler only stores a number there.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 1, prot, flags, -1, 0);
        if page != libc::MAP_FAILED && libc::madvise(page, 1, libc::MADV_WIPEONFORK) == 0 {
            OWNER.store(page.cast(), Ordering::Relaxed);
            remember();
            pthread_atfork(None, None, Some(remember));
        }
    }
}

/// Whether the calling process is a child of vfork. Where that cannot be told it is none: then the table forgets what it closes, and the parent's operations on
/// it take the system's way.
pub(crate) fn is_child() -> bool {
    let known = owner().map_or(0, |owner| owner.load(Ordering::Relaxed));
    known != 0 && known != std::process::id().cast_signed()
}
