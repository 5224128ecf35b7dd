//! eventfd objects: a counter, who waits for it, who watches it.

use std::collections::BTreeSet;
use std::ops::Deref;

use eventd_shim::cell::{Cell, Interest, Refused, Side};
use slab::Slab;

use super::wait::{Place, WaitList};
use super::{Blocking, Counter, Effect, Error, Mode, Progress, Readiness, Sleepers};

/// Names a live eventfd of an [`Eventfds`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventfdId(usize);

impl EventfdId {
    /// The number that lists show.
    #[must_use]
    pub fn number(self) -> usize {
        self.0
    }
}

/// Who created an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Process id.
    pub pid: usize,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Where a parked request waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parked {
    eventfd: EventfdId,
    place: Place,
    what: Waits,
}

impl Parked {
    /// The object that the request waits for.
    #[must_use]
    pub fn eventfd(&self) -> EventfdId {
        self.eventfd
    }

    /// The value that a write waits to add; a read waits for any.
    #[must_use]
    pub fn value(&self) -> Option<u64> {
        match self.what {
            Waits::ToRead => None,
            Waits::ToWrite(value) => Some(value),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    ToRead,
    ToWrite(u64),
}

/// Someone who wants to hear of readiness.
#[derive(Clone, Copy, Debug)]
struct Watch {
    description: usize,
    interest: Readiness,
}

/// Blocked writers, in order of arrival, and the smallest value among them.
#[derive(Debug)]
struct Writers<T> {
    list: WaitList<(T, u64)>,
    values: BTreeSet<(u64, Place)>,
}

impl<T: Copy> Writers<T> {
    fn new() -> Self {
        Self { list: WaitList::new(), values: BTreeSet::new() }
    }

    fn join(&mut self, ticket: T, value: u64) -> Place {
        let place = self.list.join((ticket, value));
        self.values.insert((value, place));
        place
    }

    fn leave(&mut self, place: Place) -> Option<(T, u64)> {
        let (ticket, value) = self.list.leave(place)?;
        self.values.remove(&(value, place));
        Some((ticket, value))
    }

    /// The longest waiting writer whose value is at most `room`, among those who came after `tried`.
    fn next_fitting(&mut self, room: u64, tried: &mut Option<Place>) -> Option<(Place, u64)> {
        if self.values.first().is_none_or(|(smallest, _)| *smallest > room) {
            return None;
        }
        while let Some((place, &(_, value))) = self.list.after(*tried) {
            *tried = Some(place);
            if value <= room {
                return Some((place, value));
            }
        }
        None
    }

    fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.values.clear();
        self.list.drain().map(|(ticket, _)| ticket)
    }
}

/// Whom a change of the count concerns that sleeps in memory.
#[derive(Clone, Copy, Debug, Default)]
struct Asleep {
    readers: bool,
    writers: bool,
}

/// One eventfd. `T` is the ticket by which the caller knows a parked request, `P` what clients map.
///
/// While clients change the count by themselves, there may be something to read, or room, for those who are parked: until the clients have told, and
/// [`Eventfds::look`] has answered all for whom there is.
#[derive(Debug)]
pub struct Eventfd<T, P> {
    counter: Counter<P>,
    owner: Owner,
    readers: WaitList<T>,
    writers: Writers<T>,
    watch: Option<Watch>,
    /// What clients have been asked to tell.
    interest: Interest,
}

impl<T: Copy, P: Deref<Target = Cell>> Eventfd<T, P> {
    fn new(counter: Counter<P>, owner: Owner) -> Self {
        Self {
            counter,
            owner,
            readers: WaitList::new(),
            writers: Writers::new(),
            watch: None,
            interest: Interest::None,
        }
    }

    /// The counter.
    #[must_use]
    pub fn counter(&self) -> &Counter<P> {
        &self.counter
    }

    /// Who created it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// How many reads wait. Clients that sleep in memory are not among them.
    #[must_use]
    pub fn waiting_readers(&self) -> usize {
        self.readers.len()
    }

