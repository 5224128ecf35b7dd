//! Anonymous memory of the daemon that clients can map later.
//!
//! On Redox a scheme can share any page of its own. On Linux that takes a memory file, so anonymous mappings made through libredox get one each.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, Once, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) const PAGE_SIZE: usize = 4096;

const NAME: &CStr = c"scheme-memory";

/// A mapping with its memory file.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is reachable by address from every thread anyway; what is shared here is the right to name its address.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing here goes through the address but taking the mapping away.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` made the mapping, and the table and all regions, which keep it alive, are done with it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// All mappings, by start address.
static MAPPINGS: Mutex<BTreeMap<usize, Arc<Mapping>>> = Mutex::new(BTreeMap::new());

static MANY_FILES: Once = Once::new();

/// A daemon on Redox may have as many pages as there is memory; here each takes a descriptor, of which programs get few unless they ask.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What cannot be had shows when a descriptor is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Maps `len` bytes of zeroes that can be shared. Of `prot` the bits for reading and writing count.
pub(crate) fn map(len: usize, prot: u32) -> Result<usize, Errno> {
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
    MANY_FILES.call_once(raise_descriptor_limit);
    let file = memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, len as u64)?;
    // Clients can have descriptors of it. If one made it shorter, the daemon would be killed when it uses its page.
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let prot = ProtFlags::from_bits_truncate(prot) & (ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping at an address that the kernel chooses touches no memory in use.
    let start = unsafe { mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, &file, 0) }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::NOMEM)?;
    let address = start.as_ptr().expose_provenance();
    let mapping = Arc::new(Mapping { start, len, file });
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).insert(address, mapping);
    Ok(address)
}

/// Takes a mapping of [`map`] away, once no client uses it; returns whether there was one at this address.
pub(crate) fn unmap(address: usize) -> bool {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).remove(&address).is_some()
}

/// The region of `len` bytes at `address`, if it is part of a mapping of [`map`].
pub(crate) fn find(address: usize, len: usize) -> Option<Region> {
    let mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let (start, mapping) = mappings.range(..=address).next_back()?;
    let offset = address - start;
    let fits = offset.checked_add(len).is_some_and(|end| end <= mapping.len);
    fits.then(|| Region { mapping: Arc::clone(mapping), offset, len })
}

/// A part of a mapping that a client may see.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Region {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.mapping.file.as_fd()
    }

    /// Whether the region is all that its memory file holds.
    pub(crate) fn is_whole_file(&self) -> bool {
        self.offset == 0 && self.len == self.mapping.len
    }

    /// The address in the daemon, which is also ours.
    pub(crate) fn address(&self) -> usize {
        self.mapping.start.as_ptr().expose_provenance() + self.offset
    }

    /// Up to `len` bytes from `offset` on. They come through the file: the daemon need not be able to read its mapping.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let (position, len) = self.clamp(offset, len);
        let mut bytes = vec![0; len];
        // Reading a memory file fails only where it has been made shorter.
        let read = pread(self.file(), &mut bytes[..], position).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Writes what fits at `offset`; returns how much that was.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> usize {
        let (position, len) = self.clamp(offset, bytes.len());
        pwrite(self.file(), &bytes[..len], position).unwrap_or(0)
    }

    /// Where in the file `offset` is, and how much of `len` is inside the region from there on.
    fn clamp(&self, offset: u64, len: usize) -> (u64, usize) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        ((self.offset + offset) as u64, len.min(self.len - offset))
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE_SIZE, ProtFlags, find, map, unmap};

    const READ_WRITE: u32 = ProtFlags::READ.union(ProtFlags::WRITE).bits();

    #[test]
    fn regions_lie_inside_mappings() {
        let address = map(2 * PAGE_SIZE, READ_WRITE).unwrap_or(0);
        assert!(find(address, 2 * PAGE_SIZE).is_some_and(|region| region.is_whole_file()));
        let page = find(address + PAGE_SIZE, PAGE_SIZE);
        assert!(page.as_ref().is_some_and(|region| !region.is_whole_file() && region.address() == address + PAGE_SIZE));
        assert!(find(address + PAGE_SIZE, 2 * PAGE_SIZE).is_none());
        assert!(find(16, 1).is_none());
        let page = page.map(|region| (region.write(4090, b"12345678"), region.read(4088, 100)));
        assert_eq!(page, Some((6, b"\0\x00123456".to_vec())));
        assert!(unmap(address));
        assert!(!unmap(address));
        assert!(find(address, 1).is_none());
    }
    /// The protection of the mapping at `address`, as the kernel tells it.
    fn protection(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let line = maps.lines().find(|line| line.starts_with(&format!("{address:x}-")))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    #[test]
    fn a_mapping_has_the_protection_that_was_asked_for() {
        let execute = ProtFlags::EXEC.bits();
        let cases = [
            (0, "---s"),
            (ProtFlags::READ.bits(), "r--s"),
            (ProtFlags::WRITE.bits(), "-w-s"),
            (READ_WRITE | execute, "rw-s"),
        ];
        for (prot, expected) in cases {
            let address = map(PAGE_SIZE, prot).unwrap_or(0);
            assert_eq!(protection(address).as_deref(), Some(expected));
            let region = find(address, PAGE_SIZE);
            let copied = region.map(|region| (region.write(0, b"text"), region.read(0, 4)));
            assert_eq!(copied, Some((4, b"text".to_vec())), "the host reaches it all the same");
            assert!(unmap(address));
        }
    }
}
