//! The front end: scheme requests in, calls of the engine out.

mod inspect;
mod node;
mod page;
mod shared_cell;
mod signals;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::time::Duration;

use eventd_shim::{CELL, READINESS, SET_MASK, TELL};
use redox_scheme::scheme::{Op, SchemeSync};
use redox_scheme::{CallerCtx, Id, OpenResult, Response};
use slab::Slab;
use syscall::data::Stat;
use syscall::dirent::{DirEntry, DirentBuf, DirentKind};
use syscall::error::{
    EACCES, EAGAIN, EBADF, ECANCELED, EEXIST, EINVAL, EISDIR, ENODEV, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM, ESPIPE,
    EWOULDBLOCK, Error, Result,
};
use syscall::flag::{
    AT_REMOVEDIR, EventFlags, F_SETFL, MODE_FILE, MODE_PERM, MapFlags, MunmapFlags, O_ACCMODE, O_CREAT, O_DIRECTORY,
    O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, O_STAT, O_TRUNC, O_WRONLY,
};
use syscall::schemev2::NewFdFlags;

use self::inspect::{Viewer, Waiter};
use self::node::Node;
use self::page::Page;
use self::shared_cell::SharedCell;
use crate::engine::{
    self, Access, Blocking, Effect, EventfdId, Eventfds, Identity, Owner, ParkedRead, Progress, Readiness, Semaphore,
    SemaphoreId, Semaphores, SignalfdId, Signalfds,
};
use crate::futex;
use crate::router::Router;

/// What an open descriptor stands for.
#[derive(Debug)]
enum Handle {
    /// The root of the scheme, for opening paths.
    Root,
    /// Opened with O_STAT: can be asked for its attributes and be opened from.
    Look(Node),
    /// A directory, for listing.
    Directory(Node),
    /// A text, as it was when it was opened.
    Text(Node, Vec<u8>),
    /// A counter, its name, the access mode (O_ACCMODE) of its descriptor, and all that anybody ever wanted to hear of it.
    Eventfd { id: EventfdId, node: Node, access: usize, interest: Readiness },
    /// A semaphore's memory.
    Semaphore(SemaphoreId),
    /// A signalfd, and its name.
    Signalfd(SignalfdId, Node),
    /// Where the router's messenger writes.
    News,
}

/// Where a request waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parked {
    Eventfd(engine::Parked),
    Signalfd(ParkedRead),
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    op: Op,
    pid: usize,
    uid: u32,
    parked: Parked,
    since: Duration,
    /// Numbers requests in order of arrival: several can come at the same time of the clock, which on Redox can even go back.
    arrival: u64,
}

/// Request ids are small numbers that the kernel hands out, so they need no mixing; and a hasher with random keys would need `/scheme/rand`, which may
/// not be there yet when eventd starts.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The table takes its control bits from the top: spread the number over all bits.
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = number.into();
    }
}

/// Who runs the daemon and how it tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Effective user id, the owner of what belongs to nobody else.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Monotonic time. Only differences are used.
    pub monotonic: fn() -> Duration,
}

/// The scheme `eventd`.
#[derive(Debug)]
pub struct Scheme {
    eventfds: Eventfds<Id, SharedCell>,
    semaphores: Semaphores<Page>,
    signalfds: Signalfds<Id>,
    /// The handle by which each signalfd is announced.
    descriptions: BTreeMap<SignalfdId, usize>,
    signals: signals::Counts,
    router: Option<Box<dyn Router>>,
    handles: Slab<Handle>,
    waiting: HashMap<Id, Waiting, BuildHasherDefault<IdHasher>>,
    effects: Vec<Effect<Id>>,
    /// Answers to requests that waited.
    answered: Vec<(Op, Result<usize>)>,
    /// Where the request that is being handled was parked.
    parked: Option<Parked>,
    /// How many requests have ever waited.
    arrivals: u64,
    host: Host,
    started: Duration,
}

