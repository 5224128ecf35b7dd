//! The buffers of requests.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// The address that the kernel gives for an empty buffer: not null, aligned for everything, and never valid.
const DANGLING: u64 = 1 << 63;

/// A buffer that the daemon reads or writes while it handles a request.
///
/// It stands for the pages of the client that the kernel maps into the daemon: the address stays the same until the buffer is dropped, and nobody but the
/// daemon looks into it before the answer.
#[derive(Debug)]
pub(crate) struct Payload {
    start: NonNull<u64>,
    words: usize,
    len: usize,
}

// SAFETY: a Payload owns its allocation as a Box does.
unsafe impl Send for Payload {}

impl Payload {
    pub(crate) fn empty() -> Self {
        Self::zeroed(0)
    }

    pub(crate) fn zeroed(len: usize) -> Self {
        // Whole words, so that a structure in the buffer is aligned.
        let words = Box::leak(vec![0_u64; len.div_ceil(size_of::<u64>())].into_boxed_slice());
        Self { words: words.len(), len, start: NonNull::from(words).cast::<u64>() }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut payload = Self::zeroed(bytes.len());
        payload.bytes_mut().copy_from_slice(bytes);
        payload
    }

    /// Where the daemon finds the buffer.
    pub(crate) fn address(&self) -> u64 {
        if self.len == 0 { DANGLING } else { self.start.as_ptr().expose_provenance() as u64 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation holds at least `len` initialised bytes, and the daemon is done with it.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast().as_ptr(), self.len) }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let words = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.words);
        // SAFETY: `zeroed` leaked a boxed slice of exactly this address and length.
        drop(unsafe { Box::from_raw(words) });
    }
}
