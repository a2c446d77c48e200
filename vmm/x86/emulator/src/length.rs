//! Length of an instruction that has made the VP exit and has a fixed opcode.
//!
//! On CPUs without next-RIP save this runs on each CPUID, MSR and HLT exit, so the usual case
//! (64-bit mode, 4-level tables, no prefix, within one page) has a path of its own.

use x86::page_table::entry;
use x86::{Registers, SegmentRegister, cr0, cr4, efer};

use crate::exception::Exception;
use crate::machine::{Limits, Stop};
use crate::memory::{BusError, PhysicalMemory};
use crate::paging::{Access, Paging};
use crate::size::CodeSize;

/// An opcode without ModRM, or with a fixed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode {
    /// Its bytes, the first one lowest.
    value: u32,
    /// Bits that have to match.
    mask: u32,
    /// Bytes in all.
    length: u8,
}

#[expect(missing_docs, reason = "the names are the architecture's")]
impl Opcode {
    pub const CPUID: Self = Self::fixed(0xA20F, 2);
    pub const WRMSR: Self = Self::fixed(0x300F, 2);
    pub const RDMSR: Self = Self::fixed(0x320F, 2);
    pub const INVD: Self = Self::fixed(0x080F, 2);
    pub const WBINVD: Self = Self::fixed(0x090F, 2);
    pub const HLT: Self = Self::fixed(0xF4, 1);
    pub const XSETBV: Self = Self::fixed(0xD1_010F, 3);
    pub const VMMCALL: Self = Self::fixed(0xD9_010F, 3);
    pub const VMCALL: Self = Self::fixed(0xC1_010F, 3);

    /// An opcode of `length` bytes, 1 to 4, with the first one lowest in `value`.
    pub const fn fixed(value: u32, length: u8) -> Self {
        let mask = match length {
            0 | 1 => 0xFF,
            2 => 0xFFFF,
            3 => 0xFF_FFFF,
            _ => u32::MAX,
        };
        Self { value: value & mask, mask, length }
    }

    const fn matches(&self, bytes: u32) -> bool {
        bytes & self.mask == self.value
    }

    /// The length, if the code that starts with the four bytes `window` is this instruction without
    /// a prefix.
    #[inline]
    pub const fn length_in(&self, window: u32) -> Option<u8> {
        if self.matches(window) { Some(self.length) } else { None }
    }
}

/// The reason why the length is not known; RIP stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// The code is now another instruction: the guest has changed its code or its tables since the
    /// exit. Let the guest run it again.
    Changed,
    /// The guest's tables have no translation any more.
    Exception(Exception),
    /// The code is at an address where no memory can be read.
    Bus(BusError),
}

/// Length in bytes, with prefixes, of the instruction at CS:RIP, which is one of `opcode`.
///
/// The CPU has just executed it, so permissions are not checked and accessed bits not set.
///
/// # Errors
/// [`LengthError`], only if the guest changes code or tables from another VP.
#[inline]
pub fn instruction_length<C: Registers, M: PhysicalMemory>(
    cpu: &C,
    memory: &mut M,
    limits: Limits,
    opcode: Opcode,
) -> Result<u8, LengthError> {
    let window = code_address(cpu, memory).and_then(|gpa| memory.fetch_4(gpa));
    match window.and_then(|window| opcode.length_in(window)) {
        Some(length) => Ok(length),
        None => with_prefixes(cpu, memory, limits, opcode),
    }
}

/// Guest-physical address of the code at RIP in the simple case: 64-bit mode, 4 levels, and at
/// least four bytes before the page's end.
///
/// Compatibility mode has other linear addresses, so it takes the slow path.
#[inline]
pub fn code_address<C: Registers, M: PhysicalMemory>(cpu: &C, memory: &mut M) -> Option<u64> {
    let rip = cpu.rip();
    let four_levels = cpu.efer() & efer::LMA != 0
        && cpu.cr0() & cr0::PG != 0
        && cpu.cr4() & cr4::LA57 == 0
        && cpu.segment(SegmentRegister::Cs).attributes.is_long();
    if !four_levels || rip & 0xFFF > 0xFFC {
        return None;
    }
    quick_walk(memory, cpu.cr3(), rip)
}

