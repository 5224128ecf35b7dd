//! The scheme `notes`, which serves named notes and exists to exercise the host: it has nothing in common with eventd.
//!
//! | path | what it is |
//! |---|---|
//! | any name | a note: created with O_CREAT, read and written with a position, renamed |
//! | `page` | one page of memory that clients map |
//! | `page-value` | the first word of that page as the daemon sees it, in decimal |
//! | `who` | process, user and group of who opened it |
//! | `wait` | messages: a read waits until somebody writes one |
//!
//! Memory is also to be mapped from `wait`, which is no file of memory: see [`PAGE`] and what follows it.
#![allow(missing_docs, unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::IntoRawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use event::{EventFlags as QueueFlags, EventQueue};
use libredox::call::{MmapArgs, mmap, setrens};
use libredox::flag::{MAP_SHARED, PROT_READ, PROT_WRITE};
use redox_scheme::scheme::{SchemeSync, register_sync_scheme};
use redox_scheme::wrappers::ReadinessBased;
use redox_scheme::{CallerCtx, OpenResult, Response, SignalBehavior, Socket};
use slab::Slab;
use syscall::data::{Stat, TimeSpec};
use syscall::dirent::{DirEntry, DirentBuf, DirentKind};
use syscall::error::{
    EACCES, EBADF, EEXIST, EINVAL, EISDIR, EMFILE, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM, ESPIPE, EWOULDBLOCK, Error,
    Result,
};
use syscall::flag::{AT_REMOVEDIR, EventFlags, MapFlags, MunmapFlags, O_CREAT, O_DIRECTORY, O_EXCL, O_TRUNC};
use syscall::schemev2::NewFdFlags;

pub(crate) const NAME: &str = "notes";
const PAGE_SIZE: usize = 4096;
/// A path that leads to a descriptor of another scheme.
pub(crate) const ELSEWHERE: &str = "elsewhere";
/// A call that fails with the errno that follows.
pub(crate) const REFUSE: u64 = 1_000_000;
/// A call whose result is how many handles of pages are open.
pub(crate) const COUNT_PAGES: u64 = 1_000_001;
/// A call that adds what follows to the first word of the page; the result is what was there.
pub(crate) const ADD_TO_PAGE: u64 = 1_000_002;
/// A call whose result are the flags of the last request for memory of `wait`.
pub(crate) const MAP_FLAGS: u64 = 1_000_004;
/// The offset at which `wait` has the same page as the file `page`.
pub(crate) const PAGE: u64 = 0x5_0000;
/// The offset of a page that is one of two in a row.
pub(crate) const HALF: u64 = 0x6_0000;
/// The offset at which to map is to wait for ever.
pub(crate) const NEVER: u64 = 0x7_0000;
/// A call whose result is how many handles of any kind are open.
pub(crate) const COUNT_HANDLES: u64 = 1_000_003;
/// As relibc defines them.
const UTIME_NOW: i32 = (1 << 30) - 1;
const UTIME_OMIT: i32 = (1 << 30) - 2;
/// The present, which never changes here.
pub(crate) const NOW: TimeSpec = TimeSpec { tv_sec: 1_234_567_890, tv_nsec: 0 };
/// A user to whom no note can be given.
pub(crate) const REFUSED_OWNER: u32 = 666;
/// The numbers of the files that are always there come before those of the notes.
const FIRST_NOTE: u64 = 10;
const BUILT_IN: [(&str, Place, u64); 4] = [
    ("page", Place::Page, 2),
    ("page-value", Place::PageValue, 3),
    ("wait", Place::Wait, 4),
    ("who", Place::Who(String::new()), 5),
];

