//! Signals, and one signalfd, made through the C symbol `signalfd` and used with plain `read`.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, pid_t, signalfd_siginfo, sigset_t};

use crate::failure::{Context, Failure, Result};
use crate::procfs;
use crate::sys::check;

/// What one read has room for.
const RECORDS: usize = 32;

unsafe extern "C" {
    fn sigqueue(pid: pid_t, signal: c_int, value: libc::sigval) -> c_int;
}

/// A set of signals.
#[derive(Clone, Copy)]
pub(crate) struct Signals(sigset_t);

impl Signals {
    pub(crate) fn of(numbers: &[c_int]) -> Result<Self> {
        // SAFETY: sigset_t is an array of integers; all zero bits is the empty set.
        let mut set = unsafe { mem::zeroed() };
        for &number in numbers {
            // SAFETY: the pointer is to a live set.
            check(unsafe { libc::sigaddset(&raw mut set, number) })
                .context(|| format!("add signal {number} to a set"))?;
        }
        Ok(Self(set))
    }

    /// Blocks them in the calling thread.
    pub(crate) fn block(&self) -> Result<()> {
        // SAFETY: the pointer is to a live set; null is allowed for a mask that nobody wants to know.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const self.0, ptr::null_mut()) })
            .context(|| "block signals".into())?;
        Ok(())
    }

    /// Takes a pending one, without a signalfd.
    pub(crate) fn take(&self) -> Result<()> {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointers are to live values; null is allowed for information that nobody wants.
        check(unsafe { libc::sigtimedwait(&raw const self.0, ptr::null_mut(), &raw const now) })
            .context(|| "take a pending signal".into())?;
        Ok(())
    }
}

/// Sends a realtime signal with a value.
pub(crate) fn queue(pid: pid_t, signal: c_int, value: u32) -> Result<()> {
    let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(value as usize) };
    // SAFETY: sigqueue takes three values; it does not look at what the third may point to.
    check(unsafe { sigqueue(pid, signal, value) }).context(|| format!("queue signal {signal}"))?;
    Ok(())
}

pub(crate) struct Signalfd(OwnedFd);

impl Signalfd {
    pub(crate) fn new(signals: &Signals) -> Result<Self> {
        // SAFETY: the pointer is to a live set.
        let raw = check(unsafe { libc::signalfd(-1, &raw const signals.0, libc::SFD_CLOEXEC) })
            .context(|| "create a signalfd".into())?;
        // SAFETY: the call above returned this descriptor and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Reads as many records as there are, up to a limit; blocks while there is none.
    pub(crate) fn read(&self) -> Result<Vec<signalfd_siginfo>> {
        let mut records = Vec::<signalfd_siginfo>::with_capacity(RECORDS);
        // SAFETY: there is room for so many records behind the pointer.
        let length = unsafe {
            libc::read(self.0.as_raw_fd(), records.as_mut_ptr().cast(), RECORDS * size_of::<signalfd_siginfo>())
        };
        let length =
            usize::try_from(length).map_err(|_| io::Error::last_os_error()).context(|| "read a signalfd".into())?;
        if length == 0 || length % size_of::<signalfd_siginfo>() != 0 {
            return Err(Failure::new(format!("a read of a signalfd returned {length} bytes")));
        }
        // SAFETY: the read has filled so many records, which are plain integers.
        unsafe { records.set_len(length / size_of::<signalfd_siginfo>()) };
        Ok(records)
    }

    /// Whether someone else than the kernel's own signalfd answers.
    pub(crate) fn is_served(&self) -> Result<bool> {
        procfs::is_other_than(self.0.as_fd(), "anon_inode:[signalfd]")
    }
}
