//! A request to a stripe while its parts are under way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use block::{DataList, Extent, Failure, Operation, Request, Tag};

use super::geometry::Geometry;
use crate::verdict::Verdict;

/// A request, of which each device has at most one part at a time.
///
/// A request with very much data has several rounds of parts, one after the other.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) request: Request,
    /// The devices that have not completed their part, one bit each.
    pub(super) parts: u32,
    /// The first block of this round.
    round: u64,
    /// Blocks of this round and of those before it.
    begun: u64,
    verdict: Verdict,
}

impl Whole {
    pub(super) const fn new(request: Request) -> Self {
        let round = request.extent.first;
        Self { request, parts: 0, round, begun: 0, verdict: Verdict::GOOD }
    }

    /// More rounds are to come.
    pub(super) const fn has_more(&self) -> bool {
        self.verdict.is_good() && self.begun < self.request.extent.blocks
    }

    pub(super) fn result(&self) -> Result<(), Failure> {
        self.verdict.result()
    }

    /// Adds the parts of a flush to what the devices are to do: one for each.
    pub(super) fn flush(&mut self, tag: Tag, waiting: &mut [VecDeque<Request>]) {
        self.begun = self.request.extent.blocks;
        let (operation, extent) = (Operation::Flush, Extent { first: 0, blocks: 0 });
        for (device, waiting) in (0..).zip(waiting) {
            self.parts |= 1 << device;
            waiting.push_back(Request { tag, operation, extent, data: DataList::new() });
        }
    }

    /// Adds the parts of the next round to what the devices are to do.
    pub(super) fn begin(
        &mut self,
        geometry: &Geometry,
        tag: Tag,
        waiting: &mut [VecDeque<Request>],
    ) {
        let Request { operation, extent, data, .. } = &self.request;
        let mut rest =
            Extent { first: extent.first + self.begun, blocks: extent.blocks - self.begun };
        let mut lists = Vec::new();
        if operation.has_data() {
            let offset = self.begun * u64::from(geometry.block_bytes);
            (rest.blocks, lists) = geometry.deal(rest, data, offset);
        }
        let mut lists = lists.into_iter();
        for (device, waiting) in (0..).zip(waiting) {
            let extent = geometry.part(rest, device);
            let data = lists.next().unwrap_or_default();
            if extent.blocks > 0 {
                self.parts |= 1 << device;
                waiting.push_back(Request { tag, operation: *operation, extent, data });
            }
        }
        self.round = rest.first;
        self.begun += rest.blocks;
        if rest.blocks == 0 {
            self.fail(Failure::Length);
        }
    }

    /// A device has failed to do its part. Answers whether the parts that wait are still needed.
    pub(super) fn part_failed(
        &mut self,
        geometry: &Geometry,
        device: u32,
        failure: Failure,
    ) -> bool {
        let Failure::Miscompare { offset } = failure else {
            self.fail(failure);
            return false;
        };
        let first = self.request.extent.first;
        let offset = offset.and_then(|offset| geometry.offset(first, self.round, device, offset));
        // A device may tell an offset that is not in its part.
        let offset = offset.filter(|offset| *offset < self.request.data.length());
        self.fail(Failure::Miscompare { offset });
        // Another part may differ earlier.
        true
    }

    /// No more rounds begin.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.verdict.fail(failure);
    }
}
