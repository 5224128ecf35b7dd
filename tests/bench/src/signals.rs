//! The cases of signalfd, and of signals that no signalfd is about.

use std::io::{self, pipe};
use std::process;
use std::time::{Duration, Instant};

use libc::pid_t;

use crate::cpu;
use crate::failure::{Context, Failure, Result};
use crate::helper::Helper;
use crate::measure::{Line, sample};
use crate::operations;
use crate::signalfd::{self, Signalfd, Signals};
use crate::sys;
use crate::wake::{self, Woken, await_byte, send_byte};

/// The signal that tells the other process to end.
const STOP: i32 = libc::SIGUSR2;

/// Signals on their way to the reader: more records than one read takes, and fewer than any limit on them.
const STREAM: u32 = 256;

/// Signals per sample of an unrelated kill.
const KILLS: u32 = 16;

/// Those that all processes of a case block.
fn blocked(signal: i32) -> Result<Signals> {
    let signals = Signals::of(&[signal, STOP])?;
    signals.block()?;
    Ok(signals)
}

pub(crate) fn create_close(budget: Duration) -> Result<Line> {
    let signals = blocked(libc::SIGUSR1)?;
    operations::create_close(budget, || Signalfd::new(&signals), Signalfd::is_served)
}

/// One operation lasts from the kill until the byte of the process that waited in a read has arrived.
pub(crate) fn wake(budget: Duration) -> Result<Line> {
    let signals = blocked(libc::SIGUSR1)?;
    let mut woken = Woken::fork(|acks| {
        // Its own: a process that inherits one through the preload library has to start a thread first.
        let file = Signalfd::new(&signals)?;
        wake::answer(acks, |acks| {
            let records = file.read()?;
            send_byte(acks)?;
            Ok(records.iter().any(|record| record.ssi_signo == STOP.cast_unsigned()))
        })
    })?;
    let pid = woken.pid();
    let send = |signal| sys::kill(pid, signal).context(|| "signal the woken process".into());
    let summary = woken.sample(budget, || send(libc::SIGUSR1))?;
    woken.end(|| send(STOP))?;
    Ok(Line { served: Signalfd::new(&signals)?.is_served()?, summary })
}

/// A stream of values by `sigqueue`, several of which are taken by each read. The reader says when it has had so many; both processes stay on one core, for the
/// reason that [`wake::run`] has.
pub(crate) fn stream(budget: Duration) -> Result<Line> {
    cpu::pin_self(cpu::first()?)?;
    let signal = libc::SIGRTMIN();
    let signals = blocked(signal)?;
    let (mut acks, mut ack_end) = pipe().context(|| "create a pipe".into())?;
    let reader = Helper::fork("the reader", || {
        let file = Signalfd::new(&signals)?;
        let mut next = 0;
        send_byte(&mut ack_end)?;
        loop {
            for record in file.read()? {
                if record.ssi_signo == STOP.cast_unsigned() {
                    return Ok(());
                }
                if record.ssi_int.cast_unsigned() != next {
                    return Err(Failure::new(format!("{} came, not {next}", record.ssi_int)));
                }
                next += 1;
            }
            if next == STREAM {
                next = 0;
                send_byte(&mut ack_end)?;
            }
        }
    })?;
    await_byte(&mut acks)?;
    let summary = sample(budget, STREAM, || {
        let start = Instant::now();
        (0..STREAM).try_for_each(|value| signalfd::queue(reader.pid(), signal, value))?;
        await_byte(&mut acks)?;
        Ok(start.elapsed())
    })?;
    sys::kill(reader.pid(), STOP).context(|| "end the reader".into())?;
    reader.finish()?;
    Ok(Line { served: Signalfd::new(&signals)?.is_served()?, summary })
}

/// A kill of this process, which has no signalfd and blocks the signal; a realtime one, as it becomes pending as often as it is sent.
pub(crate) fn unrelated_kill(budget: Duration) -> Result<Line> {
    cpu::pin_self(cpu::first()?)?;
    let signal = libc::SIGRTMIN();
    let signals = blocked(signal)?;
    let pid = pid_t::try_from(process::id()).map_err(io::Error::other).context(|| "find this process".into())?;
    let summary = sample(budget, KILLS, || {
        let start = Instant::now();
        (0..KILLS).try_for_each(|_| sys::kill(pid, signal)).context(|| "signal this process".into())?;
        let killed = start.elapsed();
        (0..KILLS).try_for_each(|_| signals.take())?;
        Ok(killed)
    })?;
    Ok(Line { served: Signalfd::new(&signals)?.is_served()?, summary })
}
