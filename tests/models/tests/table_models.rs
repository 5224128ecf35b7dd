//! The table of descriptors under loom: one number, which is used, closed and opened again by several threads.
#![allow(clippy::unwrap_used)] // A lock of loom's is never poisoned.

mod orders;

use std::cell::Cell;

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::{Arc, Mutex, atomic};
use loom::thread;
use orders::{explore, spawn};

#[path = "../../../shim/src/table.rs"]
pub mod table;

use table::{Pages, Table};

/// The number that the models are about.
const DESCRIPTOR: usize = 0;
/// What a page holds that has a closed cell.
const CLOSED: usize = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Nothing,
    Other,
    Eventfd(usize),
}

/// A process: its table, what the system has at the number, and whose cell is in the page. The page is written without any order, so that loom finds
/// out if two who map are not kept apart by the table.
struct Process {
    words: [atomic::AtomicU32; 1],
    asleep: [atomic::AtomicU32; 1],
    file: Mutex<File>,
    page: AtomicUsize,
}

impl Pages for Process {
    fn find(&self, descriptor: usize) -> bool {
        assert_eq!(descriptor, DESCRIPTOR);
        // The number can become something else between this step and the next.
        let File::Eventfd(number) = self.file() else { return false };
        self.page.store(number, Relaxed);
        true
    }

    fn replace(&self, descriptor: usize) {
        assert_eq!(descriptor, DESCRIPTOR);
        self.page.store(CLOSED, Relaxed);
    }
}

impl Process {
    /// With a number that somebody has said to be an eventfd.
    fn new(file: File) -> Arc<Self> {
        let [words, asleep] = [(); 2].map(|()| [atomic::AtomicU32::new(0)]);
        let process = Self { words, asleep, file: Mutex::new(file), page: AtomicUsize::new(CLOSED) };
        process.table().expect(DESCRIPTOR, &process);
        Arc::new(process)
    }

    fn table(&self) -> Table<'_> {
        Table::new(&self.words, &self.asleep)
    }

    fn file(&self) -> File {
        *self.file.lock().unwrap()
    }

    /// The number was closed before.
    fn open(&self, file: File) {
        *self.file.lock().unwrap() = file;
        self.expect(file);
    }

    /// Whoever made an eventfd says so.
    fn expect(&self, file: File) {
        if matches!(file, File::Eventfd(_)) {
            self.table().expect(DESCRIPTOR, self);
        }
    }

    fn close(&self) {
        self.assign(File::Nothing);
    }

    /// dup2, or close.
    fn assign(&self, file: File) {
        self.table().close(DESCRIPTOR, self, || *self.file.lock().unwrap() = file);
        self.expect(file);
    }

    /// What an operation reaches: a cell, or whatever the system has.
    fn reach(&self) -> File {
        if self.table().map(DESCRIPTOR, self) {
            let page = self.page.load(Relaxed);
            if page != CLOSED {
                return File::Eventfd(page);
            }
        }
        self.file()
    }

    /// When all is quiet, an eventfd is used through its page, and nothing else is mapped, so that eventd can have the memory of a counter back.
    fn assert_known(&self, file: File) {
        assert_eq!(self.file(), file);
        assert_eq!(self.reach(), file);
        let page = if let File::Eventfd(number) = file { number } else { CLOSED };
        assert_eq!(self.table().map(DESCRIPTOR, self), page != CLOSED);
        assert_eq!(self.page.load(Relaxed), page);
    }
}

