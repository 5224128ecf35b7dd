//! libredox's C functions.
//!
//! Each has the signature that libredox declares. Descriptors of this crate's own making ([`Special`]) are served here; everything else is passed on to the
//! Linux system call of the same meaning, with paths below `/scheme/` looked for under SCHEME_ROOT. As in libredox, results above -4096 are errno values.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use event::raw::RawEventV1;
use libredox::data::{SigSet, TimeSpec};
use rustix::event::Timespec;
use rustix::fs::{CWD, readlinkat_raw};
use syscall::data::NewFdParams;
use syscall::error::{EBADF, EINVAL, EIO, ENAMETOOLONG, ENODEV, ENOSYS, EOPNOTSUPP, EPERM, Error, Result};
use syscall::flag::{CallFlags, F_GETFD, F_SETFD, F_SETFL, O_NONBLOCK, SchemeSocketCall};
use syscall::schemev2::{Cqe, Sqe};
use zerocopy::{FromBytes, IntoBytes};

use crate::descriptors::{self, Socket, Special};
use crate::events::EventQueue;
use crate::ioctl::{self, CallHead};
use crate::namespace::Namespace;
use crate::scheme::Scheme;
use crate::signals::protocol::{THREAD_CLAIM, THREAD_PEEK};
use crate::signals::{self, Router};
use crate::{fuse, mapped_files, mapping, memory, termination, translate};

type RawResult = usize;

