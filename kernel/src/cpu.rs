//! One context per CPU: stacks, descriptor tables, and where this CPU finds its own data.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use guest_memory::PAGE_SIZE;
use x86::vector;

use crate::Region;
use crate::paging::PageTables;

/// Vectors with a stack of their own on every CPU, as they come at any instruction, in the order of
/// their slots in the interrupt stack table.
const OWN_STACKS: [u8; 3] = [vector::NMI, vector::DF, vector::MC];
/// Vectors with a stack of their own on a confidential platform.
const CONFIDENTIAL_STACKS: [u8; 2] = [vector::HV, vector::VC];

/// Selector of the code segment, the same as in the boot tables.
const CODE: u16 = 0x08;
const DATA: u16 = 0x10;
const TASK_STATE: u16 = 0x18;

/// The task state segment (AMD64 APM vol. 2, figure 12-8).
#[repr(C, packed(4))]
#[derive(Default)]
struct TaskState {
    reserved_0: u32,
    rsp: [u64; 3],
    reserved_1: u64,
    ist: [u64; 7],
    reserved_2: u64,
    reserved_3: u16,
    io_map_base: u16,
}

/// What belongs to one CPU. Its first field is found by this CPU through GS.
#[repr(C)]
struct Context {
    this: *const Context,
    index: u32,
    /// Set by an NMI, which may come at any instruction; cleared by the code that looks.
    nmis: AtomicU32,
    gdt: [u64; 5],
    task_state: TaskState,
}

/// A CPU's place, prepared before the CPU runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    context: u64,
    /// Where its stack ends.
    pub stack_top: u64,
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Where a CPU gets its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// It runs on one already, which ends here.
    Existing(u64),
    /// It needs one of so many pages.
    Pages(u64),
}

/// Prepares the place of CPU `index`: every stack has a hole below it. A confidential platform's #HV and #VC get stacks, too.
pub fn prepare(
    region: &mut Region,
    tables: &mut PageTables,
    index: u32,
    stack: Stack,
    is_confidential: bool,
) -> Place {
    let stack_top = match stack {
        Stack::Existing(top) => top,
        Stack::Pages(pages) => take_stack(region, tables, pages),
    };
    let mut task_state =
        TaskState { io_map_base: size_of::<TaskState>() as u16, ..TaskState::default() };
    let mut ist = [0; 7];
    let confidential = if is_confidential { CONFIDENTIAL_STACKS.len() } else { 0 };
    for slot in ist.iter_mut().take(OWN_STACKS.len() + confidential) {
        *slot = take_stack(region, tables, 1);
    }
    task_state.ist = ist;
    let context = region.take(1);
    const { assert!(size_of::<Context>() <= PAGE_SIZE as usize) };
    let this = context as *mut Context;
    let base = context + core::mem::offset_of!(Context, task_state) as u64;
    let gdt = descriptors(base);
    // SAFETY: the page has just been taken, is mapped, zeroed, and large enough.
    unsafe { this.write(Context { this, index, nmis: AtomicU32::new(0), gdt, task_state }) };
    Place { context, stack_top }
}

/// The slot of `vector` in the interrupt stack table, from 1 on; 0 for one that stays on the stack
/// of the interrupted code.
pub(crate) fn stack_of(vector: u8) -> u64 {
    let mut all = (1..).zip(OWN_STACKS.iter().chain(&CONFIDENTIAL_STACKS));
    all.find(|(_, own)| **own == vector).map_or(0, |(slot, _)| slot)
}

/// Null, code, data, and the task state segment at `base` (AMD64 APM vol. 2, section 4.8).
fn descriptors(base: u64) -> [u64; 5] {
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, low, base >> 32]
}

/// Takes a stack of `pages` with a hole below; answers where it ends.
pub fn take_stack(region: &mut Region, tables: &mut PageTables, pages: u64) -> u64 {
    let hole = region.take(1 + pages);
    tables.make_hole(region, hole);
    hole + (1 + pages) * PAGE_SIZE
}

impl Place {
    /// Makes the running CPU use this place.
    ///
    /// # Safety
    /// Each place is entered by one CPU, once, with the final page tables active.
    pub unsafe fn enter(&self) {
        let context = self.context as *const Context;
        // SAFETY: `prepare` filled the page, and it is never moved.
        let gdt = unsafe { &raw const (*context).gdt };
        let pointer = TablePointer { limit: 5 * 8 - 1, base: gdt as u64 };
        // SAFETY: the table holds the selectors that are loaded, and lives for ever.
        unsafe { load_descriptors(&pointer) };
        // SAFETY: GS base is this CPU's to set; `current` relies on the value.
        unsafe { write_gs_base(self.context) };
    }
}

/// Loads the GDT and all segment registers from it.
///
/// # Safety
/// `pointer` must describe a table made by [`descriptors`] that lives for ever.
unsafe fn load_descriptors(pointer: &TablePointer) {
    // SAFETY: the caller vouches for the table; the far return only reloads CS.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "xor {scratch:e}, {scratch:e}",
            "mov fs, {scratch:e}",
            "mov gs, {scratch:e}",
            "ltr {tss:x}",
            pointer = in(reg) pointer,
            code = in(reg) u64::from(CODE),
            data = in(reg) u32::from(DATA),
            tss = in(reg) TASK_STATE,
            scratch = out(reg) _,
        );
    }
}

/// Sets the GS base of this CPU.
///
/// # Safety
/// `base` must be the context of this CPU.
unsafe fn write_gs_base(base: u64) {
    const GS_BASE: u32 = 0xc000_0101;
    // SAFETY: the MSR exists on every 64-bit CPU; the caller vouches for the value.
    unsafe {
        asm!("wrmsr", in("ecx") GS_BASE, in("eax") base as u32, in("edx") (base >> 32) as u32,
            options(nomem, nostack));
    }
}

fn current() -> &'static Context {
    let this: *const Context;
    // SAFETY: `Place::enter` pointed GS at the context, whose first field points to itself; before
    // that no code asks.
    unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, readonly)) };
    // SAFETY: contexts live for ever and are shared only through atomics.
    unsafe { &*this }
}

/// The number of the running CPU.
pub fn index() -> u32 {
    current().index
}

/// Notes an NMI.
pub fn note_nmi() {
    current().nmis.fetch_add(1, Ordering::Relaxed);
}

/// NMIs that this CPU has got since the last call.
pub fn take_nmis() -> u32 {
    let nmis = &current().nmis;
    // The common case writes nothing.
    if nmis.load(Ordering::Relaxed) == 0 { 0 } else { nmis.swap(0, Ordering::Relaxed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_that_comes_any_time_has_a_stack_of_its_own() {
        let slots = [vector::NMI, vector::DF, vector::MC, vector::HV, vector::VC].map(stack_of);
        assert_eq!(slots, [1, 2, 3, 4, 5]);
        assert_eq!((stack_of(vector::PF), stack_of(0x40)), (0, 0));
    }

    #[test]
    fn the_task_state_descriptor_leads_to_its_segment() {
        let [null, code, data, low, high] = descriptors(0x1234_5678_9abc_def0);
        assert_eq!(null, 0);
        // 64-bit code and flat data, both of ring 0.
        assert_eq!((code >> 40 & 0xff, code >> 53 & 1), (0x9b, 1));
        assert_eq!(data >> 40 & 0xff, 0x93);
        let base = low >> 16 & 0xff_ffff | (low >> 56) << 24 | high << 32;
        assert_eq!(base, 0x1234_5678_9abc_def0);
        assert_eq!((low & 0xffff, low >> 40 & 0xff), (103, 0x89), "available, 104 bytes");
    }
}
