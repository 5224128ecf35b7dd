//! The null namespace belongs to the whole process, so this test is alone in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use libredox::call::{open, setrens};
use libredox::flag::O_RDONLY;
use redox_scheme::Socket;
use scheme_host as _;
use support::within;
use syscall::error::{ENODEV, ENOSYS, Error};

#[test]
fn in_the_null_namespace_nothing_can_be_opened() {
    let _watchdog = within(20);
    assert_eq!(setrens(0, 1).map_err(libredox::error::Error::errno), Err(ENOSYS));
    let before = open("/dev/null", O_RDONLY, 0).unwrap();
    let socket = Socket::nonblock().unwrap();
    setrens(0, 0).unwrap();
    assert_eq!(open("/dev/null", O_RDONLY, 0).map_err(libredox::error::Error::errno), Err(ENODEV));
    assert_eq!(Socket::nonblock().map(drop), Err(Error::new(ENODEV)));
    assert_eq!(libredox::call::read(before, &mut [0; 8]).unwrap(), 0, "what is open stays open");
    drop(socket);
}
