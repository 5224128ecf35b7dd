//! The host as programs see it: `examples/notes.rs` as a daemon of its own, mounted below a private SCHEME_ROOT.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod mounted;
#[allow(dead_code, reason = "the example serves it")]
mod notes;
mod support;

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use event::{EventFlags as QueueFlags, EventQueue};
use libredox::call::{call_rw, call_wo};
use mounted::{
    Daemon, Directory, NOBODY, PAGE, Process, as_nobody, catch_sigusr1, daemon_command, errno, map_word,
    repeat_as_user, serve, signal_thread, skip, start_other_daemon, until_sleeping, unusable,
};
use redox_scheme::scheme::{Op, SchemeState, SchemeSync, register_scheme_inner, register_sync_scheme};
use redox_scheme::{Request, RequestKind, Response, SignalBehavior, Socket};
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::mm::MsyncFlags;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, geteuid};
use scheme_host as _;
use support::within;
use syscall::CallFlags;
use syscall::error::{EAGAIN, ECANCELED, EINVAL, ENOENT, ENOSYS, ENOTTY, Error};

const NOW: Option<&Timespec> = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });

/// Starts a daemon that cannot serve; returns what it says.
fn refused(root: &Directory) -> String {
    let output = daemon_command(&root.0).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Waits until the process or thread with this directory in /proc sleeps in read(2).
fn until_reading(proc: &str) {
    until_sleeping(proc, libc::SYS_read);
}

/// Starts `cat wait` and waits until it is blocked.
fn blocked_cat(daemon: &Daemon) -> Process {
    let cat = Process(Command::new("cat").arg(daemon.path("wait")).stdout(Stdio::null()).spawn().unwrap());
    until_reading(&format!("/proc/{}", cat.0.id()));
    cat
}

/// A thread that reads once, and how to reach it.
struct Reader {
    thread: JoinHandle<Result<Vec<u8>, i32>>,
    tid: Pid,
}

impl Reader {
    /// Returns as soon as the thread is blocked.
    fn blocked(file: File) -> Self {
        let reader = Self::start(file);
        until_reading(&format!("/proc/self/task/{}", reader.tid));
        reader
    }

    fn start(mut file: File) -> Self {
        let (tell, told) = channel();
        let read = move || {
            tell.send(rustix::thread::gettid()).unwrap();
            let mut bytes = [0; 100];
            match file.read(&mut bytes) {
                Ok(len) => Ok(bytes[..len].to_vec()),
                Err(error) => Err(error.raw_os_error().unwrap()),
            }
        };
        let name = std::thread::current().name().unwrap_or("reader").to_owned();
        let thread = std::thread::Builder::new().name(name).stack_size(64 * 1024).spawn(read).unwrap();
        Self { tid: told.recv().unwrap(), thread }
    }

    fn signal(&self) {
        signal_thread(self.tid);
    }

    fn join(self) -> Result<Vec<u8>, i32> {
        self.thread.join().unwrap()
    }
}

fn set_nonblocking(file: &File) {
    rustix::fs::fcntl_setfl(file, rustix::fs::fcntl_getfl(file).unwrap() | OFlags::NONBLOCK).unwrap();
}

#[test]
fn a_shell_writes_reads_lists_and_removes_notes() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    assert_eq!(daemon.stdout("ls"), "page\npage-value\nwait\nwho\n");
    assert_eq!(daemon.stdout("echo one > a; echo two >> a; cat a"), "one\ntwo\n");
    assert_eq!(daemon.stdout("printf x > b; ls"), "a\nb\npage\npage-value\nwait\nwho\n");
    assert_eq!(daemon.stdout("dd if=a bs=1 skip=4 count=3 2>/dev/null"), "two");
    assert_eq!(daemon.stdout("cp a c; cmp a c && mv c d; cat d"), "one\ntwo\n");
    assert_eq!(daemon.stdout("rm a b d; ls"), "page\npage-value\nwait\nwho\n");
    assert_eq!(daemon.stdout("cat page-value"), "0");
}

#[test]
fn a_large_note_survives() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    // More than one write of FUSE, and no whole number of pages.
    let text = (0..300_001_u32).map(|index| index.to_le_bytes()[0]).collect::<Vec<_>>();
    fs::write(daemon.path("large"), &text).unwrap();
    assert!(fs::read(daemon.path("large")).unwrap() == text);
    assert_eq!(fs::metadata(daemon.path("large")).unwrap().len(), 300_001);
}

