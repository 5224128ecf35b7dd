//! Where the reference, glibc 2.41, says other things than the glibc of this machine may: what ours says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use eventd_suite::{Daemon, compile, repository, run};

const LIMIT: Duration = Duration::from_secs(60);

/// What a conformance program says on eventd about the keys that begin with one of `prefixes`.
fn outcomes(program: &str, prefixes: &[&str]) -> Option<Vec<(String, String)>> {
    let daemon = Daemon::start(program)?;
    let directory = repository().join("tests/conformance");
    let finished = run(&mut daemon.command(compile(&directory.join(format!("{program}.c")), &[])), LIMIT);
    assert!(finished.success(), "{}", finished.stderr);
    let lines = finished.stdout.lines().filter_map(|line| line.split_once(": "));
    let wanted = lines.filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)));
    Some(wanted.map(|(key, outcome)| (key.to_owned(), outcome.to_owned())).collect())
}

#[test]
fn names_of_256_characters_are_too_long_135() {
    let prefixes = ["135.256-after-1-", "135.257-after-0-", "135.1000-"];
    let Some(outcomes) = outcomes("sem_name", &prefixes) else { return };
    let of_open = outcomes.iter().filter(|(key, _)| !key.contains("unlink")).collect::<Vec<_>>();
    assert_eq!(of_open.len(), 15, "{outcomes:?}");
    for (key, outcome) in of_open {
        assert_eq!(outcome, "failed errno=ENAMETOOLONG", "{key}");
    }
}

#[test]
fn slashes_do_not_count_137() {
    let Some(outcomes) = outcomes("sem_name", &["137."]) else { return };
    assert!(outcomes.iter().any(|(key, outcome)| key.ends_with("-create") && outcome.starts_with("opened")));
    assert!(outcomes.iter().all(|(_, outcome)| !outcome.contains("errno=none")), "{outcomes:?}");
}

#[test]
fn other_flags_change_nothing_144() {
    let Some(outcomes) = outcomes("sem_open", &["144."]) else { return };
    let existing = outcomes.iter().filter(|(key, _)| key.ends_with("-existing") || key.ends_with("-afterwards"));
    let mut count = 0;
    for (key, outcome) in existing {
        assert_eq!(outcome, "ret=0 value=3", "{key}");
        count += 1;
    }
    assert!(count >= 8, "{outcomes:?}");
}
