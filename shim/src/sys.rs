//! The functions of libredox's C ABI that the shim calls.
#![allow(unsafe_code)]

use core::sync::atomic::AtomicU32;

use crate::Errno;
use crate::path::Path;

// A thread that is cancelled in read or write is unwound through these.
unsafe extern "C-unwind" {
    fn redox_open_v1(path: *const u8, path_len: usize, flags: u32, mode: u16) -> usize;
    fn redox_openat_v1(fd: usize, path: *const u8, path_len: usize, flags: u32, fcntl_flags: u32) -> usize;
    fn redox_read_v1(fd: usize, base: *mut u8, len: usize) -> usize;
    fn redox_write_v1(fd: usize, base: *const u8, len: usize) -> usize;
    fn redox_close_v1(fd: usize) -> usize;
    fn redox_fstat_v1(fd: usize, stat: *mut Stat) -> usize;
    // libredox has this one in a comment so far, as a thing to come; relibc gets it by our patch.
    fn redox_unlinkat_v0(fd: usize, path: *const u8, path_len: usize, flags: u32) -> usize;
    fn redox_mmap_v1(address: *mut (), len: usize, prot: u32, flags: u32, fd: usize, offset: u64) -> usize;
    fn redox_munmap_v1(address: *mut (), len: usize) -> usize;
    fn redox_fpath_v1(fd: usize, base: *mut u8, len: usize) -> usize;
    // These two libredox does not declare; relibc has them beside the functions that it does.
    fn redox_futex_wait_v0(word: *mut u32, value: u32, deadline: *const ()) -> usize;
    fn redox_futex_wake_v0(word: *mut u32, count: u32) -> usize;
    fn redox_sys_call_v0(
        fd: usize,
        payload: *mut u8,
        payload_len: usize,
        flags: usize,
        metadata: *const u64,
        metadata_len: usize,
    ) -> usize;
}

/// `struct stat`: it begins alike in glibc and relibc on 64-bit machines, and is nowhere longer than this.
#[repr(C)]
struct Stat {
    _st_dev: u64,
    st_ino: u64,
    _rest: [u64; 30],
}

/// The size of a page, and so of a semaphore's memory. Redox has the same on all its machines.
pub(crate) const PAGE_SIZE: usize = 4096;

/// Flags of open(2) and mmap(2), as the C library of the target has them.
#[cfg(target_os = "redox")]
pub(crate) mod flag {
    pub(crate) const O_RDWR: u32 = 0x0003_0000;
    pub(crate) const O_NONBLOCK: u32 = 0x0004_0000;
    pub(crate) const O_CLOEXEC: u32 = 0x0100_0000;
    pub(crate) const O_CREAT: u32 = 0x0200_0000;
    pub(crate) const O_EXCL: u32 = 0x0800_0000;
    pub(crate) const AT_FDCWD: usize = (-100_isize).cast_unsigned();
    pub(crate) const MAP_SHARED: u32 = 0x0001;
    pub(crate) const MAP_PRIVATE: u32 = 0x0002;
    pub(crate) const MAP_FIXED: u32 = 0x0004;
    pub(crate) const CALL_WRITE: usize = 1 << 9;
    pub(crate) const PROT_READ_WRITE: u32 = 0x0006;
}

/// Flags of open(2) and mmap(2), as the C library of the target has them.
#[cfg(not(target_os = "redox"))]
pub(crate) mod flag {
    pub(crate) const O_RDWR: u32 = 0o2;
    pub(crate) const O_NONBLOCK: u32 = 0o4000;
    pub(crate) const O_CLOEXEC: u32 = 0o2_000_000;
    pub(crate) const O_CREAT: u32 = 0o100;
    pub(crate) const O_EXCL: u32 = 0o200;
    pub(crate) const AT_FDCWD: usize = (-100_isize).cast_unsigned();
    pub(crate) const MAP_SHARED: u32 = 0x01;
    pub(crate) const MAP_PRIVATE: u32 = 0x02;
    pub(crate) const MAP_FIXED: u32 = 0x10;
    pub(crate) const CALL_WRITE: usize = 1 << 9;
    pub(crate) const PROT_READ_WRITE: u32 = 0x03;
}

/// Results above -4096 are errno values.
fn demux(result: usize) -> Result<usize, Errno> {
    let negated = result.wrapping_neg();
    match i32::try_from(negated) {
        Ok(errno @ 1..4096) => Err(Errno(errno)),
        _ => Ok(result),
    }
}

pub(crate) fn open(path: &Path, flags: u32, mode: u16) -> Result<usize, Errno> {
    let path = path.absolute();
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_open_v1(path.as_ptr(), path.len(), flags, mode) })
}

/// Opens what is there, from a descriptor of the scheme's root if there is one.
pub(crate) fn open_from(root: Option<usize>, path: &Path, flags: u32) -> Result<usize, Errno> {
    let Some(root) = root else { return open(path, flags, 0) };
    let path = path.relative();
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_openat_v1(root, path.as_ptr(), path.len(), flags, flags & flag::O_NONBLOCK) })
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

