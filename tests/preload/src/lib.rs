//! `LD_PRELOAD=libeventd_preload.so` puts the shim's C functions in front of glibc's.
//!
//! No eventfd, signalfd or semaphore is made by glibc: if eventd does not run, the program sees the error of the open. With `EVENTD_DEBUG=1` a line on standard
//! error says so. Functions that all descriptors share are passed on to glibc unless the descriptor is an eventfd.
#![feature(c_variadic)]
#![allow(unsafe_code)]

use std::ffi::CStr;

mod c_abi;
mod descriptors;
mod vfork;

/// Runs when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

extern "C" fn on_load() {
    vfork::on_load();
    scheme_host::lend_signals("/scheme/eventd/signalfd/");
    if std::env::var_os("EVENTD_DEBUG").is_some_and(|value| value == "1") {
        scheme_host::on_open_error(report);
    }
}

fn report(path: &CStr, errno: i32) {
    let cause = std::io::Error::from_raw_os_error(errno);
    eprintln!("eventd-preload: cannot open {}: {cause} (is eventd running?)", path.to_string_lossy());
}
