//! The daemon's own code against clients in the same thread, so that each test chooses what happens when: requests queue up until [`World::turn`], which
//! handles one batch of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cells;
mod semaphores;
mod signals;
mod world;

use std::time::Duration;

use eventd::engine::MAX;
use eventd::server::Turn;
use scheme_host::{Client, Pending};
use syscall::data::{Stat, StatVfs, TimeSpec};
use syscall::error::{
    EACCES, EAGAIN, EBADF, ECANCELED, EEXIST, EINTR, EINVAL, EISDIR, ENODEV, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM, Error,
};
use syscall::flag::{
    EventFlags, MODE_CHR, MODE_DIR, MODE_FILE, MapFlags, O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR,
    O_STAT, O_TRUNC, O_WRONLY, StdFsCallKind,
};
use syscall::schemev2::{Opcode, Sqe, SqeFlags};

use world::{USER, World, errno_of, message, pass_time, start_read, start_write, value_of};

const BOTH: EventFlags = EventFlags::EVENT_READ.union(EventFlags::EVENT_WRITE);
const READABLE: EventFlags = EventFlags::EVENT_READ;
const WRITABLE: EventFlags = EventFlags::EVENT_WRITE;
/// How many requests the daemon takes at once.
const BATCH: usize = 64;
/// A tag that no request has.
const UNKNOWN_TAG: u32 = 0x00FF_FFFF;

// Opening.

#[test]
fn every_initval_and_mode_opens_1() {
    let mut world = World::new();
    let mut client = world.process();
    for initval in [1, 7, u32::MAX] {
        let counter = world.counter(&mut client, initval);
        assert_eq!(world.read(&client, counter), u64::from(initval));
        let semaphore = world.semaphore(&mut client, initval);
        assert_eq!(world.read(&client, semaphore), 1);
    }
    assert_eq!(world.live(), 6);
}

#[test]
fn what_is_no_counter_does_not_open() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, errno) in [
        ("eventfd/4294967296/0", ENOENT),
        ("eventfd/-1/0", ENOENT),
        ("eventfd/+1/0", ENOENT),
        ("eventfd/01/0", ENOENT),
        ("eventfd//1", EISDIR),
        ("eventfd/1/2", ENOENT),
        ("eventfd/1/00", ENOENT),
        ("eventfd/1/../1/0", ENOENT),
        ("nothing", ENOENT),
        ("eventfd/1/0/x", ENOTDIR),
        ("stat/x", ENOTDIR),
        ("list/eventfd/0", ENOTDIR),
        ("", EISDIR),
        ("eventfd", EISDIR),
        ("eventfd/1", EISDIR),
        ("list", EISDIR),
        ("stat", EACCES),
        ("list/eventfd", EACCES),
        ("list/waiters", EACCES),
    ] {
        assert_eq!(world.open(&mut client, path, O_RDWR), Err(errno), "{path}");
    }
    assert_eq!(world.live(), 0);
    world.assert_empty();
}

#[test]
fn open_flags_are_checked() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, flags, errno) in [
        ("eventfd/1/0", O_RDWR | O_CREAT | O_EXCL, EEXIST),
        ("stat", O_RDONLY | O_CREAT | O_EXCL, EEXIST),
        ("eventfd/1/0", O_RDWR | O_DIRECTORY, ENOTDIR),
        ("stat", O_RDONLY | O_DIRECTORY, ENOTDIR),
        ("stat", O_WRONLY, EACCES),
        ("stat", O_RDONLY | O_TRUNC, EACCES),
        ("list", O_RDONLY | O_TRUNC, EISDIR),
        ("list", O_WRONLY, EISDIR),
    ] {
        assert_eq!(world.open(&mut client, path, flags), Err(errno), "{path} {flags:#x}");
    }
    assert_eq!(world.live(), 0);
    for (path, flags) in [("eventfd/1/0", O_RDWR | O_CREAT), ("stat", O_RDONLY | O_CREAT), ("list", O_DIRECTORY)] {
        assert!(world.open(&mut client, path, flags).is_ok(), "{path} {flags:#x}");
    }
}

#[test]
fn the_access_mode_is_kept() {
    let mut world = World::new();
    let mut client = world.process();
    let reader = world.open(&mut client, "eventfd/3/0", O_RDONLY).unwrap();
    let writer = world.open(&mut client, "eventfd/3/0", O_WRONLY).unwrap();
    let pending = start_write(&client, reader, 1);
    assert_eq!(world.result(pending), Err(EBADF));
    assert_eq!(world.read(&client, reader), 3);
    let pending = start_read(&client, writer);
    assert_eq!(world.result(pending), Err(EBADF));
    world.write(&client, writer, 1);
}

#[test]
fn open_starts_at_directories_only() {
    let mut world = World::new();
    let mut client = world.process();
    let directory = world.open(&mut client, "eventfd/9", O_DIRECTORY).unwrap();
    let outcome = world.outcome(client.start_open_at(directory, "1", O_RDWR).unwrap());
    let semaphore = client.opened(&outcome, O_RDWR).unwrap();
    assert_eq!(world.path(&client, semaphore, 100), "/scheme/eventd/eventfd/9/1");
    let text = world.open(&mut client, "stat", O_RDONLY).unwrap();
    for file in [semaphore, text] {
        let pending = client.start_open_at(file, "stat", O_RDONLY).unwrap();
        assert_eq!(world.result(pending), Err(ENOTDIR));
    }
}

#[test]
fn looking_creates_nothing() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, mode) in [
        ("", MODE_DIR | 0o555),
        ("eventfd", MODE_DIR | 0o555),
        ("eventfd/5", MODE_DIR | 0o555),
        ("eventfd/5/0", MODE_CHR | 0o666),
        ("list", MODE_DIR | 0o555),
        ("list/waiters", MODE_FILE | 0o444),
        ("stat", MODE_FILE | 0o444),
    ] {
        let descriptor = world.open(&mut client, path, O_STAT).unwrap();
        assert_eq!(world.stat(&client, descriptor).st_mode, mode, "{path}");
        let pending = start_read(&client, descriptor);
        assert!(matches!(world.result(pending), Err(EBADF | EISDIR)), "{path}");
        let pending = start_write(&client, descriptor, 1);
        assert_eq!(world.result(pending), Err(EBADF), "{path}");
        world.close(&mut client, descriptor);
    }
    assert_eq!(world.open(&mut client, "eventfd/5/2", O_STAT), Err(ENOENT));
    assert_eq!((world.live(), world.number("eventfd_created")), (0, 0));
}

