//! Reading of the instruction's bytes, each of them once.

use x86::{Registers, SegmentRegister};

use crate::decode::{DecodeError, Instruction, decode};
use crate::exception::Exception;
use crate::machine::{Machine, Stop};
use crate::memory::PhysicalMemory;
use crate::paging::Access;
use crate::size::CodeSize;

/// Longest instruction in bytes (APM vol. 3, 1.1).
pub(crate) const LONGEST: usize = 15;

/// The code bytes at CS:RIP.
pub(crate) struct Fetched {
    /// None if the emulator does not know it.
    pub(crate) instruction: Option<Instruction>,
    pub(crate) bytes: [u8; LONGEST],
    pub(crate) length: u8,
}

/// Fetches and decodes the instruction at CS:RIP.
///
/// The second page is translated only if the instruction reaches into it, so that code which ends
/// at a page's end raises no fault for the next page.
pub(crate) fn fetch<C: Registers, M: PhysicalMemory>(
    machine: &mut Machine<'_, C, M>,
) -> Result<Fetched, Stop> {
    let mut bytes = [0; LONGEST];
    let mut length = 0;
    let wanted = within_limit(machine.cpu, machine.code_size)?;
    // One part per page; an instruction spans two at most.
    for _ in 0..2 {
        length += fetch_part(machine, bytes.get_mut(length..wanted).unwrap_or_default(), length)?;
        let fetched = bytes.get(..length).unwrap_or_default();
        let instruction = match decode(fetched, machine.code_size) {
            Ok(instruction) => Some(instruction),
            Err(DecodeError::Undefined) => return Err(Exception::INVALID_OPCODE.into()),
            Err(DecodeError::TooLong) => return Err(Exception::GENERAL_PROTECTION.into()),
            Err(DecodeError::Incomplete) if length < wanted => continue,
            // The remaining bytes are beyond the limit of CS.
            Err(DecodeError::Incomplete) => return Err(Exception::GENERAL_PROTECTION.into()),
            Err(DecodeError::Unsupported) => None,
        };
        return Ok(Fetched { instruction, bytes, length: length as u8 });
    }
    Err(Exception::GENERAL_PROTECTION.into())
}

/// How many bytes from RIP on lie inside CS, 15 at most; #GP(0) if none.
fn within_limit(cpu: &impl Registers, code_size: CodeSize) -> Result<usize, Stop> {
    if code_size == CodeSize::Bits64 {
        return Ok(LONGEST);
    }
    let limit = u64::from(cpu.segment(SegmentRegister::Cs).limit);
    match (limit + 1).checked_sub(cpu.rip()) {
        None | Some(0) => Err(Exception::GENERAL_PROTECTION.into()),
        Some(left) => Ok(left.min(LONGEST as u64) as usize),
    }
}

/// Fetches the part of `bytes` that is in one page, starting `done` bytes after RIP; returns the
/// count.
fn fetch_part<C: Registers, M: PhysicalMemory>(
    machine: &mut Machine<'_, C, M>,
    bytes: &mut [u8],
    done: usize,
) -> Result<usize, Stop> {
    let rip = machine.cpu.rip().wrapping_add(done as u64);
    let linear = if machine.code_size == CodeSize::Bits64 {
        rip
    } else {
        machine.cpu.segment(SegmentRegister::Cs).base.wrapping_add(rip) & 0xFFFF_FFFF
    };
    let in_page = 0x1000 - (linear & 0xFFF) as usize;
    let count = in_page.min(bytes.len());
    let gpa = machine
        .paging
        .translate(machine.memory, linear, Access::Execute)
        .map_err(|error| Stop::of_walk(error, SegmentRegister::Cs))?;
    machine.memory.fetch(gpa, bytes.get_mut(..count).unwrap_or_default())?;
    Ok(count)
}
