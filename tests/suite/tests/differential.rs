//! The engine and Linux's own eventfd, asked the same at random: every result, readiness and announcement must be equal.
//!
//! Whatever may wait on the Linux side is done by a [`Worker`], a thread that is watched through `/proc` until it has finished or sleeps in the call. So
//! a step is over on both sides before the next one starts, and no step depends on the scheduler. On our side some calls are made by clients that map the
//! counter, as the shim makes them, and tell and wake as they are asked to. Where Linux does not say who of several waiting
//! requests is served, they are compared as a multiset; where it does not even say what is served, the step is left out ([`World::is_a_race`]).
//!
//! `PROPTEST_CASES` sets the number of sequences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error as IoError, Result as IoResult};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use eventd::engine::{
    self, Blocking, Effect, EventfdId, Eventfds, MAX, Mode, Owner, Parked, Progress, Readiness, Sleepers,
};
use eventd_shim::cell::{After, Cell, Refused, Side};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// How long a thread may take to do what it must do at once.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_DESCRIPTORS: usize = 10;
const INTEREST: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET).cast_unsigned();

type Check = Result<(), String>;
type Ticket = u32;

/// What is asked of both sides. `at` chooses one of the descriptors that are open then.
#[derive(Clone, Debug)]
enum Step {
    Create {
        initval: u32,
        semaphore: bool,
        nonblock: bool,
        watched: bool,
    },
    Read {
        at: u8,
        len: usize,
        mapped: bool,
    },
    Write {
        at: u8,
        value: u64,
        len: usize,
        mapped: bool,
    },
    SetNonblock {
        at: u8,
        on: bool,
    },
    Duplicate {
        at: u8,
    },
    Close {
        at: u8,
    },
    Poll {
        at: u8,
    },
    Watch {
        at: u8,
        on: bool,
    },
    /// A signal interrupts one of the requests that wait for the object.
    Interrupt {
        at: u8,
        which: u8,
    },
}

fn create() -> impl Strategy<Value = Step> {
    let initval = prop_oneof![3 => Just(0), 3 => 1..4_u32, 1 => Just(u32::MAX)];
    (initval, any::<bool>(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.8))
        .prop_map(|(initval, semaphore, nonblock, watched)| Step::Create { initval, semaphore, nonblock, watched })
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        4 => Just(1),
        4 => 2..8_u64,
        4 => MAX - 4..=MAX,
        1 => Just(u64::MAX),
        1 => MAX / 2..MAX / 2 + 2,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let read_len = prop_oneof![9 => Just(8), 1 => 0..=16_usize];
    let write_len = prop_oneof![20 => Just(8), 1 => Just(7), 1 => Just(9), 1 => Just(16)];
    let at = || any::<u8>();
    prop_oneof![
        1 => create(),
        10 => (at(), read_len, any::<bool>()).prop_map(|(at, len, mapped)| Step::Read { at, len, mapped }),
        10 => (at(), value(), write_len, any::<bool>())
            .prop_map(|(at, value, len, mapped)| Step::Write { at, value, len, mapped }),
        2 => (at(), proptest::bool::weighted(0.3)).prop_map(|(at, on)| Step::SetNonblock { at, on }),
        1 => at().prop_map(|at| Step::Duplicate { at }),
        1 => at().prop_map(|at| Step::Close { at }),
        2 => at().prop_map(|at| Step::Poll { at }),
        1 => (at(), proptest::bool::weighted(0.8)).prop_map(|(at, on)| Step::Watch { at, on }),
        1 => (at(), at()).prop_map(|(at, which)| Step::Interrupt { at, which }),
    ]
}

fn sequence() -> impl Strategy<Value = Vec<Step>> {
    (create(), vec(step(), 1..200)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    })
}

/// A request that may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Read { len: usize },
    Write { value: u64, len: usize },
}

impl Call {
    /// The value that a write which waits wants to add.
    fn adds(self) -> Option<u64> {
        match self {
            Self::Read { .. } => None,
            Self::Write { value, .. } => Some(value),
        }
    }

    /// Whether a client that maps the counter asks the daemon all the same, since the length is wrong.
    fn is_odd(self) -> bool {
        match self {
            Self::Read { len } => len < 8,
            Self::Write { len, .. } => len != 8,
        }
    }

    /// Where a client sleeps that maps the counter.
    fn sleepers(self) -> Sleepers {
        if self.adds().is_none() { Sleepers::Readers } else { Sleepers::Writers }
    }

    fn on_cell(self, cell: &Cell) -> Result<(u64, After), Refused> {
        match self {
            Self::Read { .. } => cell.read(Side::Client),
            Self::Write { value, .. } => cell.write(value, Side::Client).map(|after| (8, after)),
        }
    }

    fn buffer(value: u64, len: usize) -> Vec<u8> {
        value.to_ne_bytes().into_iter().cycle().take(len).collect()
    }
}

