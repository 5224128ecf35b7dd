//! The user-scheme protocol as a daemon and its clients see it, without FUSE: most tests are the daemon themselves, message by message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unsafe_code)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod daemon;
mod notes;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use daemon::{Daemon, ME, ROOT, answer, error, payload};
use event::raw::{self, RawEventV1};
use event::{EventFlags as QueueFlags, EventQueue};
use libredox::call::{MmapArgs, mmap, munmap};
use libredox::flag::{MAP_SHARED, PROT_READ, PROT_WRITE};
use redox_scheme::scheme::register_scheme_inner;
use redox_scheme::{RequestKind, Response, SignalBehavior, Socket};
use scheme_host::{Client, Descriptor, Namespace, Outcome, Pending};
use support::within;
use syscall::error::{
    EAGAIN, EBADF, EBADFD, ECANCELED, EEXIST, EINTR, EINVAL, EIO, ENODEV, ENOENT, EOPNOTSUPP, ESPIPE, Error, Result,
};
use syscall::flag::{EventFlags, F_SETFL, MapFlags, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC};
use syscall::schemev2::{Cqe, CqeOpcode, NewFdFlags, Opcode, Sqe, SqeFlags};

const PAGE: usize = 4096;

#[track_caller]
fn assert_opcode(sqe: &Sqe, opcode: Opcode) {
    assert_eq!(sqe.opcode, opcode as u8, "{sqe:?}");
}

fn opcodes(messages: &[Sqe]) -> Vec<u8> {
    messages.iter().map(|sqe| sqe.opcode).collect()
}

#[test]
fn open_carries_path_and_flags() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let flags = O_RDWR | O_CREAT | O_NONBLOCK | 0o640;
    let pending = client.start_open("a/b", flags);
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::OpenAt);
    assert_eq!(payload(&sqe), b"a/b");
    assert_eq!((sqe.args[0], sqe.args[3], sqe.args[4]), (ROOT as u64, flags as u64, O_NONBLOCK as u64));
    daemon.answer(&sqe, Ok(5));
    let descriptor = client.opened(&pending.wait(), flags).unwrap();
    assert_eq!(client.id(descriptor), Some(5));
    let below = client.start_open_at(descriptor, "c", O_RDONLY).unwrap();
    let sqe = daemon.next();
    assert_eq!((sqe.args[0], &*payload(&sqe)), (5, &b"c"[..]));
    daemon.answer(&sqe, error(ENOENT));
    assert_eq!(client.opened(&below.wait(), O_RDONLY), error(ENOENT));
}

#[test]
fn an_empty_path_has_an_address_that_is_not_null() {
    let _watchdog = within(20);
    let (daemon, client) = Daemon::start();
    let _pending = client.start_open("", O_RDONLY);
    let sqe = daemon.next();
    assert_ne!(sqe.args[1], 0);
    assert_eq!(sqe.args[2], 0);
    assert_eq!(payload(&sqe), b"");
}

#[test]
fn read_and_write_carry_bytes() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let write = client.start_write(file, b"12345678").unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Write);
    assert_eq!((sqe.args[0], &*payload(&sqe)), (5, &b"12345678"[..]));
    daemon.answer(&sqe, Ok(8));
    assert_eq!(write.wait().result(), Ok(8));

    let read = client.start_read(file, 10).unwrap();
    assert!(read.poll().is_none());
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Read);
    assert_eq!(payload(&sqe), [0; 10]);
    payload(&sqe)[..3].copy_from_slice(b"abc");
    daemon.answer(&sqe, Ok(3));
    let outcome = read.poll().unwrap();
    assert_eq!(outcome.bytes().unwrap(), b"abc");
    assert!(read.poll().is_none(), "an outcome is handed out once");
}

#[test]
fn a_daemon_cannot_claim_more_bytes_than_there_is_room_for() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let read = client.start_read(file, 4).unwrap();
    daemon.answer(&daemon.next(), Ok(5));
    assert_eq!(read.wait().bytes(), error(EIO));
}

#[test]
fn only_the_last_close_is_told() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let first = daemon.stream(&mut client, 5);
    let second = client.dup(first).unwrap();
    let mut child = client.fork(200);
    client.close(first).unwrap();
    client.close(second).unwrap();
    assert_eq!(client.close(first), error(EBADF));
    child.close(second).unwrap();
    assert!(daemon.take().is_empty(), "the child has one descriptor left");
    child.close(first).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::CloseMsg);
    assert_eq!((sqe.args[0], sqe.caller), (5, 0));
    assert_eq!(client.unanswered(), 0, "a close wants no answer");
}

