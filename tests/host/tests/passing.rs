//! Descriptors that clients and daemons pass to each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(dead_code, reason = "not every test needs all of it")]
mod daemon;
mod support;

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use daemon::{Daemon, ME, answer, error};
use libredox::call::{call_ro, call_rw, call_wo, close, write};
use redox_scheme::{
    CallRequest, OpenResult, RecvFdRequest, RequestKind, Response, SendFdRequest, SignalBehavior, Socket,
};
use scheme_host::{Client, Descriptor, Namespace};
use support::within;
use syscall::error::{EBADF, EBADFD, EINVAL, EIO, ENODEV, ENOTTY, EOPNOTSUPP, EPERM, Result};
use syscall::flag::{CallFlags, FmoveFdFlags, FobtainFdFlags, O_RDONLY, O_RDWR, SchemeSocketCall};
use syscall::schemev2::{Cqe, CqeOpcode, NewFdFlags};

/// A number that no process has open.
const NOT_OPEN: usize = 1_000_000;

fn request(socket: &Socket) -> RequestKind {
    socket.next_request(SignalBehavior::Interrupt).unwrap().unwrap().kind()
}

fn sent(socket: &Socket) -> SendFdRequest {
    let RequestKind::SendFd(request) = request(socket) else { panic!("no Sendfd") };
    request
}

fn wanted(socket: &Socket) -> RecvFdRequest {
    let RequestKind::RecvFd(request) = request(socket) else { panic!("no Recvfd") };
    request
}

fn called(socket: &Socket) -> CallRequest {
    let RequestKind::Call(request) = request(socket) else { panic!("no call") };
    request
}

fn respond(socket: &Socket, response: Response) {
    assert_eq!(socket.write_response(response, SignalBehavior::Restart), Ok(true));
}

fn start() -> (Daemon, Client, Descriptor) {
    let (daemon, mut client) = Daemon::start();
    let file = daemon.stream(&mut client, 5);
    (daemon, client, file)
}

/// Numbers as the payload of a call.
fn payload(numbers: &[usize]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn number_of(descriptor: &impl AsRawFd) -> usize {
    usize::try_from(descriptor.as_raw_fd()).unwrap()
}

/// Gives the descriptor away, and says by which number.
fn into_number(descriptor: impl IntoRawFd) -> usize {
    usize::try_from(descriptor.into_raw_fd()).unwrap()
}

/// Fails, or waits for ever, unless everybody has closed the other end.
fn assert_closed(mut reader: PipeReader) {
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

/// Whether `writer` leads to `reader`.
fn assert_connected(mut reader: &PipeReader, writer: OwnedFd) {
    let mut byte = [0];
    PipeWriter::from(writer).write_all(b"x").unwrap();
    assert_eq!(reader.read(&mut byte).unwrap(), 1);
    assert_eq!(byte, *b"x");
}

#[test]
fn a_client_sends_descriptors() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let ((mut first, first_writer), (mut second, second_writer)) = (pipe().unwrap(), pipe().unwrap());
    let send = client.start_send(file, vec![first_writer.into(), second_writer.into()], 9).unwrap();
    let request = sent(&daemon.socket);
    let caller = request.caller();
    assert_eq!((request.id(), request.num_fds(), request.metadata()), (5, 2, &[9][..]));
    assert_eq!((caller.pid, caller.uid, caller.gid), (ME.pid, ME.uid, ME.gid));
    let mut numbers = [NOT_OPEN; 2];
    request.obtain_fd(&daemon.socket, FobtainFdFlags::empty(), &mut numbers).unwrap();
    assert!(send.poll().is_none());
    // What the daemon answers is no concern of the caller, as long as it is success.
    respond(&daemon.socket, Response::ok(0, request));
    assert_eq!(send.wait().result(), Ok(2));
    for (number, text) in numbers.into_iter().zip(["first", "second"]) {
        write(number, text.as_bytes()).unwrap();
        close(number).unwrap();
    }
    let mut texts = [String::new(), String::new()];
    first.read_to_string(&mut texts[0]).unwrap();
    second.read_to_string(&mut texts[1]).unwrap();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn sent_descriptors_that_the_daemon_does_not_take_are_closed() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    for answered in [Ok(0), error(EPERM)] {
        let (reader, writer) = pipe().unwrap();
        let send = client.start_send(file, vec![writer.into()], 0).unwrap();
        respond(&daemon.socket, Response::new(answered, sent(&daemon.socket)));
        assert_eq!(send.wait().result(), answered.map(|_| 1));
        assert_closed(reader);
    }
    let (reader, writer) = pipe().unwrap();
    let send = client.start_send(file, vec![writer.into()], 0).unwrap();
    drop(daemon);
    assert_eq!(send.wait().result(), error(ENODEV));
    assert_closed(reader);
}

#[test]
fn all_sent_descriptors_are_obtained_at_once() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let (reader, writer) = pipe().unwrap();
    let _send = client.start_send(file, vec![writer.into()], 0).unwrap();
    let request = sent(&daemon.socket);
    assert_eq!(request.obtain_fd(&daemon.socket, FobtainFdFlags::empty(), &mut [0; 2]), error(EINVAL));
    assert_closed(reader);
    assert_eq!(request.obtain_fd(&daemon.socket, FobtainFdFlags::empty(), &mut [0; 1]), error(EINVAL), "none is left");
    assert_eq!(request.obtain_fd(&daemon.socket, FobtainFdFlags::empty(), &mut []), Ok(()));
}

