//! The paths of the scheme.

use std::rc::Rc;

use eventd_shim::{CONTENT_MAX, name};
use syscall::dirent::DirentKind;
use syscall::error::{ENOENT, ENOTDIR, Error, Result};
use syscall::flag::{MODE_CHR, MODE_DIR, MODE_FILE};

use crate::engine::{Mode, SignalSet};

/// What a path names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Node {
    Root,
    /// `eventfd`
    Eventfd,
    /// `eventfd/{initval}`
    Initval(u32),
    /// `eventfd/{initval}/{0|1}`: opening it makes a new counter.
    NewCounter(u32, Mode),
    /// `signalfd`
    Signalfd,
    /// `signalfd/{mask}`: opening it makes a new signalfd.
    NewSignalfd(SignalSet),
    /// `sem`
    Semaphores,
    /// `sem/{name}`: what there is to say of it.
    Semaphore(Rc<[u8]>),
    /// `page`
    Pages,
    /// `page/sem`
    SemaphorePages,
    /// `page/sem/{name}`: its memory.
    SemaphorePage(Rc<[u8]>),
    /// `new`
    New,
    /// `new/sem`
    NewSemaphores,
    /// `new/sem/{content}`
    Content(Rc<[u8]>),
    /// `new/sem/{content}/{name}`: creating it makes a new semaphore.
    NewSemaphore(Rc<[u8]>, Rc<[u8]>),
    /// `list`
    List,
    /// `list/eventfd`
    EventfdList,
    /// `list/sem`
    SemaphoreList,
    /// `list/signalfd`
    SignalfdList,
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
        let absent = Error::new(ENOENT);
        Ok(match (self, name) {
            (Self::Root, "eventfd") => Self::Eventfd,
            (Self::Root, "signalfd") => Self::Signalfd,
            (Self::Root, "sem") => Self::Semaphores,
            (Self::Root, "page") => Self::Pages,
            (Self::Root, "new") => Self::New,
            (Self::Root, "list") => Self::List,
            (Self::Root, "stat") => Self::Stat,
            (Self::List, "eventfd") => Self::EventfdList,
            (Self::List, "sem") => Self::SemaphoreList,
            (Self::List, "signalfd") => Self::SignalfdList,
            (Self::List, "waiters") => Self::WaiterList,
            (Self::Pages, "sem") => Self::SemaphorePages,
            (Self::New, "sem") => Self::NewSemaphores,
            (Self::Eventfd, digits) => Self::Initval(parse_initval(digits).ok_or(absent)?),
            (Self::Initval(initval), "0") => Self::NewCounter(initval, Mode::Counter),
            (Self::Initval(initval), "1") => Self::NewCounter(initval, Mode::Semaphore),
            (Self::Signalfd, digits) => Self::NewSignalfd(parse_mask(digits).ok_or(absent)?),
            (Self::Semaphores, name) => Self::Semaphore(parse_name(name).ok_or(absent)?),
            (Self::SemaphorePages, name) => Self::SemaphorePage(parse_name(name).ok_or(absent)?),
            (Self::NewSemaphores, digits) => Self::Content(parse_content(digits).ok_or(absent)?),
            (Self::Content(content), name) => Self::NewSemaphore(content, parse_name(name).ok_or(absent)?),
            (node, _) if node.is_directory() => return Err(absent),
            _ => return Err(Error::new(ENOTDIR)),
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode() & MODE_DIR != 0
    }

    /// File type and permissions, as far as they do not depend on an object.
    pub(super) fn mode(&self) -> u16 {
        match self {
            Self::Root
            | Self::Eventfd
            | Self::Initval(_)
            | Self::Signalfd
            | Self::Pages
            | Self::SemaphorePages
            | Self::New
            | Self::NewSemaphores
            | Self::Content(_)
            | Self::List => MODE_DIR | 0o555,
            // Everybody makes names, and takes only own ones away.
            Self::Semaphores => MODE_DIR | 0o1777,
            Self::NewCounter(..) | Self::NewSignalfd(_) => MODE_CHR | 0o666,
            Self::Semaphore(_) | Self::SemaphorePage(_) | Self::NewSemaphore(..) => MODE_FILE,
            Self::EventfdList | Self::SemaphoreList | Self::SignalfdList | Self::WaiterList | Self::Stat => {
                MODE_FILE | 0o444
            }
        }
    }

    /// The names that reading a directory shows, but for those of semaphores. Counters have none: each is reached only through the descriptor that made it.
    pub(super) fn entries(&self) -> &'static [(&'static str, DirentKind)] {
        match self {
            Self::Root => &[
                ("eventfd", DirentKind::Directory),
                ("list", DirentKind::Directory),
                ("new", DirentKind::Directory),
                ("page", DirentKind::Directory),
                ("sem", DirentKind::Directory),
                ("signalfd", DirentKind::Directory),
                ("stat", DirentKind::Regular),
            ],
            Self::List => &[
                ("eventfd", DirentKind::Regular),
                ("sem", DirentKind::Regular),
                ("signalfd", DirentKind::Regular),
                ("waiters", DirentKind::Regular),
            ],
            Self::New | Self::Pages => &[("sem", DirentKind::Directory)],
            Self::Initval(_) => &[("0", DirentKind::CharDev), ("1", DirentKind::CharDev)],
            _ => &[],
        }
    }

    /// The path below `/scheme/eventd`, with a leading slash.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Eventfd => "/eventfd".into(),
            Self::Initval(initval) => format!("/eventfd/{initval}"),
            Self::NewCounter(initval, mode) => format!("/eventfd/{initval}/{}", u8::from(*mode == Mode::Semaphore)),
            Self::Signalfd => "/signalfd".into(),
            Self::NewSignalfd(mask) => format!("/signalfd/{mask:016X}"),
            Self::Semaphores => "/sem".into(),
            Self::Semaphore(name) => format!("/sem/{}", encode_name(name)),
            Self::Pages => "/page".into(),
            Self::SemaphorePages => "/page/sem".into(),
            Self::SemaphorePage(name) => format!("/page/sem/{}", encode_name(name)),
            Self::New => "/new".into(),
            Self::NewSemaphores => "/new/sem".into(),
            Self::Content(content) => format!("/new/sem/{}", encode_content(content)),
            Self::NewSemaphore(content, name) => {
                format!("/new/sem/{}/{}", encode_content(content), encode_name(name))
            }
            Self::List => "/list".into(),
            Self::EventfdList => "/list/eventfd".into(),
            Self::SemaphoreList => "/list/sem".into(),
            Self::SignalfdList => "/list/signalfd".into(),
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

