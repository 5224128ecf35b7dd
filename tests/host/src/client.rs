//! Clients within this process, for tests that choose who calls and what happens when.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use syscall::data::Stat;
use syscall::dirent::DirentIter;
use syscall::error::{EBADF, EIO, ENODEV, ESPIPE, Error, Result};
use syscall::flag::{AT_REMOVEDIR, EventFlags, F_SETFL, MapFlags, O_ACCMODE};
use syscall::schemev2::{NewFdFlags, Sqe};

use libredox::protocol::O_CLOEXEC;

use crate::memory;
use crate::protocol::{Answer, Identity, Operation, Protocol};
use crate::scheme::{Completion, Scheme, Slot};

/// A descriptor of a [`Client`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Descriptor(usize);

/// An open file description; its scheme hears of the close when the last descriptor is gone.
#[derive(Debug)]
struct Description {
    scheme: Arc<Scheme>,
    id: usize,
    flags: AtomicUsize,
    offset: Option<AtomicUsize>,
}

impl Drop for Description {
    fn drop(&mut self) {
        self.scheme.with_protocol(|protocol| protocol.close(self.id));
    }
}

/// A process: an identity and a table of descriptors.
#[derive(Debug)]
pub struct Client {
    scheme: Arc<Scheme>,
    root: usize,
    identity: Identity,
    descriptors: BTreeMap<Descriptor, Arc<Description>>,
    next: usize,
}

/// A request that the daemon may not have answered yet.
#[derive(Debug)]
pub struct Pending {
    scheme: Arc<Scheme>,
    slot: Arc<Slot>,
    tag: Option<u32>,
    /// What the request was made through stays open until it is done.
    description: Option<Arc<Description>>,
    /// Whether its result is a number of bytes, by which the position advances.
    moves: bool,
}

/// What a request came to.
#[derive(Debug)]
pub struct Outcome {
    answer: Answer,
}

impl Outcome {
    /// The number that the daemon answered.
    ///
    /// # Errors
    /// The errno that it answered.
    pub fn result(&self) -> Result<usize> {
        self.answer.result
    }

    /// The bytes that it put into the buffer.
    ///
    /// # Errors
    /// The errno that it answered; EIO if it claimed more bytes than the buffer has.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.answer.bytes().map(<[u8]>::to_vec)
    }

    /// The descriptors that it passed: those of [`Client::start_receive`], or the one that it opened elsewhere in answer to an open or a dup.
    ///
    /// # Errors
    /// The errno that it answered.
    pub fn into_descriptors(self) -> Result<Vec<OwnedFd>> {
        self.answer.result.map(|_| self.answer.descriptors)
    }
}

impl Pending {
    /// The number by which the daemon and the kernel know the request.
    ///
    /// # Panics
    /// If the scheme had ended before.
    #[must_use]
    #[allow(clippy::expect_used)] // For tests that play the kernel's part themselves.
    pub fn tag(&self) -> u32 {
        self.tag.expect("the scheme has ended")
    }

    /// The outcome, if it is there. It is handed out once, and that is when the position of a description advances.
    #[must_use]
    pub fn poll(&self) -> Option<Outcome> {
        self.slot.take().map(|answer| self.returned(answer))
    }

    /// Waits for the outcome.
    #[must_use]
    pub fn wait(self) -> Outcome {
        let answer = self.slot.wait();
        self.returned(answer)
    }

    /// What the kernel does when the caller goes on.
    fn returned(&self, answer: Answer) -> Outcome {
        if let (true, Some(description), Ok(len)) = (self.moves, &self.description, answer.result)
            && let Some(offset) = &description.offset
        {
            offset.store(offset.load(Ordering::Relaxed).saturating_add(len), Ordering::Relaxed);
        }
        Outcome { answer }
    }

    /// A signal interrupts the caller: the daemon gets a Cancel.
    pub fn interrupt(&self) {
        self.while_pending(|protocol, tag| protocol.cancel(tag));
    }

    /// The caller is killed: nobody waits for the answer any more, and the daemon is not told (as on today's Redox kernel).
    pub fn abandon(mut self) {
        self.while_pending(|protocol, tag| {
            if let Some(completion) = protocol.completion_mut(tag) {
                *completion = Completion::Nobody;
            }
        });
        self.description = None;
    }

