//! `<sys/eventfd.h>` for a C library, forwarded to eventd.
//!
//! The crate allocates nothing and reaches the outside through libredox's C ABI only, which the C library itself provides. With the feature `c-abi` it exports
//! the C functions; without, their Rust forms are there for a C library that has its own way of exporting.
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "c-abi")]
mod c_abi;
mod errno;
mod eventfd;
mod path;
mod sys;
#[cfg(test)]
mod tests;

pub use errno::Errno;
pub use eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, eventfd, eventfd_at, eventfd_read, eventfd_write};
