//! signalfd: what reads, polls and news of signals lead to.

use std::hash::Hash;

use redox_scheme::scheme::Op;
use redox_scheme::{CallerCtx, Id};
use syscall::error::{EAGAIN, EINVAL, EIO, ENOSYS, EWOULDBLOCK, Error, Result};
use syscall::flag::EventFlags;

use super::{IdHasher, Parked, Scheme, errno, event_flags};
use crate::engine::{Effect, Owner, Readiness, SignalSet, SignalfdId};
use crate::router::Router;
use crate::router::protocol::{ENDED, PendingSets, SI_USER, SignalRecord};

/// The size of a `struct signalfd_siginfo` (semantics 112).
const RECORD: usize = 128;

/// The most records that one read gives: what is claimed must be answered, and a client chooses the size of its buffer.
const MOST: usize = 64;

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Processes told of by the router.
    pub(super) routed: u64,
    /// Signals handed to readers.
    pub(super) claimed: u64,
    /// Times that a waiting reader was looked after and found nothing: the process had taken the signal itself, or another reader had.
    pub(super) lost: u64,
}

/// The tag of a request, as the kernel knows it; redox-scheme shows it to hashers only.
fn tag(id: Id) -> u32 {
    let mut number = IdHasher::default();
    id.hash(&mut number);
    number.0 as u32
}

fn put(record: &SignalRecord, place: &mut [u8; RECORD]) {
    *place = [0; RECORD];
    let mut four = |at: usize, value: [u8; 4]| place[at..at + 4].copy_from_slice(&value);
    four(0, record.signo.to_ne_bytes());
    four(8, record.code.to_ne_bytes());
    four(12, record.pid.to_ne_bytes());
    four(16, record.uid.to_ne_bytes());
    four(40, record.status.to_ne_bytes());
    if record.code < SI_USER {
        // Semantics 116: the low half of the value as an int, and all of it as a pointer. Timers have one too (118), and what has none has zero.
        four(44, (record.value as u32).to_ne_bytes());
        place[48..56].copy_from_slice(&record.value.to_ne_bytes());
    }
    place[56..64].copy_from_slice(&u64::from(record.utime).to_ne_bytes());
    place[64..72].copy_from_slice(&u64::from(record.stime).to_ne_bytes());
}

impl Scheme {
    fn router(&mut self) -> Result<&mut dyn Router> {
        self.router.as_deref_mut().map_or(Err(Error::new(ENOSYS)), |router| Ok(router as &mut dyn Router))
    }

    pub(super) fn create_signalfd(&mut self, mask: SignalSet, owner: Owner) -> Result<SignalfdId> {
        self.router()?;
        let id = self.signalfds.create(mask, owner);
        self.watch_process(owner.pid);
        Ok(id)
    }

    /// Tells the router what matters of a process now. Returns what is pending of that.
    fn watch_process(&mut self, pid: usize) -> PendingSets {
        let interest = self.signalfds.interest(pid);
        // A process that is gone has no signals; the router says so in its news.
        self.router().and_then(|router| router.watch(pid, interest)).unwrap_or_default()
    }

    /// Answers with what is pending for the caller (semantics 80-84, 93-96), or parks the read.
    pub(super) fn read_signals(
        &mut self,
        id: SignalfdId,
        buf: &mut [u8],
        nonblock: bool,
        ctx: &CallerCtx,
    ) -> Result<usize> {
        if buf.len() < RECORD {
            return Err(Error::new(EINVAL));
        }
        // Watched first, claimed then: what comes after the claim is news.
        if self.signalfds.enter(id, ctx.pid) {
            self.watch_process(ctx.pid);
        }
        let len = self.claim(id, ctx.pid, tag(ctx.id), buf)?;
        if len > 0 {
            self.announce(id, ctx.pid);
            return Ok(len);
        }
        if nonblock {
            return Err(Error::new(EAGAIN));
        }
        let parked = self.signalfds.park(id, ctx.pid, ctx.id).map_err(errno)?;
        self.parked = Some(Parked::Signalfd(parked));
        Err(Error::new(EWOULDBLOCK))
    }

    /// Takes signals for a read of `pid` into `buf`: the thread's own first (semantics 94). Returns the number of bytes.
    fn claim(&mut self, id: SignalfdId, pid: usize, request: u32, buf: &mut [u8]) -> Result<usize> {
        let mask = self.signalfds.get(id).map_or(0, crate::engine::Signalfd::mask);
        let room = (buf.len() / RECORD).min(MOST);
        let router = self.router()?;
        let mut records = Vec::new();
        // Who is gone gets nothing.
        let _ = router.claim_of_thread(request, mask, room, &mut records);
        let _ = router.claim(pid, mask, room.saturating_sub(records.len()), &mut records);
        let (places, _) = buf.as_chunks_mut::<RECORD>();
        for (record, place) in records.iter().zip(places) {
            put(record, place);
        }
        self.signals.claimed += records.len() as u64;
        Ok(records.len() * RECORD)
    }

