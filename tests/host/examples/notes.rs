//! A daemon that serves `/scheme/notes`: see `tests/notes/mod.rs`. It writes a line to standard output when it is ready.

use std::process::ExitCode;

use scheme_host as _;

#[path = "../tests/notes/mod.rs"]
mod notes;

fn main() -> ExitCode {
    match notes::serve(|| println!("ready")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notes: cannot serve /scheme/{}: {error}", notes::NAME);
            ExitCode::FAILURE
        }
    }
}
