//! The functions of libredox's C ABI that the shim calls.
#![allow(unsafe_code)]

use crate::Errno;

// A thread that is cancelled in read or write is unwound through these.
unsafe extern "C-unwind" {
    fn redox_open_v1(path: *const u8, path_len: usize, flags: u32, mode: u16) -> usize;
    fn redox_openat_v1(fd: usize, path: *const u8, path_len: usize, flags: u32, fcntl_flags: u32) -> usize;
    fn redox_read_v1(fd: usize, base: *mut u8, len: usize) -> usize;
    fn redox_write_v1(fd: usize, base: *const u8, len: usize) -> usize;
}

/// Flags of open(2), as the C library of the target has them.
#[cfg(target_os = "redox")]
pub(crate) mod flag {
    pub(crate) const O_RDWR: u32 = 0x0003_0000;
    pub(crate) const O_NONBLOCK: u32 = 0x0004_0000;
    pub(crate) const O_CLOEXEC: u32 = 0x0100_0000;
}

/// Flags of open(2), as the C library of the target has them.
#[cfg(not(target_os = "redox"))]
pub(crate) mod flag {
    pub(crate) const O_RDWR: u32 = 0o2;
    pub(crate) const O_NONBLOCK: u32 = 0o4000;
    pub(crate) const O_CLOEXEC: u32 = 0o2_000_000;
}

/// Results above -4096 are errno values.
fn demux(result: usize) -> Result<usize, Errno> {
    let negated = result.wrapping_neg();
    match i32::try_from(negated) {
        Ok(errno @ 1..4096) => Err(Errno(errno)),
        _ => Ok(result),
    }
}

pub(crate) fn open(path: &[u8], flags: u32) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_open_v1(path.as_ptr(), path.len(), flags, 0) })
}

pub(crate) fn open_at(directory: usize, path: &[u8], flags: u32) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_openat_v1(directory, path.as_ptr(), path.len(), flags, flags & flag::O_NONBLOCK) })
}

/// # Safety
/// `base` need not be valid: the system refuses it with EFAULT then. If it is, `len` bytes there may be overwritten.
pub(crate) unsafe fn read(fd: usize, base: *mut u8, len: usize) -> Result<usize, Errno> {
    // SAFETY: the caller's promise.
    demux(unsafe { redox_read_v1(fd, base, len) })
}

pub(crate) fn write(fd: usize, buffer: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_write_v1(fd, buffer.as_ptr(), buffer.len()) })
}

#[cfg(test)]
mod tests {
    use super::demux;
    use crate::Errno;

    #[test]
    fn errno_values_are_the_last_4095() {
        assert_eq!(demux(0), Ok(0));
        assert_eq!(demux(usize::MAX), Err(Errno(1)));
        assert_eq!(demux(usize::MAX - 4094), Err(Errno(4095)));
        assert_eq!(demux(usize::MAX - 4095), Ok(usize::MAX - 4095));
    }
}