#[test]
fn two_opens_make_two_counters() {
    let mut world = World::new();
    let (mut first, mut second) = (world.process(), world.process());
    let (mine, yours) = (world.counter(&mut first, 0), world.counter(&mut second, 0));
    world.write(&first, mine, 4);
    world.park_read(&second, yours);
    assert_eq!(world.read(&first, mine), 4);
}

// Directories.

#[test]
fn directories_are_listed_in_one_piece() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, expected) in [
        ("", ["eventfd", "list", "new", "page", "sem", "signalfd", "stat"].as_slice()),
        ("list", &["eventfd", "sem", "signalfd", "waiters"]),
        ("eventfd/3", &["0", "1"]),
        ("eventfd", &[]),
    ] {
        let directory = world.open(&mut client, path, O_DIRECTORY).unwrap();
        let names = world.names(&client, directory, 4096, 0);
        assert!(names.iter().map(|(name, _)| name).eq(expected), "{path}: {names:?}");
    }
}

#[test]
fn directories_are_listed_entry_by_entry() {
    let mut world = World::new();
    let mut client = world.process();
    let directory = world.open(&mut client, "list", O_DIRECTORY).unwrap();
    // The second entry takes 24 bytes, the others 32 each.
    for (len, pieces) in [(32, vec![1, 1, 1, 1]), (55, vec![1, 1, 1, 1]), (56, vec![2, 1, 1]), (64, vec![2, 2])] {
        let (mut opaque, mut found, mut sizes) = (0, Vec::new(), Vec::new());
        loop {
            let names = world.names(&client, directory, len, opaque);
            let Some((_, next)) = names.last() else { break };
            opaque = *next;
            sizes.push(names.len());
            found.extend(names.into_iter().map(|(name, _)| name));
        }
        assert_eq!(
            (found, sizes),
            (["eventfd", "sem", "signalfd", "waiters"].map(str::to_owned).to_vec(), pieces),
            "{len}"
        );
    }
}

#[test]
fn a_buffer_too_small_for_an_entry_is_invalid() {
    let mut world = World::new();
    let mut client = world.process();
    let directory = world.open(&mut client, "", O_DIRECTORY).unwrap();
    for len in [0, 1, 20] {
        assert_eq!(world.result(client.start_entries(directory, len, 0).unwrap()), Err(EINVAL), "{len}");
    }
}

#[test]
fn a_listing_ends_at_any_place_that_is_none() {
    let mut world = World::new();
    let mut client = world.process();
    let directory = world.open(&mut client, "", O_DIRECTORY).unwrap();
    for opaque in [7, 8, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        assert_eq!(world.names(&client, directory, 4096, opaque), [], "{opaque}");
    }
    world.assert_serves();
}

#[test]
fn files_have_no_entries() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, flags) in [("stat", O_RDONLY), ("eventfd/0/0", O_RDWR), ("list/eventfd", O_STAT)] {
        let descriptor = world.open(&mut client, path, flags).unwrap();
        assert_eq!(world.result(client.start_entries(descriptor, 4096, 0).unwrap()), Err(ENOTDIR), "{path}");
    }
}

// Texts.

#[test]
fn a_text_read_in_pieces_shows_one_moment() {
    let mut world = World::new();
    let mut client = world.process();
    let mut texts = Vec::new();
    for path in ["stat", "list/eventfd", "list/waiters"] {
        let whole = world.text(&mut client, path);
        let descriptor = world.open(&mut client, path, O_RDONLY).unwrap();
        assert_eq!(world.stat(&client, descriptor).st_size, whole.len() as u64);
        texts.push((descriptor, whole));
    }
    let counter = world.counter(&mut client, 0);
    world.park_read(&client, counter);
    pass_time(Duration::from_secs(3));
    for (descriptor, whole) in texts {
        assert_eq!(world.pieces(&client, descriptor, 0, 7), whole);
        assert_eq!(world.pieces(&client, descriptor, 11, 1000), whole[11..]);
        assert_eq!(world.pieces(&client, descriptor, 1 << 40, 10), "");
    }
}

#[test]
fn stat_counts() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let gone = world.counter(&mut client, 0);
    world.close(&mut client, gone);
    world.park_read(&client, counter);
    assert_eq!((world.live(), world.number("eventfd_created"), world.waiting()), (1, 2, 1));
    world.write(&client, counter, 6);
    let numbers = ["eventfd_reads", "eventfd_writes", "requests_parked", "requests_waiting", "eventfd_max_count"];
    assert_eq!(numbers.map(|name| world.number(name)), [1, 1, 1, 0, MAX]);
}

fn column<'text>(text: &'text str, name: &str) -> Vec<&'text str> {
    let mut lines = text.lines().map(|line| line.split_whitespace());
    let index = lines.next().unwrap().position(|head| head == name).expect("no such column");
    lines.map(|mut line| line.nth(index).unwrap()).collect()
}

#[test]
fn lists_show_own_rows_to_users_and_all_to_root() {
    let mut world = World::new();
    let (mut alice, mut bob, mut root) = (world.process_of(1), world.process_of(2), world.process_of(0));
    let hers = world.counter(&mut alice, 0);
    let his = world.full_counter(&mut bob);
    world.park_read(&alice, hers);
    world.park_write(&bob, his, 9);
    for path in ["list/eventfd", "list/waiters"] {
        let mut uids = |client: &mut Client| {
            let text = world.text(client, path);
            column(&text, "UID").join(" ")
        };
        assert_eq!((uids(&mut alice), uids(&mut bob)), ("1".into(), "2".into()), "{path}");
        assert_eq!(uids(&mut root), "1 2", "{path}");
    }
    let text = world.text(&mut root, "list/eventfd");
    assert_eq!((column(&text, "READERS"), column(&text, "WRITERS")), (vec!["1", "0"], vec!["0", "1"]));
    assert_eq!(column(&text, "COUNT"), ["0", &MAX.to_string()]);
}

