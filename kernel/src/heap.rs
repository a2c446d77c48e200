//! The heap.
//!
//! Used while the machine is put together, and by the service; no exit allocates.

use core::alloc::{GlobalAlloc, Layout};

use talc::TalcLock;
use talc::source::Manual;

use crate::service::masked;

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: Heap = Heap(TalcLock::new(Manual));

/// The allocator; its lock is held with interrupts off, as the service allocates, too.
struct Heap(TalcLock<spin::Mutex<()>, Manual>);

// SAFETY: the allocator below keeps the contract; nothing is added but that interrupts are off.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller vouches.
        masked(|| unsafe { self.0.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches.
        masked(|| unsafe { self.0.dealloc(block, layout) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches.
        masked(|| unsafe { self.0.realloc(block, layout, size) })
    }
}

/// Gives `length` bytes at `start` to the heap.
///
/// # Safety
/// The bytes must be mapped, writable and used by nothing else, for ever.
pub unsafe fn give_to_heap(start: *mut u8, length: usize) {
    // SAFETY: the caller gives the bytes away.
    let claimed = unsafe { HEAP.0.lock().claim(start, length) };
    assert!(claimed.is_some(), "the heap refused {length} bytes");
}
