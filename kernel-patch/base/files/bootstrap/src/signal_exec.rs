//! Signals that are pending when a process runs another program stay pending (POSIX, exec).
//!
//! They are in pages of the old program. The new one registers its own, first that of its thread, then that of the process. By then its libc must have
//! blocked what the old program blocked: what is not blocked is left out, as without this file, since the new program has not set its actions.

use alloc::vec::Vec;
use core::cell::RefCell;

use super::pending_word::PendingWord;
use super::signal_protocol::signal_bit;
use super::signal_routes::pending_for_thread;
use super::{Process, ProcessId, Thread};

const HALF: u64 = 0xffff_ffff;

type Senders = [syscall::data::AtomicU64; 32];

/// What was pending in a page that is about to be replaced.
#[derive(Debug)]
pub(super) struct Kept {
    pending: u64,
    senders: [u64; 32],
}

impl Kept {
    fn new(pending: u64, senders: &Senders) -> Self {
        Self { pending, senders: core::array::from_fn(|index| PendingWord::load(&senders[index])) }
    }

    /// What is pending for a process as a whole, if it has a page yet.
    pub(super) fn of_process(process: &Process) -> Option<Self> {
        let control = process.sig_pctl.as_ref()?;
        Some(Self::new(PendingWord::load(&control.pending), &control.sender_infos))
    }

    /// Puts those of `set` into another page by `store`.
    fn move_to(&self, set: u64, senders: &Senders, store: impl FnOnce(u64)) {
        let set = self.pending & set;
        for (index, place) in senders.iter().enumerate() {
            // A thread has one slot for signal n and n + 32.
            if (set | (set >> 32)) & (1 << index) != 0 {
                place.store(self.senders[index], core::sync::atomic::Ordering::SeqCst);
            }
        }
        store(set);
    }
}

/// The signals of threads whose process has yet to register its page.
#[derive(Debug, Default)]
pub(super) struct AtExec(RefCell<Vec<(ProcessId, Kept)>>);

impl AtExec {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// A thread is about to register a page.
    pub(super) fn keep(&self, thread: &Thread) {
        let Some(control) = &thread.sig_ctrl else { return };
        let pending = pending_for_thread(control);
        // The dynamic linker registers a page of its own before the program does.
        let mut kept = self.0.borrow_mut();
        // Without memory they are lost, as they would be without this file.
        if pending != 0 && kept.try_reserve(1).is_ok() {
            kept.push((thread.pid, Kept::new(pending, &control.sender_infos)));
        }
    }

    /// The process has registered its page, and `kept` was in the one before.
    pub(super) fn restore(&self, process: &Process, kept: Option<Kept>) {
        let of_thread = self.forget(process.pid);
        let (Some(control), Some(thread)) = (&process.sig_pctl, process.threads.first()) else { return };
        let thread = thread.borrow();
        let Some(own) = &thread.sig_ctrl else { return };
        let [low, high] = [&own.word[0], &own.word[1]].map(|word| !(PendingWord::load(word) >> 32) & HALF);
        let wanted = (1..=64)
            .filter(|signal| {
                let watched = process.watch.as_ref().is_some_and(|watch| watch.covers(*signal));
                watched || !control.signal_will_ign(*signal as usize, false)
            })
            .fold(0, |set, signal| set | signal_bit(signal));
        let set = (low | (high << 32)) & wanted;
        if let Some(kept) = kept {
            kept.move_to(set, &control.sender_infos, |set| {
                PendingWord::set(&control.pending, set);
            });
        }
        if let Some(kept) = of_thread {
            kept.move_to(set, &own.sender_infos, |set| {
                PendingWord::set(&own.word[0], set & HALF);
                PendingWord::set(&own.word[1], set >> 32);
            });
        }
    }

    /// Forgets a process that has ended.
    pub(super) fn forget(&self, process: ProcessId) -> Option<Kept> {
        let mut kept = self.0.borrow_mut();
        let index = kept.iter().position(|(pid, _)| *pid == process)?;
        Some(kept.swap_remove(index).1)
    }
}
