//! A client's dup with an argument.
//!
//! On Redox the scheme answers it with another handle, and the kernel puts that into the caller's table. On Linux only an open gives a client a file of a scheme.
//! So the host keeps the handle under a name that nobody can guess, and whoever opens the name first, which is the caller, gets it.
//!
//! Memory that the kernel does not let stand behind a file of the mount is opened through the host's own descriptor, in /proc, which processes of the same user
//! may do. There the host tells which file it is, and has closed the handle: nothing tells of a close of the memory file.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fcntl_getfl, open, statx};
use rustix::io::Errno;
use syscall::error::{EINVAL, EIO, EOPNOTSUPP, Error, Result};
use zerocopy::IntoBytes;

use crate::abi::path_of_descriptor;
use crate::file_id::FileId;
use crate::ioctl::{self, Dup};
use crate::memory;

const PREFIX: &str = ".dup-";
const RANDOM_DIGITS: usize = 32;

/// A name in the root of a mount, from a random number.
pub(crate) fn name(random: u128) -> String {
    format!("{PREFIX}{random:0RANDOM_DIGITS$x}")
}

/// Asks the scheme for another handle. It allocates nothing, as [`ioctl::exchange`].
///
/// # Errors
/// What the daemon answers; EOPNOTSUPP if the handle cannot be had on this system: its memory cannot be shared, or not with this process, or this process does
/// not see the mount at the daemon's path. ENOTTY, or what else the file says to an unknown ioctl, if it is no scheme's.
pub(crate) fn dup(origin: BorrowedFd<'_>, argument: &[u8]) -> Result<OwnedFd> {
    let mut dup = Dup::new(argument).ok_or(Error::new(EINVAL))?;
    ioctl::exchange(origin, ioctl::DUP, dup.as_mut_bytes())?;
    Error::demux(usize::try_from(dup.len).map_err(|_| Error::new(EIO))?)?;
    let path = dup.terminated().and_then(|path| CStr::from_bytes_with_nul(path).ok()).ok_or(Error::new(EIO))?;
    // As on Redox the new description has the flags of the old one.
    let inherited = OFlags::ACCMODE | OFlags::APPEND | OFlags::NONBLOCK;
    let flags = fcntl_getfl(origin).map_err(from_rustix)? & inherited | OFlags::CLOEXEC;
    if let Some(memory) = dup.memory() {
        return open_memory(path, memory, flags);
    }
    let file = open(path, flags, Mode::empty()).map_err(not_here)?;
    // Something else is at that path if this process sees other mounts than the daemon.
    if device(file.as_fd())? == device(origin)? { Ok(file) } else { Err(Error::new(EOPNOTSUPP)) }
}

/// Opens a memory file through a descriptor of the host.
///
/// Something else is at that path if this process sees other processes than the daemon, or if the daemon has no such page any more. It must not even be opened
/// then: it may be a pipe or a device. What changes in between is found out afterwards.
fn open_memory(path: &CStr, memory: FileId, flags: OFlags) -> Result<OwnedFd> {
    if FileId::at(path).map_err(not_here)? != memory {
        return Err(Error::new(EOPNOTSUPP));
    }
    let file = open(path, flags, Mode::empty()).map_err(not_here)?;
    if FileId::of(&file).map_err(from_rustix)? == memory { Ok(file) } else { Err(Error::new(EOPNOTSUPP)) }
}

/// Errors of a path that this process cannot follow are no errors of the daemon's.
fn not_here(error: Errno) -> Error {
    match error {
        // The last two are what /proc says of processes that it hides, and of those that have ended.
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::SRCH => Error::new(EOPNOTSUPP),
        error => from_rustix(error),
    }
}

/// The file system of a file, without asking the daemon for the file's attributes.
fn device(file: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, c"", flags, StatxFlags::empty()).map_err(from_rustix)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

fn from_rustix(error: Errno) -> Error {
    Error::new(error.raw_os_error())
}

