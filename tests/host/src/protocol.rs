//! The kernel's side of the user-scheme protocol: requests to a daemon and its answers.
//!
//! It follows `src/scheme/user.rs` of the Redox kernel. What it does not know is who called: a request carries a [`Completion`], which comes back with
//! the answer.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use slab::Slab;
use syscall::StdFsCallKind;
use syscall::data::{Stat, TimeSpec};
use syscall::error::{EBADFD, ECANCELED, EINTR, EINVAL, EIO, ENODEV, EOPNOTSUPP, Error};
use syscall::flag::{EventFlags, MapFlags};
use syscall::schemev2::{Cqe, CqeOpcode, NewFdFlags, Opcode, Sqe, SqeFlags};

use crate::payload::Payload;

/// Who makes a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Process id.
    pub pid: usize,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) opcode: u8,
    /// Arguments as in the kernel's message. Those of the payload and of the caller are filled in by [`Protocol::request`].
    pub(crate) args: [u64; 6],
    pub(crate) payload: Option<Payload>,
    /// What the caller passes to the daemon.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Operation {
    fn new(opcode: Opcode, args: [u64; 6], payload: Option<Payload>) -> Self {
        Self::raw(opcode as u8, args, payload)
    }

    pub(crate) fn raw(opcode: u8, args: [u64; 6], payload: Option<Payload>) -> Self {
        Self { opcode, args, payload, descriptors: Vec::new() }
    }

    fn plain(opcode: Opcode, args: [u64; 6]) -> Self {
        Self::new(opcode, args, None)
    }

    pub(crate) fn open(directory: usize, path: &str, flags: usize) -> Self {
        let fcntl_flags = flags & syscall::flag::O_FCNTL_MASK;
        let args = [directory as u64, 0, 0, flags as u64, fcntl_flags as u64, 0];
        Self::new(Opcode::OpenAt, args, Some(Payload::of(path.as_bytes())))
    }

    pub(crate) fn unlink(directory: usize, path: &str, flags: usize) -> Self {
        Self::new(Opcode::UnlinkAt, [directory as u64, 0, 0, flags as u64, 0, 0], Some(Payload::of(path.as_bytes())))
    }

    pub(crate) fn dup(id: usize, buf: &[u8]) -> Self {
        Self::new(Opcode::Dup, [id as u64, 0, 0, 0, 0, 0], Some(Payload::of(buf)))
    }

    pub(crate) fn read(id: usize, len: usize, offset: u64, flags: usize) -> Self {
        Self::new(Opcode::Read, [id as u64, 0, 0, offset, flags as u64, 0], Some(Payload::zeroed(len)))
    }

    pub(crate) fn write(id: usize, bytes: &[u8], offset: u64, flags: usize) -> Self {
        Self::new(Opcode::Write, [id as u64, 0, 0, offset, flags as u64, 0], Some(Payload::of(bytes)))
    }

    pub(crate) fn fcntl(id: usize, command: usize, argument: usize) -> Self {
        Self::plain(Opcode::Fcntl, [id as u64, command as u64, argument as u64, 0, 0, 0])
    }

    pub(crate) fn fevent(id: usize, flags: EventFlags) -> Self {
        Self::plain(Opcode::Fevent, [id as u64, flags.bits() as u64, 0, 0, 0, 0])
    }

    pub(crate) fn fpath(id: usize, len: usize) -> Self {
        Self::new(Opcode::Fpath, [id as u64, 0, 0, 0, 0, 0], Some(Payload::zeroed(len)))
    }

    pub(crate) fn chown(id: usize, uid: u32, gid: u32) -> Self {
        Self::plain(Opcode::Fchown, [id as u64, uid.into(), gid.into(), 0, 0, 0])
    }

    pub(crate) fn mmap_prep(id: usize, len: usize, flags: MapFlags, offset: u64) -> Self {
        Self::plain(Opcode::MmapPrep, [id as u64, len as u64, flags.bits() as u64, offset, 0, 0])
    }

    pub(crate) fn munmap(id: usize, len: usize) -> Self {
        Self::plain(Opcode::Munmap, [id as u64, len as u64, 0, 0, 0, 0])
    }

    pub(crate) fn call(id: usize, payload: &[u8], metadata: [u64; 3]) -> Self {
        let [first, second, third] = metadata;
        Self::new(Opcode::Call, [id as u64, 0, 0, first, second, third], Some(Payload::of(payload)))
    }

    pub(crate) fn rename(id: usize, path: &str) -> Self {
        Self::new(Opcode::Frename, [id as u64, 0, 0, 0, 0, 0], Some(Payload::of(path.as_bytes())))
    }

    pub(crate) fn send(id: usize, descriptors: Vec<OwnedFd>, metadata: u64) -> Self {
        let args = [id as u64, 0, metadata, descriptors.len() as u64, 0, 0];
        Self { descriptors, ..Self::plain(Opcode::Sendfd, args) }
    }

    pub(crate) fn receive(id: usize, count: usize, metadata: [u64; 2]) -> Self {
        let [first, second] = metadata;
        Self::plain(Opcode::Recvfd, [id as u64, 0, count as u64, first, second, 0])
    }

    /// The calls of a file system travel in one opcode on this kernel.
    fn file_system(id: usize, kind: StdFsCallKind, payload: Payload, argument1: u64, argument2: u64) -> Self {
        Self::new(Opcode::StdFsCall, [id as u64, 0, 0, kind as u64, argument1, argument2], Some(payload))
    }

    pub(crate) fn stat(id: usize) -> Self {
        Self::file_system(id, StdFsCallKind::Fstat, Payload::zeroed(size_of::<Stat>()), 0, 0)
    }

    pub(crate) fn directory_entries(id: usize, len: usize, opaque: u64) -> Self {
        let header = size_of::<syscall::dirent::DirentHeader>() as u64;
        Self::file_system(id, StdFsCallKind::Getdents, Payload::zeroed(len), opaque, header)
    }

    pub(crate) fn sync(id: usize) -> Self {
        Self::file_system(id, StdFsCallKind::Fsync, Payload::empty(), 0, 0)
    }

    pub(crate) fn chmod(id: usize, mode: u32) -> Self {
        Self::file_system(id, StdFsCallKind::Fchmod, Payload::empty(), mode.into(), 0)
    }

    pub(crate) fn truncate(id: usize, len: u64) -> Self {
        Self::file_system(id, StdFsCallKind::Ftruncate, Payload::empty(), len, 0)
    }

    pub(crate) fn set_times(id: usize, times: [TimeSpec; 2]) -> Self {
        let bytes = times.iter().flat_map(|time| time.iter().copied()).collect::<Vec<_>>();
        Self::file_system(id, StdFsCallKind::Futimens, Payload::of(&bytes), 0, 0)
    }
}

