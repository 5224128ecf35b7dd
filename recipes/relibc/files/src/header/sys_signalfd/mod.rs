//! `sys/signalfd.h` implementation: forwarded to eventd by the crate `eventd-shim`.
//!
//! Non-POSIX, see <https://man7.org/linux/man-pages/man2/signalfd.2.html>.

use crate::{
    error::{Errno, ResultExt},
    header::{bits_sigset_t::sigset_t, errno::{EFAULT, EINVAL}},
    platform::{
        sys::eventd::{opened, with_root},
        types::{c_int, size_t},
    },
};

/// Set the close-on-exec (`FD_CLOEXEC`) flag on the new file descriptor.
pub const SFD_CLOEXEC: c_int = 0x8_0000;
/// Set the `O_NONBLOCK` flag on the new file description.
pub const SFD_NONBLOCK: c_int = 0x800;

/// A signal, as it is read. Fields that a signal does not have are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct signalfd_siginfo {
    /// Signal number.
    pub ssi_signo: u32,
    /// Unused.
    pub ssi_errno: i32,
    /// Signal code.
    pub ssi_code: i32,
    /// PID of sender, or of the child.
    pub ssi_pid: u32,
    /// Real UID of sender, or of the child.
    pub ssi_uid: u32,
    /// File descriptor (SIGIO).
    pub ssi_fd: i32,
    /// Timer ID.
    pub ssi_tid: u32,
    /// Band event (SIGIO).
    pub ssi_band: u32,
    /// Timer overrun count.
    pub ssi_overrun: u32,
    /// Trap number.
    pub ssi_trapno: u32,
    /// Exit status or signal (SIGCHLD).
    pub ssi_status: i32,
    /// Integer sent by sigqueue.
    pub ssi_int: i32,
    /// Pointer sent by sigqueue.
    pub ssi_ptr: u64,
    /// User CPU time of the child (SIGCHLD).
    pub ssi_utime: u64,
    /// System CPU time of the child (SIGCHLD).
    pub ssi_stime: u64,
    /// Address of a fault.
    pub ssi_addr: u64,
    /// Least significant bit of that address.
    pub ssi_addr_lsb: u16,
    pub __pad2: u16,
    /// System call number (SIGSYS).
    pub ssi_syscall: i32,
    /// Address of the system call instruction.
    pub ssi_call_addr: u64,
    /// Architecture of the system call.
    pub ssi_arch: u32,
    pub __pad: [u8; 28],
}

const _: () = assert!(size_of::<signalfd_siginfo>() == 128);

/// Non-POSIX, see <https://man7.org/linux/man-pages/man2/signalfd.2.html>.
///
/// Creates a descriptor from which the signals in `mask` are read, or replaces the mask of `fd`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signalfd(fd: c_int, mask: *const sigset_t, flags: c_int) -> c_int {
    // Linux sees this before anything else; other bad pointers only the kernel could tell.
    if mask.is_null() {
        return Err(Errno(EFAULT)).or_minus_one_errno();
    }
    // SAFETY: what the caller of the C function promises.
    let mask = unsafe { mask.read() };
    with_root(|root| eventd_shim::signalfd(root, fd, mask, flags))
        .map(opened)
        .map_err(|eventd_shim::Errno(errno)| Errno(errno))
        .or_minus_one_errno()
}

/// The system call of Linux, which wants to know how long `mask` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signalfd4(
    fd: c_int,
    mask: *const sigset_t,
    sizemask: size_t,
    flags: c_int,
) -> c_int {
    if sizemask != size_of::<sigset_t>() {
        return Err(Errno(EINVAL)).or_minus_one_errno();
    }
    // SAFETY: what the caller of the C function promises.
    unsafe { signalfd(fd, mask, flags) }
}
