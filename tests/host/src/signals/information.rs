//! What Linux knows of a signal, as the protocol of the router tells it.

use super::INFORMATION;
use super::protocol::SignalRecord;

const SI_KERNEL: i32 = 0x80;
const SI_TIMER: i32 = -2;
const SI_SIGIO: i32 = -5;

/// A `siginfo_t`, as x86-64 and the other 64-bit machines lay it out. What a record has no field for is left out.
pub(super) fn record(information: &[u8; INFORMATION]) -> SignalRecord {
    let four = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&information[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    let eight = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&information[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let (signo, code) = (four(0), four(8).cast_signed());
    let record = SignalRecord { signo, code, ..SignalRecord::default() };
    // Which fields there are follows from the code, and for the kernel's codes from the signal.
    let small = |ticks: u64| u32::try_from(ticks).unwrap_or(u32::MAX);
    match code {
        SI_TIMER => SignalRecord { value: eight(24), ..record },
        SI_SIGIO => record,
        ..=0 | SI_KERNEL => SignalRecord { pid: four(16), uid: four(20), value: eight(24), ..record },
        _ if signo == libc::SIGCHLD.cast_unsigned() => SignalRecord {
            pid: four(16),
            uid: four(20),
            status: four(24).cast_signed(),
            utime: small(eight(32)),
            stime: small(eight(40)),
            ..record
        },
        _ => record,
    }
}

#[cfg(test)]
mod tests {
    use super::{INFORMATION, SI_TIMER, SignalRecord, record};

    fn information(words: &[(usize, u32)]) -> [u8; INFORMATION] {
        let mut bytes = [0; INFORMATION];
        for (at, word) in words {
            bytes[*at..*at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn fields_follow_from_the_code() {
        let minus = |code: u32| code.wrapping_neg();
        let sent = information(&[(0, 10), (8, minus(1)), (16, 77), (20, 1000), (24, 5), (28, 6)]);
        let expected =
            SignalRecord { signo: 10, code: -1, pid: 77, uid: 1000, value: 6 << 32 | 5, ..SignalRecord::default() };
        assert_eq!(record(&sent), expected);
        let child = information(&[(0, 17), (8, 1), (16, 77), (20, 1000), (24, 3), (32, 8), (40, 9)]);
        let expected = SignalRecord {
            signo: 17,
            code: 1,
            pid: 77,
            uid: 1000,
            status: 3,
            utime: 8,
            stime: 9,
            ..SignalRecord::default()
        };
        assert_eq!(record(&child), expected);
        let timer = information(&[(0, 14), (8, SI_TIMER.cast_unsigned()), (16, 1), (20, 9), (24, 5)]);
        let expected = SignalRecord { signo: 14, code: SI_TIMER, value: 5, ..SignalRecord::default() };
        assert_eq!(record(&timer), expected);
        let fault = information(&[(0, 11), (8, 1), (16, 0x1000)]);
        assert_eq!(record(&fault), SignalRecord { signo: 11, code: 1, ..SignalRecord::default() });
    }
}
