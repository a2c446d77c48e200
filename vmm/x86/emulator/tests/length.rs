//! Lengths of instructions that have exited.
mod common;

use common::{CODE_AT, LIMITS, Memory, Vp};
use emulator::{Exception, LengthError, Opcode, instruction_length};

/// Long mode with one 2 MiB page over all RAM, at 1 GiB.
const BASE: u64 = 0x4000_0000;

fn long_mode() -> (Vp, Memory) {
    let mut vp = Vp::long();
    vp.cr0 |= 1 << 31;
    vp.cr4 |= 1 << 5;
    vp.cr3 = 0x1000;
    vp.rip = BASE + CODE_AT;
    let mut memory = Memory::new();
    memory.put(0x1000, &0x2007_u64.to_le_bytes());
    memory.put(0x2008, &0x3007_u64.to_le_bytes());
    memory.put(0x3000, &0x87_u64.to_le_bytes());
    (vp, memory)
}

fn length(vp: &Vp, memory: &mut Memory, opcode: Opcode) -> Result<u8, LengthError> {
    instruction_length(vp, memory, LIMITS, opcode)
}

#[test]
fn opcodes_with_and_without_prefixes() {
    let cases: &[(&[u8], Opcode, Option<u8>)] = &[
        (&[0x0F, 0xA2], Opcode::CPUID, Some(2)),
        (&[0x0F, 0xA2, 0x90], Opcode::RDMSR, None),
        (&[0x0F, 0x30], Opcode::WRMSR, Some(2)),
        (&[0x0F, 0x32], Opcode::RDMSR, Some(2)),
        (&[0xF4], Opcode::HLT, Some(1)),
        (&[0x0F, 0x01, 0xD9], Opcode::VMMCALL, Some(3)),
        (&[0xF3, 0x0F, 0x01, 0xD9], Opcode::VMMCALL, Some(4)),
        (&[0x0F, 0x01, 0xD8], Opcode::VMMCALL, None),
        (&[0x0F, 0x01, 0xD1], Opcode::XSETBV, Some(3)),
        (&[0x66, 0x48, 0x0F, 0xA2], Opcode::CPUID, Some(4)),
        (&[0xF0, 0x0F, 0xA2], Opcode::CPUID, None),
        (&[0x66; 20], Opcode::CPUID, None),
    ];
    for (code, opcode, expected) in cases {
        let (vp, mut memory) = long_mode();
        memory.put(CODE_AT, code);
        assert_eq!(
            length(&vp, &mut memory, *opcode),
            expected.ok_or(LengthError::Changed),
            "{code:02X?}"
        );
    }
}

#[test]
fn fifteen_bytes_at_most() {
    let (vp, mut memory) = long_mode();
    memory.put(CODE_AT, &[&[0x66; 13][..], &[0x0F, 0xA2]].concat());
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Ok(15));
    memory.put(CODE_AT, &[&[0x66; 14][..], &[0x0F, 0xA2]].concat());
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Err(LengthError::Changed));
}

#[test]
fn the_quick_path_reads_little() {
    let (vp, mut memory) = long_mode();
    memory.put(CODE_AT, &[0x0F, 0xA2]);
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Ok(2));
    assert_eq!(memory.reads, [(0x1000, 8), (0x2008, 8), (0x3000, 8)]);
    assert_eq!(memory.fetches, [(CODE_AT, 4)]);
    assert_eq!(memory.u64_at(0x3000), 0x87, "accessed bits stay as they are");
}

#[test]
fn four_kilobyte_pages_and_the_end_of_one() {
    let (mut vp, mut memory) = long_mode();
    memory.put(0x3000, &0x4007_u64.to_le_bytes());
    memory.put(0x4000 + 8 * 8, &0x9007_u64.to_le_bytes());
    memory.put(0x9FFE, &[0x0F, 0xA2]);
    vp.rip = BASE + 0x8FFE;
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Ok(2), "no byte of the next page");
    vp.rip = BASE + 0x8FFF;
    memory.put(0x9FFF, &[0x0F]);
    let fault = Exception { vector: 14, error_code: Some(0), cr2: Some(BASE + 0x9000) };
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Err(LengthError::Exception(fault)));
    memory.put(0x4000 + 8 * 9, &0xB007_u64.to_le_bytes());
    memory.put(0xB000, &[0xA2]);
    assert_eq!(length(&vp, &mut memory, Opcode::CPUID), Ok(2));
}

#[test]
fn other_modes() {
    let mut memory = Memory::new();
    memory.put(CODE_AT + 0x100, &[0x26, 0xF4]);
    for mut vp in [Vp::real(), Vp::protected()] {
        vp.segments[1].base = 0x100;
        assert_eq!(length(&vp, &mut memory, Opcode::HLT), Ok(2));
    }
    // 48 is DEC there, no prefix.
    memory.put(CODE_AT, &[0x48, 0xF4]);
    assert_eq!(length(&Vp::protected(), &mut memory, Opcode::HLT), Err(LengthError::Changed));
}
