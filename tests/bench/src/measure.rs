//! Samples, their summary, and the line in which a worker reports it.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// Fewer samples than this make no p99, however slow the operation.
const MIN_SAMPLES: usize = 100;
/// Bounds the memory of a very fast operation.
const MAX_SAMPLES: usize = 100_000;

/// Times per operation in microseconds.
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new() -> Self {
        // Reserved at once, so that growing does not disturb the caches.
        Self(Vec::with_capacity(MAX_SAMPLES))
    }

    /// Adds what one operation took on average in a batch of `operations`.
    pub(crate) fn push(&mut self, batch: Duration, operations: u32) {
        self.0.push(batch.as_secs_f64() * 1e6 / f64::from(operations));
    }

    pub(crate) fn summary(mut self) -> Result<Summary> {
        if self.0.is_empty() {
            return Err(Failure::new("no samples were taken"));
        }
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len() - 1;
        Ok(Summary { samples: self.0.len(), median_us: self.0[last / 2], p99_us: self.0[last * 99 / 100] })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) samples: usize,
    pub(crate) median_us: f64,
    pub(crate) p99_us: f64,
}

/// Repeats `timed` for about `budget` after a warm-up of an eighth of it. It
/// returns how long the part of it that counts took, `operations` of them.
pub(crate) fn sample(
    budget: Duration,
    operations: u32,
    mut timed: impl FnMut() -> Result<Duration>,
) -> Result<Summary> {
    let warm = Instant::now() + budget / 8;
    while Instant::now() < warm {
        timed()?;
    }
    let mut samples = Samples::new();
    let end = Instant::now() + budget;
    while samples.0.len() < MIN_SAMPLES || (samples.0.len() < MAX_SAMPLES && Instant::now() < end) {
        samples.push(timed()?, operations);
    }
    samples.summary()
}

/// What a worker prints and the driver reads.
#[derive(Debug)]
pub struct Line {
    /// Whether the objects were other than the system's own.
    pub(crate) served: bool,
    pub(crate) summary: Summary,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { samples, median_us, p99_us } = self.summary;
        let served = self.served;
        write!(f, "served={served} samples={samples} median_us={median_us:.4} p99_us={p99_us:.4}")
    }
}

impl FromStr for Line {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self {
            served: field(text, "served")?,
            summary: Summary {
                samples: field(text, "samples")?,
                median_us: field(text, "median_us")?,
                p99_us: field(text, "p99_us")?,
            },
        })
    }
}

fn field<T: FromStr>(text: &str, key: &str) -> Result<T> {
    text.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| Failure::new(format!("no {key} in the worker's line {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summarises_by_nearest_rank() -> Result<()> {
        let mut samples = Samples::new();
        for micros in (1..=101).rev() {
            samples.push(Duration::from_micros(2 * micros), 2);
        }
        let summary = samples.summary()?;
        assert_eq!(summary.samples, 101);
        assert!((summary.median_us - 51.0).abs() < 1e-6);
        assert!((summary.p99_us - 100.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn no_samples_make_no_summary() {
        assert!(Samples::new().summary().is_err());
    }

    #[test]
    fn reads_the_line_it_writes() -> Result<()> {
        let line = "case served=true samples=3 median_us=1.5000 p99_us=2.2500";
        let parsed: Line = line.parse()?;
        assert_eq!(format!("case {parsed}"), line);
        assert!("case served=true samples=3".parse::<Line>().is_err());
        Ok(())
    }
}
