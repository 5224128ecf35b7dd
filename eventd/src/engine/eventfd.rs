//! eventfd objects: a counter, who waits for it, who watches it.

use std::collections::BTreeSet;

use slab::Slab;

use super::wait::{Place, WaitList};
use super::{Blocking, Counter, Effect, Error, Mode, Progress, Readiness};

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

    /// Takes the longest waiting writer whose value is at most `room`, looking only at those who came after `tried`.
    fn next_fitting(&mut self, room: u64, tried: &mut Option<Place>) -> Option<(T, u64)> {
        if self.values.first().is_none_or(|(smallest, _)| *smallest > room) {
            return None;
        }
        while let Some((place, &(_, value))) = self.list.after(*tried) {
            *tried = Some(place);
            if value <= room {
                return self.leave(place);
            }
        }
        None
    }

    fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.values.clear();
        self.list.drain().map(|(ticket, _)| ticket)
    }
}

/// One eventfd. `T` is the ticket by which the caller knows a parked request.
#[derive(Debug)]
pub struct Eventfd<T> {
    counter: Counter,
    owner: Owner,
    /// Never holds anybody while the count is above zero.
    readers: WaitList<T>,
    /// Never holds a value for which there is room.
    writers: Writers<T>,
    watch: Option<Watch>,
}

impl<T: Copy> Eventfd<T> {
    fn new(counter: Counter, owner: Owner) -> Self {
        Self { counter, owner, readers: WaitList::new(), writers: Writers::new(), watch: None }
    }

    /// The counter.
    #[must_use]
    pub fn counter(&self) -> Counter {
        self.counter
    }

    /// Who created it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// How many reads wait.
    #[must_use]
    pub fn waiting_readers(&self) -> usize {
        self.readers.len()
    }

    /// How many writes wait.
    #[must_use]
    pub fn waiting_writers(&self) -> usize {
        self.writers.list.len()
    }

    /// Answers all who can be answered, then announces the readiness that is left.
    ///
    /// Readers wait at zero, where there is room for every writer: so there are never both, and nobody who is answered here makes way for another kind.
    fn settle(&mut self, effects: &mut Vec<Effect<T>>, totals: &mut Totals) {
        while let Some(first) = self.readers.first()
            && let Some(value) = self.counter.take()
        {
            effects.push(Effect::Read { ticket: first.remove(), value });
            totals.reads += 1;
        }
        totals.writes += self.admit_writers(effects);
        if let Some(watch) = self.watch {
            let readiness = self.counter.readiness() & watch.interest;
            if !readiness.is_none() {
                effects.push(Effect::Ready { description: watch.description, readiness });
            }
        }
    }

    /// Returns how many writers were admitted.
    fn admit_writers(&mut self, effects: &mut Vec<Effect<T>>) -> u64 {
        let mut tried = None;
        let mut admitted = 0;
        while let Some((ticket, value)) = self.writers.next_fitting(self.counter.room(), &mut tried) {
            if self.counter.add(value).is_ok() {
                effects.push(Effect::Written { ticket });
                admitted += 1;
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
    /// Reads that got a value.
    pub reads: u64,
    /// Writes that were added.
    pub writes: u64,
    /// Requests that had to wait.
    pub parked: u64,
}

/// The live eventfds.
#[derive(Debug)]
pub struct Eventfds<T> {
    live: Slab<Eventfd<T>>,
    totals: Totals,
}

impl<T: Copy> Default for Eventfds<T> {
    fn default() -> Self {
        Self { live: Slab::new(), totals: Totals::default() }
    }
}

impl<T: Copy> Eventfds<T> {
    /// Makes a new eventfd (semantics 1).
    pub fn create(&mut self, initval: u32, mode: Mode, owner: Owner) -> EventfdId {
        self.totals.created += 1;
        EventfdId(self.live.insert(Eventfd::new(Counter::new(initval, mode), owner)))
    }

    /// Ends `id`. Requests that still wait for it come back as [`Effect::Dropped`]: whoever made them holds no descriptor any more.
    pub fn close(&mut self, id: EventfdId, effects: &mut Vec<Effect<T>>) {
        let Some(mut eventfd) = self.live.try_remove(id.0) else { return };
        let waiting = eventfd.readers.drain().chain(eventfd.writers.drain());
        effects.extend(waiting.map(|ticket| Effect::Dropped { ticket }));
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
        if let Some(value) = eventfd.counter.take() {
            self.totals.reads += 1;
            eventfd.settle(effects, &mut self.totals);
            return Ok(Progress::Done(value));
        }
        if blocking == Blocking::Never {
            return Err(Error::WouldBlock);
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
        if value == u64::MAX {
            return Err(Error::Invalid);
        }
        if eventfd.counter.add(value).is_ok() {
            self.totals.writes += 1;
            eventfd.settle(effects, &mut self.totals);
            return Ok(Progress::Done(()));
        }
        if blocking == Blocking::Never {
            return Err(Error::WouldBlock);
        }
        self.totals.parked += 1;
        let place = eventfd.writers.join(ticket, value);
        Ok(Progress::Parked(Parked { eventfd: id, place, what: Waits::ToWrite(value) }))
    }

    /// Takes a parked request out of its wait list; it changes nothing then (semantics 57).
    ///
    /// Returns whether it still waited.
    pub fn cancel(&mut self, parked: Parked) -> bool {
        self.live.get_mut(parked.eventfd.0).is_some_and(|eventfd| match parked.what {
            Waits::ToRead => eventfd.readers.leave(parked.place).is_some(),
            Waits::ToWrite(_) => eventfd.writers.leave(parked.place).is_some(),
        })
    }

    /// From now on announces the readiness of `id` to `description`, as far as it is in `interest`, after each read and write; with an empty interest
    /// not any more. Returns what is ready now.
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn watch(&mut self, id: EventfdId, description: usize, interest: Readiness) -> Result<Readiness, Error> {
        let eventfd = self.live.get_mut(id.0).ok_or(Error::NoObject)?;
        eventfd.watch = (!interest.is_none()).then_some(Watch { description, interest });
        Ok(eventfd.counter.readiness() & interest)
    }

    /// A live eventfd.
    #[must_use]
    pub fn get(&self, id: EventfdId) -> Option<&Eventfd<T>> {
        self.live.get(id.0)
    }

    /// All live eventfds, by number.
    pub fn iter(&self) -> impl Iterator<Item = (EventfdId, &Eventfd<T>)> {
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

    /// What happened since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}