#[derive(Debug, Default)]
struct Note {
    number: u64,
    mode: u16,
    owner: (u32, u32),
    /// When it was read and written, as far as somebody has said so.
    times: [TimeSpec; 2],
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Place {
    Root,
    Note(Rc<RefCell<Note>>),
    Page,
    PageValue,
    Wait,
    Who(String),
}

impl Place {
    fn who(caller: &CallerCtx) -> Self {
        Self::Who(format!("{} {} {}", caller.pid, caller.uid, caller.gid))
    }
}

#[derive(Debug)]
struct Handle {
    place: Place,
    watched: EventFlags,
}

#[derive(Debug)]
pub(crate) struct Notes {
    notes: BTreeMap<String, Rc<RefCell<Note>>>,
    handles: Slab<Handle>,
    next_number: u64,
    page: NonNull<AtomicU64>,
    pair: NonNull<AtomicU64>,
    map_flags: MapFlags,
    messages: VecDeque<Vec<u8>>,
    announcements: Vec<(usize, EventFlags)>,
}

impl Notes {
    pub(crate) fn new() -> libredox::error::Result<Self> {
        Ok(Self {
            notes: BTreeMap::new(),
            handles: Slab::new(),
            next_number: FIRST_NOTE,
            page: memory(PAGE_SIZE)?,
            pair: memory(2 * PAGE_SIZE)?,
            map_flags: MapFlags::empty(),
            messages: VecDeque::new(),
            announcements: Vec::new(),
        })
    }

    fn page_word(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as the process lives, aligned, and shared with clients that use atomic accesses too.
        unsafe { self.page.as_ref() }
    }

    fn page_value(&self) -> u64 {
        self.page_word().load(Ordering::SeqCst)
    }

    fn insert(&mut self, place: Place) -> usize {
        self.handles.insert(Handle { place, watched: EventFlags::empty() })
    }

    fn opened(&mut self, place: Place) -> OpenResult {
        let flags = if let Place::Wait = place { NewFdFlags::empty() } else { NewFdFlags::POSITIONED };
        OpenResult::ThisScheme { number: self.insert(place), flags }
    }

    fn place(&self, id: usize) -> Result<Place> {
        self.handles.get(id).map(|handle| handle.place.clone()).ok_or(Error::new(EBADF))
    }

    fn find(&self, name: &str) -> Option<Place> {
        if name.is_empty() {
            return Some(Place::Root);
        }
        let built_in = BUILT_IN.into_iter().find(|(known, ..)| *known == name).map(|(_, place, _)| place);
        built_in.or_else(|| self.notes.get(name).cloned().map(Place::Note))
    }

    fn create(&mut self, name: &str, mode: u16) -> Place {
        let note = Note { number: self.next_number, mode, ..Note::default() };
        let note = Rc::new(RefCell::new(note));
        self.next_number += 1;
        self.notes.insert(name.to_owned(), Rc::clone(&note));
        Place::Note(note)
    }

    fn readiness(&self) -> EventFlags {
        if self.messages.is_empty() {
            EventFlags::EVENT_WRITE
        } else {
            EventFlags::EVENT_READ | EventFlags::EVENT_WRITE
        }
    }

    /// Event queues forget what they reported: so everybody who watches hears of it after each change.
    fn announce(&mut self) {
        let ready = self.readiness();
        let watching = self.handles.iter().filter(|(_, handle)| handle.watched.intersects(ready));
        self.announcements.extend(watching.map(|(id, handle)| (id, handle.watched & ready)));
    }

    fn receive(&mut self, buf: &mut [u8]) -> Result<usize> {
        let message = self.messages.pop_front().ok_or(Error::new(EWOULDBLOCK))?;
        let len = message.len().min(buf.len());
        buf[..len].copy_from_slice(&message[..len]);
        self.announce();
        Ok(len)
    }