#[test]
fn a_waiter_belongs_to_who_waits_and_not_to_who_created() {
    let mut world = World::new();
    let mut alice = world.process_of(1);
    let counter = world.counter(&mut alice, 0);
    let child = alice.fork(555);
    world.park_read(&child, counter);
    let text = world.text(&mut alice, "list/waiters");
    assert_eq!((column(&text, "PID"), column(&text, "VALUE")), (vec!["555"], vec!["-"]));
}

#[test]
fn waiters_are_listed_in_order_of_arrival() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 0);
    for pid in [903, 901, 902] {
        pass_time(Duration::from_millis(1500));
        let child = client.fork(pid);
        world.park_read(&child, semaphore);
    }
    let text = world.text(&mut client, "list/waiters");
    assert_eq!(column(&text, "PID"), ["903", "901", "902"]);
    assert_eq!(column(&text, "SINCE"), ["1.500", "3.000", "4.500"]);
    assert_eq!(column(&text, "SECONDS"), ["3.000", "1.500", "0.000"]);
}

#[test]
fn waiters_that_come_at_once_are_listed_in_order_of_arrival() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 0);
    let pids = (0..40).map(|index| 900 + index * 7 % 40).collect::<Vec<_>>();
    let parked = pids.iter().map(|pid| start_read(&client.fork(*pid), semaphore)).collect::<Vec<_>>();
    world.settle();
    assert!(parked.iter().all(|pending| pending.poll().is_none()));
    let text = world.text(&mut client, "list/waiters");
    let listed = column(&text, "PID").iter().map(|pid| pid.parse().unwrap()).collect::<Vec<usize>>();
    assert_eq!(listed, pids);
}

#[test]
fn a_forged_uid_of_a_call_changes_nothing() {
    let mut world = World::new();
    let (mut alice, mut mallory) = (world.process_of(1), world.process_of(2));
    let hers = world.counter(&mut alice, 0);
    world.park_read(&alice, hers);
    let list = world.open(&mut mallory, "list/eventfd", O_RDONLY).unwrap();
    let waiters = world.open(&mut mallory, "list/waiters", O_RDONLY).unwrap();
    let counter = world.counter(&mut mallory, 0);
    for descriptor in [list, waiters, counter] {
        for forged in [0, 1, 1 | 1 << 32] {
            let pending = mallory.start_call(descriptor, &[0; 64], [0, 0, forged]).unwrap();
            assert_eq!(world.result(pending), Err(EOPNOTSUPP));
        }
    }
    assert_eq!(column(&world.pieces(&mallory, list, 0, 100), "UID"), [""; 0]);
    assert_eq!(column(&world.pieces(&mallory, waiters, 0, 100), "UID"), [""; 0]);
    assert_eq!(world.stat(&mallory, counter).st_uid, 2);
    // The calls of a file system carry metadata where the uid would be, too.
    let stat = mallory.start_raw(
        Opcode::StdFsCall as u8,
        [mallory.id(counter).unwrap() as u64, 0, 0, StdFsCallKind::Fstat as u64, 0, 0],
        Some(&[0; size_of::<Stat>()]),
    );
    let outcome = world.outcome(stat);
    assert_eq!(Client::stat_of(&outcome).unwrap().st_uid, 2);
}

// Reading and writing.

#[test]
fn a_read_is_answered_by_the_write_of_another_process_24() {
    let mut world = World::new();
    let mut parent = world.process();
    let counter = world.counter(&mut parent, 0);
    let child = parent.fork(700);
    let read = world.park_read(&parent, counter);
    world.write(&child, counter, 11);
    assert_eq!(value_of(&read), 11);
    assert_eq!(world.waiting(), 0);
}

#[test]
fn a_write_is_answered_by_the_read_of_another_process_37() {
    let mut world = World::new();
    let mut parent = world.process();
    let counter = world.full_counter(&mut parent);
    let child = parent.fork(700);
    let write = world.park_write(&parent, counter, 3);
    assert_eq!(world.read(&child, counter), MAX);
    assert_eq!(errno_of(&write), Some(0));
    assert_eq!(world.read(&child, counter), 3);
}

#[test]
fn a_read_touches_8_bytes_18_19() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    for len in [0, 1, 7] {
        assert_eq!(world.result(client.start_read(counter, len).unwrap()), Err(EINVAL), "{len}");
    }
    let read = client.start_read(counter, 64).unwrap();
    let read = world.park(read);
    world.write(&client, counter, 2);
    assert_eq!(read.poll().unwrap().bytes().unwrap(), 2_u64.to_ne_bytes());
    for len in [0, 7, 9, 16] {
        assert_eq!(world.result(client.start_write(counter, &vec![1; len]).unwrap()), Err(EINVAL), "{len}");
    }
}

#[test]
fn o_nonblock_is_of_the_description_and_can_change_7_8() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.open(&mut client, "eventfd/0/0", O_RDWR | O_NONBLOCK).unwrap();
    let duplicate = client.dup(counter).unwrap();
    let pending = start_read(&client, counter);
    assert_eq!(world.result(pending), Err(EAGAIN));
    world.set_flags(&client, duplicate, 0);
    let parked = world.park_read(&client, counter);
    world.set_flags(&client, duplicate, O_NONBLOCK);
    assert!(parked.poll().is_none(), "what waits already goes on");
    let pending = start_read(&client, counter);
    assert_eq!(world.result(pending), Err(EAGAIN));
    world.write(&client, counter, MAX);
    assert_eq!(value_of(&parked), MAX);
    world.write(&client, counter, MAX);
    let pending = start_write(&client, counter, 1);
    assert_eq!(world.result(pending), Err(EAGAIN));
    assert_eq!(world.read(&client, counter), MAX);
}

