//! What a descriptor of eventd's is ready for, asked of eventd itself.

use crate::Errno;
use crate::sys;

/// Metadata of the call that asks. There is no payload; the result has Redox's event flags.
pub const READINESS: u64 = u64::from_be_bytes(*b"READINES");

/// The event flags (`EVENT_READ`, `EVENT_WRITE`) for which the eventfd or signalfd `fd` is ready now, for a signalfd from the calling thread's point of view.
///
/// An event queue of Redox keeps what it has been told. A C library asks before it passes that on, so that level-triggered waits end for what is true (semantics 42, 110).
///
/// # Errors
/// EOPNOTSUPP, or what another scheme says to a call that it does not know, if `fd` is something else.
pub fn readiness(fd: usize) -> Result<usize, Errno> {
    sys::call(fd, [READINESS, 0])
}
