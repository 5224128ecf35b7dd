//! The inodes that the kernel knows of.

use std::collections::HashMap;

use syscall::data::Stat;

use super::wire::ROOT;

/// An inode: a path of the scheme, or an object that several paths can lead to.
#[derive(Debug)]
pub(super) struct Node {
    /// Without a leading slash; empty for the root. Of several, the one that was looked up last.
    pub(super) path: String,
    /// The scheme's own number for the object, 0 if it has none.
    ino: u64,
    lookups: u64,
    /// Attributes when the node was looked up last.
    pub(super) stat: Stat,
    /// The descriptions that are open, in order: they can tell more of themselves than the path can, which may name another object by now.
    pub(super) open: Vec<u64>,
    /// A memory file that stands behind the node, and how many descriptions use it.
    pub(super) backing: Option<(i32, usize)>,
}

/// All inodes, by number. Numbers are never used twice.
#[derive(Debug)]
pub(super) struct Nodes {
    by_number: HashMap<u64, Node>,
    by_path: HashMap<String, u64>,
    /// Files that the scheme numbers, by its numbers.
    by_ino: HashMap<u64, u64>,
    next: u64,
}

impl Nodes {
    pub(super) fn new() -> Self {
        let root = Node {
            path: String::new(),
            ino: 0,
            lookups: 1,
            stat: Stat { st_mode: syscall::MODE_DIR, ..Stat::default() },
            open: Vec::new(),
            backing: None,
        };
        Self {
            by_number: HashMap::from([(ROOT, root)]),
            by_path: HashMap::new(),
            by_ino: HashMap::new(),
            next: ROOT + 1,
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Node> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Node> {
        self.by_number.get_mut(&number)
    }

    /// The path of `name` in the directory `parent`.
    pub(super) fn child_path(&self, parent: u64, name: &str) -> Option<String> {
        let parent = self.get(parent)?;
        Some(if parent.path.is_empty() { name.to_owned() } else { format!("{}/{name}", parent.path) })
    }

    /// The kernel looks `path` up: returns the number of its inode.
    ///
    /// A directory keeps its inode, and so does a file that the scheme gives a number, whatever path leads to it: its pages are those of the inode. A file
    /// without a number is a new object each time it is opened, so it gets an inode of its own each time it is looked up.
    pub(super) fn look_up(&mut self, path: &str, stat: Stat) -> u64 {
        let directory = is_directory(&stat);
        let known = match stat.st_ino {
            _ if directory => self.by_path.get(path),
            0 => None,
            ino => self.by_ino.get(&ino),
        };
        if let Some(number) = known
            && let Some(node) = self.by_number.get_mut(number)
            && node.ino == stat.st_ino
            && is_directory(&node.stat) == directory
        {
            node.lookups += 1;
            node.stat = stat;
            if node.path != path {
                path.clone_into(&mut node.path);
            }
            return *number;
        }
        let number = self.next;
        self.next += 1;
        let node = Node { path: path.to_owned(), ino: stat.st_ino, lookups: 1, stat, open: Vec::new(), backing: None };
        self.by_number.insert(number, node);
        if directory {
            self.by_path.insert(path.to_owned(), number);
        } else if stat.st_ino != 0 {
            self.by_ino.insert(stat.st_ino, number);
        }
        number
    }

    /// What was at `old`, and all that is below it, is at `new` from now on.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        // What was at the new path is gone, though descriptions of it may be open.
        self.by_path.remove(new);
        for (number, node) in &mut self.by_number {
            let below = match node.path.strip_prefix(old) {
                Some(below) if below.is_empty() || below.starts_with('/') => below,
                _ => continue,
            };
            let path = format!("{new}{below}");
            if self.by_path.get(&node.path) == Some(number) {
                self.by_path.remove(&node.path);
                self.by_path.insert(path.clone(), *number);
            }
            node.path = path;
        }
    }

    /// The kernel forgets `count` look-ups of an inode.
    pub(super) fn forget(&mut self, number: u64, count: u64) {
        let Some(node) = self.by_number.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups > 0 || number == ROOT {
            return;
        }
        if self.by_path.get(&node.path) == Some(&number) {
            self.by_path.remove(&node.path);
        }
        if self.by_ino.get(&node.ino) == Some(&number) {
            self.by_ino.remove(&node.ino);
        }
        self.by_number.remove(&number);
    }
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    stat.st_mode & syscall::MODE_TYPE == syscall::MODE_DIR
}

#[cfg(test)]
mod tests {
    use super::{Nodes, Stat};

    #[test]
    fn directories_keep_their_inode_and_nameless_files_do_not() {
        let mut nodes = Nodes::new();
        let directory = Stat { st_mode: syscall::MODE_DIR, ..Stat::default() };
        let first = nodes.look_up("list", directory);
        assert_eq!(nodes.look_up("list", directory), first);
        let file = Stat { st_mode: syscall::MODE_CHR, ..Stat::default() };
        assert_ne!(nodes.look_up("eventfd/0/0", file), nodes.look_up("eventfd/0/0", file));
        let numbered = Stat { st_ino: 7, ..file };
        let number = nodes.look_up("sem/x", numbered);
        assert_eq!(nodes.look_up("sem/x", numbered), number);
        assert_eq!(nodes.look_up("new/x", numbered), number, "another path to the same");
        assert_eq!(nodes.get(number).map(|node| node.path.as_str()), Some("new/x"));
        assert_ne!(nodes.look_up("sem/x", Stat { st_ino: 8, ..file }), number);
    }

    #[test]
    fn renamed_inodes_take_what_is_below_along() {
        let mut nodes = Nodes::new();
        let directory = Stat { st_mode: syscall::MODE_DIR, ..Stat::default() };
        let file = Stat { st_mode: syscall::MODE_FILE, st_ino: 7, ..Stat::default() };
        let numbers = ["a", "a/b", "ab", "c"].map(|path| nodes.look_up(path, directory));
        let below = nodes.look_up("a/b/file", file);
        nodes.rename("a", "c");
        let paths = numbers.map(|number| nodes.get(number).map(|node| node.path.clone()).unwrap_or_default());
        assert_eq!(paths, ["c", "c/b", "ab", "c"]);
        assert_eq!(nodes.look_up("c/b/file", file), below);
        assert_eq!(nodes.look_up("c", directory), numbers[0], "the one that was there before is gone");
        assert_ne!(nodes.look_up("a", directory), numbers[0]);
    }

    #[test]
    fn forgotten_inodes_are_gone() {
        let mut nodes = Nodes::new();
        let number = nodes.look_up("list", Stat { st_mode: syscall::MODE_DIR, ..Stat::default() });
        nodes.look_up("list", Stat { st_mode: syscall::MODE_DIR, ..Stat::default() });
        nodes.forget(number, 1);
        assert!(nodes.get(number).is_some());
        nodes.forget(number, 1);
        assert!(nodes.get(number).is_none());
        nodes.forget(super::ROOT, 100);
        assert!(nodes.get(super::ROOT).is_some());
    }
}