#[test]
fn readers_are_answered_in_order_of_arrival_27() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 0);
    let reads = [5, 3, 4].map(|pid| world.park_read(&client.fork(pid), semaphore));
    let state = || reads.each_ref().map(|read| read.poll().is_some());
    world.write(&client, semaphore, 2);
    assert_eq!(state(), [true, true, false]);
    world.write(&client, semaphore, 1);
    assert_eq!(state(), [false, false, true]);
}

#[test]
fn writers_are_answered_in_order_of_arrival_37_38() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.full_counter(&mut client);
    let writes = [MAX - 1, MAX - 1, 1].map(|value| world.park_write(&client, counter, value));
    assert_eq!(world.read(&client, counter), MAX);
    assert_eq!(writes.each_ref().map(errno_of), [Some(0), None, Some(0)]);
    assert_eq!(world.read(&client, counter), MAX);
    assert_eq!(errno_of(&writes[1]), Some(0));
}

#[test]
fn a_long_queue_is_handled_in_batches_and_in_order() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 0);
    let mut pending = (0..100).map(|_| start_read(&client, semaphore)).collect::<Vec<_>>();
    pending.extend((0..100).map(|_| start_write(&client, semaphore, 1)));
    assert_eq!((world.turn(), client.unanswered()), (Turn::Served, 200));
    // Two batches: all reads and the first 28 writes.
    assert_eq!(2 * BATCH - 100, 28);
    assert_eq!((world.turn(), client.unanswered()), (Turn::Served, 200 - 2 * 28));
    let done = pending.iter().map(|pending| pending.poll().is_some()).collect::<Vec<_>>();
    let expected = (0..200).map(|index| index < 28 || (100..128).contains(&index)).collect::<Vec<_>>();
    assert_eq!(done, expected);
    assert_eq!((world.turn(), world.turn(), world.turn()), (Turn::Served, Turn::Served, Turn::Idle));
    assert_eq!(client.unanswered(), 0);
    assert!(pending[28..100].iter().chain(&pending[128..]).all(|pending| pending.poll().is_some()));
}

// Cancellation.

#[test]
fn a_read_interrupted_before_the_daemon_saw_it_changes_nothing_55_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let read = start_read(&client, counter);
    read.interrupt();
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!(errno_of(&read), Some(EINTR));
    world.write(&client, counter, 4);
    assert_eq!(world.read(&client, counter), 4);
    drop((read, client));
    world.assert_empty();
}

#[test]
fn a_read_interrupted_while_parked_changes_nothing_55_57() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 0);
    let reads = [1, 2, 3].map(|_| world.park_read(&client, semaphore));
    reads[1].interrupt();
    reads[1].interrupt();
    world.settle();
    assert_eq!(errno_of(&reads[1]), Some(EINTR));
    assert_eq!(world.waiting(), 2);
    world.write(&client, semaphore, 2);
    assert_eq!((value_of(&reads[0]), value_of(&reads[2])), (1, 1));
    drop((reads, client));
    world.assert_empty();
}

#[test]
fn a_read_interrupted_before_the_write_in_a_batch_gets_nothing_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let read = world.park_read(&client, counter);
    read.interrupt();
    let write = start_write(&client, counter, 4);
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!((errno_of(&read), errno_of(&write)), (Some(EINTR), Some(0)));
    assert_eq!(world.read(&client, counter), 4);
}

#[test]
fn a_read_interrupted_after_the_write_in_a_batch_keeps_its_value_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let read = world.park_read(&client, counter);
    let write = start_write(&client, counter, 4);
    read.interrupt();
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!((value_of(&read), errno_of(&write)), (4, Some(0)));
    let next = world.park_read(&client, counter);
    assert_eq!(client.unanswered(), 1, "there is one answer to a request");
    world.write(&client, counter, 5);
    assert_eq!(value_of(&next), 5);
}

#[test]
fn a_cancel_that_comes_after_the_answer_is_ignored() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    // The tag of the answered request is not used again yet.
    let reads = [1, 2].map(|_| world.park_read(&client, counter));
    world.write(&client, counter, 4);
    assert_eq!(value_of(&reads[0]), 4);
    reads[0].interrupt();
    for tag in [0, 1, 2, UNKNOWN_TAG, u32::MAX] {
        // Tag 1 is that of the second read, which has not been answered: leave it alone.
        if tag != 1 {
            client.send_raw(Sqe { sqe_flags: SqeFlags::ONEWAY, ..message(Opcode::Cancel, tag, 0) });
        }
    }
    world.settle();
    assert!(reads[1].poll().is_none());
    world.write(&client, counter, 6);
    assert_eq!(value_of(&reads[1]), 6);
    world.assert_serves();
}

#[test]
fn a_write_interrupted_before_the_daemon_saw_it_adds_nothing_55_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.full_counter(&mut client);
    let write = start_write(&client, counter, 7);
    write.interrupt();
    world.settle();
    assert_eq!(errno_of(&write), Some(EINTR));
    assert_eq!(world.read(&client, counter), MAX);
    world.park_read(&client, counter);
}

#[test]
fn a_write_interrupted_while_parked_adds_nothing_55_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.full_counter(&mut client);
    let writes = [7, 1, 9].map(|value| world.park_write(&client, counter, value));
    writes[1].interrupt();
    world.settle();
    assert_eq!(writes.each_ref().map(errno_of), [None, Some(EINTR), None]);
    assert_eq!(world.read(&client, counter), MAX);
    assert_eq!((errno_of(&writes[0]), errno_of(&writes[2])), (Some(0), Some(0)));
    assert_eq!(world.read(&client, counter), 16);
}

#[test]
fn a_write_interrupted_after_the_read_in_a_batch_stays_written_57() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.full_counter(&mut client);
    let write = world.park_write(&client, counter, 7);
    let read = start_read(&client, counter);
    write.interrupt();
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!((value_of(&read), errno_of(&write)), (MAX, Some(0)));
    assert_eq!(world.read(&client, counter), 7);
}