#[test]
fn a_directory_with_many_notes_is_listed_completely() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let names = (0..300).map(|index| format!("a-note-with-a-rather-long-name-{index}")).collect::<BTreeSet<_>>();
    for name in &names {
        daemon.note(name, "");
    }
    let found =
        fs::read_dir(daemon.directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found = found.filter(|name| name.starts_with("a-note")).collect::<Vec<_>>();
    assert_eq!(found.len(), names.len(), "none twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names);
}

#[test]
fn attributes_are_the_daemons() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let note = daemon.note("a", "text");
    let metadata = fs::metadata(&note).unwrap();
    assert_eq!((metadata.len(), metadata.ino(), metadata.nlink()), (4, 10, 1));
    assert!(metadata.is_file());
    assert_eq!(fs::metadata(daemon.path("wait")).unwrap().ino(), 4);
    assert!(fs::metadata(daemon.directory()).unwrap().is_dir());
    fs::set_permissions(&note, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&note).unwrap().mode() & 0o7777, 0o600);
    daemon.stdout("chmod 644 a");
    assert_eq!(fs::metadata(&note).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(errno(fs::set_permissions(daemon.path("wait"), fs::Permissions::from_mode(0o0))), Some(libc::EPERM));
}

#[test]
fn notes_are_truncated() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let note = daemon.note("a", "some text");
    daemon.stdout("truncate -s 4 a");
    assert_eq!(fs::read_to_string(&note).unwrap(), "some");
    let file = daemon.open("a");
    file.set_len(6).unwrap();
    assert_eq!(fs::read(&note).unwrap(), b"some\0\0");
    daemon.stdout(": > a");
    assert_eq!(fs::metadata(&note).unwrap().len(), 0);
    assert_eq!(file.metadata().unwrap().len(), 0, "also for who has it open");
}

#[test]
fn errors_are_the_daemons() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    assert_eq!(errno(File::open(daemon.path("missing"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::remove_file(daemon.path("missing"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::remove_file(daemon.path("wait"))), Some(libc::EPERM));
    assert_eq!(errno(fs::create_dir(daemon.path("directory"))), Some(libc::EPERM));
    let note = daemon.note("a", "");
    assert_eq!(errno(OpenOptions::new().write(true).create_new(true).open(&note)), Some(libc::EEXIST));
    assert!(OpenOptions::new().write(true).create_new(true).open(daemon.path("b")).is_ok());
    assert_eq!(errno(File::open(daemon.path("a/b"))), Some(libc::ENOTDIR));
    assert_eq!(errno(File::open(daemon.path(notes::ELSEWHERE))), Some(libc::EIO), "a descriptor cannot be passed");
    assert_eq!(errno(fs::read_dir(&note)), Some(libc::ENOTDIR));
    assert_eq!(errno(fs::rename(&note, daemon.path("page"))), Some(libc::EPERM));
    assert_eq!(errno(fs::rename(daemon.path("missing"), &note)), Some(libc::ENOENT));
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let exchanged = rustix::fs::renameat_with(rustix::fs::CWD, &note, rustix::fs::CWD, daemon.path("b"), exchange);
    assert_eq!(exchanged, Err(rustix::io::Errno::INVAL), "flags are unknown here");
}

#[test]
fn a_renamed_note_is_the_same() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (old, new) = (daemon.note("old", "text"), daemon.note("new", "to be replaced"));
    let mut file = daemon.open("old");
    let inode = fs::metadata(&old).unwrap().ino();
    let place = rustix::fs::open(&old, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(errno(fs::metadata(&old)), Some(libc::ENOENT));
    assert_eq!(fs::read_to_string(&new).unwrap(), "text");
    assert_eq!(fs::metadata(&new).unwrap().ino(), inode);
    file.write_all(b"TE").unwrap();
    assert_eq!(fs::read_to_string(&new).unwrap(), "TExt");
    drop(file);
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    let stat = rustix::fs::fstat(&place).unwrap();
    assert_eq!((stat.st_ino, stat.st_mode & 0o7777), (inode, 0o600), "by whatever way it was found");
    daemon.note("old", "another");
    assert_ne!(fs::metadata(&old).unwrap().ino(), inode);
}

#[test]
fn several_changes_at_once_are_all_made() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let note = daemon.note("a", "text");
    let change_owner = |uid, mode| {
        fs::set_permissions(&note, fs::Permissions::from_mode(0o4755)).unwrap();
        // Linux takes the set-user-id bit away in the same request.
        let changed = errno(chown(&note, Some(uid), Some(70)));
        let metadata = fs::metadata(&note).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode);
        (changed, metadata.uid(), metadata.gid())
    };
    assert_eq!(change_owner(69, 0o755), (None, 69, 70));
    assert_eq!(change_owner(notes::REFUSED_OWNER, 0o755), (Some(libc::EPERM), 69, 70), "the first error is told");
    let file = daemon.open("a");
    assert_eq!(errno(std::os::unix::fs::fchown(&file, None, Some(71))), None);
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (69, 71), "who is not named stays");
}

