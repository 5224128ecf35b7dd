//! The engine by itself: who is answered, in which order, and what is announced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bench;
mod mapped;

use bench::{BOTH, Bench, OWNER, READABLE, Ticket, WRITABLE, Xorshift, dropped, reads, ready, written};
use eventd::engine::{Blocking, Effect, Error, MAX, Mode, Parked, Progress, Readiness};

#[test]
fn short_read_buffers_are_invalid_18() {
    let mut bench = Bench::counter(3);
    for len in 0..8 {
        assert_eq!(bench.eventfds.read(bench.id, len, Blocking::Wait, 1, &mut bench.effects), Err(Error::Invalid));
    }
    assert_eq!(bench.count(), 3);
}

#[test]
fn writes_of_another_length_are_invalid_31() {
    let mut bench = Bench::counter(0);
    for len in [0, 1, 7, 9, 16] {
        let result = bench.eventfds.write(bench.id, &vec![1; len], Blocking::Wait, 1, &mut bench.effects);
        assert_eq!(result, Err(Error::Invalid), "{len}");
    }
    assert_eq!(bench.count(), 0);
}

#[test]
fn all_ones_are_invalid_even_without_room_33() {
    let mut bench = Bench::full(Mode::Counter);
    assert_eq!(bench.write(u64::MAX, Blocking::Wait, 1), Err(Error::Invalid));
    assert_eq!(bench.waiting(), (0, 0));
}

#[test]
fn zero_is_written_even_at_the_maximum_34() {
    let mut bench = Bench::full(Mode::Counter);
    bench.put(0);
    assert_eq!(bench.count(), MAX);
}

#[test]
fn a_write_of_zero_leaves_readers_waiting_24() {
    let mut bench = Bench::counter(0);
    bench.park_read(1);
    bench.put(0);
    assert_eq!(bench.effects, []);
    assert_eq!(bench.waiting(), (1, 0));
}

#[test]
fn without_waiting_nothing_is_parked_23_36() {
    let mut bench = Bench::counter(0);
    assert_eq!(bench.take(), Err(Error::WouldBlock));
    bench.put(MAX);
    assert_eq!(bench.write(1, Blocking::Never, 1), Err(Error::WouldBlock));
    assert_eq!((bench.count(), bench.waiting(), bench.eventfds.totals().parked), (MAX, (0, 0), 0));
}

#[test]
fn semaphore_readers_are_answered_in_order_of_arrival_27() {
    let mut bench = Bench::semaphore(0);
    for ticket in [9, 3, 7] {
        bench.park_read(ticket);
    }
    bench.put(2);
    assert_eq!(bench.effects, reads(&[(9, 1), (3, 1)]));
    assert_eq!((bench.count(), bench.waiting()), (0, (1, 0)));
    bench.put(2);
    assert_eq!(bench.effects, reads(&[(7, 1)]));
    assert_eq!((bench.count(), bench.waiting()), (1, (0, 0)));
}

#[test]
fn the_first_counter_reader_takes_all_27() {
    let mut bench = Bench::counter(0);
    for ticket in [9, 3, 7] {
        bench.park_read(ticket);
    }
    bench.put(5);
    assert_eq!(bench.effects, reads(&[(9, 5)]));
    assert_eq!((bench.count(), bench.waiting()), (0, (2, 0)));
    bench.put(6);
    assert_eq!(bench.effects, reads(&[(3, 6)]));
}

#[test]
fn writers_are_admitted_in_order_of_arrival_37() {
    let mut bench = Bench::full(Mode::Counter);
    for (ticket, value) in [(9, 6), (3, 5), (7, 4)] {
        bench.park_write(value, ticket);
    }
    assert_eq!(bench.take(), Ok(MAX));
    assert_eq!(bench.effects, written(&[9, 3, 7]));
    assert_eq!((bench.count(), bench.waiting()), (15, (0, 0)));
}

#[test]
fn writers_that_do_not_fit_any_more_stay_37() {
    let mut bench = Bench::full(Mode::Counter);
    for (ticket, value) in [(1, 10), (2, MAX - 5), (3, MAX - 20), (4, 10), (5, 1)] {
        bench.park_write(value, ticket);
    }
    assert_eq!(bench.take(), Ok(MAX));
    // 10 fits, MAX-5 does not fit behind it, MAX-20 does, 10 more fit exactly, and then there is no room for 1.
    assert_eq!(bench.effects, written(&[1, 3, 4]));
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 2)));
    assert_eq!(bench.take(), Ok(MAX));
    assert_eq!(bench.effects, written(&[2, 5]));
    assert_eq!(bench.count(), MAX - 4);
}