#[test]
fn requests_that_never_wait_are_not_interrupted() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 3);
    let (read, write) = (start_read(&client, counter), start_write(&client, counter, 2));
    let open = client.start_open("eventfd/0/0", O_RDWR);
    for pending in [&read, &write, &open] {
        pending.interrupt();
    }
    world.settle();
    assert_eq!((value_of(&read), errno_of(&write)), (3, Some(0)));
    let opened = client.opened(&open.poll().unwrap(), O_RDWR).unwrap();
    assert_eq!(world.live(), 2);
    world.close(&mut client, opened);
    assert_eq!(world.live(), 1);
}

// The death of clients: nobody waits for the answer, the descriptors are closed, and there is no Cancel.

/// How far a request has come when its caller dies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Point {
    Queued,
    Parked,
    Answered,
}

const POINTS: [Point; 3] = [Point::Queued, Point::Parked, Point::Answered];

/// Makes `client` die in a request at `point`; `release` makes the request complete.
fn die(world: &mut World, client: Client, request: Pending, point: Point, release: impl FnOnce(&mut World)) {
    if point != Point::Queued {
        world.settle();
    }
    if point == Point::Answered {
        release(world);
    }
    request.abandon();
    drop(client);
    world.settle();
}

#[test]
fn a_reader_that_dies_alone_leaves_nothing() {
    for point in POINTS {
        let mut world = World::new();
        let mut client = world.process();
        let counter = world.counter(&mut client, 0);
        let writer = client.fork(300);
        let read = start_read(&client, counter);
        let release = |world: &mut World| world.write(&writer, counter, 1);
        match point {
            Point::Answered => {
                die(&mut world, client, read, point, release);
                drop(writer);
            }
            Point::Queued | Point::Parked => {
                drop(writer);
                die(&mut world, client, read, point, |_| ());
            }
        }
        world.assert_empty();
    }
}

#[test]
fn a_writer_that_dies_alone_leaves_nothing() {
    for point in [Point::Queued, Point::Parked] {
        let mut world = World::new();
        let mut client = world.process();
        let counter = world.full_counter(&mut client);
        let write = start_write(&client, counter, 1);
        die(&mut world, client, write, point, |_| ());
        world.assert_empty();
    }
}

#[test]
fn an_opener_that_dies_with_its_descriptor_leaves_nothing() {
    let mut world = World::new();
    let mut client = world.process();
    world.counter(&mut client, 0);
    drop(client);
    world.assert_empty();
}

/// What today's kernel makes unavoidable: it throws away the answer to an open whose caller is dead and never closes what was opened.
#[test]
fn an_opener_that_dies_before_the_answer_leaves_one_counter() {
    let mut world = World::new();
    let client = world.process();
    let open = client.start_open("eventfd/0/0", O_RDWR);
    open.abandon();
    drop(client);
    assert_eq!((world.live(), world.waiting()), (1, 0));
    world.assert_serves();
}

/// What today's kernel makes unavoidable: it tells a daemon neither that a caller is dead nor, as long as another process holds the description, of
/// any close. So a dead reader takes the next value with it (`redox.md` 0c, 2). Exactly one value, and nothing is left waiting.
#[test]
fn a_reader_that_dies_while_another_holds_the_description_takes_one_value() {
    for point in POINTS {
        let mut world = World::new();
        let mut survivor = world.process();
        let semaphore = world.semaphore(&mut survivor, 0);
        let client = survivor.fork(300);
        let read = start_read(&client, semaphore);
        die(&mut world, client, read, point, |world| world.write(&survivor, semaphore, 1));
        assert_eq!(world.waiting(), u64::from(point != Point::Answered), "{point:?}");
        if point != Point::Answered {
            world.write(&survivor, semaphore, 1);
        }
        assert_eq!((world.waiting(), survivor.unanswered()), (0, 0), "{point:?}");
        let next = world.park_read(&survivor, semaphore);
        world.write(&survivor, semaphore, 1);
        assert_eq!(value_of(&next), 1, "{point:?}");
        drop(survivor);
        drop(next);
        world.assert_empty();
    }
}

#[test]
fn a_writer_that_dies_while_another_holds_the_description_has_written() {
    for point in POINTS {
        let mut world = World::new();
        let mut survivor = world.process();
        let counter = world.full_counter(&mut survivor);
        let client = survivor.fork(300);
        let write = start_write(&client, counter, 6);
        let release = |world: &mut World| assert_eq!(world.read(&survivor, counter), MAX);
        die(&mut world, client, write, point, release);
        if point != Point::Answered {
            assert_eq!(world.read(&survivor, counter), MAX, "{point:?}");
        }
        assert_eq!(world.read(&survivor, counter), 6, "{point:?}");
        drop(survivor);
        world.assert_empty();
    }
}

#[test]
fn requests_that_are_dropped_at_the_last_close_are_answered() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap();
    let reads = [1, 2, 3].map(|_| world.park_read(&client, counter));
    // The kernel keeps a description as long as a call uses it, unless the caller is dead: send the close ourselves.
    client.send_raw(message(Opcode::CloseMsg, 0, id));
    world.settle();
    assert_eq!(client.unanswered(), 0);
    // Nobody asked for a cancellation, so the kernel passes on what the daemon answered.
    assert_eq!(reads.each_ref().map(errno_of), [Some(ECANCELED); 3]);
    assert_eq!((world.live(), world.waiting()), (0, 0));
    let pending = start_read(&client, counter);
    assert_eq!(world.result(pending), Err(EBADF));
}

