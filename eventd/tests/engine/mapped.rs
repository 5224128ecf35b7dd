//! Counters that clients map: who is told, who is woken, and what a client can do to others.

use std::cell::Cell as Value;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use eventd::engine::{Blocking, Effect, Error, EventfdId, Eventfds, MAX, Mode, Parked, Progress, Readiness, Sleepers};
use eventd_shim::cell::{After, Cell, Gate, Interest, Refused, Side};

use super::bench::{BOTH, Bench, OWNER, Page, READABLE, Ticket, WRITABLE, Xorshift, dropped, reads, ready, written};

const NOBODY: After = After { wake: false, tell: false, polled: false };
const TELL: After = After { wake: false, tell: true, polled: false };
/// Only those who poll are to hear of it.
const POLLED: After = After { wake: false, tell: true, polled: true };
const WAKE: After = After { wake: true, tell: false, polled: false };

/// A client reads without waiting.
fn take(cell: &Cell) -> (u64, After) {
    cell.read(Side::Client).unwrap()
}

fn put(cell: &Cell, value: u64) -> After {
    cell.write(value, Side::Client).unwrap()
}

/// A client falls asleep at a gate, if it must.
fn sleep<T>(gate: &Gate, attempt: impl FnMut() -> Result<T, Refused>) {
    assert!(gate.wait(attempt, |_| Err(())).is_err(), "does not sleep");
}

fn sleep_to_read(cell: &Cell) {
    sleep(cell.readable(), || cell.read(Side::Client));
}

fn sleep_to_write(cell: &Cell, value: u64) {
    sleep(cell.writable(), || cell.write(value, Side::Client));
}

fn wake(bench: &Bench, sleepers: Sleepers) -> Vec<Effect<Ticket>> {
    vec![Effect::Wake { eventfd: bench.id, sleepers }]
}

#[test]
fn all_count_in_one_cell() {
    let mut bench = Bench::counter(2);
    bench.put(3);
    let page = bench.share();
    assert_eq!(put(&page, 4), NOBODY);
    assert_eq!(bench.take(), Ok(9));
    bench.put(1);
    assert_eq!(take(&page), (1, NOBODY));
    assert_eq!(bench.take(), Err(Error::WouldBlock));
}

#[test]
fn a_counter_has_one_page_and_a_page_one_counter() {
    let mut bench = Bench::counter(0);
    let (first, again) = (bench.share(), bench.share());
    assert!(Rc::ptr_eq(&first.cell, &again.cell));
    bench.id = bench.eventfds.create(0, Mode::Counter, OWNER);
    assert_eq!(bench.eventfds.shared(), 1, "a counter that nobody maps has none");
    assert!(!Rc::ptr_eq(&bench.share().cell, &first.cell));
    assert_eq!(bench.eventfds.shared(), 2);
    put(&first, 5);
    assert_eq!(bench.count(), 0);
}

#[test]
fn a_page_that_cannot_be_had_changes_nothing() {
    let mut bench = Bench::counter(4);
    assert_eq!(bench.eventfds.share(bench.id, || Err(Error::Exists)).err(), Some(Error::Exists));
    assert_eq!((bench.eventfds.shared(), bench.take()), (0, Ok(4)));
    bench.close();
    assert_eq!(bench.eventfds.share(bench.id, || Ok(Page::default())).err(), Some(Error::NoObject));
}

#[test]
fn clients_see_o_nonblock_7_8() {
    let mut bench = Bench::counter(0);
    assert_eq!(bench.eventfds.set_nonblocking(bench.id, true), Ok(()));
    let page = bench.share();
    assert!(page.nonblocking());
    assert_eq!(bench.eventfds.set_nonblocking(bench.id, false), Ok(()));
    assert!(!page.nonblocking());
    bench.park_read(1);
}

#[test]
fn nobody_tells_when_nobody_listens() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    assert_eq!(put(&page, 1), NOBODY);
    bench.watch(READABLE);
    assert_eq!(put(&page, 1), POLLED);
    bench.watch(Readiness::NONE);
    assert_eq!(take(&page), (2, NOBODY));
    let parked = bench.park_read(1);
    assert_eq!(put(&page, 0), TELL);
    bench.watch(READABLE);
    assert_eq!(put(&page, 0), TELL, "the parked read comes first");
    assert!(bench.eventfds.cancel(parked));
    assert_eq!(put(&page, 0), POLLED, "the poller is left");
    bench.watch(Readiness::NONE);
    assert_eq!(put(&page, 1), NOBODY);
    assert_eq!(bench.take(), Ok(1));
    bench.park_read(1);
    bench.put(1);
    assert_eq!(bench.effects, reads(&[(1, 1)]));
    assert_eq!(put(&page, 1), NOBODY, "after the answer");
    bench.take().unwrap();
    assert_eq!(bench.take(), Err(Error::WouldBlock));
    assert_eq!(put(&page, 1), NOBODY, "after a read that did not wait");
}

