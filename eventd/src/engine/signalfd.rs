//! signalfd objects: a mask, and the processes that use them.
//!
//! Signals are not kept here. They stay pending in their process until a read takes them there, for the process that reads (semantics 93). So a signalfd knows
//! who has to be told when a process gets a signal, and nothing of signals.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use super::wait::{Place, WaitList};
use super::{Effect, Error, Owner};

/// A set of signals: bit `n - 1` is signal `n`.
pub type SignalSet = u64;

/// SIGKILL and SIGSTOP, which no signalfd receives (semantics 68).
const NEVER: SignalSet = 1 << (9 - 1) | 1 << (19 - 1);

/// Names a live signalfd of a [`Signalfds`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SignalfdId(usize);

impl SignalfdId {
    /// The number that lists show.
    #[must_use]
    pub fn number(self) -> usize {
        self.0
    }
}

/// Where a parked read waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ParkedRead {
    signalfd: SignalfdId,
    pid: usize,
    place: Place,
}

impl ParkedRead {
    /// The object that the read waits for.
    #[must_use]
    pub fn signalfd(&self) -> SignalfdId {
        self.signalfd
    }
}

/// A process that has used a signalfd: its signals matter until the signalfd is closed, or it ends.
#[derive(Debug)]
struct User<T> {
    waiting: WaitList<T>,
    polls: bool,
}

impl<T> User<T> {
    fn new() -> Self {
        Self { waiting: WaitList::new(), polls: false }
    }
}

/// One signalfd. `T` is the ticket by which the caller knows a parked read.
#[derive(Debug)]
pub struct Signalfd<T> {
    mask: SignalSet,
    owner: Owner,
    users: BTreeMap<usize, User<T>>,
}

impl<T> Signalfd<T> {
    /// The signals that it receives.
    #[must_use]
    pub fn mask(&self) -> SignalSet {
        self.mask
    }

    /// Who created it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// How many reads wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.users.values().map(|user| user.waiting.len()).sum()
    }

    /// The processes that have used it.
    pub fn users(&self) -> impl Iterator<Item = usize> {
        self.users.keys().copied()
    }

    /// Whether `pid` wants to hear of readiness.
    #[must_use]
    pub fn is_polled_by(&self, pid: usize) -> bool {
        self.users.get(&pid).is_some_and(|user| user.polls)
    }
}

/// The live signalfds.
#[derive(Debug)]
pub struct Signalfds<T> {
    live: Slab<Signalfd<T>>,
    /// The signalfds that each process has used, so that news of a process costs what concerns it.
    used: BTreeMap<usize, BTreeSet<SignalfdId>>,
    created: u64,
}

impl<T> Default for Signalfds<T> {
    fn default() -> Self {
        Self { live: Slab::new(), used: BTreeMap::new(), created: 0 }
    }
}

impl<T: Copy> Signalfds<T> {
    /// Makes a signalfd for `mask`, which its creator uses from then on: what is sent to it before its first read must not be lost (semantics 105).
    pub fn create(&mut self, mask: SignalSet, owner: Owner) -> SignalfdId {
        self.created += 1;
        let id = SignalfdId(self.live.insert(Signalfd { mask: mask & !NEVER, owner, users: BTreeMap::new() }));
        self.enter(id, owner.pid);
        id
    }

    /// `pid` uses `id`. Returns whether that is new.
    pub fn enter(&mut self, id: SignalfdId, pid: usize) -> bool {
        let Some(signalfd) = self.live.get_mut(id.0) else { return false };
        signalfd.users.entry(pid).or_insert_with(User::new);
        self.used.entry(pid).or_default().insert(id)
    }

    /// Replaces the mask (semantics 70).
    ///
    /// # Errors
    /// [`Error::NoObject`].
    pub fn set_mask(&mut self, id: SignalfdId, mask: SignalSet) -> Result<(), Error> {
        self.live.get_mut(id.0).ok_or(Error::NoObject)?.mask = mask & !NEVER;
        Ok(())
    }

    /// The signals of `pid` that matter to any signalfd.
    #[must_use]
    pub fn interest(&self, pid: usize) -> SignalSet {
        self.used_by(pid).filter_map(|id| self.get(id)).fold(0, |set, signalfd| set | signalfd.mask)
    }

    /// The signalfds that `pid` has used.
    pub fn used_by(&self, pid: usize) -> impl Iterator<Item = SignalfdId> {
        self.used.get(&pid).into_iter().flatten().copied()
    }

    /// Lets a read of `pid` wait; it comes back with [`Self::waiting`].
    ///
    /// # Errors
    /// [`Error::NoObject`], also if `pid` has not [entered](Self::enter).
    pub fn park(&mut self, id: SignalfdId, pid: usize, ticket: T) -> Result<ParkedRead, Error> {
        let user = self.live.get_mut(id.0).and_then(|signalfd| signalfd.users.get_mut(&pid)).ok_or(Error::NoObject)?;
        Ok(ParkedRead { signalfd: id, pid, place: user.waiting.join(ticket) })
    }

    /// Takes a parked read out of its wait list. Returns whether it still waited.
    pub fn leave(&mut self, parked: ParkedRead) -> bool {
        let signalfd = self.live.get_mut(parked.signalfd.0);
        let user = signalfd.and_then(|signalfd| signalfd.users.get_mut(&parked.pid));
        user.is_some_and(|user| user.waiting.leave(parked.place).is_some())
    }

    /// The reads of `pid` that wait for `id`, in order of arrival.
    #[must_use]
    pub fn waiting(&mut self, id: SignalfdId, pid: usize) -> Vec<T> {
        let user = self.live.get_mut(id.0).and_then(|signalfd| signalfd.users.get_mut(&pid));
        user.map_or_else(Vec::new, |user| user.waiting.iter().copied().collect())
    }

