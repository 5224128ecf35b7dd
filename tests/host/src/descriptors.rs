//! Descriptors of the daemon that stand for something which Linux does not have.
//!
//! Each occupies a real descriptor, so that numbers never collide with those of files, and closing works as usual.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use syscall::error::{EMFILE, Error};

use crate::events::EventQueue;
use crate::scheme::Scheme;
use crate::signals::Router;

/// What a special descriptor stands for.
#[derive(Clone, Debug)]
pub(crate) enum Special {
    /// The right to create schemes.
    SchemeCreation,
    /// The current namespace.
    Namespace,
    /// The daemon's end of a scheme.
    Socket(Arc<Socket>),
    /// A descriptor of a daemon's own scheme, made to be registered. It does not keep the scheme alive.
    OfScheme(Arc<Scheme>, usize),
    EventQueue(Arc<EventQueue>),
    /// The way to the signals of processes.
    SignalRouter(Arc<Router>),
}

/// The daemon's end of a scheme. When the last descriptor of it goes, the scheme ends.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) scheme: Arc<Scheme>,
    pub(crate) nonblock: AtomicBool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.scheme.end();
    }
}

#[derive(Debug)]
struct Entry {
    special: Special,
    /// Keeps the number occupied.
    _placeholder: OwnedFd,
}

static TABLE: OnceLock<Mutex<BTreeMap<usize, Entry>>> = OnceLock::new();
/// How many there are. Programs that only link the shim have none, and must not pay for a lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn with_table<T>(with: impl FnOnce(&mut BTreeMap<usize, Entry>) -> T) -> T {
    let table = TABLE.get_or_init(Mutex::default);
    with(&mut table.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn insert(special: Special) -> Result<usize, Error> {
    let placeholder = eventfd(0, EventfdFlags::CLOEXEC).map_err(|_| Error::new(EMFILE))?;
    let number = usize::try_from(placeholder.as_raw_fd()).map_err(|_| Error::new(EMFILE))?;
    with_table(|table| table.insert(number, Entry { special, _placeholder: placeholder }));
    COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(number)
}

pub(crate) fn get(number: usize) -> Option<Special> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    with_table(|table| table.get(&number).map(|entry| entry.special.clone()))
}

/// The descriptor of the current namespace: there is one, which its users do not own.
pub(crate) fn namespace() -> Result<usize, Error> {
    let is_namespace = |entry: &Entry| matches!(entry.special, Special::Namespace);
    let known = with_table(|table| table.iter().find(|(_, entry)| is_namespace(entry)).map(|(number, _)| *number));
    known.map_or_else(|| insert(Special::Namespace), Ok)
}

/// All event queues of the process.
pub(crate) fn event_queues() -> Vec<Arc<EventQueue>> {
    with_table(|table| {
        let queues = table.values().filter_map(|entry| match &entry.special {
            Special::EventQueue(queue) => Some(Arc::clone(queue)),
            _ => None,
        });
        queues.collect()
    })
}

/// Closes a special descriptor; returns whether it was one.
pub(crate) fn remove(number: usize) -> bool {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return false;
    }
    // The entry is dropped outside of the lock: the end of a scheme takes time.
    let entry = with_table(|table| table.remove(&number));
    if entry.is_some() {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
    entry.is_some()
}
