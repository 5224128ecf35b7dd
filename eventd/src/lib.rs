//! eventd: a scheme daemon that serves eventfd on Redox.
//!
//! [`engine`] holds the objects, [`scheme`] translates between them and the scheme protocol, [`server`] is the loop. The binary wires these together.

pub mod engine;
pub mod options;
mod request;
pub mod scheme;
pub mod server;

/// The name under `/scheme/`.
pub const NAME: &str = "eventd";
