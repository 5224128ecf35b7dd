//! What people see with `ls` and `cat`, and who sees what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use eventd_suite::{Daemon, Finished, Running, run, skip};

const LIMIT: Duration = Duration::from_secs(20);
const PYTHON: &str = "/usr/bin/python3";
const USER: u32 = 65534;

/// Runs a shell script in the scheme's directory.
fn shell(daemon: &Daemon, script: &str) -> Finished {
    run(Command::new("sh").args(["-c", script]).current_dir(daemon.path("")), LIMIT)
}

fn output(daemon: &Daemon, script: &str) -> String {
    let finished = shell(daemon, script);
    assert!(finished.success(), "{script}: {}", finished.stderr);
    finished.stdout
}

#[test]
fn ls_shows_the_files() {
    let Some(daemon) = Daemon::start("ls_shows_the_files") else { return };
    assert_eq!(output(&daemon, "ls"), "eventfd\nlist\nnew\npage\nsem\nsignalfd\nstat\n");
    assert_eq!(output(&daemon, "ls list"), "eventfd\nsem\nsignalfd\nwaiters\n");
    assert_eq!(output(&daemon, "ls eventfd"), "");
    let long = output(&daemon, "ls -l");
    let modes = long.lines().filter_map(|line| line.split_whitespace().next()).skip(1).collect::<Vec<_>>();
    let directory = "dr-xr-xr-x";
    assert_eq!(modes, [directory, directory, directory, directory, "drwxrwxrwt", directory, "-r--r--r--"]);
}

#[test]
fn looking_creates_nothing() {
    let Some(daemon) = Daemon::start("looking_creates_nothing") else { return };
    output(&daemon, "ls -lR . eventfd/5 && stat eventfd/5/0 && test -e eventfd/5/1 && find . -name nothing");
    assert_eq!(daemon.stat("eventfd_created"), 0);
}

#[test]
fn the_shell_can_count() {
    let Some(daemon) = Daemon::start("the_shell_can_count") else { return };
    let value = |script: &str| output(&daemon, script).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(value("head -c 8 eventfd/7/0 | od -An -tu8"), "7");
    assert_eq!(value("exec 3<>eventfd/2/0; printf '\\005\\0\\0\\0\\0\\0\\0\\0' >&3; head -c 8 <&3 | od -An -tu8"), "7");
    output(&daemon, "printf '\\001\\0\\0\\0\\0\\0\\0\\0' > eventfd/0/1");
    assert_eq!(daemon.stat("eventfd_created"), 3);
    daemon.await_stat("eventfd_live", 0);
}

#[test]
fn mistakes_get_the_usual_errors() {
    let Some(daemon) = Daemon::start("mistakes_get_the_usual_errors") else { return };
    for (script, error) in [
        ("cat nothing", "No such file or directory"),
        ("cat eventfd/4294967296/0", "No such file or directory"),
        ("cat eventfd/-1/0", "No such file or directory"),
        ("cat eventfd/1/2", "No such file or directory"),
        ("cat stat/x", "Not a directory"),
        ("cat list", "Is a directory"),
        ("dd of=stat conv=notrunc if=/dev/zero bs=1 count=1", "Permission denied"),
        ("rm -f stat", "Operation not permitted"),
        ("mkdir other", "No such file or directory"),
        ("dd of=eventfd/0/0 if=/dev/zero bs=4 count=1", "Invalid argument"),
    ] {
        let finished = shell(&daemon, script);
        assert!(!finished.success(), "{script} succeeded");
        assert!(finished.stderr.contains(error), "{script}: {}", finished.stderr);
    }
}

/// The rows of a list, each as its words, without the header.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn lists_show_counters_and_who_waits() {
    let Some(daemon) = Daemon::start("lists_show_counters_and_who_waits") else { return };
    // Not by read and write, which sleep in memory.
    let code = "import os, sys, threading\n\
        a=os.eventfd(0, os.EFD_SEMAPHORE)\nb=os.eventfd(4294967295)\n\
        threading.Thread(target=os.readv, args=(a, [bytearray(8)]), daemon=True).start()\n\
        os.writev(b, [(2**64-2).to_bytes(8, sys.byteorder)])";
    let program = Running::start(daemon.command(PYTHON).args(["-c", code]).stderr(Stdio::null()));
    daemon.await_stat("requests_waiting", 2);
    let pid = program.id().to_string();
    let own = own_uid();

    let list = daemon.read("list/eventfd");
    let header = list.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(header, ["ID", "COUNT", "MODE", "PID", "UID", "OPENS", "READERS", "WRITERS"]);
    let counters = rows(&list);
    assert_eq!(counters.len(), 2, "{list}");
    assert_eq!(counters[0][1..], ["0", "semaphore", &pid, &own, "1", "1", "0"]);
    assert_eq!(counters[1][1..], ["4294967295", "counter", &pid, &own, "1", "0", "1"]);

    let waiters = rows(&daemon.read("list/waiters"));
    let wants = waiters.iter().map(|row| (row[0].as_str(), row[3].as_str(), row[4].as_str())).collect::<Vec<_>>();
    assert_eq!(waiters.len(), 2);
    assert!(wants.contains(&(&pid, "read", "-")), "{waiters:?}");
    assert!(wants.contains(&(&pid, "write", "18446744073709551614")), "{waiters:?}");

    drop(program);
    daemon.await_stat("requests_waiting", 0);
    daemon.await_stat("eventfd_live", 0);
}

