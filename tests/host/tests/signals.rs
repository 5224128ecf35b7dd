//! The signal router, and the helpers of programs that lend their signals: this process is the daemon, and starts itself again as such a program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod mounted;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use event::{EventFlags, RawEventQueue};
use libredox::Fd;
use libredox::call::{call_rw, open, read, write};
use libredox::flag::{O_CLOEXEC, O_RDWR};
use mounted::{skip, unmount, unusable};
use redox_scheme::scheme::register_scheme_inner;
use redox_scheme::{RequestKind, Response, SignalBehavior, Socket};
use rustix::process::geteuid;
use scheme_host::{Namespace, lend_signals};
use support::within;
use syscall::CallFlags;
use syscall::error::{EAGAIN, EBADF, EBUSY, EINVAL, ENODEV, ENOENT, EPERM, ESRCH};

#[path = "../../../kernel-patch/protocol.rs"]
#[allow(dead_code, unreachable_pub, clippy::wrong_self_convention)]
mod protocol;

use protocol::{CLAIM, ENDED, PEEK, PendingSets, SI_QUEUE, SI_USER, SignalRecord, THREAD_CLAIM, THREAD_PEEK, WATCH};

const ROUTER: &str = "/scheme/proc/signal-router";
const NAME: &str = "lender";
const PREFIX: &str = "/scheme/lender/signals/";
const SET: u64 = protocol::signal_bit(libc::SIGUSR1 as u32)
    | protocol::signal_bit(libc::SIGUSR2 as u32)
    | protocol::signal_bit(34)
    | protocol::signal_bit(libc::SIGCHLD as u32);

type Result<T> = std::result::Result<T, i32>;

/// There is one router in a process.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router() -> Fd {
    Fd::new(open(ROUTER, O_RDWR | O_CLOEXEC, 0).unwrap())
}

fn call(fd: &Fd, payload: &mut [u8], metadata: &[u64]) -> Result<usize> {
    call_rw(fd.raw(), payload, CallFlags::empty(), metadata).map_err(|error| error.errno())
}

fn ask(router: &Fd, verb: u64, pid: u32, mask: u64) -> Result<PendingSets> {
    let mut payload = [0xAA; PendingSets::SIZE];
    call(router, &mut payload, &[verb, pid.into(), mask]).map(|result| {
        assert_eq!(result, 0);
        PendingSets::from_bytes(payload)
    })
}

fn claim(router: &Fd, pid: u32, mask: u64, room: usize) -> Result<Vec<SignalRecord>> {
    let mut payload = vec![0; room * SignalRecord::SIZE];
    let count = call(router, &mut payload, &[CLAIM, pid.into(), mask])?;
    let (records, _) = payload.as_chunks();
    Ok(records[..count].iter().map(SignalRecord::from_bytes).collect())
}

fn news(router: &Fd) -> Result<Vec<u64>> {
    let mut news = [0; 64];
    let len = read(router.raw(), &mut news).map_err(|error| error.errno())?;
    Ok(news[..len].as_chunks().0.iter().copied().map(u64::from_ne_bytes).collect())
}

fn process(set: u64) -> PendingSets {
    PendingSets { process: set, threads: 0 }
}

fn bit(signal: i32) -> u64 {
    protocol::signal_bit(signal.cast_unsigned())
}

#[test]
fn there_is_one_router_and_it_refuses_what_is_no_call() {
    let _watchdog = within(20);
    let _alone = alone();
    let handle = router();
    assert_eq!(open(ROUTER, O_RDWR, 0).map_err(|error| error.errno()), Err(EBUSY));
    drop(handle);
    let handle = router();
    let me = std::process::id();
    assert_eq!(ask(&handle, WATCH, me, 1), Err(ESRCH), "nobody lends signals");
    assert_eq!(ask(&handle, PEEK, me, 1), Err(ESRCH));
    assert_eq!(claim(&handle, me, 1, 1), Err(ESRCH));
    assert_eq!(claim(&handle, me, 1, 0), Err(EINVAL));
    assert_eq!(call(&handle, &mut [0; 15], &[PEEK, me.into(), 1]), Err(EINVAL));
    assert_eq!(call(&handle, &mut [0; 64], &[77, me.into(), 1]), Err(EINVAL));
    assert_eq!(call(&handle, &mut [0; 64], &[PEEK, me.into()]), Err(EINVAL));
    assert_eq!(news(&handle), Err(EAGAIN));
    assert_eq!(read(handle.raw(), &mut [0; 7]).map_err(|error| error.errno()), Err(EINVAL));
    assert_eq!(write(handle.raw(), &[0; 8]).map_err(|error| error.errno()), Err(EBADF));
}

