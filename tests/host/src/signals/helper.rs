//! The program's side: a thread that tells the router of signals, and takes them when asked.
//!
//! It must not disturb the program. It blocks all signals, allocates nothing, and has a table of descriptors of its own, so that the program neither sees what
//! it opens nor can close it, and a child does not inherit it. It is there from the first open of a file that gives signals away until the process ends; a child
//! and, if it inherits such a file, a program after exec start one of their own.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, recv, sendmsg,
    socket_with,
};
use rustix::thread::futex;

use super::{
    CLAIM, INFORMATION, MOST, NEWS, Order, Report, TAKEN, WATCH, WELCOME, from_bytes, socket_address, to_bytes,
};
use crate::fuse;

/// Enough for what it does; the C library puts its thread-local variables there too.
const STACK: usize = 128 * 1024;
/// `sizeof(sigset_t)` of the system calls.
const SET: usize = size_of::<u64>();

const CONNECTION: u64 = 0;
const SIGNALS: u64 = 1;

/// Where the files are that give signals away, and the scheme that they belong to.
#[derive(Debug)]
struct Lent {
    prefix: &'static str,
    scheme: &'static str,
}

static LENT: OnceLock<Lent> = OnceLock::new();

/// The process whose helper it is, and how far that has got. The process is part of it, since a child begins with a copy.
static STATE: AtomicU32 = AtomicU32::new(0);
const STARTING: u32 = 1;
const READY: u32 = 2;

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> libc::c_int;
}

/// As soon as this process opens, or if it has inherited, a file below `prefix`, a path below `/scheme/`, the daemon that serves it can take this process's
/// signals. Of several prefixes the first counts.
pub fn lend_signals(prefix: &'static str) {
    let Some(scheme) = prefix.strip_prefix("/scheme/").and_then(|rest| rest.split('/').next()) else { return };
    let _ = LENT.set(Lent { prefix, scheme });
    if inherits(prefix) {
        ensure();
    }
}

/// Whether a file below `prefix` is open.
fn inherits(prefix: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return false };
    descriptors.flatten().any(|descriptor| {
        let file = rustix::fs::readlink(descriptor.path(), Vec::new());
        let path = file.ok().and_then(|file| fuse::scheme_path(file.as_bytes()));
        path.is_some_and(|path| path.starts_with(prefix.as_bytes()))
    })
}

/// `path` is about to be opened: if it gives signals away, the daemon must find the helper.
pub(crate) fn before_open(path: &[u8]) {
    if LENT.get().is_some_and(|lent| path.starts_with(lent.prefix.as_bytes())) {
        ensure();
    }
}

fn state(phase: u32) -> u32 {
    std::process::id() << 2 | phase
}

/// Starts the helper, unless there is one, and waits until the router knows it. Without a router there is none.
fn ensure() {
    loop {
        let known = STATE.load(Ordering::Acquire);
        if known == state(READY) {
            return;
        }
        if known == state(STARTING) {
            let _ = futex::wait(&STATE, futex::Flags::PRIVATE, known, None);
        } else if STATE.compare_exchange(known, state(STARTING), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            if !start() {
                settle(0);
            }
            while STATE.load(Ordering::Acquire) == state(STARTING) {
                let _ = futex::wait(&STATE, futex::Flags::PRIVATE, state(STARTING), None);
            }
            return;
        }
    }
}

/// The start is over: for good, or in vain.
fn settle(new: u32) {
    STATE.store(new, Ordering::Release);
    let _ = futex::wake(&STATE, futex::Flags::PRIVATE, i32::MAX.cast_unsigned());
}

/// The child of a process that had a helper needs one of its own: it may read from what it inherits.
unsafe extern "C" fn in_child() {
    if STATE.load(Ordering::Relaxed) != 0 {
        ensure();
    }
}

/// Starts the thread; returns whether that could be done.
fn start() -> bool {
    static AT_FORK: AtomicBool = AtomicBool::new(false);
    if !AT_FORK.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler may be called in any child.
        unsafe { pthread_atfork(None, None, Some(in_child)) };
    }
    // SAFETY: all pointers are those of local variables, which are initialised before they are read.
    unsafe {
        let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        let mut attributes = std::mem::zeroed();
        let mut thread = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        // The thread begins with this mask. The C library keeps out what it needs for itself.
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        let started = libc::pthread_attr_init(&raw mut attributes) == 0 && {
            libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
            libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
            let created = libc::pthread_create(&raw mut thread, &raw const attributes, run, std::ptr::null_mut()) == 0;
            libc::pthread_attr_destroy(&raw mut attributes);
            created
        };
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
        started
    }
}

