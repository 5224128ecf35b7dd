//! A client's mapping of a file that Linux itself cannot map.
//!
//! Such a file is one of the mount; what the daemon has at an offset of it is memory of its own, in a memory file. On Redox the kernel asks the daemon, and maps its
//! pages. Here the host asks it, and says where its descriptor of the memory file is, in /proc, and which file that is. Processes that may look into the host open
//! it there.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, close};
use syscall::error::{EIO, ENOTTY, EOPNOTSUPP, Error, Result};
use zerocopy::IntoBytes;

use crate::abi::mmap;
use crate::file_id::FileId;
use crate::ioctl::{self, Memory};
use crate::memory;
use crate::translate::{LinuxErrno, map_flags_to_redox};

/// What the host answers when the daemon has its memory at `address`.
pub(crate) fn offer(address: usize, len: usize) -> std::result::Result<Memory, LinuxErrno> {
    let region = len.checked_next_multiple_of(memory::PAGE_SIZE).and_then(|len| memory::find(address, len));
    // With its file a client gets all that is in it.
    let region = region.filter(memory::Region::is_whole_file).ok_or(LinuxErrno(libc::EOPNOTSUPP))?;
    let file = FileId::of(region.file()).map_err(|error| LinuxErrno(error.raw_os_error()))?;
    let mut memory = Memory { file, ..Memory::default() };
    // The descriptor is there as long as the daemon's mapping.
    write!(&mut memory.path[..], "/proc/{}/fd/{}", std::process::id(), region.file().as_raw_fd())
        .map_err(|_| LinuxErrno(libc::EIO))?;
    Ok(memory)
}

/// Maps what the daemon has at an offset of `file`; none if the file is no scheme's, or one that Linux can map.
///
/// It allocates nothing, takes no lock, and is no cancellation point: signal handlers may use it.
///
/// # Errors
/// What the daemon answers; EOPNOTSUPP if its memory cannot be mapped on this system, or not by this process.
///
/// # Safety
/// With MAP_FIXED, nobody minds that what is at `address` goes.
pub(crate) unsafe fn map(
    address: *mut (),
    len: usize,
    prot: i32,
    flags: i32,
    file: BorrowedFd<'_>,
    offset: u64,
) -> Result<Option<usize>> {
    let wanted = map_flags_to_redox(prot, flags).bits() as u64;
    let mut memory = Memory { len: len as u64, offset, flags: wanted, ..Memory::default() };
    match ioctl::exchange(file, ioctl::MEMORY, memory.as_mut_bytes()) {
        Err(Error { errno: ENOTTY }) => return Ok(None),
        exchanged => exchanged?,
    }
    Error::demux(usize::try_from(memory.result).map_err(|_| Error::new(EIO))?)?;
    let path = CStr::from_bytes_until_nul(&memory.path).map_err(|_| Error::new(EIO))?;
    // SAFETY: the caller's promise.
    unsafe { map_memory(address, len, prot, flags, path, memory.file) }.map(Some)
}

/// Maps the memory file at `path`, if it is the one that it should be.
///
/// Something else is there if this process sees other processes than the host, or if the daemon has no such page any more. It must not even be opened then: it may be
/// a pipe or a device. What changes in between is found out afterwards.
///
/// # Safety
/// As for [`map`].
unsafe fn map_memory(
    address: *mut (),
    len: usize,
    prot: i32,
    flags: i32,
    path: &CStr,
    memory: FileId,
) -> Result<usize> {
    if FileId::at(path).map_err(not_here)? != memory {
        return Err(Error::new(EOPNOTSUPP));
    }
    let writes = prot & libc::PROT_WRITE != 0 && flags & libc::MAP_SHARED != 0;
    let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
    let file = open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).map_err(not_here)?;
    let mapped = if FileId::of(&file) == Ok(memory) {
        // SAFETY: the caller's promise.
        unsafe { mmap(address, len, prot, flags, file.as_raw_fd(), 0) }
    } else {
        Err(Error::new(EOPNOTSUPP))
    };
    // The system call itself, as glibc's close is a cancellation point.
    // SAFETY: nobody else has this descriptor.
    unsafe { close(file.into_raw_fd()) };
    mapped
}

