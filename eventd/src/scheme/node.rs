//! The paths of the scheme.

use syscall::dirent::DirentKind;
use syscall::error::{EINVAL, ENOENT, ENOTDIR, Error, Result};
use syscall::flag::{MODE_CHR, MODE_DIR, MODE_FILE};

use crate::engine::Mode;

/// What a path names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Node {
    Root,
    /// `eventfd`
    Eventfd,
    /// `eventfd/{initval}`
    Initval(u32),
    /// `eventfd/{initval}/{0|1}`: opening it makes a new counter.
    NewCounter(u32, Mode),
    /// `list`
    List,
    /// `list/eventfd`
    EventfdList,
    /// `list/waiters`
    WaiterList,
    /// `stat`
    Stat,
}

impl Node {
    /// Follows `path` from this node. Empty components and `.` stay where they are.
    pub(super) fn walk(self, path: &str) -> Result<Self> {
        path.split('/').filter(|name| !matches!(*name, "" | ".")).try_fold(self, Self::child)
    }

    fn child(self, name: &str) -> Result<Self> {
        Ok(match (self, name) {
            (Self::Root, "eventfd") => Self::Eventfd,
            (Self::Root, "list") => Self::List,
            (Self::Root, "stat") => Self::Stat,
            (Self::List, "eventfd") => Self::EventfdList,
            (Self::List, "waiters") => Self::WaiterList,
            (Self::Eventfd, digits) => Self::Initval(parse_initval(digits).ok_or(Error::new(ENOENT))?),
            (Self::Initval(initval), "0") => Self::NewCounter(initval, Mode::Counter),
            (Self::Initval(initval), "1") => Self::NewCounter(initval, Mode::Semaphore),
            (node, _) if node.is_directory() => return Err(Error::new(ENOENT)),
            _ => return Err(Error::new(ENOTDIR)),
        })
    }

    pub(super) fn is_directory(self) -> bool {
        matches!(self, Self::Root | Self::Eventfd | Self::Initval(_) | Self::List)
    }

    /// File type and permissions.
    pub(super) fn mode(self) -> u16 {
        match self {
            Self::Root | Self::Eventfd | Self::Initval(_) | Self::List => MODE_DIR | 0o555,
            Self::NewCounter(..) => MODE_CHR | 0o666,
            Self::EventfdList | Self::WaiterList | Self::Stat => MODE_FILE | 0o444,
        }
    }

    /// The names that reading a directory shows. Counters have none: each is reached only through the descriptor that made it.
    pub(super) fn entries(self) -> &'static [(&'static str, DirentKind)] {
        match self {
            Self::Root => {
                &[("eventfd", DirentKind::Directory), ("list", DirentKind::Directory), ("stat", DirentKind::Regular)]
            }
            Self::List => &[("eventfd", DirentKind::Regular), ("waiters", DirentKind::Regular)],
            Self::Initval(_) => &[("0", DirentKind::CharDev), ("1", DirentKind::CharDev)],
            Self::Eventfd | Self::NewCounter(..) | Self::EventfdList | Self::WaiterList | Self::Stat => &[],
        }
    }

    /// The path below `/scheme/eventd`, with a leading slash.
    pub(super) fn path(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Eventfd => "/eventfd".into(),
            Self::Initval(initval) => format!("/eventfd/{initval}"),
            Self::NewCounter(initval, mode) => format!("/eventfd/{initval}/{}", u8::from(mode == Mode::Semaphore)),
            Self::List => "/list".into(),
            Self::EventfdList => "/list/eventfd".into(),
            Self::WaiterList => "/list/waiters".into(),
            Self::Stat => "/stat".into(),
        }
    }
}

/// Plain decimal only, so that one counter has one name: no sign, no leading zero.
fn parse_initval(digits: &str) -> Option<u32> {
    let canonical = digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// Where in `entries` a directory read goes on, from the opaque value of the last entry read.
pub(super) fn entries_from(node: Node, opaque: u64) -> Result<&'static [(&'static str, DirentKind)]> {
    let start = usize::try_from(opaque).map_err(|_| Error::new(EINVAL))?;
    Ok(node.entries().get(start..).unwrap_or(&[]))
}

#[cfg(test)]
mod tests {
    use super::Node;
    use crate::engine::Mode;
    use syscall::error::{ENOENT, ENOTDIR, Error};

    #[test]
    fn counters_have_one_name() {
        assert_eq!(Node::Root.walk("eventfd/4294967295/1"), Ok(Node::NewCounter(u32::MAX, Mode::Semaphore)));
        assert_eq!(Node::Root.walk("/eventfd//0/./0"), Ok(Node::NewCounter(0, Mode::Counter)));
        for path in ["4294967296/0", "-1/0", "+1/0", "01/0", "0x1/0", "/2", "1/2", "1/", "a/0", "..", "1 /0"] {
            let path = format!("eventfd/{path}");
            let found = Node::Root.walk(&path);
            assert!(!matches!(found, Ok(Node::NewCounter(..))), "{path}: {found:?}");
        }
        assert_eq!(Node::Root.walk("eventfd/4294967296/0"), Err(Error::new(ENOENT)));
    }

    #[test]
    fn files_are_no_directories() {
        assert_eq!(Node::Root.walk("stat/x"), Err(Error::new(ENOTDIR)));
        assert_eq!(Node::Root.walk("eventfd/1/0/0"), Err(Error::new(ENOTDIR)));
        assert_eq!(Node::Root.walk("nothing"), Err(Error::new(ENOENT)));
    }

    #[test]
    fn paths_lead_back() {
        for path in ["", "/eventfd", "/eventfd/7", "/eventfd/7/1", "/list", "/list/eventfd", "/list/waiters", "/stat"] {
            assert_eq!(Node::Root.walk(path).map(Node::path), Ok(path.to_owned()));
        }
    }
}
