//! What people read: `stat` and the lists.

use std::fmt::Write;
use std::time::Duration;

use super::node::encode_name;
use super::page::Page;
use super::shared_cell::SharedCell;
use super::signals::Counts;
use crate::engine::{Access, Eventfds, Identity, MAX, Mode, Semaphore, SemaphoreId, Semaphores, SignalSet, Signalfds};

/// Whose rows a list may show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub(super) uid: u32,
}

impl Viewer {
    fn may_see(self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }
}

/// A row of `list/waiters`.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) pid: usize,
    pub(super) uid: u32,
    /// What it waits for.
    pub(super) object: String,
    /// What a blocked write wants to add; none for a read.
    pub(super) value: Option<u64>,
    /// Time since the start of the daemon at which the request came.
    pub(super) since: Duration,
    /// Its number among all that ever waited.
    pub(super) arrival: u64,
}

/// What `stat` is made of.
pub(super) struct Stat<'scheme, T> {
    pub(super) eventfds: &'scheme Eventfds<T, SharedCell>,
    pub(super) semaphores: &'scheme Semaphores<Page>,
    pub(super) signalfds: &'scheme Signalfds<T>,
    pub(super) signals: Counts,
    pub(super) parked: u64,
    pub(super) waiting: usize,
    pub(super) uptime: Duration,
}

/// Text of `stat`: a name and a number per line.
pub(super) fn stat<T: Copy>(what: &Stat<'_, T>) -> String {
    let Stat { eventfds, semaphores, signalfds, signals, parked, waiting, uptime } = what;
    let totals = eventfds.totals();
    let of_semaphores = semaphores.totals();
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name} {value}");
    };
    line("version", &env!("CARGO_PKG_VERSION"));
    line("uptime_seconds", &format_args!("{:.3}", uptime.as_secs_f64()));
    line("eventfd_live", &eventfds.len());
    line("eventfd_created", &totals.created);
    line("eventfd_reads", &totals.reads);
    line("eventfd_writes", &totals.writes);
    line("eventfd_max_count", &MAX);
    line("eventfd_mapped", &eventfds.shared());
    line("eventfd_page_bytes", &(eventfds.shared() * Page::SIZE));
    line("requests_parked", parked);
    line("requests_waiting", waiting);
    line("sem_live", &semaphores.len());
    line("sem_named", &semaphores.named());
    line("sem_created", &of_semaphores.created);
    line("sem_opened", &of_semaphores.opened);
    line("sem_unlinked", &of_semaphores.unlinked);
    line("sem_page_bytes", &(semaphores.len() * Page::SIZE));
    line("signalfd_live", &signalfds.len());
    line("signalfd_created", &signalfds.created());
    line("signalfd_processes", &signalfds.processes());
    line("signals_routed", &signals.routed);
    line("signals_claimed", &signals.claimed);
    line("signals_lost", &signals.lost);
    text
}

/// Text of `list/signalfd`: a row per signalfd, its mask also by names.
pub(super) fn signalfd_list<T: Copy>(signalfds: &Signalfds<T>, viewer: Viewer) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:>6} {:>16} {:>6} {:>6} {:>5} {:>7} {:>9} SIGNALS",
        "ID", "MASK", "PID", "UID", "OPENS", "WAITING", "PROCESSES"
    );
    for (id, signalfd) in signalfds.iter().filter(|(_, signalfd)| viewer.may_see(signalfd.owner().uid)) {
        // Every open makes a new one.
        let opens = 1;
        let _ = writeln!(
            text,
            "{:>6} {:016x} {:>6} {:>6} {opens:>5} {:>7} {:>9} {}",
            id.number(),
            signalfd.mask(),
            signalfd.owner().pid,
            signalfd.owner().uid,
            signalfd.waiting(),
            signalfd.users().count(),
            names(signalfd.mask()),
        );
    }
    text
}