impl Scheme {
    /// A scheme without any object.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self {
            eventfds: Eventfds::default(),
            semaphores: Semaphores::default(),
            signalfds: Signalfds::default(),
            descriptions: BTreeMap::new(),
            signals: signals::Counts::default(),
            router: None,
            handles: Slab::new(),
            waiting: HashMap::default(),
            effects: Vec::new(),
            answered: Vec::new(),
            parked: None,
            arrivals: 0,
            host,
            started: (host.monotonic)(),
        }
    }

    /// From now on there is signalfd: `router` leads to the signals.
    pub fn route_signals(&mut self, router: Box<dyn Router>) {
        self.router = Some(router);
    }

    /// The number of a new handle to which the router's news are to be written.
    pub fn news(&mut self) -> usize {
        self.handles.insert(Handle::News)
    }

    /// Where the request that was handled last has been parked, if it was.
    pub(crate) fn take_parked(&mut self) -> Option<Parked> {
        self.parked.take()
    }

    /// Keeps a request that the engine parked until its answer is there.
    pub(crate) fn wait(&mut self, op: Op, caller: &CallerCtx, parked: Parked) {
        let since = self.uptime();
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.waiting.insert(caller.id, Waiting { op, pid: caller.pid, uid: caller.uid, parked, since, arrival });
    }

    /// Gives up the request `id`, whose caller has been interrupted. A request that is answered already, or was never parked, is none of our business.
    pub(crate) fn cancel(&mut self, id: Id, answers: &mut impl Extend<Response>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            match waiting.parked {
                Parked::Eventfd(parked) => self.eventfds.cancel(parked),
                Parked::Signalfd(parked) => self.signalfds.leave(parked),
            };
            answers.extend([Response::err(ECANCELED, waiting.op)]);
        }
    }

    /// Carries out what followed from the requests handled so far.
    pub(crate) fn carry_out(&mut self, answers: &mut impl Extend<Response>) {
        answers.extend(self.answered.drain(..).map(|(op, result)| Response::new(result, op)));
        let (waiting, eventfds) = (&mut self.waiting, &self.eventfds);
        answers.extend(self.effects.drain(..).filter_map(|effect| match effect {
            Effect::Read { ticket, value } => waiting.remove(&ticket).map(|waiting| answer_read(waiting.op, value)),
            Effect::Written { ticket } => {
                waiting.remove(&ticket).map(|waiting| Response::ok(size_of::<u64>(), waiting.op))
            }
            Effect::Dropped { ticket } => waiting.remove(&ticket).map(|waiting| Response::err(ECANCELED, waiting.op)),
            Effect::Wake { eventfd, sleepers } => {
                if let Some(eventfd) = eventfds.get(eventfd) {
                    futex::wake(eventfd.counter().gate(sleepers));
                }
                None
            }
            Effect::Ready { description, readiness } => {
                Some(Response::post_fevent(description, event_flags(readiness).bits()))
            }
        }));
    }

    fn uptime(&self) -> Duration {
        (self.host.monotonic)().saturating_sub(self.started)
    }

    fn handle(&self, id: usize) -> Result<&Handle> {
        self.handles.get(id).ok_or(Error::new(EBADF))
    }

    /// The directory that the descriptor `id` stands for.
    fn directory(&self, id: usize) -> Result<Node> {
        match self.handle(id)? {
            Handle::Root => Ok(Node::Root),
            Handle::Look(node) | Handle::Directory(node) if node.is_directory() => Ok(node.clone()),
            _ => Err(Error::new(ENOTDIR)),
        }
    }

    fn text(&self, node: &Node, ctx: &CallerCtx) -> Result<String> {
        let viewer = Viewer { uid: ctx.uid };
        Ok(match node {
            Node::Semaphore(name) => {
                let (id, semaphore) = self.semaphore(name)?;
                if !semaphore.permits(identity(ctx), Access::Read) {
                    return Err(Error::new(EACCES));
                }
                inspect::semaphore(id, semaphore)
            }
            Node::SemaphoreList => inspect::semaphore_list(&self.semaphores, identity(ctx)),
            Node::EventfdList => inspect::eventfd_list(&self.eventfds, viewer),
            Node::WaiterList => {
                let waiter = |waiting: &Waiting| {
                    let (object, value) = match waiting.parked {
                        Parked::Eventfd(parked) => (format!("eventfd:{}", parked.eventfd().number()), parked.value()),
                        Parked::Signalfd(parked) => (format!("signalfd:{}", parked.signalfd().number()), None),
                    };
                    Waiter {
                        pid: waiting.pid,
                        uid: waiting.uid,
                        object,
                        value,
                        since: waiting.since,
                        arrival: waiting.arrival,
                    }
                };
                inspect::waiter_list(&mut self.waiting.values().map(waiter).collect(), viewer, self.uptime())
            }
            Node::SignalfdList => inspect::signalfd_list(&self.signalfds, viewer),
            _ => inspect::stat(&inspect::Stat {
                eventfds: &self.eventfds,
                semaphores: &self.semaphores,
                signalfds: &self.signalfds,
                signals: self.signals,
                parked: self.arrivals,
                waiting: self.waiting.len(),
                uptime: self.uptime(),
            }),
        })
    }

    /// The semaphore that has this name now.
    fn semaphore(&self, name: &[u8]) -> Result<(SemaphoreId, &Semaphore<Page>)> {
        let id = self.semaphores.find(name).map_err(errno)?;
        Ok((id, self.semaphores.get(id).ok_or(Error::new(ENOENT))?))
    }

    fn open(&mut self, node: Node, flags: usize, ctx: &CallerCtx) -> Result<Handle> {
        if let Node::NewSemaphore(content, name) = &node {
            return self.create_semaphore(content, name, flags, ctx);
        }
        if let Node::Semaphore(name) | Node::SemaphorePage(name) = &node {
            // Without one there is nothing to look at, either.
            self.semaphore(name)?;
        }
        if flags & O_STAT != 0 {
            return Ok(Handle::Look(node));
        }
        if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
            return Err(Error::new(EEXIST));
        }
        let access = flags & O_ACCMODE;
        let changes = access & O_WRONLY != 0 || flags & O_TRUNC != 0;
        match node {
            _ if node.is_directory() && changes => Err(Error::new(EISDIR)),
            _ if node.is_directory() => Ok(Handle::Directory(node)),
            _ if flags & O_DIRECTORY != 0 => Err(Error::new(ENOTDIR)),
            Node::NewCounter(initval, mode) => {
                let owner = Owner { pid: ctx.pid, uid: ctx.uid, gid: ctx.gid };
                let id = self.eventfds.create(initval, mode, owner);
                self.eventfds.set_nonblocking(id, flags & O_NONBLOCK != 0).map_err(errno)?;
                Ok(Handle::Eventfd { id, node, access, interest: Readiness::NONE })
            }
            Node::NewSignalfd(mask) => {
                let owner = Owner { pid: ctx.pid, uid: ctx.uid, gid: ctx.gid };
                Ok(Handle::Signalfd(self.create_signalfd(mask, owner)?, node))
            }
            Node::SemaphorePage(name) if access == O_RDWR && flags & O_TRUNC == 0 => {
                self.semaphores.open(&name, identity(ctx)).map(Handle::Semaphore).map_err(errno)
            }
            Node::SemaphorePage(_) => Err(Error::new(EACCES)),
            _ if changes => Err(Error::new(EACCES)),
            _ => self.text(&node, ctx).map(|text| Handle::Text(node, text.into_bytes())),
        }
    }

    /// The path of a new semaphore names nothing until it is created.
    fn create_semaphore(&mut self, content: &[u8], name: &Rc<[u8]>, flags: usize, ctx: &CallerCtx) -> Result<Handle> {
        if flags & O_STAT != 0 || flags & O_CREAT == 0 {
            return Err(Error::new(ENOENT));
        }
        if flags & (O_ACCMODE | O_EXCL) != O_RDWR | O_EXCL {
            return Err(Error::new(EINVAL));
        }
        let mode = flags as u16 & MODE_PERM;
        let page = || Page::new(content).map_err(Failure);
        let created = self.semaphores.create(name, mode, identity(ctx), page);
        created.map(Handle::Semaphore).map_err(|Failure(error)| error)
    }

    /// The counter behind the descriptor `id`, if that was opened for `access`.
    fn eventfd(&self, id: usize, access: usize) -> Result<EventfdId> {
        match *self.handle(id)? {
            Handle::Eventfd { id, access: granted, .. } if granted & access != 0 => Ok(id),
            Handle::Directory(_) => Err(Error::new(EISDIR)),
            _ => Err(Error::new(EBADF)),
        }
    }

    /// The counter behind the descriptor `id`, if that was opened for all that can be done in a counter's memory.
    fn whole_eventfd(&self, id: usize) -> Result<EventfdId> {
        match *self.handle(id)? {
            Handle::Eventfd { id, access: O_RDWR, .. } => Ok(id),
            Handle::Eventfd { .. } => Err(Error::new(EACCES)),
            _ => Err(Error::new(EOPNOTSUPP)),
        }
    }

    /// The page at `offset` of what the descriptor `id` stands for.
    fn page(&mut self, id: usize, offset: u64) -> Result<&Page> {
        match *self.handle(id)? {
            Handle::Eventfd { .. } if offset == CELL => {
                let eventfd = self.whole_eventfd(id)?;
                let shared = self.eventfds.share(eventfd, || SharedCell::new().map_err(Failure));
                shared.map(SharedCell::page).map_err(|Failure(error)| error)
            }
            Handle::Semaphore(_) if offset != 0 => Err(Error::new(EINVAL)),
            Handle::Semaphore(id) => Ok(self.semaphores.get(id).ok_or(Error::new(EBADF))?.page()),
            _ => Err(Error::new(ENODEV)), // semantics 17
        }
    }

    /// There will be no more requests: who sleeps in memory has to see that, too.
    pub(crate) fn end(&mut self) {
        let left = self.eventfds.iter().map(|(id, _)| id).collect::<Vec<_>>();
        for id in left {
            self.close_eventfd(id);
        }
    }

    /// The last descriptor of a counter is gone.
    fn close_eventfd(&mut self, id: EventfdId) {
        let Some(cell) = self.eventfds.close(id, &mut self.effects) else { return };
        for gate in [cell.readable(), cell.writable()] {
            if gate.may_have_sleepers() {
                futex::wake(gate);
            }
        }
    }

    /// The result of a request that may have been parked.
    fn finish<T>(&mut self, progress: Result<Progress<T>, engine::Error>) -> Result<T> {
        match progress.map_err(errno)? {
            Progress::Done(value) => Ok(value),
            Progress::Parked(parked) => {
                self.parked = Some(Parked::Eventfd(parked));
                Err(Error::new(EWOULDBLOCK))
            }
        }
    }
}