#[test]
fn who_waited_before_the_first_client_mapped_is_answered() {
    let mut bench = Bench::counter(0);
    bench.park_read(7);
    let page = bench.share();
    assert_eq!(put(&page, 5), TELL);
    bench.look();
    assert_eq!(bench.effects, reads(&[(7, 5)]));
    assert_eq!(put(&page, 5), NOBODY);
}

#[test]
fn a_look_answers_readers_in_order_of_arrival_27() {
    let mut bench = Bench::semaphore(0);
    let page = bench.share();
    for ticket in [9, 3, 7] {
        bench.park_read(ticket);
    }
    assert_eq!(put(&page, 2), TELL);
    bench.look();
    assert_eq!(bench.effects, reads(&[(9, 1), (3, 1)]));
    assert_eq!((bench.count(), bench.waiting()), (0, (1, 0)));
}

#[test]
fn a_look_admits_writers_in_order_of_arrival_37() {
    let mut bench = Bench::full(Mode::Counter);
    let page = bench.share();
    for (ticket, value) in [(9, MAX - 8), (3, 9), (7, 8)] {
        bench.park_write(value, ticket);
    }
    assert_eq!(take(&page), (MAX, TELL));
    bench.look();
    assert_eq!(bench.effects, written(&[9, 7]));
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 1)));
}

#[test]
fn readers_and_writers_can_wait_at_once_and_take_turns() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    bench.park_read(1);
    bench.park_read(2);
    put(&page, MAX);
    bench.park_write(3, 3);
    bench.park_write(MAX, 4);
    bench.look();
    assert_eq!(bench.effects, [reads(&[(1, MAX)]), written(&[3]), reads(&[(2, 3)]), written(&[4])].concat());
    assert_eq!((bench.count(), bench.waiting()), (MAX, (0, 0)));
    assert_eq!(take(&page), (MAX, NOBODY));
}

#[test]
fn each_tell_is_an_edge_48_50() {
    let mut bench = Bench::semaphore(1);
    let page = bench.share();
    bench.watch(BOTH);
    for value in [0, 1, 0] {
        assert_eq!(put(&page, value), POLLED);
        bench.look();
        assert_eq!(bench.effects, ready(BOTH));
    }
    assert_eq!(take(&page), (1, POLLED));
    bench.look();
    assert_eq!(bench.effects, ready(BOTH));
    assert_eq!(take(&page), (1, POLLED));
    bench.look();
    assert_eq!(bench.effects, ready(WRITABLE));
}

#[test]
fn a_look_without_a_change_answers_nobody() {
    let mut bench = Bench::counter(0);
    bench.share();
    bench.park_read(1);
    for _ in 0..3 {
        bench.look();
        assert_eq!(bench.effects, []);
    }
    assert_eq!(bench.waiting(), (1, 0));
    bench.close();
    assert_eq!(bench.eventfds.look(bench.id, &mut bench.effects), Err(Error::NoObject));
}

/// A client killed between its change and telling of it has the next one tell for it, whoever that is.
#[test]
fn a_change_that_nobody_told_of_is_seen_at_the_next() {
    let mut bench = Bench::semaphore(0);
    let page = bench.share();
    bench.park_read(1);
    assert_eq!(put(&page, 2), TELL);
    assert_eq!(bench.take(), Ok(1));
    assert_eq!(bench.effects, reads(&[(1, 1)]));
}

#[test]
fn who_sleeps_is_woken_by_requests() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    sleep_to_read(&page);
    bench.put(3);
    assert_eq!(bench.effects, wake(&bench, Sleepers::Readers));
    bench.put(MAX - 3);
    sleep_to_write(&page, 2);
    assert_eq!(bench.take(), Ok(MAX));
    assert_eq!(bench.effects, wake(&bench, Sleepers::Writers));
}

