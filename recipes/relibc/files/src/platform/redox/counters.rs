//! The eventfds of the process, whose counts it reads and writes in memory that it shares with eventd; see `eventd-shim`.

use eventd_shim::{Client, Errno as ShimErrno};
use syscall::error::Error;

use crate::{
    error::{Errno, Result, ResultExt},
    platform::{
        sys::eventd,
        types::{c_int, c_void, size_t, ssize_t},
    },
};

/// More than programs have; what is above takes the system's way. Each word stands for a page of reserved addresses.
const DESCRIPTORS: usize = 4096;

static EVENTFDS: Client<DESCRIPTORS> = Client::new();

/// `eventfd` has returned `fd`.
pub fn opened(fd: c_int) -> c_int {
    EVENTFDS.made(fd);
    eventd::opened(fd)
}

/// `read`, if it is done in memory and need not wait.
///
/// # Safety
/// As for `read`.
#[inline(always)]
pub unsafe fn read_at_once(fd: c_int, buffer: *mut c_void, len: size_t) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    unsafe { EVENTFDS.read_at_once(fd, buffer.cast(), len) }.map(|len| len as ssize_t)
}

/// What `read` returns, if that is not the kernel's business.
///
/// # Safety
/// As for `read`.
#[inline(always)]
pub unsafe fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> Option<ssize_t> {
    if !EVENTFDS.is_eventfd(fd) {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { EVENTFDS.read(fd, buffer.cast(), len) }.map(returned)
}

/// `write`, if it is done in memory and need not wait.
///
/// # Safety
/// As for `write`.
#[inline(always)]
pub unsafe fn write_at_once(fd: c_int, buffer: *const c_void, len: size_t) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    unsafe { EVENTFDS.write_at_once(fd, buffer.cast(), len) }.map(|len| len as ssize_t)
}

/// What `write` returns, if that is not the kernel's business.
///
/// # Safety
/// As for `write`.
#[inline(always)]
pub unsafe fn write(fd: c_int, buffer: *const c_void, len: size_t) -> Option<ssize_t> {
    if !EVENTFDS.is_eventfd(fd) {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { EVENTFDS.write(fd, buffer.cast(), len) }.map(returned)
}

fn returned(result: Result<usize, ShimErrno>) -> ssize_t {
    result.map_err(|ShimErrno(errno)| Errno(errno)).map(|len| len as ssize_t).or_minus_one_errno()
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
