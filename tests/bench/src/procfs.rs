//! What the kernel says of threads and processes in their `stat`, and of this process's descriptors.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::failure::{Context, Result};

/// Whether an open file is another than the kernel's own of this name.
pub(crate) fn is_other_than(file: BorrowedFd<'_>, own: &str) -> Result<bool> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let target = fs::read_link(&link).context(|| format!("read the link {link}"))?;
    Ok(target.as_os_str() != own)
}

/// An open `stat` file, which can be read any number of times.
pub(crate) struct Stat(File);

impl Stat {
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Whether the thread sleeps (state `S`), as one blocked in a read does.
    pub(crate) fn is_asleep(&self) -> io::Result<bool> {
        Ok(self.fields()?.starts_with("S "))
    }

    /// CPU time used so far, user and system, in clock ticks.
    pub(crate) fn cpu_ticks(&self) -> io::Result<u64> {
        // proc(5) numbers them 14 and 15 from one; these fields begin at the third.
        self.fields()?.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().map_err(io::Error::other)).sum()
    }

    /// The fields after the command name, the first of them the state. The name
    /// may itself contain spaces and parentheses, hence the last one counts.
    fn fields(&self) -> io::Result<String> {
        let mut buffer = [0; 1024];
        let length = self.0.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        match text.rsplit_once(") ") {
            Some((_, fields)) => Ok(fields.to_owned()),
            None => Err(io::Error::other("a stat file without a command name")),
        }
    }
}