/// What a call came to: the value read, 8 for a write, or an errno.
type Outcome = Result<u64, i32>;

fn errno() -> i32 {
    IoError::last_os_error().raw_os_error().unwrap_or(0)
}

fn checked(result: i32) -> IoResult<i32> {
    if result < 0 { Err(IoError::last_os_error()) } else { Ok(result) }
}

fn native_eventfd(initval: u32, semaphore: bool, nonblock: bool) -> OwnedFd {
    let mode = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
    let status = if nonblock { libc::EFD_NONBLOCK } else { 0 };
    // SAFETY: eventfd takes no pointers.
    let fd = checked(unsafe { libc::eventfd(initval, mode | status | libc::EFD_CLOEXEC) }).expect("eventfd");
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn native_epoll() -> OwnedFd {
    // SAFETY: epoll_create1 takes no pointers.
    let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).expect("epoll_create1");
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn native_call(fd: RawFd, call: Call) -> Outcome {
    match call {
        Call::Read { len } => native_read(fd, len),
        Call::Write { value, len } => {
            let buffer = Call::buffer(value, len);
            // SAFETY: the buffer has `len` bytes.
            let written = unsafe { libc::write(fd, buffer.as_ptr().cast(), len) };
            u64::try_from(written).map_err(|_| errno())
        }
    }
}

fn native_read(fd: RawFd, len: usize) -> Outcome {
    let mut buffer = [0xA5; 16];
    assert!(len <= buffer.len());
    // SAFETY: the buffer has at least `len` bytes.
    let read = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), len) };
    if read < 0 {
        return Err(errno());
    }
    let (value, rest) = buffer.split_first_chunk().expect("16 bytes");
    // Semantics 19.
    assert!(read == 8 && rest == [0xA5; 8], "read {read} bytes: {buffer:x?}");
    Ok(u64::from_ne_bytes(*value))
}

fn native_set_nonblock(fd: RawFd, on: bool) {
    let flags = if on { libc::O_NONBLOCK } else { 0 };
    // SAFETY: F_SETFL takes a number.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).expect("F_SETFL");
}

fn native_poll(fd: RawFd) -> i16 {
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLPRI;
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, as announced.
    checked(unsafe { libc::poll(&raw mut poll, 1, 0) }).expect("poll");
    poll.revents
}

fn native_control(epoll: RawFd, operation: i32, fd: RawFd, key: u64) {
    let mut event = libc::epoll_event { events: INTEREST, u64: key };
    // SAFETY: `event` lives through the call.
    checked(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).expect("epoll_ctl");
}

/// What the epoll reports now, by key.
fn native_events(epoll: RawFd) -> Vec<(u64, u32)> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
    // SAFETY: there is room for 32 events.
    let count = checked(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 32, 0) }).expect("epoll_wait");
    let mut reported: Vec<_> =
        events.iter().take(usize::try_from(count).unwrap()).map(|event| (event.u64, event.events)).collect();
    reported.sort_unstable();
    reported
}

extern "C" fn on_signal(_signal: i32) {}

/// Lets SIGUSR1 interrupt calls: a handler without SA_RESTART (semantics 55).
fn handle_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(i32) = on_signal;
        // SAFETY: zero is a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the handler does nothing, so it is safe in any context.
        checked(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) }).expect("sigaction");
    });
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Activity {
    Finished(Outcome),
    /// It sleeps in the call, and nothing that happened so far will wake it.
    Asleep,
    Running,
}

/// A thread that makes calls which may wait.
struct Worker {
    jobs: Sender<(RawFd, Call)>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    tid: i32,
    /// Says in which system call the thread is, if it is off the processor.
    syscall: File,
    /// Says whether the thread sleeps.
    stat: File,
}

impl Worker {
    fn spawn() -> Self {
        let (jobs, inbox) = channel::<(RawFd, Call)>();
        let (announce, tid) = channel();
        let outcome = Arc::new(Mutex::new(None));
        let result = Arc::clone(&outcome);
        thread::spawn(move || {
            // SAFETY: gettid has no conditions.
            announce.send(unsafe { libc::gettid() }).unwrap();
            for (fd, call) in inbox {
                let outcome = native_call(fd, call);
                *result.lock().unwrap() = Some(outcome);
            }
        });
        let tid = tid.recv().unwrap();
        let open = |name| File::open(format!("/proc/self/task/{tid}/{name}")).expect("/proc");
        Self { jobs, outcome, tid, syscall: open("syscall"), stat: open("stat") }
    }

    fn start(&self, fd: RawFd, call: Call) {
        *self.outcome.lock().unwrap() = None;
        self.jobs.send((fd, call)).unwrap();
    }

