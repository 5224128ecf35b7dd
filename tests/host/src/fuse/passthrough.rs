//! Memory files behind inodes: clients then map the daemon's own pages.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use super::wire::BackingMap;
use crate::memory::Region;

const BACKING_OPEN: libc::Ioctl = rustix::ioctl::opcode::write::<BackingMap>(229, 1) as libc::Ioctl;
const BACKING_CLOSE: libc::Ioctl = rustix::ioctl::opcode::write::<u32>(229, 2) as libc::Ioctl;

/// A memory file that the kernel knows as a backing file of our mount.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) id: i32,
}

impl Backing {
    /// Counts one more description that uses the memory file of a node; the first one registers it.
    ///
    /// Returns none if the kernel does not want it: a region must start at the beginning of its file.
    pub(super) fn attach(device: &OwnedFd, slot: &mut Option<(i32, usize)>, region: &Region) -> Option<Self> {
        if let Some((id, users)) = slot {
            *users += 1;
            return Some(Self { id: *id });
        }
        if !region.is_whole_file() {
            return None;
        }
        let mut map = BackingMap { fd: region.file().as_raw_fd(), flags: 0, padding: 0 };
        // SAFETY: the opcode is the one of FUSE_DEV_IOC_BACKING_OPEN, which reads a structure of this layout.
        let id = unsafe { libc::ioctl(device.as_raw_fd(), BACKING_OPEN, &raw mut map) };
        if id <= 0 {
            return None;
        }
        *slot = Some((id, 1));
        Some(Self { id })
    }

    /// One description less; the last one takes the registration back.
    pub(super) fn detach(device: &OwnedFd, slot: &mut Option<(i32, usize)>) {
        match slot {
            Some((_, users)) if *users > 1 => *users -= 1,
            Some((id, _)) => {
                let mut id = id.cast_unsigned();
                // SAFETY: the opcode is the one of FUSE_DEV_IOC_BACKING_CLOSE, which reads one word.
                unsafe { libc::ioctl(device.as_raw_fd(), BACKING_CLOSE, &raw mut id) };
                *slot = None;
            }
            None => {}
        }
    }
}
