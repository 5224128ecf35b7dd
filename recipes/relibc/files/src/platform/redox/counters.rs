//! The eventfds of the process, whose counts it reads and writes in memory that it shares with eventd; see `eventd-shim`.

use core::sync::atomic::AtomicU32;

use eventd_shim::{Client, Errno as ShimErrno};
use syscall::error::Error;

use crate::{
    error::{Errno, Result},
    platform::{sys::eventd, types::c_int},
};

/// More than programs have; what is above takes the system's way. Each word stands for a page of reserved addresses.
const DESCRIPTORS: usize = 4096;

static WORDS: [AtomicU32; DESCRIPTORS] = [const { AtomicU32::new(0) }; DESCRIPTORS];
static ASLEEP: [AtomicU32; DESCRIPTORS] = [const { AtomicU32::new(0) }; DESCRIPTORS];

static EVENTFDS: Client<'static> = Client::new(&WORDS, &ASLEEP);

fn of_shim<T>(result: Result<T, ShimErrno>) -> Result<T> {
    result.map_err(|ShimErrno(errno)| Errno(errno))
}

/// `eventfd` has returned `fd`.
pub fn opened(fd: c_int) -> c_int {
    EVENTFDS.made(fd);
    eventd::opened(fd)
}

/// The pointer that the program gave to `read` or `write`, which make a slice of it although it may be null.
#[inline]
fn as_given(buffer: *mut u8) -> *mut u8 {
    core::hint::black_box(buffer)
}

/// `read`; none if that is the kernel's.
#[inline]
pub fn read(fd: c_int, buf: &mut [u8]) -> Option<Result<usize>> {
    let buffer = as_given(buf.as_mut_ptr());
    // SAFETY: the pointer and the length are those of a slice, or the pointer is null.
    unsafe { EVENTFDS.read(fd, buffer, buf.len()) }.map(of_shim)
}

/// `eventfd_read`; none if that is the kernel's.
pub fn take(fd: c_int, value: &mut u64) -> Option<Result<()>> {
    let mut bytes = [0; size_of::<u64>()];
    read(fd, &mut bytes).map(|read| read.map(|_| *value = u64::from_ne_bytes(bytes)))
}

/// `write`; none if that is the kernel's.
#[inline]
pub fn write(fd: c_int, buf: &[u8]) -> Option<Result<usize>> {
    // SAFETY: as in `read`.
    unsafe { EVENTFDS.write(fd, as_given(buf.as_ptr().cast_mut()), buf.len()) }.map(of_shim)
}

/// `close`, which `system` does.
pub fn close<T>(fd: usize, system: impl FnOnce() -> T) -> T {
    match c_int::try_from(fd) {
        Ok(fd) => EVENTFDS.close(fd, system),
        Err(_) => system(),
    }
}

/// `dup2`, which `system` does.
pub fn assign(old: usize, fd: usize, system: impl FnOnce() -> syscall::Result<usize>) -> syscall::Result<usize> {
    let (Ok(old), Ok(fd)) = (c_int::try_from(old), c_int::try_from(fd)) else {
        return system();
    };
    let mut result = Err(Error::new(syscall::EBADF));
    EVENTFDS.assign(old, fd, || {
        result = system();
        if result.is_ok() { fd } else { -1 }
    });
    result
}

/// The event flags for which an eventfd or a signalfd is ready: from memory, or from eventd.
pub fn readiness(fd: usize) -> Result<usize, ShimErrno> {
    let known = c_int::try_from(fd).ok().and_then(|fd| EVENTFDS.readiness(fd));
    known.map_or_else(|| eventd_shim::readiness(fd), Ok)
}

/// `fcntl(F_DUPFD)` of `old` has returned `fd`.
pub fn duplicated(old: c_int, fd: c_int) {
    EVENTFDS.duplicated(old, fd);
}