#[test]
fn who_sleeps_is_woken_by_the_answers_to_others() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    bench.park_read(1);
    put(&page, MAX);
    sleep_to_write(&page, 1);
    bench.look();
    assert_eq!(bench.effects, [reads(&[(1, MAX)]), wake(&bench, Sleepers::Writers)].concat());

    let mut bench = Bench::full(Mode::Counter);
    let page = bench.share();
    bench.park_write(1, 1);
    assert_eq!(take(&page), (MAX, TELL));
    sleep_to_read(&page);
    bench.watch(BOTH);
    bench.look();
    assert_eq!(bench.effects, [written(&[1]), wake(&bench, Sleepers::Readers), ready(BOTH)].concat());
}

#[test]
fn a_wake_up_leaves_nobody_at_the_gate() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    sleep_to_read(&page);
    // The number of the gate is odd after the first wake-up, which leaves the bit to the second.
    for _ in 0..3 {
        bench.put(0);
        for effect in std::mem::take(&mut bench.effects) {
            let Effect::Wake { eventfd, sleepers: Sleepers::Readers } = effect else { panic!("{effect:?}") };
            bench.eventfds.get(eventfd).unwrap().counter().gate(Sleepers::Readers).wake(|| ());
        }
    }
    bench.put(1);
    assert_eq!(bench.effects, []);
    assert_eq!(put(&page, 1), NOBODY);
}

#[test]
fn clients_wake_each_other_without_the_daemon() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    sleep_to_read(&page);
    assert_eq!(put(&page, 1), WAKE);
}

#[test]
fn what_a_killed_client_has_not_told_is_made_up_for() {
    let mut bench = Bench::counter(0);
    let page = bench.share();
    bench.leave();
    assert_eq!(bench.effects, [], "nobody waits");
    sleep_to_read(&page);
    assert_eq!(put(&page, 1), WAKE);
    bench.leave();
    assert_eq!(bench.effects, wake(&bench, Sleepers::Readers));

    let mut bench = Bench::full(Mode::Counter);
    let page = bench.share();
    sleep_to_write(&page, 1);
    assert_eq!(take(&page), (MAX, WAKE));
    bench.leave();
    assert_eq!(bench.effects, wake(&bench, Sleepers::Writers));

    let mut bench = Bench::counter(0);
    let page = bench.share();
    bench.park_read(3);
    assert_eq!(put(&page, 9), TELL);
    bench.leave();
    assert_eq!(bench.effects, reads(&[(3, 9)]));
    assert_eq!(put(&page, 1), NOBODY);
}

#[test]
fn the_end_of_a_client_is_no_edge_48() {
    let mut bench = Bench::counter(3);
    let page = bench.share();
    bench.watch(BOTH);
    bench.leave();
    assert_eq!(bench.effects, []);
    take(&page);
    bench.park_read(1);
    put(&page, 5);
    bench.leave();
    assert_eq!(bench.effects, [reads(&[(1, 5)]), ready(WRITABLE)].concat(), "an answer is a change");
    assert_eq!(put(&page, 1), POLLED);
    bench.close();
    assert_eq!(bench.eventfds.left(bench.id, &mut bench.effects), Err(Error::NoObject));
}

#[test]
fn a_counter_that_has_ended_is_not_live() {
    let mut bench = Bench::counter(3);
    let page = bench.share();
    bench.park_write(MAX, 5);
    sleep_to_write(&page, MAX);
    let ended = bench.eventfds.close(bench.id, &mut bench.effects).unwrap();
    assert_eq!(bench.effects, dropped(&[5]));
    assert!(Rc::ptr_eq(&ended.cell, &page.cell));
    assert!(ended.writable().may_have_sleepers());
    assert_eq!((page.read(Side::Client), page.write(1, Side::Client)), (Err(Refused::NotLive), Err(Refused::NotLive)));
    assert_eq!(bench.eventfds.shared(), 0);
    bench.id = bench.eventfds.create(1, Mode::Counter, OWNER);
    assert_eq!(page.read(Side::Client), Err(Refused::NotLive), "the number is used again, the page is not");
}

/// Makes a request while a client does `change`, before the engine's step number `step` in the page or, if there are fewer, afterwards. The effects are
/// those of the request, and of the look if the engine is told.
fn beside<T>(
    bench: &mut Bench,
    step: usize,
    change: impl Fn(&Cell) -> After + Copy + 'static,
    request: impl FnOnce(&mut Bench) -> T,
) -> T {
    bench.effects.clear();
    let page = bench.share();
    let (steps, change_of) = (Rc::new(Value::new(0)), Rc::new(Value::new(None)));
    let after = Rc::clone(&change_of);
    page.haunt(move |cell| {
        steps.set(steps.get() + 1);
        if steps.get() == step {
            after.set(Some(change(cell)));
        }
    });
    let result = request(bench);
    page.haunt(|_| ());
    if change_of.get().unwrap_or_else(|| change(&page.cell)).tell {
        let before = std::mem::take(&mut bench.effects);
        bench.look();
        bench.effects.splice(..0, before);
    }
    result
}

