//! The daemon's side: who is connected, what is watched, and the news.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, Mode, chmodat, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, recv,
    sendmsg, socket_with,
};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use syscall::error::{EAGAIN, EBUSY, EINVAL, ESRCH, Error, Result};

use super::protocol::{self, ENDED, PendingSets, SignalRecord, WATCHABLE};
use super::{
    CLAIM, INFORMATION, MOST, NEWS, Order, Report, TAKEN, WATCH, WELCOME, from_bytes, information, socket_address,
    to_bytes,
};
use crate::fuse;

/// How long a helper may take to answer. The daemon serves nobody else meanwhile, so a program that is being debugged must not hold it up for long.
const LIMIT: Duration = Duration::from_secs(1);
/// How long nobody is let in when there is no descriptor for another.
const PAUSE: Duration = Duration::from_millis(10);

/// What the serving thread hears of. The others have the process in the upper bits.
const LISTENER: u64 = 0;
const STOP: u64 = 1;
const CONNECTION: u64 = 2;
const PROCESS: u64 = 3;

fn key(kind: u64, pid: usize) -> EventData {
    EventData::new_u64((pid as u64) << 2 | kind)
}

/// A process that has, or had, a helper.
#[derive(Debug)]
struct Process {
    /// Tells when the process ends; a connection also ends with exec.
    process: OwnedFd,
    connection: Option<Arc<OwnedFd>>,
    mask: u64,
    /// Signals that were taken and that nobody has got: their helper answered too late.
    taken: VecDeque<SignalRecord>,
    /// The last claim that was answered.
    answered: u64,
}

impl Process {
    fn taken_set(&self) -> u64 {
        self.taken.iter().fold(0, |set, record| set | protocol::signal_bit(record.signo))
    }
}

#[derive(Debug, Default)]
struct State {
    listener: Option<OwnedFd>,
    processes: BTreeMap<usize, Process>,
    news: VecDeque<u64>,
    claims: u64,
}

/// The router, behind its handle.
#[derive(Debug)]
pub(crate) struct Router {
    state: Mutex<State>,
    /// A claim has been answered, or a connection is gone.
    changed: Condvar,
    /// Readable while there is news.
    wake: OwnedFd,
    poll: Arc<Poll>,
}

/// What the serving thread waits for, also while nobody holds the router.
#[derive(Debug)]
struct Poll {
    epoll: OwnedFd,
    stop: OwnedFd,
}

static CURRENT: Mutex<Weak<Router>> = Mutex::new(Weak::new());

/// The router that is open in this process.
pub(crate) fn current() -> Option<Arc<Router>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
}

fn from_rustix(error: Errno) -> Error {
    Error::new(error.raw_os_error())
}

impl Drop for Router {
    fn drop(&mut self) {
        // It can only fail when it is raised 2^64-2 times already.
        let _ = rustix::io::write(&self.poll.stop, &1_u64.to_ne_bytes());
    }
}

