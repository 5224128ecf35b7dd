//! The signal router without concurrency: order, limits, what is remembered, and what eventd is told. Also every short sequence of events.

extern crate alloc;

use std::cell::Cell;
use std::collections::VecDeque;

#[path = "../../../kernel-patch/pending_word.rs"]
pub mod pending_word;
#[path = "../../../kernel-patch/protocol.rs"]
pub mod signal_protocol;
#[path = "../../../kernel-patch/base/files/bootstrap/src/signal_router.rs"]
pub mod signal_router;
#[rustfmt::skip] // It is formatted as the kernel is.
#[path = "../../../kernel-patch/kernel/files/src/scheme/thread_claim.rs"]
pub mod thread_claim;

use pending_word::PendingWord;
use signal_protocol::{
    ENDED, PendingSets, QUEUE_LIMIT, SI_QUEUE, SI_TKILL, SI_USER, SignalRecord, WATCHABLE, signal_bit,
};
use signal_router::{Queued, Sent, SignalRouter, Watch};

impl Queued for u64 {
    fn record(&self, signal: u32) -> SignalRecord {
        queued(signal, *self)
    }
}

#[derive(Default)]
struct Word(Cell<u64>);

impl PendingWord for Word {
    fn load(&self) -> u64 {
        self.0.get()
    }
    fn set(&self, bits: u64) -> u64 {
        self.0.replace(self.0.get() | bits)
    }
    fn clear(&self, bits: u64) -> u64 {
        self.0.replace(self.0.get() & !bits)
    }
}

/// A process, as the process manager sees it.
#[derive(Default)]
struct Process {
    pending: Word,
    senders: Cell<u64>,
    watch: Option<Watch>,
    queues: Vec<VecDeque<u64>>,
}

impl Process {
    fn watched() -> Self {
        Self { watch: Some(Watch::new(!0)), ..Self::default() }
    }

    fn send(&mut self, record: SignalRecord) -> Sent {
        match &mut self.watch {
            Some(watch) if record.signo < signal_router::FIRST_REALTIME => {
                watch.send_standard(&self.pending, record, || self.senders.set(u64::from(record.pid)))
            }
            _ => signal_router::send_realtime(&self.pending, &mut self.queues, record.signo, record.value),
        }
    }

    fn claim(&mut self, mask: u64, room: usize) -> Vec<SignalRecord> {
        let mut records = Vec::new();
        let senders = self.senders.get();
        let count = signal_router::claim(
            self.watch.as_ref(),
            &self.pending,
            &mut self.queues,
            mask,
            room,
            |_| senders,
            |record| records.push(record),
        );
        assert_eq!(count, records.len());
        records
    }
}

fn standard(signo: u32, pid: u32) -> SignalRecord {
    SignalRecord { signo, code: SI_USER, pid, uid: 7, ..SignalRecord::default() }
}

fn queued(signo: u32, value: u64) -> SignalRecord {
    SignalRecord { signo, code: SI_QUEUE, value, ..SignalRecord::default() }
}

#[test]
fn lowest_number_first_and_realtime_signals_in_order() {
    let mut process = Process::watched();
    for record in [queued(35, 1), queued(34, 22), standard(12, 1), queued(34, 33), standard(10, 1), queued(64, 5)] {
        assert_eq!(process.send(record), Sent::Pending);
    }
    let claimed: Vec<_> = process.claim(!0, 9).iter().map(|record| (record.signo, record.value)).collect();
    assert_eq!(claimed, [(10, 0), (12, 0), (34, 22), (34, 33), (35, 1), (64, 5)]);
    assert_eq!(process.pending.load(), 0);
    assert!(process.claim(!0, 9).is_empty());
}

#[test]
fn what_faults_raise_comes_first_95() {
    let mut process = Process::watched();
    let faults = [4, 5, 7, 8, 11, 31];
    for signo in (1..=31).rev().filter(|signo| ![9, 18, 19, 20, 21, 22].contains(signo)) {
        process.send(standard(signo, 1));
    }
    let claimed: Vec<_> = process.claim(!0, 31).iter().map(|record| record.signo).collect();
    let others = (1..=30).filter(|signo| ![9, 18, 19, 20, 21, 22].contains(signo) && !faults.contains(signo));
    assert_eq!(claimed, faults.into_iter().chain(others).collect::<Vec<_>>());
}

