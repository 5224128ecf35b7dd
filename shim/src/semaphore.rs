//! Named semaphores of `<semaphore.h>`: opening, closing, unlinking. Waiting and posting are the C library's own, in the page that is mapped here.
#![allow(unsafe_code)]

use alloc::vec::Vec;

use crate::Errno;
use crate::name;
use crate::path::Path;
use crate::sys::{self, flag};

/// The largest value of a semaphore.
pub const SEM_VALUE_MAX: u32 = i32::MAX.cast_unsigned();

/// What sem_open does about a name that is not there yet.
#[derive(Clone, Copy, Debug)]
pub struct Create<'content> {
    /// Permissions, after umask.
    pub mode: u16,
    /// The first value.
    pub value: u32,
    /// The bytes of a `sem_t` with that value, shared between processes, as the C library's sem_init makes them. The value is the first 32-bit word.
    pub content: &'content [u8],
    /// Fail if the name is there already (O_EXCL).
    pub exclusive: bool,
}

/// Whether `oflag`, as the C library of the target has it, asks for creation, and if so whether exclusively. Other flags mean nothing here (semantics 139, 144).
#[must_use]
pub fn creates(oflag: i32) -> Option<bool> {
    let oflag = oflag.cast_unsigned();
    (oflag & flag::O_CREAT != 0).then_some(oflag & flag::O_EXCL != 0)
}

/// A semaphore that this process has open.
#[derive(Debug)]
struct Open {
    address: usize,
    id: u64,
    /// As the program wrote it: glibc gives each spelling an address of its own (semantics 151).
    spelling: Vec<u8>,
    references: usize,
}

/// The semaphores that a process has open: one for each spelling of a name and each object that it led to.
///
/// The C library keeps one of these behind a lock, which it also holds while it forks, so that a child does not get a half-changed one.
#[derive(Debug, Default)]
pub struct Semaphores {
    /// By address.
    open: Vec<Open>,
    /// The same, as the numbers of objects with their addresses, sorted.
    by_id: Vec<(u64, usize)>,
}

impl Semaphores {
    /// None open.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: Vec::new(), by_id: Vec::new() }
    }

    /// `sem_open(name, ...)`: the address of the semaphore, which is the same for each call with the same name while that leads to the same object.
    ///
    /// # Errors
    /// EINVAL for a name without any byte or with a slash inside, or a value above [`SEM_VALUE_MAX`]; ENAMETOOLONG; ENOENT if it is not there and not to be
    /// created; EEXIST if it is there and created exclusively; EACCES without permission to read and write; ENOMEM, EMFILE, ENFILE; ENODEV or EBADF where
    /// eventd does not run, or `root` (see [`crate::eventfd()`]) does not lead to it any more.
    ///
    /// # References
    /// sem_open(3), semantics 130-152, 160.
    pub fn open(&mut self, root: Option<usize>, name: &[u8], create: Option<Create<'_>>) -> Result<usize, Errno> {
        let stripped = name::without_slashes(name);
        name::check(stripped)?;
        let fd = open_descriptor(root, stripped, create)?;
        let mapped = self.enter(name, fd);
        sys::close(fd);
        mapped
    }

    /// Counts one more use of the semaphore behind `fd`.
    fn enter(&mut self, spelling: &[u8], fd: usize) -> Result<usize, Errno> {
        let id = sys::inode(fd)?;
        if let Some(open) = self.find(id, spelling) {
            open.references += 1;
            return Ok(open.address);
        }
        // Memory first: once the page is mapped nothing can fail.
        let mut copy = Vec::new();
        copy.try_reserve_exact(spelling.len()).map_err(|_| Errno::ENOMEM)?;
        copy.extend_from_slice(spelling);
        self.open.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.by_id.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let address = sys::map_page(fd)?;
        let (Err(place) | Ok(place)) = self.position(address);
        self.open.insert(place, Open { address, id, spelling: copy, references: 1 });
        let (Err(place) | Ok(place)) = self.by_id.binary_search(&(id, address));
        self.by_id.insert(place, (id, address));
        Ok(address)
    }

    fn find(&mut self, id: u64, spelling: &[u8]) -> Option<&mut Open> {
        let first = self.by_id.partition_point(|entry| *entry < (id, 0));
        let addresses = self.by_id[first..].iter().take_while(|entry| entry.0 == id).map(|entry| entry.1);
        let mut places = addresses.filter_map(|address| self.position(address).ok());
        let place = places.find(|place| self.open[*place].spelling == spelling)?;
        self.open.get_mut(place)
    }

    fn position(&self, address: usize) -> Result<usize, usize> {
        self.open.binary_search_by_key(&address, |open| open.address)
    }

    /// `sem_close(sem)`: one use less; with the last one the semaphore's memory is gone.
    ///
    /// # Errors
    /// EINVAL for an address that [`Semaphores::open`] did not give, or that has been closed as often as opened (semantics 154).
    ///
    /// # Safety
    /// With the last use nobody in the process uses the semaphore any more.
    ///
    /// # References
    /// sem_close(3), semantics 153-155.
    pub unsafe fn close(&mut self, address: usize) -> Result<(), Errno> {
        let place = self.position(address).map_err(|_| Errno::EINVAL)?;
        let open = &mut self.open[place];
        open.references -= 1;
        if open.references > 0 {
            return Ok(());
        }
        let Open { id, .. } = self.open.remove(place);
        if let Ok(place) = self.by_id.binary_search(&(id, address)) {
            self.by_id.remove(place);
        }
        // SAFETY: the entry says that the mapping is ours, and the caller promised that nobody uses it.
        unsafe { sys::unmap_page(address) };
        Ok(())
    }
}

/// A descriptor of the semaphore `name`, which is made if need be.
fn open_descriptor(root: Option<usize>, name: &[u8], create: Option<Create<'_>>) -> Result<usize, Errno> {
    loop {
        if create.is_none_or(|create| !create.exclusive) {
            match sys::open_from(root, &Path::semaphore_page(name), flag::O_RDWR | flag::O_CLOEXEC) {
                Err(Errno::ENOENT) => {}
                result => return result,
            }
        }
        let Some(create) = create else { return Err(Errno::ENOENT) };
        if create.value > SEM_VALUE_MAX {
            return Err(Errno::EINVAL);
        }
        let flags = flag::O_RDWR | flag::O_CLOEXEC | flag::O_CREAT | flag::O_EXCL;
        let path = Path::new_semaphore(name, create.content)?;
        // An open from the root could not carry the mode.
        match sys::open(&path, flags, create.mode) {
            // Somebody else has been faster: that one is to be opened then.
            Err(Errno::EEXIST) if !create.exclusive => {}
            result => return result,
        }
    }
}

/// `sem_unlink(name)`: takes the name away. The semaphore lives on for those who have it open.
///
/// # Errors
/// ENOENT if there is no such name, or can be none; ENAMETOOLONG; EACCES for who is neither its owner nor root.
///
/// # References
/// sem_unlink(3), semantics 131, 132, 135, 155, 156.
pub fn sem_unlink(name: &[u8]) -> Result<(), Errno> {
    /// Longer names are none to glibc; those up to here are too long for a file.
    const FILE_NAME_MAX: usize = 255;
    let stripped = name::without_slashes(name);
    name::check(stripped).map_err(|errno| match errno {
        Errno::ENAMETOOLONG if stripped.len() <= FILE_NAME_MAX => Errno::ENAMETOOLONG,
        _ => Errno::ENOENT,
    })?;
    match sys::unlink(&Path::semaphore(stripped)) {
        Err(Errno::EPERM) => Err(Errno::EACCES),
        result => result,
    }
}
