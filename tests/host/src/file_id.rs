//! Which file a descriptor or a path leads to.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{Stat, fstat, stat};
use rustix::io::Result;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A file's device and inode; that of a memory file is never another's.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(file: impl AsFd) -> Result<Self> {
        fstat(file).map(Self::from)
    }

    pub(crate) fn at(path: &CStr) -> Result<Self> {
        stat(path).map(Self::from)
    }
}

impl From<Stat> for FileId {
    fn from(stat: Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}
