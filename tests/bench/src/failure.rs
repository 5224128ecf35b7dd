//! The one error type: a sentence naming the thing and the cause.

use std::{fmt, io, result};

/// The result of everything here that can fail.
pub type Result<T> = result::Result<T, Failure>;

/// Says what could not be done, and why.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Turns a bare system error into a [`Failure`] that says what was tried.
pub(crate) trait Context<T> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Failure(format!("cannot {}: {cause}", tried())))
    }
}
