//! Eventfds without the system: what a C library does in front of its read, write, close, dup, dup2, dup3, fcntl and what else makes or closes
//! descriptors.
//!
//! The first read or write of an eventfd maps its [cell](crate::cell), and from then on the count is changed in memory: see there, and in
//! [`table`](crate::table), why that is right. Opening costs nothing more than before, and closing only what was mapped.
//!
//! Nothing here waits but a read or a write that has to, allocates, or takes a lock: signal handlers and forked children may do all of it. Whenever
//! something is missing, memory, a descriptor, eventd itself, operations take the system's way.
//!
//! The memory that a count is read into, or written from, is used by the program itself: a bad pointer is not EFAULT (semantics 26, 39) but a fault,
//! as it is in many functions of a C library. Only null is left to the system.
#![allow(unsafe_code)]

use Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::cell::{After, Cell, Gate, Readiness, Refused, Side};
use crate::path::{self, EVENTFDS};
use crate::sys::{self, PAGE_SIZE};
use crate::table::{Pages, Table};
use crate::{CELL, Errno, TELL, TRIGGER};

/// Redox's event flags.
const EVENT_READ: u64 = 1;
const EVENT_WRITE: u64 = 2;

/// The size of a count.
const SIZE: usize = size_of::<u64>();
/// C libraries assign other files to the numbers below by themselves, in daemon, login_tty, freopen; so they take the system's way.
const FIRST: usize = 3;

/// The eventfds of a process, each for itself known or not.
#[derive(Debug)]
pub struct Client<const NUMBERS: usize> {
    words: [AtomicU32; NUMBERS],
    asleep: [AtomicU32; NUMBERS],
    /// Where the pages are; zero before there is any.
    pages: AtomicUsize,
    /// No number from this on has ever been an eventfd.
    end: AtomicUsize,
    /// Whether the system has been found not to know [`TRIGGER`].
    no_trigger: AtomicBool,
}

