//! Counters in memory that clients map, as clients of the scheme see them.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use eventd_shim::cell::{Cell, Interest, MAX, Mode, Refused, Side};
use eventd_shim::{CELL, TELL};
use scheme_host::{Client, Descriptor, Pending};
use syscall::error::{EACCES, EAGAIN, EINVAL, ENODEV, EOPNOTSUPP};
use syscall::flag::{EventFlags, MapFlags, O_NONBLOCK, O_RDONLY, O_RDWR, O_STAT, O_WRONLY};

use super::world::{USER, World, errno_of, start_read, start_write, value_of};

const PAGE: usize = 4096;
const SHARED: MapFlags = MapFlags::MAP_SHARED.union(MapFlags::PROT_READ).union(MapFlags::PROT_WRITE);
const BOTH: EventFlags = EventFlags::EVENT_READ.union(EventFlags::EVENT_WRITE);

/// The cell of a counter in a mapping of the client's own, which stays to the end of the test run.
#[derive(Clone, Copy)]
struct Mapped {
    address: usize,
}

impl Mapped {
    fn cell(&self) -> &'static Cell {
        // SAFETY: the mapping stays, and any bits will do for a cell.
        unsafe { &*std::ptr::with_exposed_provenance(self.address) }
    }

    /// What the page is to a client that knows nothing of cells.
    fn words(&self) -> &'static [AtomicU32] {
        // SAFETY: as above; the page has this many words, and any bits will do for them.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.address), PAGE / 4) }
    }

    fn take(&self) -> Result<u64, Refused> {
        self.cell().read(Side::Client).map(|(value, _)| value)
    }

    fn put(&self, value: u64) -> Result<bool, Refused> {
        self.cell().write(value, Side::Client).map(|after| after.tell)
    }
}

impl World {
    /// The address of what is at the place of the cell.
    fn cell_of(&mut self, client: &Client, counter: Descriptor) -> Result<usize, i32> {
        let outcome = self.outcome(client.start_map(counter, PAGE, SHARED, CELL).unwrap());
        Client::mapped(&outcome, PAGE).map_err(|error| error.errno)
    }

    fn map_cell(&mut self, client: &Client, counter: Descriptor) -> Mapped {
        let daemons = std::ptr::with_exposed_provenance_mut(self.cell_of(client, counter).unwrap());
        // SAFETY: with an old size of zero it is a new mapping of the same memory, where there was nothing.
        let address = unsafe { libc::mremap(daemons, 0, PAGE, libc::MREMAP_MAYMOVE) };
        assert_ne!(address, libc::MAP_FAILED);
        Mapped { address: address.expose_provenance() }
    }

    fn tell_of(&mut self, client: &Client, counter: Descriptor) -> Result<usize, i32> {
        self.result(client.start_call(counter, &[], [TELL, 0, 0]).unwrap())
    }
}

#[test]
fn clients_and_the_daemon_use_one_count() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 3);
    world.write(&client, counter, 4);
    let mapped = world.map_cell(&client, counter);
    assert_eq!(mapped.take(), Ok(7));
    assert_eq!(mapped.put(9), Ok(false));
    assert!(world.text(&mut client, "list/eventfd").contains(" 9   counter "), "lists show the count in the page");
    assert_eq!(world.read(&client, counter), 9);
    world.write(&client, counter, 2);
    assert_eq!(mapped.take(), Ok(2));
    let numbers = ["eventfd_reads", "eventfd_writes", "eventfd_mapped", "eventfd_page_bytes"];
    assert_eq!(numbers.map(|name| world.number(name)), [1, 2, 1, PAGE as u64]);
}

#[test]
fn a_semaphore_is_one_in_memory_too_21() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 2);
    let mapped = world.map_cell(&client, semaphore);
    assert_eq!((mapped.take(), mapped.take(), mapped.take()), (Ok(1), Ok(1), Err(Refused::WouldBlock)));
}

