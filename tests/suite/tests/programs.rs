//! Programs that nobody here wrote, or that use libraries which nobody here wrote, unmodified on eventd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eventd_suite::{Daemon, compile, repository, run, skip};

const LIMIT: Duration = Duration::from_secs(60);
const PYTHON: &str = "/usr/bin/python3";

/// Runs a program of `tests/programs` and checks that it saw a counter of its own in the daemon's list while it ran.
fn library_program(name: &str, package: &str, expected: &[&str]) {
    let Some(daemon) = Daemon::start(name) else { return };
    let program = compile(&repository().join(format!("tests/programs/{name}.c")), &[package]);
    let finished = run(daemon.command(program).env("LIST_FILE", daemon.path("list/eventfd")), LIMIT);
    assert!(finished.success(), "{name}: {:?}\n{}", finished.status, finished.stderr);
    let lines = finished.stdout.lines().collect::<Vec<_>>();
    for line in expected {
        assert!(lines.contains(line), "{name} did not print {line:?}:\n{}", finished.stdout);
    }
    let live = lines.iter().find_map(|line| line.strip_prefix("live ")?.parse::<u32>().ok());
    assert!(live.is_some_and(|live| live > 0), "{name} was not served by eventd:\n{}", finished.stdout);
}

#[test]
fn glib_main_loop_is_woken_from_another_thread() {
    library_program("glib_wakeup", "glib-2.0", &["woken 1000"]);
}

#[test]
fn libuv_loop_is_woken_by_uv_async_send() {
    library_program("libuv_async", "libuv", &["senders served 4 finished 4", "done"]);
}

#[test]
fn cpython_own_eventfd_tests_pass() {
    let test = "cpython_own_eventfd_tests_pass";
    let has_tests = Command::new(PYTHON).args(["-c", "import test.test_os"]).output();
    if !has_tests.is_ok_and(|output| output.status.success()) {
        return skip(test, "Debian's Python has no test suite here (package libpython3.11-testsuite)");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let finished = run(daemon.command(PYTHON).args(["-m", "test", "test_os", "-v", "-m", "*eventfd*"]), LIMIT);
    assert!(finished.success(), "{}\n{}", finished.stdout, finished.stderr);
    let output = format!("{}{}", finished.stdout, finished.stderr);
    assert!(output.contains("Ran 3 tests"), "{output}");
    assert!(daemon.stat("eventfd_created") >= 3, "the tests did not use eventd");
}

#[test]
fn python_line_of_the_readme() {
    let test = "python_line_of_the_readme";
    if !Path::new(PYTHON).exists() {
        return skip(test, "there is no Python");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let line = "import os; f=os.eventfd(3); os.eventfd_write(f,4); print(os.eventfd_read(f))";
    let finished = run(daemon.command(PYTHON).args(["-c", line]), LIMIT);
    assert_eq!(finished.stdout, "7\n", "{}", finished.stderr);
}

/// Semaphores, locks, queues and pools of CPython, between processes that were forked and such that were started anew.
#[test]
fn cpython_multiprocessing() {
    const CODE: &str = "\
import multiprocessing, sys\n\
def square(queue, lock, number):\n \
    with lock: queue.put(number * number)\n\
if __name__ == '__main__':\n \
    semaphore = multiprocessing.Semaphore(3)\n \
    semaphore.acquire()\n \
    print(open(sys.argv[1]).read().split()[9])\n \
    for method in ('fork', 'spawn', 'forkserver'):\n  \
        context = multiprocessing.get_context(method)\n  \
        queue, lock = context.Queue(), context.Lock()\n  \
        processes = [context.Process(target=square, args=(queue, lock, number)) for number in range(4)]\n  \
        for process in processes: process.start()\n  \
        print(method, sorted(queue.get() for _ in processes))\n  \
        for process in processes: process.join()\n  \
        with context.Pool(2) as pool: print(sum(pool.map(abs, range(100))))\n";
    let test = "cpython_multiprocessing";
    if !Path::new(PYTHON).exists() {
        return skip(test, "there is no Python");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    // Processes that are started anew read the program again.
    let script = std::env::temp_dir().join(format!("eventd-multiprocessing-{}.py", std::process::id()));
    std::fs::write(&script, CODE).unwrap();
    let finished = run(daemon.command(PYTHON).arg(&script).arg(daemon.path("list/sem")), LIMIT);
    std::fs::remove_file(&script).unwrap();
    let expected = ["fork", "spawn", "forkserver"].map(|method| format!("{method} [0, 1, 4, 9]\n4950\n")).concat();
    assert_eq!(finished.stdout, format!("2\n{expected}"), "{}", finished.stderr);
    daemon.await_stat("sem_live", 0);
    assert!(daemon.stat("sem_created") > 20, "semaphores were not eventd's");
}
