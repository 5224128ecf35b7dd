//! A client's dup with an argument, on a mounted scheme.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod mounted;
#[allow(dead_code, reason = "the example serves it")]
mod notes;
mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use libredox::call::{MmapArgs, call_rw, dup, mmap, munmap};
use libredox::flag::{MAP_SHARED, PROT_READ, PROT_WRITE};
use mounted::{
    Daemon, NOBODY, PAGE, Process, as_nobody, catch_sigusr1, errno, map_word, repeat_as_user, signal_thread, skip,
    until, until_sleeping,
};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::mount::UnmountFlags;
use rustix::process::{Signal, geteuid};
use scheme_host as _;
use support::within;
use syscall::CallFlags;

/// The ioctl by which a client asks for a dup, as `src/ioctl.rs` has it.
const DUP: libc::c_ulong = 0xC400_E55D;
/// Where the text begins in its argument.
const TEXT: usize = 24;

fn number_of(file: &impl AsRawFd) -> usize {
    usize::try_from(file.as_raw_fd()).unwrap()
}

/// A dup through libredox, with the errno that it fails with.
fn duplicate(file: &File, argument: &[u8]) -> Result<File, i32> {
    let number = dup(number_of(file), argument).map_err(libredox::error::Error::errno)?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { File::from_raw_fd(i32::try_from(number).unwrap()) })
}

/// What a client does first, without what it does then: the path at which the new handle waits.
fn offered(file: &File, argument: &[u8]) -> PathBuf {
    let mut message = [0; 1024];
    message[..8].copy_from_slice(&argument.len().to_ne_bytes());
    message[TEXT..TEXT + argument.len()].copy_from_slice(argument);
    // SAFETY: the request says how long the message is.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), DUP, message.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let len = usize::from_ne_bytes(message[..8].try_into().unwrap());
    let path = message[TEXT..].get(..len).unwrap_or_else(|| panic!("errno {}", len.wrapping_neg()));
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

fn call(file: &File, metadata: &[u64]) -> usize {
    call_rw(number_of(file), &mut [], CallFlags::empty(), metadata).unwrap()
}

/// How many handles of the page the daemon has.
fn pages(file: &File) -> usize {
    call(file, &[notes::COUNT_PAGES])
}

/// How many handles of any kind the daemon has.
fn handles(file: &File) -> usize {
    call(file, &[notes::COUNT_HANDLES])
}

/// Waits until the daemon has heard of all closes.
fn until_pages(file: &File, count: usize) {
    until(|| pages(file) == count);
}

fn read(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Where the descriptors of a process lead.
fn descriptors(process: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

/// How many descriptors of this process lead to files of the scheme or to its memory.
fn descriptors_of(daemon: &Daemon) -> usize {
    let is_of =
        |link: &PathBuf| link.starts_with(daemon.directory()) || link.starts_with("/memfd:scheme-memory (deleted)");
    descriptors("self").iter().filter(|link| is_of(link)).count()
}

/// Whether the kernel lets the daemon's memory stand behind files of the mount. Where it does not, a handle of memory is closed as soon as it was made.
fn passes_through() -> bool {
    geteuid().is_root()
}

/// The page of the daemon by a dup, mapped through libredox.
fn map_duplicate(file: &File) -> *mut () {
    let cell = duplicate(file, b"page").unwrap();
    map(&cell)
}

fn map(file: &File) -> *mut () {
    let (prot, flags) = (PROT_READ | PROT_WRITE, MAP_SHARED);
    let args = MmapArgs { addr: std::ptr::null_mut(), length: PAGE, prot, flags, fd: number_of(file), offset: 0 };
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
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

#[test]
fn a_dup_with_an_argument_is_another_handle() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    daemon.note("a", "some text");
    let mut file = daemon.open("a");
    file.seek(std::io::SeekFrom::Start(5)).unwrap();
    let mut other = duplicate(&file, b"again").unwrap();
    let mut byte = [0];
    assert_eq!((other.read(&mut byte).unwrap(), &byte), (1, b"s"), "it has a position of its own");
    other.write_all(b"AME").unwrap();
    assert_eq!(read(file), "text");
    assert_eq!(fs::read_to_string(daemon.path("a")).unwrap(), "sAME text");
    assert_eq!(other.metadata().unwrap().ino(), fs::metadata(daemon.path("a")).unwrap().ino());
    let third = duplicate(&other, b"again").unwrap();
    drop(other);
    assert_eq!(read(third), "sAME text", "it needs nothing of what it was made from");
}

#[test]
fn a_dup_has_the_flags_of_the_first() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let wait = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(daemon.path("wait")).unwrap();
    let mut other = duplicate(&wait, b"again").unwrap();
    assert_eq!(errno(other.read(&mut [0; 8])), Some(libc::EAGAIN));
    assert_eq!(errno(other.write(b"x")), Some(libc::EBADF));
    let flags = rustix::fs::fcntl_getfl(&other).unwrap();
    assert_eq!(flags & (OFlags::ACCMODE | OFlags::NONBLOCK), OFlags::RDONLY | OFlags::NONBLOCK);
    assert_eq!(rustix::io::fcntl_getfd(&other).unwrap(), FdFlags::CLOEXEC);
    // What is no memory may be as long as a page.
    daemon.note("a", &"x".repeat(PAGE));
    assert_eq!(read(duplicate(&daemon.open("a"), b"again").unwrap()).len(), PAGE);
}

#[test]
fn errors_of_a_dup_are_the_daemons() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let failure = |file: &File, argument: &[u8]| duplicate(file, argument).map(drop);
    let file = daemon.open("wait");
    assert_eq!(failure(&file, b"unknown"), Err(libc::EINVAL));
    assert_eq!(failure(&file, notes::ELSEWHERE.as_bytes()), Err(libc::EIO), "a descriptor cannot be passed");
    assert_eq!(failure(&file, &[b'x'; 999]), Err(libc::EINVAL), "the daemon is asked");
    assert_eq!(failure(&file, &[b'x'; 1000]), Err(libc::EINVAL), "more than the host takes");
    assert_eq!(failure(&File::open(daemon.directory()).unwrap(), b"again"), Err(libc::EISDIR));
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert_eq!(dup(number_of(&pipe), b"again").map_err(libredox::error::Error::errno), Err(libc::ENOTTY));
    let closed = dup(1_000_000, b"again").map_err(libredox::error::Error::errno);
    assert_eq!(closed, Err(libc::EBADF));
}

#[test]
fn a_signal_interrupts_a_dup() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    catch_sigusr1();
    let file = daemon.open("wait");
    let (tell, told) = channel();
    let waiting = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        duplicate(&file, b"never").map(drop)
    });
    let thread = told.recv().unwrap();
    until_sleeping(&format!("/proc/self/task/{thread}"), libc::SYS_ioctl);
    signal_thread(thread);
    assert_eq!(waiting.join().unwrap(), Err(libc::EINTR));
}

