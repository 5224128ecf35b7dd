//! Waking those who sleep in memory that clients share with eventd.
#![allow(unsafe_code)]

use eventd_shim::cell::Gate;
use syscall::error::Error;

unsafe extern "C" {
    /// Wakes up to `count` of those who sleep at `word`, in all processes that map it. libredox does not declare it; relibc has it beside the functions
    /// that libredox does declare.
    fn redox_futex_wake_v0(word: *mut u32, count: u32) -> usize;
}

/// Wakes all who sleep at `gate`.
pub(crate) fn wake(gate: &Gate) {
    gate.wake(|| {
        // SAFETY: the word is mapped as long as the gate is borrowed; the kernel looks up who sleeps there, and leaves what it holds alone.
        let woken = unsafe { redox_futex_wake_v0(gate.word().as_ptr(), u32::MAX) };
        if let Err(error) = Error::demux(woken) {
            log::warn!("cannot wake those who wait for an eventfd: {error}");
        }
    });
}