/// Whether [`dup`] gave this file. The file itself says so, by the name at which it was opened, or as a memory file: numbers of descriptors are used again.
pub(crate) fn is_duplicate(file: BorrowedFd<'_>) -> bool {
    let mut room = [MaybeUninit::uninit(); libc::PATH_MAX as usize];
    path_of_descriptor(file.as_raw_fd(), &mut room).is_some_and(|path| path == memory::PATH || is_name(path))
}

/// Whether a path, as /proc tells those of open files, ends with a name of [`name`].
fn is_name(path: &[u8]) -> bool {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let random = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    random.len() == RANDOM_DIGITS && random.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::{AsFd, AsRawFd};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, inotify, memfd_create};
    use rustix::io::{Errno, dup2, read};
    use rustix::mm::ProtFlags;
    use syscall::error::{EOPNOTSUPP, Error};

    use super::{is_duplicate, is_name, name, open_memory};
    use crate::file_id::FileId;
    use crate::memory::{PAGE_SIZE, find, map, unmap};

    fn path_of(file: &impl AsRawFd) -> CString {
        CString::new(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())).unwrap_or_default()
    }

    #[test]
    fn memory_is_opened_if_it_is_the_one() {
        let pages = [(); 2].map(|()| map(PAGE_SIZE, ProtFlags::READ.union(ProtFlags::WRITE).bits()).unwrap_or(0));
        let regions = pages.map(|address| find(address, PAGE_SIZE));
        let [Some(ours), Some(other)] = &regions else { unreachable!("mappings can be found") };
        let [path, elsewhere] = [ours, other].map(|region| path_of(&region.file()));
        let memory = FileId::of(ours.file()).unwrap_or_default();
        let opened = open_memory(&path, memory, OFlags::RDONLY | OFlags::CLOEXEC);
        assert!(opened.as_ref().is_ok_and(|file| is_duplicate(file.as_fd()) && FileId::of(file) == Ok(memory)));
        assert!(
            opened.is_ok_and(|file| fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::RDONLY))
        );
        let refused = |path| open_memory(path, memory, OFlags::RDWR).map(drop);
        let opens = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC);
        let Ok(opens) = opens else { unreachable!("descriptors can be had") };
        assert!(inotify::add_watch(&opens, &elsewhere, inotify::WatchFlags::OPEN).is_ok());
        assert_eq!(refused(&elsewhere), Err(Error::new(EOPNOTSUPP)), "other memory");
        assert_eq!(read(&opens, &mut [0; 64]), Err(Errno::AGAIN), "which is not opened");
        assert_eq!(refused(c"/proc/0/fd/0"), Err(Error::new(EOPNOTSUPP)), "no process");
        assert_eq!(refused(c"/proc/self/fd/none"), Err(Error::new(EOPNOTSUPP)), "no descriptor");
        drop(regions);
        assert!(pages.into_iter().all(unmap));
        assert_eq!(refused(&path), Err(Error::new(EOPNOTSUPP)), "it is gone");
    }

    #[test]
    fn memory_that_changes_places_is_not_mistaken() {
        let [ours, other] = [(); 2].map(|()| memfd_create(c"test", MemfdFlags::CLOEXEC));
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
            let attempts = (0..20_000).map(|_| open_memory(&path, memory, OFlags::RDWR | OFlags::CLOEXEC));
            let mistaken = attempts.flatten().filter(|file| FileId::of(file) != Ok(memory)).count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(mistaken, 0);
        });
    }

    #[test]
    fn names_are_recognized() {
        for random in [0, 1, u128::MAX] {
            let path = format!("/tmp/scheme/eventd/{}", name(random));
            assert!(is_name(path.as_bytes()), "{path}");
            assert!(is_name(format!("{path} (deleted)").as_bytes()), "{path}");
            assert!(!is_name(format!("{path}0").as_bytes()), "{path}");
            assert!(!is_name(format!("{path}/x").as_bytes()), "{path}");
        }
        for other in ["/tmp/scheme/eventd/sem/x", "/.dup-", "pipe:[7]", "/.dup-0123456789abcdef0123456789abcdeg", ""] {
            assert!(!is_name(other.as_bytes()), "{other}");
        }
    }
}
