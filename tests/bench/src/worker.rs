//! The worker: one case, one line.

use crate::args::WorkerArgs;
use crate::cases::Case;
use crate::failure::{Context, Failure, Result};
use crate::measure::Line;
use crate::sys;

/// Ends a worker that nobody watches; the driver's own limit is shorter.
const LIMIT_SECONDS: u32 = 30;

/// Measures the case and returns the line to be printed.
pub fn work(args: &WorkerArgs) -> Result<Line> {
    let case = Case::find(&args.case).ok_or_else(|| Failure::new(format!("unknown case {:?}", args.case)))?;
    sys::end_with_parent().context(|| "tie this worker to its parent".into())?;
    sys::end_after(LIMIT_SECONDS);
    case.run(args.budget)
}
