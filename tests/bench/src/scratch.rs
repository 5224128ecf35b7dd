//! The private directory of one run.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, io, process};

use crate::failure::{Context, Failure, Result};
use crate::sys;

/// Earlier runs with this pid that left their directory behind are rare.
const ATTEMPTS: u32 = 100;

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn create() -> Result<Self> {
        for attempt in 0..ATTEMPTS {
            let name = format!("eventd-bench-{}-{attempt}", process::id());
            let scratch = Self(env::temp_dir().join(name));
            match DirBuilder::new().mode(0o700).create(&scratch.0) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => {
                    result.context(|| format!("create {}", scratch.0.display()))?;
                    let root = scratch.scheme_root();
                    fs::create_dir(&root).context(|| format!("create {}", root.display()))?;
                    return Ok(scratch);
                }
            }
        }
        Err(Failure::new(format!("no free directory name in {}", env::temp_dir().display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The daemon's `SCHEME_ROOT`.
    pub(crate) fn scheme_root(&self) -> PathBuf {
        self.0.join("scheme")
    }

    /// Where the daemon mounts its file system.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.scheme_root().join("eventd")
    }

    /// Removes the directory, and before that a mount the daemon has left: a
    /// recursive removal must not walk into it.
    pub(crate) fn remove(self) -> Result<()> {
        let mount = self.mount_point();
        if sys::unmount(&mount).context(|| format!("unmount {}", mount.display()))? {
            eprintln!("bench: eventd left {} mounted; unmounted", mount.display());
        }
        fs::remove_dir_all(&self.0).context(|| format!("remove {}", self.0.display()))
    }
}