fn names(mask: SignalSet) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let name = |number: usize| NAMES.get(number - 1).map_or_else(|| number.to_string(), |name| (*name).to_owned());
    let set = (1..=64).filter(|number| mask >> (number - 1) & 1 != 0).map(name).collect::<Vec<_>>();
    if set.is_empty() { "-".into() } else { set.join(",") }
}

/// Text of `sem/NAME`: a word and what it is per line.
pub(super) fn semaphore(id: SemaphoreId, semaphore: &Semaphore<Page>) -> String {
    format!(
        "name {}\nvalue {}\nowner {}\ngroup {}\nmode {:04o}\nopens {}\nid {}\n",
        encode_name(semaphore.name()),
        semaphore.page().value(),
        semaphore.owner().uid,
        semaphore.owner().gid,
        semaphore.mode(),
        semaphore.opens(),
        id.number(),
    )
}

/// Text of `list/sem`: the semaphores that `viewer` may look at.
pub(super) fn semaphore_list(semaphores: &Semaphores<Page>, viewer: Identity) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:>6} {:>10} {:>6} {:>6} {:>4} {:>5} {:>6} NAME",
        "ID", "VALUE", "UID", "GID", "MODE", "OPENS", "LINKED"
    );
    for (id, semaphore) in semaphores.after(0).filter(|(_, semaphore)| semaphore.permits(viewer, Access::Read)) {
        let _ = writeln!(
            text,
            "{:>6} {:>10} {:>6} {:>6} {:04o} {:>5} {:>6} {}",
            id.number(),
            semaphore.page().value(),
            semaphore.owner().uid,
            semaphore.owner().gid,
            semaphore.mode(),
            semaphore.opens(),
            if semaphore.is_linked() { "yes" } else { "no" },
            encode_name(semaphore.name()),
        );
    }
    text
}

/// Text of `list/eventfd`.
pub(super) fn eventfd_list<T: Copy>(eventfds: &Eventfds<T, SharedCell>, viewer: Viewer) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:>6} {:>20} {:>9} {:>6} {:>6} {:>5} {:>7} {:>7}",
        "ID", "COUNT", "MODE", "PID", "UID", "OPENS", "READERS", "WRITERS"
    );
    for (id, eventfd) in eventfds.iter().filter(|(_, eventfd)| viewer.may_see(eventfd.owner().uid)) {
        let mode = match eventfd.counter().mode() {
            Mode::Counter => "counter",
            Mode::Semaphore => "semaphore",
        };
        // Every open makes a new counter, so each has one open description; how many descriptors share it, only the kernel knows.
        let opens = 1;
        let _ = writeln!(
            text,
            "{:>6} {:>20} {mode:>9} {:>6} {:>6} {opens:>5} {:>7} {:>7}",
            id.number(),
            eventfd.counter().count(),
            eventfd.owner().pid,
            eventfd.owner().uid,
            eventfd.waiting_readers(),
            eventfd.waiting_writers(),
        );
    }
    text
}

/// Text of `list/waiters`.
pub(super) fn waiter_list(waiters: &mut Vec<Waiter>, viewer: Viewer, uptime: Duration) -> String {
    waiters.retain(|waiter| viewer.may_see(waiter.uid));
    waiters.sort_by_key(|waiter| waiter.arrival);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:>6} {:>6} {:>12} {:>5} {:>20} {:>12} {:>12}",
        "PID", "UID", "OBJECT", "WANTS", "VALUE", "SINCE", "SECONDS"
    );
    for waiter in waiters {
        let (wants, value) = match waiter.value {
            None => ("read", "-".to_owned()),
            Some(value) => ("write", value.to_string()),
        };
        let object = &waiter.object;
        let _ = writeln!(
            text,
            "{:>6} {:>6} {object:>12} {wants:>5} {value:>20} {:>12.3} {:>12.3}",
            waiter.pid,
            waiter.uid,
            waiter.since.as_secs_f64(),
            uptime.saturating_sub(waiter.since).as_secs_f64(),
        );
    }
    text
}
