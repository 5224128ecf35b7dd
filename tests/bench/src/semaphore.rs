//! One named semaphore, through the C symbols `sem_open` and its kin.

use std::ffi::CString;
use std::fs;
use std::io;
use std::process;

use crate::failure::{Context, Failure, Result};
use crate::sys::check;

/// A name that no other process uses.
pub(crate) struct Name(CString);

impl Name {
    pub(crate) fn new(part: &str) -> Result<Self> {
        let name = format!("/eventd-bench-{}-{part}", process::id());
        CString::new(name).map(Self).map_err(io::Error::other).context(|| format!("make a name of {part}"))
    }

    /// Makes a semaphore of this name, which must be new.
    pub(crate) fn create(&self) -> Result<Semaphore> {
        self.open_with(libc::O_CREAT | libc::O_EXCL)
    }

    /// Opens the semaphore of this name.
    pub(crate) fn open(&self) -> Result<Semaphore> {
        self.open_with(0)
    }

    fn open_with(&self, flags: libc::c_int) -> Result<Semaphore> {
        const MODE: libc::c_uint = 0o600;
        const VALUE: libc::c_uint = 0;
        // SAFETY: the name is a live string, and the arguments that O_CREAT asks for are there.
        let semaphore = unsafe { libc::sem_open(self.0.as_ptr(), flags, MODE, VALUE) };
        if semaphore == libc::SEM_FAILED {
            return Err(io::Error::last_os_error()).context(|| "open a semaphore".into());
        }
        Ok(Semaphore(semaphore))
    }

    pub(crate) fn unlink(&self) -> Result<()> {
        // SAFETY: the name is a live string.
        check(unsafe { libc::sem_unlink(self.0.as_ptr()) }).context(|| "unlink a semaphore".into())?;
        Ok(())
    }
}

/// An open semaphore; it stays open if it is just dropped.
pub(crate) struct Semaphore(*mut libc::sem_t);

impl Semaphore {
    pub(crate) fn close(self) -> Result<()> {
        // SAFETY: it is open, and gone with this call.
        check(unsafe { libc::sem_close(self.0) }).context(|| "close a semaphore".into())?;
        Ok(())
    }

    pub(crate) fn post(&self) -> Result<()> {
        // SAFETY: it is open as long as `self` lives.
        check(unsafe { libc::sem_post(self.0) }).context(|| "post a semaphore".into())?;
        Ok(())
    }

    pub(crate) fn wait(&self) -> Result<()> {
        // SAFETY: as for `post`.
        check(unsafe { libc::sem_wait(self.0) }).context(|| "wait for a semaphore".into())?;
        Ok(())
    }

    /// Whether there has been a post that nobody took.
    pub(crate) fn is_posted(&self) -> Result<bool> {
        let mut value = 0;
        // SAFETY: as for `post`; the pointer is to a live integer.
        check(unsafe { libc::sem_getvalue(self.0, &raw mut value) }).context(|| "look at a semaphore".into())?;
        Ok(value > 0)
    }

    /// Whether its memory is other than the C library's own, which lies in a file of `/dev/shm`.
    pub(crate) fn is_served(&self) -> Result<bool> {
        let maps = fs::read_to_string("/proc/self/maps").context(|| "read /proc/self/maps".into())?;
        let start = format!("{:x}-", self.0.addr());
        let line = maps.lines().find(|line| line.starts_with(&start));
        let line = line.ok_or_else(|| Failure::new("a semaphore is in no mapping of its own"))?;
        Ok(!line.contains(" /dev/shm/"))
    }
}
