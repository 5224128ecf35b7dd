//! Helper processes that keep many counters alive, or many readers blocked,
//! while a worker measures.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, process};

use crate::counter::Counter;
use crate::failure::{Context, Failure, Result};
use crate::helper::Helper;
use crate::operations::SPARE_DESCRIPTORS;
use crate::procfs::Stat;
use crate::sys;

const READERS_PER_PROCESS: usize = 1_000;
const READER_STACK: usize = 64 * 1024;

/// Readers that are not all blocked by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a member says once all it was asked for is in place.
const READY: &str = "ready";

/// The part of a crowd that a member is.
type Member = fn(usize, PipeWriter, PipeReader) -> Result<()>;

pub(crate) struct Crowd {
    members: Vec<Helper>,
    control: PipeWriter,
}

impl Crowd {
    /// `count` live counters, in as many processes as the descriptor limit asks.
    pub(crate) fn of_counters(count: usize) -> Result<Self> {
        Self::assemble(count, descriptors()?, hold_counters)
    }

    /// `count` threads, each blocked in a read of a counter of its own.
    pub(crate) fn of_blocked_readers(count: usize) -> Result<Self> {
        let size = READERS_PER_PROCESS.min(descriptors()?);
        Self::assemble(count, size, block_readers)
    }

    fn assemble(count: usize, most: usize, member: Member) -> Result<Self> {
        let (orders, control) = pipe().context(|| "create a pipe".into())?;
        let mut members = Vec::new();
        let mut reports = Vec::new();
        let mut left = count;
        while left > 0 {
            let share = left.min(most);
            let (report, report_end) = pipe().context(|| "create a pipe".into())?;
            let orders = orders.try_clone().context(|| "duplicate a descriptor".into())?;
            members.push(Helper::fork("a member of the crowd", move || member(share, report_end, orders))?);
            reports.push(report);
            left -= share;
        }
        for mut report in reports {
            let mut text = String::new();
            report.read_to_string(&mut text).context(|| "hear from the crowd".into())?;
            if text != READY {
                return Err(Failure::new(format!("the system cannot have {count} more counters in use: {text}")));
            }
        }
        Ok(Self { members, control })
    }

    /// Lets every member clean up after itself and waits for it. (If the worker
    /// fails before, its end takes the members along.)
    pub(crate) fn end(mut self) -> Result<()> {
        // One byte for each: the members hold copies of this end of the pipe,
        // so closing it would tell them nothing.
        self.control.write_all(&vec![0; self.members.len()]).context(|| "write to the crowd's pipe".into())?;
        self.members.into_iter().try_for_each(Helper::finish)
    }
}

/// How many counters one process can hold.
fn descriptors() -> Result<usize> {
    let limit = sys::raise_descriptor_limit().context(|| "raise the descriptor limit".into())?;
    match usize::try_from(limit.saturating_sub(SPARE_DESCRIPTORS)) {
        Ok(0) | Err(_) => Err(Failure::new(format!("unusable limit of {limit} open descriptors"))),
        Ok(count) => Ok(count),
    }
}

fn hold_counters(count: usize, report: PipeWriter, orders: PipeReader) -> Result<()> {
    let counters = create(count);
    tell(report, counters.as_ref().err())?;
    await_order(orders)
}

fn block_readers(count: usize, report: PipeWriter, orders: PipeReader) -> Result<()> {
    let counters = match create(count) {
        Ok(counters) => counters,
        Err(failure) => return tell(report, Some(&failure)),
    };
    let early = Mutex::new(None);
    let ended = thread::scope(|scope| {
        let started = counters.iter().enumerate().try_for_each(|(index, counter)| {
            let read = || {
                if let Err(failure) = counter.take()
                    && let Ok(mut early) = early.lock()
                {
                    *early = Some(failure);
                }
            };
            thread::Builder::new()
                .stack_size(READER_STACK)
                .spawn_scoped(scope, read)
                .map(|_| ())
                .context(|| format!("start reader {} of {count}", index + 1))
        });
        let blocked = started.and_then(|()| await_blocked(count));
        let ended = tell(report, blocked.as_ref().err()).and_then(|()| await_order(orders));
        // Whatever came before, the scope ends only when every reader has.
        counters.iter().map(|counter| counter.add(1)).fold(ended, Result::and)
    });
    match early.into_inner() {
        Ok(Some(failure)) => Err(failure),
        _ => ended,
    }
}

fn create(count: usize) -> Result<Vec<Counter>> {
    (1..=count)
        .map(|index| {
            Counter::new().map_err(|failure| {
                let pid = process::id();
                Failure::new(format!("counter {index} of {count} in process {pid}: {failure}"))
            })
        })
        .collect()
}

/// Waits until `readers` threads of this process, all but the main one, sleep.
fn await_blocked(readers: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let asleep = sleeping_threads().context(|| "read the state of the readers".into())?;
        if asleep == readers {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(format!("only {asleep} of {readers} readers are blocked after {PATIENCE:?}")));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn sleeping_threads() -> std::io::Result<usize> {
    let mut asleep = 0;
    for entry in fs::read_dir("/proc/self/task")? {
        if Stat::open(entry?.path().join("stat"))?.is_asleep()? {
            asleep += 1;
        }
    }
    Ok(asleep)
}

/// Says that all is in place, or why it is not, and closes the pipe.
fn tell(mut report: PipeWriter, trouble: Option<&Failure>) -> Result<()> {
    let text = trouble.map_or_else(|| READY.to_owned(), ToString::to_string);
    report.write_all(text.as_bytes()).context(|| "write to the worker's pipe".into())
}

fn await_order(mut orders: PipeReader) -> Result<()> {
    orders.read_exact(&mut [0]).context(|| "read the worker's pipe".into())
}
