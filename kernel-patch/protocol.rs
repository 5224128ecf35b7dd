//! What eventd says to the process manager and to the kernel about signals: numbers and layouts, nothing else.
//!
//! This one file is compiled three times: in eventd (by path), in the process manager and in the kernel (copied there by `make-patch.sh`).
//! It uses `core` only. All numbers are in the byte order of the machine.
//!
//! # The process manager: the signal router
//!
//! `open("/scheme/proc/signal-router", O_RDWR | O_CLOEXEC)` gives the router's handle.
//!
//! | errno | when |
//! |---|---|
//! | ENOENT, ENODEV | a process manager without the patch, or no `proc` scheme in this namespace |
//! | EACCES | the caller's effective uid is not 0 |
//! | EBUSY | another handle is open: there is one router |
//!
//! The process that opens it *is* the router, by its pid, until the handle is closed (last reference): a forked child may use the handle, but only
//! the opener may use the kernel's verbs below. Closing drops every watch. Exec keeps the pid, so open with `O_CLOEXEC`.
//!
//! Calls: `redox_sys_call_v0(handle, payload, payload_len, READ | WRITE, metadata, 3)` with `metadata = [verb, pid, mask]`, where bit `n - 1` of a mask
//! or set stands for signal `n`. SIGKILL and SIGSTOP (and 32, which Redox does not have) are dropped from every mask. No call blocks.
//! A verb that is not listed: EINVAL. A payload that is too short: EINVAL, and nothing happened.
//!
//! - [`WATCH`]: from now on the router is told of signals in `mask` that become pending for process `pid`, whichever of its threads or the process as a
//!   whole they are directed at. Replaces the mask of an earlier WATCH of that pid; a mask of 0 forgets the process. Returns 0, and in the payload
//!   (16 bytes) a [`PendingSets`] of what is pending already. What becomes pending later is told by a read: nothing falls between.
//!   ESRCH: no such process, it has ended, or it has set up no signals yet. ENOMEM: the process manager is out of memory.
//!   While a process is watched, signals of its mask that it blocks are queued even if it ignores them, carry all that a [`SignalRecord`] has, and realtime
//!   signals queue up to [`QUEUE_LIMIT`].
//! - [`PEEK`]: what of `mask` is pending for `pid`, a [`PendingSets`], without taking. Returns 0. ESRCH as above. Needs no watch.
//! - [`CLAIM`]: takes signals of `mask` that are directed at process `pid` as a whole, lowest number first (but before all those that faults raise), in the order they were sent for one realtime
//!   signal, and fills the payload with a [`SignalRecord`] for each, as many as fit in `payload_len` ([`SignalRecord::SIZE`] bytes each; the
//!   rest is left alone). Returns how many, perhaps 0. Each signal that is taken was pending and is pending no longer; a signal that
//!   the process takes itself at the same moment (handler, sigwait) is taken by exactly one of both. Signals directed at a single thread are
//!   not taken: see the kernel's verb. A claim looks at `mask` only, not at which threads block the signal, as Linux does.
//!   EINVAL: the payload holds no record. ESRCH as above. Needs no watch, but records of signals that were sent before the watch know less: code
//!   [`SI_USER`], no value, no status.
//!
//! `read(handle, buf, len)`: news, an array of `u64`, at least one, as many as there are and fit. It **never blocks**: EAGAIN when there is no
//! news, whatever the flags of the descriptor. `len < 8`: EINVAL. Each is one of
//! - a pid: at least one signal of its mask became pending since this pid was read last (or since WATCH). Told once, however many signals; told again only
//!   after it was read. It may be gone by the time (taken by the process): a hint to look, not a promise.
//! - `pid | ENDED`: the process has ended and its watch is gone. Pids are never used again. News of the same pid may come before it, not after it.
//!
//! The handle can be watched by an event queue (`EVENT_READ`). An event is triggered when news comes and the last read found none (EAGAIN). So read until then
//! for each event: a stream of signals costs one event, and not one each.
//!
//! # The kernel: a request's own thread
//!
//! A signal that is directed at one thread can be taken only on behalf of that thread, while it waits in a call. So the verb is a call on the *scheme socket*
//! that serves the call: `redox_sys_call_v0(socket, payload, payload_len, READ, metadata, 3)` with `metadata = [verb, tag, mask]`, where `tag` is the tag of a
//! request of this socket that is not answered yet (`Sqe.tag`, the same number that a Cancel or an answer names; redox-scheme's `Id` hides it, but hashes it
//! with `write_u32`).
//!
//! - [`THREAD_CLAIM`]: takes signals of `mask` which are directed at exactly the thread that waits for `tag`, and which this thread blocks, in the same order.
//!   Payload and result as with [`CLAIM`]; the code is [`SI_TKILL`], pid and uid are the sender's, which on Redox is always the same process.
//! - [`THREAD_PEEK`]: writes one `u64` to the payload (8 bytes): the set that THREAD_CLAIM would take from. Returns 0.
//!
//! | errno | when |
//! |---|---|
//! | EPERM | the caller is not the process that holds the signal router |
//! | ENOENT | no unanswered request has this tag |
//! | ESRCH | the thread is being killed, or has set up no signals |
//! | EINVAL | a payload that is too short |
//! | EOPNOTSUPP | another verb, or a kernel without the patch |
//!
//! A claim that fails has taken nothing. A claimed signal is gone for the thread even if the request is then answered with an error: claim last, and answer
//! with what was claimed.
//!
//! Also with this patch: a request whose caller is killed (SIGKILL, or the end of its process) gets a Cancel, once, like one that a signal interrupts. Answer it
//! with ECANCELED; nobody sees the answer.

