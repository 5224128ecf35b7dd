//! The signal router's verbs on scheme sockets: what is pending for the very thread that waits for a request, and taking it.
//!
//! Who may: the process that the process manager appointed, over its authority handle, when it let this process open the signal router. Nobody is appointed
//! before. And even the router reaches no further than the threads that wait, at this moment, for an answer of the scheme whose socket it holds.

use alloc::{sync::Weak, vec::Vec};
use core::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    pending_word::PendingWord,
    signal_protocol::{SignalRecord, THREAD_CLAIM, THREAD_PEEK},
    thread_claim, State, UserInner,
};
use crate::{
    context::{self, Context, ContextLock},
    sync::CleanLockToken,
    syscall::{
        error::*,
        usercopy::{UserSliceRw, UserSliceWo},
    },
};

/// The pid of the router, 0 for nobody. Pids are not used again.
static ROUTER: AtomicU64 = AtomicU64::new(0);

/// As many signals as there are: a thread has each at most once.
const MOST: usize = 64;

impl PendingWord for syscall::AtomicU64 {
    fn load(&self) -> u64 {
        syscall::AtomicU64::load(self, Ordering::SeqCst)
    }
    fn set(&self, bits: u64) -> u64 {
        self.fetch_or(bits, Ordering::SeqCst)
    }
    fn clear(&self, bits: u64) -> u64 {
        self.fetch_and(!bits, Ordering::SeqCst)
    }
}

/// The process manager says who the router is. The caller has checked that it is the process manager.
pub fn appoint(payload: UserSliceRw) -> Result<usize> {
    let mut pid = [0; 8];
    payload
        .limit(pid.len())
        .ok_or(Error::new(EINVAL))?
        .copy_to_slice(&mut pid)?;
    ROUTER.store(u64::from_ne_bytes(pid), Ordering::SeqCst);
    Ok(0)
}

/// Whether a signal that the thread lets through is pending already.
pub fn has_signal(context: &Context) -> bool {
    context
        .sigcontrol()
        .is_some_and(|(thread, process, _)| thread.currently_pending_unblocked(process) != 0)
}

/// The caller is being killed and will not come back for the answer. So the answer has to clean up, which it does for callers that are gone.
pub(super) fn abandon(state: &mut State) {
    if let State::Waiting { context, .. } = state {
        *context = Weak::new();
    }
}

impl UserInner {
    /// [`THREAD_CLAIM`] and [`THREAD_PEEK`], as `signal_protocol.rs` describes them.
    pub fn signal_call(
        &self,
        payload: UserSliceRw,
        metadata: &[u64],
        token: &mut CleanLockToken,
    ) -> Result<usize> {
        if !matches!(metadata.first(), Some(&(THREAD_CLAIM | THREAD_PEEK))) {
            // As without the patch: redox-scheme tries calls of its own here.
            return Err(Error::new(EOPNOTSUPP));
        }
        let router = ROUTER.load(Ordering::SeqCst);
        let caller = context::current().read(token.token()).pid as u64;
        if router == 0 || caller != router {
            return Err(Error::new(EPERM));
        }
        let &[verb, tag, mask] = metadata else {
            return Err(Error::new(EINVAL));
        };
        let tag = usize::try_from(tag).map_err(|_| Error::new(ENOENT))?;
        match verb {
            THREAD_PEEK => {
                let place = payload
                    .limit(mem::size_of::<u64>())
                    .ok_or(Error::new(EINVAL))?;
                let set = self.with_waiting_thread(tag, token, |words, _| {
                    thread_claim::pending(words, mask)
                })?;
                place.copy_from_slice(&set.to_ne_bytes())?;
                Ok(0)
            }
            THREAD_CLAIM => {
                let room = MOST.min(payload.len() / SignalRecord::SIZE);
                if room == 0 {
                    return Err(Error::new(EINVAL));
                }
                let mut records = Vec::with_capacity(room * SignalRecord::SIZE);
                // Before anything is taken: what is taken and then cannot be written would be lost.
                let place = payload
                    .limit(room * SignalRecord::SIZE)
                    .ok_or(Error::new(EINVAL))?;
                touch(place)?;
                let taken = self.with_waiting_thread(tag, token, |words, senders| {
                    thread_claim::claim(words, mask, room, senders, |record| {
                        records.extend_from_slice(&record.to_bytes())
                    })
                })?;
                place
                    .limit(records.len())
                    .ok_or(Error::new(EINVAL))?
                    .copy_from_slice(&records)?;
                Ok(taken)
            }
            _ => Err(Error::new(EOPNOTSUPP)),
        }
    }

    /// Runs `f` on the signal words of the thread that waits for the answer to request `tag`, and on a function that names the sender of a signal.
    ///
    /// An answer needs the same lock, so the thread cannot return from its call, and touch its words, while `f` runs. And it cannot
    /// run for another reason: a signal does not let it out of the call, and a kill does not let it back to its own code.
    fn with_waiting_thread<T>(
        &self,
        tag: usize,
        token: &mut CleanLockToken,
        f: impl FnOnce([&syscall::AtomicU64; 2], &dyn Fn(u32) -> u64) -> T,
    ) -> Result<T> {
        let mut states = self.states.lock(token.token());
        let (states, mut token) = states.token_split();
        let Some(State::Waiting { context, .. }) = states.get(tag) else {
            return Err(Error::new(ENOENT));
        };
        let thread: alloc::sync::Arc<ContextLock> = context.upgrade().ok_or(Error::new(ESRCH))?;
        let thread = thread.read(token.token());
        if thread.being_sigkilled {
            return Err(Error::new(ESRCH));
        }
        let (control, _, _) = thread.sigcontrol().ok_or(Error::new(ESRCH))?;
        let [low, high] = &control.word;
        // There is one slot for signal n and n + 32. Both can only be sent by the thread's own process.
        let sender = |signal: u32| {
            control
                .sender_infos
                .get((signal as usize - 1) % 32)
                .map_or(0, PendingWord::load)
        };
        Ok(f([low, high], &sender))
    }
}

/// Fails if the memory cannot be written.
fn touch(place: UserSliceRw) -> Result<()> {
    const ZEROS: [u8; MOST * SignalRecord::SIZE] = [0; MOST * SignalRecord::SIZE];
    let zeros = ZEROS.get(..place.len()).ok_or(Error::new(EINVAL))?;
    let place: UserSliceWo = place.reinterpret_unchecked();
    place.copy_from_slice(zeros)
}
