//! Memory of a file that Linux itself cannot map, on a mounted scheme.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod mounted;
#[allow(dead_code, reason = "the example serves it")]
mod notes;
mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use libredox::call::{MmapArgs, call_rw, dup, mmap, munmap};
use libredox::flag::{MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};
use mounted::{
    Daemon, PAGE, Process, as_nobody, catch_sigusr1, errno, map_word, repeat_as_user, signal_thread, skip, until,
    until_sleeping,
};
use rustix::process::{Signal, geteuid};
use scheme_host as _;
use support::within;
use syscall::{CallFlags, MapFlags};

/// `MAP_FIXED`, which libredox does not have.
const MAP_FIXED: u32 = libc::MAP_FIXED as u32;
const READ_WRITE: u32 = PROT_READ | PROT_WRITE;

fn number_of(file: &impl AsRawFd) -> usize {
    usize::try_from(file.as_raw_fd()).unwrap()
}

/// Maps through libredox, at an address of the system's choice; returns the errno if that fails.
fn map_with(file: &impl AsRawFd, length: usize, prot: u32, flags: u32, offset: u64) -> Result<*mut (), i32> {
    let args = MmapArgs { addr: null_mut(), length, prot, flags, fd: number_of(file), offset };
    // SAFETY: a new mapping at an address of the system's choice replaces nothing.
    unsafe { mmap(args) }.map_err(libredox::error::Error::errno)
}

/// Maps a page over what is at `addr`.
///
/// # Safety
/// Nobody minds that it goes.
unsafe fn map_at(addr: *mut (), file: &impl AsRawFd, prot: u32, offset: u64) -> Result<*mut (), i32> {
    let flags = MAP_SHARED | MAP_FIXED;
    // SAFETY: the caller's promise.
    unsafe { mmap(MmapArgs { addr, length: PAGE, prot, flags, fd: number_of(file), offset }) }
        .map_err(libredox::error::Error::errno)
}

fn map(file: &File, offset: u64) -> Result<*mut (), i32> {
    map_with(file, PAGE, READ_WRITE, MAP_SHARED, offset)
}

/// A page of zeros of this process's own.
fn own_page() -> *mut () {
    let args = MmapArgs { addr: null_mut(), length: PAGE, prot: READ_WRITE, flags: MAP_PRIVATE, fd: !0, offset: 0 };
    // SAFETY: a new mapping at an address of the system's choice replaces nothing.
    unsafe { mmap(args) }.unwrap()
}

/// The first word of a mapped page.
///
/// # Safety
/// The page must stay mapped as long as the word is used.
unsafe fn word<'page>(page: *mut ()) -> &'page AtomicU64 {
    // SAFETY: the caller's promise; the page is aligned, and only used through atomics.
    unsafe { AtomicU64::from_ptr(page.cast()) }
}

/// The first word of the daemon's page, mapped for good.
fn map_for_good(file: &File) -> &'static AtomicU64 {
    // SAFETY: it is never unmapped.
    unsafe { word(map(file, notes::PAGE).unwrap()) }
}

fn call(file: &File, metadata: &[u64]) -> usize {
    call_rw(number_of(file), &mut [], CallFlags::empty(), metadata).unwrap()
}

/// The first word of the page, as the daemon sees it.
fn value(file: &File) -> usize {
    call(file, &[notes::ADD_TO_PAGE, 0])
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Where the descriptors of a process lead, by the path of each.
fn descriptors(process: &str) -> Vec<(PathBuf, PathBuf)> {
    let paths = fs::read_dir(format!("/proc/{process}/fd")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter_map(|path| fs::read_link(&path).ok().map(|link| (path, link))).collect()
}

fn is_memory(link: &Path) -> bool {
    link.starts_with("/memfd:scheme-memory (deleted)")
}

/// How many descriptors of this process lead to files of the scheme or to its memory.
fn descriptors_of(daemon: &Daemon) -> usize {
    let all = descriptors("self");
    all.iter().filter(|(_, link)| is_memory(link) || link.starts_with(daemon.directory())).count()
}

/// What /proc says of the mapping at an address.
fn protection(page: *mut ()) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.starts_with(&format!("{:x}-", page.addr()))).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

/// This program again, to run an ignored test.
fn again(command: &mut Command, name: &str) {
    command.args(["--exact", name, "--ignored", "--nocapture"]);
}

#[test]
fn memory_is_the_daemons_own() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    // The page may be mapped by its path as well. That can be a copy.
    let by_path = map_word(&daemon.open("page"));
    let [first, second] = [(); 2].map(|()| map_for_good(&file));
    first.store(5, Ordering::SeqCst);
    assert_eq!(call(&file, &[notes::ADD_TO_PAGE, 10]), 5);
    assert_eq!(second.fetch_add(100, Ordering::SeqCst), 15);
    if geteuid().is_root() {
        assert_eq!(by_path.load(Ordering::SeqCst), 115);
    }
    assert_eq!(fs::read_to_string(daemon.path("page-value")).unwrap(), "115");
    // Both at once: nothing is lost, so it is the same memory.
    let adding = std::thread::spawn(move || {
        for _ in 0..10_000 {
            first.fetch_add(1, Ordering::SeqCst);
        }
    });
    for _ in 0..1000 {
        call(&file, &[notes::ADD_TO_PAGE, 1]);
    }
    adding.join().unwrap();
    assert_eq!(value(&file), 11_115);
}