#[test]
fn the_end_of_a_process_closes_what_it_had_open() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    daemon.stream(&mut client, 5);
    daemon.stream(&mut client, 6);
    drop(client);
    let closed = daemon.take().iter().map(|sqe| sqe.args[0]).collect::<Vec<_>>();
    assert_eq!(closed, [5, 6]);
}

#[test]
fn a_request_keeps_its_description_open() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let read = client.start_read(file, 8).unwrap();
    client.close(file).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Read);
    daemon.answer(&sqe, Ok(0));
    assert_eq!(read.wait().result(), Ok(0));
    assert_opcode(&daemon.next(), Opcode::CloseMsg);
}

#[test]
fn dup_with_an_argument_asks_the_daemon() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let dup = client.start_dup_with(file, b"listen").unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Dup);
    assert_eq!((sqe.args[0], &*payload(&sqe)), (5, &b"listen"[..]));
    daemon.answer(&sqe, Ok(6));
    let facet = client.opened(&dup.wait(), O_RDWR).unwrap();
    client.close(facet).unwrap();
    assert_eq!(daemon.next().args[0], 6);
}

/// A read of description 5 that nobody has answered.
fn blocked_read(daemon: &Daemon, client: &mut Client) -> Pending {
    let file = daemon.stream(client, 5);
    client.start_read(file, 8).unwrap()
}

#[test]
fn a_cancel_follows_a_request_that_the_daemon_has_not_read() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    read.interrupt();
    let messages = daemon.take();
    assert_eq!(opcodes(&messages), [Opcode::Read as u8, Opcode::Cancel as u8]);
    assert_eq!(messages[0].tag, messages[1].tag);
    assert!(read.poll().is_none(), "the caller waits for the answer");
    daemon.answer(&messages[0], error(ECANCELED));
    assert_eq!(read.wait().result(), error(EINTR));
}

#[test]
fn a_cancel_reaches_a_daemon_that_has_the_request() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    let request = daemon.next();
    read.interrupt();
    let cancel = daemon.next();
    assert_opcode(&cancel, Opcode::Cancel);
    assert_eq!((cancel.tag, cancel.caller, cancel.args), (request.tag, 0, [0; 6]));
    assert!(cancel.sqe_flags.contains(SqeFlags::ONEWAY));
    daemon.answer(&request, error(ECANCELED));
    assert_eq!(read.wait().result(), error(EINTR));
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn a_second_signal_sends_no_second_cancel() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    read.interrupt();
    read.interrupt();
    assert_eq!(daemon.take().len(), 2);
    read.interrupt();
    assert!(daemon.take().is_empty());
}

#[test]
fn a_signal_after_the_answer_does_nothing() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    daemon.answer(&daemon.next(), Ok(8));
    read.interrupt();
    assert!(daemon.take().is_empty());
    assert_eq!(read.wait().result(), Ok(8));
}

#[test]
fn a_signal_after_the_answer_does_not_hit_the_next_request_with_that_tag() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let first = client.start_read(file, 8).unwrap();
    let sqe = daemon.next();
    daemon.answer(&sqe, Ok(8));
    let second = client.start_read(file, 8).unwrap();
    let next = daemon.next();
    assert_eq!(next.tag, sqe.tag);
    first.interrupt();
    assert!(daemon.take().is_empty());
    first.abandon();
    daemon.answer(&next, Ok(1));
    assert_eq!(second.poll().unwrap().result(), Ok(1));
}

#[test]
fn a_canceled_request_may_succeed_all_the_same() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    for answered in [Ok(8), error(EAGAIN), error(EINTR)] {
        let read = blocked_read(&daemon, &mut client);
        read.interrupt();
        daemon.answer(&daemon.take()[0], answered);
        assert_eq!(read.wait().result(), answered);
    }
}

#[test]
fn errors_of_cancellation_that_nobody_asked_for() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    for (answered, seen) in [(ECANCELED, ECANCELED), (EINTR, EIO)] {
        let read = blocked_read(&daemon, &mut client);
        daemon.answer(&daemon.next(), error(answered));
        assert_eq!(read.wait().result(), error(seen));
    }
}

