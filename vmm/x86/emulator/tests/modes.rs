//! Segments and addresses in every operating mode.
mod common;

use common::{CODE_AT, DEVICE, DONE, Event, Memory, Vp, exception, run};
use emulator::Outcome;
use proptest::prelude::*;
use x86::Attributes;

const CS: usize = 1;
const SS: usize = 2;
const DS: usize = 3;
const FS: usize = 4;
const RBX: usize = 3;
const RBP: usize = 5;
const RSI: usize = 6;

#[test]
fn real_mode_addresses_and_limits() {
    let mut vp = Vp::real();
    let mut memory = Memory::new();
    vp.segments[DS].base = 0x1_2340;
    vp.gprs[RBX] = 0xABCD_FFF0;
    vp.gprs[RSI] = 0x20;
    vp.gprs[0] = 0xFFFF_5A5A;
    // MOV [BX+SI], AX wraps within 64 KiB.
    assert_eq!(run(&mut vp, &mut memory, &[0x89, 0x00]), DONE);
    assert_eq!(memory.ram[0x1_2350..0x1_2352], [0x5A, 0x5A]);
    // A word at FFFF reaches beyond the limit.
    vp.rip = CODE_AT;
    vp.gprs[RSI] = 0x0F;
    assert_eq!(run(&mut vp, &mut memory, &[0x89, 0x00]), exception(13, Some(0)));
    // The same through BP is a stack fault.
    vp.gprs[RBP] = 0xFFFF;
    assert_eq!(run(&mut vp, &mut memory, &[0x89, 0x46, 0x00]), exception(12, Some(0)));
    // CS override may write in real mode.
    vp.gprs[RSI] = 0x10;
    vp.segments[CS].attributes = Attributes::from_bits(0x99);
    assert_eq!(run(&mut vp, &mut memory, &[0x2E, 0x88, 0x00]), DONE);
    assert_eq!(memory.ram[0], 0x5A);
}

#[test]
fn prefixes_reach_32_bits_from_real_mode() {
    let mut vp = Vp::real();
    let mut memory = Memory::new();
    vp.segments[DS].limit = u32::MAX;
    vp.gprs[RBX] = DEVICE;
    vp.gprs[0] = 0x0102_0304;
    assert_eq!(run(&mut vp, &mut memory, &[0x67, 0x66, 0x89, 0x03]), DONE);
    assert_eq!(memory.events, [Event::Write(DEVICE, vec![4, 3, 2, 1])]);
}

#[test]
fn virtual_8086_mode_knows_no_types() {
    let mut vp = Vp::real();
    vp.cr0 = 1;
    vp.cpl = 3;
    vp.rflags |= 1 << 17;
    vp.segments[CS].attributes = Attributes::from_bits(0x4FB);
    let mut memory = Memory::new();
    // D of CS must not count.
    assert_eq!(run(&mut vp, &mut memory, &[0x2E, 0xC7, 0x06, 0x00, 0x40, 0x34, 0x12]), DONE);
    assert_eq!(memory.ram[0x4000..0x4004], [0x34, 0x12, 0, 0]);
}

/// Attributes of DS, whether a read and a write are allowed.
#[test]
fn protected_mode_types() {
    for (attributes, reads, writes) in [
        (0xC93, true, true),
        (0xC91, true, false),
        (0xC9B, true, false),
        (0xC99, false, false),
        (0xC13, false, false),
        (0, false, false),
    ] {
        for (code, allowed) in [([0x8A, 0x03], reads), ([0x88, 0x03], writes)] {
            let mut vp = Vp::protected();
            let mut memory = Memory::new();
            vp.segments[DS].attributes = Attributes::from_bits(attributes);
            vp.gprs[RBX] = 0x4000;
            let expected = if allowed { DONE } else { exception(13, Some(0)) };
            assert_eq!(run(&mut vp, &mut memory, &code), expected, "{attributes:X} {code:X?}");
        }
    }
}

