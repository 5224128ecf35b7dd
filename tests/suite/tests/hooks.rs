//! The hooks for Redox's kernel, base and relibc: they insert lines and nothing else, where they say.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eventd_suite::repository;

struct Hunk {
    /// The line of the commit's own file behind which it inserts.
    old: usize,
    /// The number of its first line, once everything before it in its patch is applied.
    new: usize,
    lines: usize,
}

/// The two numbers of `-1,2` or `+1,2`.
fn range(text: &str) -> (usize, usize) {
    let (start, count) = text[1..].split_once(',').unwrap_or((&text[1..], "1"));
    (start.parse().unwrap(), count.parse().unwrap())
}

/// The hunks of a hook for each file, in their order.
fn hunks(hook: &Path) -> Vec<(String, Vec<Hunk>)> {
    let text = fs::read_to_string(hook).unwrap();
    let (_, patch) = text.split_once("\ndiff --git ").unwrap();
    let mut files: Vec<(String, Vec<Hunk>)> = Vec::new();
    for line in patch.lines().skip(1) {
        if let Some(file) = line.strip_prefix("+++ b/") {
            files.push((file.to_owned(), Vec::new()));
        } else if let Some(header) = line.strip_prefix("@@ ") {
            let mut parts = header.split(' ');
            let ((old, removed), (new, lines)) = (range(parts.next().unwrap()), range(parts.next().unwrap()));
            assert_eq!(removed, 0, "{hook:?} removes lines: {line}");
            files.last_mut().unwrap().1.push(Hunk { old, new, lines });
        } else if !line.starts_with("diff --git ") && !line.starts_with("--- a/") {
            assert!(line.starts_with('+'), "{hook:?} has more than added lines: {line}");
        }
    }
    files
}

/// git puts a hunk without context where its line number says, in the file as the hooks before it have left it. So among the hooks
/// of a file the first must be the lowest; then each is right, also when others are left out.
#[test]
fn hooks_insert_lines_where_they_say() {
    for tree in ["recipes/relibc", "kernel-patch/base", "kernel-patch/kernel"] {
        let mut hooks: Vec<_> =
            fs::read_dir(repository().join(tree).join("hooks")).unwrap().map(|hook| hook.unwrap().path()).collect();
        hooks.sort();
        assert!(!hooks.is_empty(), "{tree}");
        let mut highest = BTreeMap::new();
        for hook in hooks {
            for (file, hunks) in hunks(&hook) {
                let mut inserted = 0;
                for hunk in &hunks {
                    assert_eq!(hunk.new, hunk.old + 1 + inserted, "{hook:?}, {file}");
                    inserted += hunk.lines;
                }
                let (first, last) = (hunks.first().unwrap().old, hunks.last().unwrap().old);
                let above = highest.insert(file.clone(), first);
                assert!(above.is_none_or(|above| last < above), "{hook:?} is below an earlier hook of {file}");
            }
        }
    }
}
