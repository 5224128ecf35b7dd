//! Which process a thread belongs to.
#![allow(unsafe_code)]

/// The process of the thread `tid`; 0 if it is gone, or none at all.
///
/// The kernel names the calling thread in FUSE requests, the Redox kernel the process.
pub(crate) fn of_thread(tid: u32) -> usize {
    let Some(thread) = libc::pid_t::try_from(tid).ok().filter(|tid| *tid > 0) else { return 0 };
    // Signal 0 is no signal. The call fails with ESRCH unless the thread is the first of its process, which the caller mostly is; and asking this way is much
    // faster than reading /proc.
    // SAFETY: tgkill takes any numbers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, thread, thread, 0) };
    if sent == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) {
        return tid as usize;
    }
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::of_thread;

    #[test]
    fn threads_belong_to_their_process() {
        let process = std::process::id();
        assert_eq!(of_thread(process), process as usize);
        let thread = std::thread::spawn(|| {
            let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            (tid, of_thread(tid))
        });
        let (tid, found) = thread.join().unwrap_or_default();
        assert_ne!(tid, process);
        assert_eq!(found, process as usize);
        assert_eq!(of_thread(0), 0);
        assert_eq!(of_thread(u32::MAX), 0);
    }
}
