//! Error numbers.

/// An errno of the C library that this crate is linked into. The few that the shim itself reports have the same number on Linux and Redox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file.
    pub const ENOENT: Self = Self(2);
    /// Interrupted by a signal.
    pub const EINTR: Self = Self(4);
    /// Bad descriptor.
    pub const EBADF: Self = Self(9);
    /// To be tried again.
    pub const EAGAIN: Self = Self(11);
    /// No memory.
    pub const ENOMEM: Self = Self(12);
    /// Permission denied.
    pub const EACCES: Self = Self(13);
    /// Bad address.
    pub const EFAULT: Self = Self(14);
    /// File exists.
    pub const EEXIST: Self = Self(17);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// Too many open files.
    pub const EMFILE: Self = Self(24);
    /// File name too long.
    pub const ENAMETOOLONG: Self = Self(36);
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// A failure for which the C library leaves errno as it is.
    pub const UNCHANGED: Self = Self(0);
}