#[test]
fn protected_mode_limits() {
    // Attributes, limit, offset, allowed; a double word each.
    for (attributes, limit, offset, allowed) in [
        (0xC93_u16, 0x4003_u32, 0x4000_u64, true),
        (0xC93, 0x4002, 0x4000, false),
        (0xC93, u32::MAX, 0xFFFF_FFFE, false),
        (0xC97, 0x3FFF, 0x4000, true),
        (0xC97, 0x4000, 0x4000, false),
        (0x897, 0x3FFF, 0xFFFD, false),
        (0x897, 0x3FFF, 0xFFFC, true),
    ] {
        let mut vp = Vp::protected();
        let mut memory = Memory::new();
        vp.segments[DS].attributes = Attributes::from_bits(attributes);
        vp.segments[DS].limit = limit;
        vp.gprs[RBX] = offset;
        let expected = if allowed { DONE } else { exception(13, Some(0)) };
        let outcome = run(&mut vp, &mut memory, &[0x8B, 0x03]);
        assert_eq!(outcome, expected, "{attributes:X} {limit:X} {offset:X}");
    }
}

#[test]
fn long_mode_uses_only_fs_and_gs() {
    let mut vp = Vp::long();
    let mut memory = Memory::new();
    for segment in &mut vp.segments {
        (segment.base, segment.limit) = (0x1000, 0);
    }
    vp.gprs[RBX] = 0x4000;
    vp.gprs[0] = 0x77;
    assert_eq!(run(&mut vp, &mut memory, &[0x88, 0x03]), DONE);
    assert_eq!(memory.ram[0x4000], 0x77);
    vp.rip = CODE_AT;
    vp.segments[FS].base = 0x1_0000_0000;
    vp.gprs[RBX] = 0x4001_u64.wrapping_sub(0x1_0000_0000);
    assert_eq!(run(&mut vp, &mut memory, &[0x64, 0x88, 0x03]), DONE);
    assert_eq!(memory.ram[0x4001], 0x77);
    // An override that 64-bit mode ignores.
    vp.rip = CODE_AT;
    vp.gprs[RBX] = 0x4002;
    assert_eq!(run(&mut vp, &mut memory, &[0x3E, 0x88, 0x03]), DONE);
    assert_eq!(memory.ram[0x4002], 0x77);
}

#[test]
fn rip_relative_counts_from_the_next_instruction() {
    let mut vp = Vp::long();
    let mut memory = Memory::new();
    assert_eq!(run(&mut vp, &mut memory, &[0xC6, 0x05, 0xF9, 0xFF, 0xFF, 0xFF, 0x42]), DONE);
    assert_eq!(memory.ram[CODE_AT as usize], 0x42);
}

#[test]
fn compatibility_mode_wraps_linear_addresses() {
    let mut vp = Vp::protected();
    vp.efer = 1 << 10;
    let mut memory = Memory::new();
    vp.segments[DS].base = 0xFFFF_F000;
    vp.gprs[RBX] = 0x2000;
    vp.gprs[0] = 0x99;
    assert_eq!(run(&mut vp, &mut memory, &[0x88, 0x03]), DONE);
    assert_eq!(memory.ram[0x1000], 0x99);
}

#[test]
fn a_16_bit_stack_wraps_and_keeps_the_upper_half() {
    let mut vp = Vp::real();
    let mut memory = Memory::new();
    vp.gprs[4] = 0xAAAA_0000;
    vp.gprs[RBX] = 0x4000;
    memory.put(0x4000, &[0x34, 0x12]);
    assert_eq!(run(&mut vp, &mut memory, &[0xFF, 0x37]), DONE);
    assert_eq!((vp.gprs[4], &memory.ram[0xFFFE..0x1_0000]), (0xAAAA_FFFE, &[0x34, 0x12][..]));
    vp.segments[SS].limit = 0xFFF;
    vp.rip = CODE_AT;
    assert_eq!(run(&mut vp, &mut memory, &[0xFF, 0x37]), exception(12, Some(0)));
    assert_eq!(vp.gprs[4], 0xAAAA_FFFE);
}