#[test]
fn threads_have_no_signals_here() {
    let _watchdog = within(20);
    let _alone = alone();
    Namespace::new().enter();
    let socket = Socket::nonblock().unwrap();
    let mut payload = [0xAA; SignalRecord::SIZE];
    let mut thread = |verb, len: usize| {
        let result = call_rw(socket.inner().raw(), &mut payload[..len], CallFlags::empty(), &[verb, 1, u64::MAX]);
        (result.map_err(|error| error.errno()), payload[..8] == [0; 8])
    };
    assert_eq!(thread(THREAD_CLAIM, 48), (Err(EPERM), false), "not the router");
    let _router = router();
    assert_eq!(thread(THREAD_CLAIM, 48), (Ok(0), false));
    assert_eq!(thread(THREAD_PEEK, 7), (Err(EINVAL), false));
    assert_eq!(thread(THREAD_PEEK, 8), (Ok(0), true));
}

/// A daemon's thread writes to the scheme which another one serves.
#[test]
fn the_daemon_writes_to_its_own_scheme() {
    let _watchdog = within(20);
    Namespace::new().enter();
    let socket = Socket::nonblock().unwrap();
    let descriptor = socket.create_this_scheme_fd(0, 5, 0, 0).unwrap();
    let writer = std::thread::spawn(move || {
        let results = [(); 3].map(|()| write(descriptor, b"news").map_err(|error| error.errno()));
        (results, std::process::id() as usize)
    });
    let mut answered = 0;
    while answered < 2 {
        let Ok(Some(request)) = socket.next_request(SignalBehavior::Restart) else {
            std::thread::yield_now();
            continue;
        };
        let RequestKind::Call(request) = request.kind() else { panic!("an unexpected request") };
        let caller = request.caller();
        assert_eq!(caller.pid, std::process::id() as usize);
        let mut op = request.op().unwrap();
        assert_eq!(op.file_id(), Some(5));
        let text = match &mut op {
            redox_scheme::scheme::Op::Write(write) => write.buf().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text, b"news");
        let result = if answered == 0 { Ok(4) } else { Err(syscall::Error::new(EAGAIN)) };
        socket.write_response(Response::new(result, op), SignalBehavior::Restart).unwrap();
        answered += 1;
    }
    drop(socket);
    let (results, _) = writer.join().unwrap();
    assert_eq!(results, [Ok(4), Err(EAGAIN), Err(ENODEV)], "the last one finds the end");
}

/// A program that lends its signals, until it is told to end.
struct Lender {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Lender {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", "the_program_that_lends"]);
        // SAFETY: what is called is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                // All threads of the test program begin with what is blocked now.
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                for signal in [libc::SIGUSR1, libc::SIGUSR2, 34, libc::SIGCHLD] {
                    libc::sigaddset(&raw mut set, signal);
                }
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                Ok(())
            });
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        await_line(&mut output, "ready");
        Self { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn kill(&self, signal: i32) {
        // SAFETY: kill takes any numbers; the process has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid().cast_signed(), signal) }, 0);
    }

    fn queue(&self, signal: i32, value: usize) {
        let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value) };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sigqueue(self.pid().cast_signed(), signal, value) }, 0);
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{word}").unwrap();
        await_line(&mut self.output, "done");
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn await_line(output: &mut impl BufRead, expected: &str) {
    let mut line = String::new();
    while !line.trim_end().ends_with(expected) {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the program ended before {expected:?}");
    }
}

#[test]
#[ignore = "the program that the others start"]
fn the_program_that_lends() {
    let before = descriptors();
    lend_signals(PREFIX);
    assert!(!threads().contains(&"signals".to_owned()), "lending alone starts nothing");
    // The daemon has no such file, but finds the signals when it is asked for it.
    assert_eq!(open(format!("{PREFIX}x"), O_RDWR, 0).map_err(|error| error.errno()), Err(ENOENT));
    assert_eq!(descriptors(), before, "the helper is not seen");
    assert!(threads().contains(&"signals".to_owned()));
    println!("ready");
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            // Nobody can close what it has, either.
            "close" => {
                // SAFETY: nothing of this program is used that has a descriptor but for the standard streams.
                unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
            }
            "child" => drop(Command::new("true").status().unwrap()),
            word => panic!("{word}"),
        }
        println!("done");
    }
    std::process::exit(0);
}