    /// All three are needed, in this order: a thread that has been woken and has not run yet is still said to be in its call, but does not sleep; and
    /// one that finished in between sleeps elsewhere.
    fn activity(&self, fd: RawFd, call: Call) -> Activity {
        let asleep = self.is_in(fd, call) && self.sleeps();
        match *self.outcome.lock().unwrap() {
            Some(outcome) => Activity::Finished(outcome),
            None if asleep => Activity::Asleep,
            None => Activity::Running,
        }
    }

    fn is_in(&self, fd: RawFd, call: Call) -> bool {
        let number = match call {
            Call::Read { .. } => libc::SYS_read,
            Call::Write { .. } => libc::SYS_write,
        };
        let mut buffer = [0; 64];
        let len = self.syscall.read_at(&mut buffer, 0).unwrap_or(0);
        buffer[..len].starts_with(format!("{number} {fd:#x} ").as_bytes())
    }

    fn sleeps(&self) -> bool {
        let mut buffer = [0; 512];
        let len = self.stat.read_at(&mut buffer, 0).unwrap_or(0);
        // "TID (NAME) STATE ..."
        let name_end = buffer[..len].iter().rposition(|byte| *byte == b')');
        name_end.is_some_and(|end| buffer[end..len].starts_with(b") S "))
    }

    fn interrupt(&self) {
        // SAFETY: tgkill takes no pointers; the thread lives as long as its inbox, which is ours.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, libc::SIGUSR1) };
    }
}

/// A call that sleeps on the Linux side.
struct Sleeper {
    worker: Worker,
    fd: RawFd,
    call: Call,
}

impl Sleeper {
    fn activity(&self) -> Activity {
        self.worker.activity(self.fd, self.call)
    }

    /// What it does once it does not run any more.
    fn rest(&self) -> Result<Activity, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.activity() {
                Activity::Running if Instant::now() > deadline => {
                    return Err(format!("{:?} neither finished nor sleeps", self.call));
                }
                Activity::Running => thread::yield_now(),
                rest => return Ok(rest),
            }
        }
    }
}

/// Where a call waits on our side.
#[derive(Clone, Copy, Debug)]
enum Waits {
    InTheEngine(Parked),
    AtAGate,
}

/// An open file description of an eventfd, on both sides.
struct Description {
    id: EventfdId,
    mode: Mode,
    nonblock: bool,
    watched: bool,
    descriptors: usize,
    /// Another native descriptor, for the epoll.
    watch_fd: OwnedFd,
    /// What clients map, if any does.
    cell: Option<Rc<Cell>>,
    /// Calls that wait on our side.
    waiting: BTreeMap<Ticket, (Waits, Call)>,
    /// Calls that wait on Linux.
    sleepers: Vec<Sleeper>,
}

/// How often the rare things happened.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    parked_reads: usize,
    parked_writes: usize,
    answered_reads: usize,
    answered_writes: usize,
    answered_together: usize,
    interrupted: usize,
    announced: usize,
    asleep: usize,
    woken: usize,
    told: usize,
}

/// What outlives a sequence.
#[derive(Default)]
struct Shared {
    idle: RefCell<Vec<Worker>>,
    tally: RefCell<Tally>,
}

/// Both sides.
struct World<'shared> {
    shared: &'shared Shared,
    eventfds: Eventfds<Ticket, Rc<Cell>>,
    descriptions: BTreeMap<usize, Description>,
    descriptors: Vec<(OwnedFd, usize)>,
    epoll: OwnedFd,
    next_description: usize,
    next_ticket: Ticket,
}

fn bits(readiness: Readiness) -> u32 {
    let bit = |is_set, bit: i32| if is_set { bit.cast_unsigned() } else { 0 };
    bit(readiness.readable, libc::EPOLLIN) | bit(readiness.writable, libc::EPOLLOUT)
}

