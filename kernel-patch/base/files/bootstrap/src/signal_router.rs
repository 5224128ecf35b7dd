//! Which processes are watched for eventd, what is known of their pending signals, and what eventd has yet to hear.
//!
//! Nothing here knows of processes or descriptors; `signal_routes.rs` does. The pending word of a process is shared with the process itself, which
//! clears bits whenever it takes a signal (or sets it to be ignored). Only the process manager, which has one thread, sets bits there and
//! touches the queues. So of everything below only the word can change under its hands.

use alloc::collections::VecDeque;

use super::{
    pending_word::{PendingWord, first},
    signal_protocol::{ENDED, QUEUE_LIMIT, SI_USER, SignalRecord, WATCHABLE, signal_bit},
};

/// The first realtime signal. They are queued; the standard ones below are not.
pub const FIRST_REALTIME: u32 = 33;

const SIGCONT: u32 = 18;
/// SIGTSTP, SIGTTIN, SIGTTOU. SIGSTOP is never pending.
const STOPS: u64 = signal_bit(20) | signal_bit(21) | signal_bit(22);

/// What became of a signal that was sent to a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// It is pending.
    Pending,
    /// It was pending already: a standard signal is pending once, and the first sender is remembered.
    Merged,
    /// There is no room to queue it.
    Full,
}

/// What is kept of a realtime signal while it waits.
pub trait Queued {
    /// The record of it.
    fn record(&self, signal: u32) -> SignalRecord;
}

/// A process with a signalfd.
#[derive(Debug)]
pub struct Watch {
    mask: u64,
    /// eventd has been told, and has not read it yet.
    told: bool,
    /// What is known of the standard signals beyond being pending. An entry is worth something only while its bit is set; entry 0 is signal 1.
    known: [SignalRecord; 32],
}

impl Watch {
    /// A watch for the signals of `mask`.
    pub fn new(mask: u64) -> Self {
        Self { mask: mask & WATCHABLE, told: false, known: [SignalRecord::default(); 32] }
    }

    /// Replaces the mask. What is known of pending signals stays known.
    pub fn set_mask(&mut self, mask: u64) {
        self.mask = mask & WATCHABLE;
    }

    /// Whether eventd wants to hear of this signal.
    pub fn covers(&self, signal: u32) -> bool {
        self.mask & signal_bit(signal) != 0
    }

    /// A standard signal for the process as a whole. `announce` runs before the bit is set: the place for what the process reads once it sees the bit.
    pub fn send_standard<W: PendingWord>(
        &mut self,
        pending: &W,
        record: SignalRecord,
        announce: impl FnOnce(),
    ) -> Sent {
        let bit = signal_bit(record.signo);
        // The process may take the pending one just now. Then both were sent before it was taken, which is as if they had met.
        if pending.load() & bit != 0 {
            return Sent::Merged;
        }
        if let Some(known) = self.known.get_mut(record.signo.wrapping_sub(1) as usize) {
            *known = record;
        }
        announce();
        pending.set(bit);
        Sent::Pending
    }

    /// The signal is about to be sent by other means than [`Self::send_standard`]: what was known of an earlier one is not true of it.
    pub fn forget<W: PendingWord>(&mut self, pending: &W, signal: u32) {
        if pending.load() & signal_bit(signal) == 0
            && let Some(known) = self.known.get_mut(signal.wrapping_sub(1) as usize)
        {
            *known = SignalRecord::default();
        }
    }

    fn known(&self, signal: u32) -> Option<SignalRecord> {
        self.known.get(signal.wrapping_sub(1) as usize).filter(|known| known.signo == signal).copied()
    }
}

/// SIGCONT and the stop signals cancel each other when they are sent, blocked or not.
pub fn cancel_opposite<W: PendingWord>(pending: &W, signal: u32) {
    if signal == SIGCONT {
        pending.clear(STOPS);
    } else if signal_bit(signal) & STOPS != 0 {
        pending.clear(signal_bit(SIGCONT));
    }
}

/// A realtime signal for the process as a whole. `queues` are those of the realtime signals in their order; there may be fewer.
pub fn send_realtime<W: PendingWord, T>(
    pending: &W,
    queues: &mut alloc::vec::Vec<VecDeque<T>>,
    signal: u32,
    item: T,
) -> Sent {
    let index = signal.wrapping_sub(FIRST_REALTIME) as usize;
    if signal < FIRST_REALTIME || index >= 32 {
        return Sent::Full;
    }
    let bit = signal_bit(signal);
    // The process clears a bit when it sets the signal to be ignored. That empties the queue, but the queue is here.
    let set = pending.load();
    let mut queued = 0;
    for (queue, signal) in queues.iter_mut().zip(FIRST_REALTIME..) {
        if set & signal_bit(signal) == 0 {
            queue.clear();
        }
        queued += queue.len();
    }
    if queued >= QUEUE_LIMIT {
        return Sent::Full;
    }
    if queues.len() <= index {
        if queues.try_reserve(index + 1 - queues.len()).is_err() {
            return Sent::Full;
        }
        queues.resize_with(index + 1, VecDeque::new);
    }
    let queue = &mut queues[index];
    // A failed allocation would end the process manager, and the system with it.
    if queue.try_reserve(1).is_err() {
        return Sent::Full;
    }
    queue.push_back(item);
    if pending.set(bit) & bit == 0 {
        // Nothing was pending, so whatever else is in the queue was flushed since the look above.
        let flushed = queue.len() - 1;
        queue.drain(..flushed);
    }
    Sent::Pending
}