#[test]
fn a_handle_waits_under_a_name_that_is_used_once() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    daemon.note("a", "text");
    let file = daemon.open("a");
    let [path, other] = [(); 2].map(|()| offered(&file, b"again"));
    assert_ne!(path, other);
    assert_eq!(path.parent(), Some(&*daemon.directory()));
    assert_eq!(daemon.stdout("ls -A"), "a\npage\npage-value\nwait\nwho\n");
    assert_eq!(fs::metadata(&path).unwrap().len(), 4, "looking does not use it up");
    assert_eq!(read(open(&path).unwrap()), "text");
    assert_eq!(errno(open(&path)), Some(libc::ENOENT));
    assert_eq!(errno(fs::metadata(&path)), Some(libc::ENOENT));
    assert_eq!(read(open(&other).unwrap()), "text");
    let unknown = daemon.path(".dup-00000000000000000000000000000000");
    assert_eq!(errno(open(&unknown)), Some(libc::ENOENT));
    let late = offered(&file, b"again");
    drop(file);
    until(|| errno(open(&late)) == Some(libc::ENOENT));
}

const WHO: &str = "NOTES_WHO";

#[test]
#[ignore = "the other user of the_daemon_knows_who_duplicates"]
fn say_who_duplicates() {
    let Some(path) = std::env::var_os(WHO) else { return };
    let who = read(duplicate(&File::open(path).unwrap(), b"who").unwrap());
    assert_eq!(who, format!("{} {NOBODY} {NOBODY}", std::process::id()));
}

