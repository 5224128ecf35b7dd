//! Redox values to Linux values and back. Nothing else in the tree does this.

use syscall::error as redox;
use syscall::flag;

/// An errno with Linux's numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LinuxErrno(pub(crate) i32);

/// Redox took Linux's numbers, but for two that are aliases on Linux. A number that is no errno at all becomes EIO.
pub(crate) fn errno_to_linux(errno: i32) -> LinuxErrno {
    LinuxErrno(match errno {
        redox::EWOULDBLOCK => libc::EAGAIN,
        redox::EDEADLOCK => libc::EDEADLK,
        1..redox::ERSVD => errno,
        _ => libc::EIO,
    })
}

/// Linux's flags of open(2) as libredox's C ABI takes them, in Redox values.
pub(crate) fn open_flags_to_redox(linux: i32) -> usize {
    let access = match linux & libc::O_ACCMODE {
        libc::O_WRONLY => flag::O_WRONLY,
        libc::O_RDWR => flag::O_RDWR,
        _ => flag::O_RDONLY,
    };
    [
        (libc::O_NONBLOCK, flag::O_NONBLOCK),
        (libc::O_APPEND, flag::O_APPEND),
        (libc::O_ASYNC, flag::O_ASYNC),
        (libc::O_SYNC, flag::O_FSYNC),
        (libc::O_CLOEXEC, libredox::protocol::O_CLOEXEC),
        (libc::O_CREAT, flag::O_CREAT),
        (libc::O_TRUNC, flag::O_TRUNC),
        (libc::O_EXCL, flag::O_EXCL),
        (libc::O_DIRECTORY, flag::O_DIRECTORY),
        (libc::O_PATH, flag::O_STAT),
        (libc::O_NOFOLLOW, flag::O_NOFOLLOW),
    ]
    .into_iter()
    .filter(|(linux_flag, _)| linux & linux_flag == *linux_flag)
    .fold(access, |flags, (_, redox_flag)| flags | redox_flag)
}

/// Linux's protection and flags of mmap(2) as the kernel tells a scheme of them.
pub(crate) fn map_flags_to_redox(prot: i32, flags: i32) -> flag::MapFlags {
    [
        (prot, libc::PROT_READ, flag::MapFlags::PROT_READ),
        (prot, libc::PROT_WRITE, flag::MapFlags::PROT_WRITE),
        (prot, libc::PROT_EXEC, flag::MapFlags::PROT_EXEC),
        (flags, libc::MAP_SHARED, flag::MapFlags::MAP_SHARED),
        (flags, libc::MAP_PRIVATE, flag::MapFlags::MAP_PRIVATE),
        (flags, libc::MAP_FIXED, flag::MapFlags::MAP_FIXED),
        (flags, libc::MAP_FIXED_NOREPLACE, flag::MapFlags::MAP_FIXED_NOREPLACE),
    ]
    .into_iter()
    .filter(|(linux, bit, _)| linux & bit != 0)
    .fold(flag::MapFlags::empty(), |flags, (_, _, redox)| flags | redox)
}

/// Event flags as poll(2) bits.
pub(crate) fn events_to_poll(flags: flag::EventFlags) -> u32 {
    let mut events = 0;
    if flags.contains(flag::EventFlags::EVENT_READ) {
        events |= libc::POLLIN;
    }
    if flags.contains(flag::EventFlags::EVENT_WRITE) {
        events |= libc::POLLOUT;
    }
    u32::from(events.cast_unsigned())
}

/// poll(2) bits as the event flags to ask a scheme for.
pub(crate) fn poll_to_events(events: u32) -> flag::EventFlags {
    let has = |bit: i16| events & u32::from(bit.cast_unsigned()) != 0;
    let mut flags = flag::EventFlags::empty();
    flags.set(flag::EventFlags::EVENT_READ, has(libc::POLLIN));
    flags.set(flag::EventFlags::EVENT_WRITE, has(libc::POLLOUT));
    flags
}

#[cfg(test)]
mod tests {
    use super::{LinuxErrno, errno_to_linux, map_flags_to_redox, open_flags_to_redox};
    use syscall::flag::{self, MapFlags};

    /// The whole of Redox's table against the C library's, by name.
    #[test]
    fn errno_numbers_agree() {
        macro_rules! same {
            ($($name:ident)*) => { $(
                assert_eq!(errno_to_linux(syscall::error::$name), LinuxErrno(libc::$name), stringify!($name));
            )* };
        }
        same! {
            EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV
            ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG
            ENOLCK ENOSYS ENOTEMPTY ELOOP EWOULDBLOCK ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE
            EBADR EXFULL ENOANO EBADRQC EBADSLT EDEADLOCK EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT
            ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ
            ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
            EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
            ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM
            ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
            ENOTRECOVERABLE
        }
        assert_eq!(errno_to_linux(4095), LinuxErrno(libc::EIO));
    }

    #[test]
    fn open_flags() {
        assert_eq!(open_flags_to_redox(libc::O_RDONLY), flag::O_RDONLY);
        assert_eq!(
            open_flags_to_redox(libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC),
            flag::O_RDWR | flag::O_NONBLOCK | libredox::protocol::O_CLOEXEC
        );
        assert_eq!(
            open_flags_to_redox(libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC),
            flag::O_WRONLY | flag::O_CREAT | flag::O_EXCL | flag::O_TRUNC
        );
    }

    #[test]
    fn map_flags() {
        assert_eq!(map_flags_to_redox(libc::PROT_NONE, libc::MAP_PRIVATE), MapFlags::MAP_PRIVATE);
        assert_eq!(
            map_flags_to_redox(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED),
            MapFlags::PROT_READ | MapFlags::PROT_WRITE | MapFlags::MAP_SHARED | MapFlags::MAP_FIXED
        );
        assert_eq!(
            map_flags_to_redox(libc::PROT_EXEC, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE),
            MapFlags::PROT_EXEC | MapFlags::MAP_SHARED | MapFlags::MAP_FIXED_NOREPLACE
        );
    }
}