#[test]
fn a_killed_caller_sends_no_cancel_and_its_late_answer_is_discarded() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    let sqe = daemon.next();
    read.abandon();
    assert!(daemon.take().is_empty(), "no Cancel, and no Close while another descriptor is open");
    drop(client);
    assert_opcode(&daemon.next(), Opcode::CloseMsg);
    let mut other = daemon.namespace.client("test", ME).unwrap();
    assert_eq!(other.unanswered(), 1, "the tag stays in use until the daemon answers");
    payload(&sqe).fill(1);
    daemon.answer(&sqe, Ok(8));
    assert_eq!(other.unanswered(), 0);
    assert_eq!(daemon.write(&[answer(sqe.tag, Ok(8))]), error(EBADFD));
    let read = blocked_read(&daemon, &mut other);
    assert_eq!(daemon.next().tag, sqe.tag, "the tag is free again");
    assert!(read.poll().is_none());
}

#[test]
fn a_daemon_that_dies_leaves_enodev() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let unread = client.start_read(file, 8).unwrap();
    let known = client.start_read(file, 8).unwrap();
    daemon.read(1).unwrap();
    let namespace = daemon.namespace.clone();
    drop(daemon);
    assert_eq!(unread.wait().result(), error(ENODEV));
    known.interrupt();
    assert_eq!(known.wait().result(), error(ENODEV));
    assert_eq!(client.start_write(file, b"x").unwrap().wait().result(), error(ENODEV));
    assert_eq!(client.start_open("file", O_RDONLY).wait().result(), error(ENODEV));
    client.start_read(file, 8).unwrap().abandon();
    assert_eq!(client.unanswered(), 0);
    client.close(file).unwrap();
    let late = namespace.client("test", ME).map(|late| late.start_open("file", O_RDONLY).wait().result());
    assert!(matches!(late, Ok(Err(Error { errno: ENODEV })) | Err(Error { errno: ENODEV })));
}

#[test]
fn a_waiting_thread_hears_of_the_daemons_end() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    let waiting = std::thread::spawn(move || read.wait().result());
    drop(daemon);
    assert_eq!(waiting.join().unwrap(), error(ENODEV));
}

#[test]
fn answers_that_nobody_waits_for_are_refused() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    assert_eq!(daemon.write(&[answer(9999, Ok(0))]), error(EBADFD));
    let read = blocked_read(&daemon, &mut client);
    let sqe = daemon.next();
    daemon.answer(&sqe, Ok(0));
    assert_eq!(daemon.write(&[answer(sqe.tag, Ok(0))]), error(EBADFD), "answered twice");
    assert_eq!(read.wait().result(), Ok(0));
}

#[test]
fn unknown_messages_are_refused_and_leave_the_request_alone() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    let sqe = daemon.next();
    for flags in [6, 7, CqeOpcode::ObtainFd as u8] {
        assert_eq!(daemon.write(&[Cqe { flags, ..answer(sqe.tag, Ok(0)) }]), error(EINVAL));
    }
    let flags = CqeOpcode::SendFevent as u8;
    assert_eq!(daemon.write(&[Cqe { flags, tag: u32::MAX, ..Cqe::default() }]), error(EINVAL));
    assert!(read.poll().is_none());
    daemon.answer(&sqe, Ok(3));
    assert_eq!(read.wait().result(), Ok(3));
}

#[test]
fn a_bad_answer_ends_the_batch_but_not_what_came_before() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let reads = [(); 3].map(|()| client.start_read(file, 8).unwrap());
    let good = daemon.take().iter().map(|sqe| answer(sqe.tag, Ok(1))).collect::<Vec<_>>();
    let bad = answer(9999, Ok(0));
    assert_eq!(daemon.write(&[good[0], good[1], bad, good[2]]), Ok(2));
    assert!(reads[0].poll().is_some() && reads[1].poll().is_some());
    assert!(reads[2].poll().is_none());
    assert_eq!(daemon.write(&[bad, good[2]]), error(EBADFD));
    assert_eq!(daemon.write(&[good[2]]), Ok(1));
    assert_eq!(reads[2].poll().unwrap().result(), Ok(1));
}

#[test]
fn requests_say_who_asks() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let child = client.fork(200);
    let pending = [
        child.start_open("x", O_RDONLY),
        child.start_unlink("x", false),
        child.start_read(file, 1).unwrap(),
        child.start_write(file, b"x").unwrap(),
        child.start_dup_with(file, b"x").unwrap(),
        child.start_set_flags(file, 0).unwrap(),
        child.start_watch(file, EventFlags::EVENT_READ).unwrap(),
        child.start_path(file, 1).unwrap(),
        child.start_map(file, PAGE, MapFlags::MAP_SHARED, 0).unwrap(),
    ];
    let messages = daemon.take();
    assert_eq!(messages.len(), pending.len());
    for sqe in messages {
        assert_eq!((sqe.caller, sqe.args[5]), (200, 1000 | 1001 << 32), "{sqe:?}");
    }
}

