//! The goals of issue 6, for the cases that have one.

/// What a case is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// No more than this part, or multiple, of what it is compared with.
    Ratio(f64),
    /// As fast as this case of ours: what there is more of is not to cost anything.
    Flat(&'static str),
}

pub(crate) type Goals = [(&'static str, Goal)];

pub(crate) const LINUX: &Goals = &[
    ("eventfd/write+read", Goal::Ratio(0.125)),
    ("eventfd/write+read-live-50000", Goal::Flat("eventfd/write+read-live-1")),
    ("eventfd/ping-pong", Goal::Ratio(1.2)),
    ("pipe/write+read", Goal::Ratio(1.02)),
];

pub(crate) const REDOX: &Goals = &[
    ("eventfd/write+read", Goal::Ratio(0.05)),
    ("eventfd/ping-pong", Goal::Ratio(1.1)),
    ("eventfd/ping-pong-epoll", Goal::Ratio(1.3)),
    ("eventfd/create+close", Goal::Ratio(1.3)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;

    #[test]
    fn goals_are_of_cases_that_there_are() {
        for (case, goal) in LINUX {
            assert!(Case::find(case).is_some(), "{case}");
            if let Goal::Flat(like) = goal {
                assert!(Case::find(like).is_some(), "{like}");
            }
        }
        let programs =
            [include_str!("../../redox/bench/bench_eventfd.c"), include_str!("../../redox/bench/bench_signals.c")];
        for (case, _) in REDOX {
            assert!(programs.iter().any(|program| program.contains(&format!("{{\"{case}\","))), "{case}");
        }
    }
}