impl SchemeSync for Scheme {
    fn scheme_root(&mut self) -> Result<usize> {
        Ok(self.handles.insert(Handle::Root))
    }

    fn openat(
        &mut self,
        dirfd: usize,
        path: &str,
        flags: usize,
        _fcntl_flags: u32,
        ctx: &CallerCtx,
    ) -> Result<OpenResult> {
        let node = self.directory(dirfd)?.walk(path)?;
        let handle = self.open(node, flags, ctx)?;
        let flags = match handle {
            Handle::Text(..) | Handle::Directory(_) => NewFdFlags::POSITIONED,
            _ => NewFdFlags::empty(),
        };
        let signalfd = if let Handle::Signalfd(id, _) = handle { Some(id) } else { None };
        let number = self.handles.insert(handle);
        if let Some(id) = signalfd {
            self.descriptions.insert(id, number);
        }
        Ok(OpenResult::ThisScheme { number, flags })
    }

    fn read(&mut self, id: usize, buf: &mut [u8], offset: u64, flags: u32, ctx: &CallerCtx) -> Result<usize> {
        if let Handle::Text(_, text) = self.handle(id)? {
            let rest = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)).unwrap_or(&[]);
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            return Ok(len);
        }
        if let Handle::Signalfd(signalfd, _) = *self.handle(id)? {
            refuse_position(offset)?;
            return self.read_signals(signalfd, buf, blocking(flags) == Blocking::Never, ctx);
        }
        let eventfd = self.eventfd(id, O_RDONLY)?;
        refuse_position(offset)?;
        let progress = self.eventfds.read(eventfd, buf.len(), blocking(flags), ctx.id, &mut self.effects);
        put_value(buf, self.finish(progress)?)
    }

    fn write(&mut self, id: usize, buf: &[u8], offset: u64, flags: u32, ctx: &CallerCtx) -> Result<usize> {
        match self.handle(id)? {
            Handle::News => return Ok(self.hear(buf)),
            // Semantics 75 and 76.
            Handle::Signalfd(..) => return refuse_position(offset).and(Err(Error::new(EINVAL))),
            _ => {}
        }
        let eventfd = self.eventfd(id, O_WRONLY)?;
        refuse_position(offset)?;
        let progress = self.eventfds.write(eventfd, buf, blocking(flags), ctx.id, &mut self.effects);
        self.finish(progress)?;
        Ok(buf.len())
    }

    fn fsize(&mut self, id: usize, _ctx: &CallerCtx) -> Result<u64> {
        match self.handle(id)? {
            Handle::Text(_, text) => Ok(text.len() as u64),
            Handle::Semaphore(_) => Ok(Page::SIZE as u64),
            _ => Ok(0),
        }
    }

    /// The kernel keeps the flags and sends them with every read and write; here it only asks whether we agree. Clients that map a counter see O_NONBLOCK
    /// in its cell.
    fn fcntl(&mut self, id: usize, command: usize, argument: usize, _ctx: &CallerCtx) -> Result<usize> {
        if let (&Handle::Eventfd { id, .. }, F_SETFL) = (self.handle(id)?, command) {
            self.eventfds.set_nonblocking(id, argument & O_NONBLOCK != 0).map_err(errno)?;
        }
        Ok(0)
    }

    /// The kernel sends the union of what all event queues want, but two of its CPUs can send theirs in the wrong order. So an interest is never forgotten: an
    /// announcement too many is dropped by the kernel, one too few leaves somebody asleep.
    fn fevent(&mut self, id: usize, flags: EventFlags, ctx: &CallerCtx) -> Result<EventFlags> {
        if let Handle::Signalfd(signalfd, _) = *self.handle(id)? {
            return self.poll_signals(signalfd, flags, ctx);
        }
        match self.handles.get_mut(id).ok_or(Error::new(EBADF))? {
            Handle::Eventfd { id: eventfd, interest, .. } => {
                let asked = Readiness {
                    readable: flags.contains(EventFlags::EVENT_READ),
                    writable: flags.contains(EventFlags::EVENT_WRITE),
                };
                *interest = *interest | asked;
                let ready = self.eventfds.watch(*eventfd, id, *interest).map_err(errno)?;
                Ok(event_flags(ready & asked))
            }
            // Reading these never waits.
            Handle::Text(..) | Handle::Directory(_) | Handle::Semaphore(_) => Ok(flags),
            _ => Err(Error::new(EBADF)),
        }
    }

    fn call(&mut self, id: usize, _payload: &mut [u8], metadata: &[u64], ctx: &CallerCtx) -> Result<usize> {
        match (self.handle(id)?, metadata) {
            // Whoever holds the descriptor may do this (semantics 73); who calls does not matter.
            (&Handle::Signalfd(signalfd, _), &[SET_MASK, mask, ..]) => self.set_mask(signalfd, mask),
            // For whoever can map the counter.
            (_, &[TELL, ..]) => {
                let eventfd = self.whole_eventfd(id)?;
                self.eventfds.look(eventfd, &mut self.effects).map_err(errno)?;
                Ok(0)
            }
            (&Handle::Signalfd(signalfd, _), &[READINESS, ..]) => {
                Ok(event_flags(self.signal_readiness(signalfd, ctx)?).bits())
            }
            (&Handle::Eventfd { id: eventfd, .. }, &[READINESS, ..]) => {
                let eventfd = self.eventfds.get(eventfd).ok_or(Error::new(EBADF))?;
                Ok(event_flags(eventfd.counter().readiness()).bits())
            }
            _ => Err(Error::new(EOPNOTSUPP)),
        }
    }

    fn fpath(&mut self, id: usize, buf: &mut [u8], _ctx: &CallerCtx) -> Result<usize> {
        let path = match self.handle(id)? {
            Handle::Root => Node::Root.path(),
            Handle::Look(node)
            | Handle::Directory(node)
            | Handle::Text(node, _)
            | Handle::Eventfd { node, .. }
            | Handle::Signalfd(_, node) => node.path(),
            Handle::News => "/news".into(),
            Handle::Semaphore(id) => {
                let semaphore = self.semaphores.get(*id).ok_or(Error::new(EBADF))?;
                Node::Semaphore(Rc::clone(semaphore.name())).path()
            }
        };
        let path = format!("/scheme/{}{path}", crate::NAME);
        let len = path.len().min(buf.len());
        buf[..len].copy_from_slice(&path.as_bytes()[..len]);
        Ok(len)
    }

    fn fstat(&mut self, id: usize, stat: &mut Stat, _ctx: &CallerCtx) -> Result<()> {
        *stat = Stat { st_nlink: 1, st_uid: self.host.uid, st_gid: self.host.gid, ..Stat::default() };
        match self.handle(id)? {
            Handle::Root => stat.st_mode = Node::Root.mode(),
            Handle::Look(Node::Semaphore(name)) => describe(self.semaphore(name)?.1, stat),
            Handle::Look(Node::SemaphorePage(name)) => {
                let (id, semaphore) = self.semaphore(name)?;
                describe_page(id, semaphore, stat);
            }
            Handle::Look(node) | Handle::Directory(node) => stat.st_mode = node.mode(),
            Handle::Text(node, text) => {
                stat.st_mode = node.mode();
                stat.st_size = text.len() as u64;
            }
            Handle::Eventfd { id, .. } => {
                // Semantics 13: permissions without a file type.
                stat.st_mode = 0o600;
                if let Some(eventfd) = self.eventfds.get(*id) {
                    stat.st_uid = eventfd.owner().uid;
                    stat.st_gid = eventfd.owner().gid;
                }
            }
            Handle::Signalfd(id, _) => {
                // As an eventfd.
                stat.st_mode = 0o600;
                if let Some(signalfd) = self.signalfds.get(*id) {
                    stat.st_uid = signalfd.owner().uid;
                    stat.st_gid = signalfd.owner().gid;
                }
            }
            Handle::News => {}
            Handle::Semaphore(id) => describe_page(*id, self.semaphores.get(*id).ok_or(Error::new(EBADF))?, stat),
        }
        Ok(())
    }

    fn fsync(&mut self, id: usize, _ctx: &CallerCtx) -> Result<()> {
        match self.handle(id)? {
            Handle::Eventfd { .. } | Handle::Signalfd(..) => Err(Error::new(EINVAL)), // semantics 17
            _ => Ok(()),
        }
    }

    fn ftruncate(&mut self, id: usize, _len: u64, _ctx: &CallerCtx) -> Result<()> {
        self.handle(id).and(Err(Error::new(EINVAL))) // semantics 17
    }

    fn futimens(&mut self, id: usize, _times: &[syscall::TimeSpec], _ctx: &CallerCtx) -> Result<()> {
        self.handle(id).and(Err(Error::new(EOPNOTSUPP)))
    }

    fn getdents<'buf>(
        &mut self,
        id: usize,
        mut buf: DirentBuf<&'buf mut [u8]>,
        opaque: u64,
    ) -> Result<DirentBuf<&'buf mut [u8]>> {
        let entries: Box<dyn Iterator<Item = (Cow<'static, str>, DirentKind, u64)> + '_> = match self.directory(id)? {
            // By number, so that listing goes on where it was while names come and go.
            Node::Semaphores => {
                Box::new(self.semaphores.after(opaque).filter(|(_, semaphore)| semaphore.is_linked()).map(
                    |(id, semaphore)| (node::encode_name(semaphore.name()).into(), DirentKind::Regular, id.number()),
                ))
            }
            node => {
                let start = usize::try_from(opaque).map_err(|_| Error::new(EINVAL))?;
                let entries = node.entries().get(start..).unwrap_or(&[]);
                // `opaque` is the client's choice; if there are entries behind it, it is small.
                Box::new(
                    entries
                        .iter()
                        .zip(opaque.saturating_add(1)..)
                        .map(|(&(name, kind), next)| (name.into(), kind, next)),
                )
            }
        };
        let mut fitted = false;
        for (name, kind, next_opaque_id) in entries {
            match buf.entry(DirEntry { inode: 0, next_opaque_id, name: &name, kind }) {
                Ok(()) => fitted = true,
                // The entries that did not fit are read with the next call; a buffer too small for any is the caller's mistake.
                Err(_) if fitted => break,
                Err(error) => return Err(error),
            }
        }
        Ok(buf)
    }

    fn unlinkat(&mut self, dirfd: usize, path: &str, flags: usize, ctx: &CallerCtx) -> Result<()> {
        match self.directory(dirfd)?.walk(path)? {
            Node::Semaphore(_) if flags & AT_REMOVEDIR != 0 => Err(Error::new(ENOTDIR)),
            Node::Semaphore(name) => self.semaphores.unlink(&name, identity(ctx)).map_err(errno),
            Node::NewSemaphore(..) => Err(Error::new(ENOENT)),
            _ => Err(Error::new(EPERM)),
        }
    }

    fn mmap_prep(&mut self, id: usize, offset: u64, size: usize, flags: MapFlags, _ctx: &CallerCtx) -> Result<usize> {
        let address = self.page(id, offset)?.address();
        // The kernel cannot serve a private mapping of a scheme's page: its client would hang at the first write.
        if size > Page::SIZE || !flags.contains(MapFlags::MAP_SHARED) {
            return Err(Error::new(EINVAL));
        }
        if flags.contains(MapFlags::PROT_EXEC) {
            return Err(Error::new(EACCES));
        }
        Ok(address)
    }

    /// The kernel says this also of a process that was killed, once none of its threads runs any more.
    fn munmap(&mut self, id: usize, _offset: u64, _size: usize, _flags: MunmapFlags, _ctx: &CallerCtx) -> Result<()> {
        if let Handle::Eventfd { id, .. } = *self.handle(id)? {
            self.eventfds.left(id, &mut self.effects).map_err(errno)?;
        }
        Ok(())
    }

    fn on_close(&mut self, id: usize) {
        match self.handles.try_remove(id) {
            Some(Handle::Eventfd { id, .. }) => self.close_eventfd(id),
            Some(Handle::Semaphore(id)) => self.semaphores.close(id),
            Some(Handle::Signalfd(id, _)) => {
                self.descriptions.remove(&id);
                self.close_signalfd(id);
            }
            _ => {}
        }
    }
}

