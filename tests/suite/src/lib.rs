//! What the end-to-end tests share: where things are, daemons of their own, programs with a time limit, skips.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that cannot be set up has failed.

mod conformance;
mod daemon;
mod program;
mod user;

pub use conformance::{Exceptions, compare, count_checks};
pub use daemon::{Daemon, await_that};
pub use program::{Finished, Running, compile, run};
pub use user::{is_root, repeat_as_user};

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/suite is two levels deep").to_owned()
}

/// Where `cargo build --release` puts the daemon and the preload library; EVENTD_BIN_DIR names another place.
///
/// # Panics
/// If they have not been built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let directory =
        std::env::var_os("EVENTD_BIN_DIR").map_or_else(|| repository().join("target/release"), PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --release` first", path.display());
    path
}

/// The preload library.
#[must_use]
pub fn preload() -> PathBuf {
    built("libeventd_preload.so")
}

/// Says that a test could not run here. The line is counted by `make test`.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
}
