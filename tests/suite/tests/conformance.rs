//! Each program of `tests/conformance` on native Linux and on eventd: both must print the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use eventd_suite::{Daemon, Exceptions, compare, compile, is_root, repeat_as_user, repository, run, skip};

const LIMIT: Duration = Duration::from_secs(240);

fn conforms(name: &str) {
    if name == "sem_perm" && !is_root() {
        return skip(name, "only root can act for several users");
    }
    let Some(daemon) = Daemon::start(name) else { return };
    let directory = repository().join("tests/conformance");
    let program = compile(&directory.join(format!("{name}.c")), &[]);
    let native = run(&mut Command::new(&program), LIMIT);
    assert!(native.success(), "{name} failed on native Linux: {:?}\n{}", native.status, native.stderr);
    let ours = run(&mut daemon.command(&program), LIMIT);
    assert!(ours.success(), "{name} failed on eventd: {:?}\n{}{}", ours.status, ours.stdout, ours.stderr);
    // Without this the comparison of Linux with itself would pass.
    let kind = name.split('_').next().unwrap();
    assert!(daemon.stat(&format!("{kind}_created")) > 0, "{name} did not use eventd");
    daemon.await_stat(&format!("{kind}_live"), 0);
    assert_eq!(daemon.stat("requests_waiting"), 0, "{name} left requests behind");
    assert_eq!(daemon.stat("eventfd_page_bytes"), 0, "{name} left memory behind");

    let exceptions = Exceptions::read(&directory.join("exceptions.txt"), "host", name);
    let report = compare(&native.stdout, &ours.stdout, &exceptions);
    assert!(report.is_empty(), "{name} differs from native Linux:\n{report}");
}

macro_rules! programs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                conforms(stringify!($name));
            }
        )*

        #[test]
        fn every_program_is_run() {
            let sources = std::fs::read_dir(repository().join("tests/conformance")).unwrap();
            let found = sources
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter_map(|name| name.strip_suffix(".c").map(str::to_owned))
                .collect::<BTreeSet<_>>();
            assert_eq!(found, [$(stringify!($name)),*].map(str::to_owned).into());
        }
    };
}

programs! {
    eventfd_aio
    eventfd_block
    eventfd_count
    eventfd_create
    eventfd_many
    eventfd_poll
    eventfd_proc
    eventfd_read
    eventfd_share
    eventfd_signal
    eventfd_write
    sem_cancel
    sem_create
    sem_fork
    sem_handle
    sem_life
    sem_name
    sem_open
    sem_perm
    sem_share
    sem_signal
    sem_wait
    signalfd_create
    signalfd_ignored
    signalfd_info
    signalfd_limit
    signalfd_order
    signalfd_poll
    signalfd_proc
    signalfd_race
    signalfd_read
    signalfd_taken
    signalfd_timer
    signalfd_update
    signalfd_whose
}

#[test]
fn users_count_in_memory_too() {
    repeat_as_user("users_count_in_memory_too", &["eventfd_count"]);
}
