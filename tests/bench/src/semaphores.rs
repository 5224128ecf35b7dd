//! The cases of named semaphores.

use std::time::{Duration, Instant};

use crate::cpu;
use crate::failure::Result;
use crate::helper::Helper;
use crate::measure::{Line, sample};
use crate::ping_pong::Cores;
use crate::semaphore::{Name, Semaphore};

/// Operations per sample of what takes some nanoseconds.
const BATCH: u32 = 256;

/// The call that is measured; the others of its round are not.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    OpenNew,
    OpenExisting,
    Close,
    Unlink,
}

fn timed<T>(call: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = call()?;
    Ok((result, start.elapsed()))
}

/// Measures a call, while `others` other names are there.
pub(crate) fn call(budget: Duration, call: Call, others: usize) -> Result<Line> {
    let others = (0..others).map(|number| Name::new(&number.to_string())).collect::<Result<Vec<_>>>()?;
    others.iter().try_for_each(|name| name.create()?.close())?;
    let name = Name::new("x")?;
    let summary = sample(budget, 1, || {
        let (semaphore, created) = timed(|| name.create())?;
        let measured = match call {
            Call::OpenNew => {
                semaphore.close()?;
                name.unlink()?;
                created
            }
            Call::OpenExisting => {
                // Closed first: a name that the process has open already costs less.
                semaphore.close()?;
                let (semaphore, opened) = timed(|| name.open())?;
                semaphore.close()?;
                name.unlink()?;
                opened
            }
            Call::Close => {
                let ((), closed) = timed(|| semaphore.close())?;
                name.unlink()?;
                closed
            }
            Call::Unlink => {
                semaphore.close()?;
                timed(|| name.unlink())?.1
            }
        };
        Ok(measured)
    })?;
    let semaphore = name.create()?;
    let served = semaphore.is_served()?;
    semaphore.close()?;
    name.unlink()?;
    others.iter().try_for_each(Name::unlink)?;
    Ok(Line { served, summary })
}

/// A semaphore whose name is gone already.
fn nameless(part: &str) -> Result<Semaphore> {
    let name = Name::new(part)?;
    let semaphore = name.create()?;
    name.unlink()?;
    Ok(semaphore)
}

pub(crate) fn post_wait(budget: Duration) -> Result<Line> {
    let semaphore = nameless("x")?;
    let summary = sample(budget, BATCH, || {
        let start = Instant::now();
        for _ in 0..BATCH {
            semaphore.post()?;
            semaphore.wait()?;
        }
        Ok(start.elapsed())
    })?;
    Ok(Line { served: semaphore.is_served()?, summary })
}

/// One operation is a round trip of two processes: two posts, two waits, two wake-ups.
pub(crate) fn ping_pong(budget: Duration, cores: Cores) -> Result<Line> {
    let near = cpu::first()?;
    let far = match cores {
        Cores::One => near,
        Cores::Two => cpu::second()?,
    };
    let (ping, pong, stop) = (nameless("ping")?, nameless("pong")?, nameless("stop")?);
    let player = Helper::fork("the ping-pong partner", || {
        cpu::pin_self(far)?;
        loop {
            ping.wait()?;
            pong.post()?;
            if stop.is_posted()? {
                return Ok(());
            }
        }
    })?;
    cpu::pin_self(near)?;
    let summary = sample(budget, 1, || {
        let start = Instant::now();
        ping.post()?;
        pong.wait()?;
        Ok(start.elapsed())
    })?;
    stop.post()?;
    ping.post()?;
    player.finish()?;
    Ok(Line { served: ping.is_served()?, summary })
}
