//! Programs that nobody here wrote, or that use libraries which nobody here wrote, unmodified on eventd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use eventd_suite::{Daemon, compile, is_root, repeat_as_user, repository, run, skip};

const LIMIT: Duration = Duration::from_secs(60);
const PYTHON: &str = "/usr/bin/python3";

/// Runs a program of `tests/programs` and checks that it saw an object of its own in a list of the daemon's while it ran.
fn library_program(name: &str, package: &str, list: &str, expected: &[&str]) {
    let Some(daemon) = Daemon::start(name) else { return };
    let program = compile(&repository().join(format!("tests/programs/{name}.c")), &[package]);
    let finished = run(daemon.command(program).env("LIST_FILE", daemon.path(list)), LIMIT);
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
    library_program("glib_wakeup", "glib-2.0", "list/eventfd", &["woken 1000"]);
}

#[test]
fn libuv_loop_is_woken_by_uv_async_send() {
    library_program("libuv_async", "libuv", "list/eventfd", &["senders served 4 finished 4", "done"]);
}

static SHARED_COUNT: LazyLock<PathBuf> =
    LazyLock::new(|| compile(&repository().join("tests/programs/shared_count.c"), &[]));

/// Some change a count in memory, and some at eventd.
fn shared_count(mode: &str) {
    let Some(daemon) = Daemon::start(mode) else { return };
    let finished = run(daemon.command(&*SHARED_COUNT).arg(mode).arg(daemon.path("stat")), LIMIT);
    assert_eq!(finished.stdout, "done\n", "{mode}: {:?} {}", finished.status, finished.stderr);
    daemon.await_stat("eventfd_live", 0);
    daemon.await_stat("requests_waiting", 0);
    assert_eq!(daemon.stat("eventfd_page_bytes"), 0, "the memory has been given back");
}

#[test]
fn garbage_in_the_page() {
    shared_count("garbage");
}

#[test]
fn a_shell_without_the_library() {
    shared_count("shell");
}

#[test]
fn users_have_counters_in_memory() {
    let tests = ["a_shell_without_the_library", "garbage_in_the_page", "python_knows_no_difference"];
    repeat_as_user("users_have_counters_in_memory", &tests);
}

#[test]
fn sd_event_loop_gets_signals() {
    let expected = ["child code 1 status 7", "values 500 in order 1 told 1"];
    library_program("sd_event_signals", "libsystemd", "list/signalfd", &expected);
}

