//! What a client asks of a file of a scheme and Linux has no system call for: ioctls of this host's own.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use syscall::error::{EINVAL, Error, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::checked;
use crate::file_id::FileId;

/// A `call` of Redox: a [`CallHead`], and a payload.
pub(crate) const CALL: u32 = 0x5C;
/// What the Redox kernel does for an mmap of a scheme's file, but for the mapping: a [`Memory`].
pub(crate) const MEMORY: u32 = 0x5D;

/// `_IOC_READ | _IOC_WRITE`: the argument goes both ways.
const BOTH: u32 = 3 << 30;
/// Numbers that nobody in Linux's list has.
const KIND: u32 = 0xE5 << 8;
/// An ioctl's request has this many bits for the size of its argument.
const SIZE_BITS: u32 = 14;

/// The beginning of the argument of a call.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct CallHead {
    pub(crate) metadata: [u64; 3],
    /// Comes back: the result, with an errno as in libredox.
    pub(crate) result: u64,
}

/// The argument of a mapping; the second half comes back.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Memory {
    pub(crate) len: u64,
    pub(crate) offset: u64,
    /// Redox's.
    pub(crate) flags: u64,
    /// Zero or an errno, as in libredox.
    pub(crate) result: u64,
    /// The memory file that holds just this memory.
    pub(crate) file: FileId,
    /// Where it is, with a zero byte at the end.
    pub(crate) path: [u8; 32],
}

impl Memory {
    pub(crate) fn failed(error: Error) -> Self {
        Self { result: Error::mux(Err(error)) as u64, ..Self::default() }
    }
}

/// The request of ioctl(2) for an argument of `len` bytes; none if that is too long.
pub(crate) fn request(number: u32, len: usize) -> Option<u32> {
    let len = u32::try_from(len).ok().filter(|len| *len < 1 << SIZE_BITS)?;
    Some(BOTH | len << 16 | KIND | number)
}

/// Sends an argument to the host, which puts an answer in its place. It allocates nothing: signal handlers may use it.
pub(crate) fn exchange(file: BorrowedFd<'_>, number: u32, argument: &mut [u8]) -> Result<()> {
    let request = request(number, argument.len()).ok_or(Error::new(EINVAL))?;
    // SAFETY: the request says how long the argument is.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), request.into(), argument.as_mut_ptr()) }).map(drop)
}
