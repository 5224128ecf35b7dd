//! Names of semaphores, as programs write them and as they stand in paths.
//!
//! A name is any bytes without `/` and zero (semantics 130-135). A path is UTF-8, and `.` and `..` mean something else in it, so some bytes are written `%XX` there.
//! Each name has exactly one such form.

use crate::Errno;

/// The longest name, in bytes (semantics 134).
pub const NAME_MAX: usize = 251;
/// The longest form of a name in a path.
pub const ENCODED_MAX: usize = 3 * NAME_MAX;

/// The name that a program's `name` stands for (semantics 130).
pub(crate) fn without_slashes(name: &[u8]) -> &[u8] {
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    &name[slashes..]
}

/// Whether a name can be one.
///
/// # Errors
/// EINVAL if it is empty or has a slash (131, 132), ENAMETOOLONG above [`NAME_MAX`] (134, 135).
pub(crate) fn check(name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

/// Calls `put` with each byte of the form that `name` has in a path.
pub fn encode(name: &[u8], mut put: impl FnMut(u8)) {
    let special = matches!(name, b"." | b"..");
    for &byte in name {
        if special || !is_plain(byte) {
            [b'%', hex_digit(byte >> 4), hex_digit(byte)].into_iter().for_each(&mut put);
        } else {
            put(byte);
        }
    }
}

/// Calls `put` with each byte of the name whose form in a path is `text`.
///
/// Returns whether that is the form of a name at all; if not, some bytes may have been put nevertheless.
pub fn decode(text: &[u8], mut put: impl FnMut(u8)) -> bool {
    let mut rest = text;
    let mut len = 0;
    while let Some((&first, behind)) = rest.split_first() {
        let (byte, behind) = match (first, behind) {
            (b'%', &[high, low, ref behind @ ..]) => match (hex_value(high), hex_value(low)) {
                (Some(high), Some(low)) => (high << 4 | low, behind),
                _ => return false,
            },
            _ if is_plain(first) => (first, behind),
            _ => return false,
        };
        // Bytes that need no escape have none, but for the dots of `.` and `..`.
        let escaped = first == b'%';
        if byte == 0 || byte == b'/' || (escaped && is_plain(byte) && !matches!(text, b"%2E" | b"%2E%2E")) {
            return false;
        }
        put(byte);
        len += 1;
        rest = behind;
    }
    (1..=NAME_MAX).contains(&len) && !matches!(text, b"." | b"..")
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'/')
}

/// The digit for the lower half of `value`.
pub(crate) fn hex_digit(value: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(value & 0xF)]
}

/// The value of an upper-case hexadecimal digit.
#[must_use]
pub fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_MAX, check, decode, encode, without_slashes};
    use crate::Errno;
    use std::vec::Vec;

    fn encoded(name: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        encode(name, |byte| text.push(byte));
        text
    }

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        decode(text, |byte| name.push(byte)).then_some(name)
    }

    fn strip(name: &[u8]) -> Result<&[u8], Errno> {
        let name = without_slashes(name);
        check(name).map(|()| name)
    }

    #[test]
    fn leading_slashes_go_130_131_132() {
        for name in ["a", "/a", "//a"] {
            assert_eq!(strip(name.as_bytes()), Ok(&b"a"[..]));
        }
        for name in ["", "/", "///", "a/", "/a/b", "a//"] {
            assert_eq!(strip(name.as_bytes()), Err(Errno::EINVAL), "{name}");
        }
    }

    #[test]
    fn long_names_134_135_137() {
        let name = [b'x'; NAME_MAX + 1];
        assert_eq!(strip(&name), Err(Errno::ENAMETOOLONG));
        assert!(strip(&name[1..]).is_ok());
        // glibc counts the slashes, and creates the name that it refuses.
        let mut slashes = [b'x'; 260];
        slashes[..20].fill(b'/');
        assert_eq!(strip(&slashes).map(<[u8]>::len), Ok(240));
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(encoded(b"py-1.x"), b"py-1.x");
        assert_eq!(encoded(b"."), b"%2E");
        assert_eq!(encoded(b".."), b"%2E%2E");
        assert_eq!(encoded(b"..."), b"...");
        assert_eq!(encoded("a b%\n\u{e9}".as_bytes()), b"a%20b%25%0A%C3%A9");
        for text in [".", "..", "", "%", "%2", "%41", "%2e", "%2E.", "%00", "%2F", "a b", "a/b", "\u{e9}", "%zz"] {
            assert_eq!(decoded(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decoded(&[b'x'; NAME_MAX + 1]), None);
    }

    #[test]
    fn every_byte_comes_back() {
        for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
            for name in [&[byte][..], &[byte, byte], &[b'a', byte]] {
                assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
            }
        }
    }
}