#[test]
fn a_client_receives_descriptors() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let receive = client.start_receive(file, 2, [7, 8]).unwrap();
    let request = wanted(&daemon.socket);
    let caller = request.caller();
    assert_eq!((request.id(), request.num_fds(), request.metadata()), (5, 2, &[7, 8][..]));
    assert_eq!((caller.pid, caller.uid, caller.gid), (ME.pid, ME.uid, ME.gid));
    let ((first, first_writer), (second, second_writer)) = (pipe().unwrap(), pipe().unwrap());
    let moved = [into_number(first_writer), into_number(second_writer)];
    request.move_fd(&daemon.socket, FmoveFdFlags::empty(), &moved).unwrap();
    assert!(receive.poll().is_none());
    respond(&daemon.socket, Response::open_dup_like(Ok(OpenResult::OtherSchemeMultiple { num_fds: 2 }), request));
    let outcome = receive.wait();
    assert_eq!(outcome.result(), Ok(2));
    let received = outcome.into_descriptors().unwrap();
    for (reader, writer) in [&first, &second].into_iter().zip(received) {
        assert_connected(reader, writer);
    }
    assert_closed(first);
    assert_closed(second);
}

#[test]
fn a_daemon_can_keep_what_it_gives() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let receive = client.start_receive(file, 1, [0; 2]).unwrap();
    let (reader, writer) = pipe().unwrap();
    let request = wanted(&daemon.socket);
    request.move_fd(&daemon.socket, FmoveFdFlags::CLONE, &[number_of(&writer)]).unwrap();
    respond(&daemon.socket, Response::return_external_multiple_fds(1, request));
    assert_connected(&reader, receive.wait().into_descriptors().unwrap().remove(0));
    assert_connected(&reader, writer.into());
    assert_closed(reader);
}

#[test]
fn moving_twice_replaces_what_was_there() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let receive = client.start_receive(file, 1, [0; 2]).unwrap();
    let ((lost, lost_writer), (reader, writer)) = (pipe().unwrap(), pipe().unwrap());
    let request = wanted(&daemon.socket);
    for moved in [into_number(lost_writer), into_number(writer)] {
        request.move_fd(&daemon.socket, FmoveFdFlags::empty(), &[moved]).unwrap();
    }
    assert_closed(lost);
    respond(&daemon.socket, Response::return_external_multiple_fds(1, request));
    assert_connected(&reader, receive.wait().into_descriptors().unwrap().remove(0));
}

/// What a client that wants a descriptor gets, if the daemon moves one and answers in this way.
fn received(answer: impl FnOnce(RecvFdRequest) -> Response, count: usize) -> Result<usize> {
    let (daemon, client, file) = start();
    let receive = client.start_receive(file, count, [0; 2]).unwrap();
    let (reader, writer) = pipe().unwrap();
    let request = wanted(&daemon.socket);
    request.move_fd(&daemon.socket, FmoveFdFlags::empty(), &[into_number(writer)]).unwrap();
    respond(&daemon.socket, answer(request));
    let outcome = receive.wait();
    let result = outcome.result();
    assert_eq!(outcome.into_descriptors().map(|descriptors| descriptors.len()), result);
    assert_closed(reader);
    result
}

#[test]
fn other_answers_to_a_receiver_are_errors() {
    let _watchdog = within(20);
    assert_eq!(received(|request| Response::return_external_multiple_fds(1, request), 1), Ok(1));
    assert_eq!(received(|request| Response::return_external_multiple_fds(2, request), 2), error(EINVAL));
    assert_eq!(received(|request| Response::ok(1, request), 1), error(EIO));
    assert_eq!(received(|request| Response::err(EPERM, request), 1), error(EPERM));
    let with_one = |request| Response::return_external_fd(into_number(pipe().unwrap().1), request);
    assert_eq!(received(with_one, 1), error(EIO));
}

