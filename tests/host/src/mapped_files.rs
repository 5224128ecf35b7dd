//! Mapped files stay open.
//!
//! On Redox a mapping of a scheme's memory keeps its description open until it is unmapped, so a daemon knows that it is in use. With FUSE passthrough Linux
//! maps the memory file behind the scheme's file, and lets that one go as soon as its descriptors are closed. So a client keeps a descriptor for each
//! mapping that it makes through libredox, far from the numbers that programs expect to get.
//!
//! Not for a file that Linux cannot map, see `mapping.rs`: programs map thousands of such pages, and have fewer descriptors. The page stays valid without, and the
//! daemon does not hear when the mapping goes.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

use crate::file_id::FileId;

/// A kept descriptor, and what it must still lead to when it is closed: a program may have closed the number, and used it again.
#[derive(Debug)]
struct Kept {
    descriptor: OwnedFd,
    file: FileId,
}

/// Few programs have so many descriptors; a higher one would make fork slower.
const FAR: RawFd = 800;

static KEPT: Mutex<BTreeMap<usize, Kept>> = Mutex::new(BTreeMap::new());

/// Keeps the file of `descriptor` open for the mapping at `address`. Without a free descriptor the mapping is there all the same; only the daemon knows less.
pub(crate) fn keep(address: usize, descriptor: BorrowedFd<'_>) {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| RawFd::try_from(limit).ok());
    let lowest = FAR.min(limit.unwrap_or(RawFd::MAX) / 2);
    let Ok(copy) = fcntl_dupfd_cloexec(descriptor, lowest) else { return };
    let Ok(file) = FileId::of(descriptor) else { return };
    lock().insert(address, Kept { descriptor: copy, file });
}

/// The mapping at `address` is gone.
pub(crate) fn release(address: usize) {
    let kept = lock().remove(&address);
    if let Some(Kept { descriptor, file }) = kept
        && FileId::of(&descriptor) != Ok(file)
    {
        // The number is somebody else's by now.
        let _ = descriptor.into_raw_fd();
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeMap<usize, Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
