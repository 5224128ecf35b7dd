//! glibc's functions that read, write, make or close descriptors: eventfds are served in memory, see [`eventd_shim::Client`], and all else is passed on.
//!
//! read and write stay cancellation points: before they begin, as glibc's, and while they sleep, see `redox_futex_wait_v0` of the host.
//!
//! What a program does to its descriptors otherwise, by a bare system call or inside glibc, is not seen here. The numbers that glibc assigns by itself are the
//! standard ones, at which no eventfd is served in memory; and its own files are told of by fdopen. A thread that unshares its descriptors would need a table of
//! its own, and so would a child of vfork that reads or writes, before it calls exec, at a number where its parent has an eventfd and it has something else. readv and writev, which are rare on an eventfd, go to eventd.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

use eventd_shim::{Client, Errno};

use crate::c_abi::__errno_location;
use crate::vfork;

/// Descriptors from this on are eventd's own business: each that is used takes a mapping, of which Linux gives a process 65,530 (vm.max_map_count), and the program
/// needs some as well.
const DESCRIPTORS: usize = 32_768;

pub(crate) static CLIENT: Client<DESCRIPTORS> = Client::new();

// The names of glibc's own that do not lead back here. A thread that is cancelled is unwound through their callers.
unsafe extern "C-unwind" {
    fn __read(fd: c_int, buffer: *mut c_void, len: usize) -> isize;
    fn __write(fd: c_int, buffer: *const c_void, len: usize) -> isize;
    fn __close(fd: c_int) -> c_int;
    fn __fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn _IO_fdopen(fd: c_int, mode: *const c_char) -> *mut c_void;
    fn __chk_fail() -> !;
    fn pthread_testcancel();
}

/// A read or a write of what may be an eventfd; none if it is to be passed on.
fn serve(operation: impl FnOnce() -> Option<Result<usize, Errno>>) -> Option<isize> {
    // SAFETY: the thread holds nothing here.
    unsafe { pthread_testcancel() };
    let (outcome, errno) = keeping_errno(operation);
    match outcome? {
        Ok(len) => Some(len.cast_signed()),
        Err(failure) => {
            // SAFETY: the C library returned the pointer for this thread.
            unsafe { *errno = failure.0 };
            Some(-1)
        }
    }
}

/// What `call` returns; errno, where that pointer leads, is as it was before.
fn keeping_errno<T>(call: impl FnOnce() -> T) -> (T, *mut c_int) {
    // SAFETY: the C library returns a valid pointer for every thread.
    let (errno, before) = unsafe {
        let errno = __errno_location();
        (errno, *errno)
    };
    let result = call();
    // SAFETY: as above.
    unsafe { *errno = before };
    (result, errno)
}

/// `read(2)`.
///
/// # Safety
/// As there; if `fd` is an eventfd, the program itself writes to `buffer`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { if CLIENT.is_eventfd(fd) { read_eventfd(fd, buffer, len) } else { __read(fd, buffer, len) } }
}

/// Apart, so that all others pay for nothing but the question.
///
/// # Safety
/// As for [`read`].
#[inline(never)]
unsafe fn read_eventfd(fd: c_int, buffer: *mut c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    serve(|| unsafe {
        CLIENT.read_at_once(fd, buffer.cast(), len).map(Ok).or_else(|| CLIENT.read(fd, buffer.cast(), len))
    })
    .unwrap_or_else(|| unsafe { __read(fd, buffer, len) })
}

/// `write(2)`.
///
/// # Safety
/// As there; if `fd` is an eventfd, the program itself reads from `buffer`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { if CLIENT.is_eventfd(fd) { write_eventfd(fd, buffer, len) } else { __write(fd, buffer, len) } }
}

/// Apart, so that all others pay for nothing but the question.
///
/// # Safety
/// As for [`write`].
#[inline(never)]
unsafe fn write_eventfd(fd: c_int, buffer: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    serve(|| unsafe {
        CLIENT.write_at_once(fd, buffer.cast(), len).map(Ok).or_else(|| CLIENT.write(fd, buffer.cast(), len))
    })
    .unwrap_or_else(|| unsafe { __write(fd, buffer, len) })
}

/// read(2), if it was compiled with _FORTIFY_SOURCE and the size of the buffer is known.
///
/// # Safety
/// As for [`read`].
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read_chk(fd: c_int, buffer: *mut c_void, len: usize, room: usize) -> isize {
    if len > room {
        // SAFETY: it ends the program.
        unsafe { __chk_fail() };
    }
    // SAFETY: the caller's promise.
    unsafe { read(fd, buffer, len) }
}

