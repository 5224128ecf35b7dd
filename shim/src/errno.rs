//! Error numbers.

/// An errno of the C library that this crate is linked into. The few that the shim itself reports have the same number on Linux and Redox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Errno(pub i32);

impl Errno {
    /// Bad descriptor.
    pub(crate) const EBADF: Self = Self(9);
    /// Invalid argument.
    pub(crate) const EINVAL: Self = Self(22);
    /// Too many open files.
    pub(crate) const EMFILE: Self = Self(24);
    /// A failure for which the C library leaves errno as it is.
    pub const UNCHANGED: Self = Self(0);
}
