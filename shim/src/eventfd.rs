//! The functions of `<sys/eventfd.h>`.
#![allow(unsafe_code)]

use crate::Errno;
use crate::path::Path;
use crate::sys::{self, flag};

/// A read takes 1 instead of the whole count.
pub const EFD_SEMAPHORE: i32 = 0o1;
/// Sets FD_CLOEXEC.
pub const EFD_CLOEXEC: i32 = 0o2_000_000;
/// Sets O_NONBLOCK.
pub const EFD_NONBLOCK: i32 = 0o4000;

/// Where the memory of an eventfd's counter is, in bytes, when its descriptor is mapped: a page that begins with a [`Cell`](crate::cell::Cell). At all other
/// offsets there is nothing, as programs expect (semantics 17).
pub const CELL: u64 = 0x4345_4000;
/// Metadata of the call on an eventfd that says that its count was changed in memory: this word alone. There is no payload.
pub const TELL: u64 = u64::from_be_bytes(*b"CHANGED\0");

/// Metadata of a call that the kernel takes, with `kernel-patch/kernel/hooks/00-trigger.patch`: this word, then event flags. It does what eventd does to announce
/// readiness: whoever polls the file of the descriptor, and wants one of the flags, gets an event. Elsewhere eventd answers EOPNOTSUPP.
pub const TRIGGER: u64 = u64::from_be_bytes(*b"TRIGGER\0");

/// Redox's own value of O_CLOEXEC, for programs that build the flags from it.
const REDOX_CLOEXEC: i32 = 0x0100_0000;
/// Redox's own value of O_NONBLOCK.
const REDOX_NONBLOCK: i32 = 0x0004_0000;

pub(crate) const CLOEXEC: i32 = EFD_CLOEXEC | REDOX_CLOEXEC;
pub(crate) const NONBLOCK: i32 = EFD_NONBLOCK | REDOX_NONBLOCK;

/// `eventfd(initval, flags)`: creates a counter that starts at `initval` and returns a descriptor of it.
///
/// `root`, if there is one, is a descriptor of the root of the scheme (`/scheme/eventd`) that the C library keeps: this saves looking the scheme up, which costs more
/// than the rest of the call.
///
/// # Errors
/// EINVAL for an unknown flag, before anything is created (semantics 2); EMFILE, ENFILE and ENOMEM as open(2); ENODEV or ENOENT where eventd does not run;
/// ENODEV or EBADF if `root` does not lead to a running eventd any more.
///
/// # References
/// eventfd(2), semantics 1-6.
pub fn eventfd(root: Option<usize>, initval: u32, flags: i32) -> Result<i32, Errno> {
    let open_flags = open_flags(flags)?;
    let path = Path::counter(initval, flags & EFD_SEMAPHORE != 0);
    let fd = sys::open_from(root, &path, open_flags)?;
    i32::try_from(fd).map_err(|_| Errno::EMFILE)
}

pub(crate) fn open_flags(flags: i32) -> Result<u32, Errno> {
    if flags & !(EFD_SEMAPHORE | CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut open_flags = flag::O_RDWR;
    if flags & CLOEXEC != 0 {
        open_flags |= flag::O_CLOEXEC;
    }
    if flags & NONBLOCK != 0 {
        open_flags |= flag::O_NONBLOCK;
    }
    Ok(open_flags)
}

/// `eventfd_read(fd, value)`: reads the counter once, into `value`.
///
/// # Errors
/// What read(2) fails with, EFAULT for a bad `value` among it; [`Errno::UNCHANGED`] if it returned other than 8 bytes, which an eventfd never does.
///
/// # Safety
/// If `value` is valid, nobody else uses what it points to.
///
/// # References
/// eventfd(3), semantics 29 and 30.
pub unsafe fn eventfd_read(fd: i32, value: *mut u64) -> Result<(), Errno> {
    // SAFETY: the caller's promise, for the size of what `value` points to.
    match unsafe { sys::read(descriptor(fd)?, value.cast(), size_of::<u64>()) }? {
        8 => Ok(()),
        _ => Err(Errno::UNCHANGED),
    }
}

/// `eventfd_write(fd, value)`: adds to the counter.
///
/// # Errors
/// What write(2) fails with; [`Errno::UNCHANGED`] if it wrote other than 8 bytes, which an eventfd never does.
///
/// # References
/// eventfd(3), semantics 40.
pub fn eventfd_write(fd: i32, value: u64) -> Result<(), Errno> {
    match sys::write(descriptor(fd)?, &value.to_ne_bytes())? {
        8 => Ok(()),
        _ => Err(Errno::UNCHANGED),
    }
}

fn descriptor(fd: i32) -> Result<usize, Errno> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}
