//! One worker run, on one of the two sides.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libc::pid_t;

use crate::args::DriverArgs;
use crate::cases::Case;
use crate::failure::{Context, Failure, Result};
use crate::measure::{Line, Summary};
use crate::scratch::Scratch;
use crate::sys;

/// A killed worker can outlive this only if it waits for a daemon that does
/// not answer; it ends when the daemon does.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Starts workers on one side.
pub(crate) struct Side {
    name: &'static str,
    worker: PathBuf,
    /// The library and the scheme root; `None` on the native side.
    served: Option<(PathBuf, PathBuf)>,
    out: PathBuf,
    err: PathBuf,
}

impl Side {
    pub(crate) fn native(args: &DriverArgs, scratch: &Scratch) -> Result<Self> {
        Self::new("native", None, args, scratch)
    }

    pub(crate) fn ours(args: &DriverArgs, scratch: &Scratch) -> Result<Self> {
        // The dynamic linker only warns about a library that it cannot load,
        // and runs the program without it.
        let preload = existing(&args.preload)?;
        let path = preload.to_string_lossy();
        if path.contains([' ', ':']) {
            return Err(Failure::new(format!("LD_PRELOAD cannot hold the path {path:?}: it contains a separator")));
        }
        let served = Some((preload, scratch.scheme_root()));
        Self::new("ours", served, args, scratch)
    }

    fn new(
        name: &'static str,
        served: Option<(PathBuf, PathBuf)>,
        args: &DriverArgs,
        scratch: &Scratch,
    ) -> Result<Self> {
        Ok(Self {
            name,
            worker: existing(&args.worker)?,
            served,
            out: scratch.path().join("worker.out"),
            err: scratch.path().join("worker.err"),
        })
    }

    pub(crate) fn run(&self, case: &Case, limit: Duration) -> Result<Summary> {
        self.measure(case, limit).map_err(|failure| Failure::new(format!("{}: {failure}", self.name)))
    }

    fn measure(&self, case: &Case, limit: Duration) -> Result<Summary> {
        let text = self.output(case, limit)?;
        let line: Line = text.parse()?;
        match (line.served, self.served.is_some()) {
            (true, false) => Err(Failure::new("the objects did not come from the system")),
            (false, true) => Err(Failure::new("the objects came from the system, not from eventd")),
            _ => Ok(line.summary),
        }
    }

    /// What the worker prints. It goes through files: a pipe would reach its
    /// end only when the last helper of a killed worker is gone.
    fn output(&self, case: &Case, limit: Duration) -> Result<String> {
        let tried = || format!("start {}", self.worker.display());
        let mut command = Command::new(&self.worker);
        command
            .arg(case.name)
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::null())
            .stdout(File::create(&self.out).context(tried)?)
            .stderr(File::create(&self.err).context(tried)?);
        if let Some((preload, scheme_root)) = &self.served {
            command.env("LD_PRELOAD", preload).env("SCHEME_ROOT", scheme_root);
        }
        let mut child = command.spawn().context(tried)?;

        let tried = || "wait for the worker".to_owned();
        let pid = pid_t::try_from(child.id()).map_err(io::Error::other).context(tried)?;
        if !sys::wait_for_end(pid, limit).context(tried)? {
            child.kill().context(|| "kill the worker".into())?;
            let mut trouble = format!("the worker took longer than {limit:.1?}; killed");
            if sys::wait_for_end(pid, KILL_LIMIT).context(tried)? {
                child.wait().context(tried)?;
            } else {
                trouble += ", but it does not end";
            }
            return Err(Failure::new(trouble));
        }
        let status = child.wait().context(tried)?;
        if status.success() {
            read(&self.out)
        } else {
            let complaint = read(&self.err)?;
            let complaint = complaint.trim_end();
            Err(Failure::new(format!("{complaint} (worker: {status})")))
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(|| format!("read {}", path.display()))
}

/// The absolute path of something that must be there.
fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().context(|| format!("find {}", path.display()))
}
