//! The figures of a run, as `bench` and the benchmarks on Redox write them.

use serde::Deserialize;

use crate::failure::{Failure, Result};

/// What one case took; `None` where it was not measured.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) case: String,
    /// What eventd is compared with, where that depends on the case.
    pub(crate) other: Option<String>,
    pub(crate) other_us: Option<f64>,
    pub(crate) ours_us: Option<f64>,
}

impl Entry {
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.ours_us? / self.other_us?)
    }
}

/// An element of `bench.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    name: String,
    baseline_us: f64,
    ours_us: f64,
    /// Rounded: it is computed from the others again.
    #[serde(rename = "ratio")]
    _ratio: f64,
}

/// Reads `bench.json`. The entries are those of `cases` in their order: `bench` leaves out what it could not measure.
pub(crate) fn linux(json: &str, cases: &[&str]) -> Result<Vec<Entry>> {
    let measured: Vec<Measured> = serde_json::from_str(json).map_err(|error| Failure::new(error.to_string()))?;
    if let Some(unknown) = measured.iter().find(|figures| !cases.contains(&figures.name.as_str())) {
        return Err(Failure::new(format!("unknown case {:?}", unknown.name)));
    }
    cases
        .iter()
        .map(|case| {
            let figures = measured.iter().find(|figures| figures.name == *case);
            let time = |us| positive(case, us);
            Ok(Entry {
                case: (*case).into(),
                other: None,
                other_us: figures.map(|figures| time(figures.baseline_us)).transpose()?,
                ours_us: figures.map(|figures| time(figures.ours_us)).transpose()?,
            })
        })
        .collect()
}

/// Reads what `tests/redox/bench/bench.h` prints: for each program a headline, and for each case a line with its name,
/// the times of eventd and of the other, their ratio and the other's name.
pub(crate) fn redox(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::<Entry>::new();
    for line in text.lines().filter(|line| !line.starts_with("median in microseconds ")) {
        let entry = redox_entry(line)?;
        if entries.iter().any(|earlier| earlier.case == entry.case) {
            return Err(Failure::new(format!("{} is there twice", entry.case)));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(Failure::new("there are no figures"));
    }
    Ok(entries)
}

fn redox_entry(line: &str) -> Result<Entry> {
    let unknown = || Failure::new(format!("unknown line {line:?}"));
    let (figures, other) = line.rsplit_once("  ").ok_or_else(unknown)?;
    let [case, ours, other_us, _ratio] = figures.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(unknown());
    };
    let time = |text: &str| text.parse().map_err(|_| unknown()).and_then(|us| positive(case, us));
    Ok(Entry {
        case: case.into(),
        other: Some(other.into()),
        other_us: Some(time(other_us)?),
        // What takes the patches in kernel-patch is left out without them.
        ours_us: if ours == "-" { None } else { Some(time(ours)?) },
    })
}

/// A ratio of other times has no place on a logarithmic scale.
fn positive(case: &str, us: f64) -> Result<f64> {
    if us.is_finite() && us > 0.0 { Ok(us) } else { Err(Failure::new(format!("{case} cannot take {us} us"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Summary;
    use crate::report::{self, Row};

    fn entry(case: &str, other: Option<&str>, other_us: Option<f64>, ours_us: Option<f64>) -> Entry {
        Entry { case: case.into(), other: other.map(Into::into), other_us, ours_us }
    }

    fn text_of(outcome: Result<Vec<Entry>>) -> String {
        outcome.map_or_else(|failure| failure.to_string(), |entries| format!("{entries:?}"))
    }

    #[test]
    fn reads_what_bench_writes_and_keeps_what_it_left_out() -> Result<()> {
        let summary = |median_us| Summary { samples: 1, median_us, p99_us: median_us };
        let mut row = Row::new("a/b");
        row.push(summary(2.0), summary(0.5));
        let json = report::to_json(&[row, Row::new("a/c")]);
        assert_eq!(
            linux(&json, &["a/c", "a/b"])?,
            [entry("a/c", None, None, None), entry("a/b", None, Some(2.0), Some(0.5))]
        );
        Ok(())
    }

    #[test]
    fn refuses_json_that_is_not_of_bench() {
        let json = r#"[{"name": "a/b", "baseline_us": 2.0, "ours_us": 0.5, "ratio": 0.25}]"#;
        assert_eq!(text_of(linux(json, &["a/c"])), r#"unknown case "a/b""#);
        assert_eq!(text_of(linux(&json.replace("2.0", "0.0"), &["a/b"])), "a/b cannot take 0 us");
        assert!(text_of(linux(&json.replace("ours_us", "our_us"), &["a/b"])).starts_with("unknown field `our_us`"));
        assert!(text_of(linux(&json.replace("ratio", "rate"), &["a/b"])).starts_with("unknown field `rate`"));
        assert!(linux("", &["a/b"]).is_err());
    }

    /// As bench.h prints it.
    const REDOX: &str = "\
median in microseconds         eventd      other    ratio
eventfd/write+read              0.237      2.184     0.11  pipe
median in microseconds         eventd      other    ratio
signals/watched-kill                -     10.123        -  kill(pid, 0)
";

    #[test]
    fn reads_what_the_benchmarks_on_redox_print() -> Result<()> {
        assert_eq!(
            redox(REDOX)?,
            [
                entry("eventfd/write+read", Some("pipe"), Some(2.184), Some(0.237)),
                entry("signals/watched-kill", Some("kill(pid, 0)"), Some(10.123), None),
            ]
        );
        Ok(())
    }

    #[test]
    fn refuses_lines_that_are_not_of_the_benchmarks() {
        for line in ["", "kernel::scheme:ERROR -- out of memory", "a/b 1.0 2.0 0.5", "a/b 1.0  x  0.5  pipe"] {
            assert_eq!(text_of(redox(&format!("{REDOX}{line}\n"))), format!("unknown line {line:?}"));
        }
        assert_eq!(text_of(redox(&format!("{REDOX}a/b 0.0 2.0 0.00  pipe\n"))), "a/b cannot take 0 us");
        assert_eq!(text_of(redox(&format!("{REDOX}{REDOX}"))), "eventfd/write+read is there twice");
        assert_eq!(text_of(redox("")), "there are no figures");
    }
}