// glibc's cancellation points: a thread that is cancelled in them is unwound through their callers, which the declarations in libc do not allow for.
unsafe extern "C-unwind" {
    #[link_name = "read"]
    fn libc_read(fd: c_int, base: *mut c_void, len: usize) -> isize;
    #[link_name = "write"]
    fn libc_write(fd: c_int, base: *const c_void, len: usize) -> isize;
    #[link_name = "syscall"]
    fn libc_syscall(number: c_long, ...) -> c_long;
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_ASYNCHRONOUS` of glibc.
const CANCEL_ASYNCHRONOUS: c_int = 1;

/// An errno of this crate's own: its text, which redox_strerror_v1 gives, says what went wrong.
const EXPLAINED: i32 = 4000;
/// What libredox passes for "no descriptor".
const NO_DESCRIPTOR: usize = usize::MAX;
const SCHEMES: &[u8] = b"/scheme/";
const CAPABILITY_PATH: &[u8] = b"/scheme/namespace/scheme-creation-cap";

/// Set when the daemon has entered the null namespace: from then on it can open nothing.
static NULL_NAMESPACE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static EXPLANATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `hook` with the path in the file system and the errno whenever a path below `/scheme/` cannot be opened.
pub fn on_open_error(hook: fn(&CStr, i32)) {
    // The first hook stays.
    let _ = OPEN_ERROR_HOOK.set(hook);
}

static OPEN_ERROR_HOOK: OnceLock<fn(&CStr, i32)> = OnceLock::new();

fn mux(result: Result<usize>) -> RawResult {
    match result {
        Ok(value) => value,
        Err(error) => usize::try_from(error.errno).unwrap_or(0).wrapping_neg(),
    }
}

/// The result of a system call of libc: -1 means errno.
pub(crate) fn checked(result: impl TryInto<i64>) -> Result<usize> {
    let result = result.try_into().map_err(|_| Error::new(EIO))?;
    usize::try_from(result).map_err(|_| Error::new(std::io::Error::last_os_error().raw_os_error().unwrap_or(EIO)))
}

fn explain(message: String) -> Error {
    EXPLANATION.set(message);
    Error::new(EXPLAINED)
}

fn from_rustix(error: rustix::io::Errno) -> Error {
    Error::new(error.raw_os_error())
}

fn descriptor(number: usize) -> Result<c_int> {
    c_int::try_from(number).map_err(|_| Error::new(EBADF))
}

/// # Safety
/// `base` must point to `len` readable bytes, unless `len` is 0.
unsafe fn bytes<'caller>(base: *const u8, len: usize) -> &'caller [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(base, len) }
}

fn open(path: &[u8], flags: c_int, mode: u16) -> Result<usize> {
    if NULL_NAMESPACE.load(Ordering::Relaxed) {
        return Err(Error::new(ENODEV));
    }
    if path == CAPABILITY_PATH {
        return descriptors::insert(Special::SchemeCreation);
    }
    if path == signals::PATH {
        return descriptors::insert(Special::SignalRouter(Router::open()?));
    }
    signals::helper::before_open(path);
    let mut buffer = [0; libc::PATH_MAX as usize];
    let file = file_of(path, &mut buffer)?;
    // The system call itself: glibc's open is a cancellation point, and what the shim builds on it must not be one.
    // SAFETY: `file` is a string that ends with a zero byte.
    let result =
        checked(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), flags, c_uint::from(mode)) });
    if let (true, Err(error), Some(hook)) = (path.starts_with(SCHEMES), result, OPEN_ERROR_HOOK.get()) {
        hook(file, error.errno);
    }
    result
}

/// The path in the file system of a path of Redox, in `buffer`.
fn file_of<'buffer>(path: &[u8], buffer: &'buffer mut [u8]) -> Result<&'buffer CStr> {
    let file = match path.strip_prefix(SCHEMES) {
        Some(rest) => fuse::file_path(rest, buffer),
        None => {
            let room = buffer.get_mut(..=path.len()).ok_or(Error::new(ENAMETOOLONG))?;
            room[..path.len()].copy_from_slice(path);
            CStr::from_bytes_with_nul(room).ok()
        }
    };
    file.ok_or(Error::new(ENAMETOOLONG))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_open_v1(path: *const u8, len: usize, flags: u32, mode: u16) -> RawResult {
    // SAFETY: libredox passes a string.
    mux(open(unsafe { bytes(path, len) }, flags.cast_signed(), mode))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_openat_v1(
    fd: usize,
    path: *const u8,
    len: usize,
    flags: u32,
    fcntl_flags: u32,
) -> RawResult {
    let open = || {
        if descriptors::get(fd).is_some() {
            return Err(Error::new(EOPNOTSUPP));
        }
        // SAFETY: libredox passes a string.
        let path = std::ffi::CString::new(unsafe { bytes(path, len) }).map_err(|_| Error::new(EINVAL))?;
        let flags = (flags | fcntl_flags).cast_signed();
        // SAFETY: `path` is a string that ends with a zero byte.
        checked(unsafe { libc::openat(descriptor(fd)?, path.as_ptr(), flags, 0) })
    };
    mux(open())
}

fn dup(fd: usize, argument: &[u8]) -> Result<usize> {
    match descriptors::get(fd) {
        Some(Special::SchemeCreation) if argument == b"create-scheme" => {
            let scheme = Arc::new(Scheme::new().map_err(from_rustix)?);
            descriptors::insert(Special::Socket(Arc::new(Socket { scheme, nonblock: AtomicBool::new(false) })))
        }
        Some(Special::Socket(socket)) if argument.len() == size_of::<NewFdParams>() => {
            // SAFETY: the length has been checked, and every pattern of bits is a valid NewFdParams.
            let params = unsafe { argument.as_ptr().cast::<NewFdParams>().read_unaligned() };
            descriptors::insert(Special::OfScheme(Arc::clone(&socket.scheme), params.number))
        }
        Some(special) if argument.is_empty() => descriptors::insert(special),
        None if argument.is_empty() => {
            // SAFETY: dup takes any number.
            checked(unsafe { libc::dup(descriptor(fd)?) })
        }
        None => Err(Error::new(EOPNOTSUPP)),
        Some(_) => Err(Error::new(EINVAL)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_dup_v1(fd: usize, argument: *const u8, len: usize) -> RawResult {
    // SAFETY: libredox passes a slice.
    mux(dup(fd, unsafe { bytes(argument, len) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_dup2_v1(old: usize, new: usize, _argument: *const u8, len: usize) -> RawResult {
    let dup2 = || {
        if len > 0 || descriptors::get(old).is_some() || descriptors::get(new).is_some() {
            return Err(Error::new(EINVAL));
        }
        // SAFETY: dup2 takes any numbers.
        checked(unsafe { libc::dup2(descriptor(old)?, descriptor(new)?) })
    };
    mux(dup2())
}

/// # Safety
/// `base` must point to `len` writable bytes.
unsafe fn read(fd: usize, base: *mut u8, len: usize) -> Result<usize> {
    match descriptors::get(fd) {
        Some(Special::Socket(socket)) => {
            let mut next = base.cast::<Sqe>();
            let deliver = |message| {
                // SAFETY: the scheme delivers no more messages than fit into the caller's buffer, which need not be aligned.
                unsafe {
                    next.write_unaligned(message);
                    next = next.add(1);
                }
            };
            let nonblock = socket.nonblock.load(Ordering::Relaxed);
            Ok(socket.scheme.read(len / size_of::<Sqe>(), nonblock, deliver)? * size_of::<Sqe>())
        }
        Some(Special::SignalRouter(router)) => {
            let news = router.read(len)?;
            // SAFETY: the caller's promise; there is no more news than fits.
            unsafe { base.copy_from_nonoverlapping(news.as_ptr(), news.len()) };
            Ok(news.len())
        }
        Some(_) => Err(Error::new(EBADF)),
        // SAFETY: the caller's promise.
        None => checked(unsafe { libc_read(descriptor(fd)?, base.cast(), len) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_read_v1(fd: usize, base: *mut u8, len: usize) -> RawResult {
    // SAFETY: libredox passes a slice.
    mux(unsafe { read(fd, base, len) })
}

/// # Safety
/// `base` must point to `len` readable bytes.
unsafe fn write(fd: usize, base: *const u8, len: usize) -> Result<usize> {
    match descriptors::get(fd) {
        Some(Special::Socket(socket)) => {
            let messages = (0..len / size_of::<Cqe>())
                // SAFETY: the index stays inside the caller's buffer, and every pattern of bits is a valid Cqe.
                .map(|index| unsafe { base.cast::<Cqe>().add(index).read_unaligned() });
            Ok(socket.scheme.write(messages, duplicate)? * size_of::<Cqe>())
        }
        // SAFETY: the caller's promise.
        Some(Special::OfScheme(scheme, id)) => scheme.write_to(id, unsafe { bytes(base, len) }),
        Some(_) => Err(Error::new(EBADF)),
        // SAFETY: the caller's promise.
        None => checked(unsafe { libc_write(descriptor(fd)?, base.cast(), len) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_write_v1(fd: usize, base: *const u8, len: usize) -> RawResult {
    // SAFETY: libredox passes a slice.
    mux(unsafe { write(fd, base, len) })
}

#[unsafe(no_mangle)]
extern "C" fn redox_close_v1(fd: usize) -> RawResult {
    if descriptors::remove(fd) {
        return 0;
    }
    // SAFETY: libredox closes what it opened.
    mux(descriptor(fd).and_then(|fd| checked(unsafe { libc::close(fd) })))
}

#[unsafe(no_mangle)]
extern "C" fn redox_fcntl_v0(fd: usize, command: usize, argument: usize) -> RawResult {
    let fcntl = || match descriptors::get(fd) {
        Some(Special::Socket(socket)) if command == F_SETFL => {
            // redox-scheme mixes Linux's and Redox's values here.
            let nonblock = argument & (libc::O_NONBLOCK as usize | O_NONBLOCK) != 0;
            socket.nonblock.store(nonblock, Ordering::Relaxed);
            Ok(0)
        }
        Some(_) if matches!(command, F_GETFD | F_SETFD) => Ok(0),
        Some(_) => Err(Error::new(EINVAL)),
        None => {
            let command = c_int::try_from(command).map_err(|_| Error::new(EINVAL))?;
            // SAFETY: the commands that libredox knows take a number.
            checked(unsafe { libc::fcntl(descriptor(fd)?, command, argument) })
        }
    };
    mux(fcntl())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_fstat_v1(fd: usize, stat: *mut libc::stat) -> RawResult {
    // SAFETY: libredox passes room for a stat.
    mux(descriptor(fd).and_then(|fd| checked(unsafe { libc::fstat(fd, stat) })))
}

/// The path of an open file, as /proc tells it.
pub(crate) fn path_of_descriptor(number: c_int, room: &mut [MaybeUninit<u8>]) -> Option<&[u8]> {
    let mut link = [0; 32];
    write!(&mut link[..], "/proc/self/fd/{number}\0").ok()?;
    let link = CStr::from_bytes_until_nul(&link).ok()?;
    readlinkat_raw(CWD, link, room).ok().map(|(path, _)| &*path)
}

/// The path of an open file as a Redox program knows it: what is below SCHEME_ROOT is below `/scheme/`.
#[unsafe(no_mangle)]
unsafe extern "C" fn redox_fpath_v1(fd: usize, base: *mut u8, len: usize) -> RawResult {
    let path = || {
        // It allocates nothing: signal handlers may use it.
        let mut room = [MaybeUninit::uninit(); libc::PATH_MAX as usize];
        let path = path_of_descriptor(descriptor(fd)?, &mut room).ok_or(Error::new(EBADF))?;
        let parts = match fuse::below_root(path) {
            Some(rest) => [SCHEMES, rest],
            None => [path, &[]],
        };
        let mut written = 0;
        for part in parts {
            let copied = part.len().min(len - written);
            // SAFETY: libredox passes a slice, which is as long as said.
            unsafe { base.add(written).copy_from_nonoverlapping(part.as_ptr(), copied) };
            written += copied;
        }
        Ok(written)
    };
    mux(path())
}

/// As libredox has it in a comment, for later.
#[unsafe(no_mangle)]
unsafe extern "C" fn redox_unlinkat_v0(directory: usize, path: *const u8, len: usize, flags: u32) -> RawResult {
    let unlink = || {
        // The only directory that callers name is none.
        if directory.cast_signed() != libc::AT_FDCWD as isize {
            return Err(Error::new(EOPNOTSUPP));
        }
        let mut buffer = [0; libc::PATH_MAX as usize];
        // SAFETY: libredox passes a string.
        let path = file_of(unsafe { bytes(path, len) }, &mut buffer)?;
        // The system call itself, as for open.
        // SAFETY: `path` is a string that ends with a zero byte.
        checked(unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), flags) })
    };
    mux(unlink())
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_ns_v0() -> RawResult {
    mux(descriptors::namespace())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_register_scheme_to_ns_v0(
    namespace: usize,
    name: *const u8,
    len: usize,
    capability: usize,
) -> RawResult {
    let register = || {
        // SAFETY: libredox passes a string.
        let name = std::str::from_utf8(unsafe { bytes(name, len) }).map_err(|_| Error::new(EINVAL))?;
        if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
            return Err(Error::new(EINVAL));
        }
        let (Some(Special::Namespace), Some(Special::OfScheme(scheme, root))) =
            (descriptors::get(namespace), descriptors::get(capability))
        else {
            return Err(Error::new(EBADF));
        };
        // It is sent to the namespace manager, which closes what it does not keep: a refusal does not give it back.
        descriptors::remove(capability);
        register_scheme(&scheme, name, root).map(|()| 0)
    };
    mux(register())
}

fn register_scheme(scheme: &Arc<Scheme>, name: &str, root: usize) -> Result<()> {
    if let Some(namespace) = Namespace::current() {
        scheme.set_root(root);
        return namespace.register(name, Arc::clone(scheme));
    }
    scheme.mount(name, root).map_err(explain)?;
    for queue in descriptors::event_queues() {
        queue.watch_device(scheme).map_err(|error| {
            scheme.end();
            from_rustix(error)
        })?;
    }
    termination::unmount_on_signal(scheme).map_err(|message| {
        scheme.end();
        explain(message)
    })
}

#[unsafe(no_mangle)]
extern "C" fn redox_setrens_v1(_real: usize, effective: usize) -> RawResult {
    if effective != 0 {
        return mux(Err(Error::new(ENOSYS)));
    }
    // Threads that serve a namespace of their own share this process with clients that go on opening files.
    if Namespace::current().is_none() {
        NULL_NAMESPACE.store(true, Ordering::Relaxed);
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_pid_v1() -> RawResult {
    std::process::id() as usize
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_euid_v1() -> RawResult {
    rustix::process::geteuid().as_raw() as usize
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_ruid_v1() -> RawResult {
    rustix::process::getuid().as_raw() as usize
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_egid_v1() -> RawResult {
    rustix::process::getegid().as_raw() as usize
}

#[unsafe(no_mangle)]
extern "C" fn redox_get_rgid_v1() -> RawResult {
    rustix::process::getgid().as_raw() as usize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_clock_gettime_v1(clock: usize, time: *mut TimeSpec) -> RawResult {
    let clock = libc::clockid_t::try_from(clock).map_err(|_| Error::new(EINVAL));
    // SAFETY: libredox passes room for a timespec.
    mux(clock.and_then(|clock| checked(unsafe { libc::clock_gettime(clock, time) })))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_mmap_v1(
    address: *mut (),
    len: usize,
    prot: u32,
    flags: u32,
    fd: usize,
    offset: u64,
) -> RawResult {
    let map = || {
        let (prot, flags) = (prot.cast_signed(), flags.cast_signed());
        if fd == NO_DESCRIPTOR && flags & libc::MAP_PRIVATE == 0 {
            return memory::map(len, prot.cast_unsigned()).map_err(from_rustix);
        }
        if fd == NO_DESCRIPTOR {
            // SAFETY: what the mapping replaces, if MAP_FIXED is given, is the caller's responsibility.
            return unsafe { mmap(address, len, prot, flags | libc::MAP_ANONYMOUS, -1, offset) };
        }
        // SAFETY: as for a call.
        let file = unsafe { BorrowedFd::borrow_raw(descriptor(fd)?) };
        let on_linux = || {
            // SAFETY: as above.
            let mapped = unsafe { mmap(address, len, prot, flags, file.as_raw_fd(), offset) }?;
            mapped_files::keep(mapped, file);
            Ok(mapped)
        };
        // Linux first where that spoils nothing: privately it maps any file, and at a fixed address it takes away what was there before it says no.
        if flags & (libc::MAP_PRIVATE | libc::MAP_FIXED) == 0
            && let Ok(mapped) = on_linux()
        {
            return Ok(mapped);
        }
        // SAFETY: as above.
        if let Some(mapped) = unsafe { mapping::map(address, len, prot, flags, file, offset) }? {
            return Ok(mapped);
        }
        if flags & libc::MAP_FIXED != 0 {
            // So what is no scheme's is tried elsewhere.
            // SAFETY: a new mapping at an address that the kernel chooses touches no memory in use, and goes at once.
            unsafe {
                let flags = flags & !libc::MAP_FIXED;
                let elsewhere = mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), offset)?;
                libc::munmap(std::ptr::with_exposed_provenance_mut(elsewhere), len);
            }
        }
        on_linux()
    };
    mux(map())
}

/// mmap(2) of Linux.
///
/// # Safety
/// With MAP_FIXED, nobody minds that what is at `address` goes.
pub(crate) unsafe fn mmap(
    address: *mut (),
    len: usize,
    prot: c_int,
    flags: c_int,
    file: c_int,
    offset: u64,
) -> Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Error::new(EINVAL))?;
    // SAFETY: the caller's promise.
    let mapped = unsafe { libc::mmap(address.cast(), len, prot, flags, file, offset) };
    if mapped == libc::MAP_FAILED { checked(-1) } else { Ok(mapped.expose_provenance()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_munmap_v1(address: *mut (), len: usize) -> RawResult {
    if memory::unmap(address.expose_provenance()) {
        return 0;
    }
    // SAFETY: the caller is done with the mapping.
    let unmapped = checked(unsafe { libc::munmap(address.cast(), len) });
    mapped_files::release(address.expose_provenance());
    mux(unmapped)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_strerror_v1(buffer: *mut u8, len: *mut usize, error: u32) -> RawResult {
    let text = if error.cast_signed() == EXPLAINED {
        EXPLANATION.with_borrow(Clone::clone)
    } else {
        let mut text = [0; 128];
        let errno = translate::errno_to_linux(error.cast_signed()).0;
        // SAFETY: the buffer is as long as said, and strerror_r ends what it writes with a zero byte.
        let text = unsafe {
            libc::strerror_r(errno, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr().cast::<c_char>())
        };
        text.to_string_lossy().into_owned()
    };
    // SAFETY: libredox passes the length of the buffer, and both are valid for writing.
    unsafe {
        let copied = text.len().min(*len);
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer, copied);
        *len = text.len();
        copied
    }
}

/// A duplicate of one of the daemon's descriptors, on its way to a client.
///
/// # Errors
/// EBADF if the number is not open, EOPNOTSUPP if it is one of the host's own, which mean nothing outside of this crate.
fn duplicate(number: impl TryInto<c_int>) -> Result<OwnedFd> {
    let fd = number.try_into().map_err(|_| Error::new(EBADF))?;
    if usize::try_from(fd).is_ok_and(|number| descriptors::get(number).is_some()) {
        return Err(Error::new(EOPNOTSUPP));
    }
    // SAFETY: this command takes any number.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    checked(copy)?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes the descriptors with these numbers from the daemon: all, or none if one is bad. With `keep` the daemon has them as well.
fn take_descriptors(numbers: &[usize], keep: bool) -> Result<Vec<OwnedFd>> {
    let taken = numbers.iter().map(|number| duplicate(*number)).collect::<Result<Vec<_>>>()?;
    if numbers.iter().enumerate().any(|(index, number)| numbers[..index].contains(number)) {
        return Err(Error::new(EBADF));
    }
    for number in numbers.iter().filter(|_| !keep) {
        redox_close_v1(*number);
    }
    Ok(taken)
}

/// What a call on a scheme's socket asks for, and the request that it is about.
fn socket_call(metadata: &[u64]) -> Result<(SchemeSocketCall, u64)> {
    let (verb, request) = match metadata {
        [verb, request] => (*verb, *request),
        _ => return Err(Error::new(EINVAL)),
    };
    let verb = usize::try_from(verb).ok().and_then(SchemeSocketCall::try_from_raw);
    Ok((verb.ok_or(Error::new(EINVAL))?, request))
}

/// `call` on a scheme's socket passes descriptors. Newer kernels also write and read messages at once in it; today's answers EOPNOTSUPP to that, and has not
/// looked at the message, which redox-scheme has given away by then.
///
/// # Safety
/// `payload` must point to as many readable and writable bytes as said, unless that is 0.
unsafe fn call_socket(
    socket: &Socket,
    payload: *mut u8,
    payload_len: usize,
    flags: CallFlags,
    metadata: &[u64],
) -> Result<usize> {
    // Linux lets nobody take the signals of another thread, so there are none.
    if let [verb @ (THREAD_CLAIM | THREAD_PEEK), ..] = *metadata {
        if signals::current().is_none() {
            return Err(Error::new(EPERM));
        }
        if payload_len < size_of::<u64>() {
            return Err(Error::new(EINVAL));
        }
        if verb == THREAD_PEEK {
            // SAFETY: the caller's promise, and there is room for the set.
            unsafe { payload.cast::<u64>().write_unaligned(0) };
        }
        return Ok(0);
    }
    if !flags.contains(CallFlags::FD) || !flags.intersects(CallFlags::READ | CallFlags::WRITE) {
        return Err(Error::new(EOPNOTSUPP));
    }
    let slots = payload.cast::<usize>();
    let count = payload_len / size_of::<usize>();
    if flags.contains(CallFlags::WRITE) {
        // SAFETY: the index stays inside the caller's buffer, which need not be aligned.
        let numbers = (0..count).map(|index| unsafe { slots.add(index).read_unaligned() }).collect::<Vec<_>>();
        // The kernel takes them before it looks at what they are for.
        let taken = take_descriptors(&numbers, flags.contains(CallFlags::FD_CLONE))?;
        let (SchemeSocketCall::MoveFd, request) = socket_call(metadata)? else { return Err(Error::new(EINVAL)) };
        socket.scheme.with_protocol(|protocol| protocol.leave(request, taken))?;
        return Ok(count);
    }
    let (SchemeSocketCall::ObtainFd, request) = socket_call(metadata)? else { return Err(Error::new(EINVAL)) };
    let obtained = socket.scheme.with_protocol(|protocol| protocol.obtain(request, payload_len))?;
    for (index, descriptor) in obtained.into_iter().enumerate() {
        let number = usize::try_from(descriptor.into_raw_fd()).unwrap_or(NO_DESCRIPTOR);
        // SAFETY: there are exactly as many descriptors as the caller's buffer has room for.
        unsafe { slots.add(index).write_unaligned(number) };
    }
    Ok(count)
}

/// `call` on a file of a scheme. Anything else refuses the ioctl, mostly with ENOTTY.
///
/// # Safety
/// As for [`call_socket`].
unsafe fn call_file(
    fd: usize,
    payload: *mut u8,
    payload_len: usize,
    flags: CallFlags,
    metadata: &[u64],
) -> Result<usize> {
    let mut head = CallHead::default();
    head.metadata.iter_mut().zip(metadata).for_each(|(place, word)| *place = *word);
    // SAFETY: the caller's descriptor is its own, or not open, and it does not close it meanwhile.
    let file = unsafe { BorrowedFd::borrow_raw(descriptor(fd)?) };
    if payload_len == 0 {
        // Without an allocation, for signal handlers.
        ioctl::exchange(file, ioctl::CALL, head.as_mut_bytes())?;
        return Error::demux(usize::try_from(head.result).map_err(|_| Error::new(EIO))?);
    }
    // SAFETY: the caller's promise.
    let mut argument = [head.as_bytes(), unsafe { bytes(payload, payload_len) }].concat();
    ioctl::exchange(file, ioctl::CALL, &mut argument)?;
    let (CallHead { result, .. }, answer) = CallHead::read_from_prefix(&argument).map_err(|_| Error::new(EIO))?;
    if flags.contains(CallFlags::READ) {
        // SAFETY: the caller's promise: the payload is to be written to, and the answer is as long as it is.
        unsafe { payload.copy_from_nonoverlapping(answer.as_ptr(), answer.len()) };
    }
    Error::demux(usize::try_from(result).map_err(|_| Error::new(EIO))?)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_sys_call_v0(
    fd: usize,
    payload: *mut u8,
    payload_len: usize,
    flags: usize,
    metadata: *const u64,
    metadata_len: usize,
) -> RawResult {
    let metadata = match metadata_len {
        0 => &[],
        // The kernel looks at three words.
        // SAFETY: libredox passes a slice.
        len => unsafe { std::slice::from_raw_parts(metadata, len.min(3)) },
    };
    let flags = CallFlags::from_bits_retain(flags);
    mux(match descriptors::get(fd) {
        // SAFETY: libredox passes a slice, which is writable if it is to be written to.
        Some(Special::Socket(socket)) => unsafe { call_socket(&socket, payload, payload_len, flags, metadata) },
        Some(Special::SignalRouter(router)) => {
            let mut copy = vec![0; payload_len];
            let result = router.call(&mut copy, metadata);
            if result.is_ok() && flags.contains(CallFlags::READ) && payload_len > 0 {
                // SAFETY: libredox passes a slice of this length, which is to be written to.
                unsafe { payload.copy_from_nonoverlapping(copy.as_ptr(), payload_len) };
            }
            result
        }
        Some(_) => Err(Error::new(EBADF)),
        // SAFETY: as above.
        None => unsafe { call_file(fd, payload, payload_len, flags, metadata) },
    })
}

#[unsafe(no_mangle)]
extern "C" fn redox_event_queue_create_v1(_flags: u32) -> RawResult {
    let queue = EventQueue::new().map_err(from_rustix);
    mux(queue.and_then(|queue| descriptors::insert(Special::EventQueue(Arc::new(queue)))))
}

fn event_queue(number: usize) -> Result<Arc<EventQueue>> {
    match descriptors::get(number) {
        Some(Special::EventQueue(queue)) => Ok(queue),
        _ => Err(Error::new(EBADF)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn redox_event_queue_ctl_v1(queue: usize, fd: usize, flags: u32, user_data: usize) -> RawResult {
    mux(event_queue(queue).and_then(|queue| queue.control(fd, flags, user_data).map(|()| 0).map_err(from_rustix)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_event_queue_get_events_v1(
    queue: usize,
    events: *mut RawEventV1,
    count: usize,
    _flags: u32,
    timeout: *const TimeSpec,
    signals: *const SigSet,
) -> RawResult {
    let wait = || {
        let queue = event_queue(queue)?;
        if !signals.is_null() {
            return Err(Error::new(ENOSYS));
        }
        // SAFETY: libredox passes null or a timespec.
        let timeout = unsafe { timeout.as_ref() }
            .map(|time| Timespec { tv_sec: time.tv_sec, tv_nsec: c_long::from(time.tv_nsec) });
        // SAFETY: the caller's buffer has room for `count` events, which are plain numbers.
        let events = unsafe { std::slice::from_raw_parts_mut(events, count) };
        queue.wait(events, timeout).map_err(from_rustix)
    };
    mux(wait())
}

#[unsafe(no_mangle)]
extern "C" fn redox_event_queue_destroy_v1(queue: usize) -> RawResult {
    mux(event_queue(queue).map(|_| {
        descriptors::remove(queue);
        0
    }))
}

/// Sleeps until somebody wakes those at `word`, in whatever process that maps it; not at all unless it holds `value`. The deadline is one of the monotonic
/// clock. A cancellation point, as a read that waits is; for that nothing here may need to be dropped.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_futex_wait_v0(word: *mut u32, value: u32, deadline: *const TimeSpec) -> RawResult {
    let operation = libc::FUTEX_WAIT_BITSET;
    let any = libc::FUTEX_BITSET_MATCH_ANY;
    let nowhere = std::ptr::null::<u32>();
    let mut kind = 0;
    // SAFETY: as glibc does it around a system call that waits; the thread holds nothing here.
    unsafe { pthread_setcanceltype(CANCEL_ASYNCHRONOUS, &raw mut kind) };
    // SAFETY: the kernel looks at the word itself, and finds out by itself whether it is there; the deadline is null or one.
    let waited = unsafe { libc_syscall(libc::SYS_futex, word, operation, value, deadline, nowhere, any) };
    // SAFETY: it is what it was before. errno stays as it is.
    unsafe { pthread_setcanceltype(kind, std::ptr::null_mut()) };
    mux(checked(waited))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn redox_futex_wake_v0(word: *mut u32, count: u32) -> RawResult {
    // Linux takes a number that is negative for one.
    let count = count.min(c_int::MAX.cast_unsigned());
    // SAFETY: the kernel does nothing to what the word holds.
    mux(checked(unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, count) }))
}
