//! The functions as C sees them.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_uint};

use crate::Errno;

unsafe extern "C" {
    /// Where the C library keeps errno of the calling thread; glibc and relibc have the same name for it.
    fn __errno_location() -> *mut c_int;
}

fn result(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|errno| {
        if errno != Errno::UNCHANGED {
            // SAFETY: the C library returns a valid pointer for every thread.
            unsafe { *__errno_location() = errno.0 };
        }
        -1
    })
}

/// Creates a counter; see [`crate::eventfd()`].
#[unsafe(no_mangle)]
extern "C-unwind" fn eventfd(initval: c_uint, flags: c_int) -> c_int {
    result(crate::eventfd(initval, flags))
}

/// Reads a counter; see [`crate::eventfd_read`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn eventfd_read(fd: c_int, value: *mut u64) -> c_int {
    // SAFETY: the caller's promise.
    result(unsafe { crate::eventfd_read(fd, value) }.map(|()| 0))
}

/// Adds to a counter; see [`crate::eventfd_write`].
#[unsafe(no_mangle)]
extern "C-unwind" fn eventfd_write(fd: c_int, value: u64) -> c_int {
    result(crate::eventfd_write(fd, value).map(|()| 0))
}
