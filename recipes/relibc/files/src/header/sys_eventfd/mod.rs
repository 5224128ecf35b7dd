//! `sys/eventfd.h` implementation: forwarded to eventd by the crate `eventd-shim`.
//!
//! Non-POSIX, see <https://man7.org/linux/man-pages/man2/eventfd.2.html>.

use crate::{
    error::{Errno, ResultExt},
    platform::{
        sys::{
            counters::{self, opened},
            eventd::with_root,
        },
        types::{c_int, c_uint},
    },
};

/// A count.
pub type eventfd_t = u64;

/// A read takes 1 instead of the whole count.
pub const EFD_SEMAPHORE: c_int = 0x1;
/// Set the close-on-exec (`FD_CLOEXEC`) flag on the new file descriptor.
pub const EFD_CLOEXEC: c_int = 0x8_0000;
/// Set the `O_NONBLOCK` flag on the new file description.
pub const EFD_NONBLOCK: c_int = 0x800;

/// -1 and errno, unless the shim says that errno stays as it is.
fn result(result: Result<c_int, eventd_shim::Errno>) -> c_int {
    match result {
        Err(eventd_shim::Errno::UNCHANGED) => -1,
        result => result
            .map_err(|eventd_shim::Errno(errno)| Errno(errno))
            .or_minus_one_errno(),
    }
}

/// Non-POSIX, see <https://man7.org/linux/man-pages/man2/eventfd.2.html>.
///
/// Creates a counter that starts at `initval` and returns a file descriptor of it.
#[unsafe(no_mangle)]
pub extern "C" fn eventfd(initval: c_uint, flags: c_int) -> c_int {
    result(with_root(|root| eventd_shim::eventfd(root, initval, flags)).map(opened))
}

/// Non-POSIX, see <https://man7.org/linux/man-pages/man3/eventfd.3.html>.
///
/// Reads the counter into `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eventfd_read(fd: c_int, value: *mut eventfd_t) -> c_int {
    let (buffer, len) = (value.cast(), size_of::<eventfd_t>());
    // SAFETY: what the caller of the C function promises.
    let read = unsafe { counters::read_at_once(fd, buffer, len).or_else(|| counters::read(fd, buffer, len)) };
    if let Some(read) = read {
        return if read < 0 { -1 } else { 0 };
    }
    // SAFETY: what the caller of the C function promises.
    result(unsafe { eventd_shim::eventfd_read(fd, value) }.map(|()| 0))
}

/// Non-POSIX, see <https://man7.org/linux/man-pages/man3/eventfd.3.html>.
///
/// Adds `value` to the counter.
#[unsafe(no_mangle)]
pub extern "C" fn eventfd_write(fd: c_int, value: eventfd_t) -> c_int {
    let (buffer, len) = ((&raw const value).cast(), size_of::<eventfd_t>());
    // SAFETY: a count is there to be read.
    let written = unsafe { counters::write_at_once(fd, buffer, len).or_else(|| counters::write(fd, buffer, len)) };
    if let Some(written) = written {
        return if written < 0 { -1 } else { 0 };
    }
    result(eventd_shim::eventfd_write(fd, value).map(|()| 0))
}