    fn attributes(&self, place: &Place) -> (u16, u64, u64) {
        match place {
            Place::Root => (syscall::MODE_DIR | 0o777, 1, 0),
            Place::Note(note) => {
                let Note { number, mode, text, .. } = &*note.borrow();
                (syscall::MODE_FILE | mode, *number, text.len() as u64)
            }
            Place::Page => (syscall::MODE_FILE | 0o666, 2, PAGE_SIZE as u64),
            Place::PageValue => (syscall::MODE_FILE | 0o444, 3, self.page_value().to_string().len() as u64),
            Place::Wait => (syscall::MODE_CHR | 0o666, 4, 0),
            Place::Who(text) => (syscall::MODE_FILE | 0o444, 5, text.len() as u64),
        }
    }
}

/// Memory that clients can map.
fn memory(length: usize) -> libredox::error::Result<NonNull<AtomicU64>> {
    let (prot, flags) = (PROT_READ | PROT_WRITE, MAP_SHARED);
    let args = MmapArgs { addr: std::ptr::null_mut(), length, prot, flags, fd: usize::MAX, offset: 0 };
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    NonNull::new(unsafe { mmap(args) }?.cast()).ok_or(libredox::error::Error::new(EINVAL))
}

/// A descriptor of another scheme.
fn open_elsewhere() -> Result<OpenResult> {
    let (reader, _) = std::io::pipe().map_err(|_| Error::new(EMFILE))?;
    Ok(OpenResult::OtherScheme { fd: reader.into_raw_fd().cast_unsigned() as usize })
}

fn copy_from(text: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)).unwrap_or_default();
    let len = rest.len().min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    len
}

impl SchemeSync for Notes {
    fn scheme_root(&mut self) -> Result<usize> {
        Ok(self.insert(Place::Root))
    }

    fn openat(&mut self, fd: usize, path: &str, flags: usize, _: u32, ctx: &CallerCtx) -> Result<OpenResult> {
        let Place::Root = self.place(fd)? else { return Err(Error::new(EACCES)) };
        let name = path.trim_matches('/');
        if name == ELSEWHERE {
            return open_elsewhere();
        }
        let place = match self.find(name) {
            Some(_) if flags & O_EXCL != 0 => return Err(Error::new(EEXIST)),
            Some(Place::Who(_)) => Place::who(ctx),
            Some(place) => place,
            None if flags & O_CREAT == 0 || name.contains('/') => return Err(Error::new(ENOENT)),
            None if flags & O_DIRECTORY != 0 => return Err(Error::new(EPERM)),
            None => self.create(name, flags as u16 & 0o777),
        };
        match &place {
            Place::Root => {}
            _ if flags & O_DIRECTORY != 0 => return Err(Error::new(ENOTDIR)),
            Place::Note(note) if flags & O_TRUNC != 0 => note.borrow_mut().text.clear(),
            _ => {}
        }
        Ok(self.opened(place))
    }

    fn unlinkat(&mut self, fd: usize, path: &str, flags: usize, _: &CallerCtx) -> Result<()> {
        let Place::Root = self.place(fd)? else { return Err(Error::new(EACCES)) };
        match self.find(path) {
            Some(Place::Note(_)) if flags & AT_REMOVEDIR != 0 => Err(Error::new(ENOTDIR)),
            Some(Place::Note(_)) => self.notes.remove(path).map(drop).ok_or(Error::new(ENOENT)),
            Some(_) => Err(Error::new(EPERM)),
            None => Err(Error::new(ENOENT)),
        }
    }

    fn read(&mut self, id: usize, buf: &mut [u8], offset: u64, _: u32, _: &CallerCtx) -> Result<usize> {
        match self.place(id)? {
            Place::Root => Err(Error::new(EISDIR)),
            Place::Note(note) => Ok(copy_from(&note.borrow().text, offset, buf)),
            Place::Page => Err(Error::new(EINVAL)),
            Place::PageValue => Ok(copy_from(self.page_value().to_string().as_bytes(), offset, buf)),
            Place::Wait => self.receive(buf),
            Place::Who(text) => Ok(copy_from(text.as_bytes(), offset, buf)),
        }
    }

    fn write(&mut self, id: usize, buf: &[u8], offset: u64, _: u32, _: &CallerCtx) -> Result<usize> {
        match self.place(id)? {
            Place::Note(note) => {
                let start = usize::try_from(offset).map_err(|_| Error::new(EINVAL))?;
                let end = start.checked_add(buf.len()).ok_or(Error::new(EINVAL))?;
                let text = &mut note.borrow_mut().text;
                text.resize(text.len().max(end), 0);
                text[start..end].copy_from_slice(buf);
            }
            Place::Wait => {
                self.messages.push_back(buf.to_vec());
                self.announce();
            }
            Place::Root | Place::Page | Place::PageValue | Place::Who(_) => return Err(Error::new(EINVAL)),
        }
        Ok(buf.len())
    }