#[test]
fn code_ends_at_its_limit() {
    let mut vp = Vp::protected();
    let mut memory = Memory::new();
    vp.gprs[RBX] = 0x4000;
    vp.segments[CS].limit = CODE_AT as u32 + 1;
    assert_eq!(run(&mut vp, &mut memory, &[0x88, 0x03]), DONE);
    vp.rip = CODE_AT;
    assert_eq!(run(&mut vp, &mut memory, &[0xC6, 0x03, 1]), exception(13, Some(0)));
    vp.rip = CODE_AT + 2;
    assert_eq!(run(&mut vp, &mut memory, &[0x88, 0x03]), exception(13, Some(0)));
}

#[test]
fn user_alignment_checks() {
    let mut vp = Vp::long();
    let mut memory = Memory::new();
    vp.gprs[RBX] = 0x4001;
    vp.cr0 |= 1 << 18;
    vp.rflags |= 1 << 18;
    assert_eq!(run(&mut vp, &mut memory, &[0x8B, 0x03]), DONE);
    (vp.rip, vp.cpl) = (CODE_AT, 3);
    assert_eq!(run(&mut vp, &mut memory, &[0x8B, 0x03]), exception(17, Some(0)));
    assert_eq!(run(&mut vp, &mut memory, &[0x8A, 0x03]), DONE);
}

#[test]
fn branches_check_their_target() {
    let mut vp = Vp::protected();
    let mut memory = Memory::new();
    vp.gprs[RBX] = DEVICE;
    vp.segments[CS].limit = 0x1_0000;
    memory.device = 0x1_0001;
    assert_eq!(run(&mut vp, &mut memory, &[0xFF, 0x23]), exception(13, Some(0)));
    memory.device = 0x1_0000;
    assert_eq!(run(&mut vp, &mut memory, &[0xFF, 0x23]), DONE);
    assert_eq!(vp.rip, 0x1_0000);
    let mut vp = Vp::long();
    vp.gprs[RBX] = DEVICE;
    memory.device = 1 << 47;
    assert_eq!(run(&mut vp, &mut memory, &[0xFF, 0x23]), exception(13, Some(0)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes and any registers in any mode: an outcome, and RIP moves on `Done` only.
    #[test]
    fn nothing_panics(
        code in proptest::collection::vec(any::<u8>(), 15),
        gprs in proptest::array::uniform16(prop_oneof![any::<u64>(), 0..0x10_0000_u64, DEVICE - 16..DEVICE + 0x1010]),
        controls: [u64; 4], rflags: u64, attributes: [u16; 6], limits: [u32; 6], bases: [u64; 6],
        cpl in 0..4_u8, simple: bool, rip in prop_oneof![0x8000..0x9000_u64, any::<u64>()],
    ) {
        let mut vp = if simple { Vp::long() } else { Vp::protected() };
        vp.gprs = gprs;
        vp.rip = rip;
        if !simple {
            [vp.cr0, vp.cr3, vp.cr4, vp.efer] = controls;
            vp.cr3 &= 0xFF000;
            (vp.rflags, vp.cpl) = (rflags, cpl);
            for (n, segment) in vp.segments.iter_mut().enumerate() {
                (segment.attributes, segment.limit, segment.base) = (Attributes::from_bits(attributes[n]), limits[n], bases[n]);
            }
        }
        let mut memory = Memory::new();
        // Random page tables: the code's own bytes everywhere.
        for page in 0..256_usize {
            let n = page * 0x1000;
            memory.ram[n..n + 15].copy_from_slice(&code);
        }
        memory.put(rip & 0x8FFF, &code);
        let before = vp.clone();
        let outcome = emulator::emulate(&mut vp, &mut memory, common::LIMITS);
        if !matches!(outcome, Outcome::Done { .. }) {
            prop_assert_eq!(vp.rip, before.rip);
        }
        if matches!(outcome, Outcome::Unsupported { .. }) {
            prop_assert_eq!(&vp, &before);
            prop_assert!(memory.events.is_empty());
        }
    }
}