#[test]
fn a_close_and_the_request_before_it_in_one_batch() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap();
    let read = start_read(&client, counter);
    client.send_raw(message(Opcode::CloseMsg, 0, id));
    let late = start_write(&client, counter, 1);
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!((errno_of(&read), errno_of(&late)), (Some(ECANCELED), Some(EBADF)));
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn thousands_of_clients_die_and_leave_nothing() {
    let mut world = World::new();
    let mut survivor = world.process();
    let kept = world.counter(&mut survivor, 0);
    for round in 0..3000 {
        let mut client = world.process();
        let counter = world.counter(&mut client, 0);
        let full = world.open(&mut client, "eventfd/1/1", O_RDWR).unwrap();
        world.write(&client, full, MAX - 1);
        world.open(&mut client, "list/waiters", O_RDONLY).unwrap();
        world.watch(&client, counter, BOTH);
        let requests = [
            start_read(&client, counter),
            start_read(&client, counter),
            start_write(&client, full, 5),
            client.start_stat(full).unwrap(),
        ];
        if round % 2 == 0 {
            world.settle();
        }
        for request in requests {
            request.abandon();
        }
        drop(client);
        if round % 5 == 0 {
            world.settle();
        }
    }
    world.settle();
    assert_eq!((world.live(), world.waiting(), survivor.unanswered()), (1, 0, 0));
    world.write(&survivor, kept, 3);
    assert_eq!(world.read(&survivor, kept), 3);
    drop(survivor);
    world.assert_empty();
}

// What the kernel does not send, or sends for a client that means no good.

#[test]
fn what_the_decoder_would_panic_on_gets_an_errno() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap() as u64;
    let short = |len: usize| vec![0; len];
    for (opcode, payload) in [
        (Opcode::Fstat, short(0)),
        (Opcode::Fstat, short(size_of::<Stat>() - 1)),
        (Opcode::Fstatvfs, short(0)),
        (Opcode::Fstatvfs, short(size_of::<StatVfs>() - 1)),
        (Opcode::Futimens, short(2 * size_of::<TimeSpec>() + 1)),
        (Opcode::Futimens, short(3 * size_of::<TimeSpec>())),
    ] {
        let pending = client.start_raw(opcode as u8, [id, 0, 0, 0, 0, 0], Some(&payload));
        assert_eq!(world.result(pending), Err(EINVAL), "{opcode:?} {}", payload.len());
    }
    world.assert_serves();
}

#[test]
fn what_the_decoder_takes_is_served() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap() as u64;
    let stat = client.start_raw(Opcode::Fstat as u8, [id, 0, 0, 0, 0, 0], Some(&[0; size_of::<Stat>()]));
    let outcome = world.outcome(stat);
    assert_eq!(Client::stat_of(&outcome).unwrap().st_uid, USER);
    let times = client.start_raw(Opcode::Futimens as u8, [id, 0, 0, 0, 0, 0], Some(&[0; 2 * size_of::<TimeSpec>()]));
    assert_eq!(world.result(times), Err(EOPNOTSUPP));
}

#[test]
fn a_structure_at_an_odd_address_gets_an_errno() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap() as u64;
    let buffer: &'static mut [u64] = Box::leak(vec![0; 64].into_boxed_slice());
    let odd = buffer.as_mut_ptr().expose_provenance() as u64 + 1;
    for (opcode, kind, len) in [
        (Opcode::Fstat, 0, size_of::<Stat>()),
        (Opcode::Fstatvfs, 0, size_of::<StatVfs>()),
        (Opcode::Futimens, 0, 2 * size_of::<TimeSpec>()),
        (Opcode::StdFsCall, StdFsCallKind::Fstat as u64, size_of::<Stat>()),
        (Opcode::StdFsCall, StdFsCallKind::Fstatvfs as u64, size_of::<StatVfs>()),
        (Opcode::StdFsCall, StdFsCallKind::Futimens as u64, 2 * size_of::<TimeSpec>()),
    ] {
        let pending = client.start_raw(opcode as u8, [id, odd, len as u64, kind, 0, 0], None);
        assert_eq!(world.result(pending), Err(EINVAL), "{opcode:?} {kind}");
    }
    world.assert_serves();
}

#[test]
fn a_path_that_is_no_utf_8_names_nothing() {
    let mut world = World::new();
    let client = world.process();
    let path = b"eventfd/\xFF\xFE/0";
    for opcode in [Opcode::OpenAt, Opcode::UnlinkAt, Opcode::Flink, Opcode::Frename] {
        let pending = client.start_raw(opcode as u8, [0, 0, 0, O_RDWR as u64, 0, 0], Some(path));
        assert_eq!(world.result(pending), Err(ENOENT), "{opcode:?}");
    }
    for kind in [StdFsCallKind::Unlinkat, StdFsCallKind::Flinkat, StdFsCallKind::Frenameat] {
        let pending = client.start_raw(Opcode::StdFsCall as u8, [0, 0, 0, kind as u64, 0, 0], Some(path));
        assert_eq!(world.result(pending), Err(EINVAL), "{kind:?}");
    }
    world.assert_serves();
}

/// Opcodes that the kernel sends one-way, so that nobody waits for an answer.
fn is_one_way(opcode: u8) -> bool {
    let one_way = [Opcode::Cancel, Opcode::CloseMsg, Opcode::Msync, Opcode::RequestMmap, Opcode::Detach];
    one_way.into_iter().any(|known| known as u8 == opcode)
}

#[test]
fn every_opcode_with_any_payload_is_answered() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.open(&mut client, "eventfd/0/0", O_RDWR | O_NONBLOCK).unwrap();
    let text = world.open(&mut client, "stat", O_RDONLY).unwrap();
    let ids = [0, client.id(counter).unwrap() as u64, client.id(text).unwrap() as u64, 77, u64::MAX];
    let mut pending = Vec::new();
    for opcode in (0..=u8::MAX).filter(|opcode| !is_one_way(*opcode)) {
        for id in ids {
            for payload in [&[][..], &[0; 8], b"stat", &[0xFF; 8], &[0xFF; 300]] {
                for rest in [[0, O_NONBLOCK as u64, 0], [u64::MAX, O_NONBLOCK as u64, 0], [27, u64::MAX, u64::MAX]] {
                    let [third, fourth, fifth] = rest;
                    pending.push(client.start_raw(opcode, [id, 0, 0, third, fourth, fifth], Some(payload)));
                }
            }
        }
    }
    world.settle();
    assert!(pending.iter().all(|pending| pending.poll().is_some()));
    assert_eq!(client.unanswered(), 0);
    world.assert_serves();
}

