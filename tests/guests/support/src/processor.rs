//! Per-processor data: descriptor tables, stacks, the record of a caught fault.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::attempt::Fault;
use crate::cpu;
use crate::exceptions;

/// The most processors that the guests use.
pub const MAX_PROCESSORS: usize = 16;
const STACK_SIZE: usize = 32 << 10;
const GS_BASE: u32 = 0xc000_0101;

/// Selectors in the long-mode descriptor table.
pub mod selector {
    /// 64-bit code.
    pub const TEXT_64: u16 = 0x08;
    /// Flat data.
    pub const DATA: u16 = 0x10;
    /// Compatibility-mode code, 32-bit.
    pub const TEXT_32: u16 = 0x18;
    /// Compatibility-mode code, 16-bit.
    pub const TEXT_16: u16 = 0x20;
    /// Compatibility-mode code, 32-bit, privilege level 3.
    pub const USER_TEXT_32: u16 = 0x2b;
    /// Flat data, privilege level 3.
    pub const USER_DATA: u16 = 0x33;
    /// 64-bit code, privilege level 3.
    pub const USER_TEXT_64: u16 = 0x3b;
    /// The task state segment.
    pub const TASK: u16 = 0x40;
}

const DESCRIPTORS: [u64; 10] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x0000_9b00_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
    0,
];

/// A processor's own data. The entry code knows the offsets of the first fields.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Processor {
    /// Its number: 0 is the one that booted.
    pub index: u64,
    /// The address at which execution continues after a fault, or zero.
    pub(crate) recover_rip: u64,
    pub(crate) recover_rsp: u64,
    pub(crate) attempted: u64,
    pub(crate) fault: Option<Fault>,
    gdt: [u64; 10],
    tss: [u32; 26],
}

const EMPTY: Processor = Processor {
    index: 0,
    recover_rip: 0,
    recover_rsp: 0,
    attempted: 0,
    fault: None,
    gdt: DESCRIPTORS,
    tss: [0; 26],
};

struct All(UnsafeCell<[Processor; MAX_PROCESSORS]>);

// SAFETY: each processor uses its own element only.
unsafe impl Sync for All {}

static PROCESSORS: All = All(UnsafeCell::new([EMPTY; MAX_PROCESSORS]));

/// Stacks of each processor: for its own work, privilege change, double fault, NMI.
#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[[u8; STACK_SIZE]; 4]; MAX_PROCESSORS]>);

// SAFETY: used as stacks only, each by one processor.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[[0; STACK_SIZE]; 4]; MAX_PROCESSORS]));

/// The top of one of the stacks.
pub(crate) fn stack_top(processor: usize, which: usize) -> u64 {
    (&raw const STACKS) as u64 + ((processor * 4 + which + 1) * STACK_SIZE) as u64
}

/// This processor's data.
pub fn processor() -> &'static mut Processor {
    let index: u64;
    // SAFETY: GS points to this processor's element since its start.
    unsafe { asm!("mov {}, gs:[0]", out(reg) index, options(nostack, preserves_flags)) };
    element(index as usize)
}

fn element(index: usize) -> &'static mut Processor {
    assert!(index < MAX_PROCESSORS);
    let first = PROCESSORS.0.get().cast::<Processor>();
    // SAFETY: within the array; each processor uses its own element, and makes no second reference
    // that lives while another is used.
    unsafe { &mut *first.add(index) }
}

/// Sets this processor up, as number `index`.
pub(crate) fn start(index: usize) {
    let own = element(index);
    own.index = index as u64;
    own.recover_rip = 0;
    own.gdt = DESCRIPTORS;
    let tss = (&raw const own.tss) as u64;
    own.gdt[8] = 0x0000_8900_0000_0067 | (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56;
    own.gdt[9] = tss >> 32;
    // RSP0 at 4, IST1 at 24h, IST2 at 2Ch; no I/O permission map.
    for (word, stack) in [(1, 1), (9, 2), (11, 3)] {
        let top = stack_top(index, stack);
        own.tss[word] = top as u32;
        own.tss[word + 1] = (top >> 32) as u32;
    }
    own.tss[25] = 104 << 16;
    load_tables(own);
    cpu::wrmsr(GS_BASE, (&raw const *own) as u64);
}

/// Loads this processor's descriptor tables, again if need be.
pub(crate) fn load_tables(own: &mut Processor) {
    own.gdt[8] &= !(2 << 40);
    cpu::load_gdt((&raw const own.gdt) as u64, 79);
    exceptions::load_table();
    // SAFETY: the selectors name the descriptors of the table just loaded.
    unsafe {
        asm!(
            "push {text}", "lea {scratch}, [rip + 2f]", "push {scratch}", "retfq", "2:",
            "mov ds, {data:e}", "mov es, {data:e}", "mov ss, {data:e}", "ltr {task:x}",
            text = const selector::TEXT_64, scratch = out(reg) _,
            data = in(reg) u64::from(selector::DATA), task = in(reg) u64::from(selector::TASK),
        );
    }
}

/// Loads this processor's tables again, after a test has loaded others.
pub fn restore_tables() {
    load_tables(processor());
}

/// The first processor's start.
pub(crate) fn start_first() {
    start(0);
}
