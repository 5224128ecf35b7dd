//! The FUSE front: requests of the Linux kernel become requests of the user-scheme protocol.
//!
//! One FUSE request may take several requests to the daemon: looking a path up, for instance, is an open with O_STAT, an fstat and a close, as `stat(2)` is on
//! Redox. Each step says in a closure what to do with the answer.

mod mount;
mod nodes;
mod passthrough;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libredox::protocol::O_CLOEXEC;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use slab::Slab;
use syscall::TimeSpec;
use syscall::data::Stat;
use syscall::dirent::{DirentHeader, DirentIter};
use syscall::error::{EIO, Error};
use syscall::flag::{AT_REMOVEDIR, EventFlags, MapFlags, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_STAT};
use syscall::schemev2::NewFdFlags;
use zerocopy::{Immutable, IntoBytes};

use self::mount::Mount;
pub(crate) use self::mount::{below_root, file_path, open_root, scheme_path};
use self::nodes::{Nodes, is_directory};
use self::passthrough::Backing;
use self::wire::{
    AccessIn, Attr, AttrOut, BatchForgetIn, CreateIn, Dirent, EntryOut, FileIn, ForgetIn, ForgetOne, GetattrIn,
    InHeader, InitIn, InitOut, InterruptIn, IoctlIn, IoctlOut, MkdirIn, OpenIn, OpenOut, OutHeader, PollIn, PollOut,
    ReadIn, Rename2In, RenameIn, SetattrIn, StatfsOut, WriteIn, WriteOut, opcode,
};
use crate::ioctl::{self, CallHead, Memory};
use crate::mapping;
use crate::memory::{self, Region};
use crate::payload::Payload;
use crate::process;
use crate::protocol::{Answer, Event, Identity, Operation, Protocol};
use crate::scheme::Completion;
use crate::translate::{LinuxErrno, errno_to_linux, events_to_poll, open_flags_to_redox, poll_to_events};

/// The largest message: a write of 128 KiB and its headers.
const BUFFER_SIZE: usize = MAX_WRITE as usize + 4096;
const MAX_WRITE: u32 = 128 * 1024;
/// How many pages a request may touch, which is also how many segments of a readv it can have.
const MAX_SEGMENTS: u16 = 256;
/// The offset that the Redox kernel sends with reads and writes of a descriptor without a position.
pub(crate) const NO_OFFSET: u64 = u64::MAX;
const UTIME_NOW: i32 = (1 << 30) - 1;
const UTIME_OMIT: i32 = (1 << 30) - 2;
/// How often the device is read until it has nothing more, while requests come one at a time.
const LOOK_FOR_MORE_EVERY: u8 = 8;
/// How long the kernel may take to introduce itself, in milliseconds.
const INIT_TIMEOUT: i64 = 5_000;
/// How long the kernel may keep a directory's name, in seconds: what libfuse takes by default. Names of files are never kept.
const DIRECTORY_VALID: u64 = 1;
/// A size to report for what has none. With less than the size of a write, the kernel would let only one write at a time through.
const STREAM_SIZE: u64 = 4096;

/// What to do with the answer of the daemon.
pub(crate) struct Continue(Box<Step>);

type Step = dyn FnOnce(&mut Session, &mut Kernel, Answer) + Send;

impl std::fmt::Debug for Continue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Continue")
    }
}

type Kernel = Protocol<Completion>;
type Outcome<T> = Result<T, LinuxErrno>;

/// An open description of the scheme.
#[derive(Debug)]
struct File {
    id: usize,
    node: u64,
    positioned: bool,
    /// Whom to wake when the readiness changes.
    poll_handle: Option<u64>,
    /// What has ever been polled for: the daemon announces only this. FUSE does not tell when nobody polls any more.
    interest: EventFlags,
    /// Memory of the daemon that clients can map.
    memory: Option<Region>,
}

/// A FUSE request that wants a reply.
#[derive(Clone, Copy, Debug)]
struct Requester {
    unique: u64,
    node: u64,
    identity: Identity,
}

/// The step of a FUSE request that the daemon works on.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    tag: u32,
    interrupted: bool,
}

/// A mounted scheme.
#[derive(Debug)]
pub(crate) struct Session {
    device: Arc<OwnedFd>,
    mount: Mount,
    /// The descriptor of the daemon from which paths are opened.
    root: usize,
    nodes: Nodes,
    files: Slab<File>,
    /// The file of each description of the daemon.
    by_id: HashMap<usize, usize>,
    /// The daemon's work on each FUSE request.
    in_flight: BTreeMap<u64, InFlight>,
    /// The request whose next step begins, if a signal has interrupted its caller: the kernel says that once, whichever step the daemon is at.
    interrupted: Option<u64>,
    passthrough: bool,
    /// Reading the device now would probably be in vain.
    drained: bool,
    /// Several requests were there when the device was last read until it had none.
    crowded: bool,
    /// Counts the times that the device was read, and starts again.
    turn: u8,
    buffer: Vec<u8>,
}

