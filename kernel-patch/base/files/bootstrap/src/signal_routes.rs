//! The signal router in the process manager: its handle, its calls, and what sending a signal does to a process that is watched.
//!
//! What is decided here follows Linux: a blocked signal is queued even if it is ignored, a standard signal keeps what its first sender said, and stop
//! signals that are blocked do not stop. All of this only for the signals that eventd watches; everything else goes its old way.
//!
//! The process manager tells, it never asks: news waits in a list until eventd reads it, and nothing here waits for eventd.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};

use libredox::protocol::{RtSigInfo, SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU};
use redox_scheme::{CallerCtx, OpenResult, Response, SignalBehavior, Socket};
use syscall::schemev2::NewFdFlags;
use syscall::{
    CallFlags, ContextVerb, EACCES, EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, ESRCH, Error, EventFlags, Result, SenderInfo,
    SigProcControl, Sigcontrol,
};

use super::pending_word::PendingWord;
use super::signal_exec::AtExec;
use super::signal_protocol::{
    APPOINT, CLAIM, CLD_CONTINUED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, PEEK, PendingSets, SI_QUEUE, SI_USER,
    SignalRecord, WATCH, signal_bit,
};
use super::signal_router::{self, FIRST_REALTIME, Queued, Sent, SignalRouter, Watch};
use super::{Handle, KillMode, KillTarget, ProcScheme, Process, ProcessId, ProcessStatus, Thread};

/// The process manager's part of the router. One field of the scheme.
#[derive(Debug)]
pub(super) struct Routes {
    router: RefCell<SignalRouter>,
    /// What the next signal to be sent says of a child. Left here because sending has no parameter for it.
    child: Cell<Option<SignalRecord>>,
    /// What is pending for threads that run another program.
    pub(super) at_exec: AtExec,
}

/// What happened to a child, for its parent's SIGCHLD.
pub(super) enum ChildEvent {
    Ended { signal: Option<core::num::NonZeroU8>, status: u8 },
    Stopped { signal: core::num::NonZeroU8 },
    Continued,
}

impl PendingWord for syscall::data::AtomicU64 {
    fn load(&self) -> u64 {
        syscall::data::AtomicU64::load(self, core::sync::atomic::Ordering::SeqCst)
    }
    fn set(&self, bits: u64) -> u64 {
        self.fetch_or(bits, core::sync::atomic::Ordering::SeqCst)
    }
    fn clear(&self, bits: u64) -> u64 {
        self.fetch_and(!bits, core::sync::atomic::Ordering::SeqCst)
    }
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: RefCell::new(SignalRouter::new()), child: Cell::new(None), at_exec: AtExec::new() }
    }

    /// What there is to read.
    pub(super) fn readiness(&self) -> EventFlags {
        if self.router.borrow().has_news() { EventFlags::EVENT_READ } else { EventFlags::empty() }
    }

    /// Triggers an event for the router's handle if one is due.
    pub(super) fn post_event(&self, socket: &Socket) {
        let Some(handle) = self.router.borrow_mut().take_event() else { return };
        loop {
            let event = Response::post_fevent(handle, EventFlags::EVENT_READ.bits());
            match socket.write_response(event, SignalBehavior::Interrupt) {
                Err(error) if error.errno == EINTR => continue,
                Err(error) => break log::error!("signal-router: cannot trigger an event: {error}"),
                Ok(_) => break,
            }
        }
    }

    /// What the last [`ProcScheme::note_child`] left, once.
    pub(super) fn take_child(&self) -> Option<SignalRecord> {
        self.child.take()
    }

    /// A process has ended; `watch` was its watch.
    pub(super) fn process_ended(&self, watch: Option<alloc::boxed::Box<Watch>>, pid: ProcessId) {
        self.at_exec.forget(pid);
        if watch.is_some() {
            self.router.borrow_mut().tell_end(pid.0 as u64);
        }
    }
}

