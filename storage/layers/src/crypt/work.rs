//! A request to an encrypted disk, piece by piece.

use block::{Extent, Operation, PoolRange, Request, Tag};

use super::pool::SLOT;
use crate::verdict::Verdict;

/// A request that is not complete.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) request: Request,
    pub(super) verdict: Verdict,
    /// Blocks of the pieces that the device has taken.
    begun: u64,
    /// Pieces that the device has not completed.
    pub(super) under_way: usize,
    /// A flush has one piece, without blocks.
    flush: bool,
}

/// A part of a request that has its own request to the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The request's tag here.
    pub(super) work: Tag,
    pub(super) extent: Extent,
    /// In bytes, in the request's data.
    pub(super) offset: u64,
    /// Where the encrypted data lie, if there are any.
    pub(super) slot: Option<PoolRange>,
}

impl Work {
    pub(super) fn new(request: Request) -> Self {
        let flush = request.operation == Operation::Flush;
        Self { request, verdict: Verdict::GOOD, begun: 0, under_way: 0, flush }
    }

    /// Pieces are left to be begun.
    pub(super) const fn has_more(&self) -> bool {
        self.verdict.is_good() && (self.flush || self.begun < self.request.extent.blocks)
    }

    pub(super) const fn is_done(&self) -> bool {
        self.under_way == 0 && !self.has_more()
    }

    /// Its pieces carry data, which need a slot each.
    pub(super) const fn needs_slots(&self) -> bool {
        self.request.operation.has_data()
            || matches!(self.request.operation, Operation::WriteZeroes { .. })
    }

    /// The next piece, as long as a slot or all the rest.
    pub(super) fn next(&self, work: Tag, block_bytes: u64, slot: Option<PoolRange>) -> Piece {
        if self.flush {
            return Piece { work, extent: Extent { first: 0, blocks: 0 }, offset: 0, slot: None };
        }
        let left = self.request.extent.blocks - self.begun;
        let blocks = if slot.is_some() { left.min(SLOT / block_bytes) } else { left };
        let extent = Extent { first: self.request.extent.first + self.begun, blocks };
        Piece { work, extent, offset: self.begun * block_bytes, slot }
    }

    /// The device has taken the piece.
    pub(super) const fn took(&mut self, piece: &Piece) {
        self.begun += piece.extent.blocks;
        self.flush = false;
        self.under_way += 1;
    }
}