#[test]
fn the_users_of_calls_are_the_callers_choice() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let call = client.start_call(file, b"in", [7, 8, 9]).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Call);
    assert_eq!((sqe.caller, &sqe.args[3..]), (100, &[7, 8, 9][..]));
    payload(&sqe).copy_from_slice(b"ok");
    daemon.answer(&sqe, Ok(2));
    assert_eq!(call.wait().bytes().unwrap(), b"ok");
    let _stat = client.start_stat(file).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::StdFsCall);
    assert_eq!((sqe.caller, sqe.args[5]), (100, 0));
}

#[test]
fn status_flags_come_with_each_request() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let flags = O_RDWR | O_APPEND | libredox::protocol::O_CLOEXEC;
    let file = daemon.open(&mut client, 5, flags, NewFdFlags::empty());
    let other = client.dup(file).unwrap();
    let _read = client.start_read(file, 1).unwrap();
    assert_eq!(daemon.next().args[4], (O_RDWR | O_APPEND) as u64, "O_CLOEXEC belongs to the descriptor");
    let set = client.start_set_flags(file, O_NONBLOCK).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Fcntl);
    assert_eq!(&sqe.args[..3], [5, F_SETFL as u64, O_NONBLOCK as u64]);
    daemon.answer(&sqe, Ok(0));
    assert_eq!(set.wait().result(), Ok(0));
    let _requests = (client.start_read(other, 1).unwrap(), client.start_write(file, b"x").unwrap());
    for sqe in daemon.take() {
        assert_eq!(sqe.args[4], (O_RDWR | O_NONBLOCK) as u64, "a duplicate shares the flags");
    }
}

#[test]
fn a_read_takes_several_messages_in_order() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let _reads = (1..=5).map(|len| client.start_read(file, len).unwrap()).collect::<Vec<_>>();
    let lengths = |messages: Vec<Sqe>| messages.iter().map(|sqe| sqe.args[2]).collect::<Vec<_>>();
    assert_eq!(lengths(daemon.read(2).unwrap()), [1, 2]);
    assert_eq!(lengths(daemon.read(2).unwrap()), [3, 4]);
    assert_eq!(lengths(daemon.read(2).unwrap()), [5]);
    assert_eq!(daemon.read(2).map(drop), error(EAGAIN));
    assert_eq!(daemon.read(0).map(drop), error(EINVAL));
}

#[test]
fn a_descriptor_has_a_position_if_the_daemon_says_so() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let stream = daemon.stream(&mut client, 5);
    let file = daemon.open(&mut client, 6, O_RDWR, NewFdFlags::POSITIONED);
    assert_eq!(client.seek(stream, 10), error(ESPIPE));
    client.seek(file, 10).unwrap();
    let _reads = (client.start_read(stream, 1).unwrap(), client.start_read(file, 1).unwrap());
    let _write = client.start_write(file, b"x").unwrap();
    let offsets = daemon.take().iter().map(|sqe| sqe.args[3]).collect::<Vec<_>>();
    assert_eq!(offsets, [u64::MAX, 10, 10]);
}

#[test]
fn reads_and_writes_advance_the_position() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.open(&mut client, 6, O_RDWR, NewFdFlags::POSITIONED);
    let duplicate = client.dup(file).unwrap();
    let position_after = |pending: Pending, answered| {
        let offset = daemon.next();
        daemon.answer(&offset, answered);
        // The position is that of the description, which the duplicate shares.
        let outcome = pending.wait().result();
        let _next = client.start_read(duplicate, 1).unwrap();
        let sqe = daemon.next();
        daemon.answer(&sqe, Ok(0));
        (outcome, sqe.args[3])
    };
    assert_eq!(position_after(client.start_read(file, 8).unwrap(), Ok(3)), (Ok(3), 3));
    assert_eq!(position_after(client.start_write(file, b"12345").unwrap(), Ok(5)), (Ok(5), 8));
    assert_eq!(position_after(client.start_read(file, 8).unwrap(), error(EIO)), (error(EIO), 8));
    assert_eq!(position_after(client.start_sync(file).unwrap(), Ok(4)), (Ok(4), 8));
    let killed = client.start_read(file, 8).unwrap();
    let sqe = daemon.next();
    killed.abandon();
    daemon.answer(&sqe, Ok(8));
    assert_eq!(position_after(client.start_read(file, 8).unwrap(), Ok(0)), (Ok(0), 8));
}