/// Errors of a path that this process cannot follow are no errors of the daemon's.
fn not_here(error: Errno) -> Error {
    match error {
        // The last two are what /proc says of processes that it hides, and of those that have ended.
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::SRCH => Error::new(EOPNOTSUPP),
        error => Error::new(error.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString};
    use std::os::fd::AsRawFd;
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{MemfdFlags, ftruncate, inotify, memfd_create};
    use rustix::io::{Errno, dup2, pwrite, read};
    use rustix::mm::munmap;
    use syscall::error::{EOPNOTSUPP, Error, Result};

    use super::{map_memory, offer};
    use crate::file_id::FileId;
    use crate::memory::{self, PAGE_SIZE};

    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

    fn path_of(file: &impl AsRawFd) -> CString {
        CString::new(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())).unwrap_or_default()
    }

    /// The first byte of the memory file, as it is mapped.
    fn first_byte(path: &CStr, memory: FileId) -> Result<u8> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory in use. It is there until it is unmapped.
        unsafe {
            let address = map_memory(null_mut(), PAGE_SIZE, READ_WRITE, libc::MAP_SHARED, path, memory)?;
            let page = std::ptr::with_exposed_provenance_mut::<u8>(address);
            let byte = page.read_volatile();
            assert!(munmap(page.cast(), PAGE_SIZE).is_ok());
            Ok(byte)
        }
    }

    #[test]
    fn memory_is_mapped_if_it_is_the_one() {
        let pages = [(); 2].map(|()| memory::map(PAGE_SIZE, READ_WRITE.cast_unsigned()).unwrap_or(0));
        let regions = pages.map(|address| memory::find(address, PAGE_SIZE));
        let [Some(ours), Some(other)] = &regions else { unreachable!("mappings can be found") };
        assert_eq!(ours.write(0, b"x"), 1);
        let Ok(offered) = offer(pages[0], 1) else { unreachable!("it is the whole file") };
        let path = CStr::from_bytes_until_nul(&offered.path).unwrap_or_default();
        assert_eq!((path, offered.file), (&*path_of(&ours.file()), FileId::of(ours.file()).unwrap_or_default()));
        assert_eq!(first_byte(path, offered.file), Ok(b'x'));
        let elsewhere = path_of(&other.file());
        let Ok(opens) = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC) else {
            unreachable!("descriptors can be had")
        };
        assert!(inotify::add_watch(&opens, &elsewhere, inotify::WatchFlags::OPEN).is_ok());
        let refused = |path| assert_eq!(first_byte(path, offered.file), Err(Error::new(EOPNOTSUPP)), "{path:?}");
        refused(&elsewhere);
        assert_eq!(read(&opens, &mut [0; 64]), Err(Errno::AGAIN), "other memory is not opened");
        refused(c"/proc/0/fd/0");
        refused(c"/proc/self/fd/none");
        drop(regions);
        assert!(pages.into_iter().all(memory::unmap));
        refused(path);
        assert!(offer(pages[0], PAGE_SIZE).is_err(), "the daemon has no such page");
    }

    #[test]
    fn memory_that_changes_places_is_not_mistaken() {
        let [ours, other] = [b"o", b"x"].map(|content| {
            let file = memfd_create(c"test", MemfdFlags::CLOEXEC)?;
            ftruncate(&file, PAGE_SIZE as u64)?;
            pwrite(&file, content, 0).map(|_| file)
        });
        let (Ok(ours), Ok(other)) = (ours, other) else { unreachable!("descriptors can be had") };
        let (memory, place) = (FileId::of(&ours).unwrap_or_default(), ours.try_clone());
        let Ok(mut place) = place else { unreachable!("descriptors can be had") };
        let path = path_of(&place);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(dup2(&other, &mut place).and_then(|()| dup2(&ours, &mut place)).is_ok());
                }
            });
            let attempts = (0..20_000).map(|_| first_byte(&path, memory)).collect::<Vec<_>>();
            done.store(true, Ordering::Relaxed);
            assert!(attempts.iter().all(|byte| matches!(byte, Ok(b'o') | Err(Error { errno: EOPNOTSUPP }))));
            assert!(attempts.iter().any(Result::is_ok));
        });
    }
}