#[test]
fn a_claim_takes_no_more_than_asked_for_and_leaves_the_rest_pending() {
    let mut process = Process::watched();
    for record in [standard(10, 1), standard(12, 2), queued(40, 1), queued(40, 2)] {
        process.send(record);
    }
    assert_eq!(process.claim(signal_bit(12), 9), [standard(12, 2)]);
    assert_eq!(process.pending.load(), signal_bit(10) | signal_bit(40));
    assert_eq!(process.claim(!0, 2), [standard(10, 1), queued(40, 1)]);
    assert_eq!(process.pending.load(), signal_bit(40));
    assert_eq!(process.claim(!0, 0), []);
    assert_eq!(process.claim(signal_bit(40), 1), [queued(40, 2)]);
    assert_eq!(process.pending.load(), 0);
}

#[test]
fn kill_and_stop_are_never_claimed() {
    let mut process = Process::watched();
    process.pending.set(signal_bit(9) | signal_bit(19) | signal_bit(32));
    assert_eq!(process.claim(!0, 9), []);
    assert!(!Watch::new(!0).covers(9) && !Watch::new(!0).covers(19) && !Watch::new(!0).covers(32));
    assert!(Watch::new(!0).covers(1) && Watch::new(!0).covers(33) && Watch::new(!0).covers(64));
    assert!(!Watch::new(!0).covers(0) && !Watch::new(!0).covers(65));
}

#[test]
fn the_first_sender_counts_while_a_signal_is_pending() {
    let mut process = Process::watched();
    let with_value = SignalRecord { code: SI_QUEUE, value: u64::MAX, ..standard(12, 5) };
    assert_eq!(process.send(with_value), Sent::Pending);
    assert_eq!(process.send(standard(12, 6)), Sent::Merged);
    assert_eq!(process.senders.get(), 5);
    assert_eq!(process.claim(!0, 9), [with_value]);
    assert_eq!(process.send(standard(12, 6)), Sent::Pending);
    assert_eq!(process.claim(!0, 9), [standard(12, 6)]);
}

#[test]
fn what_was_known_of_a_signal_is_not_said_of_a_later_one() {
    let mut process = Process::watched();
    process.send(SignalRecord { code: SI_QUEUE, value: 3, ..standard(12, 5) });
    // The process takes it, and the next comes by a way that knows the sender only.
    process.pending.clear(signal_bit(12));
    if let Some(watch) = &mut process.watch {
        watch.forget(&process.pending, 12);
    }
    process.senders.set(6 | (8 << 32));
    process.pending.set(signal_bit(12));
    assert_eq!(process.claim(!0, 9), [SignalRecord { uid: 8, ..standard(12, 6) }]);
}

#[test]
fn forgetting_spares_a_signal_that_is_pending() {
    let mut process = Process::watched();
    let known = SignalRecord { code: SI_QUEUE, value: 3, ..standard(12, 5) };
    process.send(known);
    if let Some(watch) = &mut process.watch {
        watch.forget(&process.pending, 12);
        watch.set_mask(0);
    }
    assert_eq!(process.claim(!0, 9), [known]);
}

#[test]
fn an_unwatched_process_has_senders() {
    let mut process = Process::default();
    process.pending.set(signal_bit(31));
    process.senders.set(4 | (9 << 32));
    assert_eq!(process.claim(!0, 9), [SignalRecord { uid: 9, ..standard(31, 4) }]);
}

#[test]
fn the_queue_has_a_limit_for_all_signals_together() {
    let mut process = Process::watched();
    for value in 0..QUEUE_LIMIT as u64 {
        assert_eq!(process.send(queued(33 + (value % 2) as u32, value)), Sent::Pending);
    }
    assert_eq!(process.send(queued(50, 0)), Sent::Full);
    assert_eq!(process.pending.load() & signal_bit(50), 0);
    assert_eq!(process.claim(!0, 1), [queued(33, 0)]);
    assert_eq!(process.send(queued(50, 1)), Sent::Pending);
    assert_eq!(process.send(queued(50, 2)), Sent::Full);
    // The process ignores 33 from now on: what it had queued counts no longer.
    process.pending.clear(signal_bit(33));
    assert_eq!(process.send(queued(50, 2)), Sent::Pending);
    assert_eq!(process.claim(signal_bit(33), 9), []);
    assert_eq!(process.claim(!0, QUEUE_LIMIT).len(), QUEUE_LIMIT / 2 + 2);
}

#[test]
fn a_hundred_thousand_values_arrive_in_order() {
    let mut process = Process::watched();
    let (mut next, mut expected) = (0, 0);
    while expected < 100_000 {
        while next < 100_000 && process.send(queued(34, next)) == Sent::Pending {
            next += 1;
        }
        for record in process.claim(signal_bit(34), 100) {
            assert_eq!(record.value, expected);
            expected += 1;
        }
    }
    assert_eq!(process.pending.load(), 0);
}