    /// From now on `pid` wants to hear of readiness.
    ///
    /// # Errors
    /// [`Error::NoObject`], also if `pid` has not [entered](Self::enter).
    pub fn poll(&mut self, id: SignalfdId, pid: usize) -> Result<(), Error> {
        let user = self.live.get_mut(id.0).and_then(|signalfd| signalfd.users.get_mut(&pid)).ok_or(Error::NoObject)?;
        user.polls = true;
        Ok(())
    }

    /// Ends `id`. Reads that still wait come back as [`Effect::Dropped`]; the processes that used it are returned.
    pub fn close(&mut self, id: SignalfdId, effects: &mut Vec<Effect<T>>) -> Vec<usize> {
        let Some(mut signalfd) = self.live.try_remove(id.0) else { return Vec::new() };
        for (pid, user) in &mut signalfd.users {
            effects.extend(user.waiting.drain().map(|ticket| Effect::Dropped { ticket }));
            self.forget_use(*pid, id);
        }
        signalfd.users.into_keys().collect()
    }

    /// A process has ended: nothing is left of it. Its reads, if the kernel has not cancelled them, come back as [`Effect::Dropped`].
    pub fn ended(&mut self, pid: usize, effects: &mut Vec<Effect<T>>) {
        for id in self.used.remove(&pid).into_iter().flatten() {
            if let Some(mut user) = self.live.get_mut(id.0).and_then(|signalfd| signalfd.users.remove(&pid)) {
                effects.extend(user.waiting.drain().map(|ticket| Effect::Dropped { ticket }));
            }
        }
    }

    fn forget_use(&mut self, pid: usize, id: SignalfdId) {
        if let Some(used) = self.used.get_mut(&pid) {
            used.remove(&id);
            if used.is_empty() {
                self.used.remove(&pid);
            }
        }
    }

    /// A live signalfd.
    #[must_use]
    pub fn get(&self, id: SignalfdId) -> Option<&Signalfd<T>> {
        self.live.get(id.0)
    }

    /// All live signalfds, by number.
    pub fn iter(&self) -> impl Iterator<Item = (SignalfdId, &Signalfd<T>)> {
        self.live.iter().map(|(number, signalfd)| (SignalfdId(number), signalfd))
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

    /// How many there have been.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    /// How many processes are watched.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Error, Owner, Signalfds};

    fn owner(pid: usize) -> Owner {
        Owner { pid, uid: 7, gid: 7 }
    }

    #[test]
    fn the_interest_in_a_process_is_the_union_of_what_it_uses() {
        let mut signalfds = Signalfds::<u32>::default();
        let first = signalfds.create(0b0101, owner(1));
        let second = signalfds.create(0b1000, owner(2));
        assert_eq!((signalfds.interest(1), signalfds.interest(2), signalfds.interest(3)), (0b0101, 0b1000, 0));
        assert!(signalfds.enter(second, 1));
        assert!(!signalfds.enter(second, 1));
        assert_eq!(signalfds.interest(1), 0b1101);
        assert_eq!(signalfds.set_mask(first, 0b0010), Ok(()));
        assert_eq!(signalfds.interest(1), 0b1010);
        let mut users = signalfds.close(second, &mut Vec::new());
        users.sort_unstable();
        assert_eq!(users, [1, 2]);
        assert_eq!((signalfds.interest(1), signalfds.interest(2), signalfds.processes()), (0b0010, 0, 1));
    }

    #[test]
    fn kill_and_stop_are_dropped_68() {
        let mut signalfds = Signalfds::<u32>::default();
        let id = signalfds.create(u64::MAX, owner(1));
        let without = !(1 << 8 | 1 << 18);
        assert_eq!(signalfds.get(id).map(super::Signalfd::mask), Some(without));
        assert_eq!(signalfds.set_mask(id, 1 << 8 | 1), Ok(()));
        assert_eq!(signalfds.interest(1), 1);
    }

    #[test]
    fn reads_wait_per_process_in_order_of_arrival() {
        let mut signalfds = Signalfds::default();
        let id = signalfds.create(1, owner(1));
        signalfds.enter(id, 2);
        assert_eq!(signalfds.park(id, 3, 0), Err(Error::NoObject));
        let parked = [(1, 10), (2, 20), (1, 11), (1, 12)].map(|(pid, ticket)| signalfds.park(id, pid, ticket));
        assert_eq!(signalfds.waiting(id, 1), [10, 11, 12]);
        assert!(parked[2].is_ok_and(|parked| signalfds.leave(parked) && !signalfds.leave(parked)));
        assert_eq!(signalfds.waiting(id, 1), [10, 12]);
        assert_eq!(signalfds.waiting(id, 2), [20]);
        assert_eq!(signalfds.get(id).map(super::Signalfd::waiting), Some(3));
    }

    #[test]
    fn nothing_is_left_of_a_process_that_ended() {
        let mut signalfds = Signalfds::default();
        let id = signalfds.create(1, owner(1));
        signalfds.enter(id, 2);
        assert!(signalfds.park(id, 2, 20).is_ok());
        assert_eq!(signalfds.poll(id, 2), Ok(()));
        let mut effects = Vec::new();
        signalfds.ended(2, &mut effects);
        assert_eq!(effects, [Effect::Dropped { ticket: 20 }]);
        assert_eq!(signalfds.interest(2), 0);
        assert!(signalfds.get(id).is_some_and(|signalfd| signalfd.users().eq([1]) && !signalfd.is_polled_by(2)));
    }
}