    /// How many writes wait. Clients that sleep in memory are not among them.
    #[must_use]
    pub fn waiting_writers(&self) -> usize {
        self.writers.list.len()
    }

    /// Tries what may have to be parked; nothing comes back if it has to be.
    ///
    /// Before that it is tried once more, after clients have been asked to tell: a change that was too late for this sees that it has to be told.
    fn attempt<R>(
        &mut self,
        blocking: Blocking,
        operation: impl Fn(&Cell) -> Result<R, Refused>,
    ) -> Result<Option<R>, Error> {
        match operation(self.counter.cell()) {
            Ok(done) => return Ok(Some(done)),
            Err(Refused::Invalid) => return Err(Error::Invalid),
            Err(Refused::WouldBlock | Refused::Contended | Refused::NotLive) => {}
        }
        if blocking == Blocking::Never {
            return Err(Error::WouldBlock);
        }
        self.listen(Interest::Parked);
        Ok(operation(self.counter.cell()).ok())
    }

    /// Asks clients to tell of what they change, or not to.
    fn listen(&mut self, interest: Interest) {
        self.interest = interest;
        self.counter.cell().set_interest(interest);
    }

    /// Spares clients from telling when nobody is left for whom it matters.
    fn stop_listening_for_nobody(&mut self) {
        let parked = self.readers.len() > 0 || self.writers.list.len() > 0;
        let wanted = match self.watch {
            _ if parked => Interest::Parked,
            Some(_) => Interest::Polled,
            None => Interest::None,
        };
        if self.interest != wanted {
            self.listen(wanted);
        }
    }

    /// Answers all who can be answered, has those woken who sleep for what has come about, and announces the readiness that is left.
    ///
    /// A reader can make room for writers, and a writer leave something for readers, so they take turns. Whatever clients do to the count meanwhile, each
    /// turn but the last answers somebody, and nobody new comes.
    fn settle(&mut self, id: EventfdId, asleep: Asleep, effects: &mut Vec<Effect<T>>, totals: &mut Totals) {
        self.answer(id, asleep, effects, totals);
        self.announce(effects);
    }

    /// Returns whether anybody was answered.
    fn answer(&mut self, id: EventfdId, mut asleep: Asleep, effects: &mut Vec<Effect<T>>, totals: &mut Totals) -> bool {
        let before = totals.reads + totals.writes;
        loop {
            totals.reads += self.answer_readers(&mut asleep, effects);
            let admitted = self.admit_writers(&mut asleep, effects);
            totals.writes += admitted;
            if admitted == 0 || self.readers.len() == 0 {
                break;
            }
        }
        self.stop_listening_for_nobody();
        for (sleep, sleepers) in [(asleep.readers, Sleepers::Readers), (asleep.writers, Sleepers::Writers)] {
            if sleep {
                effects.push(Effect::Wake { eventfd: id, sleepers });
            }
        }
        totals.reads + totals.writes > before
    }

    fn announce(&self, effects: &mut Vec<Effect<T>>) {
        if let Some(watch) = self.watch {
            let readiness = self.counter.readiness() & watch.interest;
            if !readiness.is_none() {
                effects.push(Effect::Ready { description: watch.description, readiness });
            }
        }
    }

    /// Returns how many readers were answered.
    fn answer_readers(&mut self, asleep: &mut Asleep, effects: &mut Vec<Effect<T>>) -> u64 {
        let mut answered = 0;
        while let Some(first) = self.readers.first()
            && let Ok((value, after)) = self.counter.cell().read(Side::Eventd)
        {
            effects.push(Effect::Read { ticket: first.remove(), value });
            asleep.writers |= after.wake;
            answered += 1;
        }
        answered
    }