/// Takes up to `room` signals of `mask` which are directed at the process as a whole, and hands each to `emit`. Returns how many.
///
/// In the order of [`first`], and each realtime signal in the order in which it was sent. `sender` names the sender of a standard signal of which nothing else is
/// known: pid in the low half, real uid in the high half.
pub fn claim<W: PendingWord, T: Queued>(
    watch: Option<&Watch>,
    pending: &W,
    queues: &mut [VecDeque<T>],
    mask: u64,
    room: usize,
    sender: impl Fn(u32) -> u64,
    mut emit: impl FnMut(SignalRecord),
) -> usize {
    let mut mask = mask & WATCHABLE;
    let mut taken = 0;
    while taken < room {
        // Looked at anew for each: the process may flush a queue between two of its signals.
        let Some(signal) = first(pending.load() & mask) else { break };
        let bit = signal_bit(signal);
        if signal < FIRST_REALTIME {
            // Asked for once: a signal that the process took first is not worth a second look.
            mask &= !bit;
            let record = watch.and_then(|watch| watch.known(signal)).unwrap_or_else(|| {
                let sender = sender(signal);
                SignalRecord {
                    signo: signal,
                    code: SI_USER,
                    pid: sender as u32,
                    uid: (sender >> 32) as u32,
                    ..SignalRecord::default()
                }
            });
            if pending.clear(bit) & bit != 0 {
                emit(record);
                taken += 1;
            }
            continue;
        }
        let queue = queues.get_mut((signal - FIRST_REALTIME) as usize);
        let item = queue.and_then(|queue| queue.pop_front().map(|item| (item, queue.is_empty())));
        // The process takes queued signals by asking the process manager, so these two do not race. It may have flushed the signal since
        // the look above; then the claim was first.
        match item {
            Some((item, last)) => {
                if last {
                    pending.clear(bit);
                }
                emit(item.record(signal));
                taken += 1;
            }
            // A bit that nothing stands behind. The process would ask for it for ever.
            None => {
                pending.clear(bit);
                mask &= !bit;
            }
        }
    }
    taken
}

/// What eventd has yet to hear, and who eventd is.
#[derive(Debug, Default)]
pub struct SignalRouter {
    /// The number of the one open handle.
    handle: Option<usize>,
    /// Processes to look at, and processes that have ended; each at most once of either kind.
    news: VecDeque<u64>,
    watched: usize,
    /// An event is due: news came, and the reader had found the end of the last.
    event_due: bool,
    /// The reader has been woken by an event and has not found the end yet, so it needs no other.
    awake: bool,
}

impl SignalRouter {
    /// Nobody holds the handle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is a router already.
    pub fn is_open(&self) -> bool {
        self.handle.is_some()
    }

    /// `handle` is the router's from now on.
    pub fn open(&mut self, handle: usize) {
        self.handle = Some(handle);
    }

    /// The handle is gone. The caller drops the watches of all processes.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// One more process is watched. False if there is no memory for what may have to be told of it.
    #[must_use]
    pub fn watch_begins(&mut self) -> bool {
        // Each watched process can cause two entries: one to look at it, one for its end. Made room for here, so that sending never has to.
        if self.news.try_reserve(2 * (self.watched + 1)).is_err() {
            return false;
        }
        self.watched += 1;
        true
    }

    /// A process is watched no longer, and eventd knows.
    pub fn watch_ends(&mut self) {
        self.watched = self.watched.saturating_sub(1);
    }

    /// A signal that `watch` covers became pending for `pid`.
    pub fn tell(&mut self, watch: &mut Watch, pid: u64) {
        if !core::mem::replace(&mut watch.told, true) {
            self.push(pid);
        }
    }

    /// A watched process has ended.
    pub fn tell_end(&mut self, pid: u64) {
        self.watch_ends();
        self.push(pid | ENDED);
    }

    fn push(&mut self, news: u64) {
        self.event_due |= !core::mem::replace(&mut self.awake, true);
        self.news.push_back(news);
    }

    /// Whether a read would find something.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Moves news to `buffer`, as many as fit, and returns how many bytes: 0 at the end, after which there is an event for the next. `on_heard` runs for each process to look at,
    /// and arms its watch with [`heard`].
    pub fn read(&mut self, buffer: &mut [u8], mut on_heard: impl FnMut(u64)) -> usize {
        let mut bytes = 0;
        for place in buffer.chunks_exact_mut(8) {
            let Some(news) = self.news.pop_front() else { break };
            place.copy_from_slice(&news.to_ne_bytes());
            bytes += 8;
            if news & ENDED == 0 {
                on_heard(news);
            }
        }
        self.awake = bytes > 0;
        bytes
    }

    /// The number of the handle for which an event is to be triggered, once.
    pub fn take_event(&mut self) -> Option<usize> {
        if core::mem::take(&mut self.event_due) { self.handle } else { None }
    }
}

/// eventd has read that it should look at this process: tell again when the next signal comes.
pub fn heard(watch: &mut Watch) {
    watch.told = false;
}