/// This program again, to run an ignored test.
fn again(command: &mut Command, name: &str) {
    command.args(["--exact", name, "--ignored", "--nocapture"]);
}

#[test]
fn the_daemon_knows_who_duplicates() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (uid, gid) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let wait = daemon.open("wait");
    let who = std::thread::spawn(move || read(duplicate(&wait, b"who").unwrap())).join().unwrap();
    assert_eq!(who, format!("{} {uid} {gid}", std::process::id()), "threads are their process");
    let Some(mut nobody) = as_nobody() else { return };
    nobody.arg(std::env::current_exe().unwrap()).env(WHO, daemon.path("wait"));
    again(&mut nobody, "say_who_duplicates");
    let output = nobody.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

const ABANDON: &str = "NOTES_ABANDON";

#[test]
#[ignore = "the killed process of handles_of_the_killed_are_closed"]
fn abandon_a_dup() {
    let Some(path) = std::env::var_os(ABANDON) else { return };
    let file = open(Path::new(&path)).unwrap();
    offered(&file, b"again");
    offered(&file, b"page");
    println!("\nready");
    loop {
        std::thread::park();
    }
}

#[test]
fn handles_of_the_killed_are_closed() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let wait = daemon.open("wait");
    let process = daemon.process.pid().to_string();
    let (before, opened) = (handles(&wait), descriptors(&process).len());
    let mut command = Command::new(std::env::current_exe().unwrap());
    again(&mut command, "abandon_a_dup");
    command.env(ABANDON, daemon.path("wait")).stdout(Stdio::piped());
    let mut killed = Process(command.spawn().unwrap());
    let mut lines = BufReader::new(killed.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    until_pages(&wait, usize::from(passes_through()));
    // The file of the killed, and what it made from it.
    assert_eq!(handles(&wait), before + 2 + pages(&wait));
    killed.signal(Signal::KILL);
    killed.wait();
    until(|| handles(&wait) == before);
    assert_eq!((pages(&wait), descriptors(&process).len()), (0, opened));
}

#[test]
fn few_handles_wait_at_one_description() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (wait, other) = (daemon.open("wait"), daemon.open("wait"));
    let before = handles(&other);
    let paths = (0..100).map(|_| offered(&wait, b"again")).collect::<Vec<_>>();
    assert_eq!(handles(&other), before + 64);
    assert_eq!(errno(open(&paths[35])), Some(libc::ENOENT));
    let taken = paths[36..].iter().map(|path| open(path).unwrap()).collect::<Vec<_>>();
    assert_eq!(handles(&other), before + 64);
    let kept = duplicate(&wait, b"again").unwrap();
    offered(&wait, b"again");
    drop((wait, taken));
    until(|| handles(&other) == before);
    drop(kept);
    until(|| handles(&other) == before - 1);
}

#[test]
fn memory_is_the_daemons_own() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    // The page may be open by its path as well, as another inode. That can be a copy.
    let by_path = map_word(&daemon.open("page"));
    let [first, second] = [(); 2].map(|()| {
        let page = map_duplicate(&file);
        // SAFETY: it is never unmapped.
        unsafe { word(page) }
    });
    first.store(5, Ordering::SeqCst);
    assert_eq!(call(&file, &[notes::ADD_TO_PAGE, 10]), 5);
    assert_eq!(second.fetch_add(100, Ordering::SeqCst), 15);
    if passes_through() {
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
    assert_eq!(call(&file, &[notes::ADD_TO_PAGE, 0]), 11_115);
}

#[test]
fn memory_that_cannot_be_shared_is_refused() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    // Its file is that of the other half as well.
    assert_eq!(duplicate(&file, b"half").map(drop), Err(libc::EOPNOTSUPP));
    until_pages(&file, 0);
}

#[test]
fn memory_keeps_its_size() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let page = duplicate(&file, b"page").unwrap();
    let refused = Some(if passes_through() { libc::EINVAL } else { libc::EPERM });
    for len in [0, 1, 2 * PAGE as u64] {
        assert_eq!(errno(page.set_len(len)), refused, "{len}");
    }
    assert_eq!(call(&file, &[notes::ADD_TO_PAGE, 1]), 0, "the daemon has its page");
}

const STRANGER: &str = "NOTES_STRANGER";