/// All that Python's ctypes can reach without a line of C: fields, readiness, a child's end, and that nothing is left.
#[test]
fn python_gets_signals() {
    const CODE: &str = "\
import ctypes, os, select, signal, struct, sys\n\
libc = ctypes.CDLL(None, use_errno=True)\n\
signals = (signal.SIGUSR1, signal.SIGCHLD, signal.SIGRTMIN)\n\
signal.pthread_sigmask(signal.SIG_BLOCK, signals)\n\
mask = (ctypes.c_uint64 * 16)(sum(1 << number - 1 for number in signals))\n\
fd = libc.signalfd(-1, mask, os.O_NONBLOCK)\n\
def read():\n \
    data = os.read(fd, 1280)\n \
    for record in (data[at:at + 128] for at in range(0, len(data), 128)):\n  \
        number, _, code, pid, uid = struct.unpack_from('IiiII', record)\n  \
        status, value = struct.unpack_from('ii', record, 40)\n  \
        print(number, code, pid == child, uid == os.getuid(), status, value)\n\
poll, epoll = select.poll(), select.epoll()\n\
poll.register(fd, select.POLLIN)\n\
epoll.register(fd, select.EPOLLIN)\n\
print(poll.poll(0), epoll.poll(0), select.select([fd], [], [], 0)[0])\n\
ready, go = os.pipe()\n\
child = os.fork()\n\
if child == 0:\n \
    os.read(ready, 1)\n \
    os.kill(os.getppid(), signal.SIGUSR1)\n \
    libc.sigqueue(os.getppid(), int(signal.SIGRTMIN), ctypes.c_void_p(11))\n \
    libc.sigqueue(os.getppid(), int(signal.SIGRTMIN), ctypes.c_void_p(12))\n \
    os._exit(42)\n\
os.write(go, b'x')\n\
print(len(epoll.poll(10)), len(poll.poll(10000)), len(select.select([fd], [], [], 10)[0]))\n\
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n\
read()\n\
print(poll.poll(0), epoll.poll(0))\n\
print(open(sys.argv[1]).read().splitlines()[1].split()[-1])\n";
    let test = "python_gets_signals";
    if !Path::new(PYTHON).exists() {
        return skip(test, "there is no Python");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let finished = run(daemon.command(PYTHON).args(["-c", CODE]).arg(daemon.path("list/signalfd")), LIMIT);
    let expected = "\
        [] [] []\n1 1 1\n10 0 True True 0 0\n17 1 True True 42 0\n34 -1 True True 0 11\n34 -1 True True 0 12\n[] []\nUSR1,CHLD,34\n";
    assert_eq!(finished.stdout, expected, "{}", finished.stderr);
    daemon.await_stat("signalfd_live", 0);
    daemon.await_stat("signalfd_processes", 0);
    assert_eq!(daemon.read("list/signalfd").lines().count(), 1, "the header");
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

/// What a program does with a counter that is changed in memory, other than reading and writing it.
#[test]
fn python_knows_no_difference() {
    const CODE: &str = "\
import os, select, subprocess, sys, threading, time\n\
def mapped():\n \
    lines = open('/proc/self/maps').readlines()\n \
    return sum('/memfd:scheme-memory' in line for line in lines)\n\
f = os.eventfd(0)\n\
os.eventfd_write(f, 1); print(os.eventfd_read(f))\n\
print(mapped())\n\
got = []\n\
thread = threading.Thread(target=lambda: got.append(os.eventfd_read(f))); thread.start()\n\
def sleeps(task):\n \
    call = open('/proc/self/task/%s/syscall' % task).read().split()\n \
    return len(call) > 2 and call[2] == '0x9'\n\
while not any(map(sleeps, os.listdir('/proc/self/task'))): time.sleep(0)\n\
# Its child, of vfork, closes what it does not need.\n\
for _ in range(20): subprocess.run(['true'], check=True)\n\
os.eventfd_write(f, 5); thread.join(); print(got)\n\
print(mapped())\n\
os.set_blocking(f, False)\n\
try: os.eventfd_read(f)\n\
except BlockingIOError: print('empty')\n\
os.set_blocking(f, True)\n\
epoll, poll = select.epoll(), select.poll()\n\
epoll.register(f, select.EPOLLIN | select.EPOLLET); poll.register(f, select.POLLIN)\n\
print([epoll.poll(0)] + [(os.eventfd_write(f, 1), len(epoll.poll(10)), len(epoll.poll(0)))[1:] for _ in range(3)])\n\
print(len(poll.poll(0)), os.eventfd_read(f), len(poll.poll(0)))\n\
g = os.eventfd(0); os.eventfd_write(g, 3); print(len(select.select([g], [], [], 0)[0]), os.eventfd_read(g))\n\
with os.fdopen(os.dup(g), 'r+b', buffering=0) as file: file.write((9).to_bytes(8, sys.byteorder))\n\
print(os.eventfd_read(g))\n\
code = 'import os, sys; g = int(sys.argv[1]); print(os.eventfd_read(g), flush=True); os.eventfd_write(g, 6)'\n\
os.set_inheritable(g, True); os.eventfd_write(g, 2)\n\
sys.stdout.flush(); subprocess.run([sys.executable, '-c', code, str(g)], close_fds=False, check=True)\n\
print(os.eventfd_read(g))\n";
    let test = "python_knows_no_difference";
    if !Path::new(PYTHON).exists() {
        return skip(test, "there is no Python");
    }
    let Some(daemon) = Daemon::start(test) else { return };
    let finished = run(daemon.command(PYTHON).args(["-c", CODE]), LIMIT);
    let expected = "1\n1\n[5]\n1\nempty\n[[], (1, 0), (1, 0), (1, 0)]\n1 3 0\n1 3\n9\n2\n6\n";
    assert_eq!(finished.stdout, expected, "{}", finished.stderr);
    daemon.await_stat("eventfd_live", 0);
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
    // The daemon of an ordinary user sees of a semaphore what it was made with, until the system writes the copies of clients back.
    let value = if is_root() { "2" } else { "3" };
    assert_eq!(finished.stdout, format!("{value}\n{expected}"), "{}", finished.stderr);
    daemon.await_stat("sem_live", 0);
    assert!(daemon.stat("sem_created") > 20, "semaphores were not eventd's");
}