/// The bit of a signal in the upper half of the word that it belongs to: set when the thread lets it through.
fn lets_through(thread: &Thread, signal: u32) -> bool {
    thread.sig_ctrl.as_ref().is_some_and(|control| {
        let word = PendingWord::load(&control.word[(signal as usize - 1) / 32]);
        (word >> 32) & (1 << ((signal - 1) % 32)) != 0
    })
}

/// What `signal_will_ign` looks at: the flag of an action that has a meaning for this signal only, for SIGCHLD SA_NOCLDSTOP.
fn has_flag_of_its_own(control: &SigProcControl, signal: usize) -> bool {
    PendingWord::load(&control.actions[signal - 1].first) & (1 << 62) != 0
}

/// SIGCONT and the stop signals cancel each other, wherever they are pending.
fn cancel_opposite(pending: &impl PendingWord, threads: &[Rc<RefCell<Thread>>], signal: u32) {
    signal_router::cancel_opposite(pending, signal);
    for thread in threads {
        if let Some(control) = &thread.borrow().sig_ctrl {
            signal_router::cancel_opposite(&control.word[0], signal);
        }
    }
}

/// The signals that are pending for just one thread.
pub(super) fn pending_for_thread(control: &Sigcontrol) -> u64 {
    let [low, high] = [&control.word[0], &control.word[1]].map(|word| PendingWord::load(word) & 0xffff_ffff);
    low | (high << 32)
}

fn interrupt(thread: &Thread) {
    // It may have ended meanwhile.
    let _ = thread.status_hndl.write(&(ContextVerb::Interrupt as usize).to_ne_bytes());
}

/// How a signal is sent to a process that is not watched: kill() works for realtime signals, and sigqueue() for the others, which have no place for a value.
/// Who sent it is not for the sender to say.
pub(super) fn for_any_signal(mode: KillMode, signal: u32, sender: SenderInfo) -> KillMode {
    let (code, arg) = match mode {
        _ if signal < FIRST_REALTIME => return KillMode::Idempotent,
        KillMode::Queued(info) => (SI_QUEUE, info.arg),
        KillMode::Idempotent => (SI_USER, 0),
    };
    KillMode::Queued(RtSigInfo { arg, code, uid: sender.ruid, pid: sender.pid })
}

impl Queued for RtSigInfo {
    fn record(&self, signal: u32) -> SignalRecord {
        SignalRecord {
            signo: signal,
            code: self.code,
            pid: self.pid,
            uid: self.uid,
            value: self.arg as u64,
            ..SignalRecord::default()
        }
    }
}