/// Router call: register the union of the masks of a process's signalfds.
pub const WATCH: u64 = 1;
/// Router call: which signals are pending.
pub const PEEK: u64 = 2;
/// Router call: take signals that are directed at the process.
pub const CLAIM: u64 = 3;

/// In news: the process has ended.
pub const ENDED: u64 = 1 << 63;

/// Call on a scheme socket: take signals of the thread that waits for a request. Far away from upstream's `SchemeSocketCall`.
pub const THREAD_CLAIM: u64 = 0x5349_4746_0000_0001;
/// Call on a scheme socket: which signals of that thread could be taken.
pub const THREAD_PEEK: u64 = 0x5349_4746_0000_0002;

/// The process manager's word to the kernel, on its authority handle (payload: the pid as `u64`, 0 for nobody): who the router is.
pub const APPOINT: u64 = 0x5349_4746_0000_0003;

/// As many realtime signals wait in one watched process, all numbers together; sending one more answers EAGAIN, also to root.
pub const QUEUE_LIMIT: usize = 16384;

/// `code` of kill().
pub const SI_USER: i32 = 0;
/// `code` of sigqueue().
pub const SI_QUEUE: i32 = -1;
/// `code` of pthread_kill() and raise().
pub const SI_TKILL: i32 = -6;
/// `code` of SIGCHLD: the child has exited, `status` is its exit code.
pub const CLD_EXITED: i32 = 1;
/// `code` of SIGCHLD: a signal ended the child, `status` is its number.
pub const CLD_KILLED: i32 = 2;
/// `code` of SIGCHLD: a signal stopped the child, `status` is its number.
pub const CLD_STOPPED: i32 = 5;
/// `code` of SIGCHLD: the child goes on, `status` is SIGCONT.
pub const CLD_CONTINUED: i32 = 6;

/// The bit of a signal in a mask or set. 0 for numbers that are no signals.
pub const fn signal_bit(signal: u32) -> u64 {
    match signal {
        1..=64 => 1 << (signal - 1),
        _ => 0,
    }
}

/// What may be in a watch's mask: not SIGKILL (9), not SIGSTOP (19), and not 32, which Redox does not have.
pub const WATCHABLE: u64 = !(signal_bit(9) | signal_bit(19) | signal_bit(32));

/// What is pending for a process, limited to the mask that was asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PendingSets {
    /// Directed at the process as a whole.
    pub process: u64,
    /// Directed at a thread, any of them.
    pub threads: u64,
}

impl PendingSets {
    /// Its bytes.
    pub const SIZE: usize = 16;

    /// The words in their order, as bytes.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.process.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.threads.to_ne_bytes());
        bytes
    }

    /// The reverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = bytes;
        Self {
            process: u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            threads: u64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
        }
    }
}

/// A signal that was taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SignalRecord {
    /// Its number, 1 to 64.
    pub signo: u32,
    /// How it was sent: `SI_*` or `CLD_*`.
    pub code: i32,
    /// Who sent it; for SIGCHLD the child.
    pub pid: u32,
    /// The real uid of that process.
    pub uid: u32,
    /// The value that sigqueue() gave, all bits of the `sigval`.
    pub value: u64,
    /// SIGCHLD: exit code or signal number.
    pub status: i32,
    /// SIGCHLD: the child's CPU time in clock ticks. Redox does not count it: 0.
    pub utime: u32,
    /// As `utime`.
    pub stime: u32,
}

impl SignalRecord {
    /// Its bytes: the fields in their order, each at its natural alignment, then zeros.
    pub const SIZE: usize = 48;

    /// Bytes 0 signo, 4 code, 8 pid, 12 uid, 16 value, 24 status, 28 utime, 32 stime, 36 to 47 zero.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.signo.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.code.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.value.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.status.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.utime.to_ne_bytes());
        bytes[32..36].copy_from_slice(&self.stime.to_ne_bytes());
        bytes
    }

    /// The reverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        fn four(bytes: &[u8; SignalRecord::SIZE], at: usize) -> [u8; 4] {
            [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
        }
        let mut value = [0; 8];
        value.copy_from_slice(&bytes[16..24]);
        Self {
            signo: u32::from_ne_bytes(four(bytes, 0)),
            code: i32::from_ne_bytes(four(bytes, 4)),
            pid: u32::from_ne_bytes(four(bytes, 8)),
            uid: u32::from_ne_bytes(four(bytes, 12)),
            value: u64::from_ne_bytes(value),
            status: i32::from_ne_bytes(four(bytes, 24)),
            utime: u32::from_ne_bytes(four(bytes, 28)),
            stime: u32::from_ne_bytes(four(bytes, 32)),
        }
    }
}