/// The daemon's answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<usize, Error>,
    /// What the daemon said of a descriptor that it opened.
    pub(crate) new_descriptor: NewFdFlags,
    pub(crate) payload: Option<Payload>,
    /// What the daemon passes to the caller.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Answer {
    pub(crate) fn error(errno: i32) -> Self {
        Self {
            result: Err(Error::new(errno)),
            new_descriptor: NewFdFlags::empty(),
            payload: None,
            descriptors: Vec::new(),
        }
    }

    /// The bytes that came back, if the result is a number of bytes.
    pub(crate) fn bytes(&self) -> Result<&[u8], Error> {
        let len = self.result?;
        self.payload.as_ref().and_then(|payload| payload.bytes().get(..len)).ok_or(Error::new(EIO))
    }
}

/// What an answer means to a request, where that depends on the request.
#[derive(Clone, Copy, Debug)]
enum Passing {
    /// The answer is a number.
    Nothing,
    /// The answer may be a descriptor of another scheme instead.
    MayOpen,
    /// Success is the number of descriptors that were sent.
    Sends(usize),
    /// The answer must be this many descriptors.
    Receives(usize),
}

impl Passing {
    fn of(opcode: u8, args: &[u64; 6]) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match Opcode::try_from_raw(opcode) {
            Some(Opcode::OpenAt | Opcode::Dup) => Self::MayOpen,
            Some(Opcode::Sendfd) => Self::Sends(count(args[3])),
            Some(Opcode::Recvfd) => Self::Receives(count(args[2])),
            _ => Self::Nothing,
        }
    }

    /// The caller's result of a daemon's response; `held` are the descriptors that wait at the request.
    fn outcome(self, response: Response, held: Vec<OwnedFd>) -> (Result<usize, Error>, Vec<OwnedFd>) {
        let result = match (response, self) {
            (Response::Descriptor(descriptor), Self::MayOpen) => return (Ok(0), vec![descriptor]),
            (Response::Held, Self::Receives(count)) if held.len() == count => return (Ok(count), held),
            (Response::Held, Self::Receives(_)) => Err(Error::new(EINVAL)),
            (Response::Regular(Ok(_)), Self::Sends(count)) => Ok(count),
            (Response::Regular(Ok(_)), Self::Receives(_)) | (Response::Descriptor(_) | Response::Held, _) => {
                Err(Error::new(EIO))
            }
            (Response::Regular(result), _) => result,
        };
        (result, Vec::new())
    }
}