    /// Turns the payload round and returns the sum of the metadata; the first word may ask for something else instead.
    fn call(&mut self, id: usize, payload: &mut [u8], metadata: &[u64], _: &CallerCtx) -> Result<usize> {
        self.place(id)?;
        match *metadata {
            [REFUSE, errno, ..] => Err(Error::new(errno as i32)),
            [COUNT_PAGES, ..] => {
                let is_page = |handle: &Handle| matches!(handle.place, Place::Page);
                Ok(self.handles.iter().filter(|(_, handle)| is_page(handle)).count())
            }
            [COUNT_HANDLES, ..] => Ok(self.handles.len()),
            [MAP_FLAGS, ..] => Ok(self.map_flags.bits()),
            [ADD_TO_PAGE, added, ..] => Ok(self.page_word().fetch_add(added, Ordering::SeqCst) as usize),
            _ => {
                payload.reverse();
                Ok(metadata.iter().sum::<u64>() as usize)
            }
        }
    }

    fn fsize(&mut self, id: usize, _: &CallerCtx) -> Result<u64> {
        match self.place(id)? {
            Place::Wait => Err(Error::new(ESPIPE)),
            place => Ok(self.attributes(&place).2),
        }
    }

    fn fchmod(&mut self, id: usize, new_mode: u16, _: &CallerCtx) -> Result<()> {
        let Place::Note(note) = self.place(id)? else { return Err(Error::new(EPERM)) };
        note.borrow_mut().mode = new_mode & 0o7777;
        Ok(())
    }

    fn fchown(&mut self, id: usize, new_uid: u32, new_gid: u32, _: &CallerCtx) -> Result<()> {
        let Place::Note(note) = self.place(id)? else { return Err(Error::new(EPERM)) };
        if new_uid == REFUSED_OWNER {
            return Err(Error::new(EPERM));
        }
        note.borrow_mut().owner = (new_uid, new_gid);
        Ok(())
    }

    fn futimens(&mut self, id: usize, times: &[TimeSpec], _: &CallerCtx) -> Result<()> {
        let Place::Note(note) = self.place(id)? else { return Err(Error::new(EPERM)) };
        for (kept, new) in note.borrow_mut().times.iter_mut().zip(times) {
            match new.tv_nsec {
                UTIME_OMIT => {}
                UTIME_NOW => *kept = NOW,
                _ => *kept = *new,
            }
        }
        Ok(())
    }

    fn frename(&mut self, id: usize, path: &str, _: &CallerCtx) -> Result<usize> {
        let Place::Note(note) = self.place(id)? else { return Err(Error::new(EPERM)) };
        if BUILT_IN.iter().any(|(name, ..)| *name == path) {
            return Err(Error::new(EPERM));
        }
        self.notes.retain(|_, other| !Rc::ptr_eq(other, &note));
        self.notes.insert(path.to_owned(), note);
        Ok(0)
    }

    fn ftruncate(&mut self, id: usize, len: u64, _: &CallerCtx) -> Result<()> {
        let Place::Note(note) = self.place(id)? else { return Err(Error::new(EINVAL)) };
        note.borrow_mut().text.resize(usize::try_from(len).map_err(|_| Error::new(EINVAL))?, 0);
        Ok(())
    }

    fn fcntl(&mut self, id: usize, _: usize, _: usize, _: &CallerCtx) -> Result<usize> {
        self.place(id).map(|_| 0)
    }

    fn fevent(&mut self, id: usize, flags: EventFlags, _: &CallerCtx) -> Result<EventFlags> {
        let ready = self.readiness();
        let handle = self.handles.get_mut(id).ok_or(Error::new(EBADF))?;
        handle.watched = flags;
        // What is no stream is always ready.
        Ok(if let Place::Wait = handle.place { flags & ready } else { flags })
    }