/// The process whose table it is hears of a change; a child of vfork only changes its own descriptors.
fn unless_borrowed<T, S: FnOnce() -> T>(concerned: bool, told: impl FnOnce(S) -> T, system: S) -> T {
    if concerned && vfork::is_child() { system() } else { told(system) }
}

/// `close(2)`.
#[unsafe(no_mangle)]
extern "C-unwind" fn close(fd: c_int) -> c_int {
    // SAFETY: it takes any number.
    unless_borrowed(CLIENT.is_eventfd(fd), |system| CLIENT.close(fd, system), || unsafe { __close(fd) })
}

/// `dup(2)`.
#[unsafe(no_mangle)]
extern "C" fn dup(old: c_int) -> c_int {
    // SAFETY: it takes any number.
    let fd = system(unsafe { libc::syscall(libc::SYS_dup, old) });
    CLIENT.duplicated(old, fd);
    fd
}

/// `dup2(2)`.
#[unsafe(no_mangle)]
extern "C" fn dup2(old: c_int, fd: c_int) -> c_int {
    if old == fd {
        // SAFETY: this command takes any number. There is no dup2 on newer machines, and dup3 refuses this.
        let flags = unsafe { __fcntl(old, libc::F_GETFD) };
        return if flags < 0 { flags } else { fd };
    }
    dup3(old, fd, 0)
}

/// `dup3(2)`.
#[unsafe(no_mangle)]
extern "C" fn dup3(old: c_int, fd: c_int, flags: c_int) -> c_int {
    // SAFETY: it takes any numbers.
    let duplicate = || system(unsafe { libc::syscall(libc::SYS_dup3, old, fd, flags) });
    let concerned = CLIENT.is_eventfd(old) || CLIENT.is_eventfd(fd);
    unless_borrowed(concerned, |duplicate| CLIENT.assign(old, fd, duplicate), duplicate)
}

/// `close_range(2)`.
#[unsafe(no_mangle)]
extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: it takes any numbers.
    let close = || system(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) });
    let closes = flags.cast_unsigned() & libc::CLOSE_RANGE_CLOEXEC == 0;
    if closes { unless_borrowed(true, |close| CLIENT.close_range(first, last, close), close) } else { close() }
}

/// `closefrom(3)`.
#[unsafe(no_mangle)]
extern "C" fn closefrom(first: c_int) {
    close_range(first.max(0).cast_unsigned(), c_uint::MAX, 0);
}

/// `fdopen(3)`: what glibc reads, writes and closes by itself is its own business from here on.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void {
    if CLIENT.is_eventfd(fd) {
        CLIENT.close(fd, || ());
    }
    // SAFETY: the caller's promise.
    unsafe { _IO_fdopen(fd, mode) }
}

/// `fcntl(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, mut arguments: ...) -> c_int {
    // SAFETY: all that commands take is passed like a pointer, and what is passed on without having been given is not looked at.
    let argument = unsafe { arguments.next_arg::<*mut c_void>() };
    // SAFETY: the caller's promise.
    unsafe { control(fd, command, argument) }
}

/// The same with locks of 64 bits, as they are on 64-bit machines anyway.
///
/// # Safety
/// As for [`fcntl`].
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, mut arguments: ...) -> c_int {
    // SAFETY: as there.
    let argument = unsafe { arguments.next_arg::<*mut c_void>() };
    // SAFETY: the caller's promise.
    unsafe { control(fd, command, argument) }
}

/// # Safety
/// As for [`fcntl`].
unsafe fn control(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { __fcntl(fd, command, argument) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => CLIENT.duplicated(fd, result),
        libc::F_SETFL if result == 0 => set_nonblocking(fd, argument.addr() & libc::O_NONBLOCK as usize != 0),
        _ => {}
    }
    result
}

/// `ioctl(2)`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, mut arguments: ...) -> c_int {
    // SAFETY: as for fcntl.
    let argument = unsafe { arguments.next_arg::<*mut c_void>() };
    // SAFETY: the caller's promise.
    let result = system(unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) });
    if request == libc::FIONBIO && result == 0 {
        // SAFETY: the kernel has read it.
        set_nonblocking(fd, unsafe { argument.cast::<c_int>().read_unaligned() } != 0);
    }
    result
}

fn set_nonblocking(fd: c_int, nonblocking: bool) {
    if CLIENT.is_eventfd(fd) {
        keeping_errno(|| CLIENT.set_nonblocking(fd, nonblocking));
    }
}

/// The result of a system call that returns an int.
fn system(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}
