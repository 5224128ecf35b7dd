//! Which CPUs may be used, and pinning to them.

use std::fs;
use std::io;

use libc::{cpu_set_t, pid_t};

use crate::failure::{Context, Failure, Result};
use crate::sys::check;

/// The CPUs this process may run on, ascending. Containers often do not have
/// CPU 0, so "the first core" of a case is the first of these.
pub(crate) fn allowed() -> Result<Vec<usize>> {
    let mut set = empty_set();
    // SAFETY: the pointer is to a live cpu_set_t and the size is its own.
    check(unsafe { libc::sched_getaffinity(0, size_of::<cpu_set_t>(), &raw mut set) })
        .context(|| "read the CPU affinity".into())?;
    let cpus = 0..8 * size_of::<cpu_set_t>();
    // SAFETY: every index lies within the set.
    Ok(cpus.filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// The first allowed CPU.
pub(crate) fn first() -> Result<usize> {
    nth(0)
}

/// The second allowed CPU.
pub(crate) fn second() -> Result<usize> {
    nth(1)
}

fn nth(index: usize) -> Result<usize> {
    allowed()?
        .get(index)
        .copied()
        .ok_or_else(|| Failure::new(format!("the system grants fewer than {} CPUs", index + 1)))
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin_self(cpu: usize) -> Result<()> {
    set_affinity(0, &[cpu]).context(|| format!("pin to CPU {cpu}"))
}

/// Confines every thread of a process to `cpus`. The system call takes one
/// thread only, and a daemon may have several.
pub(crate) fn confine(pid: pid_t, cpus: &[usize]) -> Result<()> {
    let tried = || format!("set the CPU affinity of process {pid}");
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context(tried)? {
        let name = entry.context(tried)?.file_name();
        let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match set_affinity(thread, cpus) {
            // A thread that ended since the directory was read needs no pinning.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result.context(tried)?,
        }
    }
    Ok(())
}

fn set_affinity(thread: pid_t, cpus: &[usize]) -> io::Result<()> {
    let mut set = empty_set();
    for &cpu in cpus {
        // SAFETY: the set is live; an index outside of it would panic, not write.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the pointer is to a live cpu_set_t and the size is its own.
    check(unsafe { libc::sched_setaffinity(thread, size_of::<cpu_set_t>(), &raw const set) }).map(|_| ())
}

fn empty_set() -> cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers; all zero bits is the empty set.
    unsafe { std::mem::zeroed() }
}
