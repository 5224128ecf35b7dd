//! Programs of the tests: compiled, run, and ended by their own process id when their time is up.
#![allow(unsafe_code)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A started program; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts `command`.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal, unless the program has ended.
    pub fn signal(&mut self, signal: i32) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // SAFETY: kill takes any numbers, and the process has not been waited for, so its id is still its own.
            unsafe { libc::kill(self.id().cast_signed(), signal) };
        }
    }

    /// Waits until the program ends, and kills it if that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.wait_or_kill(limit, self.id().cast_signed())
    }

    /// As [`Self::wait`], with what kill(2) takes for whom to kill.
    fn wait_or_kill(&mut self, limit: Duration, whom: i32) -> Option<ExitStatus> {
        let (ended, has_ended) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let late = has_ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // SAFETY: as in `signal`: the other thread is still waiting.
                unsafe { libc::kill(whom, libc::SIGKILL) };
            }
            late
        });
        let status = self.child.wait();
        drop(ended);
        let late = watchdog.join().unwrap_or(true);
        status.ok().filter(|_| !late)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// None if its time was up.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether the program ended by itself, with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

fn collect(mut source: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs `command` to its end, for at most `limit`.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    // What it has started may have its pipes, so all of it is killed when its time is up.
    command.process_group(0);
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = collect(running.child().stdout.take().expect("stdout is piped"));
    let stderr = collect(running.child().stderr.take().expect("stderr is piped"));
    let status = running.wait_or_kill(limit, -running.id().cast_signed());
    let text = |thread: JoinHandle<String>| thread.join().unwrap_or_default();
    Finished { status, stdout: text(stdout), stderr: text(stderr) }
}

/// Compiles the C program `source` of the repository, with the libraries that pkg-config knows as `packages`; EVENTD_PROGRAM_DIR says where to.
///
/// # Panics
/// If it does not compile without a warning.
#[must_use]
pub fn compile(source: &Path, packages: &[&str]) -> PathBuf {
    let directory = std::env::var_os("EVENTD_PROGRAM_DIR")
        .map_or_else(|| crate::repository().join("target/programs"), PathBuf::from);
    std::fs::create_dir_all(&directory).expect("target can be written");
    let program = directory.join(source.file_stem().expect("sources have names"));
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o"]);
    command.arg(&program).arg(source);
    if !packages.is_empty() {
        let flags =
            run(Command::new("pkg-config").args(["--cflags", "--libs"]).args(packages), Duration::from_secs(30));
        assert!(flags.success(), "pkg-config {packages:?}: {}", flags.stderr);
        command.args(flags.stdout.split_whitespace());
    }
    let compiled = run(&mut command, Duration::from_secs(120));
    assert!(compiled.success(), "cc {}: {}", source.display(), compiled.stderr);
    program
}

#[cfg(test)]
mod tests {
    use super::{Command, Duration, run};

    #[test]
    fn programs_end_with_all_that_they_have_started() {
        let finished = run(Command::new("sh").args(["-c", "sleep 20 & echo $!; wait"]), Duration::from_millis(200));
        assert!(finished.status.is_none());
        let child = finished.stdout.trim();
        assert!(!child.is_empty());
        crate::await_that("its child has ended", || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
    }
}