#[test]
fn an_open_or_a_dup_may_lead_elsewhere() {
    let _watchdog = within(20);
    let (daemon, mut client, file) = start();
    for open in [client.start_open("elsewhere", O_RDONLY), client.start_dup_with(file, b"elsewhere").unwrap()] {
        let (reader, writer) = pipe().unwrap();
        let elsewhere = OpenResult::OtherScheme { fd: into_number(writer) };
        respond(&daemon.socket, Response::open_dup_like(Ok(elsewhere), called(&daemon.socket)));
        let outcome = open.wait();
        assert_eq!(client.opened(&outcome, O_RDONLY), error(EIO), "it is none of this scheme");
        assert_connected(&reader, outcome.into_descriptors().unwrap().remove(0));
        assert_closed(reader);
    }
    let (reader, writer) = pipe().unwrap();
    let read = client.start_read(file, 8).unwrap();
    respond(&daemon.socket, Response::return_external_fd(into_number(writer), called(&daemon.socket)));
    assert_eq!(read.wait().result(), error(EIO), "a read opens nothing");
    assert_closed(reader);
    let open = client.start_open("several", O_RDONLY);
    respond(&daemon.socket, Response::return_external_multiple_fds(0, called(&daemon.socket)));
    assert_eq!(open.wait().result(), error(EIO));
}

#[test]
fn answers_with_bad_descriptors() {
    let _watchdog = within(20);
    let (daemon, client, _) = start();
    let open = client.start_open("elsewhere", O_RDONLY);
    let tag = daemon.next().tag;
    let elsewhere = |tag, number| Cqe { flags: CqeOpcode::RespondWithFd as u8, ..answer(tag, Ok(number)) };
    assert_eq!(daemon.write(&[elsewhere(tag, NOT_OPEN)]), error(EINVAL));
    let (_reader, writer) = pipe().unwrap();
    assert_eq!(daemon.write(&[elsewhere(9999, number_of(&writer))]), error(EBADFD));
    assert!(open.poll().is_none());
    // On Linux the socket is nobody else's.
    assert_eq!(daemon.write(&[elsewhere(tag, daemon.socket.inner().raw())]), Ok(1));
    assert_eq!(open.wait().result(), error(EIO));
}

#[test]
fn wrong_calls_on_a_socket() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let socket = daemon.socket.inner().raw();
    let receive = client.start_receive(file, 1, [0; 2]).unwrap();
    let tag = u64::from(daemon.next().tag);
    let (obtain, move_) = (SchemeSocketCall::ObtainFd as u64, SchemeSocketCall::MoveFd as u64);
    let bad = [&[][..], &[obtain], &[move_], &[2, tag], &[obtain, tag, 0], &[move_, tag, 0], &[obtain, tag + 1]];
    for metadata in bad.into_iter().chain([&[move_, tag + 1][..], &[u64::MAX, u64::MAX]]) {
        assert_eq!(
            call_ro(socket, &mut [], CallFlags::FD, metadata).map_err(Into::into),
            error(EINVAL),
            "{metadata:?}"
        );
        assert_eq!(call_wo(socket, &[], CallFlags::FD, metadata).map_err(Into::into), error(EINVAL), "{metadata:?}");
    }
    assert_eq!(call_ro(socket, &mut [], CallFlags::FD, &[move_, tag]).map_err(Into::into), error(EINVAL));
    assert_eq!(call_wo(socket, &[], CallFlags::FD, &[obtain, tag]).map_err(Into::into), error(EINVAL));
    for flags in [CallFlags::empty(), CallFlags::STD_FS] {
        assert_eq!(call_ro(socket, &mut [], flags, &[obtain, tag]).map_err(Into::into), error(EOPNOTSUPP));
        assert_eq!(call_wo(socket, &[], flags, &[move_, tag]).map_err(Into::into), error(EOPNOTSUPP));
        assert_eq!(call_rw(socket, &mut [], flags, &[move_, tag]).map_err(Into::into), error(EOPNOTSUPP));
    }
    assert!(receive.poll().is_none());
    assert_eq!(client.unanswered(), 1);
}

