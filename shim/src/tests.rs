//! The shim's eventfd and signalfd against functions of the C ABI that only note what they are asked.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::string::String;

use crate::sys::flag::{O_CLOEXEC, O_NONBLOCK, O_RDWR};
use crate::{
    EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, Errno, SET_MASK, SFD_CLOEXEC, SFD_NONBLOCK, eventfd, eventfd_read,
    eventfd_write, signalfd,
};

/// What the functions return: the number of bytes, or an errno, as libredox does it.
pub(crate) const fn failure(errno: usize) -> usize {
    errno.wrapping_neg()
}

std::thread_local! {
    static ASKED: RefCell<String> = const { RefCell::new(String::new()) };
    static RESULT: RefCell<usize> = const { RefCell::new(0) };
}

fn note(asked: String) -> usize {
    ASKED.set(asked);
    RESULT.with_borrow(|result| *result)
}

/// # Safety
/// `path` points to `len` bytes.
unsafe fn text(path: *const u8, len: usize) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(path, len) }).into_owned()
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_open_v1(path: *const u8, len: usize, flags: u32, mode: u16) -> usize {
    // SAFETY: the shim passes a slice.
    let path = unsafe { text(path, len) };
    if path.starts_with("/scheme/eventd/eventfd/") || path.starts_with("/scheme/eventd/signalfd/") {
        note(std::format!("open {path} {flags:o} {mode}"))
    } else {
        crate::semaphore_tests::open(&path, flags, mode)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_openat_v1(
    fd: usize,
    path: *const u8,
    len: usize,
    flags: u32,
    fcntl_flags: u32,
) -> usize {
    // SAFETY: the shim passes a slice.
    note(std::format!("openat {fd} {} {flags:o} {fcntl_flags:o}", unsafe { text(path, len) }))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_read_v1(fd: usize, base: *mut u8, len: usize) -> usize {
    let result = note(std::format!("read {fd} {len}"));
    if result == len {
        // SAFETY: the test passes room for a count.
        unsafe { base.cast::<u64>().write(7) };
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_write_v1(fd: usize, base: *const u8, _len: usize) -> usize {
    // SAFETY: the shim passes the bytes of a count.
    note(std::format!("write {fd} {}", unsafe { base.cast::<u64>().read_unaligned() }))
}

std::thread_local! {
    /// The path of the one descriptor that is open; none if it has none.
    pub(crate) static PATH: RefCell<Option<&'static str>> = const { RefCell::new(None) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_fpath_v1(fd: usize, base: *mut u8, len: usize) -> usize {
    if fd != 6 {
        return failure(9);
    }
    let Some(path) = PATH.with_borrow(|path| *path) else { return failure(95) };
    let len = len.min(path.len());
    // SAFETY: the shim passes a slice.
    unsafe { base.copy_from_nonoverlapping(path.as_ptr(), len) };
    len
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_sys_call_v0(
    fd: usize,
    _payload: *mut u8,
    payload_len: usize,
    flags: usize,
    metadata: *const u64,
    metadata_len: usize,
) -> usize {
    // SAFETY: the shim passes a slice.
    let metadata = unsafe { std::slice::from_raw_parts(metadata, metadata_len) };
    note(std::format!("call {fd} {payload_len} {flags:x} {metadata:x?}"))
}

/// Makes the next calls return `result`, and returns what `call` gave and what was asked.
pub(crate) fn with_result<T>(result: usize, call: impl FnOnce() -> T) -> (T, String) {
    ASKED.take();
    RESULT.set(result);
    (call(), ASKED.take())
}

#[test]
fn flags_become_those_of_open_4_5() {
    let asked = |flags| with_result(3, || eventfd(None, 9, flags)).1;
    let expected = |mode, flags: u32| std::format!("open /scheme/eventd/eventfd/9/{mode} {flags:o} 0");
    assert_eq!(asked(0), expected(0, O_RDWR));
    assert_eq!(asked(EFD_SEMAPHORE), expected(1, O_RDWR));
    assert_eq!(asked(EFD_CLOEXEC), expected(0, O_RDWR | O_CLOEXEC));
    assert_eq!(asked(EFD_NONBLOCK), expected(0, O_RDWR | O_NONBLOCK));
    // Redox's values of the same flags.
    assert_eq!(asked(0x0100_0000 | 0x0004_0000 | EFD_SEMAPHORE), expected(1, O_RDWR | O_CLOEXEC | O_NONBLOCK));
}

#[test]
fn unknown_flags_open_nothing_2() {
    for bit in 0..32 {
        let flag = 1_i32 << bit;
        let known = [EFD_SEMAPHORE, EFD_CLOEXEC, EFD_NONBLOCK, 0x0100_0000, 0x0004_0000].contains(&flag);
        let (result, asked) = with_result(3, || eventfd(None, 0, flag));
        assert_eq!((result.is_ok(), asked.is_empty()), (known, !known), "{flag:#x}");
        assert!(known || result == Err(Errno::EINVAL));
    }
}

#[test]
fn a_kept_root_is_opened_from() {
    let (result, asked) = with_result(5, || eventfd(Some(4), 1, EFD_NONBLOCK | EFD_SEMAPHORE));
    assert_eq!(result, Ok(5));
    assert_eq!(asked, std::format!("openat 4 eventfd/1/1 {:o} {O_NONBLOCK:o}", O_RDWR | O_NONBLOCK));
    assert_eq!(with_result(3, || eventfd(Some(4), 0, -1)), (Err(Errno::EINVAL), String::new()));
}

#[test]
fn errors_of_open_are_passed_on_3() {
    assert_eq!(with_result(failure(19), || eventfd(None, 0, 0)).0, Err(Errno(19)));
    assert_eq!(with_result(1 << 40, || eventfd(None, 0, 0)).0, Err(Errno::EMFILE));
}

#[test]
fn a_count_is_read_into_place_29() {
    let mut value = 1;
    let (result, asked) = with_result(8, || {
        // SAFETY: the value is ours.
        unsafe { eventfd_read(6, &raw mut value) }
    });
    assert_eq!((result, asked.as_str(), value), (Ok(()), "read 6 8", 7));
    for (returned, expected) in [(3, Errno::UNCHANGED), (0, Errno::UNCHANGED), (failure(4), Errno(4))] {
        // SAFETY: the value is ours.
        let (result, _) = with_result(returned, || unsafe { eventfd_read(6, &raw mut value) });
        assert_eq!(result, Err(expected));
    }
    // SAFETY: as above.
    assert_eq!(with_result(8, || unsafe { eventfd_read(-1, &raw mut value) }), (Err(Errno::EBADF), String::new()));
}

#[test]
fn a_count_is_written_40() {
    let (result, asked) = with_result(8, || eventfd_write(6, u64::MAX - 1));
    assert_eq!((result, asked.as_str()), (Ok(()), "write 6 18446744073709551614"));
    assert_eq!(with_result(4, || eventfd_write(6, 1)).0, Err(Errno::UNCHANGED));
    assert_eq!(with_result(failure(11), || eventfd_write(6, 1)).0, Err(Errno(11)));
    assert_eq!(with_result(8, || eventfd_write(-1, 1)), (Err(Errno::EBADF), String::new()));
}

#[test]
fn a_new_signalfd_is_opened_by_its_mask_63_68() {
    let (result, asked) = with_result(3, || signalfd(None, -1, 0x1200, SFD_NONBLOCK | SFD_CLOEXEC));
    let flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
    assert_eq!((result, asked), (Ok(3), std::format!("open /scheme/eventd/signalfd/0000000000001200 {flags:o} 0")));
    let (_, asked) = with_result(3, || signalfd(Some(4), -1, u64::MAX, 0));
    assert_eq!(asked, std::format!("openat 4 signalfd/FFFFFFFFFFFFFFFF {O_RDWR:o} 0"));
}

#[test]
fn a_mask_is_replaced_on_signalfds_only_63_64_65_70_71() {
    PATH.set(Some("/scheme/eventd/signalfd/0000000000000001"));
    let (result, asked) = with_result(0, || signalfd(None, 6, 0x10, SFD_NONBLOCK));
    assert_eq!((result, asked), (Ok(6), std::format!("call 6 0 200 [{SET_MASK:x}, 10]")));
    assert_eq!(with_result(failure(5), || signalfd(None, 6, 1, 0)).0, Err(Errno(5)));
    // Flags come before the descriptor, and nothing is asked of what is no signalfd.
    for (fd, path, flags, errno) in [
        (6, Some("/scheme/eventd/signalfd/0000000000000001"), 1, Errno::EINVAL),
        (-2, None, 1, Errno::EINVAL),
        (-2, None, 0, Errno::EBADF),
        (7, None, 0, Errno::EBADF),
        (6, None, 0, Errno::EINVAL),
        (6, Some("/scheme/eventd/eventfd/0/0"), 0, Errno::EINVAL),
        (6, Some("/scheme/eventd/signalfd"), 0, Errno::EINVAL),
    ] {
        PATH.set(path);
        let (result, asked) = with_result(0, || signalfd(None, fd, 1, flags));
        assert_eq!((result, asked), (Err(errno), String::new()), "{fd} {path:?} {flags}");
    }
}
