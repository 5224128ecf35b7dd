//! Event queues, over epoll.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event::raw::{EventFlags, RawEventV1};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;

use crate::descriptors::{self, Special};
use crate::scheme::Scheme;

/// What a registration reports.
#[derive(Clone, Copy, Debug)]
struct Registration {
    fd: usize,
    user_data: usize,
    interest: epoll::EventFlags,
}

/// An event queue of the daemon.
#[derive(Debug)]
pub(crate) struct EventQueue {
    epoll: OwnedFd,
    registrations: Mutex<HashMap<u64, Registration>>,
    next: AtomicU64,
}

impl EventQueue {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            registrations: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Watches `fd` for `flags`; with no flags, not any more.
    pub(crate) fn control(&self, fd: usize, flags: u32, user_data: usize) -> Result<(), Errno> {
        let flags = EventFlags::from_bits_truncate(flags);
        let mut interest = epoll::EventFlags::empty();
        interest.set(epoll::EventFlags::IN, flags.contains(EventFlags::READ));
        interest.set(epoll::EventFlags::OUT, flags.contains(EventFlags::WRITE));
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let watch = |source: BorrowedFd<'_>| {
            // An unknown source need not be forgotten.
            let _ = epoll::delete(&self.epoll, source);
            if interest.is_empty() {
                Ok(())
            } else {
                epoll::add(&self.epoll, source, EventData::new_u64(key), interest)
            }
        };
        let mut registrations = self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        match descriptors::get(fd) {
            Some(Special::Socket(socket)) => {
                watch(socket.scheme.wake())?;
                socket.scheme.with_device(watch).transpose()?;
            }
            Some(Special::SignalRouter(router)) => watch(router.wake())?,
            Some(_) => return Err(Errno::PERM),
            None => {
                let raw = i32::try_from(fd).map_err(|_| Errno::BADF)?;
                if raw < 0 {
                    return Err(Errno::BADF);
                }
                // SAFETY: the number is only used for two calls of epoll_ctl, which check it.
                watch(unsafe { BorrowedFd::borrow_raw(raw) })?;
            }
        }
        registrations.retain(|_, registration| registration.fd != fd);
        if !interest.is_empty() {
            registrations.insert(key, Registration { fd, user_data, interest });
        }
        Ok(())
    }

    /// The scheme has been mounted: if it is watched already, its requests come from the device too from now on.
    pub(crate) fn watch_device(&self, scheme: &Arc<Scheme>) -> Result<(), Errno> {
        let registrations = self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, Registration { fd, interest, .. }) in &*registrations {
            if let Some(Special::Socket(socket)) = descriptors::get(*fd)
                && Arc::ptr_eq(&socket.scheme, scheme)
            {
                let add = |device: BorrowedFd<'_>| epoll::add(&self.epoll, device, EventData::new_u64(*key), *interest);
                scheme.with_device(add).transpose()?;
            }
        }
        Ok(())
    }

    /// Waits for events and puts them into `out`; returns how many there are.
    pub(crate) fn wait(&self, out: &mut [RawEventV1], timeout: Option<Timespec>) -> Result<usize, Errno> {
        let mut events = vec![MaybeUninit::<Event>::uninit(); out.len()];
        let (ready, _) = epoll::wait(&self.epoll, events.as_mut_slice(), timeout.as_ref())?;
        let registrations = self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ready.iter().filter_map(|event| {
            let Registration { fd, user_data, .. } = *registrations.get(&{ event.data }.u64())?;
            let happened = event.flags;
            let readable = epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP;
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::READ, happened.intersects(readable));
            flags.set(EventFlags::WRITE, happened.contains(epoll::EventFlags::OUT));
            Some(RawEventV1 { fd, user_data, flags: flags.bits() })
        });
        Ok(out.iter_mut().zip(found).map(|(slot, event)| *slot = event).count())
    }
}
