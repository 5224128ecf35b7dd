//! signalfd, with a router of the test's own: what is pending is what the test says.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use eventd::router::Router;
use eventd::router::protocol::{ENDED, PendingSets, SI_QUEUE, SignalRecord, signal_bit};
use eventd_shim::{READINESS, SET_MASK};
use scheme_host::{Client, Descriptor, Pending};
use syscall::error::{EAGAIN, EINTR, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, ESRCH, Error, Result};
use syscall::flag::{EventFlags, O_NONBLOCK, O_RDWR};

use super::world::{World, errno_of};

const RECORD: usize = 128;
const READABLE: EventFlags = EventFlags::EVENT_READ;

/// The processes of a test and their pending signals.
#[derive(Debug, Default)]
struct Processes {
    pending: BTreeMap<usize, VecDeque<SignalRecord>>,
    /// Of the thread that waits for any request of the process.
    of_thread: BTreeMap<usize, VecDeque<SignalRecord>>,
    watched: BTreeMap<usize, u64>,
    /// Who made the requests that are waiting, by tag: the router of the kernel knows.
    callers: BTreeMap<u32, usize>,
    gone: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Toy(Rc<RefCell<Processes>>);

fn set_of(queue: Option<&VecDeque<SignalRecord>>, mask: u64) -> u64 {
    queue.into_iter().flatten().fold(0, |set, record| set | signal_bit(record.signo)) & mask
}

/// Lowest number first, in the order of sending for each.
fn take(queue: Option<&mut VecDeque<SignalRecord>>, mask: u64, room: usize, records: &mut Vec<SignalRecord>) {
    let Some(queue) = queue else { return };
    for _ in 0..room {
        let wanted = queue.iter().enumerate().filter(|(_, record)| signal_bit(record.signo) & mask != 0);
        let Some((index, _)) = wanted.min_by_key(|(index, record)| (record.signo, *index)) else { return };
        records.extend(queue.remove(index));
    }
}

impl Router for Toy {
    fn watch(&mut self, pid: usize, mask: u64) -> Result<PendingSets> {
        self.0.borrow_mut().watched.insert(pid, mask);
        self.peek(pid, mask)
    }

    fn peek(&mut self, pid: usize, mask: u64) -> Result<PendingSets> {
        let processes = self.0.borrow();
        if processes.gone.contains(&pid) {
            return Err(Error::new(ESRCH));
        }
        Ok(PendingSets {
            process: set_of(processes.pending.get(&pid), mask),
            threads: set_of(processes.of_thread.get(&pid), mask),
        })
    }

    fn claim(&mut self, pid: usize, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()> {
        take(self.0.borrow_mut().pending.get_mut(&pid), mask, room, records);
        Ok(())
    }

    fn claim_of_thread(&mut self, tag: u32, mask: u64, room: usize, records: &mut Vec<SignalRecord>) -> Result<()> {
        let mut processes = self.0.borrow_mut();
        let pid = *processes.callers.get(&tag).ok_or(Error::new(ENOENT))?;
        take(processes.of_thread.get_mut(&pid), mask, room, records);
        Ok(())
    }

    fn peek_of_thread(&mut self, tag: u32, mask: u64) -> Result<u64> {
        let processes = self.0.borrow();
        let pid = processes.callers.get(&tag).ok_or(Error::new(ENOENT))?;
        Ok(set_of(processes.of_thread.get(pid), mask))
    }
}

/// A daemon with a router, and the way by which its news come.
struct Signals {
    world: World,
    toy: Toy,
    news: usize,
}

impl Signals {
    fn new() -> Self {
        let toy = Toy::default();
        let (world, news) = World::with_router(Box::new(toy.clone()));
        Self { world, toy, news }
    }

    fn open(&mut self, client: &mut Client, mask: u64, flags: usize) -> Descriptor {
        self.world.open(client, &format!("signalfd/{mask:016X}"), O_RDWR | flags).unwrap()
    }

    /// A signal without news, as if it had been there before.
    fn pend(&mut self, pid: usize, signo: u32, value: u64) {
        let record = SignalRecord { signo, code: SI_QUEUE, pid: 9, uid: 1000, value, ..SignalRecord::default() };
        self.toy.0.borrow_mut().pending.entry(pid).or_default().push_back(record);
    }

    fn tell(&mut self, words: &[u64]) {
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        self.world.tell(self.news, &bytes);
    }

    fn send(&mut self, pid: usize, signo: u32, value: u64) {
        self.pend(pid, signo, value);
        let watched = self.toy.0.borrow().watched.get(&pid).copied().unwrap_or(0);
        if watched & signal_bit(signo) != 0 {
            self.tell(&[pid as u64]);
        }
    }

    fn watched(&self, pid: usize) -> u64 {
        self.toy.0.borrow().watched.get(&pid).copied().unwrap_or(0)
    }

    fn read(
        &mut self,
        client: &Client,
        descriptor: Descriptor,
        room: usize,
    ) -> std::result::Result<Vec<(u32, u64)>, i32> {
        let pending = client.start_read(descriptor, room).unwrap();
        let outcome = self.world.outcome(pending);
        outcome.result().map_err(|error| error.errno)?;
        Ok(records(&outcome.bytes().unwrap()))
    }

