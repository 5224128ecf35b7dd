//! The eventd process that serves "our" side.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use libc::pid_t;

use crate::cpu;
use crate::failure::{Context, Failure, Result};
use crate::procfs::Stat;
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(10);
const START_RETRY: Duration = Duration::from_millis(10);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long the daemon may go on with the leftovers of a worker, e.g. 50,000
/// closed counters.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// Three clock ticks: no CPU time used in that time means idle.
const SETTLE_STEP: Duration = Duration::from_millis(30);

pub(crate) struct Daemon {
    child: Child,
    pid: pid_t,
    stat: Stat,
    /// It used CPU time without work to do, so that waiting is pointless.
    restless: bool,
}

impl Daemon {
    pub(crate) fn start(program: &Path, scheme_root: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .env("SCHEME_ROOT", scheme_root)
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::null())
            // Standard output carries the table only.
            .stdout(Stdio::from(io::stderr()));
        // A driver that is killed must not leave a daemon behind.
        sys::signal_with_parent(&mut command, libc::SIGTERM);
        let child = command.spawn().context(|| format!("start {}", program.display()))?;
        let tried = || format!("observe {}", program.display());
        let pid = pid_t::try_from(child.id()).map_err(io::Error::other).context(tried)?;
        let stat = Stat::open(format!("/proc/{pid}/stat")).context(tried)?;
        Ok(Self { child, pid, stat, restless: false })
    }

    /// Waits until the daemon's `stat` file can be opened. A thread tries it,
    /// as opening a file of a daemon that does not answer blocks; ending the
    /// daemon releases that thread.
    pub(crate) fn await_ready(&mut self, mount_point: &Path) -> Result<()> {
        let path = mount_point.join("stat");
        let (sender, opened) = mpsc::channel();
        let probe = path.clone();
        thread::spawn(move || {
            // Fails once the receiver is gone, which ends the thread.
            while sender.send(File::open(&probe).map(|_| ())).is_ok() {
                thread::sleep(START_RETRY);
            }
        });
        let deadline = Instant::now() + START_LIMIT;
        loop {
            self.check_alive()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let cause = match opened.recv_timeout(left.min(10 * START_RETRY)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                // The attempt under way blocks.
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            if left.is_zero() {
                return Err(cause).context(|| format!("open {} within {START_LIMIT:?}", path.display()));
            }
        }
    }

    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::new(format!("eventd has ended: {status}"))),
            Err(cause) => Err(cause).context(|| "look after eventd".into()),
        }
    }

    pub(crate) fn confine(&self, cpus: &[usize]) -> Result<()> {
        cpu::confine(self.pid, cpus)
    }

    /// Waits until the daemon is idle, so that what one worker has left to it
    /// does not slow the next one down.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let ticks = || self.stat.cpu_ticks().context(|| "read eventd's CPU time".into());
        let start = Instant::now();
        let mut before = ticks()?;
        while !self.restless {
            thread::sleep(SETTLE_STEP);
            let now = ticks()?;
            if now == before {
                return Ok(());
            }
            before = now;
            if start.elapsed() > SETTLE_LIMIT {
                eprintln!("bench: eventd still uses the CPU {SETTLE_LIMIT:?} after the last request");
                self.restless = true;
            }
        }
        Ok(())
    }

    /// Ends the daemon by SIGTERM, or by SIGKILL if that does not help.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.check_alive()?;
        let tried = || format!("end eventd (pid {})", self.pid);
        sys::kill(self.pid, libc::SIGTERM).context(tried)?;
        let heeded = sys::wait_for_end(self.pid, STOP_LIMIT).context(tried)?;
        if !heeded {
            sys::kill(self.pid, libc::SIGKILL).context(tried)?;
            if !sys::wait_for_end(self.pid, STOP_LIMIT).context(tried)? {
                return Err(Failure::new("eventd does not end even by SIGKILL"));
            }
        }
        self.child.wait().context(tried)?;
        if heeded {
            Ok(())
        } else {
            Err(Failure::new(format!("eventd did not end within {STOP_LIMIT:?} of SIGTERM; killed")))
        }
    }
}