#[test]
fn a_writer_waits_for_room_for_its_whole_value_37() {
    let mut bench = Bench::full(Mode::Semaphore);
    bench.park_write(3, 1);
    for _ in 0..2 {
        assert_eq!(bench.take(), Ok(1));
        assert_eq!(bench.effects, []);
    }
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, written(&[1]));
    assert_eq!(bench.count(), MAX);
}

#[test]
fn a_blocked_large_writer_does_not_stop_a_small_write_38() {
    let mut bench = Bench::counter(0);
    bench.put(MAX - 3);
    bench.park_write(10, 1);
    bench.put(3);
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 1)));
}

#[test]
fn a_blocked_large_writer_does_not_hold_up_a_small_one_behind_it_38() {
    let mut bench = Bench::full(Mode::Semaphore);
    bench.park_write(10, 1);
    bench.park_write(1, 2);
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, written(&[2]));
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 1)));
}

#[test]
fn a_read_admits_writers_and_then_announces_what_they_left() {
    let mut bench = Bench::full(Mode::Counter);
    bench.watch(BOTH);
    bench.park_write(4, 1);
    assert_eq!(bench.take(), Ok(MAX));
    assert_eq!(bench.effects, [written(&[1]), ready(BOTH)].concat());
    assert_eq!(bench.take(), Ok(4));
    assert_eq!(bench.effects, ready(WRITABLE));
}

#[test]
fn cancelled_readers_are_passed_over_57() {
    let mut bench = Bench::semaphore(0);
    let parked = [1, 2, 3, 4, 5].map(|ticket| bench.park_read(ticket));
    for index in [0, 2, 4] {
        assert!(bench.eventfds.cancel(parked[index]));
        assert!(!bench.eventfds.cancel(parked[index]), "cancelled twice");
    }
    assert_eq!(bench.waiting(), (2, 0));
    bench.put(5);
    assert_eq!(bench.effects, reads(&[(2, 1), (4, 1)]));
    assert_eq!(bench.count(), 3);
    assert!(!bench.eventfds.cancel(parked[1]), "cancelled after the answer");
}

#[test]
fn cancelled_writers_leave_nothing_behind_57() {
    let mut bench = Bench::full(Mode::Counter);
    let parked = [(1, 1), (2, 7), (3, 1), (4, 9)].map(|(ticket, value)| bench.park_write(value, ticket));
    assert!(bench.eventfds.cancel(parked[0]));
    assert!(bench.eventfds.cancel(parked[2]));
    assert!(!bench.eventfds.cancel(parked[2]), "cancelled twice");
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 2)));
    assert_eq!(bench.take(), Ok(MAX));
    assert_eq!(bench.effects, written(&[2, 4]));
    assert_eq!(bench.count(), 16);
}

#[test]
fn the_rest_gets_in_after_the_smallest_writer_was_cancelled_57() {
    let mut bench = Bench::full(Mode::Semaphore);
    let small = bench.park_write(1, 1);
    bench.park_write(2, 2);
    assert!(bench.eventfds.cancel(small));
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, []);
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, written(&[2]));
}

/// A value that stayed in any list would cost memory for as long as the object lives.
#[test]
fn nothing_is_kept_of_writers_that_left() {
    let mut bench = Bench::full(Mode::Counter);
    let is_kept = |bench: &Bench| format!("{:?}", bench.eventfds.get(bench.id)).contains("123456789");
    let parked = bench.park_write(123_456_789, 1);
    assert!(is_kept(&bench));
    assert!(bench.eventfds.cancel(parked));
    assert!(!is_kept(&bench), "cancelled");
    bench.park_write(123_456_789, 2);
    assert_eq!((bench.take(), bench.take()), (Ok(MAX), Ok(123_456_789)));
    assert!(!is_kept(&bench), "admitted and read");
}

#[test]
fn close_drops_every_reader_once() {
    let mut bench = Bench::counter(0);
    let parked = [1, 2, 3].map(|ticket| bench.park_read(ticket));
    assert!(bench.eventfds.cancel(parked[1]));
    bench.watch(BOTH);
    bench.close();
    assert_eq!(bench.effects, dropped(&[1, 3]));
    assert!(parked.iter().all(|parked| !bench.eventfds.cancel(*parked)));
    bench.close();
    assert_eq!(bench.effects, []);
    assert!(bench.eventfds.is_empty());
}

