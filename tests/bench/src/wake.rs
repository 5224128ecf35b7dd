//! How long it takes to wake another process that waits.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use libc::pid_t;

use crate::counter::{Counter, Watch};
use crate::cpu;
use crate::failure::{Context, Failure, Result};
use crate::helper::Helper;
use crate::measure::{Line, Summary, sample};
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
pub(crate) fn run(budget: Duration, waiter: Waiter) -> Result<Line> {
    let counter = Counter::new()?;
    let mut woken = Woken::fork(|acks| match waiter {
        Waiter::Read => answer(acks, |acks| {
            let value = counter.take()?;
            send_byte(acks)?;
            Ok(value == STOP)
        }),
        Waiter::Epoll => {
            let watch = Watch::new(&counter)?;
            // It empties the counter after its byte: its read is not part of the wake-up.
            answer(acks, |acks| {
                watch.wait()?;
                send_byte(acks)?;
                Ok(counter.take()? == STOP)
            })
        }
    })?;
    let summary = woken.sample(budget, || counter.add(1))?;
    woken.end(|| counter.add(STOP))?;
    Ok(Line { served: counter.is_served()?, summary })
}

/// The woken process, as the one that wakes it sees it.
///
/// Both processes stay on one core. Left to the scheduler, a run may have them
/// together or apart, and waking a process on an idle core of a virtual machine
/// takes several times longer: the figure would tell where they were.
pub(crate) struct Woken {
    helper: Helper,
    stat: Stat,
    acks: PipeReader,
}

impl Woken {
    /// Starts the process, whose body is an [`answer`].
    pub(crate) fn fork(body: impl FnOnce(PipeWriter) -> Result<()>) -> Result<Self> {
        cpu::pin_self(cpu::first()?)?;
        let (acks, ack_end) = pipe().context(|| "create a pipe".into())?;
        let helper = Helper::fork("the woken process", || body(ack_end))?;
        let path = format!("/proc/{}/stat", helper.pid());
        let stat = Stat::open(&path).context(|| format!("open {path}"))?;
        Ok(Self { helper, stat, acks })
    }

    pub(crate) fn pid(&self) -> pid_t {
        self.helper.pid()
    }

    pub(crate) fn sample(&mut self, budget: Duration, mut wake: impl FnMut() -> Result<()>) -> Result<Summary> {
        sample(budget, 1, || {
            await_byte(&mut self.acks)?;
            await_sleep(&self.stat)?;
            let start = Instant::now();
            wake()?;
            await_byte(&mut self.acks)?;
            Ok(start.elapsed())
        })
    }

    /// Lets it wait once more; `stop` wakes it for the last time.
    pub(crate) fn end(mut self, stop: impl FnOnce() -> Result<()>) -> Result<()> {
        // Before it waits again, an epoll waiter may not have emptied the counter
        // yet, and would take this value together with the last one.
        await_byte(&mut self.acks)?;
        stop()?;
        self.helper.finish()
    }
}

/// What the woken process does: it sends a byte before each wait. `wait` sends
/// another one once it is over, and returns whether it was the last.
pub(crate) fn answer(mut acks: PipeWriter, mut wait: impl FnMut(&mut PipeWriter) -> Result<bool>) -> Result<()> {
    loop {
        send_byte(&mut acks)?;
        if wait(&mut acks)? {
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

pub(crate) fn await_byte(acks: &mut PipeReader) -> Result<()> {
    acks.read_exact(&mut [0]).context(|| "hear from the woken process".into())
}

pub(crate) fn send_byte(ack_end: &mut PipeWriter) -> Result<()> {
    ack_end.write_all(&[0]).context(|| "write to the worker's pipe".into())
}