fn descriptors() -> Vec<String> {
    let mut names = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect::<Vec<_>>();
    names.sort();
    names
}

fn threads() -> Vec<String> {
    let names = std::fs::read_dir("/proc/self/task").unwrap();
    names.map(|entry| std::fs::read_to_string(entry.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
}

/// A mounted scheme that has no files.
struct Mounted {
    router: Fd,
    queue: RawEventQueue,
    socket: std::sync::Arc<Socket>,
    root: std::path::PathBuf,
}

impl Mounted {
    /// None where there is no FUSE.
    fn start() -> Option<Self> {
        if let Some(reason) = unusable() {
            skip(&reason);
            return None;
        }
        let root = std::env::temp_dir().join(format!("scheme-host-signals-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        // SAFETY: the tests that look at it are alone, and no other thread changes it.
        unsafe { std::env::set_var("SCHEME_ROOT", &root) };
        let router = router();
        let queue = RawEventQueue::new().unwrap();
        queue.subscribe(router.raw(), 1, EventFlags::READ).unwrap();
        let socket = std::sync::Arc::new(Socket::create().unwrap());
        register_scheme_inner(&socket, NAME, 1).unwrap();
        let served = std::sync::Arc::clone(&socket);
        std::thread::spawn(move || {
            while let Ok(Some(request)) = served.next_request(SignalBehavior::Restart) {
                if let RequestKind::Call(request) = request.kind() {
                    let _ = served.write_response(Response::err(ENOENT, request), SignalBehavior::Restart);
                }
            }
        });
        Some(Self { router, queue, socket, root })
    }

    /// Waits for news.
    fn news(&self) -> Vec<u64> {
        loop {
            self.queue.next_event().unwrap();
            match news(&self.router) {
                Err(EAGAIN) => {}
                news => return news.unwrap(),
            }
        }
    }
}

impl Mounted {
    fn socket_file(&self) -> std::path::PathBuf {
        self.root.join(format!(".signals-{NAME}"))
    }

    /// Somebody else unmounts it: the serving thread comes to its end.
    fn unmount(&self) {
        unmount(&self.root.join(NAME));
        while std::sync::Arc::strong_count(&self.socket) > 1 {
            std::thread::yield_now();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
        let _ = std::fs::remove_file(self.socket_file());
        let _ = std::fs::remove_dir(self.root.join(NAME));
        let _ = std::fs::remove_dir(&self.root);
    }
}

#[test]
fn signals_of_a_program_are_told_and_taken() {
    let _watchdog = within(60);
    let _alone = alone();
    let Some(mounted) = Mounted::start() else { return };
    let router = &mounted.router;
    let mut lender = Lender::start();
    let pid = lender.pid();
    let me = std::process::id();

    // What is pending before is pending, and told as well: a hint too many does no harm.
    lender.kill(libc::SIGUSR2);
    assert_eq!(ask(router, PEEK, pid, SET), Ok(process(bit(libc::SIGUSR2))));
    assert_eq!(ask(router, WATCH, pid, SET | bit(9) | bit(19)), Ok(process(bit(libc::SIGUSR2))));
    assert_eq!(mounted.news(), [u64::from(pid)]);
    assert_eq!(claim(router, pid, bit(libc::SIGUSR1), 4), Ok(Vec::new()), "another signal");
    let record = |signal: i32, code| SignalRecord {
        signo: signal.cast_unsigned(),
        code,
        pid: me,
        uid: geteuid().as_raw(),
        ..SignalRecord::default()
    };
    assert_eq!(claim(router, pid, SET, 4), Ok(vec![record(libc::SIGUSR2, SI_USER)]));
    assert_eq!(ask(router, PEEK, pid, SET), Ok(process(0)));
    assert_eq!(news(router), Err(EAGAIN));

    // Standard signals before others, in the order in which they were sent, as many as there is room for.
    for value in 0..70 {
        lender.queue(34, 1 << 40 | value);
    }
    lender.kill(libc::SIGUSR1);
    assert_eq!(mounted.news(), [u64::from(pid)]);
    let taken = claim(router, pid, SET, 66).unwrap();
    assert_eq!(taken[0], record(libc::SIGUSR1, SI_USER));
    let queued = |value: usize| SignalRecord { value: 1 << 40 | value as u64, ..record(34, SI_QUEUE) };
    assert_eq!(taken[1..], (0..65).map(queued).collect::<Vec<_>>());
    assert_eq!(claim(router, pid, SET, 100), Ok((65..70).map(queued).collect()));

    // The descriptors are not the program's.
    lender.tell("close");
    lender.tell("child");
    assert!(mounted.news().contains(&pid.into()));
    let taken = claim(router, pid, SET, 4).unwrap();
    assert_eq!(
        taken.iter().map(|record| (record.signo, record.code)).collect::<Vec<_>>(),
        [(17, protocol::CLD_EXITED)]
    );

    // What is not watched is not told.
    while news(router).is_ok() {}
    ask(router, WATCH, pid, bit(libc::SIGUSR1)).unwrap();
    lender.kill(libc::SIGUSR2);
    lender.kill(libc::SIGUSR1);
    assert_eq!(mounted.news(), [u64::from(pid)]);
    assert_eq!(claim(router, pid, bit(libc::SIGUSR2), 4), Ok(vec![record(libc::SIGUSR2, SI_USER)]), "all the same");
    lender.end();
    let ended = u64::from(pid) | ENDED;
    while !mounted.news().contains(&ended) {}
    assert_eq!(ask(router, PEEK, pid, SET), Err(ESRCH));
}

#[test]
fn a_stopped_program_does_not_hold_the_daemon_up() {
    let _watchdog = within(60);
    let _alone = alone();
    let Some(mounted) = Mounted::start() else { return };
    let lender = Lender::start();
    let pid = lender.pid();
    ask(&mounted.router, WATCH, pid, SET).unwrap();
    lender.kill(libc::SIGSTOP);
    let mut status = String::new();
    while !status.contains("State:\tT") {
        status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    }
    lender.kill(libc::SIGUSR1);
    assert_eq!(ask(&mounted.router, PEEK, pid, SET), Ok(process(bit(libc::SIGUSR1))));
    let start = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(claim(&mounted.router, pid, SET, 4), Ok(Vec::new()));
    }
    assert!(start.elapsed() < std::time::Duration::from_millis(900));
    assert_eq!(news(&mounted.router), Err(EAGAIN));
    lender.kill(libc::SIGCONT);
    assert_eq!(mounted.news(), [u64::from(pid)], "it tells when it goes on");
    assert_eq!(claim(&mounted.router, pid, SET, 4).unwrap().len(), 1);
    lender.end();
}

/// The name goes with the scheme, unless a successor has it by then.
#[test]
fn the_socket_has_its_name_as_long_as_the_scheme_lives() {
    let _watchdog = within(60);
    let _alone = alone();
    for successor in [false, true] {
        let Some(mut mounted) = Mounted::start() else { return };
        let file = mounted.socket_file();
        assert!(file.exists());
        mounted.unmount();
        if successor {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, "").unwrap();
        }
        mounted.socket = std::sync::Arc::new(Socket::create().unwrap());
        assert_eq!(file.exists(), successor);
    }
}

/// What was taken, for a claim that nobody has made.
const UNASKED: [u8; 16] = {
    let mut bytes = [0xFF; 16];
    let verb = 2_u64.to_ne_bytes();
    let mut at = 0;
    while at < verb.len() {
        bytes[at] = verb[at];
        at += 1;
    }
    bytes
};

/// Whoever says something else than a helper does is not listened to.
#[test]
fn a_stranger_at_the_socket_is_sent_away() {
    let _watchdog = within(60);
    let _alone = alone();
    let Some(mounted) = Mounted::start() else { return };
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    let path = mounted.socket_file();
    let me = std::process::id();
    for message in [&b"x"[..], &[0; 8], &[0xFF; 16], &UNASKED, &[0; 4000], &[0; 9000]] {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let mut answer = [0; 64];
        assert_eq!(rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).unwrap().0, 32, "welcome");
        assert_eq!(ask(&mounted.router, PEEK, me, 0), Ok(process(0)), "it speaks for its own process");
        rustix::net::send(&socket, message, SendFlags::NOSIGNAL).unwrap();
        let end = rustix::net::recv(&socket, &mut answer, RecvFlags::empty());
        assert!(matches!(end, Ok((0, _)) | Err(rustix::io::Errno::CONNRESET)), "{end:?}");
        assert_eq!(ask(&mounted.router, PEEK, me, 0), Err(ESRCH));
    }
}
