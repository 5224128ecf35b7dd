//! A page that clients can map.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use eventd_shim::cell::Cell;
use libredox::call::{self, MmapArgs};
use libredox::flag::{MAP_SHARED, PROT_READ, PROT_WRITE};
use syscall::PAGE_SIZE;
use syscall::error::{EINVAL, Error, Result};

/// A page of this process. Whoever maps it may write to it at any time, so it is only ever read as atomics.
#[derive(Debug)]
pub(super) struct Page(NonNull<AtomicU32>);

impl Page {
    /// The size in bytes.
    pub(super) const SIZE: usize = PAGE_SIZE;

    /// A page that begins with `content`, and is zero behind it.
    ///
    /// # Errors
    /// EINVAL for a content that does not fit, ENOMEM.
    pub(super) fn new(content: &[u8]) -> Result<Self> {
        if content.len() > Self::SIZE {
            return Err(Error::new(EINVAL));
        }
        // SAFETY: a new mapping at an address that the system chooses touches no memory in use.
        let start = unsafe {
            call::mmap(MmapArgs {
                addr: std::ptr::null_mut(),
                length: Self::SIZE,
                prot: PROT_READ | PROT_WRITE,
                flags: MAP_SHARED,
                fd: usize::MAX,
                offset: 0,
            })
        }
        .map_err(|error| Error::new(error.errno()))?;
        let page = Self(NonNull::new(start.cast()).ok_or(Error::new(EINVAL))?);
        for (index, byte) in content.iter().enumerate() {
            // SAFETY: the index is inside of the page, which is mapped as long as `page` lives; an AtomicU8 may lie anywhere.
            unsafe { page.0.cast::<AtomicU8>().add(index).as_ref() }.store(*byte, Ordering::Relaxed);
        }
        Ok(page)
    }

    /// The address, for the kernel to share.
    pub(super) fn address(&self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// The first word: a semaphore's value. It is whatever those who map the page made of it.
    pub(super) fn value(&self) -> u32 {
        // SAFETY: the page is mapped as long as `self` lives.
        unsafe { self.0.as_ref() }.load(Ordering::Relaxed)
    }

    /// The cell at the start; in a page of zeros it is none that clients use.
    pub(super) fn cell(&self) -> &Cell {
        const { assert!(size_of::<Cell>() <= Self::SIZE && align_of::<Cell>() <= Self::SIZE) };
        // SAFETY: the page is mapped as long as `self` lives; a cell is made of atomics, for which all bits will do.
        unsafe { self.0.cast().as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: `new` made the mapping, and nobody has its address without a reference to `self`; clients have mappings of their own.
        let unmapped = unsafe { call::munmap(self.0.as_ptr().cast(), Self::SIZE) };
        if let Err(error) = unmapped {
            log::warn!("cannot give a page back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_begins_with_its_content() {
        let page = Page::new(&[3, 1, 0, 0, 9]);
        assert_eq!(page.as_ref().map(Page::value), Ok(0x103));
        assert!(page.is_ok_and(|page| page.address().is_multiple_of(Page::SIZE)));
        assert!(Page::new(&[0; Page::SIZE + 1]).is_err());
    }
}
