//! The claim of signals against those who take them otherwise, under loom. The files are those that go into the process manager and the kernel.

extern crate alloc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use loom::sync::{Arc, Mutex};
use loom::thread;
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
use signal_protocol::{SignalRecord, signal_bit};
use signal_router::{Queued, Sent, Watch};

const USR1: u32 = 10;
const RT: u32 = 40;

impl Queued for u64 {
    fn record(&self, signal: u32) -> SignalRecord {
        record(signal, *self)
    }
}

struct Word(AtomicU64);

impl Word {
    fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }
}

impl PendingWord for Word {
    fn load(&self) -> u64 {
        // loom lets a SeqCst load see an old value, as Acquire may. One that also writes does not.
        self.0.fetch_or(0, SeqCst)
    }
    fn set(&self, bits: u64) -> u64 {
        self.0.fetch_or(bits, SeqCst)
    }
    fn clear(&self, bits: u64) -> u64 {
        self.0.fetch_and(!bits, SeqCst)
    }
}

fn record(signo: u32, value: u64) -> SignalRecord {
    SignalRecord { signo, value, ..SignalRecord::default() }
}

/// What only the process manager touches, with its one thread.
struct Manager {
    watch: Watch,
    queues: Vec<VecDeque<u64>>,
}

impl Manager {
    fn new() -> Self {
        Self { watch: Watch::new(!0), queues: Vec::new() }
    }

    fn send(&mut self, pending: &Word, signal: u32, value: u64) -> Sent {
        if signal < signal_router::FIRST_REALTIME {
            self.watch.send_standard(pending, record(signal, value), || ())
        } else {
            signal_router::send_realtime(pending, &mut self.queues, signal, value)
        }
    }

    fn claim(&mut self, pending: &Word, mask: u64) -> Vec<u64> {
        let mut values = Vec::new();
        signal_router::claim(
            Some(&self.watch),
            pending,
            &mut self.queues,
            mask,
            9,
            |_| 0,
            |record| {
                values.push(record.value);
            },
        );
        values
    }
}

/// As redox-rt does it for a handler and in sigwait: who clears the bit has the signal.
fn process_takes(pending: &Word, signal: u32) -> bool {
    pending.load() & signal_bit(signal) != 0 && pending.clear(signal_bit(signal)) & signal_bit(signal) != 0
}

#[test]
fn a_signal_is_taken_by_the_claim_or_by_the_process() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let mut manager = Manager::new();
        manager.send(&pending, USR1, 7);
        let process = thread::spawn({
            let pending = pending.clone();
            move || usize::from(process_takes(&pending, USR1))
        });
        let claimed = manager.claim(&pending, !0);
        assert_eq!(claimed.len() + process.join().unwrap_or(9), 1);
        assert!(claimed.iter().all(|value| *value == 7));
        assert_eq!(pending.load(), 0);
    });
}

#[test]
fn two_threads_of_the_process_and_a_claim() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let pending = Arc::new(Word::new(0));
        let mut manager = Manager::new();
        let takers = [0, 1].map(|_| {
            let pending = pending.clone();
            thread::spawn(move || usize::from(process_takes(&pending, USR1)))
        });
        let mut sent = 0;
        let mut claimed = Vec::new();
        for value in 0..2 {
            sent += usize::from(manager.send(&pending, USR1, value) == Sent::Pending);
            claimed.extend(manager.claim(&pending, signal_bit(USR1)));
        }
        let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap_or(9)).sum();
        // One that merged with one that was taken in that moment does not count: they were one signal.
        assert_eq!(claimed.len() + taken, sent);
        // Each claim found the signal that was sent last, not what was known of an earlier one.
        assert!(claimed.is_sorted() && claimed.iter().all(|value| *value < 2));
        assert_eq!(pending.load(), 0);
    });
}

#[test]
fn the_first_sender_is_remembered_until_the_signal_is_taken() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let mut manager = Manager::new();
        manager.send(&pending, USR1, 1);
        let process = thread::spawn({
            let pending = pending.clone();
            move || process_takes(&pending, USR1)
        });
        let second = manager.send(&pending, USR1, 2);
        let claimed = manager.claim(&pending, !0);
        let taken = process.join().unwrap_or(false);
        let expected: &[u64] = match (taken, second) {
            // Both were one signal, and the process took it.
            (true, Sent::Merged) => &[],
            // The process took the first before the second came.
            (true, _) => &[2],
            (false, _) => &[1],
        };
        assert_eq!(claimed, expected);
    });
}

#[test]
fn ignoring_flushes_what_was_queued_and_nothing_later() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let mut manager = Manager::new();
        manager.send(&pending, RT, 1);
        manager.send(&pending, RT, 2);
        // sigaction(SIG_IGN): the process clears the bit, and cannot reach the queue.
        let process = thread::spawn({
            let pending = pending.clone();
            move || {
                pending.clear(signal_bit(RT));
            }
        });
        manager.send(&pending, RT, 3);
        process.join().unwrap_or(());
        let claimed = manager.claim(&pending, !0);
        assert!(claimed.is_empty() || claimed == [3], "{claimed:?}");
        assert_eq!(pending.load(), 0);
    });
}

