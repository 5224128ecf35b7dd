//! One counter, and what can be asked of it.

use std::cell::RefCell;
use std::fmt::{self, Debug, Formatter};
use std::ops::Deref;
use std::rc::Rc;

use eventd::engine::{Blocking, Effect, Error, EventfdId, Eventfds, MAX, Mode, Owner, Parked, Progress, Readiness};
use eventd_shim::cell::Cell;

pub(crate) const OWNER: Owner = Owner { pid: 1, uid: 1000, gid: 1000 };
pub(crate) const BOTH: Readiness = Readiness { readable: true, writable: true };
pub(crate) const READABLE: Readiness = Readiness { readable: true, writable: false };
pub(crate) const WRITABLE: Readiness = Readiness { readable: false, writable: true };

pub(crate) type Ticket = u32;

type Haunt = Box<dyn FnMut(&Cell)>;

/// What clients map. Whatever haunts it does something each time before the engine takes a step in it.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) cell: Rc<Cell>,
    haunt: Rc<RefCell<Option<Haunt>>>,
}

impl Page {
    pub(crate) fn haunt(&self, haunt: impl FnMut(&Cell) + 'static) {
        *self.haunt.borrow_mut() = Some(Box::new(haunt));
    }
}

impl Deref for Page {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        if let Some(haunt) = &mut *self.haunt.borrow_mut() {
            haunt(&self.cell);
        }
        &self.cell
    }
}

impl Debug for Page {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.cell.fmt(f)
    }
}

/// One counter and the effects of the last request on it.
pub(crate) struct Bench {
    pub(crate) eventfds: Eventfds<Ticket, Page>,
    pub(crate) id: EventfdId,
    pub(crate) effects: Vec<Effect<Ticket>>,
}

impl Bench {
    pub(crate) fn new(initval: u32, mode: Mode) -> Self {
        let mut eventfds = Eventfds::default();
        let id = eventfds.create(initval, mode, OWNER);
        Self { eventfds, id, effects: Vec::new() }
    }

    pub(crate) fn counter(initval: u32) -> Self {
        Self::new(initval, Mode::Counter)
    }

    pub(crate) fn semaphore(initval: u32) -> Self {
        Self::new(initval, Mode::Semaphore)
    }

    /// A counter or semaphore without room.
    pub(crate) fn full(mode: Mode) -> Self {
        let mut bench = Self::new(0, mode);
        bench.put(MAX);
        bench
    }

    pub(crate) fn read(&mut self, blocking: Blocking, ticket: Ticket) -> Result<Progress<u64>, Error> {
        self.effects.clear();
        self.eventfds.read(self.id, 8, blocking, ticket, &mut self.effects)
    }

    pub(crate) fn write(&mut self, value: u64, blocking: Blocking, ticket: Ticket) -> Result<Progress<()>, Error> {
        self.effects.clear();
        self.eventfds.write(self.id, &value.to_ne_bytes(), blocking, ticket, &mut self.effects)
    }

    /// A read that does not wait.
    pub(crate) fn take(&mut self) -> Result<u64, Error> {
        self.read(Blocking::Never, 0).map(|progress| match progress {
            Progress::Done(value) => value,
            Progress::Parked(_) => panic!("parked a read that must not wait"),
        })
    }

    /// A write for which there is room.
    pub(crate) fn put(&mut self, value: u64) {
        assert_eq!(self.write(value, Blocking::Never, 0), Ok(Progress::Done(())), "write {value}");
    }

    pub(crate) fn park_read(&mut self, ticket: Ticket) -> Parked {
        match self.read(Blocking::Wait, ticket) {
            Ok(Progress::Parked(parked)) => parked,
            other => panic!("read {ticket} does not wait: {other:?}"),
        }
    }

    pub(crate) fn park_write(&mut self, value: u64, ticket: Ticket) -> Parked {
        match self.write(value, Blocking::Wait, ticket) {
            Ok(Progress::Parked(parked)) => parked,
            other => panic!("write {ticket} of {value} does not wait: {other:?}"),
        }
    }

    pub(crate) fn watch(&mut self, interest: Readiness) -> Readiness {
        self.eventfds.watch(self.id, 77, interest).unwrap()
    }

    /// What clients map.
    pub(crate) fn share(&mut self) -> Page {
        self.eventfds.share(self.id, || Ok::<_, Error>(Page::default())).unwrap().clone()
    }

    /// A client tells of a change.
    pub(crate) fn look(&mut self) {
        self.effects.clear();
        self.eventfds.look(self.id, &mut self.effects).unwrap();
    }

    pub(crate) fn leave(&mut self) {
        self.effects.clear();
        self.eventfds.left(self.id, &mut self.effects).unwrap();
    }

    pub(crate) fn close(&mut self) {
        self.effects.clear();
        self.eventfds.close(self.id, &mut self.effects);
    }

    pub(crate) fn count(&self) -> u64 {
        self.eventfds.get(self.id).unwrap().counter().count()
    }

    /// How many readers and how many writers wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let eventfd = self.eventfds.get(self.id).unwrap();
        (eventfd.waiting_readers(), eventfd.waiting_writers())
    }
}

pub(crate) fn reads(tickets: &[(Ticket, u64)]) -> Vec<Effect<Ticket>> {
    tickets.iter().map(|&(ticket, value)| Effect::Read { ticket, value }).collect()
}

pub(crate) fn written(tickets: &[Ticket]) -> Vec<Effect<Ticket>> {
    tickets.iter().map(|&ticket| Effect::Written { ticket }).collect()
}

pub(crate) fn dropped(tickets: &[Ticket]) -> Vec<Effect<Ticket>> {
    tickets.iter().map(|&ticket| Effect::Dropped { ticket }).collect()
}

pub(crate) fn ready(readiness: Readiness) -> Vec<Effect<Ticket>> {
    vec![Effect::Ready { description: 77, readiness }]
}

pub(crate) struct Xorshift(pub(crate) u64);

impl Xorshift {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn value(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 1,
            2 => MAX - self.below(4),
            3 => MAX / 2 + self.below(3),
            _ => self.below(6),
        }
    }
}
