//! One eventfd counter, made through the C symbol `eventfd` and used with
//! plain `read` and `write`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::failure::{Context, Result};
use crate::procfs;
use crate::sys::check;

const SIZE: usize = size_of::<u64>();

pub(crate) struct Counter(OwnedFd);

impl Counter {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let raw = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).context(|| "create a counter".into())?;
        // SAFETY: the call above returned this descriptor and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    pub(crate) fn add(&self, value: u64) -> Result<()> {
        // SAFETY: the pointer is to the eight live bytes of `value`.
        let written = unsafe { libc::write(self.0.as_raw_fd(), (&raw const value).cast(), SIZE) };
        whole(written).context(|| "write a counter".into())
    }

    /// Reads the counter and sets it to zero; blocks while it is zero.
    pub(crate) fn take(&self) -> Result<u64> {
        let mut value = 0_u64;
        // SAFETY: the pointer is to the eight live, writable bytes of `value`.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut value).cast(), SIZE) };
        whole(read).context(|| "read a counter".into())?;
        Ok(value)
    }

    /// Whether someone else than the kernel's own eventfd answers.
    pub(crate) fn is_served(&self) -> Result<bool> {
        procfs::is_other_than(self.0.as_fd(), "anon_inode:[eventfd]")
    }
}

/// Accepts only a transfer of the whole counter.
fn whole(transferred: isize) -> io::Result<()> {
    match usize::try_from(transferred) {
        Ok(SIZE) => Ok(()),
        Ok(other) => Err(io::Error::other(format!("{other} bytes instead of {SIZE}"))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// An epoll set with one counter in it.
pub(crate) struct Watch(OwnedFd);

impl Watch {
    pub(crate) fn new(counter: &Counter) -> Result<Self> {
        // SAFETY: epoll_create1 takes one integer and touches no memory of ours.
        let raw =
            check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).context(|| "create an epoll set".into())?;
        // SAFETY: the call above returned this descriptor and nobody else has it.
        let set = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
        // SAFETY: both descriptors are open and the pointer is to a live event.
        check(unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, counter.0.as_raw_fd(), &raw mut event) })
            .context(|| "add a counter to an epoll set".into())?;
        Ok(Self(set))
    }

    /// Blocks until the counter can be read.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the pointer is to one live event, and the count says one.
        check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, -1) })
            .context(|| "wait with epoll".into())?;
        Ok(())
    }
}