#[test]
#[ignore = "the other process of who_may_not_look_into_the_daemon_needs_its_mount"]
fn duplicate_as_stranger() {
    let Some(path) = std::env::var_os(STRANGER) else { return };
    let file = open(Path::new(&path)).unwrap();
    assert!(duplicate(&file, b"again").is_ok());
    println!("\npage {:?}", duplicate(&file, b"page").map(drop));
    until_pages(&file, 0);
}

/// As those of other users, processes in a user namespace of their own may not.
#[test]
fn who_may_not_look_into_the_daemon_needs_its_mount() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let stranger = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--"]);
        command
    };
    if !stranger().arg("true").status().is_ok_and(|status| status.success()) {
        return skip("there are no user namespaces");
    }
    let mut duplicate = stranger();
    duplicate.arg(std::env::current_exe().unwrap()).env(STRANGER, daemon.path("wait"));
    again(&mut duplicate, "duplicate_as_stranger");
    let output = duplicate.output().unwrap();
    let expected = if passes_through() { Ok(()) } else { Err(libc::EOPNOTSUPP) };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(&format!("\npage {expected:?}\n")), "{output:?}");
}

#[test]
fn what_users_can_duplicate() {
    let _watchdog = within(240);
    repeat_as_user(&[
        "a_dup_with_an_argument_is_another_handle",
        "a_handle_waits_under_a_name_that_is_used_once",
        "a_mapping_needs_no_descriptor",
        "a_mapping_outlives_the_daemon",
        "children_share_a_mapping",
        "errors_of_a_dup_are_the_daemons",
        "few_handles_wait_at_one_description",
        "handles_of_the_killed_are_closed",
        "memory_is_the_daemons_own",
        "memory_keeps_its_size",
        "memory_that_cannot_be_shared_is_refused",
        "who_may_not_look_into_the_daemon_needs_its_mount",
    ]);
}

#[test]
fn a_mapping_needs_no_descriptor() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let process = daemon.process.pid().to_string();
    let opened = descriptors(&process).len();
    let mapped = (0..50).map(|_| map_duplicate(&file)).collect::<Vec<_>>();
    assert_eq!(descriptors_of(&daemon), 1);
    until_pages(&file, 0);
    assert_eq!(descriptors(&process).len(), opened, "nor does the daemon keep any");
    for page in &mapped {
        // SAFETY: it is unmapped below.
        unsafe { word(*page) }.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(fs::read_to_string(daemon.path("page-value")).unwrap(), "50", "the daemon heard of the closes long ago");
    for page in mapped {
        // SAFETY: nobody uses it any more.
        unsafe { munmap(page, PAGE) }.unwrap();
    }
    // A mapping of a file that was opened by its path keeps that open.
    let page = map(&daemon.open("page"));
    assert_eq!((descriptors_of(&daemon), pages(&file)), (2, 1));
    // SAFETY: as above.
    unsafe { munmap(page, PAGE) }.unwrap();
    until_pages(&file, 0);
    assert_eq!(descriptors_of(&daemon), 1);
}

#[test]
fn a_mapping_outlives_the_daemon() {
    let _watchdog = within(60);
    let Some(mut daemon) = Daemon::start() else { return };
    // SAFETY: it is never unmapped.
    let word = unsafe { word(map_duplicate(&daemon.open("wait"))) };
    word.store(7, Ordering::SeqCst);
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.wait().code(), Some(0));
    assert_eq!(word.fetch_add(1, Ordering::SeqCst), 7);
    assert!(!daemon.root.is_mounted());
}

#[test]
fn children_share_a_mapping() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    // SAFETY: it is never unmapped.
    let word = unsafe { word(map_duplicate(&file)) };
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
    assert_eq!(call(&file, &[notes::ADD_TO_PAGE, 0]), 11);
}

#[test]
fn who_does_not_see_the_mount_is_refused() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    if !geteuid().is_root() {
        return skip("only root can hide a mount");
    }
    let file = daemon.open("wait");
    rustix::mount::unmount(daemon.directory(), UnmountFlags::DETACH).unwrap();
    assert_eq!(call(&file, &[3]), 3, "the file works");
    assert_eq!(duplicate(&file, b"again").map(drop), Err(libc::EOPNOTSUPP));
}
