//! A counter's memory, as clients map it.

use std::ops::Deref;

use eventd_shim::cell::Cell;
use syscall::error::Result;

use super::page::Page;

/// A page with one counter.
#[derive(Debug)]
pub(super) struct SharedCell(Page);

impl SharedCell {
    /// A page of zeros.
    ///
    /// # Errors
    /// ENOMEM.
    pub(super) fn new() -> Result<Self> {
        Page::new(&[]).map(Self)
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