pub(crate) fn close(fd: usize) {
    // A descriptor that was just opened closes, and nobody could do anything about it if not.
    // SAFETY: the caller owns the descriptor.
    unsafe { redox_close_v1(fd) };
}

/// The number by which the scheme tells the object of a descriptor from others.
pub(crate) fn inode(fd: usize) -> Result<u64, Errno> {
    let mut stat = Stat { _st_dev: 0, st_ino: 0, _rest: [0; 30] };
    // SAFETY: the buffer is as large as any `struct stat`.
    demux(unsafe { redox_fstat_v1(fd, &raw mut stat) })?;
    Ok(stat.st_ino)
}

pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    let path = path.absolute();
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_unlinkat_v0(flag::AT_FDCWD, path.as_ptr(), path.len(), 0) }).map(|_| ())
}

/// Maps the page of a descriptor, shared, for reading and writing; returns its address.
pub(crate) fn map_page(fd: usize) -> Result<usize, Errno> {
    let address = core::ptr::null_mut();
    // SAFETY: a new mapping at an address that the system chooses touches no memory in use.
    demux(unsafe { redox_mmap_v1(address, PAGE_SIZE, flag::PROT_READ_WRITE, flag::MAP_SHARED, fd, 0) })
}

/// # Safety
/// The mapping at `address` was made by [`map_page`], and nobody uses it any more.
pub(crate) unsafe fn unmap_page(address: usize) {
    // SAFETY: the caller's promise.
    unsafe { unmap(address, PAGE_SIZE) };
}

/// # Safety
/// Nobody uses the mapping any more.
pub(crate) unsafe fn unmap(address: usize, len: usize) {
    // SAFETY: the caller's promise. It fails only for what is no mapping.
    unsafe { redox_munmap_v1(core::ptr::with_exposed_provenance_mut(address), len) };
}

/// What mmap takes for "no file".
const ANONYMOUS: usize = usize::MAX;
const PROT_NONE: u32 = 0;

/// Takes a range of addresses that nobody else gets, and that cannot be used before something is mapped there.
pub(crate) fn reserve(len: usize) -> Result<usize, Errno> {
    // SAFETY: a new mapping at an address that the system chooses touches no memory in use.
    demux(unsafe { redox_mmap_v1(core::ptr::null_mut(), len, PROT_NONE, flag::MAP_PRIVATE, ANONYMOUS, 0) })
}

/// Maps the page at `offset` of a descriptor over what is at `address`, shared, for reading and writing.
///
/// # Safety
/// What is there is in a range of [`reserve`], and nobody minds that it goes.
pub(crate) unsafe fn map_page_at(address: usize, fd: usize, offset: u64) -> Result<(), Errno> {
    let (address, flags) = (core::ptr::with_exposed_provenance_mut(address), flag::MAP_SHARED | flag::MAP_FIXED);
    // SAFETY: the caller's promise.
    demux(unsafe { redox_mmap_v1(address, PAGE_SIZE, flag::PROT_READ_WRITE, flags, fd, offset) }).map(drop)
}

/// Maps a page of zeros of this process's own over what is at `address`.
///
/// # Safety
/// As for [`map_page_at`].
pub(crate) unsafe fn map_zeros_at(address: usize) -> Result<(), Errno> {
    let (address, flags) = (core::ptr::with_exposed_provenance_mut(address), flag::MAP_PRIVATE | flag::MAP_FIXED);
    // SAFETY: the caller's promise.
    demux(unsafe { redox_mmap_v1(address, PAGE_SIZE, flag::PROT_READ_WRITE, flags, ANONYMOUS, 0) }).map(drop)
}

/// Sleeps until somebody wakes those at `word`, in whatever process; EAGAIN if it does not hold `value`.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) -> Result<(), Errno> {
    // SAFETY: the word is mapped as long as it is borrowed; there is no deadline.
    demux(unsafe { redox_futex_wait_v0(word.as_ptr(), value, core::ptr::null()) }).map(drop)
}

/// Wakes all who sleep at `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // It fails only for a word that is not mapped.
    // SAFETY: the system looks up who sleeps there, and leaves what it holds alone.
    unsafe { redox_futex_wake_v0(word.as_ptr(), u32::MAX) };
}

/// The path of an open file, as far as it fits.
pub(crate) fn path(fd: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are those of a slice.
    demux(unsafe { redox_fpath_v1(fd, buffer.as_mut_ptr(), buffer.len()) })
}

/// A call of the scheme's own, without a payload.
pub(crate) fn call(fd: usize, metadata: [u64; 2]) -> Result<usize, Errno> {
    // SAFETY: there is no payload, and the metadata are as long as said.
    demux(unsafe {
        redox_sys_call_v0(fd, core::ptr::null_mut(), 0, flag::CALL_WRITE, metadata.as_ptr(), metadata.len())
    })
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
