//! A daemon that does only what the test says, message by message.
#![allow(missing_docs, unsafe_code)]

use std::mem::size_of;

use redox_scheme::Socket;
use redox_scheme::scheme::register_scheme_inner;
use scheme_host::{Client, Descriptor, Identity, Namespace};
use syscall::error::{EAGAIN, Error, Result};
use syscall::flag::O_RDWR;
use syscall::schemev2::{Cqe, NewFdFlags, Sqe};

pub(crate) const ROOT: usize = 77;
pub(crate) const ME: Identity = Identity { pid: 100, uid: 1000, gid: 1001 };
/// A daemon that does only what the test says.
pub(crate) struct Daemon {
    pub(crate) namespace: Namespace,
    pub(crate) socket: Socket,
}

impl Daemon {
    pub(crate) fn start() -> (Self, Client) {
        let daemon = Self::register(&Namespace::new(), "test").unwrap();
        let client = daemon.namespace.client("test", ME).unwrap();
        (daemon, client)
    }

    pub(crate) fn register(namespace: &Namespace, name: &str) -> Result<Self> {
        namespace.enter();
        let socket = Socket::nonblock()?;
        register_scheme_inner(&socket, name, ROOT)?;
        Ok(Self { namespace: namespace.clone(), socket })
    }

    pub(crate) fn read(&self, limit: usize) -> Result<Vec<Sqe>> {
        let mut bytes = vec![0; limit * size_of::<Sqe>()];
        let len = libredox::call::read(self.socket.inner().raw(), &mut bytes)?;
        Ok(bytes[..len].chunks_exact(size_of::<Sqe>()).map(sqe_of).collect())
    }

    /// All messages that are there.
    pub(crate) fn take(&self) -> Vec<Sqe> {
        match self.read(64) {
            Err(Error { errno: EAGAIN }) => Vec::new(),
            messages => messages.unwrap(),
        }
    }

    /// The only message that is there.
    pub(crate) fn next(&self) -> Sqe {
        let messages = self.take();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages[0]
    }

    pub(crate) fn write(&self, answers: &[Cqe]) -> Result<usize> {
        let bytes = answers.iter().flat_map(|cqe| cqe.iter().copied()).collect::<Vec<_>>();
        Ok(libredox::call::write(self.socket.inner().raw(), &bytes)? / size_of::<Cqe>())
    }

    pub(crate) fn answer(&self, sqe: &Sqe, result: Result<usize>) {
        assert_eq!(self.write(&[answer(sqe.tag, result)]), Ok(1));
    }

    /// Opens a description that the daemon calls `id`.
    pub(crate) fn open(&self, client: &mut Client, id: usize, flags: usize, new_descriptor: NewFdFlags) -> Descriptor {
        let pending = client.start_open("file", flags);
        let sqe = self.next();
        let cqe = Cqe { extra_raw: [new_descriptor.bits(), 0, 0], ..answer(sqe.tag, Ok(id)) };
        assert_eq!(self.write(&[cqe]), Ok(1));
        client.opened(&pending.wait(), flags).unwrap()
    }

    pub(crate) fn stream(&self, client: &mut Client, id: usize) -> Descriptor {
        self.open(client, id, O_RDWR, NewFdFlags::empty())
    }
}

pub(crate) fn sqe_of(bytes: &[u8]) -> Sqe {
    let mut sqe = Sqe::default();
    sqe.copy_from_slice(bytes);
    sqe
}

pub(crate) fn answer(tag: u32, result: Result<usize>) -> Cqe {
    Cqe { tag, result: Error::mux(result) as u64, ..Cqe::default() }
}

pub(crate) fn error<T>(errno: i32) -> Result<T> {
    Err(Error::new(errno))
}

/// The buffer of a request, which the daemon may use until it answers.
pub(crate) fn payload(sqe: &Sqe) -> &'static mut [u8] {
    let (address, len) = (sqe.args[1] as usize, sqe.args[2] as usize);
    // SAFETY: the host keeps the buffer until the answer, and the tests do not use it later.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), len) }
}