impl<const NUMBERS: usize> Client<NUMBERS> {
    /// For the descriptors below `NUMBERS`. It reserves addresses for a page each when it maps the first.
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: [const { AtomicU32::new(0) }; NUMBERS],
            asleep: [const { AtomicU32::new(0) }; NUMBERS],
            pages: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            no_trigger: AtomicBool::new(false),
        }
    }

    #[inline]
    fn table(&self) -> Table<'_> {
        Table::new(&self.words, &self.asleep)
    }

    /// Whether `fd` may be an eventfd to be used here. For all others the functions below change nothing.
    #[inline]
    #[must_use]
    pub fn is_eventfd(&self, fd: i32) -> bool {
        self.table().is_eventfd(index(fd))
    }

    /// `fd` is a new descriptor of an eventfd.
    pub fn made(&self, fd: i32) {
        let descriptor = index(fd);
        if (FIRST..NUMBERS).contains(&descriptor) {
            self.end.fetch_max(descriptor + 1, Relaxed);
            self.table().expect(descriptor, self);
        }
    }

    /// `fd` is a new descriptor of what `old` is. If it is none, nothing happens.
    pub fn duplicated(&self, old: i32, fd: i32) {
        if self.is_eventfd(old) {
            self.made(fd);
        }
    }

    /// `read(fd, buffer, len)`; none if that is the system's.
    ///
    /// # Errors
    /// EINVAL (semantics 18), EAGAIN (23), EINTR (55); EBADF if it slept and all descriptors of the counter have been closed
    /// meanwhile.
    ///
    /// # Safety
    /// If `fd` is an eventfd and `buffer` not null, `len` bytes there may be overwritten.
    pub unsafe fn read(&self, fd: i32, buffer: *mut u8, len: usize) -> Option<Result<usize, Errno>> {
        let cell = self.mapped(fd)?;
        if len < SIZE {
            return Some(Err(Errno::EINVAL));
        }
        if buffer.is_null() {
            return None;
        }
        let read = self.operate(fd, cell, cell.readable(), || cell.read(Side::Client))?;
        // SAFETY: the caller's promise; there is room for a count.
        Some(read.map(|(value, after)| unsafe {
            buffer.cast::<u64>().write_unaligned(value);
            self.follow(fd, cell, cell.writable(), after)
        }))
    }

    /// [`read`](Self::read), if the cell is mapped already and nothing has to be waited for; none if that is to be called instead.
    ///
    /// All that a read costs while nobody sleeps or polls: for the beginning of a C function, in which it needs no room on the stack.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub unsafe fn read_at_once(&self, fd: i32, buffer: *mut u8, len: usize) -> Option<usize> {
        if buffer.is_null() || !self.table().is_mapped(index(fd)) || len < SIZE {
            return None;
        }
        let cell = self.cell_in_page(index(fd));
        let (value, after) = cell.read_at_once()?;
        // SAFETY: the caller's promise; there is room for a count.
        unsafe { buffer.cast::<u64>().write_unaligned(value) };
        Some(if after.wake | after.tell { self.follow(fd, cell, cell.writable(), after) } else { SIZE })
    }

    /// `write(fd, buffer, len)`; none if that is the system's.
    ///
    /// # Errors
    /// EINVAL (semantics 31, 33), EAGAIN (36), EINTR (55); EBADF if it slept and all descriptors of the counter have been closed
    /// meanwhile.
    ///
    /// # Safety
    /// If `fd` is an eventfd and `buffer` not null, there are `len` bytes.
    pub unsafe fn write(&self, fd: i32, buffer: *const u8, len: usize) -> Option<Result<usize, Errno>> {
        let cell = self.mapped(fd)?;
        if len != SIZE {
            return Some(Err(Errno::EINVAL));
        }
        if buffer.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        let value = unsafe { buffer.cast::<u64>().read_unaligned() };
        let written = self.operate(fd, cell, cell.writable(), || cell.write(value, Side::Client))?;
        Some(written.map(|after| self.follow(fd, cell, cell.readable(), after)))
    }

    /// [`write`](Self::write), as [`read_at_once`](Self::read_at_once).
    ///
    /// # Safety
    /// As for [`write`](Self::write).
    #[inline(always)]
    pub unsafe fn write_at_once(&self, fd: i32, buffer: *const u8, len: usize) -> Option<usize> {
        if buffer.is_null() || !self.table().is_mapped(index(fd)) || len != SIZE {
            return None;
        }
        let cell = self.cell_in_page(index(fd));
        // SAFETY: the caller's promise.
        let after = cell.write_at_once(unsafe { buffer.cast::<u64>().read_unaligned() })?;
        Some(if after.wake | after.tell { self.follow(fd, cell, cell.readable(), after) } else { SIZE })
    }

    /// O_NONBLOCK of `fd` has been set or cleared. Not every system tells eventd.
    pub fn set_nonblocking(&self, fd: i32, nonblocking: bool) {
        if let Some(cell) = self.mapped(fd) {
            cell.set_nonblocking(nonblocking);
        }
    }

    /// `close(fd)`, which `system` does. Also for whatever makes the number the business of others, who will not come here.
    pub fn close<T>(&self, fd: i32, system: impl FnOnce() -> T) -> T {
        self.table().close(index(fd), self, system)
    }

    /// `close_range(first, last)`, which `system` does.
    pub fn close_range<T>(&self, first: u32, last: u32, system: impl FnOnce() -> T) -> T {
        self.forget(first, last);
        let result = system();
        // What others have made and mapped in between may have been closed.
        self.forget(first, last);
        result
    }

    /// `dup2(old, fd)` or dup3, which `system` does. It returns something negative if it fails.
    pub fn assign(&self, old: i32, fd: i32, system: impl FnOnce() -> i32) -> i32 {
        if old == fd {
            return system();
        }
        let (old_is, fd_was) = (self.is_eventfd(old), self.is_eventfd(fd));
        let result = self.close(fd, system);
        if if result < 0 { fd_was } else { old_is } {
            self.made(fd);
        }
        result
    }

    fn forget(&self, first: u32, last: u32) {
        let end = (last as usize).saturating_add(1).min(self.end.load(Relaxed));
        for descriptor in (first as usize..end).filter(|descriptor| self.table().is_eventfd(*descriptor)) {
            self.table().close(descriptor, self, || ());
        }
    }

    /// The cell of `fd`, which is mapped now if that had not been tried yet.
    fn mapped(&self, fd: i32) -> Option<&Cell> {
        self.table().map(index(fd), self).then(|| self.cell_in_page(index(fd)))
    }

    /// What is in the page of `descriptor`, where something has been mapped.
    #[inline]
    fn cell_in_page(&self, descriptor: usize) -> &Cell {
        // Relaxed: the address was there before anything was mapped.
        let address = self.pages.load(Relaxed) + descriptor * PAGE_SIZE;
        // SAFETY: the page is there: that of an eventfd, or what `replace` puts in its place. A cell is made of atomics, for which all bits will do.
        unsafe { &*core::ptr::with_exposed_provenance(address) }
    }

    fn operate<T>(
        &self,
        fd: i32,
        cell: &Cell,
        gate: &Gate,
        attempt: impl Fn() -> Result<T, Refused>,
    ) -> Option<Result<T, Errno>> {
        match attempt() {
            Ok(done) => Some(Ok(done)),
            Err(Refused::WouldBlock) if cell.nonblocking() => Some(Err(Errno::EAGAIN)),
            Err(Refused::WouldBlock) => self.wait(index(fd), gate, attempt),
            Err(Refused::Invalid) => Some(Err(Errno::EINVAL)),
            Err(Refused::NotLive | Refused::Contended) => None,
        }
    }

    /// Does what has to be done after the count of `fd` was changed, and returns how many bytes that were.
    #[cold]
    #[inline(never)]
    fn follow(&self, fd: i32, cell: &Cell, gate: &Gate, After { wake, tell, polled }: After) -> usize {
        if wake {
            gate.wake(|| sys::futex_wake(gate.word()));
        }
        if tell {
            self.tell(index(fd), cell, polled);
        }
        SIZE
    }

    fn tell(&self, descriptor: usize, cell: &Cell, polled: bool) {
        // Relaxed: it is found out again if need be.
        if polled && !self.no_trigger.load(Relaxed) {
            match sys::call(descriptor, [TRIGGER, event_flags(cell)]) {
                Ok(_) => return,
                // A descriptor that has been closed meanwhile says nothing of the system.
                Err(Errno::EBADF) => {}
                Err(_) => self.no_trigger.store(true, Relaxed),
            }
        }
        // It can fail if the descriptor has been closed meanwhile; the close lets eventd look as well, if it was the last.
        while sys::call(descriptor, [TELL, 0]) == Err(Errno::EINTR) {}
    }

    /// The event flags for which `fd` is ready, if it is known in memory; see [`crate::readiness()`].
    #[must_use]
    pub fn readiness(&self, fd: i32) -> Option<usize> {
        self.mapped(fd).map(|cell| event_flags(cell) as usize)
    }

    fn wait<T>(
        &self,
        descriptor: usize,
        gate: &Gate,
        attempt: impl Fn() -> Result<T, Refused>,
    ) -> Option<Result<T, Errno>> {
        let generation = self.table().generation(descriptor);
        let mut slept = false;
        let waited = self.table().stay(descriptor, self, || {
            gate.wait(attempt, |word| match sys::futex_wait(gate.word(), word) {
                Err(Errno::EAGAIN) => Ok(()),
                result => result.map(|()| slept = true),
            })
        });
        match waited? {
            Ok(Ok(done)) => Some(Ok(done)),
            Ok(Err(Refused::Invalid)) => Some(Err(Errno::EINVAL)),
            Err(Errno::EINTR) => Some(Err(Errno::EINTR)),
            // Closed by all while it slept. By now the number may be a file with which the caller has nothing to do.
            Ok(Err(_)) if slept && self.table().generation(descriptor) != generation => Some(Err(Errno::EBADF)),
            // Not closed here but ended by eventd, which says why.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// The address of the first page. Who comes too late with a reservation gives it back.
    fn reserved(&self) -> Result<usize, Errno> {
        let known = self.pages.load(Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let len = NUMBERS * PAGE_SIZE;
        let mine = sys::reserve(len)?;
        Ok(match self.pages.compare_exchange(0, mine, Relaxed, Relaxed) {
            Ok(_) => mine,
            Err(first) => {
                // SAFETY: nobody else has seen this range.
                unsafe { sys::unmap(mine, len) };
                first
            }
        })
    }

    fn map(&self, descriptor: usize) -> Result<bool, Errno> {
        if !path::is_below(descriptor, EVENTFDS)? {
            return Ok(false);
        }
        let address = self.reserved()? + descriptor * PAGE_SIZE;
        // eventd refuses it unless the descriptor is for reading and writing.
        // SAFETY: the page belongs to this number, and the table lets nobody else map there now; who uses it still knows that it can go.
        unsafe { sys::map_page_at(address, descriptor, CELL) }?;
        let known = self.cell_in_page(descriptor).is_known();
        if !known {
            self.replace(descriptor);
        }
        Ok(known)
    }
}

impl<const NUMBERS: usize> Pages for Client<NUMBERS> {
    fn find(&self, descriptor: usize) -> bool {
        loop {
            match self.map(descriptor) {
                // It says nothing of the descriptor.
                Err(Errno::EINTR) => {}
                found => return found.unwrap_or(false),
            }
        }
    }

    fn replace(&self, descriptor: usize) {
        let address = self.pages.load(Relaxed) + descriptor * PAGE_SIZE;
        // If there is no memory for it, the old page stays, and with it the counter for those who are on their way there: as if they had come earlier.
        // SAFETY: as in `map`. Zeros are a closed cell.
        let _stays = unsafe { sys::map_zeros_at(address) };
    }
}

/// Redox's event flags for which a counter is ready.
fn event_flags(cell: &Cell) -> u64 {
    let Readiness { readable, writable, .. } = cell.readiness();
    let readable = if readable { EVENT_READ } else { 0 };
    let writable = if writable { EVENT_WRITE } else { 0 };
    readable | writable
}

/// What is no descriptor is beyond the table.
fn index(fd: i32) -> usize {
    fd.cast_unsigned() as usize
}