#[test]
fn a_number_that_is_no_realtime_signal_is_not_queued() {
    let mut process = Process::default();
    for signal in [0, 10, 32, 65, u32::MAX] {
        assert_eq!(process.send(queued(signal, 1)), Sent::Full);
    }
    assert_eq!(process.pending.load(), 0);
}

#[test]
fn a_bit_without_a_queue_is_cleared() {
    let mut process = Process::watched();
    process.pending.set(signal_bit(40) | signal_bit(41));
    process.send(queued(41, 1));
    assert_eq!(process.claim(!0, 9), [queued(41, 1)]);
    assert_eq!(process.pending.load(), 0);
}

#[test]
fn continue_and_stop_cancel_each_other() {
    let word = Word::default();
    let stops = signal_bit(20) | signal_bit(21) | signal_bit(22);
    word.set(stops | signal_bit(17));
    signal_router::cancel_opposite(&word, 17);
    assert_eq!(word.load(), stops | signal_bit(17));
    signal_router::cancel_opposite(&word, 18);
    assert_eq!(word.load(), signal_bit(17));
    word.set(signal_bit(18));
    signal_router::cancel_opposite(&word, 20);
    assert_eq!(word.load(), signal_bit(17));
}

#[test]
fn a_thread_keeps_what_it_lets_through() {
    let words = [Word::default(), Word::default()];
    words[0].set(signal_bit(10) | signal_bit(12) | signal_bit(9) | (signal_bit(12) << 32));
    words[1].set((1 << 7) | (1 << 8) | (1 << (32 + 8)));
    let pair = [&words[0], &words[1]];
    assert_eq!(thread_claim::pending(pair, !0), signal_bit(10) | signal_bit(40));
    assert_eq!(thread_claim::pending(pair, signal_bit(40)), signal_bit(40));
    let claim = |mask, room| {
        let mut records = Vec::new();
        let count = thread_claim::claim(
            pair,
            mask,
            room,
            |signal| u64::from(signal) | (3 << 32),
            |record| records.push((record.signo, record.code, record.pid, record.uid)),
        );
        assert_eq!(count, records.len());
        records
    };
    assert_eq!(claim(!0, 1), [(10, SI_TKILL, 10, 3)]);
    assert_eq!(claim(!0, 9), [(40, SI_TKILL, 40, 3)]);
    assert_eq!(claim(!0, 9), []);
    assert_eq!(words[0].load(), signal_bit(12) | signal_bit(9) | (signal_bit(12) << 32));
    assert_eq!(words[1].load(), (1 << 8) | (1 << (32 + 8)));
}

fn read(router: &mut SignalRouter, length: usize, mut watches: Vec<(u64, &mut Watch)>) -> Vec<u64> {
    let mut buffer = vec![0; length];
    let bytes = router.read(&mut buffer, |pid| {
        for (watched, watch) in &mut watches {
            if *watched == pid {
                signal_router::heard(watch);
            }
        }
    });
    buffer[..bytes].as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect()
}

#[test]
fn eventd_is_told_once_until_it_has_read() {
    let mut router = SignalRouter::new();
    let (mut a, mut b) = (Watch::new(!0), Watch::new(!0));
    router.open(3);
    assert!(router.watch_begins() && router.watch_begins());
    assert_eq!(router.take_event(), None);
    router.tell(&mut a, 5);
    router.tell(&mut a, 5);
    assert_eq!(router.take_event(), Some(3));
    router.tell(&mut b, 6);
    // The event is out, and the reader goes on until it finds nothing.
    assert_eq!(router.take_event(), None);
    assert!(router.has_news());
    assert_eq!(read(&mut router, 15, vec![(5, &mut a), (6, &mut b)]), [5]);
    router.tell(&mut a, 5);
    assert_eq!(read(&mut router, 64, vec![(5, &mut a), (6, &mut b)]), [6, 5]);
    router.tell(&mut a, 5);
    assert_eq!(router.take_event(), None);
    assert_eq!(read(&mut router, 64, vec![(5, &mut a), (6, &mut b)]), [5]);
    assert_eq!(read(&mut router, 64, vec![]), []);
    assert!(!router.has_news());
    assert_eq!(router.take_event(), None);
    router.tell(&mut b, 6);
    router.tell_end(6);
    assert_eq!(router.take_event(), Some(3));
    assert_eq!(read(&mut router, 64, vec![(5, &mut a)]), [6, 6 | ENDED]);
    router.close();
    assert!(!router.is_open());
    router.tell(&mut a, 5);
    assert_eq!(router.take_event(), None);
}

