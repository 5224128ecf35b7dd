//! What a client asks of a file of a scheme and Linux has no system call for: ioctls of this host's own.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use syscall::error::{EINVAL, Error, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::checked;
use crate::file_id::FileId;

/// A `call` of Redox: a [`CallHead`], and a payload.
pub(crate) const CALL: u32 = 0x5C;
/// A `dup` of Redox with an argument: a [`Dup`].
pub(crate) const DUP: u32 = 0x5D;

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

/// The argument of a dup, and then the path at which what it gives can be opened.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Dup {
    /// How many bytes of `text` count; what comes back may be an errno, as in libredox.
    pub(crate) len: u64,
    /// Comes back: the memory file that is at the path, or zeros if a file of the mount is.
    memory: FileId,
    text: [u8; 1000],
}

impl Dup {
    /// Returns none if the text is too long. There is always a zero byte after it.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut dup = Self { len: text.len() as u64, memory: FileId::default(), text: [0; _] };
        let (_, room) = dup.text.split_last_mut()?;
        room.get_mut(..text.len())?.copy_from_slice(text);
        Some(dup)
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self { len: Error::mux(Err(error)) as u64, memory: FileId::default(), text: [0; _] }
    }

    pub(crate) fn of_memory(self, memory: FileId) -> Self {
        Self { memory, ..self }
    }

    /// The memory file that is at the path, if it is one.
    pub(crate) fn memory(&self) -> Option<FileId> {
        (self.memory != FileId::default()).then_some(self.memory)
    }

    /// The text, with the byte that follows it.
    pub(crate) fn terminated(&self) -> Option<&[u8]> {
        self.text.get(..=usize::try_from(self.len).ok()?)
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
