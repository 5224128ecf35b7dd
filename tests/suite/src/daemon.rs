//! A daemon of the test's own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{Running, built, preload, skip};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// An eventd that serves a scheme root of its own until this is dropped.
#[derive(Debug)]
pub struct Daemon {
    running: Running,
    root: PathBuf,
}

impl Daemon {
    /// Starts eventd for `test`, or says why that cannot be done on this machine.
    ///
    /// # Panics
    /// If eventd does not start although it should.
    #[must_use]
    pub fn start(test: &str) -> Option<Self> {
        if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            skip(test, &format!("/dev/fuse: {error}"));
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("eventd-test-{}-{number}", std::process::id()));
        fs::create_dir(&root).expect("a new directory in the temporary directory");
        // Other users are let in by the tests that need them.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Some(Self { running: serve(&root), root })
    }

    /// Where the scheme's files are.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join("eventd").join(file)
    }

    /// What a file of the scheme says.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read(&self, file: &str) -> String {
        let path = self.path(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }

    /// A number of `stat`.
    ///
    /// # Panics
    /// If there is no such number.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        let text = self.read("stat");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::parse);
        value.unwrap_or_else(|| panic!("no {name} in stat:\n{text}")).expect("a number")
    }

    /// Waits until a number of `stat` is as expected: the kernel tells the daemon of a close some time after close(2).
    ///
    /// # Panics
    /// If that does not happen within ten seconds.
    pub fn await_stat(&self, name: &str, expected: u64) {
        await_that(&format!("{name} is {expected}"), || self.stat(name) == expected);
    }

    /// A command whose eventfds are served by this daemon.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SCHEME_ROOT", &self.root).env("LD_PRELOAD", preload());
        command
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends the daemon with SIGTERM.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.running.signal(libc::SIGTERM);
        self.running.wait(Duration::from_secs(10))
    }

    /// Starts a new daemon on the same root, after the old one has been told to end in whatever way, and sees the old one out.
    ///
    /// # Panics
    /// If the old one does not end.
    pub fn restart(&mut self) {
        let mut old = std::mem::replace(&mut self.running, serve(&self.root));
        assert!(old.wait(Duration::from_secs(10)).is_some(), "the old daemon does not end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.terminate();
        // What is there only if it was killed.
        let _ = fs::remove_file(self.root.join(".signals-eventd"));
        let _ = fs::remove_dir(self.root.join("eventd"));
        let _ = fs::remove_dir(&self.root);
    }
}

/// Starts eventd and waits for the line with which it says that it serves.
fn serve(root: &Path) -> Running {
    let mut command = Command::new(built("eventd"));
    command.env("SCHEME_ROOT", root).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut stderr = BufReader::new(running.child().stderr.take().expect("stderr is piped"));
    let mut said = String::new();
    while !said.contains("serving /scheme/eventd") {
        let len = stderr.read_line(&mut said).expect("stderr is text");
        assert!(len > 0, "eventd did not start: {said}");
    }
    // Whatever follows must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    running
}

/// Waits for something that happens soon but that nothing announces.
///
/// # Panics
/// If it does not happen within ten seconds.
pub fn await_that(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(10), "after ten seconds it is still not so that {what}");
        std::thread::yield_now();
    }
}