    /// Returns how many writers were admitted.
    ///
    /// The room is only a hint, since clients can take it. It is not too old: who makes room tells afterwards.
    fn admit_writers(&mut self, asleep: &mut Asleep, effects: &mut Vec<Effect<T>>) -> u64 {
        let mut tried = None;
        let mut admitted = 0;
        while let Some((place, value)) = self.writers.next_fitting(self.counter.room(), &mut tried) {
            match self.counter.cell().write(value, Side::Eventd) {
                Ok(after) => {
                    asleep.readers |= after.wake;
                    admitted += 1;
                    effects.extend(self.writers.leave(place).map(|(ticket, _)| Effect::Written { ticket }));
                }
                // Whoever is so busy with the count tells.
                Err(Refused::Contended) => break,
                Err(_) => {}
            }
        }
        admitted
    }
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Eventfds created.
    pub created: u64,
    /// Reads that got a value here; clients that map the counter are not counted.
    pub reads: u64,
    /// Writes that were added here; clients that map the counter are not counted.
    pub writes: u64,
    /// Requests that had to wait.
    pub parked: u64,
}

/// The live eventfds.
#[derive(Debug)]
pub struct Eventfds<T, P> {
    live: Slab<Eventfd<T, P>>,
    shared: usize,
    totals: Totals,
}

impl<T, P> Default for Eventfds<T, P> {
    fn default() -> Self {
        Self { live: Slab::new(), shared: 0, totals: Totals::default() }
    }
}

impl<T: Copy, P: Deref<Target = Cell>> Eventfds<T, P> {
    /// Makes a new eventfd (semantics 1).
    pub fn create(&mut self, initval: u32, mode: Mode, owner: Owner) -> EventfdId {
        self.totals.created += 1;
        EventfdId(self.live.insert(Eventfd::new(Counter::new(initval, mode), owner)))
    }

    /// Ends `id`. Requests that still wait for it come back as [`Effect::Dropped`]: whoever made them holds no descriptor any more.
    ///
    /// What clients map comes back, if they do: who sleeps there is to be woken, to see that it has ended.
    pub fn close(&mut self, id: EventfdId, effects: &mut Vec<Effect<T>>) -> Option<P> {
        let mut eventfd = self.live.try_remove(id.0)?;
        let waiting = eventfd.readers.drain().chain(eventfd.writers.drain());
        effects.extend(waiting.map(|ticket| Effect::Dropped { ticket }));
        let shared = eventfd.counter.end()?;
        self.shared -= 1;
        Some(shared)
    }

    /// What clients can map. At first it is asked of `page`: memory that nobody else has, with a cell of zeros.
    ///
    /// # Errors
    /// [`Error::NoObject`], and what `page` fails with.
    pub fn share<E: From<Error>>(&mut self, id: EventfdId, page: impl FnOnce() -> Result<P, E>) -> Result<&P, E> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        if eventfd.counter.shared().is_none() {
            eventfd.counter.share(page()?, eventfd.interest);
            self.shared += 1;
        }
        eventfd.counter.shared().ok_or(Error::NoObject.into())
    }

