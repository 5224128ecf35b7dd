//! The shim's functions as C sees them, in front of glibc's. Here and not in the shim, since whatever links these has them in place of its C library's.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use eventd_shim::{Errno, Semaphores};

use crate::descriptors::CLIENT;

unsafe extern "C" {
    /// Where the C library keeps errno of the calling thread; glibc and relibc have the same name for it.
    pub(crate) fn __errno_location() -> *mut c_int;
    pub(crate) fn pthread_atfork(prepare: AtFork, parent: AtFork, child: AtFork) -> c_int;
}

type AtFork = Option<extern "C" fn()>;

pub(crate) fn result(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|errno| {
        if errno != Errno::UNCHANGED {
            // SAFETY: the C library returns a valid pointer for every thread.
            unsafe { *__errno_location() = errno.0 };
        }
        -1
    })
}

/// Creates a counter; see [`eventd_shim::eventfd()`].
#[unsafe(no_mangle)]
extern "C-unwind" fn eventfd(initval: c_uint, flags: c_int) -> c_int {
    let made = eventd_shim::eventfd(None, initval, flags);
    if let Ok(fd) = made {
        CLIENT.made(fd);
    }
    result(made)
}

/// Reads a counter; see [`eventd_shim::eventfd_read`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn eventfd_read(fd: c_int, value: *mut u64) -> c_int {
    // SAFETY: the caller's promise.
    result(unsafe { eventd_shim::eventfd_read(fd, value) }.map(|()| 0))
}

/// Adds to a counter; see [`eventd_shim::eventfd_write`].
#[unsafe(no_mangle)]
extern "C-unwind" fn eventfd_write(fd: c_int, value: u64) -> c_int {
    result(eventd_shim::eventfd_write(fd, value).map(|()| 0))
}

/// `sizeof(sigset_t)` of the system call.
const MASK_SIZE: usize = size_of::<u64>();

/// Creates a signalfd or replaces its mask; see [`eventd_shim::signalfd()`].
///
/// # Safety
/// `mask` points to a set of signals, the first word of which are the signals that there are.
#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd(fd: c_int, mask: *const u64, flags: c_int) -> c_int {
    // Linux sees this before anything else (semantics 67); other bad pointers only the system could tell.
    if mask.is_null() {
        return result(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's promise.
    result(eventd_shim::signalfd(None, fd, unsafe { mask.read_unaligned() }, flags))
}

/// The system call of this name: as [`signalfd`], and EINVAL unless `size` is that of a set of signals (semantics 66).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd4(fd: c_int, mask: *const u64, size: usize, flags: c_int) -> c_int {
    if size != MASK_SIZE {
        return result(Err(Errno::EINVAL));
    }
    // SAFETY: the caller's promise.
    unsafe { signalfd(fd, mask, flags) }
}

/// `PTHREAD_CANCEL_DISABLE` of glibc.
const CANCEL_DISABLE: c_int = 1;
/// `O_CREAT` needs two more arguments, of which C passes the first as an int.
type Mode = c_uint;

unsafe extern "C" {
    fn pthread_mutex_lock(mutex: *mut c_void) -> c_int;
    fn pthread_mutex_unlock(mutex: *mut c_void) -> c_int;
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    fn sem_init(sem: *mut c_void, pshared: c_int, value: c_uint) -> c_int;
}

/// The table of the process, behind a lock of the C library.
struct Table {
    /// A `pthread_mutex_t` in its initial state, which is all zeroes in glibc; no C library has a larger one.
    mutex: UnsafeCell<[u64; 8]>,
    content: UnsafeCell<Semaphores>,
    /// Whether fork knows of the lock.
    at_fork: UnsafeCell<bool>,
}

// SAFETY: everything in it is reached through the lock only.
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    mutex: UnsafeCell::new([0; 8]),
    content: UnsafeCell::new(Semaphores::new()),
    at_fork: UnsafeCell::new(false),
};

extern "C" fn lock() {
    // SAFETY: the mutex has its initial state, or what the C library made of it.
    unsafe { pthread_mutex_lock(TABLE.mutex.get().cast()) };
}

extern "C" fn unlock() {
    // SAFETY: as for `lock`, by the thread that locked it, or its copy in a child.
    unsafe { pthread_mutex_unlock(TABLE.mutex.get().cast()) };
}

/// Runs `change` on the table, while nobody else does and the thread cannot be cancelled (semantics 164).
fn with_table<T>(change: impl FnOnce(&mut Semaphores) -> T) -> T {
    let mut old = 0;
    // SAFETY: the pointer is that of a local variable.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut old) };
    lock();
    // SAFETY: we hold the lock, so nobody else has a reference to what is behind it.
    let (table, at_fork) = unsafe { (&mut *TABLE.content.get(), &mut *TABLE.at_fork.get()) };
    if !*at_fork {
        // SAFETY: the handlers only lock and unlock. If there is no memory for them, the next call tries again.
        *at_fork = unsafe { pthread_atfork(Some(lock), Some(unlock), Some(unlock)) } == 0;
    }
    let result = change(table);
    unlock();
    // SAFETY: null is allowed for a state that nobody wants to know.
    unsafe { pthread_setcancelstate(old, std::ptr::null_mut()) };
    result
}

/// Opens a named semaphore; see [`Semaphores::open`]. The arguments behind `oflag` are taken only with O_CREAT (semantics 143).
///
/// # Safety
/// `name` is a string; with O_CREAT a mode and an unsigned int follow.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_open(name: *const c_char, oflag: c_int, mut arguments: ...) -> *mut c_void {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    // As long and as aligned as any C library's sem_t.
    let mut content = [0_u64; 4];
    let create = eventd_shim::creates(oflag).map(|exclusive| {
        // SAFETY: the caller's promise.
        let (mode, value) = unsafe { (arguments.next_arg::<Mode>(), arguments.next_arg::<c_uint>()) };
        // A value that is too large is refused later, and only if the name is not there (semantics 141, 142).
        // SAFETY: there is room for a semaphore.
        unsafe { sem_init(content.as_mut_ptr().cast(), 1, value.min(eventd_shim::SEM_VALUE_MAX)) };
        (exclusive, mode, value)
    });
    let bytes = content.map(u64::to_ne_bytes);
    let create = create.map(|(exclusive, mode, value)| eventd_shim::Create {
        mode: (mode & 0o777) as u16,
        value,
        content: bytes.as_flattened(),
        exclusive,
    });
    match with_table(|table| table.open(None, name, create)) {
        Ok(address) => std::ptr::with_exposed_provenance_mut(address),
        Err(errno) => {
            result(Err(errno));
            // SEM_FAILED (semantics 165).
            std::ptr::null_mut()
        }
    }
}

/// Closes a named semaphore; see [`Semaphores::close`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_close(sem: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    result(with_table(|table| unsafe { table.close(sem.addr()) }).map(|()| 0))
}

/// Takes the name of a semaphore away; see [`eventd_shim::sem_unlink`].
///
/// # Safety
/// `name` is a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    result(eventd_shim::sem_unlink(unsafe { CStr::from_ptr(name) }.to_bytes()).map(|()| 0))
}