#[test]
fn no_change_is_missed_on_the_way_to_being_parked() {
    for step in 1..6 {
        let mut bench = Bench::counter(0);
        let progress = beside(&mut bench, step, |cell| put(cell, 5), |bench| bench.read(Blocking::Wait, 1));
        let answered = if progress == Ok(Progress::Done(5)) { vec![] } else { reads(&[(1, 5)]) };
        assert_eq!((&bench.effects, bench.count(), bench.waiting()), (&answered, 0, (0, 0)), "a write before {step}");
        assert_eq!(put(&bench.share(), 1), NOBODY);

        let mut bench = Bench::full(Mode::Counter);
        let progress = beside(&mut bench, step, |cell| take(cell).1, |bench| bench.write(5, Blocking::Wait, 1));
        let answered = if progress == Ok(Progress::Done(())) { vec![] } else { written(&[1]) };
        assert_eq!((&bench.effects, bench.count(), bench.waiting()), (&answered, 5, (0, 0)), "a read before {step}");
    }
}

#[test]
fn no_change_is_missed_on_the_way_to_being_watched_54() {
    for step in 1..6 {
        let mut bench = Bench::counter(0);
        let found = beside(&mut bench, step, |cell| put(cell, 5), |bench| bench.watch(READABLE));
        assert!(found == READABLE || bench.effects == ready(READABLE), "a write before {step}");
        let found = beside(&mut bench, step, |cell| put(cell, 0), |bench| bench.watch(BOTH));
        assert_eq!((found, &bench.effects), (BOTH, &ready(BOTH)), "an edge, before {step}");
    }
}

#[test]
fn no_change_is_missed_while_a_counter_is_looked_at() {
    for step in 1..20 {
        let mut bench = Bench::semaphore(0);
        let page = bench.share();
        for ticket in 1..=4 {
            bench.park_read(ticket);
        }
        put(&page, 2);
        beside(&mut bench, step, |cell| put(cell, 2), Bench::look);
        assert_eq!(bench.effects, reads(&[(1, 1), (2, 1), (3, 1), (4, 1)]), "a write before {step}");
    }
}

/// What is in the page, as far as it can be set without unsafe code; the tests of the scheme write any bytes.
fn spoil(cell: &Cell, random: &mut Xorshift) {
    let mode = if random.below(2) == 0 { Mode::Counter } else { Mode::Semaphore };
    match random.below(8) {
        0 => cell.close(),
        1 => cell.set_interest([Interest::None, Interest::Polled, Interest::Parked][random.below(3) as usize]),
        2 => cell.readable().word().store(random.next() as u32, Ordering::Relaxed),
        3 => cell.writable().word().store(random.next() as u32, Ordering::Relaxed),
        4 => cell.set_nonblocking(random.below(2) == 0),
        _ => cell.open(random.value(), mode, false),
    }
}

/// A counter that somebody spoils, and another one of which nobody has the page.
struct Spoiled {
    bench: Bench,
    page: Page,
    other: EventfdId,
    waiting: Vec<(Ticket, Parked)>,
    next: Ticket,
    answered: usize,
}

impl Spoiled {
    fn new(mode: Mode) -> Self {
        let mut bench = Bench::new(0, mode);
        let other = bench.eventfds.create(0, Mode::Counter, OWNER);
        let page = bench.share();
        bench.watch(BOTH);
        Self { bench, page, other, waiting: Vec::new(), next: 1, answered: 0 }
    }

    fn step(&mut self, random: &mut Xorshift) {
        let blocking = if random.below(3) == 0 { Blocking::Never } else { Blocking::Wait };
        match random.below(12) {
            0..4 => {
                let progress = self.bench.read(blocking, self.next);
                self.park(progress);
            }
            4..8 => {
                let progress = self.bench.write(random.value(), blocking, self.next);
                self.park(progress);
            }
            8 if !self.waiting.is_empty() => {
                let index = random.below(self.waiting.len() as u64) as usize;
                let (_, parked) = self.waiting.swap_remove(index);
                assert!(self.bench.eventfds.cancel(parked));
            }
            9 => {
                self.bench.watch(BOTH);
            }
            10 => assert_eq!(self.bench.eventfds.set_nonblocking(self.bench.id, random.below(2) == 0), Ok(())),
            _ => self.bench.look(),
        }
        self.settle();
    }

