//! The table of semaphores against a scheme in miniature: names that lead to numbers, descriptors, mappings.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::sys::{PAGE_SIZE, flag};
use crate::{Create, Errno, SEM_VALUE_MAX, Semaphores, creates, sem_unlink};

/// What the functions below work on, for each test.
#[derive(Debug, Default)]
struct World {
    names: BTreeMap<String, u64>,
    last: u64,
    descriptors: BTreeMap<usize, u64>,
    mapped: BTreeMap<usize, u64>,
    /// The mode and the content that each semaphore was made with.
    made: BTreeMap<u64, (u16, String)>,
    /// What the next functions fail with, one after the other; 0 for success.
    failures: Vec<usize>,
    opens: usize,
}

std::thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

const ENOENT: usize = 2;
const ENOMEM: usize = 12;
const EACCES: usize = 13;
const EEXIST: usize = 17;

const fn failure(errno: usize) -> usize {
    errno.wrapping_neg()
}

impl World {
    fn fails(&mut self) -> Option<usize> {
        if self.failures.is_empty() {
            return None;
        }
        Some(self.failures.remove(0)).filter(|errno| *errno != 0).map(failure)
    }

    fn open(&mut self, path: &str, flags: u32, mode: u16) -> usize {
        self.opens += 1;
        if let Some(failure) = self.fails() {
            return failure;
        }
        let number = if let Some(rest) = path.strip_prefix("/scheme/eventd/new/sem/") {
            assert_eq!(flags, flag::O_RDWR | flag::O_CLOEXEC | flag::O_CREAT | flag::O_EXCL);
            let Some((content, name)) = rest.split_once('/') else { return failure(ENOENT) };
            if self.names.contains_key(name) {
                return failure(EEXIST);
            }
            self.last += 1;
            self.names.insert(name.to_string(), self.last);
            self.made.insert(self.last, (mode, content.to_string()));
            self.last
        } else {
            assert_eq!((flags, mode), (flag::O_RDWR | flag::O_CLOEXEC, 0));
            let found = path.strip_prefix("/scheme/eventd/page/sem/").and_then(|name| self.names.get(name));
            let Some(number) = found else { return failure(ENOENT) };
            *number
        };
        let fd = (3..).find(|fd| !self.descriptors.contains_key(fd)).unwrap_or(0);
        self.descriptors.insert(fd, number);
        fd
    }
}