#[test]
fn every_call_of_a_file_system_is_answered() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let directory = world.open(&mut client, "list", O_DIRECTORY).unwrap();
    let ids = [0, client.id(counter).unwrap() as u64, client.id(directory).unwrap() as u64, 77];
    for kind in 0..=u8::MAX {
        for id in ids {
            for len in [0, 1, 16, 24, 48, 64, size_of::<Stat>(), 300] {
                for argument in [0, 19, u64::MAX] {
                    let args = [id, 0, 0, u64::from(kind), argument, argument];
                    let pending = client.start_raw(Opcode::StdFsCall as u8, args, Some(&vec![0; len]));
                    assert!(pending.poll().is_none());
                }
            }
        }
    }
    world.settle();
    assert_eq!(client.unanswered(), 0);
    world.assert_serves();
}

#[test]
fn messages_that_expect_no_answer_get_none() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap();
    let read = world.park_read(&client, counter);
    for opcode in [Opcode::Cancel, Opcode::CloseMsg, Opcode::Msync, Opcode::RequestMmap, Opcode::Detach] {
        for number in [77, usize::MAX] {
            client.send_raw(message(opcode, UNKNOWN_TAG, number));
        }
    }
    client.send_raw(message(Opcode::Detach, UNKNOWN_TAG, id));
    world.settle();
    assert!(read.poll().is_none());
    world.write(&client, counter, 2);
    assert_eq!(value_of(&read), 2);
}

#[test]
fn unknown_descriptors_are_bad() {
    let mut world = World::new();
    let client = world.process();
    for id in [77, u64::MAX] {
        for opcode in [Opcode::Read, Opcode::Write, Opcode::Fpath, Opcode::OpenAt, Opcode::UnlinkAt] {
            let pending = client.start_raw(opcode as u8, [id, 0, 0, 0, 0, 0], Some(&[0; 8]));
            assert_eq!(world.result(pending), Err(EBADF), "{opcode:?} {id}");
        }
        for opcode in [Opcode::Fsize, Opcode::Fcntl, Opcode::Fevent, Opcode::Fsync, Opcode::Ftruncate, Opcode::MmapPrep]
        {
            let pending = client.start_raw(opcode as u8, [id, 0, 0, 0, 0, 0], None);
            assert_eq!(world.result(pending), Err(EBADF), "{opcode:?} {id}");
        }
    }
}

/// The kernel refuses an answer to a request that it does not know. A request with a tag that nobody waits for brings the daemon to write one.
#[test]
fn an_answer_that_the_kernel_refuses_does_not_cost_the_others() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 3);
    let id = client.id(counter).unwrap();
    let refused = |client: &Client| client.send_raw(message(Opcode::Fsize, UNKNOWN_TAG, id));
    // At the beginning, in the middle, several in a row, at the end, alone.
    refused(&client);
    let first = start_read(&client, counter);
    refused(&client);
    refused(&client);
    let second = start_write(&client, counter, 4);
    refused(&client);
    let third = client.start_stat(counter).unwrap();
    refused(&client);
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!(value_of(&first), 3);
    assert_eq!((errno_of(&second), errno_of(&third)), (Some(0), Some(0)));
    refused(&client);
    world.settle();
    assert_eq!(world.read(&client, counter), 4);
}

#[test]
fn an_announcement_that_the_kernel_refuses_does_not_cost_the_others() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap();
    world.watch(&client, counter, BOTH);
    let parked = world.park_read(&client, counter);
    // Nobody waits for the answer to this write, but it was made.
    let value = 9_u64.to_ne_bytes();
    let address = value.as_ptr().expose_provenance() as u64;
    let write = message(Opcode::Write, UNKNOWN_TAG, id);
    client.send_raw(Sqe { args: [id as u64, address, 8, u64::MAX, 0, 0], ..write });
    world.settle();
    assert_eq!(value_of(&parked), 9);
    assert_eq!(client.next_event(), Some((Some(counter), WRITABLE)));
}

#[test]
fn descriptors_of_others_are_not_taken() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    let id = client.id(counter).unwrap() as u64;
    for opcode in [Opcode::Sendfd, Opcode::Recvfd] {
        let pending = client.start_raw(opcode as u8, [id, 0, 0, 1, 0, 0], None);
        assert_eq!(world.result(pending), Err(EOPNOTSUPP), "{opcode:?}");
    }
    let pending = client.start_dup_with(counter, b"anything").unwrap();
    assert_eq!(world.result(pending), Err(EOPNOTSUPP));
}

// Readiness.

#[test]
fn fevent_tells_what_is_ready_now_42_43() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    assert_eq!(world.watch(&client, counter, BOTH), WRITABLE);
    world.write(&client, counter, 1);
    assert_eq!(world.watch(&client, counter, BOTH), BOTH);
    assert_eq!(world.watch(&client, counter, READABLE), READABLE);
    world.write(&client, counter, MAX - 1);
    assert_eq!(world.watch(&client, counter, BOTH), READABLE);
    assert_eq!(world.watch(&client, counter, WRITABLE), EventFlags::empty());
}

#[test]
fn every_read_and_write_is_announced_once_48_49_50_51() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    world.watch(&client, counter, BOTH);
    let event = |flags| Some((Some(counter), flags));
    for value in [1, 1, 0] {
        world.write(&client, counter, value);
        assert_eq!((client.next_event(), client.next_event()), (event(BOTH), None), "write {value}");
    }
    assert_eq!(world.read(&client, counter), 2);
    assert_eq!((client.next_event(), client.next_event()), (event(WRITABLE), None));
    let read = world.park_read(&client, counter);
    assert_eq!(client.next_event(), None);
    world.write(&client, counter, 5);
    assert_eq!(value_of(&read), 5);
    assert_eq!((client.next_event(), client.next_event()), (event(WRITABLE), None));
    world.write(&client, counter, MAX);
    assert_eq!((client.next_event(), client.next_event()), (event(READABLE), None));
}