#[test]
fn a_claim_during_a_flush_takes_each_once_and_in_order() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let mut manager = Manager::new();
        for value in 1..=3 {
            manager.send(&pending, RT, value);
        }
        let process = thread::spawn({
            let pending = pending.clone();
            move || {
                pending.clear(signal_bit(RT));
            }
        });
        let claimed = manager.claim(&pending, !0);
        process.join().unwrap_or(());
        assert!([1, 2, 3].starts_with(&claimed), "{claimed:?}");
        manager.send(&pending, RT, 4);
        assert_eq!(manager.claim(&pending, !0), [4]);
        assert_eq!(pending.load(), 0);
    });
}

#[test]
fn a_claim_stops_at_a_flush() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let flushed = Arc::new(AtomicBool::new(false));
        let mut manager = Manager::new();
        for value in 1..=3 {
            manager.send(&pending, RT, value);
        }
        let process = thread::spawn({
            let (pending, flushed) = (pending.clone(), flushed.clone());
            move || {
                pending.clear(signal_bit(RT));
                flushed.store(true, SeqCst);
            }
        });
        let mut late = 0;
        signal_router::claim(
            None,
            &*pending,
            &mut manager.queues,
            !0,
            9,
            |_| 0,
            |_| {
                late += usize::from(flushed.load(SeqCst));
            },
        );
        // The one that was being taken at that moment, but no further.
        assert!(late <= 1);
        process.join().unwrap_or(());
    });
}

#[test]
fn who_sees_the_signal_sees_its_sender() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let sender = Arc::new(AtomicU64::new(0));
        let process = thread::spawn({
            let (pending, sender) = (pending.clone(), sender.clone());
            move || assert!(pending.load() & signal_bit(USR1) == 0 || sender.load(SeqCst) == 5)
        });
        let mut manager = Manager::new();
        manager.watch.send_standard(&*pending, record(USR1, 1), || sender.store(5, SeqCst));
        assert!(process.join().is_ok());
    });
}

#[test]
fn a_sender_and_a_thread_that_unblocks_do_not_miss_each_other() {
    loom::model(|| {
        let pending = Arc::new(Word::new(0));
        let lets_through = Arc::new(Word::new(0));
        let found = Arc::new(AtomicBool::new(false));
        let process = thread::spawn({
            let (pending, lets_through, found) = (pending.clone(), lets_through.clone(), found.clone());
            move || {
                // As in redox-rt's modify_sigmask. It says Relaxed, but both are locked instructions.
                lets_through.set(signal_bit(USR1));
                found.store(pending.load() & signal_bit(USR1) != 0, SeqCst);
            }
        });
        let mut manager = Manager::new();
        // As in signal_routes.rs: first the bit, then the look for a thread.
        manager.send(&pending, USR1, 1);
        let interrupted = lets_through.load() & signal_bit(USR1) != 0;
        process.join().unwrap_or(());
        assert!(interrupted || found.load(SeqCst));
    });
}

#[test]
fn the_kernel_claims_for_a_waiting_thread_only() {
    // The request's state, its lock, and what the thread does before and after its call.
    loom::model(|| {
        let words = Arc::new([Word::new(0), Word::new(0)]);
        let waiting = Arc::new(Mutex::new(false));
        words[0].set(signal_bit(USR1));
        let daemon = thread::spawn({
            let (words, waiting) = (words.clone(), waiting.clone());
            move || {
                let Ok(mut waiting) = waiting.lock() else { return 9 };
                if !*waiting {
                    return 0;
                }
                let taken = thread_claim::claim([&words[0], &words[1]], !0, 9, |_| 0, |_| ());
                *waiting = false;
                taken
            }
        });
        // The thread takes its own signal as redox-rt does: a look, then a clear that is not asked.
        let mut taken = 0;
        let look = |taken: &mut usize| {
            if words[0].load() & signal_bit(USR1) != 0 {
                words[0].clear(signal_bit(USR1));
                *taken += 1;
            }
        };
        // In its call; it returns when it is answered, or by a Cancel that the daemon answers first.
        if let Ok(mut waiting) = waiting.lock() {
            *waiting = true;
        }
        thread::yield_now();
        let answered = waiting.lock().map(|mut waiting| std::mem::take(&mut *waiting)).is_ok();
        assert!(answered);
        look(&mut taken);
        assert_eq!(taken + daemon.join().unwrap_or(9), 1);
    });
}

#[test]
fn the_kernel_and_a_stop_signal_that_is_cancelled() {
    loom::model(|| {
        let words = Arc::new([Word::new(signal_bit(20)), Word::new(1 << 3)]);
        let manager = thread::spawn({
            let words = words.clone();
            // The process manager on SIGCONT.
            move || words[0].clear(signal_bit(20)) & signal_bit(20) != 0
        });
        let mut signals = Vec::new();
        thread_claim::claim([&words[0], &words[1]], !0, 9, |_| 0, |record| signals.push(record.signo));
        let cancelled = manager.join().unwrap_or(false);
        assert_eq!(signals, if cancelled { vec![36] } else { vec![20, 36] });
    });
}
