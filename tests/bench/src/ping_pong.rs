//! Two processes wake each other through two counters made before the fork.

use std::time::{Duration, Instant};

use crate::counter::Counter;
use crate::cpu;
use crate::failure::Result;
use crate::helper::Helper;
use crate::measure::{Line, sample};

/// The value that tells the other process to end.
const STOP: u64 = 2;

#[derive(Clone, Copy)]
pub(crate) enum Cores {
    One,
    Two,
}

/// One operation is a round trip: two writes, two reads, two wake-ups.
pub(crate) fn run(budget: Duration, cores: Cores) -> Result<Line> {
    let near = cpu::first()?;
    let far = match cores {
        Cores::One => near,
        Cores::Two => cpu::second()?,
    };
    let ping = Counter::new()?;
    let pong = Counter::new()?;
    let player = Helper::fork("the ping-pong partner", || {
        cpu::pin_self(far)?;
        while ping.take()? != STOP {
            pong.add(1)?;
        }
        Ok(())
    })?;
    cpu::pin_self(near)?;
    let summary = sample(budget, 1, || {
        let start = Instant::now();
        ping.add(1)?;
        pong.take()?;
        Ok(start.elapsed())
    })?;
    ping.add(STOP)?;
    player.finish()?;
    Ok(Line { served: ping.is_served()?, summary })
}