/// Our user id, from the owner of a directory of our own.
fn own_uid() -> String {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid().to_string()
}

#[test]
fn users_see_their_own_rows_and_root_all() {
    let test = "users_see_their_own_rows_and_root_all";
    if own_uid() != "0" {
        return skip(test, "only root can act for several users");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let code = "import os\nf=os.eventfd(0)\nos.readv(f, [bytearray(8)])";
    let hold =
        |uid: u32| Running::start(daemon.command(PYTHON).args(["-c", code]).uid(uid).gid(uid).stderr(Stdio::null()));
    let _programs = [hold(0), hold(USER), hold(USER - 1)];
    daemon.await_stat("requests_waiting", 3);

    for list in ["list/eventfd", "list/waiters"] {
        assert_eq!(rows(&daemon.read(list)).len(), 3, "root sees all of {list}");
        let seen = run(Command::new("cat").arg(daemon.path(list)).uid(USER).gid(USER), LIMIT);
        assert!(seen.success(), "{}", seen.stderr);
        assert_eq!(rows(&seen.stdout).len(), 1, "a user sees own rows of {list}:\n{}", seen.stdout);
        assert!(seen.stdout.contains(&USER.to_string()), "{}", seen.stdout);
    }
}

/// A program that makes semaphores and waits for its standard input to end.
fn hold_semaphores(daemon: &Daemon, uid: u32) -> Running {
    const CODE: &str = "import ctypes, os, sys\n\
        c = ctypes.CDLL(None, use_errno=True)\n\
        c.sem_open.restype = ctypes.c_void_p\n\
        for name, mode, value in [(b'/private', 0o600, 3), (b'/a b', 0o644, 4), (b'/gone', 0o666, 5)]:\n \
            assert c.sem_open(name, os.O_CREAT | os.O_EXCL, mode, value), os.strerror(ctypes.get_errno())\n\
        c.sem_unlink(b'gone')\n\
        sys.stdin.read()";
    let mut command = daemon.command(PYTHON);
    command.args(["-c", CODE]).stdin(Stdio::piped());
    if own_uid() == "0" {
        command.uid(uid).gid(uid);
    }
    Running::start(&mut command)
}

#[test]
fn semaphores_are_seen_and_removed() {
    let Some(daemon) = Daemon::start("semaphores_are_seen_and_removed") else { return };
    let mut program = hold_semaphores(&daemon, USER);
    daemon.await_stat("sem_unlinked", 1);
    let owner = if own_uid() == "0" { USER.to_string() } else { own_uid() };

    assert_eq!(output(&daemon, "ls sem"), "a%20b\nprivate\n");
    let long = output(&daemon, "ls -ln sem/private");
    let words = long.split_whitespace().collect::<Vec<_>>();
    assert_eq!((words[0], words[2]), ("-rw-------", owner.as_str()), "{long}");
    let text = output(&daemon, "cat sem/private");
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!((line("name"), line("value"), line("owner")), (Some("private"), Some("3"), Some(owner.as_str())));
    assert_eq!((line("mode"), line("opens")), (Some("0600"), Some("1")));
    let list = rows(&daemon.read("list/sem"));
    let seen = list.iter().map(|row| (row[1].as_str(), row[5].as_str(), row[6].as_str(), row[7].as_str()));
    let expected = [("3", "1", "yes", "private"), ("4", "1", "yes", "a%20b"), ("5", "1", "no", "gone")];
    assert!(seen.eq(expected), "{list:?}");
    assert!(!shell(&daemon, "echo 1 > sem/private").success());

    output(&daemon, "rm -f sem/private");
    assert_eq!(output(&daemon, "ls sem"), "a%20b\n");
    drop(program.child().stdin.take());
    assert!(program.wait(LIMIT).is_some_and(|status| status.success()));
    daemon.await_stat("sem_live", 1);
    assert!(output(&daemon, "cat sem/a%20b").contains("opens 0\n"), "a name lasts");
    output(&daemon, "rm -f 'sem/a%20b'");
    daemon.await_stat("sem_live", 0);
}

#[test]
fn users_see_semaphores_that_they_may_read() {
    let test = "users_see_semaphores_that_they_may_read";
    if own_uid() != "0" {
        return skip(test, "only root can act for several users");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let _program = hold_semaphores(&daemon, USER);
    daemon.await_stat("sem_unlinked", 1);
    let by = |uid: u32, script: &str| {
        run(Command::new("sh").args(["-c", script]).current_dir(daemon.path("")).uid(uid).gid(uid), LIMIT)
    };
    let other = USER - 1;
    assert_eq!(by(other, "ls sem").stdout, "a%20b\nprivate\n");
    assert_eq!(rows(&by(other, "cat list/sem").stdout).len(), 2);
    assert!(by(other, "cat sem/a%20b").success());
    assert!(by(other, "cat sem/private").stderr.contains("Permission denied"));
    assert!(!by(other, "rm -f sem/private").success());
    assert!(by(USER, "cat sem/private && rm sem/private").success());
}
