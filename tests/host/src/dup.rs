//! A client's dup with an argument.
//!
//! On Redox the scheme answers it with another handle, and the kernel puts that into the caller's table. On Linux only an open gives a client a file of a scheme.
//! So the host keeps the handle under a name that nobody can guess, and whoever opens the name first, which is the caller, gets it.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fcntl_getfl, open, statx};
use rustix::io::Errno;
use syscall::error::{EINVAL, EIO, EOPNOTSUPP, Error, Result};
use zerocopy::IntoBytes;

use crate::abi::path_of_descriptor;
use crate::ioctl::{self, Dup};

const PREFIX: &str = ".dup-";
const RANDOM_DIGITS: usize = 32;

/// A name in the root of a mount, from a random number.
pub(crate) fn name(random: u128) -> String {
    format!("{PREFIX}{random:0RANDOM_DIGITS$x}")
}

/// Asks the scheme for another handle. It allocates nothing, as [`ioctl::exchange`].
///
/// # Errors
/// What the daemon answers; EOPNOTSUPP if the handle cannot be had on this system: its memory cannot be shared, or this process does not see the mount at the
/// daemon's path. ENOTTY, or what else the file says to an unknown ioctl, if it is no scheme's.
pub(crate) fn dup(origin: BorrowedFd<'_>, argument: &[u8]) -> Result<OwnedFd> {
    let mut dup = Dup::new(argument).ok_or(Error::new(EINVAL))?;
    ioctl::exchange(origin, ioctl::DUP, dup.as_mut_bytes())?;
    Error::demux(usize::try_from(dup.len).map_err(|_| Error::new(EIO))?)?;
    let path = dup.terminated().and_then(|path| CStr::from_bytes_with_nul(path).ok()).ok_or(Error::new(EIO))?;
    // As on Redox the new description has the flags of the old one.
    let inherited = OFlags::ACCMODE | OFlags::APPEND | OFlags::NONBLOCK;
    let flags = fcntl_getfl(origin).map_err(from_rustix)? & inherited | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS => Error::new(EOPNOTSUPP),
        error => from_rustix(error),
    })?;
    // Something else is at that path if this process sees other mounts than the daemon.
    if device(file.as_fd())? == device(origin)? { Ok(file) } else { Err(Error::new(EOPNOTSUPP)) }
}

/// The file system of a file, without asking the daemon for the file's attributes.
fn device(file: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, c"", flags, StatxFlags::empty()).map_err(from_rustix)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

fn from_rustix(error: Errno) -> Error {
    Error::new(error.raw_os_error())
}

/// Whether [`dup`] gave this file. The file itself says so, by the name at which it was opened: numbers of descriptors are used again.
pub(crate) fn is_duplicate(file: BorrowedFd<'_>) -> bool {
    let mut room = [MaybeUninit::uninit(); libc::PATH_MAX as usize];
    path_of_descriptor(file.as_raw_fd(), &mut room).is_some_and(is_name)
}

/// Whether a path, as /proc tells those of open files, ends with a name of [`name`].
fn is_name(path: &[u8]) -> bool {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let random = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::{is_name, name};

    #[test]
    fn names_are_recognized() {
        for random in [0, 1, u128::MAX] {
            let path = format!("/tmp/scheme/eventd/{}", name(random));
            assert!(is_name(path.as_bytes()), "{path}");
            assert!(is_name(format!("{path} (deleted)").as_bytes()), "{path}");
            assert!(!is_name(format!("{path}0").as_bytes()), "{path}");
            assert!(!is_name(format!("{path}/x").as_bytes()), "{path}");
        }
        for other in ["/tmp/scheme/eventd/sem/x", "/.dup-", "pipe:[7]", "/.dup-0123456789abcdef0123456789abcdeg", ""] {
            assert!(!is_name(other.as_bytes()), "{other}");
        }
    }
}
