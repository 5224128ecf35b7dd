//! The table of descriptors under loom: one number, which is used, closed and opened again by several threads.
#![allow(clippy::unwrap_used)] // A lock of loom's is never poisoned.

use std::cell::Cell;

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::{Arc, Mutex, atomic};
use loom::thread;

#[path = "../../../shim/src/table.rs"]
pub mod table;

use table::{Found, Pages, Table};

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
    file: Mutex<File>,
    page: AtomicUsize,
}

impl Pages for Process {
    fn find(&self, descriptor: usize) -> Found {
        assert_eq!(descriptor, DESCRIPTOR);
        // The number can become something else between this step and the next.
        match self.file() {
            File::Nothing => Found::Nothing,
            File::Other => Found::Other,
            File::Eventfd(number) => {
                self.page.store(number, Relaxed);
                Found::Mapped
            }
        }
    }

    fn replace(&self, descriptor: usize) {
        assert_eq!(descriptor, DESCRIPTOR);
        self.page.store(CLOSED, Relaxed);
    }
}

impl Process {
    fn new(file: File) -> Arc<Self> {
        Arc::new(Self { words: [atomic::AtomicU32::new(0)], file: Mutex::new(file), page: AtomicUsize::new(CLOSED) })
    }

    fn table(&self) -> Table<'_> {
        Table::new(&self.words)
    }

    fn file(&self) -> File {
        *self.file.lock().unwrap()
    }

    fn open(&self, file: File) {
        *self.file.lock().unwrap() = file;
    }

    fn close(&self) {
        self.assign(File::Nothing);
    }

    /// dup2, or close.
    fn assign(&self, file: File) {
        self.table().close(DESCRIPTOR, self, || self.open(file));
    }

    /// What an operation reaches: a cell, or whatever the system has.
    fn reach(&self) -> File {
        if self.table().is_mapped(DESCRIPTOR, self) {
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
        assert_eq!(self.table().is_mapped(DESCRIPTOR, self), page != CLOSED);
        assert_eq!(self.page.load(Relaxed), page);
    }
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn spawn<T: 'static>(process: &Arc<Process>, work: impl FnOnce(&Process) -> T + 'static) -> thread::JoinHandle<T> {
    let process = Arc::clone(process);
    thread::spawn(move || work(&process))
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
    fn find(&self, descriptor: usize) -> Found {
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
            assert!(process.table().is_mapped(DESCRIPTOR, &Interrupted { process, handler, before }));

            let process = &Process::new(File::Eventfd(1));
            let handler = Cell::new(Some((|process| process.assign(File::Eventfd(2))) as fn(&Process)));
            assert!(!process.table().is_mapped(DESCRIPTOR, &Interrupted { process, handler, before }));
            assert_eq!(process.page.load(Relaxed), CLOSED);
            process.assert_known(File::Eventfd(2));
        }
    });
}

/// The system is asked once what a number is, unless it is nothing yet.
#[test]
fn asked_once() {
    struct Asked(Cell<u32>, Found);

    impl Pages for Asked {
        fn find(&self, _descriptor: usize) -> Found {
            self.0.set(self.0.get() + 1);
            self.1
        }

        fn replace(&self, _descriptor: usize) {}
    }

    explore(1, || {
        for (found, times) in [(Found::Other, 1), (Found::Mapped, 1), (Found::Nothing, 3)] {
            let words = [atomic::AtomicU32::new(0)];
            let asked = Asked(Cell::new(0), found);
            for _ in 0..3 {
                assert_eq!(Table::new(&words).is_mapped(DESCRIPTOR, &asked), found == Found::Mapped);
            }
            assert_eq!(asked.0.get(), times);
        }
    });
}

/// Numbers beyond the table are the system's.
#[test]
fn beyond_the_table() {
    explore(1, || {
        let process = Process::new(File::Eventfd(1));
        assert!(!process.table().is_mapped(1, &*process));
        assert_eq!(process.table().close(usize::MAX, &*process, || 7), 7);
    });
}
