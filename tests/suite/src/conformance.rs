//! Comparing what a program prints on native Linux with what it prints on eventd.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// The differences that are known and cannot be mended, each with its reason.
#[derive(Debug)]
pub struct Exceptions {
    keys: BTreeSet<String>,
    /// Those that depend on the course of a race: they may occur or not.
    races: BTreeSet<String>,
}

impl Exceptions {
    /// Reads those of `program` on `ground` from a file with lines `GROUND/PROGRAM KEY [KEY ...]: REASON`; a `?` in front of the ground marks a race.
    ///
    /// # Panics
    /// If the file cannot be read, or a line has no reason.
    #[must_use]
    pub fn read(path: &Path, ground: &str, program: &str) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let (mut keys, mut races) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (subject, reason) = line.split_once(": ").unwrap_or_else(|| panic!("no reason is given: {line}"));
            assert!(!reason.trim().is_empty(), "no reason is given: {line}");
            let mut words = subject.split_whitespace();
            let Some((given, named)) = words.next().and_then(|subject| subject.split_once('/')) else { continue };
            let (race, given) = given.strip_prefix('?').map_or((false, given), |given| (true, given));
            if (given, named) == (ground, program) {
                let set = if race { &mut races } else { &mut keys };
                set.extend(words.map(str::to_owned));
            }
        }
        Self { keys, races }
    }
}

/// The checks in a program's output: what follows the colon, by the key before it, which starts with the number of a semantics rule.
fn by_key(output: &str) -> BTreeMap<&str, &str> {
    let checks = output.lines().filter_map(|line| line.split_once(": "));
    checks.filter(|(key, _)| key.starts_with(|first: char| first.is_ascii_digit()) && !key.contains(' ')).collect()
}

/// How many checks a program's output has.
#[must_use]
pub fn count_checks(output: &str) -> usize {
    by_key(output).len()
}

/// Every way in which two outputs differ without being listed, and every listed difference that is none; empty if all is well.
#[must_use]
pub fn compare(native: &str, ours: &str, exceptions: &Exceptions) -> String {
    let (native, ours) = (by_key(native), by_key(ours));
    let mut report = String::new();
    for key in native.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let (expected, found) = (native.get(key), ours.get(key));
        if exceptions.races.contains(*key) {
            continue;
        }
        let listed = exceptions.keys.contains(*key);
        if expected == found && listed {
            let _ = writeln!(report, "{key}: is listed as a difference, but is none");
        } else if expected != found && !listed {
            let show = |outcome: Option<&&str>| outcome.map_or("(no line)", |outcome| *outcome).to_owned();
            let _ = writeln!(report, "{key}: native {} / ours {}", show(expected), show(found));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Exceptions, compare};

    fn exceptions(keys: &[&str]) -> Exceptions {
        Exceptions {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            races: BTreeSet::from(["9.race".into()]),
        }
    }

    #[test]
    fn differences_are_reported_unless_listed() {
        let native = "1.a: x\n2.b: y\n";
        assert_eq!(compare(native, native, &exceptions(&[])), "");
        assert_eq!(compare(native, "1.a: x\n2.b: z\n", &exceptions(&[])), "2.b: native y / ours z\n");
        assert_eq!(compare(native, "1.a: x\n", &exceptions(&[])), "2.b: native y / ours (no line)\n");
        assert_eq!(compare("1.a: x\n", native, &exceptions(&[])), "2.b: native (no line) / ours y\n");
        assert_eq!(compare(native, "1.a: x\n2.b: z\n", &exceptions(&["2.b"])), "");
        assert_eq!(compare(native, native, &exceptions(&["2.b"])), "2.b: is listed as a difference, but is none\n");
        assert_eq!(compare("9.race: won\n", "9.race: won\n", &exceptions(&[])), "");
        assert_eq!(compare("9.race: won\n", "9.race: lost\n", &exceptions(&[])), "");
    }
}
