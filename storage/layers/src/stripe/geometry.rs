//! Where each block of a stripe lies.

use alloc::vec;
use alloc::vec::Vec;

use block::{DataList, DataRange, Extent};

/// The most chunks whose data are dealt out at once. It bounds the work of one call.
const MOST_CHUNKS: usize = 1024;

/// The chunks go round the devices: the first to the first device, and so on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// At least one.
    pub(super) devices: u32,
    /// Blocks of a chunk, at least one.
    pub(super) chunk: u32,
    pub(super) block_bytes: u32,
}

impl Geometry {
    /// Blocks of a row, which is a chunk of each device.
    const fn row(&self) -> u64 {
        self.devices as u64 * self.chunk as u64
    }

    /// The blocks that the stripe has, of devices with at least `each` blocks.
    pub(super) const fn blocks(&self, each: u64) -> u64 {
        let (rows, most) = (each / self.chunk as u64, u64::MAX / self.row());
        if rows < most { rows * self.row() } else { most * self.row() }
    }

    /// How many of the device's blocks come before a block of the stripe.
    fn before(&self, block: u64, device: u32) -> u64 {
        let chunk = u64::from(self.chunk);
        let (row, inside) = (block / self.row(), block % self.row());
        row * chunk + inside.saturating_sub(u64::from(device) * chunk).min(chunk)
    }

    /// The device's blocks among these blocks of the stripe: they are all in one piece.
    pub(super) fn part(&self, extent: Extent, device: u32) -> Extent {
        let first = self.before(extent.first, device);
        let end = self.before(extent.first.saturating_add(extent.blocks), device);
        Extent { first, blocks: end - first }
    }

    /// The block of the stripe that is this block of the device.
    fn block(&self, device: u32, there: u64) -> Option<u64> {
        let chunk = u64::from(self.chunk);
        let start = (there / chunk).checked_mul(self.row())?;
        start.checked_add(u64::from(device) * chunk + there % chunk)
    }

    /// Where in the data of blocks from `first` on the byte is that is at `offset` in the data of
    /// the device's part of the blocks from `round` on.
    pub(super) fn offset(&self, first: u64, round: u64, device: u32, offset: u64) -> Option<u64> {
        let bytes = u64::from(self.block_bytes);
        let there = self.before(round, device).checked_add(offset / bytes)?;
        let blocks = self.block(device, there)?.checked_sub(first)?;
        blocks.checked_mul(bytes)?.checked_add(offset % bytes)
    }

    /// Deals the data of as many of these blocks as possible out to the devices, from `offset` on.
    /// Answers how many blocks these are, and each device's data.
    ///
    /// A device's list may become too long, since each border of a chunk makes one more range. The
    /// data of one chunk alone is never too long, so there is always a first block.
    pub(super) fn deal(
        &self,
        extent: Extent,
        data: &DataList,
        offset: u64,
    ) -> (u64, Vec<DataList>) {
        let mut lists = vec![DataList::new(); self.devices as usize];
        let mut rest = Rest::of(data, offset);
        let mut blocks = 0;
        for _ in 0..MOST_CHUNKS {
            let inside = (extent.first + blocks) % self.row();
            let chunk = u64::from(self.chunk);
            let length = (chunk - inside % chunk).min(extent.blocks - blocks);
            let device = (inside / chunk) as usize;
            let taken = rest.take(length * u64::from(self.block_bytes));
            let (Some(taken), Some(list)) = (taken, lists.get_mut(device)) else { break };
            if length == 0 || list.ranges().len() + taken.ranges().len() > DataList::MOST {
                break;
            }
            for range in taken.ranges() {
                // It is not too many, as was seen above.
                let _ = list.push(*range);
            }
            blocks += length;
        }
        (blocks, lists)
    }
}

/// The data that is still to be dealt out.
struct Rest<'a> {
    ranges: &'a [DataRange],
    /// Bytes of the first range that are gone.
    gone: u64,
}

impl<'a> Rest<'a> {
    fn of(data: &'a DataList, offset: u64) -> Self {
        let (mut ranges, mut gone) = (data.ranges(), offset);
        while let [first, rest @ ..] = ranges
            && gone >= first.length()
        {
            gone -= first.length();
            ranges = rest;
        }
        Self { ranges, gone }
    }

    /// Takes so many bytes, if there are as many.
    fn take(&mut self, length: u64) -> Option<DataList> {
        let mut list = DataList::new();
        while list.length() < length {
            let (first, rest) = self.ranges.split_first()?;
            let here = (first.length() - self.gone).min(length - list.length());
            list.push(first.part(self.gone, here)?).ok()?;
            self.gone += here;
            if self.gone == first.length() {
                (self.ranges, self.gone) = (rest, 0);
            }
        }
        Some(list)
    }
}