#[test]
fn all_who_hold_a_counter_map_one_page_and_others_another_9() {
    let mut world = World::new();
    let mut parent = world.process();
    let counter = world.counter(&mut parent, 0);
    let child = parent.fork(700);
    let (here, there) = (world.map_cell(&parent, counter), world.map_cell(&child, counter));
    assert_eq!(here.put(6), Ok(false));
    assert_eq!(there.take(), Ok(6));
    let mut stranger = world.process_of(USER + 5);
    let other = world.counter(&mut stranger, 0);
    let elsewhere = world.map_cell(&stranger, other);
    let pages = [world.cell_of(&parent, counter), world.cell_of(&child, counter), world.cell_of(&stranger, other)];
    assert_eq!(pages[0], pages[1]);
    assert_ne!(pages[0], pages[2]);
    assert_eq!(elsewhere.take(), Err(Refused::WouldBlock));
    assert!(here.words()[8..].iter().all(|word| word.load(Ordering::Relaxed) == 0), "nothing else is in a page");
}

#[test]
fn a_cell_takes_a_descriptor_for_reading_and_writing() {
    let mut world = World::new();
    let mut client = world.process();
    for access in [O_RDONLY, O_WRONLY] {
        let counter = world.open(&mut client, "eventfd/1/0", access).unwrap();
        assert_eq!(world.cell_of(&client, counter), Err(EACCES));
        assert_eq!(world.tell_of(&client, counter), Err(EACCES));
    }
    let counter = world.counter(&mut client, 1);
    for offset in [0, CELL - PAGE as u64, CELL + PAGE as u64] {
        let pending = client.start_map(counter, PAGE, SHARED, offset).unwrap();
        assert_eq!(world.result(pending), Err(ENODEV), "17");
    }
    for (path, flags) in [("stat", O_RDONLY), ("list", O_RDONLY), ("eventfd/1/0", O_STAT)] {
        let descriptor = world.open(&mut client, path, flags).unwrap();
        assert_eq!(world.cell_of(&client, descriptor), Err(ENODEV), "{path}");
        assert_eq!(world.tell_of(&client, descriptor), Err(EOPNOTSUPP), "{path}");
    }
    assert_eq!(world.number("eventfd_mapped"), 0);
}

#[test]
fn only_the_page_is_mapped_and_only_shared() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 1);
    for (len, flags, errno) in [
        (PAGE, MapFlags::MAP_PRIVATE | MapFlags::PROT_READ, EINVAL),
        (2 * PAGE, SHARED, EINVAL),
        (PAGE, SHARED | MapFlags::PROT_EXEC, EACCES),
    ] {
        assert_eq!(world.result(client.start_map(counter, len, flags, CELL).unwrap()), Err(errno), "{flags:?}");
    }
}

#[test]
fn a_page_goes_with_its_counter_10() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 5);
    let copy = client.dup(counter).unwrap();
    let mapped = world.map_cell(&client, counter);
    let page = world.cell_of(&client, counter);
    let parked = world.park_write(&client, copy, MAX);
    world.close(&mut client, counter);
    assert_eq!(mapped.put(1), Ok(true), "a copy holds it");
    assert_eq!(world.cell_of(&client, copy), page, "as long as there is one");
    // A request holds its description.
    parked.interrupt();
    world.settle();
    drop(parked);
    let outcome = world.outcome(client.start_map(copy, PAGE, SHARED, CELL).unwrap());
    world.close(&mut client, copy);
    assert!(Client::mapped(&outcome, PAGE).is_err());
    assert_eq!((mapped.take(), mapped.put(1)), (Err(Refused::NotLive), Err(Refused::NotLive)));
    assert_eq!(["eventfd_mapped", "eventfd_page_bytes"].map(|name| world.number(name)), [0, 0]);
    world.assert_empty();
}