#[test]
fn times_are_given_or_left_or_now() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let note = daemon.note("a", "text");
    let times = || {
        let metadata = fs::metadata(&note).unwrap();
        (metadata.atime(), metadata.mtime())
    };
    let now = notes::NOW.tv_sec;
    daemon.stdout("touch -d @1000 a");
    assert_eq!(times(), (1000, 1000));
    daemon.stdout("touch -a -d @2000 a");
    assert_eq!(times(), (2000, 1000));
    daemon.stdout("touch -m -d @3000 a");
    assert_eq!(times(), (2000, 3000));
    daemon.stdout("touch -m a");
    assert_eq!(times(), (2000, now));
    daemon.stdout("touch a");
    assert_eq!(times(), (now, now));
}

#[test]
fn a_removed_note_lives_while_it_is_open() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let path = daemon.note("a", "old");
    let mut old = daemon.open("a");
    fs::remove_file(&path).unwrap();
    daemon.note("a", "newer");
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!((old.metadata().unwrap().len(), fs::metadata(&path).unwrap().len()), (3, 5));
}

#[test]
fn a_removed_note_has_attributes_while_one_of_its_descriptions_is_left() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let path = daemon.note("a", "old");
    let (first, second) = (daemon.open("a"), daemon.open("a"));
    fs::remove_file(&path).unwrap();
    daemon.note("a", "newer");
    drop(second);
    // The daemon hears of the close before it hears of anything that comes later, but not at once.
    for _ in 0..20 {
        assert_eq!(first.metadata().unwrap().len(), 3);
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 5);
}

#[test]
fn a_note_of_a_whole_page_is_no_memory() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let path = daemon.note("a", &"x".repeat(PAGE));
    assert_eq!(fs::read(&path).unwrap().len(), PAGE);
    daemon.stdout("printf end >> a");
    assert_eq!(fs::metadata(&path).unwrap().len(), PAGE as u64 + 3);
    assert!(fs::read_to_string(&path).unwrap().ends_with("xend"));
}

#[test]
fn the_daemon_knows_the_calling_process_and_its_user() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (uid, gid) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let who = daemon.path("who");
    let said = std::thread::spawn(move || fs::read_to_string(who).unwrap()).join().unwrap();
    assert_eq!(said, format!("{} {uid} {gid}", std::process::id()), "threads are their process");
    let mut cat = Process(Command::new("cat").arg(daemon.path("who")).stdout(Stdio::piped()).spawn().unwrap());
    let (pid, mut said) = (cat.0.id(), String::new());
    cat.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, format!("{pid} {uid} {gid}"));
    let Some(mut nobody) = as_nobody() else { return };
    let said = String::from_utf8(nobody.arg("cat").arg(daemon.path("who")).output().unwrap().stdout).unwrap();
    assert!(said.ends_with(&format!(" {NOBODY} {NOBODY}")), "{said}");
}

#[test]
fn a_description_is_shared_with_children() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut file = &File::create(daemon.path("a")).unwrap();
    file.write_all(b"parent ").unwrap();
    let child = |text: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("printf '{text} '")]).stdout(Stdio::from(file.try_clone().unwrap()));
        assert!(command.status().unwrap().success());
    };
    child("child");
    child("another");
    file.write_all(b"parent").unwrap();
    assert_eq!(fs::read_to_string(daemon.path("a")).unwrap(), "parent child another parent");
    file.seek(SeekFrom::Start(7)).unwrap();
    child("CHILD");
    assert_eq!(fs::read_to_string(daemon.path("a")).unwrap(), "parent CHILD another parent");
}