/// Two find out at once.
#[test]
fn finding_out_together() {
    explore(5, || {
        let process = Process::new(File::Eventfd(1));
        let other = spawn(&process, Process::reach);
        assert_eq!(process.reach(), File::Eventfd(1));
        assert_eq!(other.join().unwrap(), File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
    });
}

/// Who closes and opens reaches what it opened, while others find out what the number was or is.
fn opened_again(next: File, others: usize, preemptions: usize) {
    explore(preemptions, move || {
        let process = Process::new(File::Eventfd(1));
        let others: Vec<_> = (0..others).map(|_| spawn(&process, Process::reach)).collect();
        process.close();
        process.open(next);
        assert_eq!(process.reach(), next);
        for other in others {
            assert!([File::Eventfd(1), File::Nothing, next].contains(&other.join().unwrap()));
        }
        assert_eq!(process.reach(), next);
        process.assert_known(next);
    });
}

#[test]
fn opened_again_as_another_eventfd() {
    opened_again(File::Eventfd(2), 1, 5);
    opened_again(File::Eventfd(2), 2, 2);
}

#[test]
fn opened_again_as_another_file() {
    opened_again(File::Other, 1, 5);
    opened_again(File::Other, 2, 2);
}

/// Once it is closed nobody reaches it, and then it is forgotten.
#[test]
fn closed_beside_its_use() {
    explore(4, || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let other = spawn(&process, Process::reach);
        process.close();
        assert_eq!(process.reach(), File::Nothing);
        other.join().unwrap();
        process.assert_known(File::Nothing);
        process.open(File::Eventfd(2));
        process.assert_known(File::Eventfd(2));
    });
}

/// Who gets the number while somebody closes it reaches what it got.
#[test]
fn opened_by_another_while_it_is_closed() {
    explore(5, || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let opener = spawn(&process, |process| {
            let got_it = process.file() == File::Nothing;
            if got_it {
                process.open(File::Eventfd(2));
                assert_eq!(process.reach(), File::Eventfd(2));
            }
            got_it
        });
        process.close();
        let left = if opener.join().unwrap() { File::Eventfd(2) } else { File::Nothing };
        process.assert_known(left);
    });
}

/// dup2 over a number that is in use: after it the new file is reached, and never nothing.
#[test]
fn assigned_beside_its_use() {
    explore(2, || {
        let process = Process::new(File::Eventfd(1));
        let others = [spawn(&process, Process::reach), spawn(&process, Process::reach)];
        process.assign(File::Eventfd(2));
        assert_eq!(process.reach(), File::Eventfd(2));
        for other in others {
            assert!([File::Eventfd(1), File::Eventfd(2)].contains(&other.join().unwrap()));
        }
        process.assert_known(File::Eventfd(2));
    });
}

/// Two close the number, one of which opens it again: the other one may have hit what was opened.
#[test]
fn closed_twice_at_once() {
    explore(4, || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let other = spawn(&process, Process::close);
        process.close();
        process.open(File::Eventfd(2));
        assert!([File::Nothing, File::Eventfd(2)].contains(&process.reach()));
        other.join().unwrap();
        let left = process.file();
        process.assert_known(left);
    });
}

/// Closed, opened again and used while another thread is slow to close the same number again.
#[test]
fn closed_in_turns() {
    explore(3, || {
        let process = Process::new(File::Eventfd(1));
        let other = spawn(&process, |process| {
            process.reach();
            process.close();
        });
        process.assign(File::Eventfd(2));
        process.reach();
        process.assign(File::Other);
        assert!([File::Nothing, File::Other].contains(&process.reach()));
        other.join().unwrap();
        let left = process.file();
        process.assert_known(left);
    });
}

/// Sleeps at the page, if it is mapped; returns whose it is, which does not change.
fn sleep(process: &Process) -> Option<usize> {
    if !process.table().map(DESCRIPTOR, process) {
        return None;
    }
    // Read-modify-writes see the newest.
    let page = || process.page.fetch_add(0, Relaxed);
    process.table().stay(DESCRIPTOR, process, || {
        let before = page();
        thread::yield_now();
        assert_eq!(page(), before, "the page of a sleeper stays");
        assert_ne!(before, CLOSED);
        before
    })
}

/// Whoever sleeps keeps its page, and the last one gives it back.
fn closed_beside_sleepers(sleepers: usize, preemptions: usize) {
    explore(preemptions, move || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let sleepers: Vec<_> = (0..sleepers).map(|_| spawn(&process, sleep)).collect();
        process.close();
        process.open(File::Eventfd(2));
        assert_eq!(process.reach(), File::Eventfd(2));
        for sleeper in sleepers {
            assert!([None, Some(1), Some(2)].contains(&sleeper.join().unwrap()));
        }
        assert_eq!(process.reach(), File::Eventfd(2));
        assert_ne!(process.page.load(Relaxed), 1, "the memory is given back");
        process.close();
        assert_eq!(process.page.load(Relaxed), CLOSED);
        process.open(File::Eventfd(3));
        process.assert_known(File::Eventfd(3));
    });
}

