//! Named semaphores: who made them, who may open them, how often they are open.
//!
//! What a semaphore counts in is a page, which is opaque here: clients map it and wait and post there by themselves.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::Error;

/// Names a live semaphore of a [`Semaphores`]. Numbers are never used again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SemaphoreId(u64);

impl SemaphoreId {
    /// The number that lists show, which is not 0.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// What somebody wants to do with a semaphore, as permission bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Look at it.
    Read = 4,
    /// Use it (semantics 145).
    ReadWrite = 6,
}

/// A named semaphore. `P` is its page.
#[derive(Debug)]
pub struct Semaphore<P> {
    name: Rc<[u8]>,
    owner: Identity,
    mode: u16,
    opens: usize,
    linked: bool,
    page: P,
}

impl<P> Semaphore<P> {
    /// The name that it was made with, without slashes.
    #[must_use]
    pub fn name(&self) -> &Rc<[u8]> {
        &self.name
    }

    /// Who made it (semantics 148).
    #[must_use]
    pub fn owner(&self) -> Identity {
        self.owner
    }

    /// Permission bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.mode
    }

    /// How many open descriptions it has; what is mapped counts as open.
    #[must_use]
    pub fn opens(&self) -> usize {
        self.opens
    }

    /// Whether it still has its name.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// What it counts in.
    #[must_use]
    pub fn page(&self) -> &P {
        &self.page
    }

    /// Whether the mode lets `who` in: by the bits of the first class that applies, as for files.
    #[must_use]
    pub fn permits(&self, who: Identity, access: Access) -> bool {
        let shift = match who {
            Identity { uid: 0, .. } => return true,
            Identity { uid, .. } if uid == self.owner.uid => 6,
            Identity { gid, .. } if gid == self.owner.gid => 3,
            _ => 0,
        };
        let wanted = access as u16;
        self.mode >> shift & wanted == wanted
    }
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct SemaphoreTotals {
    /// Semaphores made.
    pub created: u64,
    /// Opens of those that were there.
    pub opened: u64,
    /// Names taken away.
    pub unlinked: u64,
}

/// The live semaphores: those that have a name, and those that are open.
#[derive(Debug)]
pub struct Semaphores<P> {
    live: BTreeMap<SemaphoreId, Semaphore<P>>,
    by_name: BTreeMap<Rc<[u8]>, SemaphoreId>,
    last: u64,
    totals: SemaphoreTotals,
}

impl<P> Default for Semaphores<P> {
    fn default() -> Self {
        Self { live: BTreeMap::new(), by_name: BTreeMap::new(), last: 0, totals: SemaphoreTotals::default() }
    }
}

impl<P> Semaphores<P> {
    /// Makes a semaphore, which is open once then. `page` is asked for one only if there can be one.
    ///
    /// # Errors
    /// [`Error::Exists`] (semantics 140), and what `page` fails with.
    pub fn create<E: From<Error>>(
        &mut self,
        name: &Rc<[u8]>,
        mode: u16,
        owner: Identity,
        page: impl FnOnce() -> Result<P, E>,
    ) -> Result<SemaphoreId, E> {
        if self.by_name.contains_key(name) {
            return Err(Error::Exists.into());
        }
        let page = page()?;
        self.last += 1;
        self.totals.created += 1;
        let id = SemaphoreId(self.last);
        let semaphore = Semaphore { name: Rc::clone(name), owner, mode: mode & 0o777, opens: 1, linked: true, page };
        self.live.insert(id, semaphore);
        self.by_name.insert(Rc::clone(name), id);
        Ok(id)
    }

    /// Opens a semaphore for use, once more.
    ///
    /// # Errors
    /// [`Error::NotFound`] (semantics 138), [`Error::NotPermitted`] (145).
    pub fn open(&mut self, name: &[u8], who: Identity) -> Result<SemaphoreId, Error> {
        let id = self.find(name)?;
        let semaphore = self.live.get_mut(&id).ok_or(Error::NotFound)?;
        if !semaphore.permits(who, Access::ReadWrite) {
            return Err(Error::NotPermitted);
        }
        semaphore.opens += 1;
        self.totals.opened += 1;
        Ok(id)
    }

    /// Opened once less. A semaphore that nobody has open and that has no name is gone then (semantics 157).
    pub fn close(&mut self, id: SemaphoreId) {
        let Some(semaphore) = self.live.get_mut(&id) else { return };
        semaphore.opens = semaphore.opens.saturating_sub(1);
        if semaphore.opens == 0 && !semaphore.linked {
            self.live.remove(&id);
        }
    }

    /// Takes the name away; a semaphore that is open lives on (semantics 155).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`] unless `who` is its owner or root (156).
    pub fn unlink(&mut self, name: &[u8], who: Identity) -> Result<(), Error> {
        let id = self.find(name)?;
        let semaphore = self.live.get_mut(&id).ok_or(Error::NotFound)?;
        if who.uid != 0 && who.uid != semaphore.owner.uid {
            return Err(Error::NotPermitted);
        }
        semaphore.linked = false;
        if semaphore.opens == 0 {
            self.live.remove(&id);
        }
        self.by_name.remove(name);
        self.totals.unlinked += 1;
        Ok(())
    }