    fn park<T>(&mut self, progress: Result<Progress<T>, Error>) {
        if let Ok(Progress::Parked(parked)) = progress {
            self.waiting.push((self.next, parked));
            self.next += 1;
        }
    }

    /// Everybody is answered once at most, as what he is.
    fn settle(&mut self) {
        let effects = std::mem::take(&mut self.bench.effects);
        assert!(effects.len() <= self.waiting.len() + self.answered + 3);
        for effect in effects {
            let (ticket, wrote) = match effect {
                Effect::Read { ticket, value } => {
                    assert!(value > 0);
                    (ticket, false)
                }
                Effect::Written { ticket } => (ticket, true),
                Effect::Wake { eventfd, .. } => {
                    assert_eq!(eventfd, self.bench.id);
                    continue;
                }
                Effect::Ready { .. } => continue,
                Effect::Dropped { .. } => panic!("{effect:?}"),
            };
            let index = self.waiting.iter().position(|(waiting, _)| *waiting == ticket).expect("answered twice");
            assert_eq!(self.waiting.swap_remove(index).1.value().is_some(), wrote);
            self.answered += 1;
        }
    }

    /// Nothing of it concerns anybody else, and it can be closed as any other.
    fn end(mut self) {
        let (readers, writers) = self.bench.waiting();
        assert_eq!(readers + writers, self.waiting.len());
        let spoiled = std::mem::replace(&mut self.bench.id, self.other);
        self.bench.put(5);
        assert_eq!(self.bench.effects, []);
        assert_eq!(self.bench.take(), Ok(5));
        self.bench.id = spoiled;
        self.bench.close();
        assert_eq!(self.bench.effects.len(), self.waiting.len());
        self.page.haunt(|_| ());
    }
}

#[test]
fn whatever_is_in_a_page_concerns_nobody_else() {
    let mut answered = 0;
    for seed in 1..=60 {
        let mut spoiled = Spoiled::new(if seed % 2 == 0 { Mode::Counter } else { Mode::Semaphore });
        let mut random = Xorshift(seed * 0x9E37_79B9);
        let mut spoiler = Xorshift(seed * 0x85EB_CA6B);
        spoiled.page.haunt(move |cell| {
            if spoiler.below(3) == 0 {
                spoil(cell, &mut spoiler);
            }
        });
        for _ in 0..1000 {
            spoiled.step(&mut random);
        }
        answered += spoiled.answered;
        spoiled.end();
    }
    assert!(answered > 1000, "{answered}");
}

/// Here the count changes also between a look at it and the exchange.
#[test]
fn a_count_that_never_rests_holds_up_nobody() {
    let cell = Arc::new(Cell::default());
    let mut eventfds = Eventfds::<Ticket, Arc<Cell>>::default();
    let id = eventfds.create(0, Mode::Counter, OWNER);
    eventfds.share(id, || Ok::<_, Error>(Arc::clone(&cell))).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let spoilers = [1, 2].map(|seed| {
        let (cell, over) = (Arc::clone(&cell), Arc::clone(&over));
        thread::spawn(move || {
            let mut random = Xorshift(seed);
            while !over.load(Ordering::Relaxed) {
                spoil(&cell, &mut random);
            }
        })
    });
    let mut random = Xorshift(9);
    let mut effects = Vec::new();
    let (mut parked, mut came_back) = (0, 0);
    for ticket in 0..20_000 {
        let blocking = if ticket % 16 == 0 { Blocking::Wait } else { Blocking::Never };
        let value = random.value().to_ne_bytes();
        let waits = match ticket % 3 {
            0 => matches!(eventfds.read(id, 8, blocking, ticket, &mut effects), Ok(Progress::Parked(_))),
            1 => matches!(eventfds.write(id, &value, blocking, ticket, &mut effects), Ok(Progress::Parked(_))),
            _ => eventfds.look(id, &mut effects).is_err(),
        };
        parked += usize::from(waits);
        came_back +=
            effects.drain(..).filter(|effect| matches!(effect, Effect::Read { .. } | Effect::Written { .. })).count();
    }
    eventfds.close(id, &mut effects);
    assert_eq!(came_back + effects.len(), parked);
    over.store(true, Ordering::Relaxed);
    for spoiler in spoilers {
        spoiler.join().unwrap();
    }
}
