//! Measures native eventfd and eventd's side by side; see `--help`.

use std::env;
use std::process::ExitCode;

use eventd_bench::{DRIVER_USAGE, DriverArgs, drive};

fn main() -> ExitCode {
    let outcome = match DriverArgs::parse(env::args_os().skip(1)) {
        Ok(Some(args)) => drive(&args),
        Ok(None) => {
            println!("{DRIVER_USAGE}");
            Ok(true)
        }
        Err(failure) => {
            eprintln!("bench: {failure}\n{DRIVER_USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