    /// The semaphore that has this name now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, name: &[u8]) -> Result<SemaphoreId, Error> {
        self.by_name.get(name).copied().ok_or(Error::NotFound)
    }

    /// A live semaphore.
    #[must_use]
    pub fn get(&self, id: SemaphoreId) -> Option<&Semaphore<P>> {
        self.live.get(&id)
    }

    /// The live semaphores whose number is above `number`, in the order in which they were made.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (SemaphoreId, &Semaphore<P>)> {
        let range = (Bound::Excluded(SemaphoreId(number)), Bound::Unbounded);
        self.live.range(range).map(|(id, semaphore)| (*id, semaphore))
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

    /// How many have a name.
    #[must_use]
    pub fn named(&self) -> usize {
        self.by_name.len()
    }

    /// What happened since the start.
    #[must_use]
    pub fn totals(&self) -> SemaphoreTotals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Error, Identity, Rc, SemaphoreId, Semaphores};

    const OWNER: Identity = Identity { uid: 7, gid: 70 };
    const OTHER: Identity = Identity { uid: 8, gid: 80 };
    const ROOT: Identity = Identity { uid: 0, gid: 0 };

    /// A page that says when it goes.
    type Page = Rc<()>;

    fn create(semaphores: &mut Semaphores<Page>, name: &str, mode: u16, page: &Page) -> Result<SemaphoreId, Error> {
        semaphores.create(&name.as_bytes().into(), mode, OWNER, || Ok(Rc::clone(page)))
    }

    #[test]
    fn one_name_one_semaphore_138_140() {
        let (mut semaphores, page) = (Semaphores::default(), Page::default());
        assert_eq!(semaphores.open(b"x", OWNER), Err(Error::NotFound));
        let id = create(&mut semaphores, "x", 0o600, &page);
        assert_eq!(create(&mut semaphores, "x", 0o600, &page), Err(Error::Exists));
        assert_eq!(Rc::strong_count(&page), 2, "no page is made in vain");
        assert_eq!(semaphores.open(b"x", OWNER), id);
        assert!(create(&mut semaphores, "X", 0o600, &page).is_ok_and(|other| Ok(other) != id));
    }

    #[test]
    fn a_page_that_cannot_be_had_leaves_no_name() {
        let mut semaphores = Semaphores::<Page>::default();
        let failure = semaphores.create(&b"x"[..].into(), 0o600, OWNER, || Err(Error::Invalid));
        assert_eq!(failure, Err(Error::Invalid));
        assert_eq!(semaphores.find(b"x"), Err(Error::NotFound));
        assert!(semaphores.is_empty());
    }

    #[test]
    fn names_last_until_unlinked_and_semaphores_until_closed_155_157() {
        let (mut semaphores, page) = (Semaphores::default(), Page::default());
        let first = create(&mut semaphores, "x", 0o600, &page).unwrap_or(SemaphoreId(0));
        semaphores.close(first);
        assert_eq!(semaphores.open(b"x", OWNER), Ok(first));
        assert_eq!(semaphores.unlink(b"x", OWNER), Ok(()));
        assert_eq!(semaphores.unlink(b"x", OWNER), Err(Error::NotFound));
        let second = create(&mut semaphores, "x", 0o600, &page).unwrap_or(SemaphoreId(0));
        assert_ne!(first, second);
        assert_eq!((semaphores.len(), semaphores.named(), Rc::strong_count(&page)), (2, 1, 3));
        semaphores.close(first);
        assert_eq!((semaphores.len(), Rc::strong_count(&page)), (1, 2));
        semaphores.close(second);
        assert_eq!(semaphores.unlink(b"x", OWNER), Ok(()));
        assert!(semaphores.is_empty());
        assert_eq!(Rc::strong_count(&page), 1);
    }

    #[test]
    fn the_first_class_that_applies_decides_145() {
        let (mut semaphores, page) = (Semaphores::default(), Page::default());
        let group = Identity { uid: 9, gid: 70 };
        for (mode, owner, group_member, other) in [
            (0o600, true, false, false),
            (0o666, true, true, true),
            (0o400, false, false, false),
            (0o060, false, true, false),
            (0o006, false, false, true),
            (0o444, false, false, false),
            (0, false, false, false),
        ] {
            assert!(create(&mut semaphores, "x", mode, &page).is_ok());
            let may = |semaphores: &mut Semaphores<Page>, who| semaphores.open(b"x", who).is_ok();
            let found = (may(&mut semaphores, OWNER), may(&mut semaphores, group), may(&mut semaphores, OTHER));
            assert_eq!(found, (owner, group_member, other), "{mode:o}");
            assert!(may(&mut semaphores, ROOT));
            assert_eq!(semaphores.unlink(b"x", OTHER), Err(Error::NotPermitted));
            assert_eq!(semaphores.unlink(b"x", if mode == 0 { ROOT } else { OWNER }), Ok(()));
        }
    }

    #[test]
    fn looking_takes_less() {
        let (mut semaphores, page) = (Semaphores::default(), Page::default());
        let id = create(&mut semaphores, "x", 0o1644, &page).unwrap_or(SemaphoreId(0));
        let semaphore = semaphores.get(id);
        assert!(semaphore.is_some_and(|semaphore| semaphore.permits(OTHER, Access::Read)));
        assert!(semaphore.is_some_and(|semaphore| !semaphore.permits(OTHER, Access::ReadWrite)));
        assert_eq!(semaphore.map(super::Semaphore::mode), Some(0o644));
    }

    #[test]
    fn listing_goes_on_after_any_number() {
        let (mut semaphores, page) = (Semaphores::default(), Page::default());
        for name in ["c", "a", "b"] {
            assert!(create(&mut semaphores, name, 0o600, &page).is_ok());
        }
        let names = |semaphores: &Semaphores<Page>, number| {
            semaphores.after(number).map(|(_, semaphore)| semaphore.name()[0]).collect::<Vec<_>>()
        };
        assert_eq!(names(&semaphores, 0), b"cab");
        assert_eq!(names(&semaphores, 1), b"ab");
        assert_eq!(names(&semaphores, u64::MAX), b"");
    }
}