#[test]
fn a_semaphore_that_stays_readable_is_announced_again_50() {
    let mut world = World::new();
    let mut client = world.process();
    let semaphore = world.semaphore(&mut client, 2);
    world.watch(&client, semaphore, READABLE);
    assert_eq!(world.read(&client, semaphore), 1);
    assert_eq!(client.next_event(), Some((Some(semaphore), READABLE)));
    assert_eq!(world.read(&client, semaphore), 1);
    assert_eq!(client.next_event(), None);
}

#[test]
fn an_event_comes_after_the_answers_that_caused_it() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    world.watch(&client, counter, BOTH);
    let writes = [1, 2].map(|value| start_write(&client, counter, value));
    assert_eq!(world.turn(), Turn::Served);
    assert_eq!(writes.each_ref().map(errno_of), [Some(0); 2]);
    let events = std::iter::from_fn(|| client.next_event()).collect::<Vec<_>>();
    assert_eq!(events, [(Some(counter), BOTH); 2]);
}

#[test]
fn nothing_is_announced_for_what_is_not_watched() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 1);
    world.write(&client, counter, 1);
    assert_eq!(client.next_event(), None);
    // A new description with the number of a watched one that was closed.
    world.watch(&client, counter, BOTH);
    let number = client.id(counter);
    world.close(&mut client, counter);
    let counter = world.counter(&mut client, 1);
    assert_eq!(client.id(counter), number);
    world.write(&client, counter, 1);
    assert_eq!(client.next_event(), None);
}

/// Two CPUs ask for the union of what all queues want; the older union comes last.
#[test]
fn an_interest_that_comes_late_does_not_end_another() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    world.watch(&client, counter, BOTH);
    for late in [READABLE, EventFlags::empty()] {
        assert!(!world.watch(&client, counter, late).contains(WRITABLE), "not asked for");
        world.write(&client, counter, 1);
        assert_eq!(client.next_event(), Some((Some(counter), BOTH)));
        assert_eq!(world.read(&client, counter), 1);
        assert_eq!(client.next_event(), Some((Some(counter), WRITABLE)));
    }
}

#[test]
fn texts_and_directories_are_always_ready() {
    let mut world = World::new();
    let mut client = world.process();
    for path in ["stat", "list"] {
        let descriptor = world.open(&mut client, path, O_RDONLY).unwrap();
        assert_eq!(world.watch(&client, descriptor, BOTH), BOTH, "{path}");
    }
}

// Attributes and what is refused.

#[test]
fn fstat_shows_the_creator_13() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 5);
    let stat = world.stat(&client, counter);
    assert_eq!((stat.st_mode, stat.st_size, stat.st_nlink), (0o600, 0, 1));
    assert_eq!((stat.st_uid, stat.st_gid), (USER, USER + 1));
    let text = world.open(&mut client, "stat", O_RDONLY).unwrap();
    let stat = world.stat(&client, text);
    assert_eq!((stat.st_mode, stat.st_uid, stat.st_gid), (MODE_FILE | 0o444, 0, 0));
}

#[test]
fn fpath_names_what_was_opened() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, flags) in [("eventfd/5/1", O_RDWR), ("list", O_RDONLY), ("stat", O_RDONLY), ("list/waiters", O_STAT)] {
        let descriptor = world.open(&mut client, path, flags).unwrap();
        assert_eq!(world.path(&client, descriptor, 100), format!("/scheme/eventd/{path}"));
        assert_eq!(world.path(&client, descriptor, 10), "/scheme/ev");
        assert_eq!(world.path(&client, descriptor, 0), "");
    }
}

#[test]
fn a_counter_has_no_positions_15() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 7);
    let id = client.id(counter).unwrap() as u64;
    for (opcode, offset) in [(Opcode::Read, 0), (Opcode::Read, 8), (Opcode::Write, 0), (Opcode::Write, u64::MAX - 1)] {
        let positioned = client.start_raw(opcode as u8, [id, 0, 0, offset, 0, 0], Some(&1_u64.to_ne_bytes()));
        assert_eq!(world.result(positioned), Err(libc::ESPIPE), "{opcode:?} at {offset}");
    }
    let plain = client.start_read(counter, 8).unwrap();
    assert_eq!(world.outcome(plain).bytes().unwrap(), 7_u64.to_ne_bytes(), "nothing was taken or added");
}

#[test]
fn what_a_counter_cannot_do_17() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 0);
    assert_eq!(world.result(client.start_sync(counter).unwrap()), Err(EINVAL));
    assert_eq!(world.result(client.start_truncate(counter, 0).unwrap()), Err(EINVAL));
    for flags in [MapFlags::MAP_SHARED | MapFlags::PROT_READ, MapFlags::MAP_PRIVATE | MapFlags::PROT_WRITE] {
        let outcome = world.outcome(client.start_map(counter, 4096, flags, 0).unwrap());
        assert_eq!(Client::mapped(&outcome, 4096), Err(Error::new(ENODEV)));
    }
}

#[test]
fn nothing_can_be_removed() {
    let mut world = World::new();
    let mut client = world.process();
    let counter = world.counter(&mut client, 1);
    for (path, directory) in [("stat", false), ("list", true), ("eventfd/1/0", false)] {
        let pending = client.start_unlink(path, directory);
        assert_eq!(world.result(pending), Err(EPERM), "{path}");
    }
    for (path, errno) in [("nothing", ENOENT), ("stat/x", ENOTDIR)] {
        let pending = client.start_unlink(path, false);
        assert_eq!(world.result(pending), Err(errno), "{path}");
    }
    assert_eq!(world.read(&client, counter), 1);
}

#[test]
fn an_idle_daemon_is_idle() {
    let mut world = World::new();
    assert_eq!(world.turn(), Turn::Idle);
    world.assert_empty();
}
