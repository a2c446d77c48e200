//! The memory in which the encrypted data lie.

use alloc::vec::Vec;

use block::{DataMemory, PoolRange};

/// Bytes of a slot, at least a block.
pub(super) const SLOT: u64 = 32 << 10;

/// Slots of the pool that belong to one layer, so that a slot comes with each completion.
///
/// A slot that a request has when the layer ends is not given back, since nothing says that the
/// device has stopped using it.
pub(super) struct Slots<M: DataMemory> {
    pub(super) memory: M,
    free: Vec<PoolRange>,
}

impl<M: DataMemory> Slots<M> {
    /// As many slots as the pool has, up to `most`.
    pub(super) fn new(memory: M, most: usize) -> Self {
        let free = (0..most).map_while(|_| memory.allocate(SLOT)).collect();
        Self { memory, free }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<PoolRange> {
        self.free.pop()
    }

    pub(super) fn put(&mut self, slot: PoolRange) {
        self.free.push(slot);
    }
}

impl<M: DataMemory> Drop for Slots<M> {
    fn drop(&mut self) {
        for slot in self.free.drain(..) {
            self.memory.free(slot);
        }
    }
}