/// The ways in which a daemon answers.
#[derive(Debug)]
enum Response {
    Regular(Result<usize, Error>),
    /// A descriptor of another scheme.
    Descriptor(OwnedFd),
    /// The descriptors that the daemon has moved to the request.
    Held,
}

/// A request that the daemon has not answered.
#[derive(Debug)]
struct Pending<C> {
    completion: C,
    payload: Option<Payload>,
    canceling: bool,
    passing: Passing,
    /// Descriptors on their way: sent by the caller and not obtained yet, or moved here by the daemon.
    descriptors: Vec<OwnedFd>,
}

/// What the kernel does with a message of the daemon that is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: usize,
    pub(crate) flags: EventFlags,
}

/// The state of one scheme. `C` says what to do with an answer.
#[derive(Debug)]
pub(crate) struct Protocol<C> {
    todo: VecDeque<Sqe>,
    pending: Slab<Pending<C>>,
    finished: VecDeque<(C, Answer)>,
    ended: bool,
    /// Buffers of requests that the daemon had when the scheme ended: it may be using them still.
    abandoned: Vec<Payload>,
}

impl<C> Protocol<C> {
    pub(crate) fn new() -> Self {
        Self {
            todo: VecDeque::new(),
            pending: Slab::new(),
            finished: VecDeque::new(),
            ended: false,
            abandoned: Vec::new(),
        }
    }

    /// Sends a request to the daemon; returns its tag. Without a daemon it is finished at once, with ENODEV.
    pub(crate) fn request(&mut self, caller: Identity, operation: Operation, completion: C) -> Option<u32> {
        if self.ended {
            self.finished.push_back((completion, Answer::error(ENODEV)));
            return None;
        }
        let Operation { opcode, mut args, payload, descriptors } = operation;
        if let Some(payload) = &payload {
            args[1] = payload.address();
            args[2] = payload.len() as u64;
        }
        // The kernel leaves these two to the caller's own metadata.
        if opcode != Opcode::Call as u8 && opcode != Opcode::StdFsCall as u8 {
            args[5] = u64::from(caller.uid) | u64::from(caller.gid) << 32;
        }
        let entry = self.pending.vacant_entry();
        let Ok(tag) = u32::try_from(entry.key()) else {
            self.finished.push_back((completion, Answer::error(syscall::error::EAGAIN)));
            return None;
        };
        let passing = Passing::of(opcode, &args);
        entry.insert(Pending { completion, payload, canceling: false, passing, descriptors });
        self.todo.push_back(Sqe { opcode, tag, args, caller: caller.pid as u64, ..Sqe::default() });
        Some(tag)
    }

    /// The last descriptor of `id` is gone.
    pub(crate) fn close(&mut self, id: usize) {
        self.one_way(Sqe { opcode: Opcode::CloseMsg as u8, args: [id as u64, 0, 0, 0, 0, 0], ..Sqe::default() });
    }

    /// A signal interrupts the caller of `tag`: asks the daemon to answer soon. A second signal changes nothing.
    pub(crate) fn cancel(&mut self, tag: u32) {
        let Some(pending) = self.pending.get_mut(tag as usize) else { return };
        if !std::mem::replace(&mut pending.canceling, true) {
            self.one_way(Sqe { opcode: Opcode::Cancel as u8, sqe_flags: SqeFlags::ONEWAY, tag, ..Sqe::default() });
        }
    }

    /// Puts a message of the caller's choice into the daemon's queue.
    pub(crate) fn one_way(&mut self, sqe: Sqe) {
        if !self.ended {
            self.todo.push_back(sqe);
        }
    }

    /// The completion of a pending request, to be exchanged for another.
    pub(crate) fn completion_mut(&mut self, tag: u32) -> Option<&mut C> {
        self.pending.get_mut(tag as usize).map(|pending| &mut pending.completion)
    }

    /// Takes the descriptors that were sent with a request.
    ///
    /// # Errors
    /// EINVAL if there is no such request, or if their numbers do not fill exactly `room` bytes: the descriptors are lost then, as in the kernel.
    pub(crate) fn obtain(&mut self, tag: u64, room: usize) -> Result<Vec<OwnedFd>, Error> {
        let held = std::mem::take(&mut self.by_request_id(tag)?.descriptors);
        if held.len() * size_of::<usize>() == room { Ok(held) } else { Err(Error::new(EINVAL)) }
    }

