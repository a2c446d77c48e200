//! The heap.
//!
//! Used while the machine is put together; no exit allocates.

use talc::TalcLock;
use talc::source::Manual;

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// Gives `length` bytes at `start` to the heap.
///
/// # Safety
/// The bytes must be mapped, writable and used by nothing else, for ever.
pub unsafe fn give_to_heap(start: *mut u8, length: usize) {
    // SAFETY: the caller gives the bytes away.
    let claimed = unsafe { HEAP.lock().claim(start, length) };
    assert!(claimed.is_some(), "the heap refused {length} bytes");
}