    fn park(&mut self, client: &Client, descriptor: Descriptor) -> Pending {
        let pending = client.start_read(descriptor, RECORD).unwrap();
        self.world.park(pending)
    }
}

/// Number and value of each record.
fn records(bytes: &[u8]) -> Vec<(u32, u64)> {
    assert!(bytes.len().is_multiple_of(RECORD), "{}", bytes.len());
    let record = |bytes: &[u8]| {
        let signo = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
        (signo, u64::from_ne_bytes(bytes[48..56].try_into().unwrap()))
    };
    bytes.chunks(RECORD).map(record).collect()
}

fn got(pending: &Pending) -> Vec<(u32, u64)> {
    records(&pending.poll().expect("no answer").bytes().unwrap())
}

#[test]
fn without_a_router_there_is_no_signalfd() {
    let mut world = World::new();
    let mut client = world.process();
    assert_eq!(world.open(&mut client, "signalfd/0000000000000001", O_RDWR), Err(ENOSYS));
    assert_eq!(world.open(&mut client, "signalfd/1", O_RDWR), Err(ENOENT));
    assert_eq!(world.number("signalfd_live"), 0);
    world.assert_serves();
}

#[test]
fn what_is_pending_is_read_80_81_82_84_95_96() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10) | signal_bit(40), O_NONBLOCK);
    assert_eq!(signals.read(&client, descriptor, RECORD), Err(EAGAIN));
    for (signo, value) in [(40, 1), (12, 2), (40, 3), (10, 4)] {
        signals.send(pid, signo, value);
    }
    assert_eq!(signals.read(&client, descriptor, RECORD - 1), Err(EINVAL));
    assert_eq!(signals.read(&client, descriptor, 2 * RECORD + 100), Ok(vec![(10, 4), (40, 1)]));
    assert_eq!(signals.read(&client, descriptor, 9 * RECORD), Ok(vec![(40, 3)]));
    assert_eq!(signals.read(&client, descriptor, RECORD), Err(EAGAIN), "12 is not in the mask");
}

#[test]
fn a_read_waits_for_news_84_111() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10), 0);
    let reads = [signals.park(&client, descriptor), signals.park(&client, descriptor)];
    signals.send(pid, 12, 0);
    assert!(reads.iter().all(|read| read.poll().is_none()));
    signals.send(pid, 10, 5);
    assert_eq!(got(&reads[0]), [(10, 5)], "the first in the queue");
    assert!(reads[1].poll().is_none());
    // A hint that leads to nothing: the process took the signal itself.
    signals.tell(&[pid as u64]);
    assert!(reads[1].poll().is_none());
    assert_eq!(signals.world.number("signals_lost"), 2);
    signals.send(pid, 10, 6);
    assert_eq!(got(&reads[1]), [(10, 6)]);
}

#[test]
fn everybody_reads_own_signals_93_100() {
    let mut signals = Signals::new();
    let mut parent = signals.world.process();
    let descriptor = signals.open(&mut parent, signal_bit(10), 0);
    let child = parent.fork(parent.pid() + 50);
    let (ours, theirs) = (signals.park(&parent, descriptor), signals.park(&child, descriptor));
    signals.send(child.pid(), 10, 7);
    assert!(ours.poll().is_none());
    assert_eq!(got(&theirs), [(10, 7)]);
    signals.send(parent.pid(), 10, 8);
    assert_eq!(got(&ours), [(10, 8)]);
}

#[test]
fn a_thread_s_own_signals_come_first_94_98() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10) | signal_bit(12), 0);
    signals.pend(pid, 10, 1);
    let own = SignalRecord { signo: 12, code: SI_QUEUE, value: 2, ..SignalRecord::default() };
    signals.toy.0.borrow_mut().of_thread.entry(pid).or_default().push_back(own);
    let request = client.start_read(descriptor, 4 * RECORD).unwrap();
    signals.toy.0.borrow_mut().callers.insert(request.tag(), pid);
    signals.world.settle();
    assert_eq!(got(&request), [(12, 2), (10, 1)]);
}

#[test]
fn a_new_mask_wakes_and_is_the_mask_of_all_70_72_73() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10), 0);
    let copy = client.dup(descriptor).unwrap();
    let read = signals.park(&client, descriptor);
    signals.send(pid, 12, 3);
    assert!(read.poll().is_none());
    let update = client.start_call(copy, &[], [SET_MASK, signal_bit(12) | signal_bit(9), 0]).unwrap();
    assert_eq!(signals.world.result(update), Ok(0));
    assert_eq!(got(&read), [(12, 3)]);
    assert_eq!(signals.watched(pid), signal_bit(12), "SIGKILL is dropped");
    let unknown = client.start_call(copy, &[], [1, 2, 3]).unwrap();
    assert_eq!(signals.world.result(unknown), Err(EOPNOTSUPP));
}

