//! `sys/eventfd.h` implementation: forwarded to eventd by the crate `eventd-shim`.
//!
//! Non-POSIX, see <https://man7.org/linux/man-pages/man2/eventfd.2.html>.

use core::sync::atomic::{AtomicUsize, Ordering};

use redox_protocols::protocol::O_CLOEXEC;
use redox_rt::proc::FdGuard;
use syscall::flag::O_STAT;

use crate::{
    error::{Errno, ResultExt},
    header::errno::{EBADF, ENODEV},
    platform::types::{c_int, c_uint},
};

/// A count.
pub type eventfd_t = u64;

/// A read takes 1 instead of the whole count.
pub const EFD_SEMAPHORE: c_int = 0x1;
/// Set the close-on-exec (`FD_CLOEXEC`) flag on the new file descriptor.
pub const EFD_CLOEXEC: c_int = 0x8_0000;
/// Set the `O_NONBLOCK` flag on the new file description.
pub const EFD_NONBLOCK: c_int = 0x800;

/// A descriptor of `/scheme/eventd` in the upper file table, where programs do not see it.
///
/// Opening by path asks the namespace manager each time, which costs more than all the rest. A forked child has the same descriptor under the same number; exec
/// closes it, and starts with a new libc.
static ROOT: AtomicUsize = AtomicUsize::new(NO_ROOT);
const NO_ROOT: usize = usize::MAX;

fn create(initval: c_uint, flags: c_int) -> Result<c_int, eventd_shim::Errno> {
    let root = ROOT.load(Ordering::Acquire);
    if root != NO_ROOT {
        match eventd_shim::eventfd_at(root, initval, flags) {
            // eventd has been restarted.
            Err(eventd_shim::Errno(ENODEV | EBADF)) => forget_root(root),
            result => return result,
        }
    }
    let result = eventd_shim::eventfd(initval, flags);
    if result.is_ok() && ROOT.load(Ordering::Acquire) == NO_ROOT {
        keep_root();
    }
    result
}

/// Without a root to keep, the next call opens by path again: an error here is nobody's concern.
fn keep_root() {
    let Ok(root) = FdGuard::open_into_upper("/scheme/eventd", O_STAT | O_CLOEXEC) else {
        return;
    };
    let kept = ROOT.compare_exchange(NO_ROOT, root.as_raw_fd(), Ordering::AcqRel, Ordering::Acquire);
    if kept.is_ok() {
        root.take();
    }
}

/// The descriptor itself stays open: another thread may be using it.
fn forget_root(root: usize) {
    let _ = ROOT.compare_exchange(root, NO_ROOT, Ordering::AcqRel, Ordering::Acquire);
}

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
    result(create(initval, flags))
}

/// Non-POSIX, see <https://man7.org/linux/man-pages/man3/eventfd.3.html>.
///
/// Reads the counter into `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eventfd_read(fd: c_int, value: *mut eventfd_t) -> c_int {
    // SAFETY: what the caller of the C function promises.
    result(unsafe { eventd_shim::eventfd_read(fd, value) }.map(|()| 0))
}

/// Non-POSIX, see <https://man7.org/linux/man-pages/man3/eventfd.3.html>.
///
/// Adds `value` to the counter.
#[unsafe(no_mangle)]
pub extern "C" fn eventfd_write(fd: c_int, value: eventfd_t) -> c_int {
    result(eventd_shim::eventfd_write(fd, value).map(|()| 0))
}
