//! eventd: a scheme daemon that serves eventfd and named semaphores on Redox.
//!
//! [`engine`] holds the objects, [`scheme`] translates between them and the scheme protocol, [`server`] is the loop. The binary wires these together.

pub mod engine;
mod futex;
pub mod options;
mod request;
pub mod router;
pub mod scheme;
pub mod server;

/// The name under `/scheme/`.
pub const NAME: &str = "eventd";

// The C functions of libredox, which relibc has on Redox.
#[cfg(not(target_os = "redox"))]
use scheme_host as _;