    /// Does `change`, unless the request is answered: its tag may be another's then.
    fn while_pending(&self, change: impl FnOnce(&mut Protocol<Completion>, u32)) {
        let Some(tag) = self.tag else { return };
        self.scheme.with_protocol(|protocol| match protocol.completion_mut(tag) {
            Some(Completion::Client(slot)) if Arc::ptr_eq(slot, &self.slot) => change(protocol, tag),
            _ => {}
        });
    }
}

impl Client {
    pub(crate) fn new(scheme: Arc<Scheme>, identity: Identity) -> Result<Self> {
        let root = scheme.root().ok_or(Error::new(ENODEV))?;
        Ok(Self { scheme, root, identity, descriptors: BTreeMap::new(), next: 3 })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> usize {
        self.identity.pid
    }

    /// A child process: it has another id and shares all descriptions.
    #[must_use]
    pub fn fork(&self, pid: usize) -> Self {
        Self {
            scheme: Arc::clone(&self.scheme),
            root: self.root,
            identity: Identity { pid, ..self.identity },
            descriptors: self.descriptors.clone(),
            next: self.next,
        }
    }

    fn start(&self, operation: Operation, description: Option<Arc<Description>>) -> Pending {
        let slot = Arc::new(Slot::default());
        let tag = self.scheme.request(self.identity, operation, &slot);
        Pending { scheme: Arc::clone(&self.scheme), slot, tag, description, moves: false }
    }

    fn on(&self, descriptor: Descriptor, operation: impl FnOnce(&Description) -> Operation) -> Result<Pending> {
        let description = self.descriptors.get(&descriptor).ok_or(Error::new(EBADF))?;
        Ok(self.start(operation(description), Some(Arc::clone(description))))
    }

    /// Starts a read or a write: `operation` gets the position.
    fn on_position(
        &self,
        descriptor: Descriptor,
        operation: impl FnOnce(&Description, u64) -> Operation,
    ) -> Result<Pending> {
        let pending = self.on(descriptor, |description| {
            let offset = description.offset.as_ref().map_or(u64::MAX, |offset| offset.load(Ordering::Relaxed) as u64);
            operation(description, offset)
        })?;
        Ok(Pending { moves: true, ..pending })
    }

    /// Starts to open a path; [`Client::opened`] makes a descriptor of the outcome.
    #[must_use]
    pub fn start_open(&self, path: &str, flags: usize) -> Pending {
        self.start(Operation::open(self.root, path, flags), None)
    }

    /// Starts to open a path that starts at a directory.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_open_at(&self, directory: Descriptor, path: &str, flags: usize) -> Result<Pending> {
        self.on(directory, |description| Operation::open(description.id, path, flags))
    }

    /// Puts what was opened with `flags` into the table.
    ///
    /// # Errors
    /// What the daemon answered; EIO if that was a descriptor of another scheme: [`Outcome::into_descriptors`] gives it.
    pub fn opened(&mut self, outcome: &Outcome, flags: usize) -> Result<Descriptor> {
        let id = outcome.result()?;
        if !outcome.answer.descriptors.is_empty() {
            return Err(Error::new(EIO));
        }
        let positioned = outcome.answer.new_descriptor.contains(NewFdFlags::POSITIONED);
        let description = Description {
            scheme: Arc::clone(&self.scheme),
            id,
            flags: AtomicUsize::new(flags & !O_CLOEXEC),
            offset: positioned.then(AtomicUsize::default),
        };
        Ok(self.insert(Arc::new(description)))
    }

    fn insert(&mut self, description: Arc<Description>) -> Descriptor {
        let descriptor = Descriptor(self.next);
        self.next += 1;
        self.descriptors.insert(descriptor, description);
        descriptor
    }

    /// Duplicates a descriptor: both share the description, and the daemon does not hear of it.
    ///
    /// # Errors
    /// EBADF.
    pub fn dup(&mut self, descriptor: Descriptor) -> Result<Descriptor> {
        let description = Arc::clone(self.descriptors.get(&descriptor).ok_or(Error::new(EBADF))?);
        Ok(self.insert(description))
    }

