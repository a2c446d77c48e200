//! A fast path for the moves that nearly every driver uses on a device's registers.
//!
//! 64-bit mode, no prefix but REX: MOV between a 32-bit register and memory (8B, 89), MOV of an
//! immediate to memory (C7 /0). The exit reports the guest-physical address, so no walk is needed:
//! it suffices that the operand's address agrees with it inside the page. Every other or doubtful
//! case is left to [`crate::emulate`].

use x86::{Register, Registers};

/// A move of 32 bits between the CPU and the address of the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Memory to this register, which is zero-extended.
    Load(Register),
    /// This value to memory.
    Store(u32),
}

/// Takes bytes off the low end of a window.
struct Window {
    bytes: u128,
    length: u8,
}

impl Window {
    #[inline]
    fn byte(&mut self) -> u8 {
        let byte = self.bytes as u8;
        self.bytes >>= 8;
        self.length += 1;
        byte
    }

    #[inline]
    fn word(&mut self) -> u32 {
        let word = self.bytes as u32;
        self.bytes >>= 32;
        self.length += 4;
        word
    }
}

/// Decodes the instruction at the start of `window`, whose operand is at `gpa`, with its length.
/// None for any other instruction.
///
/// The caller has checked that the VP runs in 64-bit mode and that all 16 bytes of the window lie
/// in the page of RIP.
#[inline]
pub fn quick_move(cpu: &impl Registers, window: u128, gpa: u64) -> Option<(Move, u8)> {
    let mut window = Window { bytes: window, length: 0 };
    let mut opcode = window.byte();
    let mut rex = 0;
    if opcode & 0xF0 == 0x40 {
        rex = opcode;
        opcode = window.byte();
    }
    let has_immediate = opcode == 0xC7;
    if !(has_immediate || opcode == 0x89 || opcode == 0x8B) || rex & 8 != 0 {
        return None;
    }
    let modrm = window.byte();
    let number = (modrm >> 3) & 7 | (rex & 4) << 1;
    if has_immediate && modrm & 0x38 != 0 {
        return None;
    }
    let (address, relative) = effective_address(cpu, &mut window, modrm, rex)?;
    let immediate = if has_immediate { window.word() } else { 0 };
    let next = cpu.rip().wrapping_add(u64::from(window.length));
    let linear = if relative { address.wrapping_add(next) } else { address };
    if (linear ^ gpa) & 0xFFF != 0 || gpa & 3 != 0 {
        return None;
    }
    let what = match opcode {
        0x8B => Move::Load(Register::from_number(number)),
        0x89 => Move::Store(cpu.gpr(Register::from_number(number)) as u32),
        _ => Move::Store(immediate),
    };
    Some((what, window.length))
}

/// The operand's address, and whether it counts from the next instruction; none for a register.
#[inline]
fn effective_address(
    cpu: &impl Registers,
    window: &mut Window,
    modrm: u8,
    rex: u8,
) -> Option<(u64, bool)> {
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return None;
    }
    let extended = |number: u8, bit: u8| Register::from_number(number | ((rex & bit) * (8 / bit)));
    let mut address = 0;
    let mut relative = false;
    if rm == 4 {
        let sib = window.byte();
        let index = extended((sib >> 3) & 7, 2);
        if index as u8 != 4 {
            address = cpu.gpr(index) << (sib >> 6);
        }
        if sib & 7 == 5 && mode == 0 {
            return Some((address.wrapping_add(extend_32(window.word())), false));
        }
        address = address.wrapping_add(cpu.gpr(extended(sib & 7, 1)));
    } else if rm == 5 && mode == 0 {
        relative = true;
    } else {
        address = cpu.gpr(extended(rm, 1));
    }
    let displacement = match mode {
        1 => i64::from(window.byte().cast_signed()).cast_unsigned(),
        0 if !relative => 0,
        _ => extend_32(window.word()),
    };
    Some((address.wrapping_add(displacement), relative))
}

const fn extend_32(value: u32) -> u64 {
    (value.cast_signed() as i64).cast_unsigned()
}
