//! Requests that must not reach redox-scheme's decoder.
//!
//! The decoder trusts the kernel: it asserts the size of some buffers and takes paths for UTF-8 unseen. What a client can make the kernel send
//! must not end the daemon, so it is looked at here first.
#![allow(unsafe_code)]

use redox_scheme::{CallRequest, Request};
use syscall::data::{Stat, StatVfs, TimeSpec};
use syscall::error::{EINVAL, ENOENT};
use syscall::schemev2::{Opcode, Sqe};

/// Why `call` cannot be decoded, as an errno.
pub(crate) fn malformed(call: &CallRequest) -> Option<i32> {
    let request: *const Request = call.request();
    // SAFETY: Request is a transparent wrapper of Sqe, which it keeps private; the pointer comes from a live reference.
    let sqe = unsafe { &*request.cast::<Sqe>() };
    let len = usize::try_from(sqe.args[2]).ok()?;
    match Opcode::try_from_raw(sqe.opcode)? {
        Opcode::Fstat if len < size_of::<Stat>() => Some(EINVAL),
        Opcode::Fstatvfs if len < size_of::<StatVfs>() => Some(EINVAL),
        Opcode::Futimens if len > 2 * size_of::<TimeSpec>() => Some(EINVAL),
        Opcode::OpenAt | Opcode::UnlinkAt | Opcode::Flink | Opcode::Frename if !is_utf8(sqe.args[1], len) => {
            Some(ENOENT)
        }
        _ => None,
    }
}

fn is_utf8(address: u64, len: usize) -> bool {
    let Ok(address) = usize::try_from(address) else { return false };
    // SAFETY: the kernel mapped `len` readable bytes at this address, and keeps them until the request is answered.
    let path = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), len) };
    std::str::from_utf8(path).is_ok()
}
