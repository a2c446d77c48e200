//! Requests and what they ask of a disk.

use crate::{DataList, Failure};

/// Names a request while it is under way. The requester chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// Blocks, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first block.
    pub first: u64,
    /// How many blocks.
    pub blocks: u64,
}

impl Extent {
    /// The block after the last, if that is a number.
    pub const fn end(&self) -> Option<u64> {
        self.first.checked_add(self.blocks)
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads blocks into the data.
    Read,
    /// Writes the data to blocks.
    Write {
        /// The blocks are durable at the completion.
        force_unit_access: bool,
    },
    /// Compares the data with blocks.
    Compare,
    /// Reads blocks from the medium, and keeps no data.
    Verify,
    /// Makes everything durable that was written before. Has neither extent nor data.
    Flush,
    /// Fills blocks with zeroes. Has no data.
    WriteZeroes {
        /// The device may give the blocks' storage up.
        deallocate: bool,
        /// The blocks are durable at the completion.
        force_unit_access: bool,
    },
    /// Gives blocks up: what they hold afterwards is not determined. Has no data. The device may
    /// ignore it.
    Deallocate,
}

impl Operation {
    /// The request changes blocks.
    pub const fn writes(&self) -> bool {
        match self {
            Self::Write { .. } | Self::WriteZeroes { .. } | Self::Deallocate => true,
            Self::Read | Self::Compare | Self::Verify | Self::Flush => false,
        }
    }

    /// The request has data, as long as its extent.
    pub const fn has_data(&self) -> bool {
        match self {
            Self::Read | Self::Write { .. } | Self::Compare => true,
            Self::Verify | Self::Flush | Self::WriteZeroes { .. } | Self::Deallocate => false,
        }
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names it. No other request that is under way on this device has the same tag.
    pub tag: Tag,
    /// What to do.
    pub operation: Operation,
    /// With which blocks. No blocks are no error, and nothing is done.
    pub extent: Extent,
    /// The data.
    pub data: DataList,
}

impl Request {
    /// Why a disk with these properties can not carry the request out, if so.
    pub fn refused(&self, properties: &Properties) -> Option<Failure> {
        if self.extent.end().is_none_or(|end| end > properties.blocks) {
            return Some(Failure::OutOfRange);
        }
        if self.operation.writes() && properties.read_only {
            return Some(Failure::ReadOnly);
        }
        let wanted = if self.operation.has_data() { self.extent.blocks } else { 0 };
        let bytes = wanted.checked_mul(properties.block_bytes.into());
        (bytes != Some(self.data.length())).then_some(Failure::Length)
    }
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's tag.
    pub tag: Tag,
    /// What became of it.
    pub result: Result<(), Failure>,
}

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The size of a block in bytes: a power of two, 512 to 4,096.
    pub block_bytes: u32,
    /// The number of blocks.
    pub blocks: u64,
    /// Blocks in the unit in which the medium is written best, a power of two; 1 if not known.
    pub optimal_blocks: u32,
    /// The most blocks of one request. A longer one is taken and split.
    pub most_blocks: u32,
    /// The disk can not be written.
    pub read_only: bool,
    /// A write may be completed before it is durable: [`Operation::Flush`] is needed.
    pub volatile_cache: bool,
    /// [`Operation::Deallocate`] does something.
    pub deallocates: bool,
    /// Blocks that were given up read as zeroes.
    pub deallocated_read_zero: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataRange, PoolRange};

    const DISK: Properties = Properties {
        block_bytes: 512,
        blocks: 100,
        optimal_blocks: 1,
        most_blocks: 8,
        read_only: false,
        volatile_cache: true,
        deallocates: false,
        deallocated_read_zero: false,
    };

    fn request(operation: Operation, first: u64, blocks: u64, bytes: u64) -> Request {
        let data = DataRange::Pool(PoolRange::new(0, bytes)).into();
        Request { tag: Tag(1), operation, extent: Extent { first, blocks }, data }
    }

    #[test]
    fn a_request_stays_on_its_disk() {
        let write = Operation::Write { force_unit_access: false };
        let zeroes = Operation::WriteZeroes { deallocate: true, force_unit_access: false };
        for (request, refused) in [
            (request(Operation::Read, 99, 1, 512), None),
            (request(Operation::Read, 99, 2, 1024), Some(Failure::OutOfRange)),
            (request(Operation::Read, u64::MAX, 2, 1024), Some(Failure::OutOfRange)),
            (request(Operation::Read, 0, 1, 511), Some(Failure::Length)),
            (request(write, 0, 100, 51200), None),
            (request(zeroes, 0, 100, 0), None),
            (request(zeroes, 0, 100, 512), Some(Failure::Length)),
            (request(Operation::Flush, 0, 0, 0), None),
            (request(Operation::Read, 100, 0, 0), None),
        ] {
            assert_eq!(request.refused(&DISK), refused, "{request:?}");
        }
        let locked = Properties { read_only: true, ..DISK };
        assert_eq!(request(write, 0, 1, 512).refused(&locked), Some(Failure::ReadOnly));
        assert_eq!(request(zeroes, 0, 1, 0).refused(&locked), Some(Failure::ReadOnly));
        assert_eq!(request(Operation::Verify, 0, 1, 0).refused(&locked), None);
    }
}