#[test]
fn nonblock_is_set_and_shared_by_fcntl() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut file = daemon.open("wait");
    set_nonblocking(&file);
    assert_eq!(errno(file.read(&mut [0; 8])), Some(libc::EAGAIN));
    let cat = Command::new("cat").stdin(Stdio::from(file.try_clone().unwrap())).output().unwrap();
    assert!(String::from_utf8_lossy(&cat.stderr).contains("temporarily unavailable"), "{cat:?}");
    let reader = Reader::blocked(daemon.open("wait"));
    file.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), b"x", "another description still blocks");
    let mut opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(daemon.path("wait")).unwrap();
    assert_eq!(errno(opened.read(&mut [0; 8])), Some(libc::EAGAIN));
}

#[test]
fn a_write_through_the_same_description_wakes_a_blocked_read() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut file = daemon.open("wait");
    let reader = Reader::blocked(file.try_clone().unwrap());
    file.write_all(b"hello").unwrap();
    assert_eq!(reader.join().unwrap(), b"hello");
}

#[test]
fn poll_waits_for_a_message() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    let both = PollFlags::IN | PollFlags::OUT;
    let mut polled = [PollFd::new(&file, both)];
    assert_eq!(poll(&mut polled, NOW), Ok(1));
    assert_eq!(polled[0].revents(), PollFlags::OUT);
    let mut readable = [PollFd::new(&file, PollFlags::IN)];
    assert_eq!(poll(&mut readable, NOW), Ok(0));
    let writer = daemon.path("wait");
    let writer = std::thread::spawn(move || fs::write(writer, "hello").unwrap());
    assert_eq!(poll(&mut readable, None), Ok(1));
    assert_eq!(readable[0].revents(), PollFlags::IN);
    writer.join().unwrap();
    assert_eq!((&file).read(&mut [0; 8]).unwrap(), 5);
    assert_eq!(poll(&mut readable, NOW), Ok(0));
}

fn epoll_on(file: &File, flags: epoll::EventFlags) -> OwnedFd {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&queue, file, epoll::EventData::new_u64(1), flags).unwrap();
    queue
}

fn epoll_events(queue: &OwnedFd, timeout: Option<&Timespec>) -> usize {
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
    epoll::wait(queue, &mut events[..], timeout).unwrap()
}

#[test]
fn epoll_is_level_triggered_or_edge_triggered() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut file = daemon.open("wait");
    let level = epoll_on(&file, epoll::EventFlags::IN);
    let edge = epoll_on(&file, epoll::EventFlags::IN | epoll::EventFlags::ET);
    assert_eq!((epoll_events(&level, NOW), epoll_events(&edge, NOW)), (0, 0));
    for _ in 0..3 {
        let path = daemon.path("wait");
        let writer = std::thread::spawn(move || fs::write(path, "hello").unwrap());
        assert_eq!((epoll_events(&level, None), epoll_events(&edge, None)), (1, 1));
        writer.join().unwrap();
        assert_eq!(epoll_events(&level, NOW), 1, "still readable");
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 5);
        assert_eq!(epoll_events(&level, NOW), 0);
    }
}

#[test]
fn a_signal_interrupts_a_blocked_read() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    catch_sigusr1();
    let reader = Reader::blocked(daemon.open("wait"));
    reader.signal();
    assert_eq!(reader.join(), Err(libc::EINTR));
    let mut file = daemon.open("wait");
    file.write_all(b"kept").unwrap();
    assert_eq!(Reader::start(file).join().unwrap(), b"kept", "the interrupted read takes no message");
}

/// Reads messages until one says that it is the last; returns the others.
fn read_all(mut file: File) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let mut bytes = [0; 100];
        match file.read(&mut bytes) {
            Ok(len) if bytes[..len] == *b"last" => return messages,
            Ok(len) => messages.push(String::from_utf8_lossy(&bytes[..len]).into_owned()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINTR)),
        }
    }
}