/// Why there is no memory to map: the engine says no, or the system has no page.
struct Failure(Error);

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self(errno(error))
    }
}

fn identity(ctx: &CallerCtx) -> Identity {
    Identity { uid: ctx.uid, gid: ctx.gid }
}

/// What `ls -l` shows of a semaphore.
fn describe(semaphore: &Semaphore<Page>, stat: &mut Stat) {
    stat.st_mode = MODE_FILE | semaphore.mode();
    stat.st_nlink = u32::from(semaphore.is_linked());
    stat.st_uid = semaphore.owner().uid;
    stat.st_gid = semaphore.owner().gid;
}

/// A page has the number by which clients tell semaphores apart.
fn describe_page(id: SemaphoreId, semaphore: &Semaphore<Page>, stat: &mut Stat) {
    describe(semaphore, stat);
    stat.st_ino = id.number();
    stat.st_size = Page::SIZE as u64;
}

/// The offset of a read or write that names no position, on a description that has none. Only pread and pwrite name one (semantics 15).
const NO_POSITION: u64 = u64::MAX;

fn refuse_position(offset: u64) -> Result<()> {
    if offset == NO_POSITION { Ok(()) } else { Err(Error::new(ESPIPE)) }
}

fn blocking(flags: u32) -> Blocking {
    if flags as usize & O_NONBLOCK == 0 { Blocking::Wait } else { Blocking::Never }
}

