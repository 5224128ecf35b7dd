//! Safe wrappers around the system calls std does not offer.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libc::{c_int, pid_t};

/// Turns the -1 of a system call into the error that errno names.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Has the kernel kill this process when the thread that started it ends, so
/// that killing one pid takes a worker and all its helpers.
pub(crate) fn end_with_parent() -> io::Result<()> {
    set_parent_death_signal(libc::SIGKILL)
}

/// Has the kernel send `signal` to the process that `command` starts when the
/// calling thread ends.
pub(crate) fn signal_with_parent(command: &mut Command, signal: c_int) {
    // SAFETY: between fork and exec the hook makes one system call and builds an
    // error from errno; neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || set_parent_death_signal(signal)) };
}

fn set_parent_death_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(|_| ())
}

/// Has the kernel end this process by SIGALRM after `seconds`.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: alarm takes one integer; SIGALRM keeps its default action.
    unsafe { libc::alarm(seconds) };
}

/// Sends `signal` to one process, by its pid.
pub(crate) fn kill(pid: pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) }).map(|_| ())
}

/// Waits at most `limit` for a child to end, without reaping it and without
/// waking up meanwhile (a polling driver would disturb what it measures).
/// Returns whether it has ended.
pub(crate) fn wait_for_end(pid: pid_t, limit: Duration) -> io::Result<bool> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = check(c_int::try_from(opened).map_err(io::Error::other)?)?;
    // SAFETY: the call above returned this descriptor and nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut entry = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the pointer is to one live pollfd, and the count says one.
    Ok(check(unsafe { libc::poll(&raw mut entry, 1, millis) })? > 0)
}

/// Takes away the mount at `path`; false if nothing was mounted there.
pub(crate) fn unmount(path: &Path) -> io::Result<bool> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name is a live string that ends in NUL.
    let result = check(unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) });
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live, initialised rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}