#[test]
fn signals_at_any_moment_lose_and_double_no_message() {
    let _watchdog = within(120);
    let Some(daemon) = Daemon::start() else { return };
    catch_sigusr1();
    let (tell, told) = channel();
    let readers = [(); 4].map(|()| {
        let (file, tell) = (daemon.open("wait"), tell.clone());
        std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            read_all(file)
        })
    });
    let tids = [(); 4].map(|()| told.recv().unwrap());
    let mut file = daemon.open("wait");
    for index in 0..1000 {
        signal_thread(tids[index % tids.len()]);
        file.write_all(index.to_string().as_bytes()).unwrap();
    }
    for _ in &readers {
        file.write_all(b"last").unwrap();
    }
    let messages = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>();
    assert_eq!(messages.len(), 1000);
    assert_eq!(messages.into_iter().collect::<BTreeSet<_>>().len(), 1000);
}

#[test]
fn a_killed_reader_takes_no_message() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut cat = blocked_cat(&daemon);
    cat.signal(Signal::KILL);
    assert_eq!(cat.wait().signal(), Some(libc::SIGKILL));
    fs::write(daemon.path("wait"), "kept").unwrap();
    assert_eq!(Reader::start(daemon.open("wait")).join().unwrap(), b"kept");
}

#[test]
fn hundreds_of_readers_block_and_each_gets_one_message() {
    let _watchdog = within(120);
    let Some(daemon) = Daemon::start() else { return };
    let readers = (0..300).map(|_| Reader::start(daemon.open("wait"))).collect::<Vec<_>>();
    for reader in &readers {
        until_reading(&format!("/proc/self/task/{}", reader.tid));
    }
    let mut file = daemon.open("wait");
    for index in 0..readers.len() {
        file.write_all(format!("message {index}").as_bytes()).unwrap();
    }
    let messages = readers.into_iter().map(|reader| reader.join().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(messages.len(), 300);
}

/// Makes a change of the page known to the daemon where it does not share the very memory.
fn synchronize(word: &AtomicU64) {
    if !geteuid().is_root() {
        // SAFETY: the word is the start of a mapping of this length.
        unsafe { rustix::mm::msync(word.as_ptr().cast(), PAGE, MsyncFlags::SYNC) }.unwrap();
    }
}

const PAGE_VARIABLE: &str = "NOTES_PAGE";

#[test]
#[ignore = "the other process of two_processes_and_the_daemon_share_a_page"]
fn add_ten_to_the_page() {
    let Some(path) = std::env::var_os(PAGE_VARIABLE) else { return };
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let word = map_word(&file);
    assert_eq!(word.fetch_add(10, Ordering::SeqCst), 5);
    synchronize(word);
}

#[test]
fn two_processes_and_the_daemon_share_a_page() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("page");
    let word = map_word(&file);
    word.store(5, Ordering::SeqCst);
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "add_ten_to_the_page", "--ignored"]).env(PAGE_VARIABLE, daemon.path("page"));
    let other = other.output().unwrap();
    assert!(other.status.success(), "{other:?}");
    assert_eq!(word.load(Ordering::SeqCst), 15);
    synchronize(word);
    assert_eq!(fs::read_to_string(daemon.path("page-value")).unwrap(), "15");
    drop(file);
    word.store(16, Ordering::SeqCst);
    synchronize(word);
    assert_eq!(fs::read_to_string(daemon.path("page-value")).unwrap(), "16", "the mapping outlives the descriptor");
    let mut again = daemon.open("page");
    let mut bytes = [0; 8];
    again.read_exact(&mut bytes).unwrap();
    assert_eq!(u64::from_ne_bytes(bytes), 16);
}

#[test]
fn a_killed_daemon_leaves_errors_and_a_new_one_takes_its_place() {
    let _watchdog = within(60);
    let Some(mut daemon) = Daemon::start() else { return };
    let readers = [(); 3].map(|()| Reader::blocked(daemon.open("wait")));
    let mut file = daemon.open("wait");
    daemon.process.signal(Signal::KILL);
    daemon.process.wait();
    for reader in readers {
        assert_eq!(reader.join(), Err(libc::ECONNABORTED));
    }
    assert_eq!(errno(file.write(b"x")), Some(libc::ENOTCONN));
    assert_eq!(errno(File::open(daemon.path("wait"))), Some(libc::ENOTCONN));
    daemon.process = serve(&daemon.root);
    daemon.note("a", "new");
    assert_eq!(fs::read_to_string(daemon.path("a")).unwrap(), "new");
    assert_eq!(errno(file.write(b"x")), Some(libc::ENOTCONN), "the old descriptor stays dead");
}

