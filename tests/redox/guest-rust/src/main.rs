//! eventfd from Rust, with std, on whatever C library the program is linked with. Prints as the programs in `tests/conformance` do.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::FromRawFd;
use std::thread;

unsafe extern "C" {
    fn eventfd(initval: c_uint, flags: c_int) -> c_int;
}

const EFD_SEMAPHORE: c_int = 0o1;
const EFD_NONBLOCK: c_int = 0o4000;

fn counter(initval: c_uint, flags: c_int) -> Result<File> {
    // SAFETY: eventfd takes any numbers.
    let fd = unsafe { eventfd(initval, flags) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn take(mut counter: &File) -> Result<u64> {
    let mut value = [0; 8];
    counter.read_exact(&mut value)?;
    Ok(u64::from_ne_bytes(value))
}

fn add(mut counter: &File, value: u64) -> Result<()> {
    counter.write_all(&value.to_ne_bytes())
}

fn main() -> Result<()> {
    let plain = counter(3, 0)?;
    add(&plain, 4)?;
    println!("20.rust-sum: {}", take(&plain)?);

    let semaphore = counter(2, EFD_SEMAPHORE | EFD_NONBLOCK)?;
    println!("21.rust-semaphore: {} {}", take(&semaphore)?, take(&semaphore)?);
    println!("23.rust-empty: {:?}", take(&semaphore).map_err(|error| error.kind()));
    println!("2.rust-flags: {:?}", counter(0, 0x40).map(drop).map_err(|error| error.kind()));

    let (requests, replies) = (counter(0, 0)?, counter(0, 0)?);
    let rounds = 1000;
    let sum = thread::scope(|scope| {
        let echo = scope.spawn(|| (0..rounds).try_for_each(|_| add(&replies, take(&requests)?)));
        let asker = scope.spawn(|| {
            (1..=rounds).try_fold(0, |sum, value| {
                add(&requests, value)?;
                Ok::<_, std::io::Error>(sum + take(&replies)?)
            })
        });
        (asker.join().map(Result::ok).ok(), echo.join().is_ok_and(|echoed| echoed.is_ok()))
    });
    println!("24.rust-threads: {sum:?}");
    Ok(())
}