/// A 4-level walk that checks nothing but presence and page size (APM vol. 2, 5.3).
#[inline]
fn quick_walk<M: PhysicalMemory>(memory: &mut M, cr3: u64, linear: u64) -> Option<u64> {
    let mut entry = cr3;
    for shift in [39_u32, 30, 21, 12] {
        entry = memory.read_entry((entry & entry::ADDRESS) | ((linear >> shift) & 0x1FF) << 3);
        if entry & entry::PRESENT == 0 {
            return None;
        }
        if entry & entry::LARGE != 0 && (shift == 30 || shift == 21) {
            let offset = (1_u64 << shift) - 1;
            return Some((entry & entry::ADDRESS & !offset) | (linear & offset));
        }
    }
    Some((entry & entry::ADDRESS) | (linear & 0xFFF))
}

/// The general way: any mode, with prefixes, across pages.
#[cold]
#[inline(never)]
fn with_prefixes<C: Registers, M: PhysicalMemory>(
    cpu: &C,
    memory: &mut M,
    limits: Limits,
    opcode: Opcode,
) -> Result<u8, LengthError> {
    let code_size = CodeSize::of(cpu);
    let mut code = Code { cpu, memory, paging: Paging::of(cpu, limits), code_size, page: None };
    let mut start = 0;
    while is_prefix(code.byte(start)?, code_size) {
        start += 1;
        // 15 bytes at most, the opcode among them.
        if start + opcode.length > 15 {
            return Err(LengthError::Changed);
        }
    }
    let mut window = 0;
    for index in 0..opcode.length.min(4) {
        window |= u32::from(code.byte(start + index)?) << (8 * u32::from(index));
    }
    if opcode.matches(window) { Ok(start + opcode.length) } else { Err(LengthError::Changed) }
}

/// All prefixes but LOCK, which none of these instructions accepts.
const fn is_prefix(byte: u8, code_size: CodeSize) -> bool {
    match byte {
        0x26 | 0x2E | 0x36 | 0x3E | 0x64..=0x67 | 0xF2 | 0xF3 => true,
        0x40..=0x4F => matches!(code_size, CodeSize::Bits64),
        _ => false,
    }
}

/// Instruction bytes one by one, with the last page's translation kept.
struct Code<'a, C, M> {
    cpu: &'a C,
    memory: &'a mut M,
    paging: Paging,
    code_size: CodeSize,
    page: Option<(u64, u64)>,
}

impl<C: Registers, M: PhysicalMemory> Code<'_, C, M> {
    fn byte(&mut self, index: u8) -> Result<u8, LengthError> {
        let rip = self.cpu.rip().wrapping_add(u64::from(index));
        let linear = if self.code_size == CodeSize::Bits64 {
            rip
        } else {
            self.cpu.segment(SegmentRegister::Cs).base.wrapping_add(rip) & 0xFFFF_FFFF
        };
        let number = linear >> 12;
        let base = match self.page {
            Some((cached, base)) if cached == number => base,
            _ => {
                let gpa = self.translate(linear)? & !0xFFF;
                self.page = Some((number, gpa));
                gpa
            }
        };
        let mut bytes = [0];
        self.memory.fetch(base | (linear & 0xFFF), &mut bytes).map_err(LengthError::Bus)?;
        Ok(u8::from_le_bytes(bytes))
    }

    fn translate(&mut self, linear: u64) -> Result<u64, LengthError> {
        self.paging.translate(self.memory, linear, Access::Execute).map_err(|error| {
            match Stop::of_walk(error, SegmentRegister::Cs) {
                Stop::Exception(exception) => LengthError::Exception(exception),
                _ => LengthError::Changed,
            }
        })
    }
}
