//! The loop: requests in, answers out, both in batches.

use std::collections::VecDeque;

use redox_scheme::scheme::{SchemeResponse, SchemeState, SchemeSync, register_sync_scheme};
use redox_scheme::{CallRequest, Request, RequestKind, Response, SignalBehavior, Socket};
use syscall::error::{EAGAIN, EINTR, EOPNOTSUPP, EWOULDBLOCK, Error, Result};

use crate::request::malformed;
use crate::scheme::Scheme;

/// How many requests are taken from the kernel at once.
const BATCH: usize = 64;

/// What a [`Server::turn`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// Requests, which are handled now.
    Served,
    /// No request, on a socket that does not block, or a signal.
    Idle,
    /// The end: there will be no more requests.
    End,
}

/// A scheme and the socket on which it is served.
pub struct Server {
    socket: Socket,
    scheme: Scheme,
    locks: SchemeState,
    requests: Vec<Request>,
    answers: VecDeque<Response>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Server {
    /// Registers `scheme` as [`crate::NAME`] in the current namespace.
    ///
    /// # Errors
    /// What the namespace manager answers, such as EEXIST if the name is taken.
    pub fn register(socket: Socket, mut scheme: Scheme) -> Result<Self> {
        register_sync_scheme(&socket, crate::NAME, &mut scheme)?;
        Ok(Self {
            socket,
            scheme,
            locks: SchemeState::new(),
            requests: Vec::with_capacity(BATCH),
            answers: VecDeque::with_capacity(BATCH),
        })
    }

    /// Serves until there will be no more requests.
    ///
    /// # Errors
    /// What reading the socket fails with.
    pub fn run(&mut self) -> Result<()> {
        while self.turn()? != Turn::End {}
        self.scheme.end();
        Ok(())
    }

    /// Takes a batch of requests, handles them in order and writes all answers.
    ///
    /// # Errors
    /// What reading the socket fails with.
    pub fn turn(&mut self) -> Result<Turn> {
        match self.socket.read_requests(&mut self.requests, SignalBehavior::Interrupt) {
            Ok(()) if self.requests.is_empty() => return Ok(Turn::End),
            Ok(()) => {}
            Err(Error { errno: EINTR | EAGAIN | EWOULDBLOCK }) => return Ok(Turn::Idle),
            Err(error) => return Err(error),
        }
        let mut requests = std::mem::take(&mut self.requests);
        for request in requests.drain(..) {
            self.handle(request);
            self.scheme.carry_out(&mut self.answers);
        }
        self.requests = requests;
        self.write_answers();
        Ok(Turn::Served)
    }

    fn handle(&mut self, request: Request) {
        match request.kind() {
            RequestKind::Call(call) => self.handle_call(call),
            RequestKind::Cancellation(cancel) => self.scheme.cancel(cancel.id, &mut self.answers),
            RequestKind::OnClose { id } => self.scheme.on_close(id),
            RequestKind::SendFd(send) => self.answers.push_back(Response::err(EOPNOTSUPP, send)),
            RequestKind::RecvFd(receive) => self.answers.push_back(Response::err(EOPNOTSUPP, receive)),
            // One-way messages about mappings and locks, which eventd never grants.
            RequestKind::MsyncMsg | RequestKind::MunmapMsg | RequestKind::MmapMsg | RequestKind::OnDetach { .. } => {}
        }
    }

    fn handle_call(&mut self, call: CallRequest) {
        if let Some(errno) = malformed(&call) {
            self.answers.push_back(Response::err(errno, call));
            return;
        }
        let caller = call.caller();
        let mut op = match call.op() {
            Ok(op) => op,
            Err(call) => {
                self.answers.push_back(Response::err(EOPNOTSUPP, call));
                return;
            }
        };
        let result = op.handle_sync_dont_consume(&caller, &mut self.scheme, &mut self.locks);
        if let Some(parked) = self.scheme.take_parked() {
            self.scheme.wait(op, &caller, parked);
            return;
        }
        self.answers.push_back(match result {
            SchemeResponse::Regular(result) => Response::new(result, op),
            SchemeResponse::RegularAndNotifyOnDetach(result) => Response::new_notify_on_detach(result, op),
            SchemeResponse::Opened(result) => Response::open_dup_like(result, op),
        });
    }

    fn write_answers(&mut self) {
        while !self.answers.is_empty() {
            if let Err(error) = self.socket.write_responses(&mut self.answers, SignalBehavior::Restart) {
                // The kernel takes none before the one that it refuses, and those behind that one are still wanted. If it is the socket that fails, reading
                // will say so.
                self.answers.pop_front();
                log::debug!("the kernel refused an answer: {error}");
            }
        }
    }
}
