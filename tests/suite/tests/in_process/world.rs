//! A daemon and its clients in one thread.

use std::cell::Cell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use eventd::engine::MAX;
use eventd::router::Router;
use eventd::scheme::{Host, Scheme};
use eventd::server::{Server, Turn};
use redox_scheme::Socket;
use scheme_host::{Client, Descriptor, Identity, Namespace, Outcome, Pending};
use syscall::data::Stat;
use syscall::flag::{EventFlags, O_RDONLY, O_RDWR};
use syscall::schemev2::{Opcode, Sqe};

pub(crate) const USER: u32 = 1000;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

pub(crate) fn pass_time(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// Aborts the process if it is not dropped in time.
struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let (alive, dropped) = channel();
        let test = thread::current().name().unwrap_or_default().to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("in_process: {test} is not done after {limit:?}");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// A daemon and the namespace in which its clients find it.
pub(crate) struct World {
    pub(crate) namespace: Namespace,
    pub(crate) server: Server,
    pids: usize,
    _watchdog: Watchdog,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::serve(|_| ()).0
    }

    /// A daemon that reaches signals by `router`, and the handle that its news are written to.
    pub(crate) fn with_router(router: Box<dyn Router>) -> (Self, usize) {
        Self::serve(|scheme| {
            scheme.route_signals(router);
            scheme.news()
        })
    }

    fn serve<T>(prepare: impl FnOnce(&mut Scheme) -> T) -> (Self, T) {
        let watchdog = Watchdog::start(Duration::from_secs(60));
        let namespace = Namespace::new();
        namespace.enter();
        let host = Host { uid: 0, gid: 0, monotonic: || NOW.get() };
        let mut scheme = Scheme::new(host);
        let prepared = prepare(&mut scheme);
        let server = Server::register(Socket::nonblock().unwrap(), scheme).unwrap();
        (Self { namespace, server, pids: 100, _watchdog: watchdog }, prepared)
    }

    /// Writes to a handle that no client has a descriptor of.
    pub(crate) fn tell(&mut self, handle: usize, bytes: &[u8]) {
        let daemon = self.process_of(0);
        let args = [handle as u64, 0, 0, u64::MAX, 0, 0];
        let told = daemon.start_raw(Opcode::Write as u8, args, Some(bytes));
        assert_eq!(self.result(told), Ok(bytes.len()));
    }

    pub(crate) fn process_of(&mut self, uid: u32) -> Client {
        self.pids += 1;
        self.namespace.client(eventd::NAME, Identity { pid: self.pids, uid, gid: uid + 1 }).unwrap()
    }

    pub(crate) fn process(&mut self) -> Client {
        self.process_of(USER)
    }

    pub(crate) fn turn(&mut self) -> Turn {
        self.server.turn().unwrap()
    }

    /// Turns until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        while self.turn() == Turn::Served {}
    }

    pub(crate) fn outcome(&mut self, pending: Pending) -> Outcome {
        self.settle();
        pending.poll().expect("no answer")
    }

    pub(crate) fn result(&mut self, pending: Pending) -> Result<usize, i32> {
        self.outcome(pending).result().map_err(|error| error.errno)
    }

    pub(crate) fn open(&mut self, client: &mut Client, path: &str, flags: usize) -> Result<Descriptor, i32> {
        let outcome = self.outcome(client.start_open(path, flags));
        client.opened(&outcome, flags).map_err(|error| error.errno)
    }

    pub(crate) fn counter(&mut self, client: &mut Client, initval: u32) -> Descriptor {
        self.open(client, &format!("eventfd/{initval}/0"), O_RDWR).unwrap()
    }

    pub(crate) fn semaphore(&mut self, client: &mut Client, initval: u32) -> Descriptor {
        self.open(client, &format!("eventfd/{initval}/1"), O_RDWR).unwrap()
    }

    pub(crate) fn full_counter(&mut self, client: &mut Client) -> Descriptor {
        let descriptor = self.counter(client, 0);
        self.write(client, descriptor, MAX);
        descriptor
    }

    pub(crate) fn write(&mut self, client: &Client, descriptor: Descriptor, value: u64) {
        let pending = start_write(client, descriptor, value);
        assert_eq!(self.result(pending), Ok(8), "write {value}");
    }

    pub(crate) fn read(&mut self, client: &Client, descriptor: Descriptor) -> u64 {
        let pending = start_read(client, descriptor);
        self.settle();
        value_of(&pending)
    }

    /// Sends a request and lets it be parked.
    pub(crate) fn park(&mut self, pending: Pending) -> Pending {
        self.settle();
        assert!(pending.poll().is_none(), "answered");
        pending
    }

    pub(crate) fn park_read(&mut self, client: &Client, descriptor: Descriptor) -> Pending {
        self.park(start_read(client, descriptor))
    }

    pub(crate) fn park_write(&mut self, client: &Client, descriptor: Descriptor, value: u64) -> Pending {
        self.park(start_write(client, descriptor, value))
    }

    pub(crate) fn close(&mut self, client: &mut Client, descriptor: Descriptor) {
        client.close(descriptor).unwrap();
        self.settle();
    }

    pub(crate) fn watch(&mut self, client: &Client, descriptor: Descriptor, flags: EventFlags) -> EventFlags {
        let ready = self.result(client.start_watch(descriptor, flags).unwrap()).unwrap();
        EventFlags::from_bits(ready).unwrap()
    }

    pub(crate) fn set_flags(&mut self, client: &Client, descriptor: Descriptor, flags: usize) {
        assert_eq!(self.result(client.start_set_flags(descriptor, flags).unwrap()), Ok(0));
    }

    pub(crate) fn stat(&mut self, client: &Client, descriptor: Descriptor) -> Stat {
        let outcome = self.outcome(client.start_stat(descriptor).unwrap());
        Client::stat_of(&outcome).unwrap()
    }

    pub(crate) fn path(&mut self, client: &Client, descriptor: Descriptor, len: usize) -> String {
        let outcome = self.outcome(client.start_path(descriptor, len).unwrap());
        String::from_utf8(outcome.bytes().unwrap()).unwrap()
    }

    /// Reads an open text in pieces of `len` bytes.
    pub(crate) fn pieces(&mut self, client: &Client, descriptor: Descriptor, from: usize, len: usize) -> String {
        let mut text = Vec::new();
        loop {
            client.seek(descriptor, from + text.len()).unwrap();
            let piece = self.outcome(client.start_read(descriptor, len).unwrap()).bytes().unwrap();
            if piece.is_empty() {
                return String::from_utf8(text).unwrap();
            }
            text.extend(piece);
        }
    }

    pub(crate) fn text(&mut self, client: &mut Client, path: &str) -> String {
        let descriptor = self.open(client, path, O_RDONLY).unwrap();
        let text = self.pieces(client, descriptor, 0, 4096);
        self.close(client, descriptor);
        text
    }

    /// A number from `stat`.
    pub(crate) fn number(&mut self, name: &str) -> u64 {
        let mut root = self.process_of(0);
        let text = self.text(&mut root, "stat");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("no such line");
        line.parse().unwrap()
    }

    pub(crate) fn live(&mut self) -> u64 {
        self.number("eventfd_live")
    }

    pub(crate) fn waiting(&mut self) -> u64 {
        self.number("requests_waiting")
    }

    pub(crate) fn names(
        &mut self,
        client: &Client,
        directory: Descriptor,
        len: usize,
        opaque: u64,
    ) -> Vec<(String, u64)> {
        let outcome = self.outcome(client.start_entries(directory, len, opaque).unwrap());
        Client::names_of(&outcome).unwrap()
    }

    /// Nothing may be left of anybody: no object, no waiter, no descriptor, no request.
    pub(crate) fn assert_empty(&mut self) {
        self.settle();
        assert_eq!((self.live(), self.waiting()), (0, 0));
        let mut probe = self.process();
        assert_eq!(probe.unanswered(), 0);
        let descriptor = self.counter(&mut probe, 0);
        // Numbers of descriptors are used again, so a small one says that few were in use at any time.
        let id = probe.id(descriptor).unwrap();
        assert!(id < 20, "descriptors are left behind: {id}");
        self.close(&mut probe, descriptor);
    }

    pub(crate) fn assert_serves(&mut self) {
        let mut client = self.process();
        let descriptor = self.counter(&mut client, 5);
        assert_eq!(self.read(&client, descriptor), 5);
        self.close(&mut client, descriptor);
    }
}

pub(crate) fn start_read(client: &Client, descriptor: Descriptor) -> Pending {
    client.start_read(descriptor, 8).unwrap()
}

pub(crate) fn start_write(client: &Client, descriptor: Descriptor, value: u64) -> Pending {
    client.start_write(descriptor, &value.to_ne_bytes()).unwrap()
}

/// The value that a read got.
pub(crate) fn value_of(pending: &Pending) -> u64 {
    let bytes = pending.poll().expect("no answer").bytes().unwrap();
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

pub(crate) fn errno_of(pending: &Pending) -> Option<i32> {
    pending.poll().map(|outcome| outcome.result().map_or_else(|error| error.errno, |_| 0))
}

/// A one-way message, or a request that no caller waits for.
pub(crate) fn message(opcode: Opcode, tag: u32, id: usize) -> Sqe {
    Sqe { opcode: opcode as u8, tag, args: [id as u64, 0, 0, 0, 0, 0], ..Sqe::default() }
}
