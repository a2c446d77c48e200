//! The linear addresses that the instruction at CS:RIP uses.

use x86::{Register, Registers, SegmentRegister};

use crate::fetch::{Fetched, fetch};
use crate::machine::{Limits, Machine};
use crate::memory::PhysicalMemory;
use crate::size::CodeSize;

/// Bytes of the largest push.
const PUSHED: u64 = 8;

/// The linear addresses at which the instruction at CS:RIP may access memory: its operand, what a
/// string instruction reads and writes, the top of the stack, and the place of the next push. For a
/// nested page fault, whose guest-physical address is known: the address that translates to it is
/// the one that was accessed. Nothing is checked.
pub fn operand_addresses<C: Registers, M: PhysicalMemory>(
    cpu: &mut C,
    memory: &mut M,
    limits: Limits,
) -> [Option<u64>; 5] {
    let mut machine = Machine::new(cpu, memory, limits);
    let operand = match fetch(&mut machine) {
        Ok(Fetched { instruction: Some(i), .. }) => {
            i.memory.map(|memory| (memory.segment, machine.effective_address(&i, &memory)))
        }
        Ok(_) | Err(_) => None,
    };
    let register = |register| machine.cpu.gpr(register);
    let places = [
        operand,
        Some((SegmentRegister::Ds, register(Register::Rsi))),
        Some((SegmentRegister::Es, register(Register::Rdi))),
        Some((SegmentRegister::Ss, register(Register::Rsp))),
        Some((SegmentRegister::Ss, register(Register::Rsp).wrapping_sub(PUSHED))),
    ];
    places.map(|place| place.map(|(segment, offset)| linear(&machine, segment, offset)))
}

fn linear<C: Registers, M>(
    machine: &Machine<'_, C, M>,
    register: SegmentRegister,
    offset: u64,
) -> u64 {
    let base = machine.cpu.segment(register).base;
    if machine.code_size != CodeSize::Bits64 {
        return base.wrapping_add(offset) & 0xFFFF_FFFF;
    }
    match register {
        SegmentRegister::Fs | SegmentRegister::Gs => base.wrapping_add(offset),
        _ => offset,
    }
}