#[test]
fn events_name_the_description() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let watch = client.start_watch(file, EventFlags::EVENT_READ).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::Fevent);
    assert_eq!(sqe.args[1], EventFlags::EVENT_READ.bits() as u64);
    daemon.answer(&sqe, Ok(0));
    assert_eq!(watch.wait().result(), Ok(0));
    assert_eq!(client.next_event(), None);
    for id in [5, 6] {
        let event = Response::post_fevent(id, EventFlags::EVENT_READ.bits());
        assert_eq!(daemon.socket.write_response(event, SignalBehavior::Restart), Ok(true));
    }
    assert_eq!(client.next_event(), Some((Some(file), EventFlags::EVENT_READ)));
    assert_eq!(client.next_event(), Some((None, EventFlags::EVENT_READ)));
    assert_eq!(client.next_event(), None);
}

fn shared_pages(len: usize) -> usize {
    let args = MmapArgs {
        addr: std::ptr::null_mut(),
        length: len,
        prot: PROT_READ | PROT_WRITE,
        flags: MAP_SHARED,
        fd: usize::MAX,
        offset: 0,
    };
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    unsafe { mmap(args) }.unwrap().expose_provenance()
}

fn word(address: usize) -> &'static AtomicUsize {
    // SAFETY: the tests give addresses of mapped, aligned memory that is only used through atomics.
    unsafe { AtomicUsize::from_ptr(std::ptr::with_exposed_provenance_mut(address)) }
}

#[test]
fn mapped_memory_is_the_daemons() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let pages = shared_pages(2 * PAGE);
    let map = client.start_map(file, PAGE, MapFlags::MAP_SHARED | MapFlags::PROT_READ, 0).unwrap();
    let sqe = daemon.next();
    assert_opcode(&sqe, Opcode::MmapPrep);
    let flags = (MapFlags::MAP_SHARED | MapFlags::PROT_READ).bits() as u64;
    assert_eq!(&sqe.args[..4], [5, PAGE as u64, flags, 0]);
    daemon.answer(&sqe, Ok(pages + PAGE));
    let seen = Client::mapped(&map.wait(), PAGE).unwrap();
    word(pages + PAGE).store(7, Ordering::SeqCst);
    assert_eq!(word(seen).swap(8, Ordering::SeqCst), 7);
    assert_eq!(word(pages + PAGE).load(Ordering::SeqCst), 8);
    // SAFETY: nobody uses the mapping from here on.
    unsafe { munmap(std::ptr::with_exposed_provenance_mut(pages), 2 * PAGE) }.unwrap();
}

#[test]
fn memory_that_cannot_be_shared_is_refused() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    let private = vec![0_u8; 2 * PAGE];
    let page = shared_pages(PAGE);
    for (address, len) in [(private.as_ptr().addr(), PAGE), (page, 2 * PAGE), (0, PAGE)] {
        let map = client.start_map(file, len, MapFlags::MAP_SHARED, 0).unwrap();
        daemon.answer(&daemon.next(), Ok(address));
        assert_eq!(Client::mapped(&map.wait(), len), error(EIO));
    }
    let map = client.start_map(file, PAGE, MapFlags::MAP_SHARED, 0).unwrap();
    daemon.answer(&daemon.next(), error(EOPNOTSUPP));
    assert_eq!(Client::mapped(&map.wait(), PAGE), error(EOPNOTSUPP));
}

/// An event queue that can be looked at without waiting.
struct Queue(usize);

impl Queue {
    fn watching(socket: &Socket) -> Self {
        // SAFETY: the function takes a number.
        let queue = Self(libredox::error::Error::demux(unsafe { raw::redox_event_queue_create_v1(0) }).unwrap());
        queue.control(socket, QueueFlags::READ);
        queue
    }

    fn control(&self, socket: &Socket, flags: QueueFlags) {
        // SAFETY: the function takes numbers.
        let result = unsafe { raw::redox_event_queue_ctl_v1(self.0, socket.inner().raw(), flags.bits(), 42) };
        assert_eq!(libredox::error::Error::demux(result).map_err(libredox::error::Error::errno), Ok(0));
    }