fn put_value(buf: &mut [u8], value: u64) -> Result<usize> {
    let (head, _) = buf.split_first_chunk_mut().ok_or(Error::new(EINVAL))?;
    *head = value.to_ne_bytes();
    Ok(head.len())
}

fn answer_read(mut op: Op, value: u64) -> Response {
    let result = match &mut op {
        Op::Read(read) => put_value(read.buf(), value),
        _ => Err(Error::new(EINVAL)),
    };
    Response::new(result, op)
}

fn event_flags(readiness: Readiness) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::EVENT_READ, readiness.readable);
    flags.set(EventFlags::EVENT_WRITE, readiness.writable);
    flags
}

fn errno(error: engine::Error) -> Error {
    Error::new(match error {
        engine::Error::Invalid => EINVAL,
        engine::Error::WouldBlock => EAGAIN,
        engine::Error::NoObject => EBADF,
        engine::Error::NotFound => ENOENT,
        engine::Error::Exists => EEXIST,
        engine::Error::NotPermitted => EACCES,
    })
}

#[cfg(test)]
mod tests {
    use redox_scheme::Id;

    use super::{Handle, SharedCell};
    use crate::engine::Eventfd;

    /// What there is of a counter that nobody maps, polls or waits for.
    #[test]
    fn an_idle_counter_is_small() {
        assert!(size_of::<Eventfd<Id, SharedCell>>() + size_of::<Handle>() <= 512);
    }
}
