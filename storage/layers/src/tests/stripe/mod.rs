//! Several devices as one disk.

mod ends;
mod places;

use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

use block::{Extent, Operation, Request, Tag};

use super::kit::*;
use super::memory::{TestMemory, scattered};
use crate::Stripe;

type Logs = Vec<Rc<RefCell<Log>>>;

/// A stripe over a disk of 512-byte blocks for each of these sizes and habits, and the disks' logs.
fn stripe<'a>(
    memory: &'a TestMemory,
    chunk: u32,
    disks: &[(u64, Habits)],
) -> (Stripe<TestDisk<'a>>, Logs) {
    let disks: Vec<_> =
        disks.iter().map(|(blocks, habits)| disk(memory, 512, *blocks, habits.clone())).collect();
    let logs = disks.iter().map(|disk| disk.log.clone()).collect();
    (Stripe::new(disks, chunk).unwrap(), logs)
}

fn habits(room: usize, late: &[u64]) -> Habits {
    Habits { room, late: late.to_vec(), ..Habits::default() }
}

fn request(tag: u64, operation: Operation, first: u64, blocks: u64) -> Request {
    let length = if operation.has_data() { blocks * 512 } else { 0 };
    let data = scattered(0, length, &[]);
    Request { tag: Tag(tag), operation, extent: Extent { first, blocks }, data }
}

fn extents(log: &Rc<RefCell<Log>>) -> Vec<(u64, u64)> {
    let log = log.borrow();
    log.taken.iter().map(|request| (request.extent.first, request.extent.blocks)).collect()
}
