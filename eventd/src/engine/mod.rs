//! The objects that eventd serves, without any input or output.
//!
//! A request is a method call. What follows from it for others (parked requests that are now answered, readiness to announce) is pushed to a list of
//! [`Effect`]s, which the caller carries out. The engine knows no clock, no descriptors and no scheme; see `docs/design.md`.

mod counter;
mod eventfd;
mod semaphore;
mod signalfd;
mod wait;

pub use counter::Counter;
pub use eventd_shim::cell::{MAX, Mode};
pub use eventfd::{Eventfd, EventfdId, Eventfds, Owner, Parked, Totals};
pub use semaphore::{Access, Identity, Semaphore, SemaphoreId, SemaphoreTotals, Semaphores};
pub use signalfd::{ParkedRead, SignalSet, Signalfd, SignalfdId, Signalfds};

use core::ops::{BitAnd, BitOr};

/// Why a request failed, in the terms of the object; the front end turns it into an errno.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// EINVAL: the request can never succeed as it stands.
    Invalid,
    /// EAGAIN: the request would have to wait, and its caller does not want to.
    WouldBlock,
    /// EBADF: there is no such object.
    NoObject,
    /// ENOENT: there is no object of this name.
    NotFound,
    /// EEXIST: there is an object of this name.
    Exists,
    /// EACCES: the caller may not do this to the object.
    NotPermitted,
}

/// Whether a request may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blocking {
    /// Park the request until it can be answered.
    Wait,
    /// Fail with [`Error::WouldBlock`] (the caller's descriptor has O_NONBLOCK).
    Never,
}

/// The result of a request that may have to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress<T> {
    /// The request is complete.
    Done(T),
    /// The request waits; its ticket comes back in an [`Effect`].
    Parked(Parked),
}

/// What an object can be used for without waiting.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Readiness {
    /// A read would not wait (POLLIN).
    pub readable: bool,
    /// A write of the smallest effective value would not wait (POLLOUT).
    pub writable: bool,
}

impl Readiness {
    /// Ready for nothing, or interested in nothing.
    pub const NONE: Self = Self { readable: false, writable: false };

    /// Whether neither bit is set.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl BitAnd for Readiness {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self { readable: self.readable & other.readable, writable: self.writable & other.writable }
    }
}

impl BitOr for Readiness {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { readable: self.readable | other.readable, writable: self.writable | other.writable }
    }
}

/// Those who sleep in memory that they map, for want of one change of the count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sleepers {
    /// They wait for something to read.
    Readers,
    /// They wait for room.
    Writers,
}

/// What the caller of the engine has to do after a request, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect<T> {
    /// The parked read `ticket` is complete and got `value`.
    Read {
        /// The ticket that the read came with.
        ticket: T,
        /// The value to hand to the reader.
        value: u64,
    },
    /// The parked write `ticket` is complete.
    Written {
        /// The ticket that the write came with.
        ticket: T,
    },
    /// The object is gone under the parked request `ticket`: nobody can receive its result any more.
    Dropped {
        /// The ticket that the request came with.
        ticket: T,
    },
    /// Clients may sleep for what has come about: [`wake`](eventd_shim::cell::Gate::wake) them, at the [gate](Counter::gate) where they are.
    Wake {
        /// The object, which is live.
        eventfd: EventfdId,
        /// Who sleeps.
        sleepers: Sleepers,
    },
    /// The watched object has this readiness now.
    Ready {
        /// The description that [`Eventfds::watch`] named.
        description: usize,
        /// The part of the readiness that is watched; never none.
        readiness: Readiness,
    },
}