#[test]
fn sigterm_ends_everything_in_order() {
    let _watchdog = within(60);
    for signal in [Signal::TERM, Signal::INT] {
        let Some(mut daemon) = Daemon::start() else { return };
        let readers = [(); 3].map(|()| Reader::blocked(daemon.open("wait")));
        daemon.process.signal(signal);
        assert_eq!(daemon.process.wait().code(), Some(0));
        for reader in readers {
            assert_eq!(reader.join(), Err(libc::ENODEV));
        }
        assert!(!daemon.root.is_mounted());
        assert!(!daemon.directory().exists());
        daemon.process = serve(&daemon.root);
    }
}

/// Writes and reads until the scheme ends.
fn busy(path: PathBuf) -> (JoinHandle<()>, Receiver<()>) {
    let (tell, told) = channel();
    let work = move || {
        let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        while file.write(b"x").is_ok() && file.read(&mut [0; 8]).is_ok() {
            // Only the first message is read.
            let _ = tell.send(());
        }
    };
    (std::thread::spawn(work), told)
}

#[test]
fn sigterm_at_work_ends_with_success_too() {
    let _watchdog = within(120);
    for _ in 0..20 {
        let Some(mut daemon) = Daemon::start() else { return };
        let workers = [(); 2].map(|()| busy(daemon.path("wait")));
        for (_, working) in &workers {
            working.recv().unwrap();
        }
        daemon.process.signal(Signal::TERM);
        assert_eq!(daemon.process.wait().code(), Some(0));
        for (worker, _) in workers {
            worker.join().unwrap();
        }
    }
}

const BAD_DAEMON: &str = "NOTES_BAD_DAEMON";

/// A daemon that watches its socket before that has a name, and sends a bad message after each answer.
#[test]
#[ignore = "the daemon of a_bad_answer_does_not_put_the_daemon_to_sleep"]
fn serve_badly() {
    if std::env::var_os(BAD_DAEMON).is_none() {
        return;
    }
    let socket = Socket::nonblock().unwrap();
    let mut notes = notes::Notes::new().unwrap();
    let queue = EventQueue::<usize>::new().unwrap();
    queue.subscribe(socket.inner().raw(), 0, QueueFlags::READ).unwrap();
    register_sync_scheme(&socket, notes::NAME, &mut notes).unwrap();
    println!("\nready");
    let mut state = SchemeState::new();
    let mut requests = Vec::with_capacity(16);
    loop {
        match queue.next_event() {
            Err(error) if error.is_interrupt() => continue,
            event => event.unwrap(),
        };
        match socket.read_requests(&mut requests, SignalBehavior::Interrupt) {
            Err(Error { errno: EAGAIN }) => continue,
            read => read.unwrap(),
        }
        if requests.is_empty() {
            // Nobody reads what the test harness would say.
            std::process::exit(0);
        }
        let answers = requests.drain(..).filter_map(|request: Request| match request.kind() {
            RequestKind::Call(call) => Some(call.handle_sync(&mut notes, &mut state)),
            RequestKind::OnClose { id } => {
                notes.on_close(id);
                None
            }
            _ => None,
        });
        // There is no event with all these bits.
        let mut answers =
            answers.flat_map(|answer| [answer, Response::post_fevent(0, 0xffff)]).collect::<VecDeque<_>>();
        while !answers.is_empty() {
            if socket.write_responses(&mut answers, SignalBehavior::Restart).is_err() {
                answers.pop_front();
            }
        }
    }
}

const IDLE_DAEMON: &str = "NOTES_IDLE_DAEMON";

/// A daemon that reads no requests.
#[test]
#[ignore = "the daemon of sigterm_answers_what_the_daemon_has_not_read"]
fn serve_nothing() {
    if std::env::var_os(IDLE_DAEMON).is_none() {
        return;
    }
    let socket = Socket::create().unwrap();
    register_scheme_inner(&socket, notes::NAME, 1).unwrap();
    println!("\nready");
    loop {
        std::thread::park();
    }
}

#[test]
fn sigterm_answers_what_the_daemon_has_not_read() {
    let _watchdog = within(60);
    if let Some(reason) = unusable() {
        return skip(&reason);
    }
    let daemon = start_other_daemon("serve_nothing", IDLE_DAEMON);
    let (thread, looking) = look_at(daemon.path("a"));
    until_sleeping(&format!("/proc/self/task/{thread}"), libc::SYS_statx);
    daemon.process.signal(Signal::TERM);
    assert_eq!(looking.join().unwrap(), Err(rustix::io::Errno::NODEV));
}