#[test]
fn who_was_killed_before_it_told_leaves_nobody_waiting_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let read = world.park_read(&client, counter);
    let mapped = world.map_cell(&client, counter);
    world.watch(&client, counter, BOTH);
    assert_eq!(mapped.put(4), Ok(true));
    world.result(client.start_unmap(counter, PAGE).unwrap()).unwrap();
    assert_eq!(value_of(&read), 4);
    assert_eq!(client.next_event(), Some((Some(counter), EventFlags::EVENT_WRITE)));
    let sleeper = sleeper(mapped);
    let after = mapped.cell().write(7, Side::Client).unwrap();
    assert!(after.wake);
    world.result(client.start_unmap(counter, PAGE).unwrap()).unwrap();
    assert_eq!(sleeper.join().unwrap(), Ok(7));
    assert_eq!(client.next_event(), None, "an end is no edge (48)");
}

#[test]
fn o_nonblock_is_in_the_cell_7_8() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.open(&mut client, "eventfd/0/0", O_RDWR | O_NONBLOCK).unwrap();
    let mapped = world.map_cell(&client, counter);
    assert!(mapped.cell().nonblocking());
    world.set_flags(&client, counter, 0);
    assert!(!mapped.cell().nonblocking());
    world.set_flags(&client, counter, O_NONBLOCK);
    assert!(mapped.cell().nonblocking());
    // The kernel's own flags come with each request, and that is what counts there.
    mapped.cell().set_nonblocking(false);
    assert_eq!(world.result(start_read(&client, counter)), Err(EAGAIN));
    let blocking = world.counter(&mut client, 0);
    assert!(!world.map_cell(&client, blocking).cell().nonblocking());
}

#[test]
fn telling_answers_who_is_parked_24_37() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let read = world.park_read(&client, counter);
    let mapped = world.map_cell(&client, counter);
    assert_eq!(mapped.put(4), Ok(true));
    assert!(read.poll().is_none());
    assert_eq!(world.tell_of(&client, counter), Ok(0));
    assert_eq!(value_of(&read), 4);
    assert_eq!(mapped.put(MAX), Ok(false));
    let write = world.park_write(&client, counter, 6);
    assert_eq!(mapped.take(), Ok(MAX));
    assert_eq!(world.tell_of(&client, counter), Ok(0));
    assert_eq!(errno_of(&write), Some(0));
    assert_eq!(mapped.take(), Ok(6));
}

#[test]
fn telling_is_an_edge_48() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let mapped = world.map_cell(&client, counter);
    world.watch(&client, counter, BOTH);
    for value in [1, 0, 0] {
        assert_eq!(mapped.put(value), Ok(true));
        assert_eq!(client.next_event(), None);
        assert_eq!(world.tell_of(&client, counter), Ok(0));
        assert_eq!(client.next_event(), Some((Some(counter), BOTH)));
        assert_eq!(client.next_event(), None);
    }
}

/// A client that reads from memory, and sleeps there.
fn sleeper(mapped: Mapped) -> thread::JoinHandle<Result<u64, Refused>> {
    unsafe extern "C" {
        fn redox_futex_wait_v0(word: *mut u32, value: u32, deadline: *const libc::timespec) -> usize;
    }
    let sleeper = thread::spawn(move || {
        let gate = mapped.cell().readable();
        let slept = gate.wait(
            || mapped.take(),
            |word| {
                // SAFETY: the word is in a page that is mapped until the thread has been joined.
                unsafe { redox_futex_wait_v0(gate.word().as_ptr(), word, std::ptr::null()) };
                Ok::<_, ()>(())
            },
        );
        slept.unwrap()
    });
    while !mapped.cell().readable().may_have_sleepers() {
        thread::yield_now();
    }
    sleeper
}

#[test]
fn the_daemon_wakes_who_sleeps_in_memory() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let mapped = world.map_cell(&client, counter);
    for value in 1..200 {
        let sleeper = sleeper(mapped);
        world.write(&client, counter, value);
        assert_eq!(sleeper.join().unwrap(), Ok(value));
    }
    let sleeper = sleeper(mapped);
    world.close(&mut client, counter);
    assert_eq!(sleeper.join().unwrap(), Err(Refused::NotLive), "the end wakes too");
}

