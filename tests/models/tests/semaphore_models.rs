//! The semaphore's algorithm under loom: every order in which the threads of a model can run, as far as the bound goes.
//!
//! A waiter that nobody wakes although there is a token for it makes a model fail as a deadlock.
#![allow(clippy::unwrap_used)] // A lock of loom's is never poisoned.

mod orders;

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex, atomic};
use loom::thread;
use orders::{explore, spawn};

#[rustfmt::skip] // It is formatted as relibc is.
#[path = "../../../recipes/relibc/files/src/sync/semaphore_word.rs"]
pub mod semaphore_word;

use semaphore_word::{Full, SemaphoreWord, VALUE_MAX};

/// What a futex makes of a sleeper that is interrupted, at its worst.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// Its entry is removed. A thread that has just been woken can still be ended by its cancellation.
    Linux,
    /// Its entry stays, to be woken in place of another. That sleep ends well, and the next one fails.
    Redox,
}

impl Kernel {
    /// How many sleepers a post wakes there, as in `posix_semaphore.rs`.
    fn wake_count(self) -> usize {
        match self {
            Self::Linux => 1,
            Self::Redox => usize::MAX,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Interrupted;

/// The threads of a model, by numbers that it gives them.
type Thread = usize;

#[derive(Default)]
struct Sleepers {
    queue: Vec<Thread>,
    asleep: Vec<Thread>,
    interrupted: Vec<Thread>,
}

/// A semaphore with its futex.
struct Semaphore {
    word: SemaphoreWord,
    kernel: Kernel,
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

impl Semaphore {
    fn new(value: u32, kernel: Kernel) -> Arc<Self> {
        let word = SemaphoreWord::new(value);
        Arc::new(Self { word, kernel, sleepers: Mutex::new(Sleepers::default()), changed: Condvar::new() })
    }

    fn post(&self) -> Result<(), Full> {
        self.word.post(|| self.wake())
    }

    fn wait(&self, me: Thread) -> Result<(), Interrupted> {
        self.word.wait(|| self.sleep(me), || self.wake())
    }

    fn sleep(&self, me: Thread) -> Result<(), Interrupted> {
        let mut sleepers = self.sleepers.lock().unwrap();
        if self.word.value() != 0 {
            return Ok(());
        }
        if sleepers.interrupted.contains(&me) {
            return Err(Interrupted);
        }
        sleepers.queue.push(me);
        sleepers.asleep.push(me);
        while sleepers.asleep.contains(&me) && !sleepers.interrupted.contains(&me) {
            sleepers = self.changed.wait(sleepers).unwrap();
        }
        sleepers.asleep.retain(|thread| *thread != me);
        if self.kernel == Kernel::Redox {
            return Ok(());
        }
        sleepers.queue.retain(|thread| *thread != me);
        if sleepers.interrupted.contains(&me) { Err(Interrupted) } else { Ok(()) }
    }

    fn wake(&self) {
        let mut sleepers = self.sleepers.lock().unwrap();
        let count = sleepers.queue.len().min(self.kernel.wake_count());
        let woken: Vec<Thread> = sleepers.queue.drain(..count).collect();
        sleepers.asleep.retain(|thread| !woken.contains(thread));
        self.changed.notify_all();
    }

    fn interrupt(&self, thread: Thread) {
        self.sleepers.lock().unwrap().interrupted.push(thread);
        self.changed.notify_all();
    }

    fn assert_left_with(&self, value: u32) {
        assert_eq!((self.word.value(), self.word.waiters()), (value, 0));
    }
}

fn spawn_waiter(semaphore: &Arc<Semaphore>, me: Thread) -> thread::JoinHandle<Result<(), Interrupted>> {
    spawn(semaphore, move |semaphore| semaphore.wait(me))
}

/// A waiter that is about to sleep does not miss the post.
fn a_post_reaches_a_waiter_falling_asleep(kernel: Kernel) {
    explore(5, move || {
        let semaphore = Semaphore::new(0, kernel);
        let waiter = spawn_waiter(&semaphore, 1);
        semaphore.post().unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(()));
        semaphore.assert_left_with(0);
    });
}

/// Two posts release two waiters, whoever posts.
fn two_posts_release_two_waiters(kernel: Kernel) {
    explore(2, move || {
        let semaphore = Semaphore::new(0, kernel);
        let waiters = [spawn_waiter(&semaphore, 1), spawn_waiter(&semaphore, 2)];
        let poster = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.post()
        });
        semaphore.post().unwrap();
        poster.join().unwrap().unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
        semaphore.assert_left_with(0);
    });
}

/// A waiter that gives up in the moment of a post leaves the token to the other one, asleep or not.
fn giving_up_loses_no_token(kernel: Kernel) {
    explore(2, move || {
        let semaphore = Semaphore::new(0, kernel);
        let gives_up = spawn_waiter(&semaphore, 1);
        let stays = spawn_waiter(&semaphore, 2);
        let signal = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.interrupt(1)
        });
        semaphore.post().unwrap();
        if gives_up.join().unwrap() == Ok(()) {
            semaphore.post().unwrap();
        }
        assert_eq!(stays.join().unwrap(), Ok(()));
        signal.join().unwrap();
        semaphore.assert_left_with(0);
    });
}

