//! Native eventfd, signalfd and semaphores, and those served by eventd, measured side by side.
//!
//! `bench` (the driver) runs `bench-worker` once per case and side. The worker
//! only knows the C symbols `eventfd`, `signalfd` and `sem_open`; whether the system or eventd
//! answers is decided by the `LD_PRELOAD` the driver starts it with. `bench-chart` draws the figures.

mod args;
mod cases;
mod chart;
#[expect(unsafe_code, reason = "calls eventfd, read, write and epoll of the C library")]
mod counter;
#[expect(unsafe_code, reason = "calls sched_setaffinity and its kin")]
mod cpu;
mod crowd;
mod daemon;
mod driver;
mod failure;
mod figures;
mod goals;
#[expect(unsafe_code, reason = "forks")]
mod helper;
mod measure;
mod operations;
mod ping_pong;
mod procfs;
mod report;
mod scale;
mod scratch;
#[expect(unsafe_code, reason = "calls the semaphores of the C library")]
mod semaphore;
mod semaphores;
mod side;
#[expect(unsafe_code, reason = "calls signalfd and what goes with signals")]
mod signalfd;
mod signals;
#[expect(unsafe_code, reason = "calls what std does not offer")]
mod sys;
mod wake;
mod worker;

pub use args::{CHART_USAGE, ChartArgs, DRIVER_USAGE, DriverArgs, WORKER_USAGE, WorkerArgs};
pub use chart::{Run, draw};
pub use driver::drive;
pub use failure::{Failure, Result};
pub use measure::Line;
pub use worker::work;
