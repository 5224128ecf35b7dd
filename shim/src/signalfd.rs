//! The functions of `<sys/signalfd.h>`.

use crate::Errno;
use crate::eventfd::{CLOEXEC, EFD_CLOEXEC, EFD_NONBLOCK, NONBLOCK, open_flags};
use crate::path::{self, Path, SIGNALFDS};
use crate::sys;

/// Sets FD_CLOEXEC.
pub const SFD_CLOEXEC: i32 = EFD_CLOEXEC;
/// Sets O_NONBLOCK.
pub const SFD_NONBLOCK: i32 = EFD_NONBLOCK;

/// Metadata of the call that replaces the mask of a signalfd: this word, then the mask. There is no payload.
pub const SET_MASK: u64 = u64::from_be_bytes(*b"SIGMASK\0");

/// `signalfd(fd, mask, flags)`: creates a signalfd for the signals in `mask` (bit `n - 1` is signal `n`) if `fd` is -1; otherwise replaces the mask of the signalfd
/// `fd`, whose flags stay as they are, and returns it. It does not block the signals: the caller does.
///
/// `root` is as for [`crate::eventfd()`].
///
/// # Errors
/// EINVAL for an unknown flag, before anything else (semantics 65), or for a descriptor of something else (64); EBADF for what is no descriptor (63); EMFILE, ENFILE
/// and ENOMEM as open(2); ENOSYS where the process manager has no signal router; ENODEV or ENOENT where eventd does not run, ENODEV or EBADF
/// if `root` does not lead to a running eventd any more.
///
/// # References
/// signalfd(2), semantics 62-75.
pub fn signalfd(root: Option<usize>, fd: i32, mask: u64, flags: i32) -> Result<i32, Errno> {
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if fd == -1 {
        let new = sys::open_from(root, &Path::signalfd(mask), open_flags(flags)?)?;
        return i32::try_from(new).map_err(|_| Errno::EMFILE);
    }
    let descriptor = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
    if !is_signalfd(descriptor)? {
        return Err(Errno::EINVAL);
    }
    sys::call(descriptor, [SET_MASK, mask])?;
    Ok(fd)
}

/// A call that its scheme does not know could be taken for another one, so it is made only on what is a signalfd by its path.
fn is_signalfd(descriptor: usize) -> Result<bool, Errno> {
    match path::is_below(descriptor, SIGNALFDS) {
        Err(Errno::EBADF) => Err(Errno::EBADF),
        // Not everything has a path.
        is_signalfd => Ok(is_signalfd.unwrap_or(false)),
    }
}