fn errno_of(error: engine::Error) -> i32 {
    match error {
        engine::Error::Invalid => libc::EINVAL,
        engine::Error::WouldBlock => libc::EAGAIN,
        engine::Error::NoObject => libc::EBADF,
        engine::Error::NotFound => libc::ENOENT,
        engine::Error::Exists => libc::EEXIST,
        engine::Error::NotPermitted => libc::EACCES,
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, native: &T) -> Check {
    if ours == native { Ok(()) } else { Err(format!("{what}: {ours:?}, on Linux {native:?}")) }
}

impl<'shared> World<'shared> {
    fn new(shared: &'shared Shared) -> Self {
        handle_signals();
        Self {
            shared,
            eventfds: Eventfds::default(),
            descriptions: BTreeMap::new(),
            descriptors: Vec::new(),
            epoll: native_epoll(),
            next_description: 0,
            next_ticket: 0,
        }
    }

    fn apply(&mut self, step: &Step) -> Check {
        if let Step::Create { initval, semaphore, nonblock, watched } = *step {
            return self.create(initval, semaphore, nonblock, watched);
        }
        if self.descriptors.is_empty() {
            return Ok(());
        }
        match *step {
            Step::Create { .. } => Ok(()),
            Step::Read { at, len, mapped } => self.call(self.at(at), Call::Read { len }, mapped),
            Step::Write { at, value, len, mapped } => self.call(self.at(at), Call::Write { value, len }, mapped),
            Step::SetNonblock { at, on } => {
                self.set_nonblock(self.at(at), on);
                Ok(())
            }
            Step::Duplicate { at } => {
                self.duplicate(self.at(at));
                Ok(())
            }
            Step::Close { at } => self.close(self.at(at)),
            Step::Poll { at } => self.poll(self.at(at)),
            Step::Watch { at, on } => self.watch(self.descriptors[self.at(at)].1, on),
            Step::Interrupt { at, which } => self.interrupt(self.descriptors[self.at(at)].1, which),
        }
    }

    fn at(&self, at: u8) -> usize {
        usize::from(at) % self.descriptors.len()
    }

    fn create(&mut self, initval: u32, semaphore: bool, nonblock: bool, watched: bool) -> Check {
        if self.descriptors.len() == MOST_DESCRIPTORS {
            return Ok(());
        }
        let mode = if semaphore { Mode::Semaphore } else { Mode::Counter };
        let fd = native_eventfd(initval, semaphore, nonblock);
        let id = self.eventfds.create(initval, mode, Owner { pid: 1, uid: 0, gid: 0 });
        self.eventfds.set_nonblocking(id, nonblock).map_err(|error| format!("set_nonblocking: {error:?}"))?;
        let description = Description {
            id,
            mode,
            nonblock,
            watched: false,
            descriptors: 1,
            watch_fd: fd.try_clone().expect("dup"),
            cell: None,
            waiting: BTreeMap::new(),
            sleepers: Vec::new(),
        };
        let key = self.next_description;
        self.next_description += 1;
        self.descriptions.insert(key, description);
        self.descriptors.push((fd, key));
        if watched { self.watch(key, true) } else { Ok(()) }
    }

    fn set_nonblock(&mut self, index: usize, on: bool) {
        let (fd, key) = &self.descriptors[index];
        native_set_nonblock(fd.as_raw_fd(), on);
        let description = self.descriptions.get_mut(key).unwrap();
        description.nonblock = on;
        self.eventfds.set_nonblocking(description.id, on).unwrap();
    }

    fn duplicate(&mut self, index: usize) {
        if self.descriptors.len() < MOST_DESCRIPTORS {
            let (fd, key) = &self.descriptors[index];
            let (fd, key) = (fd.try_clone().expect("dup"), *key);
            self.descriptions.get_mut(&key).unwrap().descriptors += 1;
            self.descriptors.push((fd, key));
        }
    }

    /// Closes a descriptor, unless it is the last one and somebody waits: on Linux a call keeps the object, a scheme hears of the close at once.
    fn close(&mut self, index: usize) -> Check {
        let key = self.descriptors[index].1;
        let description = self.descriptions.get_mut(&key).unwrap();
        let is_last = description.descriptors == 1;
        if is_last && !description.sleepers.is_empty() {
            return Ok(());
        }
        self.descriptors.swap_remove(index);
        description.descriptors -= 1;
        if is_last {
            let description = self.descriptions.remove(&key).unwrap();
            let mut effects = Vec::new();
            let cell = self.eventfds.close(description.id, &mut effects);
            equal("effects of the last close", &effects, &Vec::new())?;
            equal("memory of the last close", &cell.is_some(), &description.cell.is_some())?;
            let live = description.cell.filter(|cell| cell.read(Side::Client) != Err(Refused::NotLive));
            equal("live after the last close", &live.is_some(), &false)?;
        }
        self.compare_events(&[])
    }

    fn poll(&mut self, index: usize) -> Check {
        let (fd, key) = &self.descriptors[index];
        let readiness = self.eventfds.get(self.descriptions[key].id).ok_or("no object")?.counter().readiness();
        equal("poll", &bits(readiness), &u32::from(native_poll(fd.as_raw_fd()).cast_unsigned()))
    }

    fn watch(&mut self, key: usize, on: bool) -> Check {
        let description = self.descriptions.get_mut(&key).unwrap();
        let (interest, operation) = match (description.watched, on) {
            (false, false) => return Ok(()),
            (true, false) => (Readiness::NONE, libc::EPOLL_CTL_DEL),
            (false, true) => (Readiness { readable: true, writable: true }, libc::EPOLL_CTL_ADD),
            // Semantics 52.
            (true, true) => (Readiness { readable: true, writable: true }, libc::EPOLL_CTL_MOD),
        };
        description.watched = on;
        native_control(self.epoll.as_raw_fd(), operation, description.watch_fd.as_raw_fd(), key as u64);
        let ready = self.eventfds.watch(description.id, key, interest).map_err(|error| format!("watch: {error:?}"))?;
        let announced =
            if ready.is_none() { vec![] } else { vec![Effect::Ready { description: key, readiness: ready }] };
        self.compare_events(&announced)
    }

    /// Whether Linux does not say what follows from a call: a read empties a counter, and which of several writers gets in first is up to the scheduler.
    fn is_a_race(&self, description: &Description, call: Call) -> bool {
        let Some(value) = call.adds() else { return false };
        let others = description.waiting.values().filter_map(|(_, call)| call.adds());
        description.mode == Mode::Counter && others.into_iter().any(|other| other != value)
    }

    fn call(&mut self, index: usize, call: Call, mapped: bool) -> Check {
        let (fd, key) = &self.descriptors[index];
        let (fd, key) = (fd.as_raw_fd(), *key);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let description = &self.descriptions[&key];
        let would_park = self.eventfds.get(description.id).is_none_or(|eventfd| match call {
            Call::Read { .. } => false,
            Call::Write { value, .. } => value > eventfd.counter().room(),
        });
        if would_park && self.is_a_race(description, call) {
            return Ok(());
        }
        let mut effects = Vec::new();
        let ours = if mapped && !call.is_odd() {
            self.mapped_call(key, call, ticket, &mut effects)
        } else {
            self.engine_call(key, call, ticket, &mut effects)
        };
        let woken = self.wake(key, &mut effects);
        let native = self.native_call(key, fd, call)?;
        equal(&format!("{call:?}"), &ours, &native)?;
        self.settle(key, &effects, &woken)?;
        self.compare_events(&effects)
    }

    /// As the shim calls for a client that maps the counter.
    fn mapped_call(&mut self, key: usize, call: Call, ticket: Ticket, effects: &mut Vec<Effect<Ticket>>) -> Activity {
        let description = self.descriptions.get_mut(&key).unwrap();
        let share = || Ok::<_, engine::Error>(Rc::new(Cell::default()));
        let cell = Rc::clone(self.eventfds.share(description.id, share).unwrap());
        description.cell = Some(Rc::clone(&cell));
        assert_eq!(cell.nonblocking(), description.nonblock);
        let result = match call.on_cell(&cell) {
            Err(Refused::WouldBlock) if !description.nonblock => self.wait(key, call, ticket),
            result => result.map(Some),
        };
        match result {
            Ok(Some((value, after))) => {
                self.follow(key, call, after, effects);
                Activity::Finished(Ok(value))
            }
            Ok(None) => {
                self.shared.tally.borrow_mut().asleep += 1;
                Activity::Asleep
            }
            Err(Refused::WouldBlock) => Activity::Finished(Err(libc::EAGAIN)),
            Err(Refused::Invalid) => Activity::Finished(Err(libc::EINVAL)),
            Err(refused) => panic!("{call:?}: {refused:?}"),
        }
    }

    /// One turn of [`eventd_shim::cell::Gate::wait`]; nothing comes back from who falls asleep.
    fn wait(&mut self, key: usize, call: Call, ticket: Ticket) -> Result<Option<(u64, After)>, Refused> {
        let description = self.descriptions.get_mut(&key).unwrap();
        let counter = self.eventfds.get(description.id).unwrap().counter();
        let attempt = || call.on_cell(counter.cell());
        let Ok(result) = counter.gate(call.sleepers()).wait(attempt, |_| Err(())) else {
            description.waiting.insert(ticket, (Waits::AtAGate, call));
            return Ok(None);
        };
        result.map(Some)
    }

    /// What a client does after it has changed the count: it wakes others, and tells the daemon.
    fn follow(&mut self, key: usize, call: Call, after: After, effects: &mut Vec<Effect<Ticket>>) {
        let eventfd = self.descriptions[&key].id;
        if after.wake {
            let sleepers = match call.sleepers() {
                Sleepers::Readers => Sleepers::Writers,
                Sleepers::Writers => Sleepers::Readers,
            };
            effects.push(Effect::Wake { eventfd, sleepers });
        }
        if after.tell {
            self.shared.tally.borrow_mut().told += 1;
            self.eventfds.look(eventfd, effects).unwrap();
        }
    }

    /// Wakes whom the effects wake, until they all sleep again or are done. Returns what the latter came to.
    fn wake(&mut self, key: usize, effects: &mut Vec<Effect<Ticket>>) -> Vec<(Option<u64>, Outcome)> {
        let mut woken = Vec::new();
        let is_wake = |effect: &Effect<Ticket>| matches!(effect, Effect::Wake { .. });
        while let Some(index) = effects.iter().position(is_wake) {
            let Effect::Wake { eventfd, sleepers } = effects.remove(index) else { continue };
            self.eventfds.get(eventfd).unwrap().counter().gate(sleepers).wake(|| ());
            let waiting = self.descriptions[&key].waiting.iter();
            let asleep =
                waiting.filter(|(_, (waits, call))| matches!(waits, Waits::AtAGate) && call.sleepers() == sleepers);
            for (ticket, call) in asleep.map(|(ticket, (_, call))| (*ticket, *call)).collect::<Vec<_>>() {
                if let Some((value, after)) = self.wait(key, call, ticket).unwrap() {
                    woken.push((call.adds(), Ok(value)));
                    self.descriptions.get_mut(&key).unwrap().waiting.remove(&ticket);
                    self.shared.tally.borrow_mut().woken += 1;
                    self.follow(key, call, after, effects);
                }
            }
        }
        woken
    }

    fn engine_call(&mut self, key: usize, call: Call, ticket: Ticket, effects: &mut Vec<Effect<Ticket>>) -> Activity {
        let description = self.descriptions.get_mut(&key).unwrap();
        let blocking = if description.nonblock { Blocking::Never } else { Blocking::Wait };
        let id = description.id;
        let progress = match call {
            Call::Read { len } => self.eventfds.read(id, len, blocking, ticket, effects),
            Call::Write { value, len } => {
                let buffer = Call::buffer(value, len);
                self.eventfds.write(id, &buffer, blocking, ticket, effects).map(|progress| match progress {
                    Progress::Done(()) => Progress::Done(8),
                    Progress::Parked(parked) => Progress::Parked(parked),
                })
            }
        };
        match progress {
            Ok(Progress::Done(value)) => Activity::Finished(Ok(value)),
            Ok(Progress::Parked(parked)) => {
                description.waiting.insert(ticket, (Waits::InTheEngine(parked), call));
                let mut tally = self.shared.tally.borrow_mut();
                *(if call.adds().is_none() { &mut tally.parked_reads } else { &mut tally.parked_writes }) += 1;
                Activity::Asleep
            }
            Err(error) => Activity::Finished(Err(errno_of(error))),
        }
    }

    fn native_call(&mut self, key: usize, fd: RawFd, call: Call) -> Result<Activity, String> {
        let description = self.descriptions.get_mut(&key).unwrap();
        if description.nonblock {
            return Ok(Activity::Finished(native_call(fd, call)));
        }
        let worker = self.shared.idle.borrow_mut().pop().unwrap_or_else(Worker::spawn);
        worker.start(fd, call);
        let sleeper = Sleeper { worker, fd, call };
        let activity = sleeper.rest();
        match activity {
            Ok(Activity::Finished(_)) => self.shared.idle.borrow_mut().push(sleeper.worker),
            _ => description.sleepers.push(sleeper),
        }
        activity
    }

    /// Waits until all calls on an object finished or sleep, and compares who finished with whom the engine answered.
    fn settle(&mut self, key: usize, effects: &[Effect<Ticket>], woken: &[(Option<u64>, Outcome)]) -> Check {
        let description = self.descriptions.get_mut(&key).unwrap();
        let mut answered = woken.to_vec();
        for effect in effects {
            let (ticket, value) = match *effect {
                Effect::Read { ticket, value } => (ticket, value),
                Effect::Written { ticket } => (ticket, 8),
                Effect::Dropped { .. } | Effect::Wake { .. } => return Err(format!("{effect:?}")),
                Effect::Ready { .. } => continue,
            };
            let (_, call) = description.waiting.remove(&ticket).ok_or("answered what does not wait")?;
            answered.push((call.adds(), Ok(value)));
        }
        answered.sort_unstable();
        let mut finished = description.collect_finished(self.shared)?;
        finished.sort_unstable();
        let mut tally = self.shared.tally.borrow_mut();
        tally.answered_together += usize::from(answered.len() > 1);
        tally.answered_reads += answered.iter().filter(|(adds, _)| adds.is_none()).count();
        tally.answered_writes += answered.iter().filter(|(adds, _)| adds.is_some()).count();
        equal("answers to those who waited", &answered, &finished)?;
        let eventfd = self.eventfds.get(description.id).ok_or("no object")?;
        let writers = description.sleepers.iter().filter(|sleeper| sleeper.call.adds().is_some()).count();
        let mut waiting = (eventfd.waiting_readers(), eventfd.waiting_writers());
        for (waits, call) in description.waiting.values() {
            match (waits, call.sleepers()) {
                (Waits::InTheEngine(_), _) => {}
                (Waits::AtAGate, Sleepers::Readers) => waiting.0 += 1,
                (Waits::AtAGate, Sleepers::Writers) => waiting.1 += 1,
            }
        }
        equal("readers and writers that wait", &waiting, &(description.sleepers.len() - writers, writers))
    }

    /// Compares what was announced with what the epoll reports (semantics 48-51). It reports once what clients can tell of several times, as one that is
    /// woken does.
    fn compare_events(&self, effects: &[Effect<Ticket>]) -> Check {
        let mut last = BTreeMap::new();
        for effect in effects {
            if let Effect::Ready { description, readiness } = *effect {
                last.insert(description as u64, bits(readiness));
            }
        }
        let announced = last.into_iter().collect::<Vec<_>>();
        self.shared.tally.borrow_mut().announced += announced.len();
        equal("events", &announced, &native_events(self.epoll.as_raw_fd()))
    }

    fn interrupt(&mut self, key: usize, which: u8) -> Check {
        let description = self.descriptions.get_mut(&key).unwrap();
        if description.waiting.is_empty() {
            return Ok(());
        }
        let index = usize::from(which) % description.waiting.len();
        let ticket = *description.waiting.keys().nth(index).unwrap();
        let (waits, call) = description.waiting.remove(&ticket).unwrap();
        if let Waits::InTheEngine(parked) = waits {
            equal("cancel", &self.eventfds.cancel(parked), &true)?;
        }
        // Those who want the same are equals: which of them is interrupted makes no difference.
        let equals = |sleeper: &Sleeper| sleeper.call.adds() == call.adds();
        let index = description.sleepers.iter().position(equals).ok_or("does not sleep")?;
        description.sleepers[index].worker.interrupt();
        let deadline = Instant::now() + PATIENCE;
        while !matches!(description.sleepers[index].activity(), Activity::Finished(_)) {
            if Instant::now() > deadline {
                return Err("the signal did not interrupt".into());
            }
            thread::yield_now();
        }
        let finished = description.collect_finished(self.shared)?;
        self.shared.tally.borrow_mut().interrupted += 1;
        equal("who was interrupted", &vec![(call.adds(), Err(libc::EINTR))], &finished)?;
        self.settle(key, &[], &[])?;
        self.compare_events(&[])
    }

    /// Answers all who wait and closes everything.
    fn finish(mut self) -> Check {
        for index in 0..self.descriptors.len() {
            let key = self.descriptors[index].1;
            self.set_nonblock(index, true);
            while let Some((_, call)) = self.descriptions[&key].waiting.first_key_value().map(|(_, waiting)| *waiting) {
                let mode = self.descriptions[&key].mode;
                match (call.adds(), mode) {
                    (None, _) => self.call(index, Call::Write { value: 1, len: 8 }, false)?,
                    (Some(_), Mode::Counter) => self.call(index, Call::Read { len: 8 }, false)?,
                    // It could take 2^64 reads.
                    (Some(_), Mode::Semaphore) => self.interrupt(key, 0)?,
                }
            }
        }
        while !self.descriptors.is_empty() {
            self.close(0)?;
        }
        equal("live objects", &self.eventfds.len(), &0)
    }
}

impl Description {
    /// Takes those who finished out of the sleepers, once nobody runs any more.
    fn collect_finished(&mut self, shared: &Shared) -> Result<Vec<(Option<u64>, Outcome)>, String> {
        let mut finished = Vec::new();
        loop {
            let before = finished.len();
            let mut index = 0;
            while let Some(sleeper) = self.sleepers.get(index) {
                if let Activity::Finished(outcome) = sleeper.rest()? {
                    let sleeper = self.sleepers.swap_remove(index);
                    finished.push((sleeper.call.adds(), outcome));
                    shared.idle.borrow_mut().push(sleeper.worker);
                } else {
                    index += 1;
                }
            }
            // Whoever finishes wakes all others once more, so they are all looked at again.
            if finished.len() == before {
                return Ok(finished);
            }
        }
    }
}

impl Drop for World<'_> {
    /// After a failure: no call may be left asleep.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for sleeper in self.descriptions.values_mut().flat_map(|description| description.sleepers.drain(..)) {
            while !matches!(sleeper.activity(), Activity::Finished(_)) && Instant::now() < deadline {
                sleeper.worker.interrupt();
                thread::yield_now();
            }
            if matches!(sleeper.activity(), Activity::Finished(_)) {
                self.shared.idle.borrow_mut().push(sleeper.worker);
            }
        }
    }
}

