//! The start of the other CPUs.

use guest_memory::PAGE_SIZE;

/// The page, below 1 MiB, that the other CPUs start in. Free until the guest's memory is erased.
pub const PAGE: u64 = 0x8000;

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_slots: u8;
    static trampoline_continue: u8;
}

/// What a starting CPU needs to know. It reads this below 1 MiB before it has a stack.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// CPUs in all; a CPU with a later ticket stops for ever.
    pub limit: u32,
    /// The root of the final page tables.
    pub page_tables: u64,
    /// The physical address of an array with the stack tops of all CPUs.
    pub stacks: u64,
    /// Where each goes, with its ticket as the argument: tickets run from 1.
    pub entry: extern "C" fn(u32) -> !,
}

/// Puts the trampoline in place.
///
/// # Safety
/// `page` must be where the free page at [`PAGE`] is mapped writable; the early page tables must
/// still stand; what `start` names must live until the CPUs have left the page.
pub unsafe fn install(page: *mut u8, start: &Start) {
    let from = &raw const trampoline_start;
    let length = (&raw const trampoline_end) as usize - from as usize;
    let slots = (&raw const trampoline_slots) as usize - from as usize;
    debug_assert!(length <= PAGE_SIZE as usize);
    // SAFETY: the caller gives the page; the source is the image's constant.
    unsafe { core::ptr::copy_nonoverlapping(from, page, length) };
    let values = [
        1,
        u64::from(start.limit),
        start.page_tables,
        start.stacks,
        start.entry as usize as u64,
        (&raw const trampoline_continue) as u64,
    ];
    for (index, value) in values.into_iter().enumerate() {
        let slot = page.wrapping_add(slots + index * 8).cast::<u64>();
        // SAFETY: the slots lie within the page that has just been written.
        unsafe { slot.write_volatile(value) };
    }
}
