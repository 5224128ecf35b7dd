//! What relibc keeps of eventd: a descriptor of its root, and the named semaphores of the process.

use core::{
    slice, str,
    sync::atomic::{AtomicUsize, Ordering},
};

use eventd_shim::{Create, Errno as ShimErrno, SEM_VALUE_MAX, Semaphores};
use redox_protocols::protocol::O_CLOEXEC;
use redox_rt::{proc::FdGuard, sys::eventd_descriptors};
use syscall::{
    data::Event,
    error::Error,
    flag::{EventFlags, O_STAT},
};

use crate::{
    c_str::CStr,
    error::{Errno, Result},
    header::{
        errno::{EBADF, EINVAL, ENODEV},
        fcntl::AT_FDCWD,
        pthread::pthread_atfork,
        semaphore::sem_t,
    },
    platform::{
        sys::counters,
        types::{c_int, c_uint, mode_t},
    },
    pthread,
    sync::{Mutex, Semaphore},
};

/// A descriptor of `/scheme/eventd` in the upper file table, where programs do not see it.
///
/// Opening by path asks the namespace manager each time, which costs more than all the rest. A forked child has the same descriptor under the same number; exec
/// closes it, and starts with a new libc.
static ROOT: AtomicUsize = AtomicUsize::new(NO_ROOT);
const NO_ROOT: usize = usize::MAX;

/// Makes a call of the shim from the kept root, or by path while there is none.
pub fn with_root<T>(
    mut call: impl FnMut(Option<usize>) -> Result<T, ShimErrno>,
) -> Result<T, ShimErrno> {
    let root = ROOT.load(Ordering::Acquire);
    if root != NO_ROOT {
        match call(Some(root)) {
            // eventd has been restarted.
            Err(ShimErrno(ENODEV | EBADF)) => forget_root(root),
            result => return result,
        }
    }
    let result = call(None);
    if result.is_ok() && ROOT.load(Ordering::Acquire) == NO_ROOT {
        keep_root();
    }
    result
}

/// Without a root to keep, the next call opens by path again: an error here is nobody's concern.
fn keep_root() {
    let Ok(root) = FdGuard::open_into_upper("/scheme/eventd", O_STAT | O_CLOEXEC) else {
        return;
    };
    let kept = ROOT.compare_exchange(
        NO_ROOT,
        root.as_raw_fd(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    if kept.is_ok() {
        root.take();
    }
}

/// The descriptor itself stays open: another thread may be using it.
fn forget_root(root: usize) {
    let _ = ROOT.compare_exchange(root, NO_ROOT, Ordering::AcqRel, Ordering::Acquire);
}

/// The descriptor of an eventfd or signalfd that the program has opened, from now on known to be one.
pub fn opened(descriptor: c_int) -> c_int {
    if let Ok(descriptor) = usize::try_from(descriptor) {
        eventd_descriptors::note(descriptor);
    }
    descriptor
}

/// Reads an event queue by `read`, which says how many bytes it has put to `events`, and leaves out what is not true of eventd's descriptors. If nothing else
/// was there, waits on for what is left of `timeout`, in milliseconds, -1 for ever: the queue forgets a time limit, so `limit` sets it again.
///
/// # Safety
/// `read` puts whole events there.
pub unsafe fn read_events(
    events: *mut Event,
    timeout: c_int,
    limit: impl Fn(c_int) -> Result<usize>,
    read: impl Fn() -> syscall::Result<usize>,
) -> syscall::Result<usize> {
    if !eventd_descriptors::any() {
        return read();
    }
    // A wait without a limit has no need of the time, which takes a system call.
    let deadline = match timeout {
        1.. => Some(milliseconds()? + i64::from(timeout)),
        _ => None,
    };
    loop {
        let count = read()? / size_of::<Event>();
        // SAFETY: they have just been put there.
        let events = unsafe { slice::from_raw_parts_mut(events, count) };
        let mut kept = 0;
        for index in 0..count {
            let mut event = events[index];
            // What cannot be asked is left as it is: the descriptor may be closed.
            if eventd_descriptors::is_known(event.id)
                && let Ok(ready) = counters::readiness(event.id)
            {
                event.flags &= EventFlags::from_bits_truncate(ready);
                let told = events[..kept].iter().any(|other| other.id == event.id);
                if told || event.flags.is_empty() {
                    continue;
                }
            }
            events[kept] = event;
            kept += 1;
        }
        if kept > 0 || count == 0 {
            return Ok(kept * size_of::<Event>());
        }
        if timeout >= 0 {
            let left = match deadline {
                Some(deadline) => (deadline - milliseconds()?).max(0),
                None => 0,
            };
            limit(left as c_int).map_err(|Errno(errno)| Error::new(errno))?;
        }
    }
}

/// Time that only goes forward.
fn milliseconds() -> syscall::Result<i64> {
    let mut now = syscall::TimeSpec::default();
    syscall::clock_gettime(syscall::CLOCK_MONOTONIC, &mut now)?;
    Ok(now.tv_sec * 1000 + i64::from(now.tv_nsec) / 1_000_000)
}

/// What libredox plans as its function of this name. relibc has not got it yet; should this be defined twice one day, drop it here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn redox_unlinkat_v0(
    fd: usize,
    path_base: *const u8,
    path_len: usize,
    flags: u32,
) -> usize {
    if fd as c_int != AT_FDCWD {
        return Error::mux(Err(Error::new(EINVAL)));
    }
    // SAFETY: libredox's functions take the parts of a string.
    let path = unsafe { str::from_utf8_unchecked(slice::from_raw_parts(path_base, path_len)) };
    Error::mux(redox_rt::sys::unlink(path, flags as usize))
}

static SEMAPHORES: Mutex<Table> = Mutex::new(Table {
    semaphores: Semaphores::new(),
    at_fork: false,
});

struct Table {
    semaphores: Semaphores,
    /// Whether fork knows of the lock.
    at_fork: bool,
}

extern "C" fn before_fork() {
    // SAFETY: the content is not touched; `after_fork` unlocks.
    let _ = unsafe { SEMAPHORES.manual_lock() };
}

extern "C" fn after_fork() {
    // SAFETY: locked by `before_fork`, in this thread or the one that this is a copy of.
    unsafe { SEMAPHORES.manual_unlock() };
}

/// Runs `change` on the table, while nobody else does and the thread cannot be cancelled.
fn with_semaphores<T>(change: impl FnOnce(&mut Semaphores) -> T) -> T {
    // Not by pthread_setcancelstate, which would cancel at the end, when the semaphore is open and nobody has got it.
    let thread = pthread::current_thread();
    let cancelable =
        thread.map(|thread| thread.has_enabled_cancelation.swap(false, Ordering::AcqRel));
    let result = {
        let mut table = SEMAPHORES.lock();
        if !table.at_fork {
            table.at_fork =
                pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) == 0;
        }
        change(&mut table.semaphores)
    };
    if let (Some(thread), Some(cancelable)) = (thread, cancelable) {
        thread
            .has_enabled_cancelation
            .store(cancelable, Ordering::Release);
    }
    result
}

