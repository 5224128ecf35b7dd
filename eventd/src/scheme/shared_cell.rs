//! A counter's memory, as the counter and the descriptors by which clients map it hold it.

use std::ops::Deref;
use std::rc::Rc;

use eventd_shim::cell::Cell;
use syscall::error::Result;

use super::page::Page;

/// A page with one counter, given back when neither the counter nor a descriptor is left.
#[derive(Clone, Debug)]
pub(super) struct SharedCell(Rc<Page>);

impl SharedCell {
    /// A page of zeros.
    ///
    /// # Errors
    /// ENOMEM.
    pub(super) fn new() -> Result<Self> {
        Page::new(&[]).map(|page| Self(Rc::new(page)))
    }

    pub(super) fn page(&self) -> &Page {
        &self.0
    }
}

impl Deref for SharedCell {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        self.0.cell()
    }
}
