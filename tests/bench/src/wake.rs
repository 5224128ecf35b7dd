//! How long it takes to wake another process that waits for a counter.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use crate::counter::{Counter, Watch};
use crate::cpu;
use crate::failure::{Context, Failure, Result};
use crate::helper::Helper;
use crate::measure::{Line, sample};
use crate::procfs::Stat;

/// The value that tells the waiting process to end.
const STOP: u64 = 2;

/// After the waiter sleeps, a served read has still to reach the daemon.
const REST: Duration = Duration::from_micros(100);

/// A waiter that does not sleep by then never will.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
pub(crate) enum Waiter {
    /// Blocked in a read of the counter.
    Read,
    /// Blocked in `epoll_wait`.
    Epoll,
}

/// One operation lasts from the write until the woken process's byte has
/// arrived through a pipe.
///
/// Both processes stay on one core. Left to the scheduler, a run may have them
/// together or apart, and waking a process on an idle core of a virtual machine
/// takes several times longer: the figure would tell where they were.
pub(crate) fn run(budget: Duration, waiter: Waiter) -> Result<Line> {
    cpu::pin_self(cpu::first()?)?;
    let counter = Counter::new()?;
    let (mut acks, ack_end) = pipe().context(|| "create a pipe".into())?;
    let woken = Helper::fork("the woken process", || answer(&counter, waiter, ack_end))?;
    let path = format!("/proc/{}/stat", woken.pid());
    let stat = Stat::open(&path).context(|| format!("open {path}"))?;

    let summary = sample(budget, 1, || {
        await_byte(&mut acks)?;
        await_sleep(&stat)?;
        let start = Instant::now();
        counter.add(1)?;
        await_byte(&mut acks)?;
        Ok(start.elapsed())
    })?;

    // Before it waits again, an epoll waiter may not have emptied the counter
    // yet, and would take this value together with the last one.
    await_byte(&mut acks)?;
    counter.add(STOP)?;
    woken.finish()?;
    Ok(Line { served: counter.is_served()?, summary })
}

/// The woken process. It sends a byte before each wait and one after it; the
/// epoll waiter empties the counter only after that, as its read is not part
/// of the wake-up.
fn answer(counter: &Counter, waiter: Waiter, mut ack_end: PipeWriter) -> Result<()> {
    let watch = match waiter {
        Waiter::Read => None,
        Waiter::Epoll => Some(Watch::new(counter)?),
    };
    loop {
        send_byte(&mut ack_end)?;
        let value = if let Some(watch) = &watch {
            watch.wait()?;
            send_byte(&mut ack_end)?;
            counter.take()?
        } else {
            let value = counter.take()?;
            send_byte(&mut ack_end)?;
            value
        };
        if value == STOP {
            return Ok(());
        }
    }
}

/// Yields instead of sleeping: an idle core takes long to come back, which would
/// be measured along.
fn await_sleep(stat: &Stat) -> Result<()> {
    let start = Instant::now();
    while !stat.is_asleep().context(|| "read the state of the woken process".into())? {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new("the process to be woken does not sleep"));
        }
        thread::yield_now();
    }
    let slept = Instant::now();
    while slept.elapsed() < REST {
        thread::yield_now();
    }
    Ok(())
}

fn await_byte(acks: &mut PipeReader) -> Result<()> {
    acks.read_exact(&mut [0]).context(|| "hear from the woken process".into())
}

fn send_byte(ack_end: &mut PipeWriter) -> Result<()> {
    ack_end.write_all(&[0]).context(|| "write to the worker's pipe".into())
}