impl Router {
    /// Opens the router of this process.
    ///
    /// # Errors
    /// EBUSY if it is open already.
    pub(crate) fn open() -> Result<Arc<Self>> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if current.upgrade().is_some() {
            return Err(Error::new(EBUSY));
        }
        let router = Arc::new(Self::new().map_err(from_rustix)?);
        *current = Arc::downgrade(&router);
        Ok(router)
    }

    fn new() -> rustix::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let poll = Poll { epoll: epoll::create(CreateFlags::CLOEXEC)?, stop: eventfd(0, flags)? };
        epoll::add(&poll.epoll, &poll.stop, key(STOP, 0), epoll::EventFlags::IN)?;
        Ok(Self { state: Mutex::default(), changed: Condvar::new(), wake: eventfd(0, flags)?, poll: Arc::new(poll) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an event queue has to watch for news.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// From now on helpers can connect, beside the mount of `scheme`.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn listen(self: &Arc<Self>, scheme: &str) -> std::result::Result<Listening, String> {
        let name = format!(".signals-{scheme}");
        let bound = || {
            let directory = fuse::open_root()?;
            // One that a killed daemon left behind. Nobody else can be here: the mount is ours.
            let _ = unlinkat(&directory, &name, AtFlags::empty());
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            bind(&listener, &socket_address(directory.as_fd(), scheme)?)?;
            let listening = Listening { file: identity(&directory, &name)?, directory, name: name.clone() };
            // Those whom the mount lets in.
            let mode = Mode::from_raw_mode(if geteuid().is_root() { 0o666 } else { 0o600 });
            chmodat(&listening.directory, &name, mode, AtFlags::empty())?;
            listen(&listener, 128)?;
            epoll::add(&self.poll.epoll, &listener, key(LISTENER, 0), epoll::EventFlags::IN)?;
            self.lock().listener = Some(listener);
            Ok::<_, Errno>(listening)
        };
        let cannot = |cause: String| format!("cannot listen for signals at {name}: {cause}");
        let listening = bound().map_err(|error| cannot(error.to_string()))?;
        let (router, poll) = (Arc::downgrade(self), Arc::clone(&self.poll));
        let serve = move || serve(&router, &poll);
        let started = std::thread::Builder::new().name("signal-router".into()).spawn(serve);
        started.map(|_| listening).map_err(|error| cannot(error.to_string()))
    }

    /// News, as many as fit.
    ///
    /// # Errors
    /// EAGAIN if there are none, EINVAL if none fits.
    pub(crate) fn read(&self, len: usize) -> Result<Vec<u8>> {
        let room = len / size_of::<u64>();
        if room == 0 {
            return Err(Error::new(EINVAL));
        }
        let mut state = self.lock();
        let count = room.min(state.news.len());
        let news = state.news.drain(..count).flat_map(u64::to_ne_bytes).collect::<Vec<_>>();
        if state.news.is_empty() {
            // It is readable only if it was raised.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        if count == 0 { Err(Error::new(EAGAIN)) } else { Ok(news) }
    }

    /// A call on the handle; what it writes goes to the beginning of `payload`.
    ///
    /// # Errors
    /// As the protocol says.
    pub(crate) fn call(&self, payload: &mut [u8], metadata: &[u64]) -> Result<usize> {
        let &[verb, pid, mask] = metadata else { return Err(Error::new(EINVAL)) };
        let mask = mask & WATCHABLE;
        let pid = usize::try_from(pid).map_err(|_| Error::new(ESRCH));
        match verb {
            protocol::WATCH | protocol::PEEK => {
                let place = payload.first_chunk_mut::<{ PendingSets::SIZE }>().ok_or(Error::new(EINVAL))?;
                let process = if verb == protocol::WATCH { self.watch(pid?, mask) } else { self.peek(pid?, mask) }?;
                *place = PendingSets { process, threads: 0 }.to_bytes();
                Ok(0)
            }
            protocol::CLAIM => {
                let (places, _) = payload.as_chunks_mut::<{ SignalRecord::SIZE }>();
                if places.is_empty() {
                    return Err(Error::new(EINVAL));
                }
                let records = self.claim(pid?, mask, places.len())?;
                places.iter_mut().zip(&records).for_each(|(place, record)| *place = record.to_bytes());
                Ok(records.len())
            }
            _ => Err(Error::new(EINVAL)),
        }
    }

    fn watch(&self, pid: usize, mask: u64) -> Result<u64> {
        let connection = {
            let mut state = self.lock();
            let process = state.processes.get_mut(&pid).ok_or(Error::new(ESRCH))?;
            process.mask = mask;
            process.connection.clone().ok_or(Error::new(ESRCH))?
        };
        // What is pending already when the helper hears of it, it tells. So nothing falls between, though nobody waits for it here.
        order(&connection, [WATCH, 0, mask, 0]);
        self.peek(pid, mask)
    }

    fn peek(&self, pid: usize, mask: u64) -> Result<u64> {
        let taken = {
            let state = self.lock();
            let process = state.processes.get(&pid).filter(|process| process.connection.is_some());
            process.ok_or(Error::new(ESRCH))?.taken_set()
        };
        Ok((taken | Condition::of(pid)?.pending) & mask)
    }

    fn claim(&self, pid: usize, mask: u64, room: usize) -> Result<Vec<SignalRecord>> {
        let mut records = Vec::new();
        loop {
            let before = records.len();
            let mut state = self.lock();
            let process = state.processes.get_mut(&pid).ok_or(Error::new(ESRCH))?;
            take_late(process, mask, room, &mut records);
            let connection = process.connection.clone().ok_or(Error::new(ESRCH))?;
            let watched = process.mask;
            let left = room - records.len();
            if left == 0 {
                return Ok(records);
            }
            state.claims += 1;
            let claim = state.claims;
            drop(state);
            // Mostly nothing is pending, and the helper need not be asked.
            match Condition::of(pid)? {
                Condition { pending, .. } if pending & mask == 0 => return Ok(records),
                // It cannot answer, but it tells what is pending when it goes on.
                Condition { stopped: true, .. } => {
                    order(&connection, [WATCH, 0, watched, 0]);
                    return Ok(records);
                }
                _ => {}
            }
            if !order(&connection, [CLAIM, claim, mask, left.min(MOST) as u64]) {
                return Ok(records);
            }
            let mut state = self.await_answer(pid, &connection, claim);
            if let Some(process) = state.processes.get_mut(&pid) {
                take_late(process, mask, room, &mut records);
            }
            if records.len() < before + MOST {
                return Ok(records);
            }
        }
    }

    /// Waits until `claim` is answered, or will not be.
    fn await_answer(&self, pid: usize, connection: &Arc<OwnedFd>, claim: u64) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.lock();
        loop {
            let waits = state.processes.get(&pid).is_some_and(|process| {
                let same = process.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection));
                same && process.answered < claim
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if !waits || left.is_zero() {
                return state;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the serving thread does when it hears of something.
    fn hear(&self, key: u64) {
        let Ok(pid) = usize::try_from(key >> 2) else { return };
        match key & 0b11 {
            LISTENER => self.admit(),
            CONNECTION => self.receive(pid),
            PROCESS => self.process_ended(pid),
            _ => {}
        }
    }

    fn admit(&self) {
        let accepted = match &self.lock().listener {
            Some(listener) => accept_with(listener, SocketFlags::CLOEXEC),
            None => return,
        };
        match accepted {
            // It is refused by closing it. The next one may do better.
            Ok(connection) => drop(self.connect(connection)),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }

    fn connect(&self, connection: OwnedFd) -> rustix::io::Result<()> {
        let peer = peer(&connection)?;
        let pid = peer.as_raw_nonzero().get().unsigned_abs() as usize;
        let process = pidfd_open(peer, PidfdFlags::empty())?;
        set_socket_timeout(&connection, Timeout::Send, Some(LIMIT))?;
        let known = self.lock().processes.get(&pid).map(|known| has_ended(&known.process));
        if known == Some(true) {
            // The number belongs to another process by now.
            self.process_ended(pid);
        }
        let connection = Arc::new(connection);
        let mask = {
            let mut state = self.lock();
            epoll::add(&self.poll.epoll, &connection, self::key(CONNECTION, pid), epoll::EventFlags::IN)?;
            if let Some(known) = state.processes.get_mut(&pid) {
                // Another program of the same process, after exec.
                known.connection = Some(Arc::clone(&connection));
                known.mask
            } else {
                epoll::add(&self.poll.epoll, &process, self::key(PROCESS, pid), epoll::EventFlags::IN)?;
                let connection = Some(Arc::clone(&connection));
                let new = Process { process, connection, mask: 0, taken: VecDeque::new(), answered: 0 };
                state.processes.insert(pid, new);
                0
            }
        };
        self.changed.notify_all();
        order(&connection, [WELCOME, 0, 0, 0]);
        if mask != 0 {
            order(&connection, [WATCH, 0, mask, 0]);
        }
        Ok(())
    }

    /// Takes what a helper has to say.
    fn receive(&self, pid: usize) {
        loop {
            let mut state = self.lock();
            let State { processes, news, claims, .. } = &mut *state;
            let Some(process) = processes.get_mut(&pid) else { return };
            let Some(connection) = &process.connection else { return };
            let mut message = [0; size_of::<Report>() + MOST * INFORMATION];
            let received = recv(connection, &mut message, RecvFlags::DONTWAIT);
            let report = match received {
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok((len @ 1.., _)) => message.get(..len).and_then(from_bytes),
                _ => None,
            };
            match report {
                Some(([NEWS, _], _)) => self.tell(news, process.mask, pid as u64),
                Some(([TAKEN, claim], taken)) if process.answered < claim && claim <= *claims => {
                    let (taken, _) = taken.as_chunks();
                    process.taken.extend(taken.iter().map(information::record));
                    process.answered = claim;
                    self.changed.notify_all();
                }
                // It has gone, or is none of ours.
                _ => {
                    process.connection = None;
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    fn process_ended(&self, pid: usize) {
        let mut state = self.lock();
        let State { processes, news, .. } = &mut *state;
        if let Some(process) = processes.remove(&pid) {
            self.tell(news, process.mask, pid as u64 | ENDED);
            self.changed.notify_all();
        }
    }

    /// Adds a piece of news of a process that is watched for `mask`.
    fn tell(&self, news: &mut VecDeque<u64>, mask: u64, piece: u64) {
        if mask != 0 && !news.contains(&piece) {
            news.push_back(piece);
            // It can only fail when it is raised 2^64-2 times already.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

/// Takes what a helper has handed over, up to `room` records in all.
fn take_late(process: &mut Process, mask: u64, room: usize, records: &mut Vec<SignalRecord>) {
    if process.taken.is_empty() {
        return;
    }
    let (wanted, kept) = std::mem::take(&mut process.taken)
        .into_iter()
        .partition::<VecDeque<_>, _>(|record| protocol::signal_bit(record.signo) & mask != 0);
    let mut wanted = wanted.into_iter();
    records.extend(wanted.by_ref().take(room.saturating_sub(records.len())));
    process.taken = wanted.chain(kept).collect();
}

/// The thread that serves helpers.
fn serve(router: &Weak<Router>, poll: &Poll) {
    loop {
        let mut events = [MaybeUninit::<Event>::uninit(); 16];
        let ready = match epoll::wait(&poll.epoll, &mut events, None) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let Some(router) = router.upgrade() else { return };
        for event in ready {
            router.hear({ event.data }.u64());
        }
    }
}

/// Sends an order; returns whether that could be done. A helper that has gone is noticed when it is listened to.
fn order(connection: &OwnedFd, order: Order) -> bool {
    let bytes = to_bytes(order);
    let slices = [IoSlice::new(bytes.as_flattened())];
    sendmsg(connection, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL).is_ok()
}

fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(1)
}

/// The process that has connected.
fn peer(connection: &OwnedFd) -> rustix::io::Result<Pid> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // Not by rustix, for which there is no process 0: that is one which this process cannot see.
    // SAFETY: the option is one `ucred`, for which there is room.
    let result = unsafe {
        let place = (&raw mut credentials).cast();
        libc::getsockopt(connection.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut len)
    };
    Pid::from_raw(credentials.pid).filter(|_| result == 0).ok_or(Errno::SRCH)
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug)]
struct Condition {
    /// Signals that are pending for the process as a whole.
    pending: u64,
    /// A signal, or who debugs it, has stopped it.
    stopped: bool,
}

impl Condition {
    fn of(pid: usize) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| Error::new(ESRCH))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        let pending = field("ShdPnd:").and_then(|set| u64::from_str_radix(set, 16).ok());
        let stopped = field("State:").is_some_and(|state| state.starts_with(['T', 't']));
        Ok(Self { pending: pending.ok_or(Error::new(ESRCH))?, stopped })
    }
}

/// The socket's name; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    directory: OwnedFd,
    name: String,
    file: (u64, u64),
}

fn identity(directory: &OwnedFd, name: &str) -> rustix::io::Result<(u64, u64)> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl Drop for Listening {
    fn drop(&mut self) {
        // If somebody else has unmounted us, a successor may have the name by now.
        if identity(&self.directory, &self.name) == Ok(self.file) {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}
