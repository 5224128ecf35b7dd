//! Draws the figures of `make bench` or `make bench-redox`; see `--help`.

use std::env;
use std::process::ExitCode;

use eventd_bench::{CHART_USAGE, ChartArgs, draw};

fn main() -> ExitCode {
    let outcome = match ChartArgs::parse(env::args_os().skip(1)) {
        Ok(Some(args)) => draw(args.run, &args.figures, &args.picture),
        Ok(None) => {
            println!("{CHART_USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => {
            eprintln!("bench-chart: {failure}\n{CHART_USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(unmeasured) => {
            unmeasured.iter().for_each(|sentence| eprintln!("bench-chart: {sentence}"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-chart: {failure}");
            ExitCode::FAILURE
        }
    }
}
