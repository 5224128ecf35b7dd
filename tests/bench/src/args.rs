//! The command lines of the driver and the worker.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::chart::Run;
use crate::failure::{Context, Failure, Result};

const DEFAULT_REPEATS: usize = 5;
const DEFAULT_BUDGET: Duration = Duration::from_millis(200);

/// What `bench --help` prints.
pub const DRIVER_USAGE: &str = "\
usage: bench [--eventd PATH] [--preload PATH] [--json PATH] [--repeats N] [--only TEXT]
  --eventd PATH   the daemon (default: eventd beside this program)
  --preload PATH  the library (default: libeventd_preload.so beside this program)
  --json PATH     where to write the figures (default: bench.json one level above);
                  the picture of them goes beside it, with the extension svg
  --repeats N     runs of each case on each side (default: 5)
  --only TEXT     only the cases with TEXT in their names";

/// What `bench-worker --help` prints.
pub const WORKER_USAGE: &str = "\
usage: bench-worker CASE [--millis N]
  CASE            the name of a case, e.g. eventfd/write+read
  --millis N      how long to measure (default: 200)";

/// What `bench-chart --help` prints.
pub const CHART_USAGE: &str = "\
usage: bench-chart linux|redox FIGURES PICTURE
  linux    FIGURES is the bench.json of make bench
  redox    FIGURES is the bench-1.txt of make bench-redox
  PICTURE  the SVG file to write";

/// What the driver is asked to do.
#[derive(Debug)]
pub struct DriverArgs {
    /// The daemon.
    pub eventd: PathBuf,
    /// The library that replaces `eventfd`.
    pub preload: PathBuf,
    /// The program that measures one case.
    pub worker: PathBuf,
    /// Where the figures go.
    pub json: PathBuf,
    /// Runs of each case on each side.
    pub repeats: usize,
    /// What the name of a case has to contain.
    pub only: String,
}

impl DriverArgs {
    /// What the command line asks for; `None` for help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let program = env::current_exe().context(|| "find this program's path".into())?;
        let beside = program.parent().unwrap_or(Path::new("."));
        let mut args = Self {
            eventd: beside.join("eventd"),
            preload: beside.join("libeventd_preload.so"),
            worker: beside.join("bench-worker"),
            json: beside.parent().unwrap_or(beside).join("bench.json"),
            repeats: DEFAULT_REPEATS,
            only: String::new(),
        };
        let mut rest = arguments.into_iter();
        while let Some(option) = rest.next() {
            let name = option.to_string_lossy().into_owned();
            let mut value = || rest.next().ok_or_else(|| Failure::new(format!("{name} needs a value")));
            match name.as_str() {
                "--help" => return Ok(None),
                "--eventd" => args.eventd = value()?.into(),
                "--preload" => args.preload = value()?.into(),
                "--json" => args.json = value()?.into(),
                "--only" => args.only = text(value()?)?,
                "--repeats" => args.repeats = positive(&name, value()?)?,
                _ => return Err(Failure::new(format!("unknown argument {name:?}"))),
            }
        }
        Ok(Some(args))
    }
}

/// What the worker is asked to do.
#[derive(Debug)]
pub struct WorkerArgs {
    /// The name of the case.
    pub case: String,
    /// How long to measure.
    pub budget: Duration,
}

impl WorkerArgs {
    /// What the command line asks for; `None` for help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let mut case = None;
        let mut budget = DEFAULT_BUDGET;
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let argument = text(argument)?;
            match argument.as_str() {
                "--help" => return Ok(None),
                "--millis" => {
                    let value = rest.next().ok_or_else(|| Failure::new("--millis needs a value"))?;
                    budget = Duration::from_millis(positive(&argument, value)?);
                }
                _ if case.is_none() && !argument.starts_with('-') => case = Some(argument),
                _ => return Err(Failure::new(format!("unknown argument {argument:?}"))),
            }
        }
        let case = case.ok_or_else(|| Failure::new("no case given"))?;
        Ok(Some(Self { case, budget }))
    }
}

/// What the chart is to be drawn from, and where to.
#[derive(Debug)]
pub struct ChartArgs {
    /// What was run.
    pub run: Run,
    /// What it wrote.
    pub figures: PathBuf,
    /// The SVG file.
    pub picture: PathBuf,
}

impl ChartArgs {
    /// What the command line asks for; `None` for help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let [run, figures, picture] = match arguments.as_slice() {
            [option] if option == "--help" => return Ok(None),
            [run, figures, picture] => [run, figures, picture],
            _ => return Err(Failure::new(format!("expected 3 arguments, not {}", arguments.len()))),
        };
        let run = match run.to_str() {
            Some("linux") => Run::Linux,
            Some("redox") => Run::Redox,
            _ => return Err(Failure::new(format!("unknown run {run:?}"))),
        };
        Ok(Some(Self { run, figures: figures.into(), picture: picture.into() }))
    }
}

fn text(argument: OsString) -> Result<String> {
    argument.into_string().map_err(|argument| Failure::new(format!("argument {argument:?} is not UTF-8")))
}

fn positive<T>(name: &str, value: OsString) -> Result<T>
where
    T: std::str::FromStr + PartialOrd + From<u8>,
{
    let value = text(value)?;
    match value.parse::<T>() {
        Ok(number) if number >= T::from(1) => Ok(number),
        _ => Err(Failure::new(format!("{name} takes a positive number, not {value:?}"))),
    }
}
