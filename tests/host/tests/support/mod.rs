//! What the tests share.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the whole process if it still lives after its time: a test that hangs must say so.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>);

/// Gives the calling test `seconds`, until the watchdog is dropped.
#[must_use]
pub(crate) fn within(seconds: u64) -> Watchdog {
    let (alive, gone) = channel();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if gone.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            // Not through the macro: the test harness keeps what that prints.
            let _ = writeln!(std::io::stderr(), "{test} did not end within {seconds} s");
            std::process::abort();
        }
    });
    Watchdog(alive)
}