/// What can happen to one process with two signals, of which one is watched.
#[derive(Clone, Copy, Debug)]
enum Step {
    Watch,
    WatchMore,
    Forget,
    Send(u32),
    ProcessTakes(u32),
    Read,
    Claim,
    End,
}

const STEPS: [Step; 11] = [
    Step::Watch,
    Step::WatchMore,
    Step::Forget,
    Step::Send(10),
    Step::Send(40),
    Step::Send(41),
    Step::ProcessTakes(10),
    Step::ProcessTakes(40),
    Step::Read,
    Step::Claim,
    Step::End,
];

/// The rule that sleepers rely on: whatever is pending and watched, eventd has seen when it looked last, or has news of to read, and is awake.
fn run(steps: &[Step]) {
    const PID: u64 = 8;
    let mut router = SignalRouter::new();
    router.open(1);
    let mut process = Process::default();
    let (mut mask, mut seen, mut event, mut ended, mut told_end) = (0, 0, false, false, false);
    for step in steps {
        match *step {
            _ if ended && !matches!(step, Step::Read) => continue,
            Step::Watch | Step::WatchMore => {
                mask = signal_bit(10) | signal_bit(40) | if let Step::WatchMore = step { signal_bit(41) } else { 0 };
                match &mut process.watch {
                    Some(watch) => watch.set_mask(mask),
                    None => {
                        assert!(router.watch_begins());
                        process.watch = Some(Watch::new(mask));
                    }
                }
                seen = process.pending.load() & mask;
            }
            Step::Forget => {
                if process.watch.take().is_some() {
                    router.watch_ends();
                }
                (mask, seen) = (0, 0);
            }
            Step::Send(signal) => {
                if let Some(watch) = process.watch.take() {
                    if watch.covers(signal) {
                        process.watch = Some(watch);
                        let sent = process.send(SignalRecord { signo: signal, ..SignalRecord::default() });
                        if let (Sent::Pending, Some(watch)) = (sent, &mut process.watch) {
                            router.tell(watch, PID);
                        }
                    } else {
                        process.pending.set(signal_bit(signal));
                        process.watch = Some(watch);
                    }
                } else {
                    process.pending.set(signal_bit(signal));
                }
            }
            Step::ProcessTakes(signal) => {
                process.pending.clear(signal_bit(signal));
            }
            Step::Read => {
                let watches = process.watch.as_mut().map(|watch| (PID, watch)).into_iter().collect();
                let news = read(&mut router, 8, watches);
                event = !news.is_empty();
                told_end |= news.contains(&(PID | ENDED));
                if news.contains(&PID) {
                    seen = process.pending.load() & mask;
                }
            }
            Step::Claim => {
                process.claim(mask, 9);
            }
            Step::End => {
                if process.watch.take().is_some() {
                    router.tell_end(PID);
                } else {
                    told_end = true;
                }
                ended = true;
            }
        }
        let woken = router.take_event().is_some();
        assert!(!(event && woken), "the reader is awake: {steps:?}");
        event |= woken;
        let unseen = process.pending.load() & mask & !seen;
        assert!(ended || unseen == 0 || router.has_news(), "{steps:?}");
        assert!(!ended || told_end || router.has_news(), "{steps:?}");
        assert!(event || !router.has_news(), "{steps:?}");
        // What is no longer pending has to be seen again.
        seen &= process.pending.load();
    }
}

#[test]
fn no_sequence_of_events_leaves_a_signal_untold() {
    const LENGTH: u32 = 6;
    for number in 0..STEPS.len().pow(LENGTH) {
        let steps: Vec<_> = (0..LENGTH).map(|at| STEPS[number / STEPS.len().pow(at) % STEPS.len()]).collect();
        run(&steps);
    }
}

#[test]
fn records_survive_the_way() {
    let record = SignalRecord {
        signo: 17,
        code: -1,
        pid: 0x0102_0304,
        uid: 5,
        value: 0x0807_0605_0403_0201,
        status: -2,
        utime: 3,
        stime: 4,
    };
    let bytes = record.to_bytes();
    assert_eq!(SignalRecord::from_bytes(&bytes), record);
    assert_eq!(bytes[..4], 17_u32.to_ne_bytes());
    assert_eq!(bytes[16..24], record.value.to_ne_bytes());
    assert_eq!(bytes[36..], [0; 12]);
    let sets = PendingSets { process: 1, threads: u64::MAX };
    assert_eq!(PendingSets::from_bytes(sets.to_bytes()), sets);
    assert_eq!(WATCHABLE & (signal_bit(9) | signal_bit(19)), 0);
}