#[test]
fn a_sleeper_is_woken_when_a_parked_write_is_admitted() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.full_counter(&mut client);
    let mapped = world.map_cell(&client, counter);
    let write = world.park_write(&client, counter, 7);
    assert_eq!(mapped.take(), Ok(MAX));
    let sleeper = sleeper(mapped);
    assert_eq!(world.tell_of(&client, counter), Ok(0));
    assert_eq!(errno_of(&write), Some(0));
    assert_eq!(sleeper.join().unwrap(), Ok(7));
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Writes something into one of the words that matter, or all over the page.
    fn spoil(&mut self, mapped: Mapped) {
        let words = mapped.words();
        let value = match self.next() % 4 {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << (self.next() % 32),
            _ => self.next() as u32,
        };
        let index = self.next() as usize % 8;
        words[index].store(value, Ordering::Relaxed);
        if self.next().is_multiple_of(64) {
            words.iter().for_each(|word| word.store(value, Ordering::Relaxed));
        }
    }
}

#[test]
fn bytes_in_a_page_harm_nobody_else() {
    let mut world = World::new();
    let (mut mallory, mut alice) = (world.process_of(USER + 1), world.process());
    let hers = world.counter(&mut alice, 0);
    let waits = world.park_read(&alice, hers);
    for seed in 1..40 {
        let mut random = Random(seed * 0x9E37_79B9);
        let counter = world.open(&mut mallory, &format!("eventfd/3/{}", seed % 2), O_RDWR).unwrap();
        let mapped = world.map_cell(&mallory, counter);
        world.watch(&mallory, counter, BOTH);
        let mut pending = Vec::<Pending>::new();
        for _ in 0..100 {
            random.spoil(mapped);
            match random.next() % 6 {
                0 => pending.push(start_read(&mallory, counter)),
                1 => pending.push(start_write(&mallory, counter, random.next() % MAX)),
                2 => pending.push(mallory.start_call(counter, &[], [TELL, 0, 0]).unwrap()),
                3 => pending.push(mallory.start_watch(counter, BOTH).unwrap()),
                4 => pending.iter().for_each(Pending::interrupt),
                _ => world.set_flags(&mallory, counter, random.next() as usize & O_NONBLOCK),
            }
            random.spoil(mapped);
            world.settle();
        }
        world.text(&mut mallory, "list/eventfd");
        pending.iter().for_each(Pending::interrupt);
        drop(pending);
        world.close(&mut mallory, counter);
    }
    assert!(waits.poll().is_none(), "nothing was written there");
    world.write(&alice, hers, 12);
    assert_eq!(value_of(&waits), 12);
    drop(waits);
    world.close(&mut alice, hers);
    world.assert_serves();
    world.assert_empty();
    assert_eq!(world.number("eventfd_mapped"), 0);
}

/// Two threads change the count all the time, while the daemon serves requests on it.
#[test]
fn a_count_that_never_rests_ends_no_turn_late() {
    use std::sync::atomic::AtomicBool;
    static OVER: AtomicBool = AtomicBool::new(false);
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let mapped = world.map_cell(&client, counter);
    let spoilers = [1, 2].map(|seed| {
        thread::spawn(move || {
            let mut random = Random(seed);
            // SAFETY: the page begins with the count, and is mapped until the thread has been joined.
            let count = unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(mapped.address) };
            while !OVER.load(Ordering::Relaxed) {
                count.store(random.next(), Ordering::Relaxed);
                random.spoil(mapped);
            }
        })
    });
    let mut pending = Vec::new();
    for _ in 0..300 {
        pending.push(start_read(&client, counter));
        pending.push(start_write(&client, counter, MAX / 2));
        pending.push(client.start_call(counter, &[], [TELL, 0, 0]).unwrap());
        world.settle();
    }
    OVER.store(true, Ordering::Relaxed);
    for spoiler in spoilers {
        spoiler.join().unwrap();
    }
    // It can be made a counter again, and whoever waits is answered.
    mapped.cell().open(0, Mode::Counter, false);
    mapped.cell().set_interest(Interest::Parked);
    while world.waiting() > 0 {
        let _ = mapped.take();
        let _ = mapped.put(1);
        world.tell_of(&client, counter).unwrap();
    }
    world.assert_serves();
}
