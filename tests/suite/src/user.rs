//! Tests again, as an ordinary user: what root's daemon has from the kernel, that of a user cannot have.
#![allow(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::{repository, run, skip};

const NOBODY: u32 = 65534;
const LIMIT: Duration = Duration::from_secs(300);

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: it only reads an attribute of the process.
    unsafe { libc::geteuid() == 0 }
}

/// A directory for that user to write to.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs tests of the calling program again, as a user who mounts through fusermount3.
///
/// # Panics
/// If one of them fails, or is skipped.
pub fn repeat_as_user(test: &str, tests: &[&str]) {
    if !is_root() {
        return skip(test, "only root can become another user");
    }
    let this = std::env::current_exe().expect("this program");
    let as_user = |program: &std::ffi::OsStr| {
        let mut command = Command::new(repository().join("tests/as_user.sh"));
        command.arg(program);
        command
    };
    let probe = run(
        as_user("sh".as_ref()).args(["-c", ": <> /dev/fuse && fusermount3 --version && test -x \"$0\""]).arg(&this),
        LIMIT,
    );
    if !probe.success() {
        return skip(test, &format!("no user can mount and reach the programs here: {}", probe.stderr.trim_end()));
    }
    let programs = Directory(std::env::temp_dir().join(format!("eventd-user-{}-{test}", std::process::id())));
    fs::create_dir(&programs.0).expect("a new directory in the temporary directory");
    std::os::unix::fs::chown(&programs.0, Some(NOBODY), None).expect("root may give it away");
    let mut command = as_user(this.as_os_str());
    command.args(["--exact", "--nocapture"]).args(tests).env("EVENTD_PROGRAM_DIR", &programs.0);
    let finished = run(&mut command, LIMIT);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.success(), "{said}");
    assert!(finished.stdout.contains(&format!("{} passed", tests.len())), "{said}");
    assert!(!said.contains("skipped: "), "{said}");
}
