//! The table, the JSON list, and what has to be said besides.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::failure::{Context, Result};
use crate::measure::Summary;

/// One case with the summaries of its repeats.
pub(crate) struct Row {
    name: &'static str,
    native: Vec<Summary>,
    ours: Vec<Summary>,
    /// Why the case could not be measured.
    pub(crate) trouble: Option<String>,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, native: Vec::new(), ours: Vec::new(), trouble: None }
    }

    pub(crate) fn push(&mut self, native: Summary, ours: Summary) {
        self.native.push(native);
        self.ours.push(ours);
    }

    pub(crate) fn is_measured(&self) -> bool {
        self.figures().is_some()
    }

    /// `None` if any repeat failed: a case that works now and then has no
    /// figure.
    fn figures(&self) -> Option<Figures> {
        if self.trouble.is_some() {
            return None;
        }
        let native_us = median(&self.native, |summary| summary.median_us)?;
        let ours_us = median(&self.ours, |summary| summary.median_us)?;
        Some(Figures {
            native_us,
            ours_us,
            ratio: ours_us / native_us,
            native_p99_us: median(&self.native, |summary| summary.p99_us)?,
            ours_p99_us: median(&self.ours, |summary| summary.p99_us)?,
        })
    }
}

struct Figures {
    native_us: f64,
    ours_us: f64,
    ratio: f64,
    native_p99_us: f64,
    ours_p99_us: f64,
}

/// The median of one figure over the repeats; of an even number of them, the
/// mean of the middle two.
fn median(summaries: &[Summary], figure: impl Fn(&Summary) -> f64) -> Option<f64> {
    let mut values: Vec<_> = summaries.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<30} {:>10} {:>10} {:>8} {:>11} {:>11}\n",
        "name", "native us", "ours us", "ratio", "native p99", "ours p99"
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = match row.figures() {
            Some(figures) => writeln!(
                text,
                "{:<30} {:>10.3} {:>10.3} {:>8.2} {:>11.3} {:>11.3}",
                row.name, figures.native_us, figures.ours_us, figures.ratio, figures.native_p99_us, figures.ours_p99_us
            ),
            None => writeln!(text, "{:<30} not measured", row.name),
        };
    }
    text
}

/// One sentence for each case that has no figure or fewer repeats than asked.
pub(crate) fn troubles(rows: &[Row], repeats: usize) -> Vec<String> {
    let mut sentences = Vec::new();
    for row in rows {
        let done = row.native.len();
        if let Some(trouble) = &row.trouble {
            sentences.push(format!("{} not measured: {trouble}", row.name));
        } else if done < repeats {
            sentences.push(format!("{}: time for {done} of {repeats} repeats only", row.name));
        }
    }
    sentences
}

/// Writes the measured cases; those without a figure are left out.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    fs::write(path, to_json(rows)).context(|| format!("write {}", path.display()))
}

pub(crate) fn to_json(rows: &[Row]) -> String {
    let entries: Vec<_> = rows.iter().filter_map(|row| row.figures().map(|figures| json(row.name, &figures))).collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}

/// Names of cases contain nothing that JSON would have escaped.
fn json(name: &str, figures: &Figures) -> String {
    let Figures { native_us, ours_us, ratio, .. } = figures;
    format!(r#"  {{"name": "{name}", "baseline_us": {native_us:.4}, "ours_us": {ours_us:.4}, "ratio": {ratio:.4}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(median_us: f64) -> Summary {
        Summary { samples: 1, median_us, p99_us: 2.0 * median_us }
    }

    #[test]
    fn takes_the_median_of_the_repeats() {
        let mut row = Row::new("a/b");
        for (native, ours) in [(1.0, 9.0), (3.0, 6.0), (2.0, 5.0), (2.0, 4.0)] {
            row.push(summary(native), summary(ours));
        }
        let text = row.figures().map(|figures| json(row.name, &figures));
        assert_eq!(
            text.as_deref().map(str::trim),
            Some(r#"{"name": "a/b", "baseline_us": 2.0000, "ours_us": 5.5000, "ratio": 2.7500}"#)
        );
    }

    #[test]
    fn a_failure_outweighs_the_figures() {
        let mut row = Row::new("a/b");
        row.push(summary(1.0), summary(1.0));
        row.trouble = Some("cause".into());
        assert!(!row.is_measured());
        assert_eq!(troubles(&[row], 1), ["a/b not measured: cause"]);
    }
}