fn replay(shared: &Shared, steps: &[Step]) -> Check {
    let mut world = World::new(shared);
    for (index, step) in steps.iter().enumerate() {
        world.apply(step).map_err(|message| format!("step {index}, {step:?}: {message}"))?;
    }
    world.finish().map_err(|message| format!("at the end: {message}"))
}

/// Aborts the process if it is not dropped in time.
struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let (alive, dropped) = channel();
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("differential: not done after {limit:?}");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

fn config() -> Config {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default().cases,
        None => 500,
    };
    Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() }
}

#[test]
fn random_sequences_are_answered_as_by_linux() {
    let config = config();
    let cases = config.cases;
    let _watchdog = Watchdog::start(Duration::from_secs(180 + u64::from(cases)));
    let shared = Shared::default();
    let result = TestRunner::new(config).run(&sequence(), |steps| replay(&shared, &steps).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
    let tally = *shared.tally.borrow();
    println!("{tally:?}");
    // A test in which nothing waits shows nothing.
    if cases >= 100 {
        let rare = [
            tally.parked_reads,
            tally.parked_writes,
            tally.answered_reads,
            tally.answered_writes,
            tally.answered_together,
            tally.interrupted,
            tally.asleep,
            tally.woken,
            tally.told,
        ];
        assert!(rare.into_iter().all(|count| count > 10), "{tally:?}");
    }
}

/// Runs a sequence that is too rare to wait for.
fn show(steps: &[Step]) -> Tally {
    let _watchdog = Watchdog::start(Duration::from_secs(60));
    let shared = Shared::default();
    if let Err(message) = replay(&shared, steps) {
        panic!("{message}");
    }
    *shared.tally.borrow()
}

fn new(initval: u32, semaphore: bool) -> Step {
    Step::Create { initval, semaphore, nonblock: false, watched: true }
}

const READ: Step = Step::Read { at: 0, len: 8, mapped: false };
const MAPPED_READ: Step = Step::Read { at: 0, len: 8, mapped: true };

fn write(value: u64) -> Step {
    Step::Write { at: 0, value, len: 8, mapped: false }
}

fn mapped_write(value: u64) -> Step {
    Step::Write { at: 0, value, len: 8, mapped: true }
}

#[test]
fn many_semaphore_readers_share_a_write_27() {
    let mut steps = vec![new(0, true)];
    steps.extend(vec![READ; 12]);
    steps.extend([write(5), write(0), write(20)]);
    let tally = show(&steps);
    assert_eq!((tally.answered_reads, tally.answered_together), (12, 2));
}

#[test]
fn one_of_many_counter_readers_takes_all_27() {
    let mut steps = vec![new(0, false)];
    steps.extend(vec![READ; 6]);
    steps.extend((1..=6).map(write));
    let tally = show(&steps);
    assert_eq!((tally.answered_reads, tally.answered_together), (6, 0));
}

#[test]
fn many_writers_get_in_at_once_37() {
    let mut steps = vec![new(0, false), write(MAX - 1)];
    steps.extend(vec![write(2); 8]);
    steps.push(READ);
    assert_eq!(show(&steps).answered_writes, 8);
}

#[test]
fn a_semaphore_lets_writers_in_by_their_size_37_38() {
    let steps = [new(0, true), write(MAX), write(3), write(1), write(2), READ, READ, READ, READ, READ, READ, READ];
    let tally = show(&steps);
    assert_eq!(tally.answered_writes, 3);
}

#[test]
fn interrupted_calls_change_nothing_55_57() {
    let interrupt = Step::Interrupt { at: 0, which: 1 };
    let steps = [new(0, true), READ, READ, READ, interrupt.clone(), write(2), write(MAX), write(1), interrupt, READ];
    let tally = show(&steps);
    assert_eq!((tally.interrupted, tally.answered_reads, tally.announced), (2, 2, 4));
}

#[test]
fn a_request_that_waits_is_not_touched_by_f_setfl_7() {
    let on = Step::SetNonblock { at: 0, on: true };
    let steps = [new(0, false), READ, on, READ, write(3)];
    let tally = show(&steps);
    assert_eq!((tally.parked_reads, tally.answered_reads), (1, 1));
}

#[test]
fn readers_of_both_kinds_share_a_write_of_either_27() {
    let mut steps = vec![new(0, true)];
    for _ in 0..6 {
        steps.extend([READ, MAPPED_READ]);
    }
    steps.extend([mapped_write(5), write(0), mapped_write(0), write(20)]);
    let tally = show(&steps);
    assert_eq!((tally.answered_reads, tally.asleep, tally.woken), (12, 6, 6));
}

#[test]
fn writers_of_both_kinds_get_in_when_either_reads_37() {
    for read in [READ, MAPPED_READ] {
        let mut steps = vec![new(0, false), write(MAX - 1)];
        for _ in 0..4 {
            steps.extend([write(2), mapped_write(2)]);
        }
        steps.push(read);
        let tally = show(&steps);
        assert_eq!((tally.answered_writes, tally.woken), (8, 4));
    }
}

#[test]
fn a_chain_of_sleepers_serves_itself() {
    let mut steps = vec![new(0, true), mapped_write(MAX)];
    steps.extend(vec![mapped_write(1); 3]);
    steps.extend([MAPPED_READ, READ, MAPPED_READ, MAPPED_READ, write(1)]);
    let tally = show(&steps);
    assert_eq!((tally.asleep, tally.woken), (3, 3));
}