    /// Leaves descriptors at a request, in place of those that are there; an answer hands them over.
    ///
    /// # Errors
    /// EINVAL if there is no such request.
    pub(crate) fn leave(&mut self, tag: u64, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        self.by_request_id(tag)?.descriptors = descriptors;
        Ok(())
    }

    fn by_request_id(&mut self, tag: u64) -> Result<&mut Pending<C>, Error> {
        usize::try_from(tag).ok().and_then(|tag| self.pending.get_mut(tag)).ok_or(Error::new(EINVAL))
    }

    /// Takes an answer, or an event, from the daemon. `descriptor` gives what stands behind a number of the daemon's.
    ///
    /// # Errors
    /// EBADFD for a tag that nobody waits for, EINVAL for an unknown message or descriptor.
    pub(crate) fn respond(
        &mut self,
        cqe: &Cqe,
        descriptor: impl FnOnce(u64) -> Result<OwnedFd, Error>,
    ) -> Result<Option<Event>, Error> {
        let new_descriptor = NewFdFlags::from_bits_retain(cqe.extra_raw[0]);
        match CqeOpcode::try_from_raw(cqe.flags & 0b111).ok_or(Error::new(EINVAL))? {
            CqeOpcode::SendFevent => {
                let id = usize::try_from(cqe.result).map_err(|_| Error::new(EINVAL))?;
                let flags = EventFlags::from_bits(cqe.tag as usize).ok_or(Error::new(EINVAL))?;
                return Ok(Some(Event { id, flags }));
            }
            CqeOpcode::RespondRegular | CqeOpcode::RespondAndNotifyOnDetach => {
                let result = usize::try_from(cqe.result).map_err(|_| Error::new(EINVAL)).and_then(Error::demux);
                self.finish(cqe.tag, Response::Regular(result), new_descriptor)?;
            }
            CqeOpcode::RespondWithFd => {
                let response = match descriptor(cqe.result) {
                    Ok(descriptor) => Response::Descriptor(descriptor),
                    // One that only the host has: the caller must not wait for ever.
                    Err(Error { errno: EOPNOTSUPP }) => Response::Regular(Err(Error::new(EIO))),
                    Err(_) => return Err(Error::new(EINVAL)),
                };
                self.finish(cqe.tag, response, new_descriptor)?;
            }
            CqeOpcode::RespondWithMultipleFds => self.finish(cqe.tag, Response::Held, new_descriptor)?,
            CqeOpcode::ObtainFd => return Err(Error::new(EINVAL)),
        }
        Ok(None)
    }

    fn finish(&mut self, tag: u32, response: Response, new_descriptor: NewFdFlags) -> Result<(), Error> {
        // Whoever ends a scheme from outside takes its requests away from a daemon that may be answering them: that is not its fault.
        if self.ended {
            return Ok(());
        }
        let Pending { completion, payload, canceling, passing, descriptors } =
            self.pending.try_remove(tag as usize).ok_or(Error::new(EBADFD))?;
        let response = match response {
            Response::Regular(Err(Error { errno: ECANCELED })) if canceling => {
                Response::Regular(Err(Error::new(EINTR)))
            }
            Response::Regular(Err(Error { errno: EINTR })) if !canceling => Response::Regular(Err(Error::new(EIO))),
            response => response,
        };
        let (result, descriptors) = passing.outcome(response, descriptors);
        self.finished.push_back((completion, Answer { result, new_descriptor, payload, descriptors }));
        Ok(())
    }

    /// The daemon is gone: everything that waits for it fails with ENODEV, and whatever comes later too.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.todo.clear();
        for Pending { completion, payload, .. } in self.pending.drain() {
            self.abandoned.extend(payload);
            self.finished.push_back((completion, Answer::error(ENODEV)));
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next request that is complete.
    pub(crate) fn next_finished(&mut self) -> Option<(C, Answer)> {
        self.finished.pop_front()
    }

    /// How many messages wait for the daemon.
    pub(crate) fn backlog(&self) -> usize {
        self.todo.len()
    }

    /// Takes up to `limit` messages for the daemon.
    pub(crate) fn take(&mut self, limit: usize) -> impl Iterator<Item = Sqe> + '_ {
        self.todo.drain(..limit.min(self.todo.len()))
    }

    /// How many requests the daemon has not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.pending.len()
    }
}
