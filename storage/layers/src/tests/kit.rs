//! A device that keeps the contract in the least convenient way, with its caller.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

use block::{BlockDevice, Completion, Event, Extent, Failure, Operation, Properties, Request, Tag};
use device_model::Instant;

use crate::{Content, RamDisk};

use super::memory::TestMemory;

/// A disk of the tests.
pub(super) type TestDisk<'a> = Wayward<RamDisk<&'a TestMemory>>;

/// What a [`Wayward`] device does to its user. As it stands, nothing.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// The most requests that it takes at once.
    pub(super) room: usize,
    /// After how many nanoseconds requests complete, one after the other, and again from the start.
    pub(super) late: Vec<u64>,
    /// Which requests fail, counted from 0, after they have written.
    pub(super) fails: BTreeMap<usize, Failure>,
    /// It does not give requests up.
    pub(super) stubborn: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { room: 64, late: Vec::new(), fails: BTreeMap::new(), stubborn: false }
    }
}

/// What a device was asked for.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The requests that it took.
    pub(super) taken: Vec<Request>,
    /// The tags that were cancelled.
    pub(super) cancelled: Vec<Tag>,
    /// Events that it still has to tell.
    pub(super) events: Vec<Event>,
    /// Properties other than those of the disk within.
    pub(super) properties: Option<Properties>,
    /// The most requests that were under way at once.
    pub(super) deepest: usize,
}

impl Log {
    /// What it was asked to do, with which blocks.
    pub(super) fn asked(&self) -> Vec<(Operation, Extent)> {
        self.taken.iter().map(|request| (request.operation, request.extent)).collect()
    }
}

struct Held {
    due: Instant,
    request: Request,
    result: Option<Failure>,
}

/// A device that completes late, out of order, or with failures, and has little room.
///
/// It touches the data of a request only when the request is due, and insists that its user keeps
/// the rules: requests that the disk can carry out, tags that are not in use.
pub(super) struct Wayward<D> {
    device: D,
    habits: Habits,
    held: Vec<Held>,
    pub(super) log: Rc<RefCell<Log>>,
}

impl<D> Wayward<D> {
    pub(super) fn new(device: D, habits: Habits) -> Self {
        Self { device, habits, held: Vec::new(), log: Rc::default() }
    }
}

impl<D: BlockDevice> BlockDevice for Wayward<D> {
    fn properties(&self) -> Properties {
        self.log.borrow().properties.unwrap_or(self.device.properties())
    }

    fn submit(&mut self, now: Instant, request: Request) -> Result<(), Request> {
        if self.held.len() >= self.habits.room {
            return Err(request);
        }
        assert!(self.held.iter().all(|held| held.request.tag != request.tag), "tag in use");
        assert_eq!(request.refused(&self.properties()), None, "{request:?}");
        let mut log = self.log.borrow_mut();
        let count = log.taken.len();
        log.taken.push(request.clone());
        let late = self.habits.late.get(count % self.habits.late.len().max(1));
        let due = now.saturating_add(late.copied().unwrap_or(0));
        let result = self.habits.fails.get(&count).copied();
        self.held.push(Held { due, request, result });
        log.deepest = log.deepest.max(self.held.len());
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Option<Completion> {
        let first = self.held.iter().map(|held| held.due).min().filter(|due| *due <= now)?;
        // The last of those: out of order even without delays.
        let at = self.held.iter().rposition(|held| held.due == first)?;
        let Held { request, result, .. } = self.held.remove(at);
        let tag = request.tag;
        if result == Some(Failure::Cancelled) {
            return Some(Completion { tag, result: Err(Failure::Cancelled) });
        }
        self.device.submit(now, request).expect("one request has room");
        let done = loop {
            if let Some(done) = self.device.poll(now) {
                break done;
            }
        };
        Some(Completion { tag, result: result.map_or(done.result, Err) })
    }

    fn cancel(&mut self, _: Instant, tag: Tag) {
        self.log.borrow_mut().cancelled.push(tag);
        let held = self.held.iter_mut().find(|held| held.request.tag == tag);
        if let Some(held) = held.filter(|_| !self.habits.stubborn) {
            held.result = Some(Failure::Cancelled);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.due).min()
    }

    fn event(&mut self) -> Option<Event> {
        self.log.borrow_mut().events.pop()
    }
}

/// A disk of zeroes with these habits.
pub(super) fn disk(
    memory: &TestMemory,
    block_bytes: u32,
    blocks: u64,
    habits: Habits,
) -> TestDisk<'_> {
    Wayward::new(RamDisk::new(Content::new(block_bytes, blocks).unwrap(), memory), habits)
}

/// Carries requests out, all at once as far as there is room, and answers the completions in the
/// order of their tags. Time passes from deadline to deadline only, from `now` on.
pub(super) fn carry_out(
    device: &mut impl BlockDevice,
    now: &mut Instant,
    requests: Vec<Request>,
) -> Vec<Completion> {
    let wanted = requests.len();
    let mut waiting = requests;
    waiting.reverse();
    let mut done = Vec::new();
    while done.len() < wanted {
        while let Some(request) = waiting.pop() {
            if let Err(request) = device.submit(*now, request) {
                waiting.push(request);
                break;
            }
        }
        finish(device, now, &mut done);
    }
    assert_eq!(device.poll(*now), None);
    assert_eq!(device.deadline(), None, "nothing is left to do");
    done.sort_by_key(|completion| completion.tag);
    assert!(done.is_sorted_by(|one, next| one.tag < next.tag), "a tag completed twice");
    done
}

/// Asks for completions until there is none, and then lets the time pass to the deadline.
pub(super) fn finish(device: &mut impl BlockDevice, now: &mut Instant, done: &mut Vec<Completion>) {
    while let Some(completion) = device.poll(*now) {
        done.push(completion);
    }
    if let Some(deadline) = device.deadline() {
        *now = deadline.max(*now);
    }
}

/// Carries one request out.
pub(super) fn one(
    device: &mut impl BlockDevice,
    operation: Operation,
    (first, blocks): (u64, u64),
    data: block::DataList,
) -> Result<(), Failure> {
    let extent = Extent { first, blocks };
    let request = Request { tag: Tag(77), operation, extent, data };
    let done = carry_out(device, &mut Instant::START.clone(), [request].into());
    done[0].result
}

pub(super) const WRITE: Operation = Operation::Write { force_unit_access: false };
pub(super) const ZEROES: Operation =
    Operation::WriteZeroes { deallocate: false, force_unit_access: true };
