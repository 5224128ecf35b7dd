//! A word of pending signals that others change at the same time.
//!
//! Copied into the process manager and the kernel by `make-patch.sh`. The tests put loom's atomics in the place of the real ones.

/// An atomic word in which bits are set by who sends signals, and cleared by whoever takes them.
///
/// All of it must be sequentially consistent: a sender sets a bit and then looks whether a thread lets it through, while the thread lets it through
/// and then looks for the bit. If both could miss each other's store, the signal would sleep until the next one comes.
pub trait PendingWord {
    /// The bits now.
    fn load(&self) -> u64;
    /// Sets bits, and says which of all bits were set before.
    fn set(&self, bits: u64) -> u64;
    /// Clears bits, and says which of all bits were set before. Who finds a bit set here has taken the signal, and nobody else has.
    fn clear(&self, bits: u64) -> u64;
}

/// What a fault raises: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS.
const SYNCHRONOUS: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30;

/// Which signal of a set is taken first (Linux, next_signal): those that faults raise, then the others; the lowest number of each.
pub fn first(set: u64) -> Option<u32> {
    let set = if set & SYNCHRONOUS == 0 { set } else { set & SYNCHRONOUS };
    (set != 0).then(|| set.trailing_zeros() + 1)
}
