//! Requests that must not reach redox-scheme's decoder.
//!
//! The decoder trusts the kernel: it asserts the size of some buffers, takes their alignment for granted and paths for UTF-8 unseen. What a client can
//! make the kernel send must not end the daemon, so it is looked at here first.
#![allow(unsafe_code)]

use redox_scheme::{CallRequest, Request};
use syscall::data::{Stat, StatVfs, TimeSpec};
use syscall::error::{EINVAL, ENOENT};
use syscall::flag::StdFsCallKind;
use syscall::schemev2::{Opcode, Sqe};

/// Why `call` cannot be decoded, as an errno.
pub(crate) fn malformed(call: &CallRequest) -> Option<i32> {
    let request: *const Request = call.request();
    // SAFETY: Request is a transparent wrapper of Sqe, which it keeps private; the pointer comes from a live reference.
    let sqe = unsafe { &*request.cast::<Sqe>() };
    let address = sqe.args[1];
    let len = usize::try_from(sqe.args[2]).ok()?;
    match Opcode::try_from_raw(sqe.opcode)? {
        Opcode::Fstat if len < size_of::<Stat>() || !is_aligned::<Stat>(address) => Some(EINVAL),
        Opcode::Fstatvfs if len < size_of::<StatVfs>() || !is_aligned::<StatVfs>(address) => Some(EINVAL),
        Opcode::Futimens if len > 2 * size_of::<TimeSpec>() || !is_aligned::<TimeSpec>(address) => Some(EINVAL),
        Opcode::StdFsCall => {
            let aligned = match StdFsCallKind::try_from_raw(sqe.args[3] as u8)? {
                StdFsCallKind::Fstat => is_aligned::<Stat>(address),
                StdFsCallKind::Fstatvfs => is_aligned::<StatVfs>(address),
                StdFsCallKind::Futimens => is_aligned::<TimeSpec>(address),
                _ => true,
            };
            (!aligned).then_some(EINVAL)
        }
        Opcode::OpenAt | Opcode::UnlinkAt | Opcode::Flink | Opcode::Frename if !is_utf8(address, len) => Some(ENOENT),
        _ => None,
    }
}

/// Whether a `T` can lie at `address`: the kernel maps a client's buffer with the offset that it has in its page.
fn is_aligned<T>(address: u64) -> bool {
    address.is_multiple_of(align_of::<T>() as u64)
}

fn is_utf8(address: u64, len: usize) -> bool {
    let Ok(address) = usize::try_from(address) else { return false };
    // SAFETY: the kernel mapped `len` readable bytes at this address, and keeps them until the request is answered.
    let path = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), len) };
    std::str::from_utf8(path).is_ok()
}