impl Session {
    /// Mounts a scheme.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn mount(name: &str, root: usize) -> Result<Self, String> {
        let (mount, device) = Mount::new(name)?;
        let mut session = Self {
            device: Arc::new(device),
            mount,
            root,
            nodes: Nodes::new(),
            files: Slab::new(),
            by_id: HashMap::new(),
            in_flight: BTreeMap::new(),
            interrupted: None,
            passthrough: false,
            drained: false,
            crowded: false,
            turn: 0,
            buffer: vec![0; BUFFER_SIZE],
        };
        if let Err(cause) = session.initialize() {
            session.mount.unmount();
            return Err(format!("the kernel and this host do not agree on FUSE: {cause}"));
        }
        Ok(session)
    }

    pub(crate) fn unmount(&self) {
        self.mount.unmount();
    }

    pub(crate) fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// The device, for waiting on it while nobody holds the session.
    pub(crate) fn shared_device(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.device)
    }

    /// The first request of a mount fixes what both sides can do.
    fn initialize(&mut self) -> Result<(), String> {
        let timeout = rustix::event::Timespec { tv_sec: INIT_TIMEOUT / 1000, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&timeout));
        if ready != Ok(1) {
            return Err("no greeting".into());
        }
        let len = rustix::io::read(&self.device, &mut self.buffer[..]).map_err(|error| error.to_string())?;
        let Some((header, body)) = wire::split::<InHeader>(&self.buffer[..len]) else {
            return Err("a short greeting".into());
        };
        let Some((init, rest)) = wire::split::<InitIn>(body) else { return Err("a short greeting".into()) };
        if header.opcode != opcode::INIT || init.major != wire::MAJOR {
            return Err(format!("version {}", init.major));
        }
        let flags2 = wire::split::<u32>(rest).map_or(0, |(flags2, _)| flags2);
        let wanted = wire::init::ATOMIC_O_TRUNC
            | wire::init::BIG_WRITES
            | wire::init::PARALLEL_DIROPS
            | wire::init::MAX_PAGES
            | wire::init::INIT_EXT;
        self.passthrough = self.mount.is_privileged()
            && init.flags & wire::init::INIT_EXT != 0
            && flags2 & wire::init::PASSTHROUGH != 0;
        let out = InitOut {
            major: wire::MAJOR,
            minor: init.minor.min(wire::MINOR),
            max_readahead: init.max_readahead,
            flags: init.flags & wanted,
            max_write: MAX_WRITE,
            time_gran: 1,
            max_pages: MAX_SEGMENTS,
            flags2: if self.passthrough { wire::init::PASSTHROUGH } else { 0 },
            max_stack_depth: u32::from(self.passthrough),
            ..InitOut::default()
        };
        self.reply(header.unique, &out);
        Ok(())
    }

    /// Takes requests from the kernel: usually until there is none, or until the daemon has `limit` messages to read.
    pub(crate) fn pump(&mut self, kernel: &mut Kernel, limit: usize) {
        // While requests come one at a time, looking for a second one is mostly a system call in vain, so that is not done each time.
        let one_is_enough = !self.crowded && !self.turn.is_multiple_of(LOOK_FOR_MORE_EVERY);
        self.turn = self.turn.wrapping_add(1);
        self.receive(kernel, limit, one_is_enough);
    }

    /// Takes all requests that the kernel has.
    pub(crate) fn drain(&mut self, kernel: &mut Kernel) {
        self.receive(kernel, usize::MAX, false);
    }

    fn receive(&mut self, kernel: &mut Kernel, limit: usize, one_is_enough: bool) {
        let mut count = 0;
        while kernel.backlog() < limit && !kernel.has_ended() {
            if one_is_enough && kernel.backlog() > 0 {
                self.drained = true;
                return;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = rustix::io::read(&self.device, &mut buffer[..]);
            if let Ok(len) = received {
                self.dispatch(kernel, &buffer[..len]);
            }
            self.buffer = buffer;
            match received {
                Ok(_) => count += 1,
                // ENOENT: the request was taken back while we read it.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.drained = true;
                    self.crowded = count > 1;
                    return;
                }
                // ENODEV: somebody unmounted us.
                Err(_) => kernel.end(),
            }
        }
    }

    /// Whether reading the device now would probably be in vain; says so once for each time that it was.
    pub(crate) fn take_drained(&mut self) -> bool {
        std::mem::take(&mut self.drained)
    }

    /// Passes readiness on to whoever polls.
    pub(crate) fn announce(&mut self, event: Event) {
        let Some(file) = self.by_id.get(&event.id).and_then(|key| self.files.get_mut(*key)) else { return };
        if let Some(handle) = file.poll_handle.take() {
            let header = OutHeader { len: 0, error: wire::NOTIFY_POLL, unique: 0 };
            self.send(header, &[handle.as_bytes()]);
        }
    }

    /// Carries on with a request whose answer is there.
    pub(crate) fn resume(&mut self, kernel: &mut Kernel, then: Continue, answer: Answer) {
        then.0(self, kernel, answer);
    }

    fn dispatch(&mut self, kernel: &mut Kernel, message: &[u8]) {
        let Some((header, body)) = wire::split::<InHeader>(message) else { return };
        match header.opcode {
            opcode::FORGET => {
                if let Some((forget, _)) = wire::split::<ForgetIn>(body) {
                    self.nodes.forget(header.nodeid, forget.nlookup);
                }
            }
            opcode::BATCH_FORGET => self.forget_batch(body),
            opcode::INTERRUPT => {
                // A request that is not in flight has been answered already.
                if let Some((interrupt, _)) = wire::split::<InterruptIn>(body)
                    && let Some(step) = self.in_flight.get_mut(&interrupt.unique)
                {
                    step.interrupted = true;
                    kernel.cancel(step.tag);
                }
            }
            _ => {
                let identity = Identity { pid: process::of_thread(header.pid), uid: header.uid, gid: header.gid };
                let from = Requester { unique: header.unique, node: header.nodeid, identity };
                if self.handle(kernel, header.opcode, from, body).is_none() {
                    self.refuse(from, LinuxErrno(libc::EINVAL));
                }
            }
        }
    }

    /// Returns none if the message is not what its opcode says.
    fn handle(&mut self, kernel: &mut Kernel, opcode: u32, from: Requester, body: &[u8]) -> Option<()> {
        match opcode {
            opcode::LOOKUP => self.look_up(kernel, from, wire::split_name(body)?.0),
            opcode::GETATTR => self.get_attributes(kernel, from, wire::split(body)?.0),
            opcode::SETATTR => self.set_attributes(kernel, from, wire::split(body)?.0),
            opcode::MKDIR => {
                let (mkdir, rest) = wire::split::<MkdirIn>(body)?;
                self.make_directory(kernel, from, wire::split_name(rest)?.0, mkdir.mode);
            }
            opcode::UNLINK => self.unlink(kernel, from, wire::split_name(body)?.0, 0),
            opcode::RMDIR => self.unlink(kernel, from, wire::split_name(body)?.0, AT_REMOVEDIR),
            opcode::RENAME => {
                let (RenameIn { newdir }, rest) = wire::split(body)?;
                self.rename(kernel, from, newdir, rest)?;
            }
            opcode::RENAME2 => match wire::split(body)? {
                (Rename2In { newdir, flags: 0, .. }, rest) => self.rename(kernel, from, newdir, rest)?,
                _ => self.refuse(from, LinuxErrno(libc::ENOSYS)),
            },
            opcode::OPEN => self.open(kernel, from, wire::split(body)?.0, 0),
            opcode::OPENDIR => self.open(kernel, from, wire::split(body)?.0, O_DIRECTORY),
            opcode::CREATE => {
                let (create, rest) = wire::split::<CreateIn>(body)?;
                self.create(kernel, from, create, wire::split_name(rest)?.0);
            }
            opcode::READ => self.read(kernel, from, wire::split(body)?.0),
            opcode::READDIR => self.read_directory(kernel, from, wire::split(body)?.0),
            opcode::WRITE => {
                let (write, data) = wire::split::<WriteIn>(body)?;
                self.write(kernel, from, write, data.get(..write.size as usize)?);
            }
            opcode::FSYNC => self.sync(kernel, from, wire::split(body)?.0),
            opcode::RELEASE | opcode::RELEASEDIR => self.release(kernel, from, wire::split(body)?.0),
            opcode::ACCESS => self.access(kernel, from, wire::split(body)?.0),
            opcode::POLL => self.poll(kernel, from, wire::split(body)?.0),
            opcode::STATFS => {
                self.reply(from.unique, &StatfsOut { bsize: 4096, frsize: 4096, namelen: 255, ..StatfsOut::default() });
            }
            opcode::DESTROY => {
                self.reply_empty(from.unique);
                kernel.end();
            }
            opcode::IOCTL => {
                let (ioctl, argument) = wire::split::<IoctlIn>(body)?;
                self.control(kernel, from, ioctl, argument);
            }
            _ => self.refuse(from, LinuxErrno(libc::ENOSYS)),
        }
        Some(())
    }

    fn forget_batch(&mut self, body: &[u8]) {
        let Some((batch, mut rest)) = wire::split::<BatchForgetIn>(body) else { return };
        for _ in 0..batch.count {
            let Some((forget, next)) = wire::split::<ForgetOne>(rest) else { return };
            self.nodes.forget(forget.nodeid, forget.nlookup);
            rest = next;
        }
    }

    /// Sends a request to the daemon on behalf of `from`, which can be interrupted meanwhile.
    fn call(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        operation: Operation,
        then: impl FnOnce(&mut Self, &mut Kernel, Answer) + Send + 'static,
    ) {
        let step = move |session: &mut Self, kernel: &mut Kernel, answer: Answer| {
            let done = session.in_flight.remove(&from.unique);
            session.interrupted = done.is_some_and(|step| step.interrupted).then_some(from.unique);
            // Descriptors of other files cannot be handed to a caller that comes by FUSE.
            let answer = if answer.descriptors.is_empty() { answer } else { Answer::error(EIO) };
            then(session, kernel, answer);
            session.interrupted = None;
        };
        let Some(tag) = kernel.request(from.identity, operation, Completion::Fuse(Continue(Box::new(step)))) else {
            return;
        };
        let interrupted = self.interrupted == Some(from.unique);
        self.in_flight.insert(from.unique, InFlight { tag, interrupted });
        if interrupted {
            kernel.cancel(tag);
        }
    }

    /// Opens `path` just to look at it, runs `operation` on the descriptor, and closes that.
    fn call_on_path(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        path: &str,
        operation: impl FnOnce(usize) -> Operation + Send + 'static,
        then: impl FnOnce(&mut Self, &mut Kernel, Answer) + Send + 'static,
    ) {
        let open = Operation::open(self.root, path, O_STAT | O_CLOEXEC);
        self.call(kernel, from, open, move |session, kernel, opened| match opened.result {
            Ok(id) => session.call(kernel, from, operation(id), move |session, kernel, answer| {
                kernel.close(id);
                then(session, kernel, answer);
            }),
            Err(_) => then(session, kernel, opened),
        });
    }

    fn stat_path(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        path: &str,
        then: impl FnOnce(&mut Self, Outcome<Stat>) + Send + 'static,
    ) {
        self.call_on_path(kernel, from, path, Operation::stat, move |session, _, answer| {
            then(session, stat_of(&answer))
        });
    }

    fn look_up(&mut self, kernel: &mut Kernel, from: Requester, name: &str) {
        let Some(path) = self.nodes.child_path(from.node, name) else { return self.refuse(from, STALE) };
        self.answer_entry(kernel, from, path);
    }

    /// Replies with the inode and the attributes of `path`.
    fn answer_entry(&mut self, kernel: &mut Kernel, from: Requester, path: String) {
        self.stat_path(kernel, from, &path.clone(), move |session, stat| match stat {
            Ok(stat) => {
                let entry = session.entry(&path, stat);
                session.reply(from.unique, &entry);
            }
            Err(errno) => session.refuse(from, errno),
        });
    }

    fn entry(&mut self, path: &str, stat: Stat) -> EntryOut {
        let nodeid = self.nodes.look_up(path, stat);
        let entry_valid = if is_directory(&stat) { DIRECTORY_VALID } else { 0 };
        EntryOut { nodeid, entry_valid, attr: attributes(nodeid, &stat), ..EntryOut::default() }
    }

    /// The description that speaks for a node, if it is open: the one that the request names, or the last that was opened.
    fn open_description(&self, node: u64, file: Option<u64>) -> Option<usize> {
        let key = file.or_else(|| self.nodes.get(node)?.open.last().copied())?;
        self.file(key).map(|file| file.id)
    }

    fn get_attributes(&mut self, kernel: &mut Kernel, from: Requester, request: GetattrIn) {
        let file = (request.flags & wire::GETATTR_FH != 0).then_some(request.fh);
        self.answer_attributes(kernel, from, file);
    }

    fn answer_attributes(&mut self, kernel: &mut Kernel, from: Requester, file: Option<u64>) {
        let answer = move |session: &mut Self, stat: Outcome<Stat>| match stat {
            Ok(stat) => {
                session.reply(from.unique, &AttrOut { attr: attributes(from.node, &stat), ..AttrOut::default() })
            }
            Err(errno) => session.refuse(from, errno),
        };
        if let Some(id) = self.open_description(from.node, file) {
            self.call(kernel, from, Operation::stat(id), move |session, _, reply| answer(session, stat_of(&reply)));
        } else if let Some(node) = self.nodes.get(from.node) {
            let path = node.path.clone();
            self.stat_path(kernel, from, &path, answer);
        } else {
            self.refuse(from, STALE);
        }
    }

    fn set_attributes(&mut self, kernel: &mut Kernel, from: Requester, request: SetattrIn) {
        let Some(node) = self.nodes.get(from.node) else { return self.refuse(from, STALE) };
        let (path, changes) = (node.path.clone(), changes(&request, &node.stat));
        let file = (request.valid & wire::setattr::FH != 0).then_some(request.fh);
        if changes.is_empty() {
            return self.answer_attributes(kernel, from, file);
        }
        let then = move |session: &mut Self, kernel: &mut Kernel, result: Outcome<()>| match result {
            Ok(()) => session.answer_attributes(kernel, from, file),
            Err(errno) => session.refuse(from, errno),
        };
        if let Some(id) = self.open_description(from.node, file) {
            return self.carry_out(kernel, from, id, changes, then);
        }
        let open = Operation::open(self.root, &path, O_STAT | O_CLOEXEC);
        self.call(kernel, from, open, move |session, kernel, opened| match opened.result {
            Ok(id) => session.carry_out(kernel, from, id, changes, move |session, kernel, result| {
                kernel.close(id);
                then(session, kernel, result);
            }),
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    /// Makes changes to a description, in order, up to the first that fails.
    fn carry_out(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        id: usize,
        mut changes: VecDeque<Change>,
        then: impl FnOnce(&mut Self, &mut Kernel, Outcome<()>) + Send + 'static,
    ) {
        let Some(change) = changes.pop_front() else { return then(self, kernel, Ok(())) };
        self.call(kernel, from, change.operation(id), move |session, kernel, answer| match answer.result {
            Ok(_) => session.carry_out(kernel, from, id, changes, then),
            Err(error) => then(session, kernel, Err(errno_to_linux(error.errno))),
        });
    }

    fn access(&mut self, kernel: &mut Kernel, from: Requester, request: AccessIn) {
        let Some(node) = self.nodes.get(from.node) else { return self.refuse(from, STALE) };
        let path = node.path.clone();
        self.stat_path(kernel, from, &path, move |session, stat| match stat {
            Ok(stat) if permits(&stat, from.identity, request.mask) => session.reply_empty(from.unique),
            Ok(_) => session.refuse(from, LinuxErrno(libc::EACCES)),
            Err(errno) => session.refuse(from, errno),
        });
    }

    fn make_directory(&mut self, kernel: &mut Kernel, from: Requester, name: &str, mode: u32) {
        let Some(path) = self.nodes.child_path(from.node, name) else { return self.refuse(from, STALE) };
        let flags = O_CREAT | O_EXCL | O_DIRECTORY | O_CLOEXEC | (mode & 0o7777) as usize;
        let open = Operation::open(self.root, &path, flags);
        self.call(kernel, from, open, move |session, kernel, opened| match opened.result {
            Ok(id) => {
                kernel.close(id);
                session.answer_entry(kernel, from, path);
            }
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    fn unlink(&mut self, kernel: &mut Kernel, from: Requester, name: &str, flags: usize) {
        let Some(path) = self.nodes.child_path(from.node, name) else { return self.refuse(from, STALE) };
        self.call(kernel, from, Operation::unlink(self.root, &path, flags), move |session, _, answer| {
            session.reply_result(from, answer.result);
        });
    }

    /// As a Redox client does it: the old path is opened to be looked at, and what is open is told its new path. `names` are those in the two directories.
    fn rename(&mut self, kernel: &mut Kernel, from: Requester, new_parent: u64, names: &[u8]) -> Option<()> {
        let (old_name, rest) = wire::split_name(names)?;
        let (new_name, _) = wire::split_name(rest)?;
        let paths = self.nodes.child_path(from.node, old_name).zip(self.nodes.child_path(new_parent, new_name));
        let Some((old, new)) = paths else {
            self.refuse(from, STALE);
            return Some(());
        };
        let open = Operation::open(self.root, &old, O_STAT | O_NOFOLLOW | O_CLOEXEC);
        self.call(kernel, from, open, move |session, kernel, opened| match opened.result {
            Ok(id) => session.call(kernel, from, Operation::rename(id, &new), move |session, kernel, answer| {
                kernel.close(id);
                if answer.result.is_ok() {
                    session.nodes.rename(&old, &new);
                }
                session.reply_result(from, answer.result);
            }),
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
        Some(())
    }

    fn open(&mut self, kernel: &mut Kernel, from: Requester, request: OpenIn, extra_flags: usize) {
        let Some(node) = self.nodes.get(from.node) else { return self.refuse(from, STALE) };
        let (path, stat) = (node.path.clone(), node.stat);
        let flags = open_flags_to_redox(request.flags.cast_signed()) | extra_flags;
        self.call(kernel, from, Operation::open(self.root, &path, flags), move |session, kernel, opened| match opened
            .result
        {
            Ok(id) => session.opened(kernel, from, id, opened.new_descriptor, &stat, move |session, out| {
                session.reply(from.unique, &out);
            }),
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    fn create(&mut self, kernel: &mut Kernel, from: Requester, request: CreateIn, name: &str) {
        let Some(path) = self.nodes.child_path(from.node, name) else { return self.refuse(from, STALE) };
        let flags = open_flags_to_redox(request.flags.cast_signed()) | O_CREAT | (request.mode & 0o7777) as usize;
        self.call(kernel, from, Operation::open(self.root, &path, flags), move |session, kernel, opened| {
            let id = match opened.result {
                Ok(id) => id,
                Err(error) => return session.refuse(from, errno_to_linux(error.errno)),
            };
            session.call(kernel, from, Operation::stat(id), move |session, kernel, answer| {
                let stat = match stat_of(&answer) {
                    Ok(stat) => stat,
                    Err(errno) => {
                        kernel.close(id);
                        return session.refuse(from, errno);
                    }
                };
                let entry = session.entry(&path, stat);
                let from = Requester { node: entry.nodeid, ..from };
                session.opened(kernel, from, id, opened.new_descriptor, &stat, move |session, out| {
                    session.send_reply(from.unique, &[entry.as_bytes(), out.as_bytes()]);
                });
            });
        });
    }

    /// Decides how the kernel is to treat a description, and keeps it.
    fn opened(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        id: usize,
        new_descriptor: NewFdFlags,
        stat: &Stat,
        then: impl FnOnce(&mut Self, OpenOut) + Send + 'static,
    ) {
        let positioned = new_descriptor.contains(NewFdFlags::POSITIONED);
        let file =
            File { id, node: from.node, positioned, poll_handle: None, interest: EventFlags::empty(), memory: None };
        let key = self.files.insert(file);
        self.by_id.insert(id, key);
        if let Some(node) = self.nodes.get_mut(from.node) {
            node.open.push(key as u64);
        }
        let fh = key as u64;
        let direct = OpenOut {
            fh,
            open_flags: wire::open::DIRECT_IO
                | wire::open::NOFLUSH
                | if positioned {
                    0
                } else {
                    // Without STREAM a read that waits keeps the position locked, and a write through the same description hangs; without
                    // PARALLEL_DIRECT_WRITES a write that waits keeps the inode locked.
                    wire::open::STREAM | wire::open::NONSEEKABLE | wire::open::PARALLEL_DIRECT_WRITES
                },
            ..OpenOut::default()
        };
        let Some(len) = mappable_len(stat) else { return then(self, direct) };
        let flags = MapFlags::MAP_SHARED | MapFlags::PROT_READ | MapFlags::PROT_WRITE;
        self.call(kernel, from, Operation::mmap_prep(id, len, flags, 0), move |session, _, answer| {
            let region = answer.result.ok().and_then(|address| memory::find(address, len));
            let out = region.map_or(direct, |region| session.share(key, region));
            then(session, out);
        });
    }

    /// Lets clients map a region of the daemon: the very pages if the kernel allows that, copies in the page cache otherwise.
    fn share(&mut self, key: usize, region: Region) -> OpenOut {
        let mut out = OpenOut { fh: key as u64, open_flags: wire::open::KEEP_CACHE, ..OpenOut::default() };
        let Some(file) = self.files.get_mut(key) else { return out };
        if self.passthrough
            && let Some(node) = self.nodes.get_mut(file.node)
            && let Some(backing) = Backing::attach(&self.device, &mut node.backing, &region)
        {
            out.open_flags = wire::open::PASSTHROUGH;
            out.backing_id = backing.id;
        }
        file.memory = Some(region);
        out
    }

    fn file(&self, fh: u64) -> Option<&File> {
        self.files.get(usize::try_from(fh).ok()?)
    }

    fn read(&mut self, kernel: &mut Kernel, from: Requester, request: ReadIn) {
        let Some(file) = self.file(request.fh) else { return self.refuse(from, BAD_FILE) };
        let len = request.size as usize;
        if let Some(region) = &file.memory {
            let bytes = region.read(request.offset, len);
            return self.send_reply(from.unique, &[&bytes]);
        }
        let offset = if file.positioned { request.offset } else { NO_OFFSET };
        let flags = open_flags_to_redox(request.flags.cast_signed());
        let operation = Operation::read(file.id, len, offset, flags);
        self.call(kernel, from, operation, move |session, _, answer| session.reply_bytes(from, &answer));
    }

    fn write(&mut self, kernel: &mut Kernel, from: Requester, request: WriteIn, data: &[u8]) {
        let Some(file) = self.file(request.fh) else { return self.refuse(from, BAD_FILE) };
        if let Some(region) = &file.memory {
            let size = region.write(request.offset, data);
            return self.reply_written(from, size);
        }
        let offset = if file.positioned { request.offset } else { NO_OFFSET };
        let flags = open_flags_to_redox(request.flags.cast_signed());
        let operation = Operation::write(file.id, data, offset, flags);
        self.call(kernel, from, operation, move |session, _, answer| match answer.result {
            Ok(len) => session.reply_written(from, len),
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    fn reply_written(&self, from: Requester, len: usize) {
        let size = u32::try_from(len).unwrap_or(u32::MAX);
        self.reply(from.unique, &WriteOut { size, padding: 0 });
    }

    fn read_directory(&mut self, kernel: &mut Kernel, from: Requester, request: ReadIn) {
        let Some(file) = self.file(request.fh) else { return self.refuse(from, BAD_FILE) };
        let limit = request.size as usize;
        let operation = Operation::directory_entries(file.id, limit, request.offset);
        self.call(kernel, from, operation, move |session, _, answer| match answer.bytes() {
            Ok(bytes) => session.send_reply(from.unique, &[&directory_entries(bytes, limit)]),
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    fn sync(&mut self, kernel: &mut Kernel, from: Requester, request: FileIn) {
        let Some(file) = self.file(request.fh) else { return self.refuse(from, BAD_FILE) };
        let operation = Operation::sync(file.id);
        self.call(kernel, from, operation, move |session, _, answer| session.reply_result(from, answer.result));
    }

    fn release(&mut self, kernel: &mut Kernel, from: Requester, request: FileIn) {
        let removed = usize::try_from(request.fh).ok().and_then(|key| self.files.try_remove(key));
        let Some(file) = removed else { return self.refuse(from, BAD_FILE) };
        self.by_id.remove(&file.id);
        if let Some(node) = self.nodes.get_mut(file.node) {
            node.open.retain(|open| *open != request.fh);
            if file.memory.is_some() {
                Backing::detach(&self.device, &mut node.backing);
            }
        }
        if let Some(region) = file.memory {
            kernel.request(from.identity, Operation::munmap(file.id, region.len()), Completion::Nobody);
        }
        kernel.close(file.id);
        self.reply_empty(from.unique);
    }

    fn poll(&mut self, kernel: &mut Kernel, from: Requester, request: PollIn) {
        let file = usize::try_from(request.fh).ok().and_then(|key| self.files.get_mut(key));
        let Some(file) = file else { return self.refuse(from, BAD_FILE) };
        if request.flags & wire::POLL_SCHEDULE_NOTIFY != 0 {
            file.poll_handle = Some(request.kh);
        }
        // As the Redox kernel does: a scheme hears the union of what all who watch want.
        file.interest |= poll_to_events(request.events);
        let operation = Operation::fevent(file.id, file.interest);
        self.call(kernel, from, operation, move |session, _, answer| match answer.result {
            Ok(flags) => {
                let revents = events_to_poll(EventFlags::from_bits_truncate(flags)) & request.events;
                session.reply(from.unique, &PollOut { revents, padding: 0 });
            }
            Err(error) => session.refuse(from, errno_to_linux(error.errno)),
        });
    }

    /// ioctl(2): the requests of this host's own.
    fn control(&mut self, kernel: &mut Kernel, from: Requester, request: IoctlIn, argument: &[u8]) {
        let is = |number| ioctl::request(number, argument.len()) == Some(request.cmd);
        if is(ioctl::CALL)
            && let Some((head, payload)) = wire::split::<CallHead>(argument)
        {
            self.call_scheme(kernel, from, request.fh, head, payload);
        } else if is(ioctl::MEMORY)
            && let Some((wanted, _)) = wire::split::<Memory>(argument)
        {
            self.prepare_mapping(kernel, from, request.fh, wanted);
        } else {
            self.refuse(from, LinuxErrno(libc::ENOTTY));
        }
    }

    fn call_scheme(&mut self, kernel: &mut Kernel, from: Requester, fh: u64, head: CallHead, payload: &[u8]) {
        let Some(file) = self.file(fh) else { return self.refuse(from, BAD_FILE) };
        let operation = Operation::call(file.id, payload, head.metadata);
        self.call(kernel, from, operation, move |session, _, answer| {
            let result = answer.result.map_err(|error| Error::new(errno_to_linux(error.errno).0));
            // Not as the result of ioctl, which is an int and knows no ENOSYS.
            let head = CallHead { result: Error::mux(result) as u64, ..head };
            let payload = answer.payload.as_ref().map_or(&[][..], Payload::bytes);
            session.send_reply(from.unique, &[IoctlOut::default().as_bytes(), head.as_bytes(), payload]);
        });
    }

    /// Asks the daemon for memory, and replies where it is. There is nothing to take back if nobody comes for it.
    fn prepare_mapping(&mut self, kernel: &mut Kernel, from: Requester, fh: u64, wanted: Memory) {
        let Some(file) = self.file(fh) else { return self.refuse(from, BAD_FILE) };
        if file.memory.is_some() {
            // Linux maps the file itself.
            return self.refuse(from, LinuxErrno(libc::ENOTTY));
        }
        let Memory { len, offset, flags, .. } = wanted;
        let (Ok(len @ 1..), Ok(flags), true) =
            (usize::try_from(len), usize::try_from(flags), offset.is_multiple_of(memory::PAGE_SIZE as u64))
        else {
            return self.refuse(from, LinuxErrno(libc::EINVAL));
        };
        let operation = Operation::mmap_prep(file.id, len, MapFlags::from_bits_truncate(flags), offset);
        self.call(kernel, from, operation, move |session, _, answer| {
            let prepared = answer.result.map_err(|error| errno_to_linux(error.errno));
            let memory = prepared.and_then(|address| mapping::offer(address, len));
            // Not as the result of ioctl, as for a call.
            let memory = memory.unwrap_or_else(|errno| Memory::failed(Error::new(errno.0)));
            session.send_reply(from.unique, &[IoctlOut::default().as_bytes(), memory.as_bytes()]);
        });
    }

    fn reply_bytes(&self, from: Requester, answer: &Answer) {
        match answer.bytes() {
            Ok(bytes) => self.send_reply(from.unique, &[bytes]),
            Err(error) => self.refuse(from, errno_to_linux(error.errno)),
        }
    }

    fn reply_result(&self, from: Requester, result: Result<usize, Error>) {
        match result {
            Ok(_) => self.reply_empty(from.unique),
            Err(error) => self.refuse(from, errno_to_linux(error.errno)),
        }
    }

    fn reply_empty(&self, unique: u64) {
        self.send_reply(unique, &[]);
    }

    fn reply(&self, unique: u64, out: &(impl IntoBytes + Immutable)) {
        self.send_reply(unique, &[out.as_bytes()]);
    }

    fn send_reply(&self, unique: u64, parts: &[&[u8]]) {
        self.send(OutHeader { len: 0, error: 0, unique }, parts);
    }

    fn refuse(&self, from: Requester, errno: LinuxErrno) {
        self.send(OutHeader { len: 0, error: -errno.0, unique: from.unique }, &[]);
    }

    fn send(&self, mut header: OutHeader, parts: &[&[u8]]) {
        let body = parts.iter().map(|part| part.len()).sum::<usize>();
        header.len = u32::try_from(size_of::<OutHeader>() + body).unwrap_or(u32::MAX);
        // No message has more than three parts.
        let part = |index: usize| IoSlice::new(parts.get(index).copied().unwrap_or_default());
        let slices = [IoSlice::new(header.as_bytes()), part(0), part(1), part(2)];
        // An error means that the caller is gone, or the mount is; there is nobody left to tell.
        let _ = rustix::io::writev(&self.device, &slices[..=parts.len().min(3)]);
    }
}

const STALE: LinuxErrno = LinuxErrno(libc::ESTALE);
const BAD_FILE: LinuxErrno = LinuxErrno(libc::EBADF);

fn stat_of(answer: &Answer) -> Outcome<Stat> {
    let bytes = match (answer.result, &answer.payload) {
        (Ok(_), Some(payload)) => payload.bytes(),
        (Ok(_), None) => return Err(LinuxErrno(libc::EIO)),
        (Err(error), _) => return Err(errno_to_linux(error.errno)),
    };
    let mut stat = Stat::default();
    match bytes.get(..size_of::<Stat>()) {
        Some(bytes) => stat.copy_from_slice(bytes),
        None => return Err(LinuxErrno(libc::EIO)),
    }
    Ok(stat)
}

/// Attributes as Linux wants them: FUSE serves regular files and directories only, so that everything else must look like a file.
fn attributes(node: u64, stat: &Stat) -> Attr {
    let kind = stat.st_mode & syscall::MODE_TYPE;
    let (kind, size) = match kind {
        syscall::MODE_DIR | syscall::MODE_FILE | syscall::MODE_SYMLINK => (kind, stat.st_size),
        _ => (syscall::MODE_FILE, STREAM_SIZE),
    };
    Attr {
        ino: if stat.st_ino == 0 { node } else { stat.st_ino },
        size,
        blocks: stat.st_blocks,
        atime: stat.st_atime,
        mtime: stat.st_mtime,
        ctime: stat.st_ctime,
        atimensec: stat.st_atime_nsec,
        mtimensec: stat.st_mtime_nsec,
        ctimensec: stat.st_ctime_nsec,
        mode: u32::from(kind | stat.st_mode & syscall::MODE_PERM),
        nlink: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        blksize: stat.st_blksize,
        ..Attr::default()
    }
}

/// A change of attributes.
#[derive(Clone, Copy, Debug)]
enum Change {
    Size(u64),
    Mode(u32),
    Owner(u32, u32),
    Times([TimeSpec; 2]),
}

impl Change {
    fn operation(self, id: usize) -> Operation {
        match self {
            Self::Size(len) => Operation::truncate(id, len),
            Self::Mode(mode) => Operation::chmod(id, mode),
            Self::Owner(uid, gid) => Operation::chown(id, uid, gid),
            Self::Times(times) => Operation::set_times(id, times),
        }
    }
}

/// The changes that a SETATTR asks for, in the order in which they are made. Linux asks for several at once: chown(2) takes the set-user-id bit away.
fn changes(request: &SetattrIn, old: &Stat) -> VecDeque<Change> {
    use wire::setattr::{ATIME, ATIME_NOW, GID, MODE, MTIME, MTIME_NOW, SIZE, UID};
    let has = |bit: u32| request.valid & bit != 0;
    let uid = if has(UID) { request.uid } else { old.st_uid };
    let gid = if has(GID) { request.gid } else { old.st_gid };
    let accessed = time(has(ATIME), has(ATIME_NOW), request.atime, request.atimensec);
    let modified = time(has(MTIME), has(MTIME_NOW), request.mtime, request.mtimensec);
    [
        has(SIZE).then_some(Change::Size(request.size)),
        has(MODE).then_some(Change::Mode(request.mode & 0o7777)),
        has(UID | GID).then_some(Change::Owner(uid, gid)),
        has(ATIME | MTIME).then_some(Change::Times([accessed, modified])),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A time as futimens passes it; relibc's values for "now" and "leave it" are Linux's.
fn time(given: bool, now: bool, seconds: u64, nanoseconds: u32) -> TimeSpec {
    match (given, now) {
        (false, _) => TimeSpec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        (true, true) => TimeSpec { tv_sec: 0, tv_nsec: UTIME_NOW },
        (true, false) => TimeSpec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds.cast_signed() },
    }
}

/// access(2): the permission bits, as they apply to `who`.
fn permits(stat: &Stat, who: Identity, mask: u32) -> bool {
    let shift = match who {
        Identity { uid: 0, .. } => return true,
        Identity { uid, .. } if uid == stat.st_uid => 6,
        Identity { gid, .. } if gid == stat.st_gid => 3,
        _ => 0,
    };
    u32::from(stat.st_mode) >> shift & mask == mask
}

/// The length of what can be mapped: files that are whole pages long are memory, the others are text or streams.
fn mappable_len(stat: &Stat) -> Option<usize> {
    let len = usize::try_from(stat.st_size).ok()?;
    let file = stat.st_mode & syscall::MODE_TYPE == syscall::MODE_FILE;
    (file && len > 0 && len.is_multiple_of(memory::PAGE_SIZE)).then_some(len)
}

/// Directory entries of Redox as entries of FUSE; those that fit.
fn directory_entries(entries: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (header, name) in DirentIter::new(entries).map_while(Result::ok) {
        let DirentHeader { inode, next_opaque_id, kind, .. } = *header;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let entry = Dirent {
            ino: if inode == 0 { wire::UNKNOWN_INODE } else { inode },
            off: next_opaque_id,
            namelen: u32::try_from(name.len()).unwrap_or(0),
            kind: kind.into(),
        };
        let len = (size_of::<Dirent>() + name.len()).next_multiple_of(8);
        if out.len() + len > limit {
            break;
        }
        out.extend_from_slice(entry.as_bytes());
        out.extend_from_slice(name);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}
