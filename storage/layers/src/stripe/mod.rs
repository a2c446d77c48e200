//! Several devices as one disk, chunk by chunk.
//!
//! A request becomes one part for each device that has some of its blocks: chunks that follow one
//! another on a device are one piece there. The request completes when all parts have, so that its
//! memory is free (rule 3). A part for which its device has no room waits here, and the other parts
//! do not wait for it.

mod geometry;
mod whole;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use block::{BlockDevice, Completion, Event, Failure, Operation, Properties, Request, Tag};
use device_model::Instant;

use crate::answers::Answers;
use geometry::Geometry;
use whole::Whole;

/// The most requests under way. Each has at most one part for each device.
const MOST_REQUESTS: usize = 256;

/// Why devices do not make a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripeError {
    /// There must be 1 to [`Stripe::MOST_DEVICES`] devices.
    Devices,
    /// A chunk must have a power of two of blocks.
    Chunk,
    /// The devices' blocks are not all of one size.
    BlockBytes,
}

/// Devices that share the blocks of one disk.
#[derive(Debug)]
pub struct Stripe<D> {
    geometry: Geometry,
    devices: Vec<D>,
    /// Parts for which each device has had no room yet, the oldest first.
    waiting: Vec<VecDeque<Request>>,
    /// By the tag that the parts have.
    wholes: BTreeMap<Tag, Whole>,
    next: u64,
    answers: Answers,
    gone: bool,
}

impl<D: BlockDevice> Stripe<D> {
    /// The most devices.
    pub const MOST_DEVICES: usize = 32;

    /// A disk over these devices, in this order. What the smallest one has, each one gives.
    pub fn new(devices: Vec<D>, chunk_blocks: u32) -> Result<Self, StripeError> {
        if devices.len() > Self::MOST_DEVICES {
            return Err(StripeError::Devices);
        }
        let block_bytes = devices.first().ok_or(StripeError::Devices)?.properties().block_bytes;
        if devices.iter().any(|device| device.properties().block_bytes != block_bytes) {
            return Err(StripeError::BlockBytes);
        }
        if !chunk_blocks.is_power_of_two() {
            return Err(StripeError::Chunk);
        }
        let geometry = Geometry { devices: devices.len() as u32, chunk: chunk_blocks, block_bytes };
        let waiting = devices.iter().map(|_| VecDeque::new()).collect();
        let (wholes, answers) = (BTreeMap::new(), Answers::default());
        Ok(Self { geometry, devices, waiting, wholes, next: 0, answers, gone: false })
    }

    /// Goes on with a request of which no part is under way: with its next round or its end.
    fn go_on(&mut self, tag: Tag) {
        let Some(whole) = self.wholes.get_mut(&tag) else { return };
        if whole.parts == 0 && whole.has_more() {
            whole.begin(&self.geometry, tag, &mut self.waiting);
        }
        if whole.parts == 0 {
            self.answers.push(Completion { tag: whole.request.tag, result: whole.result() });
            self.wholes.remove(&tag);
        }
    }

    /// Gives the parts of a request up that wait. Answers whether there were any.
    fn forget(&mut self, tag: Tag) -> bool {
        let Some(whole) = self.wholes.get_mut(&tag) else { return false };
        let before = whole.parts;
        for (device, waiting) in self.waiting.iter_mut().enumerate() {
            if let Some(at) = waiting.iter().position(|part| part.tag == tag) {
                waiting.remove(at);
                whole.parts &= !(1 << device);
            }
        }
        whole.parts != before
    }

    /// Hands parts to the devices that have room. Answers whether one took any.
    fn send(&mut self, now: Instant) -> bool {
        let mut any = false;
        for (device, waiting) in self.devices.iter_mut().zip(&mut self.waiting) {
            while let Some(part) = waiting.pop_front() {
                if let Err(part) = device.submit(now, part) {
                    waiting.push_front(part);
                    break;
                }
                any = true;
            }
        }
        any
    }

