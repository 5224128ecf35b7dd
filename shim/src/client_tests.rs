//! What a C library calls in front of its own functions, against a system with one descriptor, 6.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::boxed::Box;
use std::cell::RefCell;
use std::string::String;
use std::vec::Vec;

use crate::cell::{Cell, Interest, MAX, Mode};
use crate::sys::{PAGE_SIZE, flag};
use crate::tests::{PATH, failure, with_result};
use crate::{CELL, Client, Errno, TELL, TRIGGER};

const FD: i32 = 6;
const NUMBERS: usize = 8;
const EVENTFD: Option<&str> = Some("/scheme/eventd/eventfd/3/0");

type Sleep = Box<dyn FnOnce() -> usize>;

#[derive(Default)]
struct World {
    /// Where the pages are.
    start: usize,
    /// What was mapped: the number, and whether its counter.
    mapped: Vec<(usize, bool)>,
    /// Whether what is mapped as a counter is something else.
    is_odd: bool,
    /// How often mapping a counter is interrupted first.
    interruptions: u32,
    /// What mapping a counter fails with.
    refuses: usize,
    /// What happens while somebody sleeps, one after the other.
    sleeps: Vec<Sleep>,
    woken: usize,
}

std::thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fn cell_at(address: usize) -> &'static Cell {
    // SAFETY: the pages stay, and all bits will do for a cell.
    unsafe { &*core::ptr::with_exposed_provenance(address) }
}

/// The cell in the page of the descriptor.
fn cell() -> &'static Cell {
    cell_at(WORLD.with_borrow(|world| world.start) + FD.cast_unsigned() as usize * PAGE_SIZE)
}

pub(crate) fn map(address: *mut (), len: usize, flags: u32, fd: usize, offset: u64) -> usize {
    WORLD.with_borrow_mut(|world| {
        if address.is_null() {
            assert_eq!((len, flags, fd), (NUMBERS * PAGE_SIZE, flag::MAP_PRIVATE, usize::MAX));
            // SAFETY: the size is not zero.
            let start = unsafe { alloc_zeroed(Layout::from_size_align_unchecked(len, PAGE_SIZE)) };
            world.start = start.expose_provenance();
            return world.start;
        }
        assert_eq!(len, PAGE_SIZE);
        let is_counter = flags == flag::MAP_SHARED | flag::MAP_FIXED;
        assert_eq!((fd, offset), if is_counter { (FD.cast_unsigned() as usize, CELL) } else { (usize::MAX, 0) });
        if is_counter && world.interruptions > 0 {
            world.interruptions -= 1;
            return failure(4);
        }
        if is_counter && world.refuses != 0 {
            return failure(world.refuses);
        }
        // SAFETY: a page of the range above.
        unsafe { address.cast::<u8>().write_bytes(0, PAGE_SIZE) };
        if is_counter && !world.is_odd {
            cell_at(address.expose_provenance()).open(3, Mode::Counter, false);
        }
        world.mapped.push(((address.addr() - world.start) / PAGE_SIZE, is_counter));
        address.addr()
    })
}