    fn events(&self) -> Vec<(usize, u32)> {
        let mut events = [RawEventV1::default(); 4];
        let now = libredox::data::TimeSpec { tv_sec: 0, tv_nsec: 0 };
        let (buffer, len, no_signals) = (events.as_mut_ptr(), events.len(), std::ptr::null());
        // SAFETY: the buffer has room for as many events as said, and the time outlives the call.
        let count = unsafe { raw::redox_event_queue_get_events_v1(self.0, buffer, len, 0, &raw const now, no_signals) };
        let count = libredox::error::Error::demux(count).unwrap();
        events[..count].iter().map(|event| (event.user_data, event.flags)).collect()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the function takes a number.
        unsafe { raw::redox_event_queue_destroy_v1(self.0) };
    }
}

#[test]
fn an_event_queue_reports_messages_until_all_are_read() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let queue = Queue::watching(&daemon.socket);
    assert_eq!(queue.events(), []);
    let file = daemon.stream(&mut client, 5);
    assert_eq!(queue.events(), [], "all has been read");
    let _reads = (client.start_read(file, 1).unwrap(), client.start_read(file, 1).unwrap());
    let readable = [(42, QueueFlags::READ.bits())];
    assert_eq!(queue.events(), readable);
    daemon.read(1).unwrap();
    assert_eq!(queue.events(), readable, "one message is left");
    daemon.read(1).unwrap();
    assert_eq!(queue.events(), []);
    client.close(file).unwrap();
    drop(_reads);
    assert_eq!(queue.events(), readable, "a close is a message too");
    queue.control(&daemon.socket, QueueFlags::empty());
    assert_eq!(queue.events(), [], "not watched any more");
}

#[test]
fn an_event_queue_wakes_the_daemon() {
    let _watchdog = within(20);
    let namespace = Namespace::new();
    let (name_clients, clients) = channel();
    let daemon = std::thread::spawn(move || {
        let daemon = Daemon::register(&namespace, "test").unwrap();
        let queue = EventQueue::<usize>::new().unwrap();
        queue.subscribe(daemon.socket.inner().raw(), 1, QueueFlags::READ).unwrap();
        name_clients.send(namespace.client("test", ME).unwrap()).unwrap();
        assert_eq!(queue.next_event().unwrap().user_data, 1);
        daemon.answer(&daemon.next(), Ok(5));
    });
    let client = clients.recv().unwrap();
    assert_eq!(client.start_open("file", O_RDONLY).wait().result(), Ok(5));
    daemon.join().unwrap();
}

#[test]
fn a_blocking_read_of_the_socket_waits_for_a_message() {
    let _watchdog = within(20);
    let namespace = Namespace::new();
    let (name_clients, clients) = channel();
    let daemon = std::thread::spawn(move || {
        namespace.enter();
        let socket = Socket::create().unwrap();
        register_scheme_inner(&socket, "test", ROOT).unwrap();
        name_clients.send(namespace.client("test", ME).unwrap()).unwrap();
        let request = socket.next_request(SignalBehavior::Interrupt).unwrap().unwrap();
        let RequestKind::Call(call) = request.kind() else { panic!("no call") };
        socket.write_response(Response::ok(5, call), SignalBehavior::Restart).unwrap();
    });
    let client = clients.recv().unwrap();
    assert_eq!(client.start_open("file", O_RDONLY).wait().result(), Ok(5));
    daemon.join().unwrap();
}

#[test]
fn the_simultaneous_write_and_read_is_not_there() {
    let _watchdog = within(20);
    let (daemon, mut client) = Daemon::start();
    let read = blocked_read(&daemon, &mut client);
    let request = daemon.socket.next_request(SignalBehavior::Interrupt).unwrap().unwrap();
    let RequestKind::Call(call) = request.kind() else { panic!("no call") };
    // The response is given away, and nobody gets it.
    let result = daemon.socket.write_response_and_await_next_request(SignalBehavior::Interrupt, Response::ok(8, call));
    assert_eq!(result.map(drop), error(EOPNOTSUPP));
    assert!(read.poll().is_none());
    assert_eq!(client.unanswered(), 1);
    read.interrupt();
    assert_opcode(&daemon.next(), Opcode::Cancel);
}

#[test]
fn namespaces_do_not_see_each_other() {
    let _watchdog = within(20);
    let (here, there) = (Namespace::new(), Namespace::new());
    let _first = Daemon::register(&here, "first").unwrap();
    let _second = Daemon::register(&there, "second").unwrap();
    assert_eq!(here.client("second", ME).map(drop), error(ENODEV));
    assert_eq!(there.client("first", ME).map(drop), error(ENODEV));
    assert!(here.client("first", ME).is_ok() && there.client("second", ME).is_ok());
}

