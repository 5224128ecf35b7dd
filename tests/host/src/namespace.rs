//! Names of schemes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use syscall::error::{EEXIST, ENODEV, Error};

use crate::client::Client;
use crate::protocol::Identity;
use crate::scheme::Scheme;

thread_local! {
    static CURRENT: RefCell<Option<Namespace>> = const { RefCell::new(None) };
}

/// A namespace of this process: schemes that a thread registers in it are seen by the [`Client`]s of it, and by nobody else.
///
/// A thread that has entered none registers its schemes in the file system.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    schemes: Arc<Mutex<HashMap<String, Arc<Scheme>>>>,
}

impl Namespace {
    /// An empty namespace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the calling thread registers its schemes here.
    pub fn enter(&self) {
        CURRENT.set(Some(self.clone()));
    }

    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(crate) fn register(&self, name: &str, scheme: Arc<Scheme>) -> Result<(), Error> {
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        // The name of a dead scheme is free, as a mount that a killed daemon left behind is detached.
        if schemes.get(name).is_some_and(|scheme| !scheme.has_ended()) {
            return Err(Error::new(EEXIST));
        }
        schemes.insert(name.to_owned(), scheme);
        Ok(())
    }

    /// A process that uses the scheme `name`.
    ///
    /// # Errors
    /// ENODEV if there is no such scheme.
    pub fn client(&self, name: &str, identity: Identity) -> Result<Client, Error> {
        let schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        let scheme = schemes.get(name).ok_or(Error::new(ENODEV))?;
        Client::new(Arc::clone(scheme), identity)
    }
}