#[unsafe(no_mangle)]
extern "C-unwind" fn redox_futex_wait_v0(_word: *mut u32, _value: u32, _deadline: *const ()) -> usize {
    let sleep = WORLD.with_borrow_mut(|world| world.sleeps.remove(0));
    sleep()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn redox_futex_wake_v0(_word: *mut u32, _count: u32) -> usize {
    WORLD.with_borrow_mut(|world| world.woken += 1);
    0
}

fn new() -> Client<NUMBERS> {
    PATH.set(EVENTFD);
    Client::new()
}

/// With a count of 3.
fn made() -> Client<NUMBERS> {
    let client = new();
    client.made(FD);
    client
}

fn sleep(client: &Client<NUMBERS>, what: impl FnOnce(&Client<NUMBERS>) -> usize + 'static) {
    let client: *const Client<NUMBERS> = client;
    // SAFETY: the test's client is there while it sleeps.
    let sleep = Box::new(move || what(unsafe { &*client }));
    WORLD.with_borrow_mut(|world| world.sleeps.push(sleep));
}

/// As a C library does both.
fn read(client: &Client<NUMBERS>) -> Option<Result<u64, Errno>> {
    let mut value = 0_u64;
    let buffer = (&raw mut value).cast();
    // SAFETY: the value is ours.
    let read = unsafe { client.read_at_once(FD, buffer, 8).map(Ok).or_else(|| client.read(FD, buffer, 8)) };
    read.map(|read| read.map(|len| if len == 8 { value } else { u64::MAX }))
}

fn write(client: &Client<NUMBERS>, value: u64) -> Option<Result<usize, Errno>> {
    let buffer = (&raw const value).cast();
    // SAFETY: the value is ours.
    unsafe { client.write_at_once(FD, buffer, 8).map(Ok).or_else(|| client.write(FD, buffer, 8)) }
}

#[test]
fn what_nobody_has_made_is_the_systems() {
    let client = new();
    for fd in [FD, 0, 1000, -1, i32::MIN] {
        assert!(!client.is_eventfd(fd));
    }
    assert_eq!((read(&client), write(&client, 1)), (None, None));
    for standard in 0..3 {
        client.made(standard);
        assert!(!client.is_eventfd(standard));
    }
    assert!(WORLD.with_borrow(|world| world.mapped.is_empty()));
}

#[test]
fn counts_are_read_and_written_in_memory() {
    let client = made();
    assert!(client.is_eventfd(FD));
    assert_eq!(read(&client), Some(Ok(3)));
    assert_eq!((write(&client, 4), write(&client, 5), read(&client)), (Some(Ok(8)), Some(Ok(8)), Some(Ok(9))));
    assert_eq!(write(&client, u64::MAX), Some(Err(Errno::EINVAL)));
    let mut bytes = [0xAA_u8; 17];
    // SAFETY: the bytes are ours.
    unsafe {
        assert_eq!(client.write(FD, bytes.as_ptr(), 9), Some(Err(Errno::EINVAL)));
        assert_eq!(client.read(FD, bytes.as_mut_ptr(), 7), Some(Err(Errno::EINVAL)));
        assert_eq!(write(&client, 1), Some(Ok(8)));
        assert_eq!(client.read(FD, core::ptr::null_mut(), 8), None);
        assert_eq!(client.read(FD, bytes.as_mut_ptr().add(1), 16), Some(Ok(8)));
    }
    assert_eq!((bytes[0], u64::from_ne_bytes(core::array::from_fn(|i| bytes[1 + i])), bytes[9]), (0xAA, 1, 0xAA));
    assert_eq!(WORLD.with_borrow(|world| world.mapped.clone()), [(6, true)]);
}

#[test]
fn at_once_is_only_what_needs_nothing_more() {
    let client = made();
    let mut value = 5_u64;
    let buffer = (&raw mut value).cast();
    // SAFETY: the value is ours.
    let read = |fd, len| unsafe { client.read_at_once(fd, buffer, len) };
    // SAFETY: as above.
    let write = |fd, len| unsafe { client.write_at_once(fd, buffer, len) };
    for fd in [FD, 7, 8, 1000, -1, i32::MIN] {
        assert_eq!((read(fd, 8), write(fd, 8)), (None, None));
    }
    assert!(WORLD.with_borrow(|world| world.mapped.is_empty()));
    // SAFETY: the value is ours.
    assert_eq!(unsafe { client.read(FD, buffer, 8) }, Some(Ok(8)));
    assert_eq!((value, read(FD, 8)), (3, None));
    assert_eq!((write(FD, 7), write(FD, 9), write(FD, 8), read(FD, 7)), (None, None, Some(8), None));
    // SAFETY: null is the system's.
    unsafe {
        assert_eq!(client.read_at_once(FD, core::ptr::null_mut(), 8), None);
        assert_eq!(client.write_at_once(FD, core::ptr::null(), 8), None);
    }
    assert_eq!((read(FD, 16), value, cell().count()), (Some(8), 3, 0));
    client.close(FD, || ());
    assert_eq!((read(FD, 8), write(FD, 8)), (None, None));
}

#[test]
fn signals_keep_nothing_from_being_mapped() {
    WORLD.with_borrow_mut(|world| world.interruptions = 2);
    let client = made();
    assert_eq!(read(&client), Some(Ok(3)));
    assert_eq!(WORLD.with_borrow(|world| world.interruptions), 0);
}

#[test]
fn memory_of_another_layout_is_left_to_eventd() {
    WORLD.with_borrow_mut(|world| world.is_odd = true);
    let client = made();
    assert_eq!((read(&client), client.is_eventfd(FD)), (None, false));
    assert_eq!(WORLD.with_borrow(|world| world.mapped.clone()), [(6, true), (6, false)]);
}

#[test]
fn without_waiting_7_23_36() {
    let client = made();
    client.set_nonblocking(FD, true);
    assert_eq!((read(&client), read(&client)), (Some(Ok(3)), Some(Err(Errno::EAGAIN))));
    assert_eq!((write(&client, MAX), write(&client, 1)), (Some(Ok(8)), Some(Err(Errno::EAGAIN))));
    client.set_nonblocking(FD, false);
    sleep(&client, |_| failure(4));
    assert_eq!(write(&client, 1), Some(Err(Errno::EINTR)));
}

#[test]
fn eventd_is_told_if_it_wants_to_be() {
    let client = made();
    assert_eq!(with_result(0, || write(&client, 1)), (Some(Ok(8)), String::new()));
    cell().set_interest(Interest::Parked);
    let told = std::format!("call 6 0 200 [{TELL:x}, 0]");
    // Whether it hears of it makes no difference here.
    for result in [0, failure(9)] {
        assert_eq!(with_result(result, || write(&client, 1)), (Some(Ok(8)), told.clone()));
    }
    assert_eq!(with_result(0, || read(&client)), (Some(Ok(6)), told));
}

#[test]
fn pollers_hear_from_the_system_if_it_can_and_else_from_eventd() {
    let client = made();
    assert_eq!((client.readiness(FD), write(&client, 1)), (Some(3), Some(Ok(8))));
    cell().set_interest(Interest::Polled);
    let (both, writable) = [3, 2].map(|flags| std::format!("call 6 0 200 [{TRIGGER:x}, {flags}]")).into();
    assert_eq!(with_result(0, || write(&client, 1)), (Some(Ok(8)), both));
    assert_eq!(with_result(0, || read(&client)), (Some(Ok(5)), writable));
    let told = std::format!("call 6 0 200 [{TELL:x}, 0]");
    // The last of both calls: the system does not know the first, and is not asked again.
    assert_eq!(with_result(failure(95), || write(&client, 1)), (Some(Ok(8)), told.clone()));
    assert_eq!(with_result(0, || write(&client, 1)), (Some(Ok(8)), told));
    assert_eq!(client.readiness(FD), Some(3));
}

#[test]
fn a_reader_sleeps_until_there_is_something() {
    let client = made();
    assert_eq!(read(&client), Some(Ok(3)));
    sleep(&client, |_| failure(11));
    sleep(&client, |_| 0);
    sleep(&client, |client| {
        assert_eq!(write(client, 7), Some(Ok(8)));
        0
    });
    assert_eq!(read(&client), Some(Ok(7)));
    assert_eq!(WORLD.with_borrow(|world| (world.sleeps.len(), world.woken)), (0, 1));
}

#[test]
fn closing_leaves_a_closed_cell() {
    let client = made();
    assert_eq!(read(&client), Some(Ok(3)));
    assert_eq!(client.close(FD, || 5), 5);
    assert!(!client.is_eventfd(FD));
    assert_eq!((read(&client), write(&client, 1)), (None, None));
    assert_eq!(WORLD.with_borrow(|world| world.mapped.clone()), [(6, true), (6, false)]);
    client.made(FD);
    assert_eq!(read(&client), Some(Ok(3)));
    // A number that was closed unheard.
    client.made(FD);
    assert_eq!(read(&client), Some(Ok(3)));
}

#[test]
fn a_sleeper_keeps_what_is_closed() {
    let client = made();
    assert_eq!(read(&client), Some(Ok(3)));
    sleep(&client, |client| {
        client.close(FD, || ());
        assert_eq!(write(client, 1), None);
        // Others have the counter still.
        cell().write(8, crate::cell::Side::Eventd).map_or(failure(1), |_| 0)
    });
    assert_eq!(read(&client), Some(Ok(8)));
    assert_eq!(WORLD.with_borrow(|world| world.mapped.clone()), [(6, true), (6, false)]);
}

#[test]
fn what_ends_under_a_sleeper() {
    let client = made();
    assert_eq!(read(&client), Some(Ok(3)));
    // By eventd: that is for the system to say.
    sleep(&client, |_| {
        cell().close();
        0
    });
    assert_eq!(read(&client), None);
    client.close(FD, || ());
    client.made(FD);
    assert_eq!(read(&client), Some(Ok(3)));
    sleep(&client, |client| {
        client.close(FD, || cell().close());
        0
    });
    assert_eq!(read(&client), Some(Err(Errno::EBADF)));
}

#[test]
fn what_is_no_eventfd_is_asked_once() {
    for (path, refuses) in [(None, 0), (Some("/scheme/eventd/signalfd/0000000000000001"), 0), (EVENTFD, 13)] {
        let client = made();
        PATH.set(path);
        WORLD.with_borrow_mut(|world| world.refuses = refuses);
        assert_eq!(read(&client), None);
        assert!(!client.is_eventfd(FD));
    }
    assert!(WORLD.with_borrow(|world| world.mapped.is_empty()));
}

#[test]
fn duplicates_are_known() {
    let client = new();
    client.made(4);
    client.duplicated(4, FD);
    client.duplicated(3, 7);
    assert_eq!([4, FD, 7].map(|fd| client.is_eventfd(fd)), [true, true, false]);
    // Assigned, not assigned after all, to itself, and to something else.
    assert_eq!(client.assign(4, 5, || 5), 5);
    assert!(client.is_eventfd(5));
    assert_eq!(client.assign(3, 5, || -1), -1);
    assert!(client.is_eventfd(5));
    assert_eq!(client.assign(5, 5, || 5), 5);
    assert!(client.is_eventfd(5));
    assert_eq!(client.assign(3, 5, || 5), 5);
    assert!(!client.is_eventfd(5));
}

#[test]
fn ranges_are_closed() {
    let client = new();
    for fd in 3..8 {
        client.made(fd);
    }
    assert_eq!(client.close_range(4, 5, || 9), 9);
    assert_eq!([3, 4, 5, 6, 7].map(|fd| client.is_eventfd(fd)), [true, false, false, true, true]);
    client.close_range(0, u32::MAX, || ());
    assert!((0..8).all(|fd| !client.is_eventfd(fd)));
    client.close_range(5, 4, || ());
}