/// A thread that looks a path up.
fn look_at(path: PathBuf) -> (Pid, JoinHandle<rustix::io::Result<()>>) {
    let (tell, told) = channel();
    let looking = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        rustix::fs::statx(rustix::fs::CWD, &path, AtFlags::empty(), StatxFlags::BASIC_STATS).map(drop)
    });
    (told.recv().unwrap(), looking)
}

const SLOW_DAEMON: &str = "NOTES_SLOW_DAEMON";

/// A daemon that opens `slow` when it is to cancel that, and never tells its attributes unless it is to cancel that too.
#[test]
#[ignore = "the daemon of a_signal_during_one_step_cancels_the_next_as_well"]
fn serve_slowly() {
    if std::env::var_os(SLOW_DAEMON).is_none() {
        return;
    }
    let socket = Socket::create().unwrap();
    register_scheme_inner(&socket, notes::NAME, 1).unwrap();
    println!("\nready");
    let mut parked = None;
    while let Some(request) = socket.next_request(SignalBehavior::Restart).unwrap() {
        let answer = match request.kind() {
            RequestKind::Call(call) => match call.op().map_err(drop).unwrap() {
                Op::OpenAt(open) if open.path() != "slow" => Response::err(ENOENT, open),
                op => {
                    parked = Some(op);
                    continue;
                }
            },
            RequestKind::Cancellation(_) => match parked.take() {
                Some(op @ Op::OpenAt(_)) => Response::ok(2, op),
                Some(op) => Response::err(ECANCELED, op),
                None => continue,
            },
            _ => continue,
        };
        socket.write_response(answer, SignalBehavior::Restart).unwrap();
    }
    // Nobody reads what the test harness would say.
    std::process::exit(0);
}

#[test]
fn a_signal_during_one_step_cancels_the_next_as_well() {
    let _watchdog = within(60);
    if let Some(reason) = unusable() {
        return skip(&reason);
    }
    let daemon = start_other_daemon("serve_slowly", SLOW_DAEMON);
    catch_sigusr1();
    let (thread, looking) = look_at(daemon.path("slow"));
    until_sleeping(&format!("/proc/self/task/{thread}"), libc::SYS_statx);
    signal_thread(thread);
    assert_eq!(looking.join().unwrap(), Err(rustix::io::Errno::INTR));
}

#[test]
fn a_bad_answer_does_not_put_the_daemon_to_sleep() {
    let _watchdog = within(60);
    if let Some(reason) = unusable() {
        return skip(&reason);
    }
    let mut daemon = start_other_daemon("serve_badly", BAD_DAEMON);
    // A look-up takes three messages: the answer to the first leads to the next.
    daemon.note("a", "text");
    assert_eq!(fs::read_to_string(daemon.path("a")).unwrap(), "text");
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.wait().code(), Some(0));
}

#[test]
fn unmounting_from_outside_ends_the_daemon() {
    let _watchdog = within(60);
    let Some(mut daemon) = Daemon::start() else { return };
    let directory = daemon.directory();
    if geteuid().is_root() {
        rustix::mount::unmount(&directory, UnmountFlags::empty()).unwrap();
    } else {
        assert!(Command::new("fusermount3").args(["-u", "--"]).arg(&directory).status().unwrap().success());
    }
    assert_eq!(daemon.process.wait().code(), Some(0));
}

#[test]
fn a_name_that_is_mounted_is_refused() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let message = refused(&daemon.root);
    let expected = format!("cannot mount {}: something is mounted there already", daemon.directory().display());
    assert!(message.contains(&expected), "{message}");
    daemon.note("a", "the first one still serves");
}

#[test]
fn a_root_of_another_user_is_refused() {
    let _watchdog = within(60);
    if !geteuid().is_root() {
        return skip("only root can give directories away");
    }
    let root = Directory::new();
    chown(&root.0, Some(NOBODY), None).unwrap();
    let message = refused(&root);
    assert!(
        message.contains(&format!("belongs to user {NOBODY}; set SCHEME_ROOT to a directory of yours")),
        "{message}"
    );
    assert!(!root.is_mounted());
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let _watchdog = within(60);
    let parent = Directory::new();
    let root = Directory(parent.0.join("file"));
    fs::write(&root.0, "").unwrap();
    let message = refused(&root);
    assert!(message.contains(&format!("{} is no directory", root.0.display())), "{message}");
    fs::remove_file(&root.0).unwrap();
}

