//! The daemon of `examples/notes.rs`, mounted below a SCHEME_ROOT of the test's own.
#![allow(missing_docs, unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, geteuid, kill_process};

pub(crate) const PAGE: usize = 4096;
pub(crate) const NOBODY: u32 = 65534;

/// A process that is killed when the test is over.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of this test alone.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("scheme-host-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.contains(&format!(" {} ", self.0.join("notes").display()))
    }
}

pub(crate) fn unmount(directory: &Path) {
    // An error means that somebody else was faster.
    if geteuid().is_root() {
        let _ = rustix::mount::unmount(directory, UnmountFlags::DETACH);
    } else {
        let _ = Command::new("fusermount3").args(["-u", "-z", "--"]).arg(directory).output();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let mount = self.0.join("notes");
        // Usually nothing is mounted any more.
        if self.is_mounted() {
            unmount(&mount);
        }
        let _ = fs::remove_dir(&mount);
        let _ = fs::remove_dir(&self.0);
    }
}

/// The daemon, and the directory in which its files are.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) root: Directory,
}

impl Daemon {
    /// Starts the daemon; none where there is no FUSE.
    pub(crate) fn start() -> Option<Self> {
        let reason = unusable();
        if let Some(reason) = reason {
            skip(&reason);
            return None;
        }
        let root = Directory::new();
        Some(Self { process: serve(&root), root })
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.root.0.join("notes")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    pub(crate) fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap()
    }

    pub(crate) fn note(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs a shell command in the mounted directory.
    pub(crate) fn shell(&self, command: &str) -> Output {
        Command::new("sh").args(["-c", command]).current_dir(self.directory()).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn stdout(&self, command: &str) -> String {
        let output = self.shell(command);
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) fn daemon_command(root: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let target = this.parent().and_then(Path::parent).unwrap();
    let daemon = target.join("examples/notes");
    assert!(daemon.exists(), "{} is missing: cargo build -p scheme-host --examples", daemon.display());
    let mut command = Command::new(daemon);
    command.env("SCHEME_ROOT", root).stdin(Stdio::null());
    command
}

pub(crate) fn serve(root: &Directory) -> Process {
    started(&mut daemon_command(&root.0))
}

/// Starts a daemon and waits until it is ready.
pub(crate) fn started(command: &mut Command) -> Process {
    // The watchdog does not drop anything when it aborts this process.
    // SAFETY: prctl is async-signal-safe and takes numbers here.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    process
}

pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    // Not through the macro: the test harness keeps what that prints.
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
}

/// Why FUSE cannot be used here, if it cannot.
pub(crate) fn unusable() -> Option<String> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = match rustix::fs::open("/dev/fuse", flags, Mode::empty()) {
        Ok(device) => device,
        Err(error) => return Some(format!("/dev/fuse: {error}")),
    };
    if !geteuid().is_root() {
        let helper = Command::new("fusermount3").arg("--version").stdout(Stdio::null()).status();
        return helper.err().map(|error| format!("fusermount3: {error}"));
    }
    let probe = Directory::new();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", device.as_raw_fd());
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
    let mounted = rustix::mount::mount("probe", &probe.0, "fuse", MountFlags::empty(), Some(options));
    let reason = mounted.err().map(|error| format!("mount: {error}"));
    // Nobody answers on the device: it must be gone before anything looks at the directory.
    drop(device);
    let _ = rustix::mount::unmount(&probe.0, UnmountFlags::DETACH);
    reason
}

/// Tries again and again what must become true soon; the watchdog limits it.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

pub(crate) fn until_sleeping(proc: &str, call: libc::c_long) {
    let call = format!("{call} ");
    until(|| {
        let now = fs::read_to_string(format!("{proc}/syscall")).unwrap_or_default();
        let state = fs::read_to_string(format!("{proc}/stat")).unwrap_or_default();
        now.starts_with(&call) && state.contains(") S ")
    });
}

pub(crate) fn signal_thread(thread: Pid) {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: tgkill takes numbers, and the signal has a handler.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw_nonzero().get(), libc::SIGUSR1) };
    assert_eq!(sent, 0);
}

/// From now on SIGUSR1 interrupts system calls and does nothing else.
pub(crate) fn catch_sigusr1() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeroes is a valid sigaction; the handler does nothing, which is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
}

pub(crate) fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Starts this program again, as a daemon that the ignored test `name` serves.
pub(crate) fn start_other_daemon(name: &str, variable: &str) -> Daemon {
    let root = Directory::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).stdin(Stdio::null());
    Daemon { process: started(command.env(variable, "1").env("SCHEME_ROOT", &root.0)), root }
}

/// A command that runs as a user without any rights.
pub(crate) fn as_nobody() -> Option<Command> {
    if !geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let mut probe = Command::new("setpriv");
    probe.args(command.get_args()).args(["test", "-x"]).arg(std::env::current_exe().unwrap());
    match probe.status() {
        Ok(status) if status.success() => return Some(command),
        Ok(_) => skip("other users cannot reach the programs to test"),
        Err(error) => skip(&format!("setpriv: {error}")),
    }
    None
}

/// A word of shared memory that lives as long as the process.
pub(crate) fn map_word(file: &File) -> &'static AtomicU64 {
    // SAFETY: a new mapping at an address of the kernel's choice; it is never unmapped, aligned, and only used through atomics.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let address =
            rustix::mm::mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, file.as_fd(), 0).unwrap();
        AtomicU64::from_ptr(address.cast())
    }
}

/// Runs the tests with these names again, as a user who mounts through fusermount3.
pub(crate) fn repeat_as_user(tests: &[&str]) {
    if as_nobody().is_none() {
        return;
    }
    if let Some(reason) = unusable() {
        return skip(&reason);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("as_user.sh");
    let in_namespace = |arguments: &[&std::ffi::OsStr]| Command::new(&script).args(arguments).output().unwrap();
    let probe = in_namespace(&["sh".as_ref(), "-c".as_ref(), ": <> /dev/fuse && fusermount3 --version".as_ref()]);
    if !probe.status.success() {
        return skip(String::from_utf8_lossy(&probe.stderr).trim_end());
    }
    let this = std::env::current_exe().unwrap();
    let mut arguments = vec![this.as_os_str(), "--exact".as_ref(), "--nocapture".as_ref()];
    arguments.extend(tests.iter().map(std::ffi::OsStr::new));
    let output = in_namespace(&arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains(&format!("{} passed", tests.len())), "{stdout}");
    assert!(!stderr.contains("skipped"), "{stderr}");
}
