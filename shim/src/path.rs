//! Paths of the scheme, built on the stack.

use crate::Errno;
use crate::name::{self, ENCODED_MAX};
use crate::sys;

const ROOT: &[u8] = b"/scheme/eventd/";
/// Where eventfds are.
pub(crate) const EVENTFDS: &[u8] = b"/scheme/eventd/eventfd/";
/// Where signalfds are.
pub(crate) const SIGNALFDS: &[u8] = b"/scheme/eventd/signalfd/";
const NEW_SEMAPHORE: &[u8] = b"new/sem/";
/// 4294967295 has ten digits.
const MAX_DIGITS: usize = 10;
/// How many bytes of a page can be given when it is made.
pub const CONTENT_MAX: usize = 64;
const MAX_LEN: usize = ROOT.len() + NEW_SEMAPHORE.len() + 2 * CONTENT_MAX + 1 + ENCODED_MAX;

/// A path below `/scheme/eventd`.
pub(crate) struct Path {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Path {
    fn new() -> Self {
        let mut path = Self { bytes: [0; MAX_LEN], len: 0 };
        path.push_all(ROOT);
        path
    }

    /// `eventfd/{initval}/{0|1}`.
    pub(crate) fn counter(initval: u32, semaphore: bool) -> Self {
        let mut path = Self::new();
        path.push_all(b"eventfd/");
        let mut digits = [0; MAX_DIGITS];
        let mut rest = initval;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count().min(MAX_DIGITS - 1);
        path.push_all(&digits[leading..]);
        path.push_all(if semaphore { b"/1" } else { b"/0" });
        path
    }

    /// `signalfd/{mask}`.
    pub(crate) fn signalfd(mask: u64) -> Self {
        let mut path = Self::new();
        path.push_all(b"signalfd/");
        for byte in mask.to_be_bytes() {
            path.push(name::hex_digit(byte >> 4));
            path.push(name::hex_digit(byte));
        }
        path
    }

    /// `sem/{name}`, of a name without slashes.
    pub(crate) fn semaphore(name: &[u8]) -> Self {
        Self::of_name(b"sem/", name)
    }

    /// `page/sem/{name}`, of a name without slashes.
    pub(crate) fn semaphore_page(name: &[u8]) -> Self {
        Self::of_name(b"page/sem/", name)
    }

    fn of_name(directory: &[u8], name: &[u8]) -> Self {
        let mut path = Self::new();
        path.push_all(directory);
        name::encode(name, |byte| path.push(byte));
        path
    }

    /// `new/sem/{content}/{name}`, of a name without slashes.
    ///
    /// # Errors
    /// EINVAL for a content of more than [`CONTENT_MAX`] bytes.
    pub(crate) fn new_semaphore(name: &[u8], content: &[u8]) -> Result<Self, Errno> {
        if content.len() > CONTENT_MAX {
            return Err(Errno::EINVAL);
        }
        let mut path = Self::new();
        path.push_all(NEW_SEMAPHORE);
        for byte in content {
            path.push(name::hex_digit(byte >> 4));
            path.push(name::hex_digit(*byte));
        }
        path.push(b'/');
        name::encode(name, |byte| path.push(byte));
        Ok(path)
    }

    /// What does not fit is left out: names and contents that are too long never come here.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn push_all(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }

    /// The whole path.
    pub(crate) fn absolute(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The path below the root of the scheme.
    pub(crate) fn relative(&self) -> &[u8] {
        &self.bytes[ROOT.len()..self.len]
    }
}

/// Whether the file of a descriptor is in the directory `directory`, whose name ends with a slash.
pub(crate) fn is_below(descriptor: usize, directory: &[u8]) -> Result<bool, Errno> {
    let mut path = [0; MAX_LEN];
    let start = &mut path[..directory.len().min(MAX_LEN)];
    let len = sys::path(descriptor, start)?;
    Ok(start.get(..len) == Some(directory))
}

#[cfg(test)]
mod tests {
    use super::{CONTENT_MAX, MAX_LEN, Path};
    use crate::Errno;
    use crate::name::NAME_MAX;

    #[test]
    fn numbers_have_no_leading_zeros() {
        assert_eq!(Path::counter(0, false).absolute(), b"/scheme/eventd/eventfd/0/0");
        assert_eq!(Path::counter(7, true).absolute(), b"/scheme/eventd/eventfd/7/1");
        assert_eq!(Path::counter(1_000_000, false).absolute(), b"/scheme/eventd/eventfd/1000000/0");
        assert_eq!(Path::counter(u32::MAX, true).absolute(), b"/scheme/eventd/eventfd/4294967295/1");
        assert_eq!(Path::counter(10, false).relative(), b"eventfd/10/0");
    }

    #[test]
    fn masks_have_sixteen_digits() {
        assert_eq!(Path::signalfd(0x6_0001_2A00).absolute(), b"/scheme/eventd/signalfd/0000000600012A00");
    }

    #[test]
    fn semaphores() {
        assert_eq!(Path::semaphore(b"a b").absolute(), b"/scheme/eventd/sem/a%20b");
        assert_eq!(Path::semaphore_page(b".").relative(), b"page/sem/%2E");
        let path = |content: &[u8]| Path::new_semaphore(b"x", content).map(|path| path.relative().to_vec());
        assert_eq!(path(&[0x1F, 0]), Ok(b"new/sem/1F00/x".to_vec()));
        assert_eq!(path(&[0; CONTENT_MAX + 1]), Err(Errno::EINVAL));
        let longest = Path::new_semaphore(&[b' '; NAME_MAX], &[0; CONTENT_MAX]);
        assert_eq!(longest.map(|path| path.absolute().len()), Ok(MAX_LEN));
    }
}
