//! The list of cases: their names and what each of them does.

use std::time::Duration;

use crate::counter::Counter;
use crate::crowd::Crowd;
use crate::failure::Result;
use crate::measure::Line;
use crate::ping_pong::{self, Cores};
use crate::semaphores::{self, Call};
use crate::wake::{self, Waiter};
use crate::{cpu, operations, signals};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    work: Work,
}

enum Work {
    /// Write 8 bytes, read 8 bytes, in one thread.
    WriteRead {
        pinned: bool,
    },
    /// The same with this many live counters, the measured one included.
    WriteReadAmong {
        live: usize,
    },
    /// There and back again between two processes.
    PingPong {
        cores: Cores,
    },
    /// The same with a pipe, which is no business of eventd's.
    PipeWriteRead,
    CreateClose,
    Create,
    /// From a write to the acknowledgement of the one process waiting for it,
    /// while this many threads are blocked on counters of their own.
    Wake {
        waiter: Waiter,
        others: usize,
    },
    /// One call of `<semaphore.h>`, while this many other names are there.
    Semaphore {
        call: Call,
        others: usize,
    },
    PostWait,
    SemaphorePingPong {
        cores: Cores,
    },
    /// From a kill to the acknowledgement of the process that waits in a read of a signalfd.
    SignalfdWake,
    /// Realtime signals with values, from one process to the signalfd of another.
    SignalfdStream,
    SignalfdCreateClose,
    /// A kill that no signalfd is about.
    UnrelatedKill,
}

pub(crate) const CASES: [Case; 25] = [
    case("eventfd/write+read", Work::WriteRead { pinned: false }),
    case("eventfd/write+read-pinned", Work::WriteRead { pinned: true }),
    case("eventfd/ping-pong", ping_pong(Cores::Two)),
    case("eventfd/ping-pong-same-core", ping_pong(Cores::One)),
    case("eventfd/create+close", Work::CreateClose),
    case("eventfd/create", Work::Create),
    case("eventfd/write+read-live-1", among(1)),
    case("eventfd/write+read-live-1000", among(1_000)),
    case("eventfd/write+read-live-50000", among(50_000)),
    case("eventfd/wake-1", wake(Waiter::Read, 0)),
    case("eventfd/wake-5000-others", wake(Waiter::Read, 5_000)),
    case("eventfd/poll-wake", wake(Waiter::Epoll, 0)),
    case("pipe/write+read", Work::PipeWriteRead),
    case("sem/open-new", semaphore(Call::OpenNew, 0)),
    case("sem/open-existing", semaphore(Call::OpenExisting, 0)),
    case("sem/open-existing-of-10000", semaphore(Call::OpenExisting, 9_999)),
    case("sem/close", semaphore(Call::Close, 0)),
    case("sem/unlink", semaphore(Call::Unlink, 0)),
    case("sem/post+wait", Work::PostWait),
    case("sem/ping-pong", Work::SemaphorePingPong { cores: Cores::Two }),
    case("sem/ping-pong-same-core", Work::SemaphorePingPong { cores: Cores::One }),
    case("signalfd/wake", Work::SignalfdWake),
    case("signalfd/stream", Work::SignalfdStream),
    case("signalfd/create+close", Work::SignalfdCreateClose),
    case("signalfd/unrelated-kill", Work::UnrelatedKill),
];

const fn case(name: &'static str, work: Work) -> Case {
    Case { name, work }
}

const fn ping_pong(cores: Cores) -> Work {
    Work::PingPong { cores }
}

const fn among(live: usize) -> Work {
    Work::WriteReadAmong { live }
}

const fn wake(waiter: Waiter, others: usize) -> Work {
    Work::Wake { waiter, others }
}

const fn semaphore(call: Call, others: usize) -> Work {
    Work::Semaphore { call, others }
}

impl Case {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Whether the daemon belongs on the one core that the worker uses.
    pub(crate) fn shares_core(&self) -> bool {
        matches!(self.work, Work::WriteRead { pinned: true } | Work::PingPong { cores: Cores::One })
    }

    /// Measures for about `budget`; making the surroundings comes on top.
    pub(crate) fn run(&self, budget: Duration) -> Result<Line> {
        match self.work {
            Work::WriteRead { pinned } => {
                if pinned {
                    cpu::pin_self(cpu::first()?)?;
                }
                operations::write_read(budget)
            }
            Work::WriteReadAmong { live } => {
                let crowd = Crowd::of_counters(live - 1)?;
                let line = operations::write_read(budget)?;
                crowd.end()?;
                Ok(line)
            }
            Work::PingPong { cores } => ping_pong::run(budget, cores),
            Work::PipeWriteRead => operations::pipe_write_read(budget),
            Work::CreateClose => operations::create_close(budget, Counter::new, Counter::is_served),
            Work::Create => operations::create(),
            Work::Wake { waiter, others } => {
                let crowd = Crowd::of_blocked_readers(others)?;
                let line = wake::run(budget, waiter)?;
                crowd.end()?;
                Ok(line)
            }
            Work::Semaphore { call, others } => semaphores::call(budget, call, others),
            Work::PostWait => semaphores::post_wait(budget),
            Work::SemaphorePingPong { cores } => semaphores::ping_pong(budget, cores),
            Work::SignalfdWake => signals::wake(budget),
            Work::SignalfdStream => signals::stream(budget),
            Work::SignalfdCreateClose => signals::create_close(budget),
            Work::UnrelatedKill => signals::unrelated_kill(budget),
        }
    }
}
