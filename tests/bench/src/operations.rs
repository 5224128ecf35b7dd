//! The cases of a single thread.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::counter::Counter;
use crate::failure::{Context, Failure, Result};
use crate::measure::{Line, Samples, sample};
use crate::sys;

/// Operations per sample: enough that reading the clock (about 30 ns) does not
/// show in an operation of a few hundred nanoseconds.
const BATCH: u32 = 16;

/// How many counters the create case leaves open, at most.
const CREATED: u64 = 8192;

/// Descriptors a worker needs for other things than counters.
pub(crate) const SPARE_DESCRIPTORS: u64 = 64;

pub(crate) fn write_read(budget: Duration) -> Result<Line> {
    let counter = Counter::new()?;
    let summary = sample(budget, BATCH, || {
        let start = Instant::now();
        for _ in 0..BATCH {
            counter.add(1)?;
            counter.take()?;
        }
        Ok(start.elapsed())
    })?;
    Ok(Line { served: counter.is_served()?, summary })
}

/// What is no eventfd costs as much as before.
pub(crate) fn pipe_write_read(budget: Duration) -> Result<Line> {
    let (mut reader, mut writer) = io::pipe().context(|| "make a pipe".into())?;
    let mut bytes = [0; 8];
    let summary = sample(budget, BATCH, || {
        let start = Instant::now();
        for _ in 0..BATCH {
            writer.write_all(&bytes).context(|| "write to a pipe".into())?;
            reader.read_exact(&mut bytes).context(|| "read from a pipe".into())?;
        }
        Ok(start.elapsed())
    })?;
    Ok(Line { served: Counter::new()?.is_served()?, summary })
}

pub(crate) fn create_close<T>(
    budget: Duration,
    create: impl Fn() -> Result<T>,
    is_served: impl Fn(&T) -> Result<bool>,
) -> Result<Line> {
    let summary = sample(budget, BATCH, || {
        let start = Instant::now();
        for _ in 0..BATCH {
            drop(create()?);
        }
        Ok(start.elapsed())
    })?;
    Ok(Line { served: is_served(&create()?)?, summary })
}

/// Closes nothing while it measures: a daemon learns of closed descriptors
/// later, and would still be busy with them during the next creation. Hence a
/// number of counters, not a time, ends it.
pub(crate) fn create() -> Result<Line> {
    let limit = sys::raise_descriptor_limit().context(|| "raise the descriptor limit".into())?;
    let batches = limit.saturating_sub(SPARE_DESCRIPTORS).min(CREATED) / u64::from(BATCH);
    let mut counters = Vec::new();
    let mut samples = Samples::new();
    for _ in 0..batches {
        counters.reserve(BATCH as usize);
        let start = Instant::now();
        for _ in 0..BATCH {
            counters.push(Counter::new()?);
        }
        samples.push(start.elapsed(), BATCH);
    }
    let Some(counter) = counters.first() else {
        return Err(Failure::new(format!("the system grants only {limit} open descriptors")));
    };
    Ok(Line { served: counter.is_served()?, summary: samples.summary()? })
}