impl ProcScheme<'_> {
    pub(super) fn open_signal_router(&mut self, caller: &CallerCtx) -> Result<OpenResult> {
        if caller.uid != 0 {
            return Err(Error::new(EACCES));
        }
        if self.routes.router.borrow().is_open() {
            return Err(Error::new(EBUSY));
        }
        let number = self.handles.insert(Handle::SignalRouter);
        self.routes.router.borrow_mut().open(number);
        self.appoint_router(caller.pid as u64);
        Ok(OpenResult::ThisScheme { number, flags: NewFdFlags::empty() })
    }

    pub(super) fn close_signal_router(&mut self) {
        for process in self.processes.values() {
            process.borrow_mut().watch = None;
        }
        self.routes.router.borrow_mut().close();
        self.appoint_router(0);
    }

    /// Tells the kernel which process may take signals of threads that wait in its calls.
    fn appoint_router(&self, pid: u64) {
        let told =
            redox_rt::sys::sys_call_wo(self.auth.as_raw_fd(), &pid.to_ne_bytes(), CallFlags::empty(), &[APPOINT]);
        if let Err(error) = told {
            log::warn!("signal-router: this kernel does not route the signals of threads: {error}");
        }
    }

    pub(super) fn read_signal_router(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.len() < size_of::<u64>() {
            return Err(Error::new(EINVAL));
        }
        let processes = &self.processes;
        let bytes = self.routes.router.borrow_mut().read(buffer, |pid| {
            if let Some(process) = processes.get(&ProcessId(pid as usize))
                && let Some(watch) = &mut process.borrow_mut().watch
            {
                signal_router::heard(watch);
            }
        });
        if bytes == 0 { Err(Error::new(EAGAIN)) } else { Ok(bytes) }
    }

    pub(super) fn call_signal_router(&mut self, metadata: &[u64], payload: &mut [u8]) -> Result<usize> {
        let &[verb, pid, mask, ..] = metadata else {
            return Err(Error::new(EINVAL));
        };
        let least = match verb {
            WATCH | PEEK => PendingSets::SIZE,
            CLAIM => SignalRecord::SIZE,
            _ => return Err(Error::new(EINVAL)),
        };
        if payload.len() < least {
            return Err(Error::new(EINVAL));
        }
        let process = self.processes.get(&ProcessId(pid as usize)).ok_or(Error::new(ESRCH))?;
        let process = &mut *process.borrow_mut();
        if matches!(process.status, ProcessStatus::Exited { .. }) {
            return Err(Error::new(ESRCH));
        }
        let Process { watch, sig_pctl, rtqs, threads, .. } = process;
        let control = sig_pctl.as_deref().ok_or(Error::new(ESRCH))?;

        if verb == CLAIM {
            let (places, _) = payload.as_chunks_mut::<{ SignalRecord::SIZE }>();
            let room = places.len();
            let mut places = places.iter_mut();
            return Ok(signal_router::claim(
                watch.as_deref(),
                &control.pending,
                rtqs,
                mask,
                room,
                |signal| control.sender_infos.get(signal as usize - 1).map_or(0, PendingWord::load),
                |record| {
                    if let Some(place) = places.next() {
                        *place = record.to_bytes();
                    }
                },
            ));
        }

        if verb == WATCH {
            let mut router = self.routes.router.borrow_mut();
            match watch {
                Some(_) if mask == 0 => {
                    *watch = None;
                    router.watch_ends();
                }
                Some(watch) => watch.set_mask(mask),
                None if mask == 0 => (),
                None if router.watch_begins() => *watch = Some(alloc::boxed::Box::new(Watch::new(mask))),
                None => return Err(Error::new(ENOMEM)),
            }
        }
        let of_threads = threads.iter().fold(0, |set, thread| {
            let thread = thread.borrow();
            set | thread.sig_ctrl.as_ref().map_or(0, |control| pending_for_thread(control))
        });
        let sets = PendingSets { process: PendingWord::load(&control.pending) & mask, threads: of_threads & mask };
        payload[..PendingSets::SIZE].copy_from_slice(&sets.to_bytes());
        Ok(0)
    }

    /// Says of the next SIGCHLD, which follows at once, what happened to which child.
    pub(super) fn note_child(&self, pid: ProcessId, event: ChildEvent) {
        let Some(child) = self.processes.get(&pid) else { return };
        let (code, status) = match event {
            ChildEvent::Ended { signal: Some(signal), .. } => (CLD_KILLED, i32::from(signal.get())),
            ChildEvent::Ended { signal: None, status } => (CLD_EXITED, i32::from(status)),
            ChildEvent::Stopped { signal } => (CLD_STOPPED, i32::from(signal.get())),
            ChildEvent::Continued => (CLD_CONTINUED, SIGCONT as i32),
        };
        self.routes.child.set(Some(SignalRecord {
            signo: SIGCHLD as u32,
            code,
            pid: pid.0 as u32,
            uid: child.borrow().ruid,
            status,
            ..SignalRecord::default()
        }));
    }

    /// A signal is about to be sent to `process`, which is watched. Some(..) if that is done with this; None if it is to go its usual way.
    pub(super) fn route_signal(
        &self,
        process: &mut Process,
        target: &KillTarget,
        signal: u32,
        sender: SenderInfo,
        mode: &KillMode,
        child: Option<SignalRecord>,
        stop_or_continue: bool,
        is_self: bool,
        killed_self: &mut bool,
    ) -> Option<Sent> {
        let stopped = matches!(process.status, ProcessStatus::Stopped(_));
        let pid = process.pid.0 as u64;
        let Process { watch: Some(watch), sig_pctl: Some(control), rtqs, threads, .. } = process else {
            return None;
        };
        let pending = &control.pending;
        if !watch.covers(signal) {
            if let KillTarget::Proc(_) = target {
                watch.forget(pending, signal);
            }
            return None;
        }
        let sig = signal as usize;
        let ignored = control.signal_will_ign(sig, false);
        if sig == SIGCHLD && stop_or_continue && has_flag_of_its_own(control, sig) {
            // SA_NOCLDSTOP: there is no such signal, blocked or not.
            return None;
        }
        let stops = matches!(sig, SIGTSTP | SIGTTIN | SIGTTOU) && control.signal_will_stop(sig);

        if let KillTarget::Thread(thread) = target {
            let thread = thread.borrow();
            let control = thread.sig_ctrl.as_ref()?;
            let blocked = !lets_through(&thread, signal);
            if ignored && !blocked {
                return None;
            }
            // Told even if the thread lets it through: it may block it before the bit is set.
            self.routes.router.borrow_mut().tell(watch, pid);
            if stops && !blocked {
                return None;
            }
            cancel_opposite(pending, threads, signal);
            if !ignored && !stops {
                return None;
            }
            // This slot is all there is, for signal n and n + 32; their senders are of the same process.
            control.sender_infos[(sig - 1) % 32].store(sender.raw(), core::sync::atomic::Ordering::SeqCst);
            PendingWord::set(&control.word[(sig - 1) / 32], 1 << ((signal - 1) % 32));
            if lets_through(&thread, signal) {
                *killed_self |= is_self;
                interrupt(&thread);
            }
            return Some(Sent::Pending);
        }

        let blocked = !threads.iter().any(|thread| lets_through(&thread.borrow(), signal));
        if !blocked && (ignored || stops) {
            watch.forget(pending, signal);
            return None;
        }
        cancel_opposite(pending, threads, signal);

        let sent = if signal < FIRST_REALTIME {
            let record = child.filter(|child| child.signo == signal).unwrap_or_else(|| {
                let (code, value) = match mode {
                    KillMode::Queued(info) => (SI_QUEUE, info.arg as u64),
                    KillMode::Idempotent => (SI_USER, 0),
                };
                SignalRecord {
                    signo: signal,
                    code,
                    pid: sender.pid,
                    uid: sender.ruid,
                    value,
                    ..SignalRecord::default()
                }
            });
            let sender = SenderInfo { pid: record.pid, ruid: record.uid };
            watch.send_standard(pending, record, || {
                control.sender_infos[sig - 1].store(sender.raw(), core::sync::atomic::Ordering::SeqCst);
            })
        } else {
            let KillMode::Queued(info) = for_any_signal(*mode, signal, sender) else { return None };
            signal_router::send_realtime(pending, rtqs, signal, info)
        };
        if sent == Sent::Full {
            return Some(sent);
        }
        if sent == Sent::Pending {
            self.routes.router.borrow_mut().tell(watch, pid);
        }
        // Looked at after the bit was set: a thread that lets the signal through now either sees the bit, or is seen here.
        if let Some(thread) = threads.iter().find(|thread| lets_through(&thread.borrow(), signal)) {
            if ignored {
                PendingWord::clear(pending, signal_bit(signal));
            } else {
                *killed_self |= is_self;
                interrupt(&thread.borrow());
            }
        }
        // A process that is stopped has yet to be continued. Then the bit is set a second time, which changes nothing.
        if sig == SIGCONT && stopped { None } else { Some(sent) }
    }
}
