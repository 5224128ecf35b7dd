//! Handles that a client got by a dup with an argument, on the way to it: see `dup.rs`.

use std::os::fd::AsRawFd;

use rustix::rand::{GetRandomFlags, getrandom};
use syscall::data::Stat;
use syscall::error::Error;
use syscall::schemev2::NewFdFlags;
use zerocopy::IntoBytes;

use super::nodes::is_directory;
use super::wire::{self, EntryOut, IoctlOut, OpenOut};
use super::{BAD_FILE, Kernel, Outcome, Requester, Session, attributes};
use crate::dup;
use crate::file_id::FileId;
use crate::ioctl::Dup;
use crate::memory::Region;
use crate::protocol::{Identity, Operation};
use crate::translate::{LinuxErrno, errno_to_linux};

/// How many handles may wait at one description.
///
/// A client opens what it got at once. If it is killed before it does, nobody ever will, and the handle stays open until the description goes that it was made
/// from: mostly with the client, but another process may have that description too, and have more children. So the oldest is given up when there are too many. If
/// that was somebody's who is just slow, its dup fails with EOPNOTSUPP.
const MAX_WAITING: usize = 64;

/// A handle that nobody has opened yet.
#[derive(Debug)]
pub(super) struct Duplicate {
    /// The file that it was made from.
    origin: u64,
    /// A node of its own, even if the object has one already: the kernel does not let a file be memory and a stream at once.
    node: u64,
    opened: OpenOut,
}

impl Session {
    /// Asks the daemon for another handle of an open file, and replies with the path where it, or its memory, can be opened.
    pub(super) fn duplicate(&mut self, kernel: &mut Kernel, from: Requester, origin: u64, argument: &[u8]) {
        let Some(file) = self.file(origin) else { return self.refuse(from, BAD_FILE) };
        self.call(kernel, from, Operation::dup(file.id, argument), move |session, kernel, answer| {
            let id = match answer.result {
                Ok(id) => id,
                Err(error) => return session.reply_duplicate(from, Err(errno_to_linux(error.errno))),
            };
            session.stat_opened(kernel, from, id, move |session, kernel, stat| match stat {
                // Linux opens directories for reading only, and the caller opens it as it opened the origin.
                Ok(stat) if is_directory(&stat) => {
                    kernel.close(id);
                    session.reply_duplicate(from, Err(LinuxErrno(libc::EISDIR)));
                }
                Ok(stat) => session.offer(kernel, from, origin, id, answer.new_descriptor, stat),
                Err(errno) => session.reply_duplicate(from, Err(errno)),
            });
        });
    }

    fn offer(
        &mut self,
        kernel: &mut Kernel,
        from: Requester,
        origin: u64,
        id: usize,
        new_descriptor: NewFdFlags,
        stat: Stat,
    ) {
        let mut random = 0_u128;
        // The kernel gives so few bytes at once or, before it has any, none.
        if getrandom(random.as_mut_bytes(), GetRandomFlags::empty()) != Ok(size_of::<u128>()) {
            kernel.close(id);
            return self.reply_duplicate(from, Err(LinuxErrno(libc::EIO)));
        }
        let name = dup::name(random);
        let node = self.nodes.add(&name, stat);
        let from = Requester { node, ..from };
        self.opened(kernel, from, id, new_descriptor, &stat, move |session, kernel, opened| {
            session.duplicates.insert(name.clone(), Duplicate { origin, node, opened });
            if let Some(region) = session.copied_memory(&opened) {
                // Nobody would tell of its end.
                session.give_up(kernel, from.identity, &name);
                return session.reply_duplicate(from, memory_file(&region));
            }
            let waiting = session.file_mut(origin).map(|file| {
                file.duplicates.push_back(name.clone());
                file.duplicates.len()
            });
            if waiting.is_some_and(|count| count > MAX_WAITING)
                && let Some(oldest) = session.file_mut(origin).and_then(|file| file.duplicates.pop_front())
            {
                session.give_up(kernel, from.identity, &oldest);
            }
            session.reply_duplicate(from, answer(session.mount.path_of(&name).as_os_str().as_encoded_bytes()));
        });
    }

    /// The memory of a file of which clients would have copies, in the page cache. Who opens such a file by a path may know how to live with that; an atomic
    /// counter cannot, and there is no telling what else a dup is made for.
    fn copied_memory(&self, opened: &OpenOut) -> Option<Region> {
        let shared = opened.open_flags & wire::open::PASSTHROUGH != 0;
        self.file(opened.fh).and_then(|file| file.memory.clone()).filter(|_| !shared)
    }

    fn reply_duplicate(&self, from: Requester, dup: Outcome<Dup>) {
        let dup = dup.unwrap_or_else(|errno| Dup::failed(Error::new(errno.0)));
        // Not as the result of ioctl, as for a call.
        self.send_reply(from.unique, &[IoctlOut::default().as_bytes(), dup.as_bytes()]);
    }

    /// The entry of a handle that waits at `path`.
    pub(super) fn entry_of_duplicate(&mut self, path: &str) -> Option<EntryOut> {
        let nodeid = self.duplicates.get(path)?.node;
        let node = self.nodes.get_mut(nodeid)?;
        node.lookups += 1;
        Some(EntryOut { nodeid, attr: attributes(nodeid, &node.stat), ..EntryOut::default() })
    }

    /// Hands out what waits at `path`, once.
    pub(super) fn take_duplicate(&mut self, path: &str) -> Option<OpenOut> {
        let Duplicate { origin, opened, .. } = self.duplicates.remove(path)?;
        if let Some(file) = self.file_mut(origin) {
            file.duplicates.retain(|name| name != path);
        }
        Some(opened)
    }

    /// Closes a handle that nobody has opened.
    pub(super) fn give_up(&mut self, kernel: &mut Kernel, identity: Identity, name: &str) {
        let Some(Duplicate { node, opened, .. }) = self.duplicates.remove(name) else { return };
        self.close(kernel, identity, opened.fh);
        // Unless the kernel knows the node, which it says when it forgets it.
        self.nodes.forget(node, 0);
    }
}

fn answer(path: &[u8]) -> Outcome<Dup> {
    Dup::new(path).ok_or(LinuxErrno(libc::ENAMETOOLONG))
}

/// Where processes that may look into this one find the memory file of a region: at the descriptor that is there as long as the region is. There is nothing to
/// take back if nobody comes.
fn memory_file(region: &Region) -> Outcome<Dup> {
    // With the file a client would get more than the region.
    if !region.is_whole_file() {
        return Err(LinuxErrno(libc::EOPNOTSUPP));
    }
    let file = region.file();
    let memory = FileId::of(file).map_err(|error| LinuxErrno(error.raw_os_error()))?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    answer(path.as_bytes()).map(|dup| dup.of_memory(memory))
}