#[test]
fn close_drops_every_writer_once() {
    let mut bench = Bench::full(Mode::Semaphore);
    bench.park_write(5, 2);
    bench.park_write(1, 1);
    bench.close();
    assert_eq!(bench.effects, dropped(&[2, 1]));
    bench.close();
    assert_eq!(bench.effects, []);
}

#[test]
fn a_closed_object_is_no_object() {
    let mut bench = Bench::counter(1);
    bench.close();
    assert_eq!(bench.take(), Err(Error::NoObject));
    assert_eq!(bench.write(1, Blocking::Wait, 1), Err(Error::NoObject));
    assert_eq!(bench.eventfds.watch(bench.id, 1, BOTH), Err(Error::NoObject));
    assert!(bench.eventfds.get(bench.id).is_none());
}

#[test]
fn a_new_object_of_the_same_number_starts_afresh() {
    let mut bench = Bench::counter(0);
    let old = bench.park_read(1);
    bench.watch(BOTH);
    bench.close();
    bench.id = bench.eventfds.create(0, Mode::Counter, OWNER);
    assert_eq!(bench.id, old.eventfd(), "the number is used again");
    assert!(!bench.eventfds.cancel(old));
    bench.put(2);
    assert_eq!(bench.effects, []);
    assert_eq!(bench.count(), 2);
}

#[test]
fn readiness_is_announced_once_per_write_even_if_unchanged_48() {
    let mut bench = Bench::counter(0);
    assert_eq!(bench.watch(BOTH), WRITABLE);
    for value in [1, 1, 0, 7] {
        bench.put(value);
        assert_eq!(bench.effects, ready(BOTH), "write {value}");
    }
    bench.put(MAX - 9);
    assert_eq!(bench.effects, ready(READABLE));
}

#[test]
fn readiness_is_announced_once_per_read_even_if_unchanged_50_51() {
    let mut bench = Bench::semaphore(2);
    assert_eq!(bench.watch(BOTH), BOTH);
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, ready(BOTH));
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, ready(WRITABLE));
}

#[test]
fn requests_that_fail_or_wait_announce_nothing_49() {
    let mut bench = Bench::counter(0);
    bench.watch(BOTH);
    assert_eq!(bench.take(), Err(Error::WouldBlock));
    assert_eq!(bench.effects, []);
    let parked = bench.park_read(1);
    assert_eq!(bench.effects, []);
    assert!(bench.eventfds.cancel(parked));
    assert_eq!(bench.write(u64::MAX, Blocking::Wait, 1), Err(Error::Invalid));
    assert_eq!(bench.effects, []);
}

#[test]
fn a_write_that_answers_many_announces_once_and_last() {
    let mut bench = Bench::semaphore(0);
    bench.watch(BOTH);
    for ticket in 1..=3 {
        bench.park_read(ticket);
    }
    bench.put(3);
    assert_eq!(bench.effects, [reads(&[(1, 1), (2, 1), (3, 1)]), ready(WRITABLE)].concat());
}

#[test]
fn nothing_is_announced_without_a_watch() {
    let mut bench = Bench::counter(0);
    bench.put(1);
    assert_eq!(bench.effects, []);
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, []);
}

#[test]
fn only_what_is_watched_is_announced() {
    let mut bench = Bench::counter(0);
    assert_eq!(bench.watch(READABLE), Readiness::NONE);
    bench.put(1);
    assert_eq!(bench.effects, ready(READABLE));
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, [], "not readable");
    assert_eq!(bench.watch(WRITABLE), WRITABLE);
    bench.put(1);
    assert_eq!(bench.effects, ready(WRITABLE));
    bench.put(MAX - 1);
    assert_eq!(bench.effects, [], "not writable");
}

#[test]
fn an_empty_interest_ends_a_watch() {
    let mut bench = Bench::counter(1);
    bench.watch(BOTH);
    assert_eq!(bench.watch(Readiness::NONE), Readiness::NONE);
    bench.put(1);
    assert_eq!(bench.effects, []);
}

#[test]
fn a_later_watch_takes_the_place_of_the_first() {
    let mut bench = Bench::counter(0);
    bench.watch(BOTH);
    bench.eventfds.watch(bench.id, 5, BOTH).unwrap();
    bench.put(1);
    assert_eq!(bench.effects, [Effect::Ready { description: 5, readiness: BOTH }]);
}

