//! The way to the signals of processes: the process manager's signal router, and the kernel for signals of a single thread.
//!
//! Both take the patches in `kernel-patch`; without them there is no router, and no signalfd.

use std::fmt::Debug;

use event::{EventFlags, RawEventQueue};
use libredox::call;
use libredox::flag::{O_CLOEXEC, O_RDWR};
use syscall::CallFlags;
use syscall::error::{Error, Result};

use self::protocol::{CLAIM, PEEK, PendingSets, SignalRecord, THREAD_CLAIM, THREAD_PEEK, WATCH};

/// Numbers and layouts, the same file that goes into the process manager and the kernel.
#[path = "../../kernel-patch/protocol.rs"]
#[allow(dead_code, missing_docs)] // Some of it is for the other sides.
pub mod protocol;

/// Where the process manager has its router.
const PATH: &str = "/scheme/proc/signal-router";

/// What can be done with the signals of processes. Sets are as in [`crate::engine::SignalSet`].
pub trait Router: Debug {
    /// From now on news come of signals in `mask` that become pending for `pid`. Returns what is pending already.
    ///
    /// # Errors
    /// ESRCH: there is no such process any more.
    fn watch(&mut self, pid: usize, mask: u64) -> Result<PendingSets>;

    /// What of `mask` is pending for `pid`.
    ///
    /// # Errors
    /// As [`Router::watch`].
    fn peek(&mut self, pid: usize, mask: u64) -> Result<PendingSets>;

    /// Takes signals of `mask` that are directed at `pid`, at most `room`, and adds them to `records`.
    ///
    /// # Errors
    /// As [`Router::watch`].
    fn claim(&mut self, pid: usize, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()>;

    /// The same for signals that are directed at just the thread which waits for the answer to `request`.
    ///
    /// # Errors
    /// ESRCH, ENOENT: nobody waits for it any more.
    fn claim_of_thread(&mut self, request: u32, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()>;

    /// What of `mask` is pending for just the thread which waits for the answer to `request`.
    ///
    /// # Errors
    /// As [`Router::claim_of_thread`].
    fn peek_of_thread(&mut self, request: u32, mask: u64) -> Result<u64>;
}

/// The router of the system.
#[derive(Debug)]
pub struct SignalRouter {
    handle: usize,
    socket: usize,
}

impl SignalRouter {
    /// Opens the router, for the scheme that is served on `socket`.
    ///
    /// # Errors
    /// ENOENT or ENODEV where the process manager has none, EACCES, EBUSY.
    pub fn open(socket: usize) -> libredox::error::Result<Self> {
        call::open(PATH, O_RDWR | O_CLOEXEC, 0).map(|handle| Self { handle, socket })
    }

    /// What brings the news of this router to `descriptor`, one write for each piece; it runs until the router or the scheme is gone.
    ///
    /// # Errors
    /// What an event queue fails with.
    pub fn messenger(&self, descriptor: usize) -> libredox::error::Result<impl FnOnce() + Send + use<>> {
        let handle = self.handle;
        let queue = RawEventQueue::new()?;
        queue.subscribe(handle, handle, EventFlags::READ)?;
        Ok(move || {
            while queue.next_event().is_ok() {
                let mut news = [0; 64 * size_of::<u64>()];
                // Until the end, as the next event comes for what comes after that.
                while let Ok(len @ 1..) = call::read(handle, &mut news) {
                    if call::write(descriptor, &news[..len]).is_err() {
                        return;
                    }
                }
            }
        })
    }

    fn ask(&self, verb: u64, pid: usize, mask: u64) -> Result<PendingSets> {
        let mut payload = [0; PendingSets::SIZE];
        call_rw(self.handle, &mut payload, [verb, pid as u64, mask])?;
        Ok(PendingSets::from_bytes(payload))
    }

    fn take(target: usize, metadata: [u64; 3], room: usize, records: &mut Vec<SignalRecord>) -> Result<()> {
        if room == 0 {
            return Ok(());
        }
        let mut payload = vec![0; room * SignalRecord::SIZE];
        let count = call_rw(target, &mut payload, metadata)?;
        let (taken, _) = payload.as_chunks::<{ SignalRecord::SIZE }>();
        records.extend(taken.iter().take(count).map(SignalRecord::from_bytes));
        Ok(())
    }
}

fn call_rw(target: usize, payload: &mut [u8], metadata: [u64; 3]) -> Result<usize> {
    call::call_rw(target, payload, CallFlags::empty(), &metadata).map_err(|error| Error::new(error.errno()))
}

impl Router for SignalRouter {
    fn watch(&mut self, pid: usize, mask: u64) -> Result<PendingSets> {
        self.ask(WATCH, pid, mask)
    }

    fn peek(&mut self, pid: usize, mask: u64) -> Result<PendingSets> {
        self.ask(PEEK, pid, mask)
    }

    fn claim(&mut self, pid: usize, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()> {
        Self::take(self.handle, [CLAIM, pid as u64, mask], room, records)
    }

    fn claim_of_thread(&mut self, request: u32, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()> {
        Self::take(self.socket, [THREAD_CLAIM, request.into(), mask], room, records)
    }

    fn peek_of_thread(&mut self, request: u32, mask: u64) -> Result<u64> {
        let mut payload = [0; size_of::<u64>()];
        call::call_ro(self.socket, &mut payload, CallFlags::empty(), &[THREAD_PEEK, request.into(), mask])
            .map_err(|error| Error::new(error.errno()))?;
        Ok(u64::from_ne_bytes(payload))
    }
}