/// A waiter that has given up long before the post does not swallow its wake-up.
fn a_wake_up_passes_by_who_gave_up_before(kernel: Kernel) {
    explore(3, move || {
        let semaphore = Semaphore::new(0, kernel);
        let gives_up = spawn_waiter(&semaphore, 1);
        let stays = spawn_waiter(&semaphore, 2);
        semaphore.interrupt(1);
        assert_eq!(gives_up.join().unwrap(), Err(Interrupted));
        semaphore.post().unwrap();
        assert_eq!(stays.join().unwrap(), Ok(()));
        semaphore.assert_left_with(0);
    });
}

/// Who tries and who waits for one token: one gets it, and the waiter gets the next one if it was not the first.
fn trying_beside_a_waiter(kernel: Kernel) {
    explore(3, move || {
        let semaphore = Semaphore::new(0, kernel);
        let waiter = spawn_waiter(&semaphore, 1);
        let tries = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.word.try_take()
        });
        semaphore.post().unwrap();
        if tries.join().unwrap() {
            semaphore.post().unwrap();
        }
        assert_eq!(waiter.join().unwrap(), Ok(()));
        semaphore.assert_left_with(0);
    });
}

macro_rules! on_both_kernels {
    ($($model:ident),+) => {
        mod linux {
            $(#[test] fn $model() { super::$model(super::Kernel::Linux); })+
        }
        mod redox {
            $(#[test] fn $model() { super::$model(super::Kernel::Redox); })+
        }
    };
}

on_both_kernels!(
    a_post_reaches_a_waiter_falling_asleep,
    two_posts_release_two_waiters,
    giving_up_loses_no_token,
    a_wake_up_passes_by_who_gave_up_before,
    trying_beside_a_waiter
);

/// Of two posts with room for one, one fails, and the value is not touched by it.
#[test]
fn posts_do_not_overflow_together() {
    explore(5, || {
        let semaphore = Semaphore::new(VALUE_MAX - 1, Kernel::Linux);
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.post()
        });
        let mine = semaphore.post();
        let others = other.join().unwrap();
        assert!(matches!((mine, others), (Ok(()), Err(Full)) | (Err(Full), Ok(()))));
        semaphore.assert_left_with(VALUE_MAX);
    });
}

/// As many as there are tokens get one at the first try.
#[test]
fn trying_fails_only_without_tokens() {
    explore(5, || {
        let semaphore = Semaphore::new(2, Kernel::Linux);
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.word.try_take()
        });
        assert!(semaphore.word.try_take());
        assert!(other.join().unwrap());
        assert!(!semaphore.word.try_take());
        semaphore.assert_left_with(0);
    });
}

/// Who has taken two tokens sees what both posters wrote before.
#[test]
fn posts_publish_what_came_before() {
    explore(3, || {
        let semaphore = Semaphore::new(0, Kernel::Linux);
        let written = Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
        for index in 0..2 {
            let semaphore = Arc::clone(&semaphore);
            let written = Arc::clone(&written);
            thread::spawn(move || {
                // Loom finds out if anybody else is there.
                #[allow(unsafe_code)]
                // SAFETY: only this thread uses this cell until the post.
                written[index].with_mut(|cell| unsafe { *cell = index + 1 });
                semaphore.post().unwrap();
            });
        }
        semaphore.wait(1).unwrap();
        semaphore.wait(1).unwrap();
        for (index, cell) in written.iter().enumerate() {
            #[allow(unsafe_code)]
            // SAFETY: the posters are through with the cells; loom finds out if that is not known here.
            let value = cell.with(|cell| unsafe { *cell });
            assert_eq!(value, index + 1);
        }
    });
}

/// A word in memory that one thread frees while another one may still think of it.
struct Freed(*mut SemaphoreWord);

#[allow(unsafe_code)]
// SAFETY: the word may be used by all threads; whether it is used too long is what the model finds out.
unsafe impl Send for Freed {}

/// The poster is through with the word when the token is out: who takes it may free the memory.
#[test]
fn a_post_does_not_look_back() {
    explore(5, || {
        let word = Box::into_raw(Box::new(SemaphoreWord::new(0)));
        let posters = Freed(word);
        let poster = thread::spawn(move || {
            let posters = posters;
            #[allow(unsafe_code)]
            // SAFETY: there is no token yet, so the word is there.
            let result = unsafe { &*posters.0 }.post(|| ());
            assert_eq!(result, Ok(()));
        });
        #[allow(unsafe_code)]
        // SAFETY: this thread frees the word, below.
        let result: Result<(), Interrupted> = unsafe { &*word }.wait(
            || {
                thread::yield_now();
                Ok(())
            },
            || (),
        );
        assert_eq!(result, Ok(()));
        // Loom does not know free, so the memory is overwritten, as by its next user.
        #[allow(unsafe_code)]
        // SAFETY: the word is transparent, and this thread's alone as the post is over; loom finds out if it is not.
        unsafe { &mut *word.cast::<atomic::AtomicU64>() }.with_mut(|word| *word = u64::MAX);
        poster.join().unwrap();
        #[allow(unsafe_code)]
        // SAFETY: it comes from a box, and nobody else knows it by now.
        drop(unsafe { Box::from_raw(word) });
    });
}