    /// A client says that it has changed the count: answers all who can be answered now. Each time it is a change, also if the count is the same
    /// (semantics 48).
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn look(&mut self, id: EventfdId, effects: &mut Vec<Effect<T>>) -> Result<(), Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        eventfd.settle(id, Asleep::default(), effects, &mut self.totals);
        Ok(())
    }

    /// A client that had mapped the counter is gone. If it was killed it may have changed the count and not said so yet: who waits is answered, and who
    /// sleeps in memory is woken to look. To those who poll nothing is announced, unless somebody was answered: mostly nothing has changed, and it would be an
    /// edge.
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn left(&mut self, id: EventfdId, effects: &mut Vec<Effect<T>>) -> Result<(), Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        let asleep = |sleepers| eventfd.counter.gate(sleepers).may_have_sleepers();
        let asleep = Asleep { readers: asleep(Sleepers::Readers), writers: asleep(Sleepers::Writers) };
        if eventfd.answer(id, asleep, effects, &mut self.totals) {
            eventfd.announce(effects);
        }
        Ok(())
    }

    /// Sets or clears the O_NONBLOCK that clients see which map the counter. Requests say by themselves whether they wait.
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn set_nonblocking(&mut self, id: EventfdId, nonblocking: bool) -> Result<(), Error> {
        self.get(id).ok_or(Error::NoObject)?.counter.cell().set_nonblocking(nonblocking);
        Ok(())
    }

    /// Reads the count (semantics 18-24, 27).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a buffer of less than 8 bytes, [`Error::WouldBlock`] at zero without waiting, [`Error::NoObject`].
    pub fn read(
        &mut self,
        id: EventfdId,
        buffer_len: usize,
        blocking: Blocking,
        ticket: T,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<Progress<u64>, Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        if buffer_len < size_of::<u64>() {
            return Err(Error::Invalid);
        }
        if let Some((value, after)) = eventfd.attempt(blocking, |cell| cell.read(Side::Eventd))? {
            self.totals.reads += 1;
            eventfd.settle(id, Asleep { writers: after.wake, readers: false }, effects, &mut self.totals);
            return Ok(Progress::Done(value));
        }
        self.totals.parked += 1;
        let place = eventfd.readers.join(ticket);
        Ok(Progress::Parked(Parked { eventfd: id, place, what: Waits::ToRead }))
    }

    /// Adds the value in `buffer`, in the byte order of the machine (semantics 22, 31, 33-38).
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `buffer` is 8 bytes long and below 2^64-1, [`Error::WouldBlock`] without room and without waiting,
    /// [`Error::NoObject`].
    pub fn write(
        &mut self,
        id: EventfdId,
        buffer: &[u8],
        blocking: Blocking,
        ticket: T,
        effects: &mut Vec<Effect<T>>,
    ) -> Result<Progress<()>, Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        let value = u64::from_ne_bytes(buffer.try_into().map_err(|_| Error::Invalid)?);
        if let Some(after) = eventfd.attempt(blocking, |cell| cell.write(value, Side::Eventd))? {
            self.totals.writes += 1;
            eventfd.settle(id, Asleep { readers: after.wake, writers: false }, effects, &mut self.totals);
            return Ok(Progress::Done(()));
        }
        self.totals.parked += 1;
        let place = eventfd.writers.join(ticket, value);
        Ok(Progress::Parked(Parked { eventfd: id, place, what: Waits::ToWrite(value) }))
    }

    /// Takes a parked request out of its wait list; it changes nothing then (semantics 57).
    ///
    /// Returns whether it still waited.
    pub fn cancel(&mut self, parked: Parked) -> bool {
        self.live.get_mut(parked.eventfd.0).is_some_and(|eventfd| {
            let waited = match parked.what {
                Waits::ToRead => eventfd.readers.leave(parked.place).is_some(),
                Waits::ToWrite(_) => eventfd.writers.leave(parked.place).is_some(),
            };
            eventfd.stop_listening_for_nobody();
            waited
        })
    }

    /// From now on announces the readiness of `id` to `description`, as far as it is in `interest`, after each read and write, those
    /// included that clients tell of; with an empty interest not any more. Returns what is ready now.
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn watch(&mut self, id: EventfdId, description: usize, interest: Readiness) -> Result<Readiness, Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        eventfd.watch = (!interest.is_none()).then_some(Watch { description, interest });
        // Before the look at the count: a change that is too late for it is told.
        if eventfd.interest == Interest::None {
            eventfd.listen(Interest::Polled);
        }
        eventfd.stop_listening_for_nobody();
        Ok(eventfd.counter.readiness() & interest)
    }

    /// A live eventfd.
    #[must_use]
    pub fn get(&self, id: EventfdId) -> Option<&Eventfd<T, P>> {
        self.live.get(id.0)
    }

    /// All live eventfds, by number.
    pub fn iter(&self) -> impl Iterator<Item = (EventfdId, &Eventfd<T, P>)> {
        self.live.iter().map(|(number, eventfd)| (EventfdId(number), eventfd))
    }

    /// How many are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many are in memory that clients can map.
    #[must_use]
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// What happened since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
