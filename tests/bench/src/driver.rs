//! Runs every case on both sides in turn and reports.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::args::DriverArgs;
use crate::cases::{CASES, Case};
use crate::chart::{self, Run};
use crate::cpu;
use crate::daemon::Daemon;
use crate::failure::{Context, Failure, Result};
use crate::measure::Summary;
use crate::report::{self, Row};
use crate::scratch::Scratch;
use crate::side::Side;

/// When the last worker has to be done; starting and ending come on top.
const TOTAL_LIMIT: Duration = Duration::from_secs(180);
const WORKER_LIMIT: Duration = Duration::from_secs(20);

/// Returns whether every case has been measured.
pub fn drive(args: &DriverArgs) -> Result<bool> {
    let cases: Vec<_> = CASES.iter().filter(|case| case.name.contains(&args.only)).collect();
    if cases.is_empty() {
        return Err(Failure::new(format!("no case has {:?} in its name", args.only)));
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .context(|| "open /dev/fuse, which eventd needs".into())?;

    let scratch = Scratch::create()?;
    let measured = measure(args, &cases, &scratch);
    let removed = scratch.remove();
    let rows = measured?;

    report::write_json(&args.json, &rows)?;
    io::stdout().write_all(report::table(&rows).as_bytes()).context(|| "write the table".into())?;
    for trouble in report::troubles(&rows, args.repeats) {
        eprintln!("bench: {trouble}");
    }
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    chart::draw_cases(Run::Linux, &names, &args.json, &args.json.with_extension("svg"))?;
    removed?;
    Ok(rows.iter().all(Row::is_measured))
}

fn measure(args: &DriverArgs, cases: &[&Case], scratch: &Scratch) -> Result<Vec<Row>> {
    let native = Side::native(args, scratch)?;
    let ours = Side::ours(args, scratch)?;
    let daemon = Daemon::start(&args.eventd, &scratch.scheme_root())?;
    let mut bench = Bench { native, ours, daemon, deadline: Instant::now() + TOTAL_LIMIT };
    let rows = bench.daemon.await_ready(&scratch.mount_point()).map(|()| bench.run_all(cases, args.repeats));
    let stopped = bench.daemon.stop();
    let rows = rows?;
    if let Err(failure) = stopped {
        // The figures are there already and worth printing.
        eprintln!("bench: {failure}");
    }
    Ok(rows)
}

struct Bench {
    native: Side,
    ours: Side,
    daemon: Daemon,
    deadline: Instant,
}

impl Bench {
    fn run_all(&mut self, cases: &[&Case], repeats: usize) -> Vec<Row> {
        let mut rows: Vec<_> = cases.iter().map(|case| Row::new(case.name)).collect();
        let mut lasted = vec![Duration::ZERO; cases.len()];
        // The repeats are the outer loop: a disturbance of the machine then
        // hits one repeat of several cases instead of all repeats of one.
        for repeat in 1..=repeats {
            eprintln!("bench: repeat {repeat} of {repeats}");
            for ((case, row), lasted) in cases.iter().zip(&mut rows).zip(&mut lasted) {
                // A case that failed once is reported as such, not tried again:
                // the next failure may cost a whole time limit.
                if row.trouble.is_some() || *lasted > self.left() {
                    continue;
                }
                let start = Instant::now();
                match self.run_pair(case) {
                    Ok((native, ours)) => row.push(native, ours),
                    Err(failure) => row.trouble = Some(failure.to_string()),
                }
                *lasted = start.elapsed();
            }
        }
        rows
    }

    fn run_pair(&mut self, case: &Case) -> Result<(Summary, Summary)> {
        let native = self.native.run(case, self.worker_limit()?)?;
        self.daemon.check_alive()?;
        let all = cpu::allowed()?;
        if case.shares_core() {
            self.daemon.confine(&[cpu::first()?])?;
        }
        let ours = self.ours.run(case, self.worker_limit()?);
        if case.shares_core() {
            self.daemon.confine(&all)?;
        }
        self.daemon.settle()?;
        Ok((native, ours?))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn worker_limit(&self) -> Result<Duration> {
        match self.left() {
            Duration::ZERO => Err(Failure::new(format!("no time left of the {TOTAL_LIMIT:?} of the whole run"))),
            left => Ok(left.min(WORKER_LIMIT)),
        }
    }
}