#[test]
fn a_name_can_be_taken_once_in_a_namespace() {
    let _watchdog = within(20);
    let (here, there) = (Namespace::new(), Namespace::new());
    let daemon = Daemon::register(&here, "test").unwrap();
    assert_eq!(Daemon::register(&here, "test").map(drop), error(EEXIST));
    assert!(Daemon::register(&there, "test").is_ok());
    let client = here.client("test", ME).unwrap();
    let _open = client.start_open("file", O_RDONLY);
    assert_opcode(&daemon.next(), Opcode::OpenAt);
}

#[test]
fn the_name_of_a_dead_scheme_can_be_taken_again() {
    let _watchdog = within(20);
    let namespace = Namespace::new();
    drop(Daemon::register(&namespace, "test").unwrap());
    let daemon = Daemon::register(&namespace, "test").unwrap();
    let client = namespace.client("test", ME).unwrap();
    let _open = client.start_open("file", O_RDONLY);
    assert_opcode(&daemon.next(), Opcode::OpenAt);
}

#[test]
fn a_refused_registration_does_not_keep_the_scheme_alive() {
    let _watchdog = within(20);
    let (here, there) = (Namespace::new(), Namespace::new());
    let _other = Daemon::register(&here, "test").unwrap();
    let daemon = Daemon::register(&there, "test").unwrap();
    here.enter();
    assert_eq!(register_scheme_inner(&daemon.socket, "test", ROOT), error(EEXIST));
    let client = there.client("test", ME).unwrap();
    drop(daemon);
    assert_eq!(client.start_open("file", O_RDONLY).poll().unwrap().result(), error(ENODEV));
}

#[test]
fn a_capability_does_not_keep_the_scheme_alive() {
    let _watchdog = within(20);
    let (daemon, client) = Daemon::start();
    let capability = libredox::Fd::new(daemon.socket.create_this_scheme_fd(0, ROOT, 0, 0).unwrap());
    drop(daemon);
    assert_eq!(client.start_open("file", O_RDONLY).poll().unwrap().result(), error(ENODEV));
    drop(capability);
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let _watchdog = within(20);
    for name in ["", "a/b", ".", ".."] {
        assert_eq!(Daemon::register(&Namespace::new(), name).map(drop), error(EINVAL), "{name:?}");
    }
}

#[test]
fn a_thread_with_a_namespace_does_not_take_the_others_into_the_null_namespace() {
    let _watchdog = within(20);
    let (_daemon, _client) = Daemon::start();
    libredox::call::setrens(0, 0).unwrap();
    assert!(Daemon::register(&Namespace::new(), "other").is_ok());
}

#[test]
fn the_daemon_may_get_messages_that_no_kernel_sends() {
    let _watchdog = within(20);
    let (daemon, client) = Daemon::start();
    let pending = client.start_raw(200, [1, 2, 3, 4, 5, 6], Some(b"raw"));
    let sqe = daemon.next();
    assert_eq!((sqe.opcode, &*payload(&sqe)), (200, &b"raw"[..]));
    daemon.answer(&sqe, error(EOPNOTSUPP));
    assert_eq!(pending.wait().result(), error(EOPNOTSUPP));
    client.send_raw(Sqe { opcode: Opcode::Detach as u8, args: [5, 0, 0, 0, 0, 0], ..Sqe::default() });
    assert_opcode(&daemon.next(), Opcode::Detach);
    assert_eq!(client.unanswered(), 0);
}

/// A client of `notes`, which a thread of this process serves.
fn notes() -> Client {
    let namespace = Namespace::new();
    let (tell, told) = channel();
    let registered = namespace.clone();
    std::thread::spawn(move || {
        registered.enter();
        notes::serve(|| tell.send(()).unwrap()).unwrap();
    });
    told.recv().unwrap();
    namespace.client(notes::NAME, ME).unwrap()
}

fn open(client: &mut Client, path: &str, flags: usize) -> Result<Descriptor> {
    let outcome = client.start_open(path, flags).wait();
    client.opened(&outcome, flags)
}

fn done(pending: Result<Pending>) -> Outcome {
    pending.unwrap().wait()
}

