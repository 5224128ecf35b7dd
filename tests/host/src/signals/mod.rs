//! The signals of processes: the stand-in for the process manager's signal router, which Linux does not have.
//!
//! Only a process itself can take its signals. So a daemon that routes signals and the programs that use its files work together here:
//!
//! - In the daemon's process there is a [`Router`], behind the descriptor that an open of [`PATH`] gives. It listens on a socket beside the scheme's mount.
//! - In a program there is a [`helper`]: a thread that has a connection to the router, says when a signal becomes pending, and takes signals when asked.
//!
//! What is pending, the router reads in `/proc`, so that it asks a helper for nothing but what only that can do.

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

pub(crate) mod helper;
mod information;
mod router;

/// The same file that goes into eventd and, on Redox, into the process manager.
#[path = "../../../../kernel-patch/protocol.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, clippy::wrong_self_convention)] // Some of it is for the other sides.
pub(crate) mod protocol;

pub(crate) use router::{Listening, Router, current};

/// Where a daemon finds the router.
pub(crate) const PATH: &[u8] = b"/scheme/proc/signal-router";

/// The socket of the router that goes with `scheme`, in the directory of the mounts. The address begins with that as an open descriptor, since a path may be too
/// long for an address; the descriptor is the thread's, which may have others than the process.
fn socket_address(directory: BorrowedFd<'_>, scheme: &str) -> rustix::io::Result<SocketAddrUnix> {
    let mut path = [0; 100];
    let mut rest = &mut path[..];
    let directory = directory.as_raw_fd();
    write!(rest, "/proc/thread-self/fd/{directory}/.signals-{scheme}").map_err(|_| Errno::NAMETOOLONG)?;
    let left = rest.len();
    SocketAddrUnix::new(&path[..path.len() - left])
}

/// A message of the router: a verb, the number of a claim, a mask, and how many signals there is room for.
type Order = [u64; 4];
/// The connection is known to the router.
const WELCOME: u64 = 0;
/// Tell of signals in the mask from now on.
const WATCH: u64 = 1;
/// Take signals of the mask.
const CLAIM: u64 = 2;

/// A message of a helper: a verb and the number of the claim that it answers, before what was taken.
type Report = [u64; 2];
/// A signal has become pending.
const NEWS: u64 = 1;
/// What was taken, each as a `siginfo_t`.
const TAKEN: u64 = 2;

/// The size of a `siginfo_t`.
const INFORMATION: usize = 128;
/// How many signals one message carries.
const MOST: usize = 32;

/// Numbers as bytes.
fn to_bytes<const WORDS: usize>(words: [u64; WORDS]) -> [[u8; 8]; WORDS] {
    words.map(u64::to_ne_bytes)
}

/// Numbers from the beginning of a message, and what follows them.
fn from_bytes<const WORDS: usize>(bytes: &[u8]) -> Option<([u64; WORDS], &[u8])> {
    let (words, _) = bytes.as_chunks::<8>();
    let words = words.first_chunk::<WORDS>()?;
    Some((words.map(u64::from_ne_bytes), &bytes[size_of_val(words)..]))
}