#[test]
fn objects_do_not_touch_each_other() {
    let mut bench = Bench::counter(0);
    let first = bench.id;
    bench.park_read(1);
    bench.id = bench.eventfds.create(3, Mode::Counter, OWNER);
    bench.watch(BOTH);
    bench.put(4);
    assert_eq!(bench.effects, ready(BOTH));
    assert_eq!(bench.take(), Ok(7));
    bench.close();
    assert_eq!(bench.effects, []);
    bench.id = first;
    assert_eq!(bench.waiting(), (1, 0));
}

/// What was asked of one counter at random, and what became of it.
struct Ledger {
    bench: Bench,
    waiting: Vec<(Ticket, Parked)>,
    next: Ticket,
    written: u128,
    read: u128,
    parked: u64,
    reads: u64,
    writes: u64,
}

impl Ledger {
    fn new(mode: Mode) -> Self {
        let bench = Bench::new(0, mode);
        Self { bench, waiting: Vec::new(), next: 1, written: 0, read: 0, parked: 0, reads: 0, writes: 0 }
    }

    fn read(&mut self, blocking: Blocking) {
        match self.bench.read(blocking, self.next) {
            Ok(Progress::Done(value)) => self.count_read(value),
            Ok(Progress::Parked(parked)) => self.park(parked),
            Err(error) => assert_eq!((error, blocking), (Error::WouldBlock, Blocking::Never)),
        }
        self.settle();
    }

    fn write(&mut self, value: u64, blocking: Blocking) {
        match self.bench.write(value, blocking, self.next) {
            Ok(Progress::Done(())) => self.count_write(value),
            Ok(Progress::Parked(parked)) => self.park(parked),
            Err(error) => assert_eq!((error, blocking), (Error::WouldBlock, Blocking::Never)),
        }
        self.settle();
    }

    fn cancel(&mut self, choice: u64) {
        if !self.waiting.is_empty() {
            let index = usize::try_from(choice).unwrap() % self.waiting.len();
            let (_, parked) = self.waiting.swap_remove(index);
            assert!(self.bench.eventfds.cancel(parked));
        }
    }

    fn park(&mut self, parked: Parked) {
        self.waiting.push((self.next, parked));
        self.next += 1;
        self.parked += 1;
    }

    fn count_read(&mut self, value: u64) {
        assert!(value > 0, "a read got nothing");
        self.read += u128::from(value);
        self.reads += 1;
    }

    fn count_write(&mut self, value: u64) {
        self.written += u128::from(value);
        self.writes += 1;
    }

    /// Takes a ticket that came back; each must be one that waits.
    fn settled(&mut self, ticket: Ticket) -> Parked {
        let index = self.waiting.iter().position(|(waiting, _)| *waiting == ticket).expect("answered twice");
        self.waiting.swap_remove(index).1
    }

    fn settle(&mut self) {
        for effect in std::mem::take(&mut self.bench.effects) {
            match effect {
                Effect::Read { ticket, value } => {
                    assert_eq!(self.settled(ticket).value(), None, "a writer was answered as a reader");
                    self.count_read(value);
                }
                Effect::Written { ticket } => {
                    let value = self.settled(ticket).value().expect("a reader was answered as a writer");
                    self.count_write(value);
                }
                Effect::Dropped { .. } | Effect::Wake { .. } | Effect::Ready { .. } => {
                    panic!("not asked for: {effect:?}")
                }
            }
        }
    }

    fn check(&self) {
        let left = self.bench.count();
        assert_eq!(self.written, self.read + u128::from(left), "written = read + left");
        let (readers, writers) = self.bench.waiting();
        assert_eq!(readers + writers, self.waiting.len());
        assert!(readers == 0 || left == 0, "a reader waits at {left}");
        let smallest = self.waiting.iter().filter_map(|(_, parked)| parked.value()).min();
        assert!(smallest.is_none_or(|value| value > MAX - left), "a writer of {smallest:?} waits at {left}");
        let totals = self.bench.eventfds.totals();
        assert_eq!((totals.reads, totals.writes, totals.parked), (self.reads, self.writes, self.parked));
    }
}

#[test]
fn what_is_written_is_read_or_left() {
    for seed in 1..=60 {
        let mut random = Xorshift(seed * 0x9E37_79B9);
        let mut ledger = Ledger::new(if seed % 2 == 0 { Mode::Counter } else { Mode::Semaphore });
        for _ in 0..2000 {
            let blocking = if random.below(3) == 0 { Blocking::Never } else { Blocking::Wait };
            match random.below(9) {
                0..4 => ledger.read(blocking),
                4..8 => ledger.write(random.value(), blocking),
                _ => ledger.cancel(random.next()),
            }
            ledger.check();
        }
    }
}
