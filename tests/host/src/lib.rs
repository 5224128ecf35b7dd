//! The Redox side of libredox's C ABI, on Linux.
//!
//! A daemon that is written with redox-scheme reaches its kernel only through the C functions of libredox. This crate defines them on Linux: it plays the
//! kernel for the daemon, and serves the daemon's scheme as a FUSE mount, so that the unmodified daemon answers real descriptors of real programs.
//! `docs/host.md` tells what it does and does not do.
//!
//! Linking the crate is enough: `use scheme_host as _;` in the binary. Tests can do without FUSE and be clients themselves, see [`Namespace`].

mod abi;
mod client;
mod descriptors;
mod events;
mod file_id;
mod fuse;
mod ioctl;
mod mapped_files;
mod mapping;
mod memory;
mod namespace;
mod payload;
mod process;
mod protocol;
mod scheme;
mod signals;
mod termination;
mod translate;

pub use abi::on_open_error;
pub use client::{Client, Descriptor, Outcome, Pending};
pub use namespace::Namespace;
pub use protocol::Identity;
pub use signals::helper::lend_signals;