    /// Takes the devices' completions. Answers whether there were any.
    fn collect(&mut self, now: Instant) -> bool {
        let mut any = false;
        for device in 0..self.devices.len() {
            while let Some(done) = self.devices[device].poll(now) {
                self.part_done(device as u32, &done);
                any = true;
            }
        }
        any
    }

    fn part_done(&mut self, device: u32, done: &Completion) {
        let tag = done.tag;
        let Some(whole) = self.wholes.get_mut(&tag) else { return };
        whole.parts &= !(1 << device);
        if let Err(failure) = done.result
            && !whole.part_failed(&self.geometry, device, failure)
        {
            self.forget(tag);
        }
        self.go_on(tag);
    }
}

impl<D: BlockDevice> BlockDevice for Stripe<D> {
    fn properties(&self) -> Properties {
        let all = || self.devices.iter().map(BlockDevice::properties);
        let least = |of: fn(Properties) -> u64| all().map(of).min().unwrap_or(0);
        let optimal = all().map(|disk| disk.optimal_blocks).max().unwrap_or(1);
        let most = least(|disk| disk.most_blocks.into()) * u64::from(self.geometry.devices);
        Properties {
            block_bytes: self.geometry.block_bytes,
            blocks: self.geometry.blocks(least(|disk| disk.blocks)),
            optimal_blocks: optimal.min(self.geometry.chunk),
            most_blocks: u32::try_from(most).unwrap_or(u32::MAX),
            read_only: all().any(|disk| disk.read_only),
            volatile_cache: all().any(|disk| disk.volatile_cache),
            deallocates: all().any(|disk| disk.deallocates),
            deallocated_read_zero: all().all(|disk| disk.deallocated_read_zero),
        }
    }

    fn submit(&mut self, now: Instant, request: Request) -> Result<(), Request> {
        if self.gone {
            return self.answers.refuse(request, Failure::Gone);
        }
        if let Some(failure) = request.refused(&self.properties()) {
            return self.answers.refuse(request, failure);
        }
        if self.wholes.len() + self.answers.len() >= MOST_REQUESTS {
            return Err(request);
        }
        let tag = Tag(self.next);
        self.next = self.next.wrapping_add(1);
        let mut whole = Whole::new(request);
        if whole.request.operation == Operation::Flush {
            whole.flush(tag, &mut self.waiting);
        }
        self.wholes.insert(tag, whole);
        self.go_on(tag);
        self.send(now);
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Option<Completion> {
        loop {
            if let Some(done) = self.answers.take() {
                return Some(done);
            }
            // A device that took a part must be asked afterwards.
            if !(self.collect(now) | self.send(now)) {
                return None;
            }
        }
    }

    fn cancel(&mut self, now: Instant, tag: Tag) {
        let found = self.wholes.iter().find(|(_, whole)| whole.request.tag == tag);
        let Some(tag) = found.map(|(tag, _)| *tag) else { return };
        let forgot = self.forget(tag);
        let Some(whole) = self.wholes.get_mut(&tag) else { return };
        if forgot || whole.has_more() {
            whole.fail(Failure::Cancelled);
        }
        for (number, device) in self.devices.iter_mut().enumerate() {
            if whole.parts & 1 << number != 0 {
                device.cancel(now, tag);
            }
        }
        self.go_on(tag);
    }

    fn deadline(&self) -> Option<Instant> {
        self.answers.deadline(self.devices.iter().filter_map(BlockDevice::deadline).min())
    }

    fn event(&mut self) -> Option<Event> {
        let (mut changed, was_gone) = (false, self.gone);
        for device in &mut self.devices {
            while let Some(event) = device.event() {
                changed |= event == Event::Changed;
                self.gone |= event == Event::Gone;
            }
        }
        if self.gone && !was_gone {
            return Some(Event::Gone);
        }
        changed.then_some(Event::Changed)
    }
}
