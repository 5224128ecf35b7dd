//! Which process a thread belongs to.

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The process of the thread `tid`; 0 if it is gone, or none at all.
///
/// The kernel names the calling thread in FUSE requests, the Redox kernel the process.
pub(crate) fn of_thread(tid: u32) -> usize {
    let Some(pid) = i32::try_from(tid).ok().and_then(Pid::from_raw) else { return 0 };
    // Only the first thread of a process can be had this way, which is the caller mostly; and this is ten times as fast as reading /proc.
    if pidfd_open(pid, PidfdFlags::empty()).is_ok() {
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