pub(crate) fn open(path: &str, flags: u32, mode: u16) -> usize {
    WORLD.with_borrow_mut(|world| world.open(path, flags, mode))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn redox_close_v1(fd: usize) -> usize {
    WORLD.with_borrow_mut(|world| world.descriptors.remove(&fd).map_or(failure(9), |_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_fstat_v1(fd: usize, stat: *mut u64) -> usize {
    WORLD.with_borrow_mut(|world| {
        if let Some(failure) = world.fails() {
            return failure;
        }
        // SAFETY: the second word of a stat is its st_ino.
        unsafe { stat.add(1).write(world.descriptors[&fd]) };
        0
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn redox_unlinkat_v0(_directory: usize, path: *const u8, len: usize, _flags: u32) -> usize {
    // SAFETY: the shim passes a slice.
    let path = String::from_utf8_lossy(unsafe { core::slice::from_raw_parts(path, len) }).into_owned();
    WORLD.with_borrow_mut(|world| {
        if let Some(failure) = world.fails() {
            return failure;
        }
        let removed = path.strip_prefix("/scheme/eventd/sem/").and_then(|name| world.names.remove(name));
        removed.map_or(failure(ENOENT), |_| 0)
    })
}

#[unsafe(no_mangle)]
extern "C-unwind" fn redox_mmap_v1(
    address: *mut (),
    len: usize,
    prot: u32,
    flags: u32,
    fd: usize,
    offset: u64,
) -> usize {
    if flags != flag::MAP_SHARED {
        return crate::client_tests::map(address, len, flags, fd, offset);
    }
    assert_eq!((len, prot, flags, offset), (PAGE_SIZE, flag::PROT_READ_WRITE, flag::MAP_SHARED, 0));
    WORLD.with_borrow_mut(|world| {
        if let Some(failure) = world.fails() {
            return failure;
        }
        // Downwards, so that the order of addresses is not that of opening.
        let address =
            (0x100_0000 - world.mapped.len() * PAGE_SIZE..).find(|address| !world.mapped.contains_key(address));
        let address = address.unwrap_or(0);
        world.mapped.insert(address, world.descriptors[&fd]);
        address
    })
}

#[unsafe(no_mangle)]
extern "C-unwind" fn redox_munmap_v1(address: *mut (), len: usize) -> usize {
    assert_eq!(len, PAGE_SIZE);
    WORLD.with_borrow_mut(|world| world.mapped.remove(&address.addr()).map_or(failure(22), |_| 0))
}

const CONTENT: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 0];

fn create(exclusive: bool) -> Option<Create<'static>> {
    Some(Create { mode: 0o600, value: 5, content: CONTENT, exclusive })
}

fn fail_with(errnos: &[usize]) {
    WORLD.with_borrow_mut(|world| world.failures = errnos.to_vec());
}

/// How many pages are mapped and descriptors open.
fn held() -> (usize, usize) {
    WORLD.with_borrow(|world| (world.mapped.len(), world.descriptors.len()))
}

fn close(semaphores: &mut Semaphores, address: usize) -> Result<(), Errno> {
    // SAFETY: nobody uses the pages of this world.
    unsafe { semaphores.close(address) }
}

#[test]
fn flags_that_create_139_144() {
    let has = |flags: u32| creates(flags.cast_signed());
    assert_eq!(has(0), None);
    assert_eq!(has(flag::O_EXCL), None);
    assert_eq!(has(flag::O_CREAT), Some(false));
    assert_eq!(has(flag::O_CREAT | flag::O_EXCL | flag::O_RDWR), Some(true));
}

#[test]
fn one_address_for_each_spelling_of_an_object_150_151_152() {
    let mut semaphores = Semaphores::new();
    let first = semaphores.open(None, b"/x", create(false));
    assert_eq!(semaphores.open(None, b"/x", None), first);
    assert_eq!(semaphores.open(None, b"/x", create(false)), first);
    let other = semaphores.open(None, b"//x", None);
    assert!(other.is_ok() && other != first);
    assert_eq!(sem_unlink(b"x"), Ok(()));
    assert_eq!(semaphores.open(None, b"/x", None), Err(Errno::ENOENT));
    let new = semaphores.open(None, b"/x", create(true));
    assert!(new.is_ok() && new != first && new != other);
    assert_eq!(semaphores.open(None, b"/x", None), new);
    assert_eq!(held(), (3, 0));
}

#[test]
fn the_last_close_unmaps_153_154() {
    let mut semaphores = Semaphores::new();
    let addresses: Vec<usize> =
        (0..20_u8).filter_map(|number| semaphores.open(None, &[b'a' + number], create(false)).ok()).collect();
    let again = semaphores.open(None, b"c", None).unwrap_or(0);
    assert_eq!(held().0, 20);
    for address in addresses.iter().rev() {
        assert_eq!(close(&mut semaphores, *address), Ok(()));
        assert_eq!(close(&mut semaphores, *address).is_ok(), *address == again);
        assert_eq!(close(&mut semaphores, *address), Err(Errno::EINVAL));
    }
    assert_eq!(close(&mut semaphores, 0), Err(Errno::EINVAL));
    assert_eq!(held(), (0, 0));
}

#[test]
fn what_a_new_semaphore_is_made_with() {
    let mut semaphores = Semaphores::new();
    assert!(semaphores.open(None, b"/a b", create(true)).is_ok());
    let made = WORLD.with_borrow(|world| (world.names.keys().next().cloned(), world.made.get(&1).cloned()));
    assert_eq!(made, (Some("a%20b".into()), Some((0o600, "0500000000000000".into()))));
}

#[test]
fn errors_of_open_138_140_141_142() {
    let mut semaphores = Semaphores::new();
    let large = |exclusive| Some(Create { mode: 0, value: SEM_VALUE_MAX + 1, content: CONTENT, exclusive });
    assert_eq!(semaphores.open(None, b"x", None), Err(Errno::ENOENT));
    assert_eq!(semaphores.open(None, b"x", large(false)), Err(Errno::EINVAL));
    let first = semaphores.open(None, b"x", create(true));
    assert_eq!(semaphores.open(None, b"x", large(false)), first, "mode and value are ignored");
    assert_eq!(semaphores.open(None, b"x", large(true)), Err(Errno::EINVAL));
    assert_eq!(semaphores.open(None, b"x", create(true)), Err(Errno::EEXIST));
    assert_eq!(semaphores.open(None, b"/", create(true)), Err(Errno::EINVAL));
    assert_eq!(semaphores.open(None, &[b'x'; 252], create(true)), Err(Errno::ENAMETOOLONG));
    fail_with(&[EACCES]);
    assert_eq!(semaphores.open(None, b"x", create(false)), Err(Errno::EACCES), "not taken for absent");
    assert_eq!(held(), (1, 0));
}

#[test]
fn a_name_that_appears_meanwhile_is_opened() {
    let mut semaphores = Semaphores::new();
    assert!(Semaphores::new().open(None, b"x", create(true)).is_ok());
    // Not there at the first look, there when it is to be made, there at the second look.
    fail_with(&[ENOENT]);
    assert!(semaphores.open(None, b"x", create(false)).is_ok());
    assert_eq!(WORLD.with_borrow(|world| (world.opens, world.last)), (4, 1));
}

#[test]
fn what_fails_half_way_leaves_nothing_160() {
    let mut semaphores = Semaphores::new();
    for failures in [&[0, 0, ENOMEM][..], &[0, 0, 0, ENOMEM]] {
        fail_with(failures);
        assert_eq!(semaphores.open(None, b"x", create(false)), Err(Errno::ENOMEM));
        assert_eq!(held(), (0, 0));
        assert_eq!(sem_unlink(b"x"), Ok(()));
    }
    assert_eq!(close(&mut semaphores, 0x100_0000), Err(Errno::EINVAL));
}

#[test]
fn unlink_says_what_glibc_says_131_132_135_156() {
    for name in ["", "/", "a/", "/a/b", "nothing"] {
        assert_eq!(sem_unlink(name.as_bytes()), Err(Errno::ENOENT), "{name}");
    }
    assert_eq!(sem_unlink(&[b'x'; 255]), Err(Errno::ENAMETOOLONG));
    assert_eq!(sem_unlink(&[b'x'; 256]), Err(Errno::ENOENT));
    fail_with(&[1]);
    assert_eq!(sem_unlink(b"x"), Err(Errno::EACCES));
}
