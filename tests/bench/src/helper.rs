//! Forked helper processes of a worker.

use std::os::unix::process::parent_id;
use std::process;

use libc::pid_t;

use crate::failure::{Context, Failure, Result};
use crate::sys::{self, check};

pub(crate) struct Helper {
    role: &'static str,
    pid: pid_t,
}

impl Helper {
    /// Runs `body` in a forked process. What `body` owns is closed in this
    /// process on return, so a pipe end moved into it lives in the helper only
    /// and its end is seen here as end of file.
    ///
    /// Call it only while the process has a single thread.
    pub(crate) fn fork(role: &'static str, body: impl FnOnce() -> Result<()>) -> Result<Self> {
        let parent = process::id();
        // SAFETY: workers fork before they start threads, so no lock can be
        // held by a thread that the new process does not have.
        let pid = check(unsafe { libc::fork() }).context(|| format!("fork {role}"))?;
        if pid != 0 {
            return Ok(Self { role, pid });
        }
        let outcome = match tie_to(parent) {
            Ok(true) => body(),
            Ok(false) => Ok(()),
            Err(failure) => Err(failure),
        };
        let status = match outcome {
            Ok(()) => 0,
            Err(failure) => {
                eprintln!("bench-worker: {role}: {failure}");
                1
            }
        };
        // SAFETY: _exit takes one integer; it skips the exit handlers, which
        // belong to the process that was forked.
        unsafe { libc::_exit(status) }
    }

    pub(crate) fn pid(&self) -> pid_t {
        self.pid
    }

    /// Waits for the helper's end, which the caller has already brought about.
    pub(crate) fn finish(self) -> Result<()> {
        let mut status = 0;
        // SAFETY: the pointer is to a live integer.
        check(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }).context(|| format!("wait for {}", self.role))?;
        if status == 0 {
            Ok(())
        } else {
            Err(Failure::new(format!("{} ended with wait status {status:#x}", self.role)))
        }
    }
}

/// Has this process die with `parent`; false if that is gone already.
fn tie_to(parent: u32) -> Result<bool> {
    sys::end_with_parent().context(|| "tie a helper to its worker".into())?;
    Ok(parent_id() == parent)
}