#[test]
fn descriptors_are_moved_together_or_not_at_all() {
    let _watchdog = within(20);
    let (daemon, client, file) = start();
    let socket = daemon.socket.inner().raw();
    let _receive = client.start_receive(file, 1, [0; 2]).unwrap();
    let metadata = [SchemeSocketCall::MoveFd as u64, u64::from(daemon.next().tag)];
    let (reader, writer) = pipe().unwrap();
    let number = number_of(&writer);
    let attempts = [([number, NOT_OPEN], EBADF), ([number, number], EBADF), ([number, socket], EOPNOTSUPP)];
    for (numbers, errno) in attempts {
        let moved = call_wo(socket, &payload(&numbers), CallFlags::FD, &metadata);
        assert_eq!(moved.map_err(Into::into), error(errno));
    }
    assert_connected(&reader, writer.into());
    assert_closed(reader);
    // The kernel takes what it is given before it asks what for.
    let (reader, writer) = pipe().unwrap();
    let moved = call_wo(socket, &payload(&[into_number(writer)]), CallFlags::FD, &[]);
    assert_eq!(moved.map_err(Into::into), error(EINVAL));
    assert_closed(reader);
}

#[test]
fn neither_a_pipe_nor_a_capability_can_be_called() {
    let _watchdog = within(20);
    let (daemon, ..) = start();
    let (reader, _writer) = pipe().unwrap();
    assert_eq!(call_rw(number_of(&reader), &mut [], CallFlags::empty(), &[]).map_err(Into::into), error(ENOTTY));
    let capability = libredox::Fd::new(daemon.socket.create_this_scheme_fd(0, 1, 0, 0).unwrap());
    assert_eq!(capability.call_wo(&[], CallFlags::FD, &[]).map_err(Into::into), error(EBADF));
}

/// A scheme that keeps one descriptor, which clients send and receive.
struct Shelf<'socket> {
    socket: &'socket Socket,
    held: Option<usize>,
}

impl redox_scheme::scheme::SchemeSync for Shelf<'_> {
    fn scheme_root(&mut self) -> Result<usize> {
        Ok(1)
    }

    fn openat(&mut self, _: usize, path: &str, _: usize, _: u32, _: &redox_scheme::CallerCtx) -> Result<OpenResult> {
        match (path, self.held) {
            ("held", Some(fd)) => {
                self.held = None;
                Ok(OpenResult::OtherScheme { fd })
            }
            _ => Ok(OpenResult::ThisScheme { number: 2, flags: NewFdFlags::empty() }),
        }
    }

    fn on_sendfd(&mut self, request: &SendFdRequest) -> Result<usize> {
        let mut number = [0];
        request.obtain_fd(self.socket, FobtainFdFlags::empty(), &mut number)?;
        self.held = Some(number[0]);
        Ok(0)
    }

    fn on_recvfd(&mut self, request: &RecvFdRequest) -> Result<OpenResult> {
        let number = self.held.take().ok_or(syscall::error::Error::new(syscall::error::EWOULDBLOCK))?;
        request.move_fd(self.socket, FmoveFdFlags::empty(), &[number])?;
        Ok(OpenResult::OtherSchemeMultiple { num_fds: 1 })
    }
}

#[test]
fn a_scheme_passes_descriptors_from_client_to_client() {
    let _watchdog = within(20);
    let namespace = Namespace::new();
    namespace.enter();
    let socket = Socket::nonblock().unwrap();
    let shelf = std::cell::RefCell::new(Shelf { socket: &socket, held: None });
    redox_scheme::scheme::register_sync_scheme(&socket, "shelf", &mut *shelf.borrow_mut()).unwrap();
    let mut requests = redox_scheme::wrappers::ReadinessBased::new(&socket, 16);
    let mut turn = || {
        assert!(requests.read_requests().unwrap());
        requests.process_requests(|| shelf.borrow_mut());
        requests.poll_all_requests(|| shelf.borrow_mut()).unwrap();
        requests.write_responses().unwrap();
    };
    let mut client = namespace.client("shelf", ME).unwrap();
    let open = client.start_open("", O_RDWR);
    turn();
    let file = client.opened(&open.wait(), O_RDWR).unwrap();
    let (reader, writer) = pipe().unwrap();
    // It waits until there is something, and the daemon answers it with the sender's request.
    let receive = client.start_receive(file, 1, [0; 2]).unwrap();
    turn();
    assert!(receive.poll().is_none());
    let send = client.start_send(file, vec![writer.into()], 0).unwrap();
    turn();
    assert_eq!(send.wait().result(), Ok(1));
    let writer = receive.wait().into_descriptors().unwrap().remove(0);
    let send = client.start_send(file, vec![writer], 0).unwrap();
    turn();
    assert_eq!(send.wait().result(), Ok(1));
    let open = client.start_open("held", O_RDWR);
    turn();
    assert_connected(&reader, open.wait().into_descriptors().unwrap().remove(0));
    assert_closed(reader);
}