    fn fstat(&mut self, id: usize, stat: &mut Stat, _: &CallerCtx) -> Result<()> {
        let (st_mode, st_ino, st_size) = self.attributes(&self.place(id)?);
        *stat = Stat { st_mode, st_ino, st_size, st_nlink: 1, st_blksize: 4096, ..Stat::default() };
        if let Place::Note(note) = self.place(id)? {
            let Note { owner, times: [read, written], .. } = &*note.borrow();
            (stat.st_uid, stat.st_gid) = *owner;
            (stat.st_atime, stat.st_mtime) = (read.tv_sec.cast_unsigned(), written.tv_sec.cast_unsigned());
        }
        Ok(())
    }

    fn getdents<'buf>(
        &mut self,
        id: usize,
        mut buf: DirentBuf<&'buf mut [u8]>,
        opaque_offset: u64,
    ) -> Result<DirentBuf<&'buf mut [u8]>> {
        let Place::Root = self.place(id)? else { return Err(Error::new(ENOTDIR)) };
        let notes = self.notes.iter().map(|(name, note)| (name.as_str(), note.borrow().number));
        let names = BUILT_IN.into_iter().map(|(name, _, number)| (name, number)).chain(notes);
        let start = usize::try_from(opaque_offset).unwrap_or(usize::MAX);
        for ((name, inode), next_opaque_id) in names.zip(1..).skip(start) {
            let entry = DirEntry { inode, next_opaque_id, name, kind: DirentKind::Regular };
            match buf.entry(entry) {
                Err(error) if next_opaque_id == opaque_offset + 1 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        Ok(buf)
    }

    fn mmap_prep(&mut self, id: usize, offset: u64, size: usize, flags: MapFlags, _: &CallerCtx) -> Result<usize> {
        match (self.place(id)?, offset) {
            (Place::Wait, PAGE | HALF) => self.map_flags = flags,
            (Place::Wait, NEVER) => return Err(Error::new(EWOULDBLOCK)),
            (Place::Page, 0) => {}
            (Place::Page, _) => return Err(Error::new(EINVAL)),
            _ => return Err(Error::new(EOPNOTSUPP)),
        }
        if size != PAGE_SIZE || flags.contains(MapFlags::PROT_EXEC) {
            return Err(Error::new(EINVAL));
        }
        Ok(if offset == HALF { self.pair } else { self.page }.as_ptr().expose_provenance())
    }

    fn munmap(&mut self, id: usize, _: u64, _: usize, _: MunmapFlags, _: &CallerCtx) -> Result<()> {
        self.place(id).map(drop)
    }

    fn on_close(&mut self, id: usize) {
        self.handles.try_remove(id);
    }
}

/// Serves `notes` until there are no more requests; calls `ready` when clients can come.
pub(crate) fn serve(ready: impl FnOnce()) -> libredox::error::Result<()> {
    let socket = Socket::nonblock()?;
    let mut notes = Notes::new()?;
    register_sync_scheme(&socket, NAME, &mut notes)?;
    let queue = EventQueue::<usize>::new()?;
    queue.subscribe(socket.inner().raw(), 0, QueueFlags::READ)?;
    setrens(0, 0)?;
    ready();
    let notes = RefCell::new(notes);
    let mut requests = ReadinessBased::new(&socket, 16);
    loop {
        match queue.next_event() {
            Err(error) if error.is_interrupt() => continue,
            event => event?,
        };
        if !requests.read_requests()? {
            return Ok(());
        }
        requests.process_requests(|| notes.borrow_mut());
        requests.poll_all_requests(|| notes.borrow_mut())?;
        requests.write_responses()?;
        for (id, flags) in notes.borrow_mut().announcements.drain(..) {
            socket.write_response(Response::post_fevent(id, flags.bits()), SignalBehavior::Restart)?;
        }
    }
}