#[test]
fn what_is_mapped_is_the_daemons_decision() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let told = || MapFlags::from_bits_retain(call(&file, &[notes::MAP_FLAGS]));
    let shared = map(&file, notes::PAGE).unwrap();
    assert_eq!(told(), MapFlags::PROT_READ | MapFlags::PROT_WRITE | MapFlags::MAP_SHARED);
    assert_eq!(protection(shared), "rw-s");
    // SAFETY: it is never unmapped.
    let shared = unsafe { word(shared) };
    let reading = map_with(&file, PAGE, PROT_READ, MAP_SHARED, notes::PAGE).unwrap();
    assert_eq!((told(), &*protection(reading)), (MapFlags::PROT_READ | MapFlags::MAP_SHARED, "r--s"));
    // SAFETY: it changes a mapping of ours.
    let writable = unsafe { libc::mprotect(reading.cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!((writable, errno::<()>(Err(std::io::Error::last_os_error()))), (-1, Some(libc::EACCES)));
    let private = map_with(&file, PAGE, READ_WRITE, MAP_PRIVATE, notes::PAGE).unwrap();
    assert_eq!(told(), MapFlags::PROT_READ | MapFlags::PROT_WRITE | MapFlags::MAP_PRIVATE);
    // SAFETY: it is never unmapped.
    let private = unsafe { word(private) };
    shared.store(3, Ordering::SeqCst);
    assert_eq!(private.fetch_add(1, Ordering::SeqCst), 3);
    assert_eq!((private.load(Ordering::SeqCst), value(&file)), (4, 3));
    let fails = |length, prot, offset| map_with(&file, length, prot, MAP_SHARED, offset).map(drop);
    assert_eq!(fails(PAGE, PROT_EXEC, notes::PAGE), Err(libc::EINVAL));
    assert_eq!(told(), MapFlags::PROT_EXEC | MapFlags::MAP_SHARED);
    assert_eq!(fails(PAGE - 1, PROT_READ, notes::PAGE), Err(libc::EINVAL), "the daemon is told the size as it is");
    assert_eq!(fails(PAGE, PROT_READ, 0), Err(libc::EOPNOTSUPP));
    // As the kernel does, without asking.
    assert_eq!(fails(PAGE, PROT_READ, notes::PAGE + 1), Err(libc::EINVAL));
    assert_eq!(fails(0, PROT_READ, 0), Err(libc::EINVAL));
    // Its file is that of the other half as well.
    assert_eq!(fails(PAGE, READ_WRITE, notes::HALF), Err(libc::EOPNOTSUPP));
    let directory = File::open(daemon.directory()).unwrap();
    assert_eq!(map(&directory, notes::PAGE), Err(libc::EOPNOTSUPP));
    assert_eq!(descriptors_of(&daemon), 2);
}

#[test]
fn a_program_itself_maps_nothing() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    for offset in [0, notes::PAGE.cast_signed()] {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the system's choice replaces nothing.
        let mapped = unsafe { libc::mmap(null_mut(), PAGE, prot, flags, file.as_raw_fd(), offset) };
        assert_eq!(mapped, libc::MAP_FAILED);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENODEV));
    }
    let refused = dup(number_of(&file), b"page").map_err(libredox::error::Error::errno);
    assert_eq!(refused, Err(libc::EOPNOTSUPP), "nor is there a descriptor of memory");
}

