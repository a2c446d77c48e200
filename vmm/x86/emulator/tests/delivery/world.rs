//! Descriptor tables, a task state segment and stacks for deliveries of vector 29.

use emulator::{DeliveryError, Event, deliver};
use x86::{Attributes, Segment, cr0};

use crate::common::{LIMITS, Memory, Vp};

pub const CS: usize = 1;
pub const SS: usize = 2;
pub const DS: usize = 3;
pub const ES: usize = 0;
pub const FS: usize = 4;
pub const GS: usize = 5;

// Numbers in `Vp::tables`.
pub const LDTR: usize = 0;
pub const TR: usize = 1;
pub const GDTR: usize = 2;
pub const IDTR: usize = 3;

pub const RSP: usize = 4;

pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3100;
pub const LDT: u64 = 0x3800;
/// The page tables for [`World::start_paging`].
const TABLES: u64 = 0x1_0000;
/// The interrupted code's stack, without the low bits that RSP has.
pub const USER_STACK: u64 = 0x5000;
/// The stack of level 0.
pub const STACK_0: u64 = 0x7000;
/// The vector of all gates.
const VECTOR: u64 = 29;

/// A flat segment with this access byte and these flags (G, D/B, L, AVL).
pub const fn segment(access: u64, flags: u64) -> u64 {
    0x000f_0000_0000_ffff | access << 40 | flags << 52
}

/// A gate of long mode.
pub fn gate_64(kind: u64, ist: u8, selector: u16, offset: u64) -> u128 {
    let low = offset & 0xffff
        | u64::from(selector) << 16
        | u64::from(ist) << 32
        | (0x80 | kind) << 40
        | (offset >> 16 & 0xffff) << 48;
    u128::from(low) | u128::from(offset >> 32) << 64
}

/// A gate of legacy mode.
pub fn gate_32(kind: u64, selector: u16, offset: u64) -> u64 {
    gate_64(kind, 0, selector, offset) as u64
}

pub struct World {
    pub vp: Vp,
    pub memory: Memory,
}

impl World {
    fn new(vp: Vp, cpl: u8) -> Self {
        let mut world = Self { vp, memory: Memory::new() };
        let table = |base, limit| Segment { base, limit, ..Segment::default() };
        let vp = &mut world.vp;
        vp.tables[GDTR] = table(GDT, 0x7f);
        vp.tables[IDTR] = table(IDT, 0xfff);
        let attributes = Attributes::from_bits(0x8b);
        vp.tables[TR] = Segment { selector: 0x40, attributes, limit: 0x67, base: TSS };
        let level = u16::from(cpl);
        vp.segments[CS].selector = 0x28 | level;
        vp.segments[SS].selector = 0x30 | level;
        (vp.cpl, vp.rip, vp.gprs[RSP]) = (cpl, 0x40_0000, USER_STACK + 5);
        world
    }

    /// Long mode without paging, as in the other tests: code of levels 0 and 1, and conforming
    /// code, at 08h, 18h and 20h; RSP0 to RSP2 lie 400h apart, the stacks of IST 1 to 7 at 6100h to
    /// 6700h.
    pub fn long(cpl: u8) -> Self {
        let mut world = Self::new(Vp::long(), cpl);
        for (selector, access) in [(0x08, 0x9b), (0x18, 0xbb), (0x20, 0x9f)] {
            world.set_descriptor(selector, segment(access, 0xa));
        }
        for level in 0..3 {
            world.put(TSS + 4 + 8 * level, STACK_0 - 0x400 * level, 8);
        }
        for ist in 1..=7 {
            world.put(TSS + 0x1c + 8 * ist, 0x6000 + 0x100 * ist, 8);
        }
        world.set_gate(gate_64(0xe, 0, 0x08, 0xffff_8000_1234_5678));
        world
    }

    /// 32-bit protected mode: code and stack of level 0 at 08h and 10h.
    pub fn legacy(cpl: u8) -> Self {
        let mut world = Self::new(Vp::protected(), cpl);
        world.set_descriptor(0x08, segment(0x9b, 0xc));
        world.set_descriptor(0x10, segment(0x93, 0xc));
        world.put(TSS + 4, STACK_0, 4);
        world.put(TSS + 8, 0x10, 2);
        world.set_gate(gate_32(0xe, 0x08, 0x1234_5678).into());
        world
    }

    /// Writes the low `bytes` of `value`.
    pub fn put(&mut self, gpa: u64, value: u64, bytes: usize) {
        self.memory.put(gpa, &value.to_le_bytes()[..bytes]);
    }

    pub fn set_descriptor(&mut self, selector: u64, descriptor: u64) {
        self.put(GDT + selector, descriptor, 8);
    }

    /// Replaces the gate of vector 29, in the form of the mode.
    pub fn set_gate(&mut self, gate: u128) {
        let length = if self.vp.efer == 0 { 8 } else { 16 };
        self.memory.put(IDT + VECTOR * length, &gate.to_le_bytes()[..length as usize]);
    }

    /// Maps the first 64 KiB to themselves for the supervisor, with A and D bits set.
    pub fn start_paging(&mut self) {
        for level in 0..3 {
            let table = TABLES + 0x1000 * level;
            self.put(table, (table + 0x1000) | 0x67, 8);
        }
        for page in (0..0x1_0000).step_by(0x1000) {
            self.set_page(page, page | 0x63);
        }
        (self.vp.cr3, self.vp.cr0) = (TABLES, self.vp.cr0 | cr0::PG);
    }

    /// Replaces the entry of the page at `linear`.
    pub fn set_page(&mut self, linear: u64, entry: u64) {
        self.put(TABLES + 0x3000 + (linear >> 9), entry, 8);
    }

    pub fn deliver(&mut self, event: Event) -> Result<(), DeliveryError> {
        deliver(&mut self.vp, &mut self.memory, LIMITS, event)
    }
}
