//! Mounting: directly as root, through fusermount3 as a user.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};
use rustix::process::geteuid;

/// The directory under which schemes appear when SCHEME_ROOT does not name another.
pub(crate) const DEFAULT_ROOT: &str = "/tmp/scheme";

/// How many daemons of the same name may be on their way out.
const PREDECESSORS: usize = 8;

/// A mounted scheme.
#[derive(Debug)]
pub(super) struct Mount {
    directory: PathBuf,
    privileged: bool,
}

impl Mount {
    /// Mounts the scheme `name`; returns the device on which its requests arrive.
    ///
    /// # Errors
    /// A sentence that says what could not be mounted, and why.
    pub(super) fn new(name: &str) -> Result<(Self, OwnedFd), String> {
        let root = std::env::var_os("SCHEME_ROOT").map_or_else(|| PathBuf::from(DEFAULT_ROOT), PathBuf::from);
        let directory = root.join(name);
        let cannot = |cause: String| format!("cannot mount {}: {cause}", directory.display());
        let privileged = geteuid().is_root();
        let mount = Self { directory: directory.clone(), privileged };
        make_directory(&root).map_err(cannot)?;
        mount.detach_stale().map_err(cannot)?;
        for _ in 0..PREDECESSORS {
            let device = make_directory(&directory)
                .and_then(|()| if privileged { mount.mount_directly(name) } else { mount.mount_by_helper(name) });
            // A predecessor that is still on its way out has removed the directory in between, if it is not there.
            if device.is_ok() || directory.exists() {
                return Ok((mount, device.map_err(cannot)?));
            }
        }
        Err(cannot("the directory is removed again and again".into()))
    }

    /// Whether memory files may stand behind inodes, which the kernel allows to root only.
    pub(super) fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// Takes the mount away. Programs that still use it get errors.
    pub(super) fn unmount(&self) {
        // A failure means that somebody else was faster.
        let _ = if self.privileged {
            unmount(&self.directory, UnmountFlags::DETACH).map_err(|error| error.to_string())
        } else {
            run_helper(&[OsStr::new("-u"), OsStr::new("-z"), OsStr::new("--"), self.directory.as_os_str()])
        };
        let _ = fs::remove_dir(&self.directory);
    }

    /// A daemon that was killed leaves its mount behind, and every access to it fails with ENOTCONN.
    fn detach_stale(&self) -> Result<(), String> {
        match fs::symlink_metadata(&self.directory) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                self.unmount();
                Ok(())
            }
            Ok(metadata) => {
                let parent = self.directory.parent().and_then(|parent| fs::metadata(parent).ok());
                match parent {
                    Some(parent) if parent.dev() != metadata.dev() => Err("something is mounted there already".into()),
                    _ => Ok(()),
                }
            }
            Err(_) => Ok(()),
        }
    }

    fn mount_directly(&self, name: &str) -> Result<OwnedFd, String> {
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(|error| format!("/dev/fuse: {error}"))?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = CString::new(options).map_err(|error| error.to_string())?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
        mount(name, &self.directory, "fuse.scheme", flags, Some(options.as_c_str()))
            .map_err(|error| error.to_string())?;
        Ok(device)
    }

    /// fusermount3 opens the device, mounts, and hands the device over through a socket.
    fn mount_by_helper(&self, name: &str) -> Result<OwnedFd, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".into());
        }
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| error.to_string())?;
        let options = format!("fsname={name},subtype=scheme,nosuid,nodev,noatime");
        let descriptor = theirs.as_raw_fd();
        let mut command = Command::new("fusermount3");
        command.arg("-o").arg(options).arg("--").arg(&self.directory);
        command.env("_FUSE_COMMFD", descriptor.to_string()).stdin(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe, on a descriptor that outlives the child's start.
        unsafe {
            command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command.spawn().map_err(helper_missing)?;
        drop(theirs);
        let received = receive_descriptor(&ours);
        let output = child.wait_with_output().map_err(|error| format!("fusermount3: {error}"))?;
        match received {
            Some(device) if output.status.success() => {
                rustix::io::ioctl_fionbio(&device, true).map_err(|error| format!("/dev/fuse: {error}"))?;
                Ok(device)
            }
            _ => Err(helper_failed(&output)),
        }
    }
}

fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

fn run_helper(arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new("fusermount3").args(arguments).output().map_err(helper_missing)?;
    if output.status.success() { Ok(()) } else { Err(helper_failed(&output)) }
}

/// What fusermount3 said of its failure, in one line.
fn helper_failed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(|line| line.trim_start_matches("fusermount3: ")).collect::<Vec<_>>().join("; ");
    if said.is_empty() { format!("fusermount3 failed ({})", output.status) } else { format!("fusermount3: {said}") }
}

fn helper_missing(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "fusermount3 is not installed (Debian package fuse3)".into(),
        _ => format!("fusermount3: {error}"),
    }
}

/// Makes a directory that nobody but us can replace; accepts one that is there, unless it belongs to another user.
fn make_directory(path: &Path) -> Result<(), String> {
    match DirBuilder::new().recursive(path.parent().is_some_and(|parent| !parent.exists())).mode(0o755).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
            if !metadata.is_dir() {
                return Err(format!("{} is no directory", path.display()));
            }
            match metadata.uid() {
                0 => Ok(()),
                uid if uid == geteuid().as_raw() => Ok(()),
                uid => {
                    Err(format!("{} belongs to user {uid}; set SCHEME_ROOT to a directory of yours", path.display()))
                }
            }
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The directory of the mounts.
pub(crate) fn open_root() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// SCHEME_ROOT.
fn root() -> &'static [u8] {
    // SAFETY: getenv returns null or a string that lives as long as nobody changes the environment, which no thread may do while others use it.
    let root = unsafe {
        let root = libc::getenv(c"SCHEME_ROOT".as_ptr());
        if root.is_null() { None } else { Some(std::ffi::CStr::from_ptr(root)) }
    };
    root.map_or(DEFAULT_ROOT.as_bytes(), std::ffi::CStr::to_bytes)
}

/// What follows SCHEME_ROOT in the path of a file below it, which is what follows `/scheme` for a Redox program; without the slash.
pub(crate) fn below_root(file: &[u8]) -> Option<&[u8]> {
    file.strip_prefix(root())?.strip_prefix(b"/")
}

/// The path below `/scheme/` of a file below SCHEME_ROOT.
pub(crate) fn scheme_path(file: &[u8]) -> Option<Vec<u8>> {
    below_root(file).map(|rest| [b"/scheme/", rest].concat())
}

/// The path in the file system of the path `rest` below `/scheme/`, with a terminating zero byte, without allocating.
///
/// Returns none if it is too long.
pub(crate) fn file_path<'buffer>(rest: &[u8], buffer: &'buffer mut [u8]) -> Option<&'buffer std::ffi::CStr> {
    let parts: [&[u8]; 4] = [root(), b"/", rest, b"\0"];
    let mut len = 0;
    for part in parts {
        buffer.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    std::ffi::CStr::from_bytes_with_nul(&buffer[..len]).ok()
}

#[cfg(test)]
mod tests {
    use super::file_path;

    #[test]
    fn paths_that_do_not_fit_are_refused() {
        let mut buffer = [0; 64];
        assert!(file_path(&[b'x'; 64], &mut buffer).is_none());
        assert!(file_path(b"a\0b", &mut buffer).is_none());
        assert!(file_path(b"eventd/stat", &mut buffer).is_some_and(|path| path.to_bytes().ends_with(b"/eventd/stat")));
    }
}