#[test]
fn pollers_hear_of_arrivals_and_of_what_is_left_109_110_111() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10) | signal_bit(12), 0);
    let both = READABLE | EventFlags::EVENT_WRITE;
    assert_eq!(signals.world.watch(&client, descriptor, both), EventFlags::empty());
    signals.send(pid, 10, 1);
    assert_eq!(client.next_event(), Some((Some(descriptor), READABLE)));
    signals.send(pid, 12, 2);
    assert_eq!(client.next_event(), Some((Some(descriptor), READABLE)));
    assert_eq!(signals.world.watch(&client, descriptor, both), READABLE);
    assert_eq!(signals.read(&client, descriptor, RECORD), Ok(vec![(10, 1)]));
    assert_eq!(client.next_event(), Some((Some(descriptor), READABLE)), "one is left");
    assert_eq!(signals.read(&client, descriptor, RECORD), Ok(vec![(12, 2)]));
    assert_eq!(client.next_event(), None);
}

#[test]
fn a_signal_of_another_thread_or_process_is_no_readiness_98_103() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10) | signal_bit(12), 0);
    let ready = |signals: &mut Signals| {
        let request = client.start_call(descriptor, &[], [READINESS, 0, 0]).unwrap();
        signals.world.result(request)
    };
    let (none, readable) = (Ok(0), Ok(READABLE.bits()));
    signals.send(pid + 1, 10, 1);
    signals
        .toy
        .0
        .borrow_mut()
        .of_thread
        .entry(pid)
        .or_default()
        .push_back(SignalRecord { signo: 12, ..SignalRecord::default() });
    assert_eq!(ready(&mut signals), none);
    signals.send(pid, 11, 3);
    assert_eq!(ready(&mut signals), none);
    signals.send(pid, 10, 4);
    assert_eq!(ready(&mut signals), readable);
    assert_eq!(ready(&mut signals), readable, "asking takes nothing");
}

#[test]
fn an_interrupted_read_takes_nothing_89() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let descriptor = signals.open(&mut client, signal_bit(10), 0);
    let read = signals.park(&client, descriptor);
    read.interrupt();
    signals.world.settle();
    assert_eq!(errno_of(&read), Some(EINTR));
    signals.send(pid, 10, 1);
    assert_eq!(signals.read(&client, descriptor, RECORD), Ok(vec![(10, 1)]));
}

#[test]
fn nothing_is_watched_for_nobody() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let pid = client.pid();
    let first = signals.open(&mut client, signal_bit(10), 0);
    assert_eq!(signals.watched(pid), signal_bit(10), "before the first read: what comes by then must be kept");
    let second = signals.open(&mut client, signal_bit(12), 0);
    assert_eq!(signals.watched(pid), signal_bit(10) | signal_bit(12));
    signals.world.close(&mut client, first);
    assert_eq!(signals.watched(pid), signal_bit(12));
    signals.world.close(&mut client, second);
    assert_eq!(signals.watched(pid), 0);
    assert_eq!((signals.world.number("signalfd_live"), signals.world.number("signalfd_processes")), (0, 0));
}

#[test]
fn a_process_that_ended_leaves_nothing_and_swallows_nothing() {
    let mut signals = Signals::new();
    let mut parent = signals.world.process();
    let descriptor = signals.open(&mut parent, signal_bit(10), 0);
    let child = parent.fork(parent.pid() + 50);
    let dead = signals.park(&child, descriptor);
    dead.abandon();
    signals.toy.0.borrow_mut().gone.push(child.pid());
    signals.tell(&[child.pid() as u64 | ENDED, 12345 | ENDED, 777]);
    assert_eq!(signals.world.waiting(), 0);
    assert_eq!(signals.world.number("signalfd_processes"), 1);
    let read = signals.park(&parent, descriptor);
    signals.send(parent.pid(), 10, 4);
    assert_eq!(got(&read), [(10, 4)]);
}

#[test]
fn a_signalfd_is_not_written_to_75_and_has_no_positions_76() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let descriptor = signals.open(&mut client, 1, 0);
    let write = client.start_write(descriptor, &[0; 8]).unwrap();
    assert_eq!(signals.world.result(write), Err(EINVAL));
    assert_eq!(signals.world.path(&client, descriptor, 100), "/scheme/eventd/signalfd/0000000000000001");
}

#[test]
fn the_list_shows_masks_by_names_78() {
    let mut signals = Signals::new();
    let mut client = signals.world.process();
    let _first = signals.open(&mut client, 0x6_0001_2A00, 0);
    let descriptor = signals.open(&mut client, 0, 0);
    let _read = signals.park(&client, descriptor);
    let list = signals.world.text(&mut client, "list/signalfd");
    let rows = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect::<Vec<_>>();
    assert_eq!((rows[0][1], rows[0][7]), ("0000000600012a00", "USR1,USR2,ALRM,CHLD,34,35"));
    assert_eq!((rows[1][1], rows[1][5], rows[1][7]), ("0000000000000000", "1", "-"));
    assert!(signals.world.text(&mut client, "list/waiters").contains(" signalfd:1 "));
    let mut other = signals.world.process_of(4242);
    assert_eq!(signals.world.text(&mut other, "list/signalfd").lines().count(), 1);
}