/// Sixteen upper-case hexadecimal digits.
fn parse_mask(digits: &str) -> Option<SignalSet> {
    let digits: &[u8; 16] = digits.as_bytes().try_into().ok()?;
    digits.iter().try_fold(0, |mask, digit| Some(mask << 4 | u64::from(name::hex_value(*digit)?)))
}

fn parse_name(text: &str) -> Option<Rc<[u8]>> {
    let mut decoded = Vec::with_capacity(text.len());
    name::decode(text.as_bytes(), |byte| decoded.push(byte)).then(|| decoded.into())
}

/// The form of a semaphore's name that paths and lists have.
pub(super) fn encode_name(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    // What comes out is ASCII.
    name::encode(name, |byte| text.push(char::from(byte)));
    text
}

fn parse_content(digits: &str) -> Option<Rc<[u8]>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > CONTENT_MAX {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(name::hex_value(*high)? << 4 | name::hex_value(*low)?)).collect()
}

fn encode_content(content: &[u8]) -> String {
    content.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Node, encode_name};
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
    fn semaphores_have_one_name() {
        assert_eq!(Node::Root.walk("sem/a%20b"), Ok(Node::Semaphore(b"a b"[..].into())));
        assert_eq!(Node::Root.walk("sem/%2E%2E"), Ok(Node::Semaphore(b".."[..].into())));
        assert_eq!(encode_name(&[0xFF, b'%']), "%FF%25");
        let content = [1, 0, 0xAB];
        let new = Node::NewSemaphore(content.into(), b"x"[..].into());
        assert_eq!(Node::Root.walk("new/sem/0100AB/x"), Ok(new));
        for path in ["sem/..", "sem/a b", "sem/%41", "new/sem/0100ab/x", "new/sem/0/x", "new/sem/0g/x", "new/x"] {
            assert_eq!(Node::Root.walk(path), Err(Error::new(ENOENT)), "{path}");
        }
        assert_eq!(Node::Root.walk(&format!("new/sem/{}/x", "00".repeat(65))), Err(Error::new(ENOENT)));
        assert_eq!(Node::Root.walk("sem/x/y"), Err(Error::new(ENOTDIR)));
    }

    #[test]
    fn files_are_no_directories() {
        assert_eq!(Node::Root.walk("stat/x"), Err(Error::new(ENOTDIR)));
        assert_eq!(Node::Root.walk("eventfd/1/0/0"), Err(Error::new(ENOTDIR)));
        assert_eq!(Node::Root.walk("nothing"), Err(Error::new(ENOENT)));
    }

    #[test]
    fn paths_lead_back() {
        for path in [
            "",
            "/eventfd",
            "/eventfd/7",
            "/eventfd/7/1",
            "/sem",
            "/sem/py-%0A",
            "/page",
            "/page/sem",
            "/page/sem/%25",
            "/new",
            "/new/sem",
            "/new/sem/01FF",
            "/new/sem/01FF/x",
            "/list",
            "/list/eventfd",
            "/list/sem",
            "/list/signalfd",
            "/signalfd",
            "/signalfd/0000000600012A00",
            "/list/waiters",
            "/stat",
        ] {
            assert_eq!(Node::Root.walk(path).map(|node| node.path()), Ok(path.to_owned()));
        }
    }
}
