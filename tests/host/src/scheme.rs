//! A scheme: the protocol, who its clients are, and the socket end that the daemon reads and writes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::process::{getegid, geteuid};
use syscall::error::{EAGAIN, EINTR, EINVAL, EIO, Error};
use syscall::flag::O_WRONLY;
use syscall::schemev2::{Cqe, Sqe};

use crate::fuse::{Continue, NO_OFFSET, Session};
use crate::protocol::{Answer, Event, Identity, Operation, Protocol};
use crate::signals::{self, Listening};

/// Who gets an answer.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A client of this process.
    Client(Arc<Slot>),
    /// A request that came by FUSE.
    Fuse(Continue),
    /// Nobody: the caller is dead, or never wanted one.
    Nobody,
}

/// Where a client of this process waits for an answer.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    answer: Mutex<Option<Answer>>,
    filled: Condvar,
}

impl Slot {
    fn fill(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.filled.notify_all();
    }

    pub(crate) fn take(&self) -> Option<Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn wait(&self) -> Answer {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match answer.take() {
                Some(answer) => return answer,
                None => answer = self.filled.wait(answer).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[derive(Debug)]
struct State {
    protocol: Protocol<Completion>,
    session: Option<Session>,
    /// What the daemon announced and no FUSE mount took.
    events: VecDeque<Event>,
    /// Where programs lend their signals, if the daemon routes signals.
    listening: Option<Listening>,
    /// The descriptor of the daemon from which paths are opened, once it is registered.
    root: Option<usize>,
    /// Whether `wake` is readable.
    awake: bool,
}

impl State {
    /// Hands finished requests to those who wait for them, which can lead to further requests.
    fn deliver(&mut self) {
        while let Some((completion, answer)) = self.protocol.next_finished() {
            match completion {
                Completion::Client(slot) => slot.fill(answer),
                Completion::Fuse(then) => {
                    if let Some(session) = &mut self.session {
                        session.resume(&mut self.protocol, then, answer);
                    }
                }
                Completion::Nobody => {}
            }
        }
    }
}

/// A scheme that a daemon has created.
#[derive(Debug)]
pub(crate) struct Scheme {
    state: Mutex<State>,
    /// Readable while the daemon has messages, as far as they do not come from the FUSE device.
    wake: OwnedFd,
}

impl Scheme {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let state = State {
            protocol: Protocol::new(),
            session: None,
            events: VecDeque::new(),
            listening: None,
            root: None,
            awake: false,
        };
        Ok(Self { state: Mutex::new(state), wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the scheme a name in the file system.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn mount(&self, name: &str, root: usize) -> Result<(), String> {
        let session = Session::mount(name, root)?;
        let listening = signals::current().map(|router| router.listen(name)).transpose().inspect_err(|_| {
            session.unmount();
        })?;
        let mut state = self.lock();
        state.session = Some(session);
        state.listening = listening;
        state.root = Some(root);
        Ok(())
    }

    /// Makes the scheme known to clients of this process only.
    pub(crate) fn set_root(&self, root: usize) {
        self.lock().root = Some(root);
    }

    pub(crate) fn root(&self) -> Option<usize> {
        self.lock().root
    }

    /// What an event queue has to watch for messages.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Calls `with` with the FUSE device, if the scheme is mounted.
    pub(crate) fn with_device<T>(&self, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.lock().session.as_ref().map(|session| with(session.device()))
    }

    /// The daemon reads messages: waits for the first, unless `nonblock`, and calls `deliver` with what is there, up to `limit` messages.
    ///
    /// Returns how many there were: 0 when the scheme has been ended from outside.
    pub(crate) fn read(&self, limit: usize, nonblock: bool, mut deliver: impl FnMut(Sqe)) -> Result<usize, Error> {
        if limit == 0 {
            return Err(Error::new(EINVAL));
        }
        loop {
            let device = {
                let mut state = self.lock();
                let state = &mut *state;
                if let Some(session) = &mut state.session
                    && (nonblock || !session.take_drained())
                {
                    session.pump(&mut state.protocol, limit);
                }
                state.deliver();
                let count = state.protocol.take(limit).map(&mut deliver).count();
                if state.awake && state.protocol.backlog() == 0 && !state.protocol.has_ended() {
                    self.clear_wake(state);
                }
                if count > 0 || state.protocol.has_ended() {
                    return Ok(count);
                }
                state.session.as_ref().map(Session::shared_device)
            };
            if nonblock {
                return Err(Error::new(EAGAIN));
            }
            self.wait(device.as_deref())?;
        }
    }

    fn wait(&self, device: Option<&OwnedFd>) -> Result<(), Error> {
        let wake = PollFd::new(&self.wake, PollFlags::IN);
        let result = match device {
            Some(device) => poll(&mut [wake, PollFd::new(device, PollFlags::IN)], None),
            None => poll(&mut [wake], None),
        };
        match result {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::INTR) => Err(Error::new(EINTR)),
            Err(_) => Err(Error::new(EIO)),
        }
    }

    /// The daemon writes answers and events; returns how many were taken before the first bad one. `descriptor` gives what stands behind a number of the
    /// daemon's.
    ///
    /// # Errors
    /// Why the first message was refused.
    pub(crate) fn write(
        &self,
        messages: impl Iterator<Item = Cqe>,
        descriptor: impl Fn(u64) -> Result<OwnedFd, Error>,
    ) -> Result<usize, Error> {
        let mut state = self.lock();
        let mut taken = 0;
        for cqe in messages {
            match state.protocol.respond(&cqe, &descriptor) {
                Ok(None) => {}
                Ok(Some(event)) => match &mut state.session {
                    Some(session) => session.announce(event),
                    None => state.events.push_back(event),
                },
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
            taken += 1;
            state.deliver();
        }
        // A step of a FUSE request may have led to the next message for the daemon, which another thread may be waiting for.
        self.wake_for(&mut state);
        Ok(taken)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().protocol.has_ended()
    }

    /// Ends the scheme: everything that waits fails with ENODEV, the mount goes away, and the daemon reads the end of its messages.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        // Only once: by the second time, the mount at our path may be that of a successor.
        if !state.protocol.has_ended() {
            let State { protocol, session, .. } = &mut *state;
            if let Some(session) = session {
                // Those whose request the daemon has not read wait too.
                session.drain(protocol);
            }
            state.protocol.end();
            state.deliver();
            // While the mount is ours, no successor can have a socket of this name.
            state.listening = None;
            if let Some(session) = &state.session {
                session.unmount();
            }
        }
        self.raise_wake(&mut state);
    }

    /// A request of a client of this process.
    pub(crate) fn request(&self, caller: Identity, operation: Operation, slot: &Arc<Slot>) -> Option<u32> {
        self.with_protocol(|protocol| protocol.request(caller, operation, Completion::Client(Arc::clone(slot))))
    }

    /// The daemon's own process writes to the description `id` of its scheme, and waits for the answer: not in the thread that gives it.
    ///
    /// # Errors
    /// What the daemon answers; ENODEV when the scheme ends.
    pub(crate) fn write_to(&self, id: usize, bytes: &[u8]) -> Result<usize, Error> {
        let pid = std::process::id() as usize;
        let caller = Identity { pid, uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let slot = Arc::new(Slot::default());
        self.request(caller, Operation::write(id, bytes, NO_OFFSET, O_WRONLY), &slot);
        slot.wait().result
    }

    /// Changes the protocol's state and wakes the daemon if that left it a message.
    pub(crate) fn with_protocol<T>(&self, change: impl FnOnce(&mut Protocol<Completion>) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.protocol);
        state.deliver();
        self.wake_for(&mut state);
        result
    }

    /// The next event that the daemon announced, and no mount took.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    fn wake_for(&self, state: &mut State) {
        if state.protocol.backlog() > 0 && !state.awake {
            self.raise_wake(state);
        }
    }

    fn raise_wake(&self, state: &mut State) {
        // It can only fail when it is raised 2^64-2 times already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        state.awake = true;
    }

    fn clear_wake(&self, state: &mut State) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        state.awake = false;
    }
}