    /// Replaces the mask, and looks after all who use it (semantics 70, 72).
    pub(super) fn set_mask(&mut self, id: SignalfdId, mask: SignalSet) -> Result<usize> {
        self.signalfds.set_mask(id, mask).map_err(errno)?;
        let users = self.signalfds.get(id).map(|signalfd| signalfd.users().collect::<Vec<_>>()).unwrap_or_default();
        for pid in users {
            self.watch_process(pid);
            self.look_after(id, pid);
        }
        Ok(0)
    }

    /// Registers a poller, and says what it finds.
    pub(super) fn poll_signals(&mut self, id: SignalfdId, flags: EventFlags, ctx: &CallerCtx) -> Result<EventFlags> {
        if self.signalfds.enter(id, ctx.pid) {
            self.watch_process(ctx.pid);
        }
        if !flags.contains(EventFlags::EVENT_READ) {
            return Ok(EventFlags::empty());
        }
        self.signalfds.poll(id, ctx.pid).map_err(errno)?;
        Ok(event_flags(self.signal_readiness(id, ctx)?))
    }

    /// Whether the thread that waits for this request would find something.
    pub(super) fn signal_readiness(&mut self, id: SignalfdId, ctx: &CallerCtx) -> Result<Readiness> {
        let mask = self.signalfds.get(id).map_or(0, crate::engine::Signalfd::mask);
        let router = self.router()?;
        let of_thread = router.peek_of_thread(tag(ctx.id), mask).unwrap_or(0);
        let of_process = router.peek(ctx.pid, mask).map_or(0, |sets| sets.process);
        Ok(Readiness { readable: of_thread | of_process != 0, writable: false })
    }

    pub(super) fn close_signalfd(&mut self, id: SignalfdId) {
        for pid in self.signalfds.close(id, &mut self.effects) {
            self.watch_process(pid);
        }
    }

    /// The router's news: processes that got a signal, or that have ended.
    pub(super) fn hear(&mut self, news: &[u8]) -> usize {
        let (words, _) = news.as_chunks::<{ size_of::<u64>() }>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            let Ok(pid) = usize::try_from(word & !ENDED) else { continue };
            if word & ENDED != 0 {
                self.signalfds.ended(pid, &mut self.effects);
                continue;
            }
            self.signals.routed += 1;
            for id in self.signalfds.used_by(pid).collect::<Vec<_>>() {
                self.look_after(id, pid);
            }
        }
        news.len()
    }

    /// Answers the reads of `pid` that can be answered, and announces what is left then.
    fn look_after(&mut self, id: SignalfdId, pid: usize) {
        for ticket in self.signalfds.waiting(id, pid) {
            let Some(mut waiting) = self.waiting.remove(&ticket) else { continue };
            let claimed = match &mut waiting.op {
                Op::Read(read) => self.claim(id, pid, tag(ticket), read.buf()),
                _ => Err(Error::new(EIO)),
            };
            match claimed {
                // Thread-directed signals are only for their thread, so those behind are asked as well.
                Ok(0) => {
                    self.signals.lost += 1;
                    self.waiting.insert(ticket, waiting);
                }
                result => {
                    if let Parked::Signalfd(parked) = waiting.parked {
                        self.signalfds.leave(parked);
                    }
                    self.answered.push((waiting.op, result));
                }
            }
        }
        self.announce(id, pid);
    }

    /// Announces a signalfd that `pid` polls, if there is something to read for it: an event queue forgets what it has told.
    fn announce(&mut self, id: SignalfdId, pid: usize) {
        let Some(signalfd) = self.signalfds.get(id).filter(|signalfd| signalfd.is_polled_by(pid)) else { return };
        let mask = signalfd.mask();
        let pending = self.router().and_then(|router| router.peek(pid, mask)).unwrap_or_default();
        if let Some(&description) = self.descriptions.get(&id)
            && (pending.process | pending.threads) & mask != 0
        {
            let readiness = Readiness { readable: true, writable: false };
            self.effects.push(Effect::Ready { description, readiness });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RECORD, SI_USER, SignalRecord, put};
    use crate::router::protocol::SI_QUEUE;

    #[test]
    fn fields_are_where_linux_has_them_112_116() {
        let record = SignalRecord {
            signo: 10,
            code: SI_QUEUE,
            pid: 77,
            uid: 1000,
            value: 0xFFFF_FFFF_FFFF_FFD4,
            status: 3,
            utime: 5,
            stime: 6,
        };
        let mut bytes = [0xAA; RECORD];
        put(&record, &mut bytes);
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let fields = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64].map(word);
        let minus_44 = (-44_i32).cast_unsigned();
        let expected = [10, 0, u32::MAX, 77, 1000, 0, 0, 0, 0, 0, 3, minus_44, minus_44, u32::MAX, 5, 0, 6];
        assert_eq!(fields, expected);
        assert!(bytes[72..].iter().all(|byte| *byte == 0));
        let with_value = bytes;
        put(&SignalRecord { code: -2, ..record }, &mut bytes);
        assert_eq!(bytes[44..56], with_value[44..56], "so has a timer");
        put(&SignalRecord { code: SI_USER, ..record }, &mut bytes);
        assert!(bytes[44..56].iter().all(|byte| *byte == 0), "kill has no value");
    }
}