#[test]
fn notes_are_written_read_and_removed() {
    let _watchdog = within(20);
    let mut client = notes();
    assert_eq!(open(&mut client, "a", O_RDONLY), error(ENOENT));
    let note = open(&mut client, "a", O_RDWR | O_CREAT | O_EXCL | 0o640).unwrap();
    assert_eq!(open(&mut client, "a", O_RDWR | O_CREAT | O_EXCL), error(EEXIST));
    assert_eq!(done(client.start_write(note, b"some text")).result(), Ok(9));
    client.seek(note, 5).unwrap();
    assert_eq!(done(client.start_read(note, 100)).bytes().unwrap(), b"text");
    assert_eq!(done(client.start_read(note, 100)).bytes().unwrap(), b"", "the end");
    let stat = Client::stat_of(&done(client.start_stat(note))).unwrap();
    assert_eq!((stat.st_mode, stat.st_size), (syscall::MODE_FILE | 0o640, 9));
    assert_eq!(done(client.start_truncate(note, 4)).result(), Ok(0));
    client.seek(note, 0).unwrap();
    assert_eq!(done(client.start_read(note, 100)).bytes().unwrap(), b"some");
    assert_eq!(done(client.start_rename(note, "b")).result(), Ok(0));
    assert_eq!(open(&mut client, "a", O_RDONLY), error(ENOENT));
    assert_eq!(done(client.start_rename(note, "a")).result(), Ok(0));
    assert_eq!(client.start_unlink("a", false).wait().result(), Ok(0));
    assert_eq!(client.start_unlink("a", false).wait().result(), error(ENOENT));
    client.seek(note, 0).unwrap();
    assert_eq!(done(client.start_read(note, 2)).bytes().unwrap(), b"so", "still open");
    assert_eq!(done(client.start_read(note, 2)).bytes().unwrap(), b"me");
    let again = open(&mut client, "a", O_RDWR | O_CREAT | O_TRUNC).unwrap();
    assert_eq!(done(client.start_read(again, 2)).bytes().unwrap(), b"");
}

#[test]
fn a_directory_is_listed_in_pieces() {
    let _watchdog = within(20);
    let mut client = notes();
    for name in ["a", "b"] {
        open(&mut client, name, O_CREAT).unwrap();
    }
    let root = open(&mut client, "", O_RDONLY).unwrap();
    let mut names = Vec::new();
    let mut opaque = 0;
    loop {
        // Room for two short names.
        let piece = Client::names_of(&done(client.start_entries(root, 64, opaque))).unwrap();
        let Some((_, next)) = piece.last() else { break };
        opaque = *next;
        names.extend(piece.into_iter().map(|(name, _)| name));
    }
    assert_eq!(names, ["page", "page-value", "wait", "who", "a", "b"]);
}

#[test]
fn a_parked_read_is_answered_by_a_write_or_a_cancel() {
    let _watchdog = within(20);
    let mut client = notes();
    let wait = open(&mut client, "wait", O_RDWR).unwrap();
    let read = client.start_read(wait, 100).unwrap();
    let canceled = client.start_read(wait, 100).unwrap();
    canceled.interrupt();
    assert_eq!(canceled.wait().result(), error(EINTR));
    assert_eq!(done(client.start_write(wait, b"hello")).result(), Ok(5));
    assert_eq!(read.wait().bytes().unwrap(), b"hello");
    assert_eq!(done(client.start_set_flags(wait, O_NONBLOCK)).result(), Ok(0));
    assert_eq!(done(client.start_read(wait, 100)).result(), error(syscall::error::EWOULDBLOCK));
}

#[test]
fn watchers_hear_of_messages() {
    let _watchdog = within(20);
    let mut client = notes();
    let wait = open(&mut client, "wait", O_RDWR).unwrap();
    assert_eq!(done(client.start_watch(wait, EventFlags::EVENT_READ)).result(), Ok(0));
    assert_eq!(done(client.start_write(wait, b"hello")).result(), Ok(5));
    // The announcement follows the answer.
    let event = loop {
        if let Some(event) = client.next_event() {
            break event;
        }
        std::thread::yield_now();
    };
    assert_eq!(event, (Some(wait), EventFlags::EVENT_READ));
}

#[test]
fn clients_of_notes_map_its_page() {
    let _watchdog = within(20);
    let mut client = notes();
    let page = open(&mut client, "page", O_RDWR).unwrap();
    let address = Client::mapped(&done(client.start_map(page, PAGE, MapFlags::MAP_SHARED, 0)), PAGE).unwrap();
    word(address).store(1234, Ordering::SeqCst);
    let value = open(&mut client, "page-value", O_RDONLY).unwrap();
    assert_eq!(done(client.start_read(value, 100)).bytes().unwrap(), b"1234");
}
