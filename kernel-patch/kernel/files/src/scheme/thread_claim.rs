//! Taking the signals that are directed at one thread, on its behalf.
//!
//! A thread has two words, for signals 1 to 32 and 33 to 64: the low half is pending, the high half is what the thread lets through. redox-rt relies on
//! nobody but the thread clearing its pending bits: it looks at a bit, runs the handler, and clears the bit without asking whether it still was set. So a
//! claim must not happen while the thread runs. The caller sees to that: the thread waits in a call of the very scheme that claims, and cannot
//! return from it before the claim is done. What the thread does with its words before and after are single atomic operations; between two of them
//! that belong together it makes no call to another scheme than the process manager's.

use super::{
    pending_word::{first, PendingWord},
    signal_protocol::{signal_bit, SignalRecord, SI_TKILL, WATCHABLE},
};

const HALF: u64 = 0xffff_ffff;

/// What of `mask` is pending in these two words and not let through.
pub fn pending<W: PendingWord>(words: [&W; 2], mask: u64) -> u64 {
    let [low, high] = words.map(|word| {
        let word = word.load();
        word & !(word >> 32) & HALF
    });
    (low | (high << 32)) & mask & WATCHABLE
}

/// Takes up to `room` of the signals that [`pending`] names, in the order of [`first`], and hands each to `emit`. Returns how many.
///
/// `sender` says who sent a signal: pid in the low half, real uid in the high half.
pub fn claim<W: PendingWord>(
    words: [&W; 2],
    mask: u64,
    room: usize,
    sender: impl Fn(u32) -> u64,
    mut emit: impl FnMut(SignalRecord),
) -> usize {
    let mut left = pending(words, mask);
    let mut taken = 0;
    while taken < room {
        let Some(signal) = first(left) else { break };
        left &= !signal_bit(signal);
        // The sender before the bit: once it is clear, the next one may write its name there.
        let sender = sender(signal);
        let (word, bit) = match signal {
            1..=32 => (words[0], signal_bit(signal)),
            _ => (words[1], signal_bit(signal - 32)),
        };
        // The process manager may have taken it back: SIGCONT and the stop signals cancel each other.
        if word.clear(bit) & bit != 0 {
            emit(SignalRecord {
                signo: signal,
                code: SI_TKILL,
                pid: (sender & HALF) as u32,
                uid: (sender >> 32) as u32,
                ..SignalRecord::default()
            });
            taken += 1;
        }
    }
    taken
}
