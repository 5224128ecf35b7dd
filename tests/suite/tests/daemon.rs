//! The daemon as a process: its command line, its life, its end, and what programs see when it is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use eventd_suite::{Daemon, Finished, Running, await_that, built, preload, run};

const LIMIT: Duration = Duration::from_secs(20);
const PYTHON: &str = "/usr/bin/python3";

fn eventd(arguments: &[&str]) -> Finished {
    run(Command::new(built("eventd")).args(arguments).env("SCHEME_ROOT", "/nonexistent/scheme"), LIMIT)
}

#[test]
fn help_names_every_option_and_file() {
    let help = eventd(&["--help"]);
    assert!(help.success());
    for part in
        ["--log-level", "--help", "--version", "INIT_NOTIFY", "SCHEME_ROOT", "stat", "list/eventfd", "list/waiters"]
    {
        assert!(help.stdout.contains(part), "--help does not name {part}");
    }
    assert_eq!(eventd(&["-V"]).stdout, format!("eventd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_explained() {
    let wrong = eventd(&["--fast"]);
    assert_eq!(wrong.status.and_then(|status| status.code()), Some(2));
    assert_eq!(wrong.stderr, "eventd: unknown argument: --fast (eventd --help tells more)\n");
}

#[test]
fn a_mount_that_fails_is_explained_in_one_line() {
    let file = std::env::temp_dir().join(format!("eventd-no-directory-{}", std::process::id()));
    fs::write(&file, "").unwrap();
    let failed = run(Command::new(built("eventd")).env("SCHEME_ROOT", &file), LIMIT);
    fs::remove_file(&file).unwrap();
    assert_eq!(failed.status.and_then(|status| status.code()), Some(1));
    let expected = format!("cannot mount {}/eventd: {} is no directory", file.display(), file.display());
    assert!(failed.stderr.contains(&expected), "{}", failed.stderr);
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
}

#[test]
fn readiness_is_one_zero_byte_and_then_the_end() {
    let Some(daemon) = Daemon::start("readiness_is_one_zero_byte_and_then_the_end") else { return };
    let root = daemon.path("").parent().unwrap().join("second");
    fs::create_dir(&root).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let descriptor = writer.as_raw_fd();
    let mut command = Command::new(built("eventd"));
    command.env("SCHEME_ROOT", &root).env("INIT_NOTIFY", descriptor.to_string()).stderr(Stdio::null());
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            libc::fcntl(descriptor, libc::F_SETFD, 0);
            Ok(())
        });
    }
    let mut second = Running::start(&mut command);
    drop(writer);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    assert_eq!(bytes, [0]);
    assert!(root.join("eventd/stat").exists(), "eventd serves when it says so");
    second.signal(libc::SIGTERM);
    assert!(second.wait(LIMIT).is_some_and(|status| status.success()));
    fs::remove_dir(&root).unwrap();
}

/// A program that blocks in a read of a counter, at eventd, and says what came of it.
fn blocked_reader(daemon: &Daemon) -> Running {
    let reader = reader(daemon, "os.readv(f, [bytearray(8)])");
    daemon.await_stat("requests_waiting", 1);
    reader
}

fn reader(daemon: &Daemon, read: &str) -> Running {
    let code = format!("import os\nf=os.eventfd(0)\ntry: print({read})\nexcept OSError as e: print(e.errno)");
    let mut command = daemon.command(PYTHON);
    Running::start(command.args(["-c", &code]).stdout(Stdio::piped()).stderr(Stdio::null()))
}

fn first_line(running: &mut Running) -> String {
    let mut line = String::new();
    BufReader::new(running.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn sigterm_answers_the_blocked_and_unmounts() {
    let Some(mut daemon) = Daemon::start("sigterm_answers_the_blocked_and_unmounts") else { return };
    let mut reader = blocked_reader(&daemon);
    assert!(daemon.terminate().is_some_and(|status| status.success()));
    assert_eq!(first_line(&mut reader), libc::ENODEV.to_string());
    assert!(!daemon.path("stat").exists());
}

#[test]
fn sigterm_wakes_who_sleeps_in_memory() {
    let Some(mut daemon) = Daemon::start("sigterm_wakes_who_sleeps_in_memory") else { return };
    let mut reader = reader(&daemon, "os.eventfd_read(f)");
    let call = format!("/proc/{}/syscall", reader.id());
    // Its other futexes are not of the kind that processes share.
    let sleeps =
        |call: &str| call.starts_with(&format!("{} ", libc::SYS_futex)) && call.split(' ').nth(2) == Some("0x9");
    await_that("the reader sleeps", || fs::read_to_string(&call).is_ok_and(|call| sleeps(&call)));
    assert_eq!((daemon.stat("eventfd_mapped"), daemon.stat("requests_waiting")), (1, 0));
    assert!(daemon.terminate().is_some_and(|status| status.success()));
    // It asks eventd then, and Linux answers if the mount is gone by that time, or goes meanwhile.
    let ends = [libc::ENODEV, libc::ECONNABORTED, libc::ENOTCONN].map(|errno| errno.to_string());
    let end = first_line(&mut reader);
    assert!(ends.contains(&end), "{end}");
}

#[test]
fn a_successor_starts_while_the_predecessor_ends() {
    let Some(mut daemon) = Daemon::start("a_successor_starts_while_the_predecessor_ends") else { return };
    for _ in 0..20 {
        let pid = daemon.process().id();
        daemon.process().signal(libc::SIGTERM);
        await_that("the mount is gone", || !daemon.path("stat").exists());
        // The predecessor may still be on its way out: whatever it still does must not hit the successor.
        daemon.restart();
        assert_ne!(daemon.process().id(), pid);
        assert_eq!(daemon.stat("eventfd_live"), 0);
    }
}

#[test]
fn a_killed_daemon_leaves_nothing_that_a_new_one_minds() {
    let Some(mut daemon) = Daemon::start("a_killed_daemon_leaves_nothing_that_a_new_one_minds") else { return };
    let mut reader = blocked_reader(&daemon);
    daemon.process().signal(libc::SIGKILL);
    assert!(reader.wait(LIMIT).is_some_and(|status| status.success()), "the blocked reader was let go");
    assert_eq!(first_line(&mut reader), libc::ECONNABORTED.to_string());
    daemon.restart();
    assert_eq!(daemon.stat("eventfd_created"), 0);
}

#[test]
fn without_a_daemon_programs_get_an_error_and_are_told_why() {
    let root = std::env::temp_dir().join(format!("eventd-nobody-{}", std::process::id()));
    let code = "import os\ntry: os.eventfd(0)\nexcept OSError as e: print(e.errno)";
    let mut command = Command::new(PYTHON);
    command.env("SCHEME_ROOT", &root).env("LD_PRELOAD", preload()).args(["-c", code]);
    let silent = run(&mut command, LIMIT);
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("2\n", ""));
    let told = run(command.env("EVENTD_DEBUG", "1"), LIMIT);
    let path = root.join("eventd/eventfd/0/0");
    let line = format!(
        "eventd-preload: cannot open {}: No such file or directory (os error 2) (is eventd running?)\n",
        path.display()
    );
    assert_eq!((told.stdout.as_str(), told.stderr), ("2\n", line));
}