#[test]
fn what_is_at_the_address_is_replaced_in_one_step_or_stays() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (file, by_path) = (daemon.open("wait"), daemon.open("page"));
    let address = own_page();
    // SAFETY: there is always something mapped.
    let content = unsafe { word(address) };
    content.store(7, Ordering::SeqCst);
    let (socket, _other) = UnixStream::pair().unwrap();
    // SAFETY: the page is only used through an atomic, for which any content will do.
    let over = |file: &dyn AsRawFd, prot, offset| unsafe { map_at(address, &file.as_raw_fd(), prot, offset) };
    assert_eq!(over(&file, READ_WRITE, notes::HALF), Err(libc::EOPNOTSUPP));
    assert_eq!(over(&file, PROT_EXEC, notes::PAGE), Err(libc::EINVAL));
    assert_eq!(over(&socket, READ_WRITE, 0), Err(libc::ENODEV));
    assert_eq!(content.load(Ordering::SeqCst), 7);
    let done = AtomicBool::new(false);
    let ready = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // It faults if nothing is there.
                content.load(Ordering::SeqCst);
                ready.store(true, Ordering::Relaxed);
            }
        });
        until(|| ready.load(Ordering::Relaxed));
        for _ in 0..200 {
            assert_eq!(over(&file, READ_WRITE, notes::PAGE), Ok(address));
            assert_eq!(over(&file, READ_WRITE, notes::HALF), Err(libc::EOPNOTSUPP));
        }
        done.store(true, Ordering::Relaxed);
    });
    content.store(8, Ordering::SeqCst);
    assert_eq!(value(&file), 8);
    // As what Linux maps itself.
    assert_eq!(over(&by_path, PROT_READ, 0), Ok(address));
    assert_eq!(protection(address), "r--s");
    // SAFETY: nobody uses it any more.
    unsafe { munmap(address, PAGE) }.unwrap();
}

#[test]
fn threads_map_at_once() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let page = map(&file, notes::PAGE).unwrap();
                    // SAFETY: it is unmapped afterwards.
                    unsafe {
                        word(page).fetch_add(1, Ordering::SeqCst);
                        munmap(page, PAGE).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!((value(&file), descriptors_of(&daemon)), (400, 1));
}

#[test]
fn a_signal_interrupts_a_mapping() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    catch_sigusr1();
    let file = daemon.open("wait");
    let (tell, told) = channel();
    let waiting = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        map(&file, notes::NEVER).map(drop)
    });
    let thread = told.recv().unwrap();
    until_sleeping(&format!("/proc/self/task/{thread}"), libc::SYS_ioctl);
    signal_thread(thread);
    assert_eq!(waiting.join().unwrap(), Err(libc::EINTR));
}

#[test]
fn memory_keeps_its_size() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let word = map_for_good(&file);
    let memory = descriptors(&daemon.process.pid().to_string());
    let memory = memory.iter().filter(|(_, link)| is_memory(link)).map(|(path, _)| open(path)).collect::<Vec<_>>();
    assert_eq!(memory.len(), 2);
    for memory in memory {
        for len in [0, 1, 3 * PAGE as u64] {
            assert_eq!(errno(memory.set_len(len)), Some(libc::EPERM), "{len}");
        }
    }
    word.store(1, Ordering::SeqCst);
    assert_eq!(value(&file), 1, "the daemon has its page");
}

const STRANGER: &str = "NOTES_STRANGER";

#[test]
#[ignore = "the other process of who_may_not_look_into_the_daemon_is_refused"]
fn map_as_stranger() {
    let Some(path) = std::env::var_os(STRANGER) else { return };
    let file = open(Path::new(&path));
    assert_eq!(call(&file, &[3]), 3, "it has the file");
    println!("\npage {:?}", map(&file, notes::PAGE).map(drop));
}

/// Whether a stranger that `command` makes of this program is refused; none if there are no such strangers here.
fn is_refused(daemon: &Daemon, mut command: Command, why: &str) -> Option<()> {
    let mut probe = Command::new(command.get_program());
    if !probe.args(command.get_args()).arg("true").status().is_ok_and(|status| status.success()) {
        skip(why);
        return None;
    }
    command.arg(std::env::current_exe().unwrap()).env(STRANGER, daemon.path("wait"));
    again(&mut command, "map_as_stranger");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("\npage {:?}\n", Err::<(), _>(libc::EOPNOTSUPP));
    assert!(output.status.success() && said.contains(&expected), "{output:?}");
    Some(())
}

#[test]
fn who_may_not_look_into_the_daemon_is_refused() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    // Of another user namespace, of another process namespace, and of another user.
    let mut user = Command::new("unshare");
    user.args(["--user", "--"]);
    is_refused(&daemon, user, "there are no user namespaces");
    let mut process = Command::new("unshare");
    process.args(["--pid", "--fork", "--mount-proc"]);
    if !geteuid().is_root() {
        process.args(["--user", "--map-current-user"]);
    }
    process.arg("--");
    is_refused(&daemon, process, "there are no process namespaces");
    if geteuid().is_root()
        && let Some(nobody) = as_nobody()
    {
        is_refused(&daemon, nobody, "there are no other users");
    }
}