#[test]
fn closed_beside_a_sleeper() {
    closed_beside_sleepers(1, 5);
}

#[test]
fn closed_beside_sleepers_who_leave_together() {
    closed_beside_sleepers(2, 2);
}

/// Two close, and one sleeps.
#[test]
fn closed_twice_beside_a_sleeper() {
    explore(3, || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let sleeper = spawn(&process, sleep);
        let other = spawn(&process, Process::close);
        process.close();
        sleeper.join().unwrap();
        other.join().unwrap();
        process.assert_known(File::Nothing);
    });
}

/// A signal handler does something while the number is being found out.
struct Interrupted<'a> {
    process: &'a Process,
    handler: Cell<Option<fn(&Process)>>,
    before: bool,
}

impl Interrupted<'_> {
    fn interrupt(&self) {
        if let Some(handler) = self.handler.take() {
            handler(self.process);
        }
    }
}

impl Pages for Interrupted<'_> {
    fn find(&self, descriptor: usize) -> bool {
        if self.before {
            self.interrupt();
        }
        let found = self.process.find(descriptor);
        self.interrupt();
        found
    }

    fn replace(&self, descriptor: usize) {
        self.process.replace(descriptor);
    }
}

/// A handler can use the number, close it and open it again.
#[test]
fn a_handler_does_not_wait() {
    explore(1, || {
        for before in [true, false] {
            let process = &Process::new(File::Eventfd(1));
            let handler = Cell::new(Some((|process| assert_eq!(process.reach(), File::Eventfd(1))) as fn(&Process)));
            assert!(process.table().map(DESCRIPTOR, &Interrupted { process, handler, before }));

            let process = &Process::new(File::Eventfd(1));
            let handler = Cell::new(Some((|process| process.assign(File::Eventfd(2))) as fn(&Process)));
            assert!(!process.table().map(DESCRIPTOR, &Interrupted { process, handler, before }));
            assert_eq!(process.page.load(Relaxed), CLOSED);
            process.assert_known(File::Eventfd(2));
        }
    });
}

/// The system is asked once what a number is, and not before somebody has said that it is an eventfd.
#[test]
fn asked_once() {
    struct Asked(Cell<u32>, bool);

    impl Pages for Asked {
        fn find(&self, _descriptor: usize) -> bool {
            self.0.set(self.0.get() + 1);
            self.1
        }

        fn replace(&self, _descriptor: usize) {}
    }

    explore(1, || {
        for is_eventfd in [false, true] {
            let [words, asleep] = [(); 2].map(|()| [atomic::AtomicU32::new(0)]);
            let (table, asked) = (Table::new(&words, &asleep), Asked(Cell::new(0), is_eventfd));
            assert!(!table.is_eventfd(DESCRIPTOR) && !table.map(DESCRIPTOR, &asked));
            assert_eq!(asked.0.get(), 0);
            table.expect(DESCRIPTOR, &asked);
            assert!(table.is_eventfd(DESCRIPTOR));
            for _ in 0..3 {
                assert_eq!(table.map(DESCRIPTOR, &asked), is_eventfd);
            }
            assert_eq!(table.is_eventfd(DESCRIPTOR), is_eventfd);
            assert_eq!(asked.0.get(), 1);
        }
    });
}

/// A number that was closed by a call of which the table does not hear: what is made there next is reached.
#[test]
fn closed_unheard() {
    explore(4, || {
        let process = Process::new(File::Eventfd(1));
        process.assert_known(File::Eventfd(1));
        let other = spawn(&process, Process::reach);
        process.open(File::Eventfd(2));
        assert_eq!(process.reach(), File::Eventfd(2));
        assert!(matches!(other.join().unwrap(), File::Eventfd(_)));
        process.assert_known(File::Eventfd(2));
    });
}

/// Numbers beyond the table are the system's.
#[test]
fn beyond_the_table() {
    explore(1, || {
        let process = Process::new(File::Eventfd(1));
        assert!(!process.table().map(1, &*process));
        assert_eq!(process.table().close(usize::MAX, &*process, || 7), 7);
    });
}
