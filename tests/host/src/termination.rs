//! SIGTERM and SIGINT end the mounted schemes, so that the daemon's loop comes to its end.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::scheme::Scheme;

static MOUNTED: Mutex<Vec<Weak<Scheme>>> = Mutex::new(Vec::new());
static START: Once = Once::new();

/// From now on a signal that asks for the end unmounts `scheme`.
///
/// # Errors
/// A sentence for people.
pub(crate) fn unmount_on_signal(scheme: &Arc<Scheme>) -> Result<(), String> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(scheme));
    let mut started = Ok(());
    START.call_once(|| started = start());
    started
}

fn start() -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot wait for signals: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    let wait = move || {
        for _ in signals.forever() {
            let mounted = std::mem::take(&mut *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner));
            for scheme in mounted.iter().filter_map(Weak::upgrade) {
                scheme.end();
            }
        }
    };
    std::thread::Builder::new().name("scheme-host-signals".into()).spawn(wait).map(drop).map_err(cannot)
}
