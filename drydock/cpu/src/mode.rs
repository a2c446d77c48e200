//! The mode of a VP, as far as encryption depends on it.

use emulator::CodeSize;
use guest_memory::GuestMemory;
use x86::{ModeRegisters, Register, Registers, SegmentRegister, cr0, cr4, efer};

use crate::cpu::Cpu;
use crate::exit::Disposition;

/// What a VP's mode says about its memory (AMD64 APM vol. 2, section 15.34.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No paging, or tables without room for the C-bit: all memory is private.
    AllPrivate,
    /// PAE or long mode: addresses tell.
    Encrypted,
}

impl Mode {
    /// The mode of a VP.
    pub fn of(cpu: &impl Registers) -> Self {
        let paging = cpu.cr0() & cr0::PG != 0;
        let has_room = cpu.cr4() & cr4::PAE != 0 || cpu.efer() & efer::LMA != 0;
        if paging && has_room { Self::Encrypted } else { Self::AllPrivate }
    }
}

/// A write of a control register, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    value: u64,
    length: u64,
}

const CR4_PCIDE: u64 = 1 << 17;
/// Bits of CR4 that a CPU of this kind has: up to SMAP, without the reserved ones between them.
const CR4_BITS: u64 = ((1 << 22) - 1) & !(0b111 << 13 | 1 << 19);

impl<C: ModeRegisters, M: GuestMemory> Cpu<'_, '_, C, M> {
    /// A write of CR0 that may change whether memory is encrypted by address.
    pub(crate) fn write_cr0(&mut self) -> Disposition {
        let Some(write) = self.decode_write(0) else { return Self::invalid_opcode() };
        let (old, cr4, efer) = (self.registers.cr0(), self.registers.cr4(), self.registers.efer());
        let new = write.value | cr0::ET;
        let sets = new & !old & cr0::PG != 0;
        let clears = old & !new & cr0::PG != 0;
        let long_code = self.registers.segment(SegmentRegister::Cs).attributes.is_long();
        let wrong = new >> 32 != 0
            || new & cr0::PG != 0 && new & cr0::PE == 0
            || new & cr0::NW != 0 && new & cr0::CD == 0
            || sets && efer & efer::LME != 0 && (cr4 & cr4::PAE == 0 || long_code)
            || clears && efer & efer::LMA != 0 && long_code;
        if wrong {
            return Self::general_protection();
        }
        self.registers.set_cr0(new);
        if sets && efer & efer::LME != 0 {
            self.registers.set_efer(efer | efer::LMA);
        } else if clears {
            self.registers.set_efer(efer & !efer::LMA);
        }
        self.behind(write)
    }

    /// A write of CR4, intercepted while PAE decides whether memory is encrypted by address.
    pub(crate) fn write_cr4(&mut self) -> Disposition {
        let Some(write) = self.decode_write(4) else { return Self::invalid_opcode() };
        let is_long = self.registers.efer() & efer::LMA != 0;
        let wrong = write.value & !CR4_BITS != 0
            || is_long && write.value & cr4::PAE == 0
            || !is_long && write.value & CR4_PCIDE != 0;
        if wrong {
            return Self::general_protection();
        }
        self.registers.set_cr4(write.value);
        self.behind(write)
    }

    /// A write of CR8 that the control block intercepts: the emulating CPU watches it where an
    /// interrupt waits for a lower task priority.
    pub(crate) fn write_cr8(&mut self) -> Disposition {
        let Some(write) = self.decode_write(8) else { return Self::invalid_opcode() };
        if write.value > 15 {
            return Self::general_protection();
        }
        self.registers.set_cr8(write.value as u8);
        self.behind(write)
    }

    fn behind(&mut self, write: Write) -> Disposition {
        let next = self.registers.rip().wrapping_add(write.length);
        self.registers.set_rip(next);
        Disposition::Resume
    }

    /// MOV to control register `number`, or LMSW from a register, which the CPU has found to be
    /// allowed.
    fn decode_write(&mut self, number: u8) -> Option<Write> {
        let (bytes, count) = self.window();
        let bytes = bytes.get(..count)?;
        let is_64 = CodeSize::of(self.registers) == CodeSize::Bits64;
        let rex = bytes.first().copied().filter(|first| is_64 && first & 0xf0 == 0x40);
        let start = usize::from(rex.is_some());
        let [0x0f, second, modrm] = *bytes.get(start..start + 3)? else { return None };
        let length = start as u64 + 3;
        let register = Register::from_number(modrm & 7 | (rex.unwrap_or(0) & 1) << 3);
        let mask = if is_64 { u64::MAX } else { 0xffff_ffff };
        let value = self.registers.gpr(register) & mask;
        match (second, modrm >> 3 & 7 | (rex.unwrap_or(0) & 4) << 1) {
            (0x22, to) if to == number => Some(Write { value, length }),
            // LMSW can set PE, and not clear it.
            (0x01, 6) if number == 0 && modrm >= 0xc0 => {
                let old = self.registers.cr0();
                Some(Write { value: old & !0xe | old & 1 | value & 0xf, length })
            }
            _ => None,
        }
    }
}