#[test]
fn what_users_can_map() {
    let _watchdog = within(240);
    repeat_as_user(&[
        "a_mapping_needs_no_descriptor",
        "a_mapping_outlives_the_daemon",
        "a_program_itself_maps_nothing",
        "a_signal_interrupts_a_mapping",
        "children_share_a_mapping",
        "memory_is_the_daemons_own",
        "memory_keeps_its_size",
        "nothing_is_left_of_the_killed",
        "threads_map_at_once",
        "what_is_at_the_address_is_replaced_in_one_step_or_stays",
        "what_is_mapped_is_the_daemons_decision",
        "who_may_not_look_into_the_daemon_is_refused",
    ]);
}

#[test]
fn a_mapping_needs_no_descriptor() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let process = daemon.process.pid().to_string();
    let before = (descriptors(&process).len(), call(&file, &[notes::COUNT_HANDLES]));
    let mapped = (0..2000).map(|_| map(&file, notes::PAGE).unwrap()).collect::<Vec<_>>();
    assert_eq!(descriptors_of(&daemon), 1);
    let after = (descriptors(&process).len(), call(&file, &[notes::COUNT_HANDLES]));
    assert_eq!(after, before, "nor does the daemon keep any");
    drop(file);
    for page in &mapped {
        // SAFETY: it is unmapped below.
        unsafe { word(*page) }.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(fs::read_to_string(daemon.path("page-value")).unwrap(), "2000", "nor is the file needed");
    for page in mapped {
        // SAFETY: nobody uses it any more.
        unsafe { munmap(page, PAGE) }.unwrap();
    }
    // A mapping of a file that was opened by its path keeps that open.
    let file = daemon.open("wait");
    let page = map(&daemon.open("page"), 0).unwrap();
    assert_eq!((descriptors_of(&daemon), call(&file, &[notes::COUNT_PAGES])), (2, 1));
    // SAFETY: as above.
    unsafe { munmap(page, PAGE) }.unwrap();
    until(|| call(&file, &[notes::COUNT_PAGES]) == 0);
    assert_eq!(descriptors_of(&daemon), 1);
}

const KILLED: &str = "NOTES_KILLED";

#[test]
#[ignore = "the killed process of nothing_is_left_of_the_killed"]
fn map_until_killed() {
    let Some(path) = std::env::var_os(KILLED) else { return };
    let file = open(Path::new(&path));
    map_for_good(&file).store(1, Ordering::SeqCst);
    println!("\nready");
    let never = map(&file, notes::NEVER);
    unreachable!("{never:?}");
}

#[test]
fn nothing_is_left_of_the_killed() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let wait = daemon.open("wait");
    let process = daemon.process.pid().to_string();
    let state = || (call(&wait, &[notes::COUNT_HANDLES]), descriptors(&process).len());
    let before = state();
    let mut command = Command::new(std::env::current_exe().unwrap());
    again(&mut command, "map_until_killed");
    command.env(KILLED, daemon.path("wait")).stdout(Stdio::piped());
    let mut killed = Process(command.spawn().unwrap());
    let mut lines = BufReader::new(killed.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    let tasks = || fs::read_dir(format!("/proc/{}/task", killed.pid())).unwrap();
    let asks = |task: &Path| fs::read_to_string(task.join("syscall")).is_ok_and(|call| call.starts_with("16 "));
    until(|| tasks().any(|task| asks(&task.unwrap().path())));
    // The file of the killed.
    assert_eq!(state(), (before.0 + 1, before.1));
    killed.signal(Signal::KILL);
    killed.wait();
    until(|| state() == before);
    assert_eq!(value(&wait), 1);
}

#[test]
fn a_mapping_outlives_the_daemon() {
    let _watchdog = within(60);
    let Some(mut daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let word = map_for_good(&file);
    word.store(7, Ordering::SeqCst);
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.wait().code(), Some(0));
    assert_eq!(word.fetch_add(1, Ordering::SeqCst), 7);
    assert!(!daemon.root.is_mounted());
    // What cannot be mapped any more takes nothing away.
    let page = own_page();
    // SAFETY: nobody minds what is there.
    assert!(unsafe { map_at(page, &file, READ_WRITE, notes::PAGE) }.is_err());
    assert_eq!(protection(page), "rw-p");
}

#[test]
fn children_share_a_mapping() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let word = map_for_good(&file);
    word.store(1, Ordering::SeqCst);
    // SAFETY: the child does nothing but add to an atomic, and _exit.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            word.fetch_add(10, Ordering::SeqCst);
            libc::_exit(0);
        }
        child
    };
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: it is our child, and there is room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((status, word.load(Ordering::SeqCst)), (0, 11));
    assert_eq!(value(&file), 11);
}