extern "C" fn run(_: *mut libc::c_void) -> *mut libc::c_void {
    let _ = rustix::thread::set_name(c"signals");
    match Helper::new() {
        Ok(helper) => {
            settle(state(READY));
            let _ = helper.serve();
            // The next open starts another one: there may be another daemon.
            let _ = STATE.compare_exchange(state(READY), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        Err(_) => settle(0),
    }
    std::ptr::null_mut()
}

struct Helper {
    connection: OwnedFd,
    signals: OwnedFd,
    epoll: OwnedFd,
}

impl Helper {
    fn new() -> rustix::io::Result<Self> {
        // A table of descriptors of this thread's own, with nothing in it.
        // SAFETY: the thread has no descriptor, and those of the others are in another table from here on.
        let unshared =
            unsafe { libc::syscall(libc::SYS_close_range, 0_u32, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
        if unshared != 0 {
            return Err(Errno::NOSYS);
        }
        let lent = LENT.get().ok_or(Errno::NOENT)?;
        let connection = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let directory = fuse::open_root()?;
        connect(&connection, &socket_address(directory.as_fd(), lent.scheme)?)?;
        let new = native_signalfd(-1, 0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)?;
        // SAFETY: nobody else has the new descriptor.
        let signals = unsafe { OwnedFd::from_raw_fd(new) };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &connection, EventData::new_u64(CONNECTION), epoll::EventFlags::IN)?;
        // Each signal that comes is one event, whether or not those before it have been taken.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &signals, EventData::new_u64(SIGNALS), edges)?;
        let helper = Self { connection, signals, epoll };
        match helper.next_order(RecvFlags::empty())? {
            Some([WELCOME, ..]) => Ok(helper),
            _ => Err(Errno::CONNREFUSED),
        }
    }

    /// Serves until the router is gone.
    fn serve(&self) -> rustix::io::Result<()> {
        loop {
            let mut events = [MaybeUninit::<Event>::uninit(); 2];
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, None) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            for event in ready {
                match { event.data }.u64() {
                    SIGNALS => self.report([NEWS, 0], &[])?,
                    _ => self.obey()?,
                }
            }
        }
    }

    fn obey(&self) -> rustix::io::Result<()> {
        match self.next_order(RecvFlags::DONTWAIT)? {
            None => Ok(()),
            // What of the new mask is pending already comes as an event.
            Some([WATCH, _, mask, _]) => native_signalfd(self.signals.as_raw_fd(), mask, 0).map(drop),
            Some([CLAIM, claim, mask, room]) => {
                let mut taken = [[0; INFORMATION]; MOST];
                let places = taken.iter_mut().take(usize::try_from(room).unwrap_or(MOST));
                let count = places.map_while(|place| take(mask).map(|information| *place = information)).count();
                self.report([TAKEN, claim], taken.get(..count).unwrap_or_default().as_flattened())
            }
            Some(_) => Err(Errno::PROTO),
        }
    }

    /// The next order; none if there is none yet.
    fn next_order(&self, flags: RecvFlags) -> rustix::io::Result<Option<Order>> {
        let mut message = [0; size_of::<Order>()];
        match recv(&self.connection, &mut message, flags) {
            Ok((len, _)) => {
                let order = message.get(..len).and_then(from_bytes).ok_or(Errno::CONNRESET)?;
                Ok(Some(order.0))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn report(&self, report: Report, taken: &[u8]) -> rustix::io::Result<()> {
        let head = to_bytes(report);
        let slices = [IoSlice::new(head.as_flattened()), IoSlice::new(taken)];
        sendmsg(&self.connection, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL).map(drop)
    }
}

/// Linux's own: the C library's function may be ours.
fn native_signalfd(fd: RawFd, mask: u64, flags: libc::c_int) -> rustix::io::Result<RawFd> {
    // SAFETY: the mask is as long as said.
    let result = unsafe { libc::syscall(libc::SYS_signalfd4, fd, &raw const mask, SET, flags) };
    RawFd::try_from(result).ok().filter(|number| *number >= 0).ok_or(Errno::NOMEM)
}

/// Takes the next signal of `mask` that is pending for the process, in the order in which Linux would.
fn take(mask: u64) -> Option<[u8; INFORMATION]> {
    // Aligned as a `siginfo_t`.
    let mut aligned = [0_u64; INFORMATION / size_of::<u64>()];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Not by signalfd: to change the mask of one wakes all of this process, which would be news again.
    // SAFETY: the mask is as long as said, and there is room for a siginfo_t.
    let taken =
        unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const mask, aligned.as_mut_ptr(), &raw const now, SET) };
    let mut information = [0; INFORMATION];
    information.copy_from_slice(aligned.map(u64::to_ne_bytes).as_flattened());
    (taken > 0).then_some(information)
}
