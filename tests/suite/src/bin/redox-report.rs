//! Compares what the conformance programs printed on a booted Redox with native Linux.
//!
//! Usage: `redox-report SERIAL_LOG NATIVE_DIRECTORY EXCEPTIONS GROUND`; GROUND is that of the lines in EXCEPTIONS that count. Prints every difference that is not listed, and closes with `N passed, N failed`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What cannot be read is a failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use eventd_suite::{Exceptions, compare, count_checks};

/// How many lines of the serial log are shown when the machine did not come to its end.
const LAST_LINES: usize = 20;

/// What a program printed and how it ended.
#[derive(Debug, Default)]
struct Run {
    output: String,
    end: Option<String>,
}

/// The programs of a serial log, by name; of one that ran several times, the last run.
fn runs(log: &str) -> BTreeMap<&str, Run> {
    let mut runs = BTreeMap::new();
    let mut current = "";
    for line in log.lines() {
        if let Some(name) = line.strip_prefix("@begin ") {
            runs.insert(name, Run::default());
            current = name;
        } else if let Some((name, end)) = line.strip_prefix("@end ").and_then(|end| end.split_once(": ")) {
            runs.entry(name).or_default().end = Some(end.to_owned());
            current = "";
        } else if let Some(run) = runs.get_mut(current) {
            run.output.push_str(line);
            run.output.push('\n');
        }
    }
    runs
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [log, native, exceptions, ground] = arguments.as_slice() else {
        eprintln!("usage: redox-report SERIAL_LOG NATIVE_DIRECTORY EXCEPTIONS GROUND");
        return ExitCode::from(2);
    };
    // The serial line ends lines with a carriage return, too.
    let log = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).replace('\r', "");
    let runs = runs(&log);
    let (mut passed, mut failed) = (0, 0);
    let mut outputs = std::fs::read_dir(native)
        .expect("the directory of native outputs")
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    outputs.sort();
    for path in outputs.iter().filter(|path| path.extension().is_some_and(|extension| extension == "out")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let native = std::fs::read_to_string(path).unwrap();
        let exceptions = Exceptions::read(Path::new(exceptions), ground, name);
        let (output, end) = match runs.get(name) {
            Some(run) => (run.output.as_str(), run.end.as_deref().unwrap_or("did not end")),
            None => ("", "did not start"),
        };
        let differences = compare(&native, output, &exceptions);
        let differing = differences.lines().count();
        passed += count_checks(&native).saturating_sub(differing);
        failed += differing;
        if end != "exit status 0" {
            failed += 1;
        }
        println!("{name}: {end}, {} checks, {differing} unlisted differences", count_checks(&native));
        print!("{differences}");
    }
    if !log.lines().any(|line| line == "@done") {
        failed += 1;
        println!("the machine did not come to its end; the last lines of its log:");
        let lines = log.lines().collect::<Vec<_>>();
        lines.iter().skip(lines.len().saturating_sub(LAST_LINES)).for_each(|line| println!("  {line}"));
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
