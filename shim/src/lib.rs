//! `<sys/eventfd.h>`, `<sys/signalfd.h>` and the named semaphores of `<semaphore.h>` for a C library, forwarded to eventd.
//!
//! The crate reaches the outside through libredox's C ABI only, which the C library itself provides. The C library exports the functions in its own way.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

use core::sync::atomic;

pub mod cell;
mod client;
#[cfg(test)]
mod client_tests;
mod errno;
mod eventfd;
pub mod name;
mod path;
mod readiness;
mod semaphore;
#[cfg(test)]
mod semaphore_tests;
mod signalfd;
mod sys;
pub mod table;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use errno::Errno;
pub use eventfd::{
    CELL, EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, TELL, TRIGGER, eventfd, eventfd_read, eventfd_write,
};
pub use path::CONTENT_MAX;
pub use readiness::{READINESS, readiness};
pub use semaphore::{Create, SEM_VALUE_MAX, Semaphores, creates, sem_unlink};
pub use signalfd::{SET_MASK, SFD_CLOEXEC, SFD_NONBLOCK, signalfd};

// What it was when version 1 of the layout was named.
const _: () = assert!(size_of::<cell::Cell>() == 64);
