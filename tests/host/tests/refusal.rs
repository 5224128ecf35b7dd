//! Numbers of descriptors belong to the whole process, so this test is alone in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use libredox::call::{close, getns, register_scheme_to_ns};
use redox_scheme::Socket;
use scheme_host::Namespace;
use support::within;
use syscall::error::{EBADF, EEXIST};

#[test]
fn a_refused_registration_takes_the_capability_all_the_same() {
    let _watchdog = within(20);
    Namespace::new().enter();
    let [first, second] = [(); 2].map(|()| Socket::nonblock().unwrap());
    let namespace = getns().unwrap();
    for (socket, expected) in [(&first, Ok(())), (&second, Err(EEXIST))] {
        let capability = socket.create_this_scheme_fd(0, 1, 0, 0).unwrap();
        let registered = register_scheme_to_ns(namespace, "test", capability).map(drop);
        assert_eq!(registered.map_err(libredox::error::Error::errno), expected);
        assert_eq!(close(capability).map_err(libredox::error::Error::errno), Err(EBADF), "{expected:?}");
    }
    assert_eq!(getns().unwrap(), namespace, "there is one, which nobody closes");
}