#[test]
fn a_user_who_may_not_use_fuse_is_told_so() {
    let _watchdog = within(60);
    let Some(mut command) = as_nobody() else { return };
    match fs::metadata("/dev/fuse") {
        Ok(device) if device.mode() & 0o006 == 0 => {}
        Ok(_) => return skip("here every user may use FUSE"),
        Err(error) => return skip(&format!("/dev/fuse: {error}")),
    }
    let root = Directory::new();
    chown(&root.0, Some(NOBODY), None).unwrap();
    let daemon = daemon_command(&root.0);
    command.arg(daemon.get_program()).env("SCHEME_ROOT", &root.0).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(&format!("cannot mount {}", root.0.join("notes").display())), "{message}");
    assert!(message.contains("/dev/fuse") && message.contains("Permission denied"), "{message}");
    assert_eq!(message.lines().count(), 1, "what fusermount3 says is part of it: {message}");
}

/// Tests that are repeated as a user.
const USER_TESTS: [&str; 8] = [
    "a_shell_writes_reads_lists_and_removes_notes",
    "attributes_are_the_daemons",
    "two_processes_and_the_daemon_share_a_page",
    "a_killed_daemon_leaves_errors_and_a_new_one_takes_its_place",
    "sigterm_ends_everything_in_order",
    "unmounting_from_outside_ends_the_daemon",
    "a_name_that_is_mounted_is_refused",
    "a_killed_reader_takes_no_message",
];

#[test]
fn a_user_mounts_through_fusermount() {
    let _watchdog = within(240);
    repeat_as_user(&USER_TESTS);
}

#[test]
fn calls_carry_metadata_and_a_payload() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let (file, directory) = (daemon.open("wait"), File::open(daemon.directory()).unwrap());
    for file in [&file, &directory] {
        let number = usize::try_from(file.as_raw_fd()).unwrap();
        let mut payload = *b"stressed";
        assert_eq!(call_rw(number, &mut payload, CallFlags::empty(), &[1, 20, 1 << 40]).unwrap(), 21 + (1 << 40));
        assert_eq!(&payload, b"desserts");
        assert_eq!(call_wo(number, &payload, CallFlags::empty(), &[5]).unwrap(), 5);
        assert_eq!(&payload, b"desserts", "it was not to be written to");
        assert_eq!(call_rw(number, &mut [], CallFlags::empty(), &[]).unwrap(), 0);
        for refused in [EAGAIN, ENOENT, ENOSYS, ENOTTY] {
            let result =
                call_rw(number, &mut payload, CallFlags::empty(), &[notes::REFUSE, refused.unsigned_abs().into()]);
            assert_eq!(result.map_err(libredox::error::Error::errno), Err(refused));
        }
        let mut long = vec![7; 16_000];
        long[0] = 8;
        assert_eq!(call_rw(number, &mut long, CallFlags::empty(), &[0]).unwrap(), 0);
        assert_eq!((long[0], long[15_999]), (7, 8));
        let result = call_rw(number, &mut vec![0; 16_384], CallFlags::empty(), &[0]);
        assert_eq!(result.map_err(libredox::error::Error::errno), Err(EINVAL), "more than an ioctl can carry");
    }
}

#[test]
fn other_ioctls_are_unknown() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let file = daemon.open("wait");
    for request in [libc::TIOCGWINSZ, 0xC008_E55B, 0xC008_E55C] {
        let mut argument = [0_u64; 16];
        // SAFETY: each argument has at most 8 bytes.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument.as_mut_ptr()) };
        assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOTTY)), "{request:x}");
    }
}

/// A message in as many pieces as the kernel lets one system call have in a FUSE request.
#[test]
fn readv_has_many_segments() {
    let _watchdog = within(60);
    let Some(daemon) = Daemon::start() else { return };
    let mut file = daemon.open("wait");
    let sent = (0..200).collect::<Vec<u8>>();
    file.write_all(&sent).unwrap();
    let mut received = vec![0; 200];
    let mut pieces = received.chunks_mut(1).map(std::io::IoSliceMut::new).collect::<Vec<_>>();
    assert_eq!(file.read_vectored(&mut pieces).unwrap(), 200);
    assert_eq!(received, sent);
}