    /// Starts to duplicate with an argument, which the daemon decides upon.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_dup_with(&self, descriptor: Descriptor, argument: &[u8]) -> Result<Pending> {
        self.on(descriptor, |description| Operation::dup(description.id, argument))
    }

    /// Closes a descriptor.
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&mut self, descriptor: Descriptor) -> Result<()> {
        self.descriptors.remove(&descriptor).map(drop).ok_or(Error::new(EBADF))
    }

    /// Starts to read up to `len` bytes, at the description's position if it has one.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_read(&self, descriptor: Descriptor, len: usize) -> Result<Pending> {
        self.on_position(descriptor, |description, offset| {
            Operation::read(description.id, len, offset, description.flags.load(Ordering::Relaxed))
        })
    }

    /// Starts to write, at the description's position if it has one.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_write(&self, descriptor: Descriptor, bytes: &[u8]) -> Result<Pending> {
        self.on_position(descriptor, |description, offset| {
            Operation::write(description.id, bytes, offset, description.flags.load(Ordering::Relaxed))
        })
    }

    /// Moves the position of a description.
    ///
    /// # Errors
    /// EBADF, ESPIPE if it has none.
    pub fn seek(&self, descriptor: Descriptor, position: usize) -> Result<()> {
        let description = self.descriptors.get(&descriptor).ok_or(Error::new(EBADF))?;
        let offset = description.offset.as_ref().ok_or(Error::new(ESPIPE))?;
        offset.store(position, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the status flags, such as O_NONBLOCK. The daemon is asked, and the kernel keeps them: both as F_SETFL does it.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_set_flags(&self, descriptor: Descriptor, flags: usize) -> Result<Pending> {
        self.on(descriptor, |description| {
            let access = description.flags.load(Ordering::Relaxed) & O_ACCMODE;
            description.flags.store(access | flags & !O_ACCMODE, Ordering::Relaxed);
            Operation::fcntl(description.id, F_SETFL, flags)
        })
    }

    /// Starts to ask what is ready, and to be told of changes of it from now on.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_watch(&self, descriptor: Descriptor, flags: EventFlags) -> Result<Pending> {
        self.on(descriptor, |description| Operation::fevent(description.id, flags))
    }

    /// The next readiness that the daemon announced for any description, which is named by one of our descriptors, or by none if it is not ours.
    #[must_use]
    pub fn next_event(&self) -> Option<(Option<Descriptor>, EventFlags)> {
        let event = self.scheme.next_event()?;
        let ours = self.descriptors.iter().find(|(_, description)| description.id == event.id);
        Some((ours.map(|(descriptor, _)| *descriptor), event.flags))
    }

    /// Starts fstat; [`Client::stat_of`] reads the outcome.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_stat(&self, descriptor: Descriptor) -> Result<Pending> {
        self.on(descriptor, |description| Operation::stat(description.id))
    }

    /// The attributes in the outcome of [`Client::start_stat`].
    ///
    /// # Errors
    /// What the daemon answered.
    pub fn stat_of(outcome: &Outcome) -> Result<Stat> {
        outcome.result()?;
        let mut stat = Stat::default();
        let payload = outcome.answer.payload.as_ref().ok_or(Error::new(EIO))?;
        stat.copy_from_slice(payload.bytes().get(..size_of::<Stat>()).ok_or(Error::new(EIO))?);
        Ok(stat)
    }

    /// Starts to read a directory; [`Client::names_of`] reads the outcome.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_entries(&self, descriptor: Descriptor, len: usize, opaque: u64) -> Result<Pending> {
        self.on(descriptor, |description| Operation::directory_entries(description.id, len, opaque))
    }

    /// The names in the outcome of [`Client::start_entries`], each with the opaque value that goes on after it.
    ///
    /// # Errors
    /// What the daemon answered.
    pub fn names_of(outcome: &Outcome) -> Result<Vec<(String, u64)>> {
        let bytes = outcome.bytes()?;
        Ok(DirentIter::new(&bytes)
            .map_while(std::result::Result::ok)
            .map(|(header, name)| {
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                (String::from_utf8_lossy(name).into_owned(), header.next_opaque_id)
            })
            .collect())
    }

    /// Starts fpath.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_path(&self, descriptor: Descriptor, len: usize) -> Result<Pending> {
        self.on(descriptor, |description| Operation::fpath(description.id, len))
    }

    /// Starts fsync.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_sync(&self, descriptor: Descriptor) -> Result<Pending> {
        self.on(descriptor, |description| Operation::sync(description.id))
    }

    /// Starts ftruncate.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_truncate(&self, descriptor: Descriptor, len: u64) -> Result<Pending> {
        self.on(descriptor, |description| Operation::truncate(description.id, len))
    }

    /// Starts to remove a name.
    #[must_use]
    pub fn start_unlink(&self, path: &str, directory: bool) -> Pending {
        self.start(Operation::unlink(self.root, path, if directory { AT_REMOVEDIR } else { 0 }), None)
    }

    /// Starts a call with a payload and metadata of the scheme's own. As on Redox, the uid and gid that the daemon sees are the third word.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_call(&self, descriptor: Descriptor, payload: &[u8], metadata: [u64; 3]) -> Result<Pending> {
        self.on(descriptor, |description| Operation::call(description.id, payload, metadata))
    }

    /// Starts to send descriptors to the daemon, which gets the first word of a caller's metadata with them. The result is how many were sent.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_send(&self, descriptor: Descriptor, descriptors: Vec<OwnedFd>, metadata: u64) -> Result<Pending> {
        self.on(descriptor, |description| Operation::send(description.id, descriptors, metadata))
    }

    /// Starts to ask the daemon for `count` descriptors; [`Outcome::into_descriptors`] gives them. The outcome is EINVAL if the daemon has another number of
    /// them for us.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_receive(&self, descriptor: Descriptor, count: usize, metadata: [u64; 2]) -> Result<Pending> {
        self.on(descriptor, |description| Operation::receive(description.id, count, metadata))
    }

    /// Starts to rename what is open; `path` is the new one.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_rename(&self, descriptor: Descriptor, path: &str) -> Result<Pending> {
        self.on(descriptor, |description| Operation::rename(description.id, path))
    }

    /// Starts to map `len` bytes from `offset` on; [`Client::mapped`] gives the address.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_map(&self, descriptor: Descriptor, len: usize, flags: MapFlags, offset: u64) -> Result<Pending> {
        self.on(descriptor, |description| Operation::mmap_prep(description.id, len, flags, offset))
    }

    /// Starts to say that a mapping of `len` bytes is gone, as the kernel does when one is.
    ///
    /// # Errors
    /// EBADF.
    pub fn start_unmap(&self, descriptor: Descriptor, len: usize) -> Result<Pending> {
        self.on(descriptor, |description| Operation::munmap(description.id, len))
    }

    /// The address of the daemon's memory in the outcome of [`Client::start_map`]. Client and daemon share one address space, so that is where it is.
    ///
    /// # Errors
    /// What the daemon answered; EIO if the address is not the start of `len` bytes of memory that can be shared.
    pub fn mapped(outcome: &Outcome, len: usize) -> Result<usize> {
        memory::find(outcome.result()?, len).map(|region| region.address()).ok_or(Error::new(EIO))
    }

    /// Starts a request of the caller's making, such as the kernel never sends. `payload` takes the place of the second and third argument.
    #[must_use]
    pub fn start_raw(&self, opcode: u8, args: [u64; 6], payload: Option<&[u8]>) -> Pending {
        let payload = payload.map(crate::payload::Payload::of);
        self.start(Operation::raw(opcode, args, payload), None)
    }

    /// Sends a one-way message of the caller's making.
    pub fn send_raw(&self, sqe: Sqe) {
        self.scheme.with_protocol(|protocol| protocol.one_way(sqe));
    }

    /// The number by which the daemon knows a descriptor's description.
    #[must_use]
    pub fn id(&self, descriptor: Descriptor) -> Option<usize> {
        self.descriptors.get(&descriptor).map(|description| description.id)
    }

    /// How many requests of all clients the daemon has not answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.scheme.with_protocol(|protocol| protocol.unanswered())
    }
}