/// `sem_open`. `create` has the two arguments that come with O_CREAT.
pub fn sem_open(
    name: CStr<'_>,
    oflag: c_int,
    create: impl FnOnce() -> (mode_t, c_uint),
) -> Result<*mut sem_t> {
    // A semaphore and zeroes behind it, in the page of eventd's.
    let mut content = [0_u8; size_of::<sem_t>()];
    let create = eventd_shim::creates(oflag).map(|exclusive| {
        let (mode, value) = create();
        // A value that is too large is refused later, and only if the name is not there.
        let semaphore = Semaphore::new(value.min(SEM_VALUE_MAX));
        // SAFETY: a semaphore is no larger than a sem_t, and has no padding.
        content[..size_of::<Semaphore>()].copy_from_slice(unsafe {
            slice::from_raw_parts((&raw const semaphore).cast(), size_of::<Semaphore>())
        });
        let mode = mode & !(redox_rt::sys::get_umask() as mode_t) & 0o777;
        (exclusive, mode as u16, value)
    });
    let create = create.map(|(exclusive, mode, value)| Create {
        mode,
        value,
        content: &content,
        exclusive,
    });
    let name = name.to_bytes();
    let address =
        with_semaphores(|semaphores| with_root(|root| semaphores.open(root, name, create)));
    address
        .map(|address| address as *mut sem_t)
        .map_err(|ShimErrno(errno)| Errno(errno))
}

/// `sem_close`.
///
/// # Safety
/// Nobody in the process uses the semaphore any more if this closes it as often as it was opened.
pub unsafe fn sem_close(sem: *mut sem_t) -> Result<()> {
    // SAFETY: the caller's promise.
    with_semaphores(|semaphores| unsafe { semaphores.close(sem as usize) })
        .map_err(|ShimErrno(errno)| Errno(errno))
}

/// `sem_unlink`.
pub fn sem_unlink(name: CStr<'_>) -> Result<()> {
    eventd_shim::sem_unlink(name.to_bytes()).map_err(|ShimErrno(errno)| Errno(errno))
}
