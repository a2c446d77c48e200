//! A device compared with plain memory.

use std::vec;
use std::vec::Vec;

use block::{BlockDevice, DataMemory, Extent, Failure, Operation, Request, Tag};
use device_model::Instant;
use proptest::collection::vec as many;
use proptest::prelude::*;

use super::kit::{WRITE, ZEROES, carry_out};
use super::memory::{ROOM, TestMemory, scattered};

/// The most requests at once; each has its share of the requesters' memory.
const MOST: usize = 4;
const SHARE: u64 = ROOM / MOST as u64;

/// A request to be made.
#[derive(Clone, Debug)]
pub(super) struct Step {
    operation: Operation,
    first: u64,
    blocks: u64,
    /// The data's lowest bits, so that different writes write different bytes.
    seed: u8,
    /// Lengths of the ranges.
    pieces: Vec<u64>,
    /// Byte that is spoilt before a compare, if it is in the data.
    spoilt: u64,
}

/// Requests, several at once, to a disk of `blocks` blocks of `block_bytes` bytes.
pub(super) fn batches(block_bytes: u32, blocks: u64) -> impl Strategy<Value = Vec<Vec<Step>>> {
    let most = SHARE / u64::from(block_bytes);
    let operation = prop_oneof![
        4 => Just(WRITE),
        3 => Just(Operation::Read),
        2 => Just(Operation::Compare),
        1 => Just(ZEROES),
        1 => Just(Operation::Deallocate),
        1 => Just(Operation::Verify),
        1 => Just(Operation::Flush),
    ];
    let first = prop_oneof![20 => 0..blocks + 2, 1 => Just(u64::MAX)];
    let step = (operation, first, 0..=most, any::<u8>(), many(0..1500_u64, 0..6), 0..2 * SHARE);
    let step = step.prop_map(|(operation, first, blocks, seed, pieces, spoilt)| {
        let (first, blocks) = if operation == Operation::Flush { (0, 0) } else { (first, blocks) };
        Step { operation, first, blocks, seed, pieces, spoilt }
    });
    many(many(step, 1..=MOST), 1..8)
}

/// The disk as it should be.
pub(super) struct Model<'a> {
    memory: &'a TestMemory,
    pub(super) bytes: Vec<u8>,
    block_bytes: u64,
    /// The blocks that a deallocation leaves as zeroes; else as they were.
    pub(super) zeroes: bool,
    now: Instant,
}

impl<'a> Model<'a> {
    /// A disk of zeroes as large as this one.
    pub(super) fn of(device: &impl BlockDevice, memory: &'a TestMemory) -> Self {
        let properties = device.properties();
        let block_bytes = u64::from(properties.block_bytes);
        let bytes = vec![0; (properties.blocks * block_bytes) as usize];
        Self { memory, bytes, block_bytes, zeroes: true, now: Instant::START }
    }

    /// Carries out the batches on the device, and compares results and data with the model's.
    pub(super) fn check(&mut self, device: &mut impl BlockDevice, batches: Vec<Vec<Step>>) {
        for batch in batches {
            self.batch(device, apart(batch));
        }
        let all = self.bytes.clone();
        for (first, bytes) in (0..).step_by(8).zip(all.chunks(8 * self.block_bytes as usize)) {
            let data = scattered(0, bytes.len() as u64, &[]);
            let blocks = bytes.len() as u64 / self.block_bytes;
            let result = super::kit::one(device, Operation::Read, (first, blocks), data);
            assert_eq!(result, Ok(()));
            assert!(self.memory.peek(0, bytes.len()) == bytes, "blocks from {first} on differ");
        }
    }

    fn batch(&mut self, device: &mut impl BlockDevice, batch: Vec<Step>) {
        let (mut requests, mut wanted, mut read) = (vec![], vec![], vec![]);
        for (tag, step) in (0..).zip(batch) {
            let place = tag * SHARE;
            let length = if step.operation.has_data() { step.blocks * self.block_bytes } else { 0 };
            let data = scattered(place, length, &step.pieces);
            let mut bytes: Vec<u8> = (0..length).map(|at| step.byte(at)).collect();
            let there = self.part(&step).map(|part| part.to_vec());
            if step.operation == Operation::Compare
                && let Some(there) = there
            {
                bytes = there;
                if let Some(byte) = bytes.get_mut(step.spoilt as usize) {
                    *byte ^= 0x40;
                }
            }
            self.memory.write_list(&data, 0, &bytes);
            let extent = Extent { first: step.first, blocks: step.blocks };
            requests.push(Request { tag: Tag(tag), operation: step.operation, extent, data });
            let result = self.result(&step, &mut bytes);
            wanted.push(result);
            read.push((place, bytes));
        }
        let mut now = self.now;
        let done = carry_out(device, &mut now, requests.clone());
        self.now = now;
        for ((completion, wanted), request) in done.iter().zip(wanted).zip(requests) {
            assert_eq!(completion.result, wanted, "{request:?}");
        }
        for (place, bytes) in read {
            assert!(self.memory.peek(place, bytes.len()) == bytes, "data at {place} differ");
        }
    }

    /// The bytes that the step concerns, if they are on the disk.
    fn part(&mut self, step: &Step) -> Option<&mut [u8]> {
        let start = step.first.checked_mul(self.block_bytes)?;
        let end = start.checked_add(step.blocks * self.block_bytes)?;
        self.bytes.get_mut(start as usize..end as usize)
    }

    /// Carries the step out, of which the requester has these bytes.
    fn result(&mut self, step: &Step, bytes: &mut [u8]) -> Result<(), Failure> {
        let zeroes = self.zeroes;
        let part = self.part(step).ok_or(Failure::OutOfRange)?;
        match step.operation {
            Operation::Read => bytes.copy_from_slice(part),
            Operation::Write { .. } => part.copy_from_slice(bytes),
            Operation::Compare if step.spoilt < bytes.len() as u64 => {
                return Err(Failure::Miscompare { offset: Some(step.spoilt) });
            }
            Operation::WriteZeroes { .. } => part.fill(0),
            Operation::Deallocate if zeroes => part.fill(0),
            _ => {}
        }
        Ok(())
    }
}

impl Step {
    /// The byte of its data at `at`.
    fn byte(&self, at: u64) -> u8 {
        (at / 64 * 7 + at) as u8 ^ self.seed
    }
}

/// The steps that have no block in common with an earlier one: the others' results would depend on
/// an order that no device promises.
fn apart(batch: Vec<Step>) -> Vec<Step> {
    let mut kept: Vec<Step> = vec![];
    for step in batch {
        let end = |step: &Step| step.first.saturating_add(step.blocks);
        if kept.iter().all(|other| end(other) <= step.first || end(&step) <= other.first) {
            kept.push(step);
        }
    }
    kept
}
