//! Paths of the scheme, built on the stack.

const ROOT: &[u8] = b"/scheme/eventd/";
const PREFIX: &[u8] = b"/scheme/eventd/eventfd/";
/// 4294967295 has ten digits.
const MAX_DIGITS: usize = 10;
const MAX_LEN: usize = PREFIX.len() + MAX_DIGITS + "/0".len();

/// `/scheme/eventd/eventfd/{initval}/{0|1}`.
pub(crate) struct CounterPath {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl CounterPath {
    pub(crate) fn new(initval: u32, semaphore: bool) -> Self {
        let mut path = Self { bytes: [0; MAX_LEN], len: 0 };
        PREFIX.iter().for_each(|byte| path.push(*byte));
        let mut digits = [0; MAX_DIGITS];
        let mut rest = initval;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count().min(MAX_DIGITS - 1);
        digits[leading..].iter().for_each(|digit| path.push(*digit));
        path.push(b'/');
        path.push(if semaphore { b'1' } else { b'0' });
        path
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
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

#[cfg(test)]
mod tests {
    use super::CounterPath;

    #[test]
    fn numbers_have_no_leading_zeros() {
        let path = |initval, semaphore| CounterPath::new(initval, semaphore);
        assert_eq!(path(0, false).absolute(), b"/scheme/eventd/eventfd/0/0");
        assert_eq!(path(7, true).absolute(), b"/scheme/eventd/eventfd/7/1");
        assert_eq!(path(1_000_000, false).absolute(), b"/scheme/eventd/eventfd/1000000/0");
        assert_eq!(path(u32::MAX, true).absolute(), b"/scheme/eventd/eventfd/4294967295/1");
        assert_eq!(path(10, false).relative(), b"eventfd/10/0");
    }
}
