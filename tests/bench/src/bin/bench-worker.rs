//! Measures one case with whatever `eventfd` this process has; see `--help`.

use std::env;
use std::process::ExitCode;

use eventd_bench::{WORKER_USAGE, WorkerArgs, work};

fn main() -> ExitCode {
    match WorkerArgs::parse(env::args_os().skip(1)) {
        Ok(Some(args)) => match work(&args) {
            Ok(line) => {
                println!("{} {line}", args.case);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                eprintln!("bench-worker: {}: {failure}", args.case);
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{WORKER_USAGE}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-worker: {failure}\n{WORKER_USAGE}");
            ExitCode::from(2)
        }
    }
}
