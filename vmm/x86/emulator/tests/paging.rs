//! Page walks, bit by bit.
mod common;

use common::{LIMITS, Memory, Vp};
use emulator::{Access, Limits, Outcome, Paging, WalkError, emulate};

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const NX: u64 = 1 << 63;
const LINEAR: u64 = 0x0000_7F81_4060_5678;
const FULL: u64 = P | W | U;

const LEVELS: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];

fn index(linear: u64, level: u32) -> u64 {
    (linear >> (3 + 9 * level)) & 0x1FF
}

fn entry_at(level: u32) -> u64 {
    LEVELS[4 - level as usize] + 8 * index(LINEAR, level)
}

/// 4-level tables that map LINEAR to 0x9678.
fn long_mode() -> (Vp, Memory) {
    let mut vp = Vp::long();
    vp.cr0 = 1 << 31 | 1 << 16 | 1;
    vp.cr3 = LEVELS[0];
    vp.cr4 |= 1 << 5;
    vp.efer |= 1 << 11;
    let mut memory = Memory::new();
    for level in [4, 3, 2] {
        let next = LEVELS[5 - level as usize];
        memory.put(entry_at(level), &(next | FULL).to_le_bytes());
    }
    memory.put(entry_at(1), &(0x9000 | FULL).to_le_bytes());
    (vp, memory)
}

fn translate(vp: &Vp, memory: &mut Memory, access: Access) -> Result<u64, WalkError> {
    Paging::of(vp, LIMITS).translate(memory, LINEAR, access)
}

fn fault(error_code: u32) -> Result<u64, WalkError> {
    Err(WalkError::Fault { linear: LINEAR, error_code })
}

fn change(memory: &mut Memory, level: u32, set: u64, clear: u64) {
    let value = (memory.u64_at(entry_at(level)) | set) & !clear;
    memory.put(entry_at(level), &value.to_le_bytes());
}

#[test]
fn accessed_and_dirty_bits() {
    let (vp, mut memory) = long_mode();
    assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));
    for level in 1..=4 {
        assert_eq!(memory.u64_at(entry_at(level)) & (A | D), A, "level {level}");
    }
    assert_eq!(translate(&vp, &mut memory, Access::Write), Ok(0x9678));
    assert_eq!(memory.u64_at(entry_at(1)) & (A | D), A | D);
    assert_eq!(memory.u64_at(entry_at(2)) & (A | D), A);
}

#[test]
fn refused_accesses_leave_dirty_clear() {
    let (mut vp, mut memory) = long_mode();
    vp.cpl = 3;
    change(&mut memory, 1, 0, W);
    assert_eq!(translate(&vp, &mut memory, Access::Write), fault(7));
    assert_eq!(memory.u64_at(entry_at(1)) & (A | D), 0);
}

#[test]
fn absent_at_each_level() {
    for level in 1..=4 {
        for (cpl, access, code) in [
            (0, Access::Read, 0),
            (0, Access::Write, 2),
            (3, Access::Read, 4),
            (3, Access::Write, 6),
            (3, Access::Execute, 0x14),
        ] {
            let (mut vp, mut memory) = long_mode();
            vp.cpl = cpl;
            change(&mut memory, level, 0, P);
            assert_eq!(translate(&vp, &mut memory, access), fault(code), "level {level}");
        }
    }
}

#[test]
fn permissions_at_each_level() {
    for level in 1..=4 {
        let (mut vp, mut memory) = long_mode();
        change(&mut memory, level, 0, W);
        assert_eq!(translate(&vp, &mut memory, Access::Write), fault(3));
        assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));
        vp.cr0 &= !(1 << 16);
        assert_eq!(translate(&vp, &mut memory, Access::Write), Ok(0x9678), "WP clear");
        vp.cpl = 3;
        assert_eq!(translate(&vp, &mut memory, Access::Write), fault(7), "user, WP clear");

        let (mut vp, mut memory) = long_mode();
        change(&mut memory, level, 0, U);
        vp.cpl = 3;
        assert_eq!(translate(&vp, &mut memory, Access::Read), fault(5));
        vp.cpl = 0;
        assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));

        let (mut vp, mut memory) = long_mode();
        change(&mut memory, level, NX, 0);
        assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));
        assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(0x11));
        vp.efer &= !(1 << 11);
        assert_eq!(translate(&vp, &mut memory, Access::Read), fault(9), "NX is reserved");
        assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(9));
    }
}

#[test]
fn smep_and_smap() {
    let (mut vp, mut memory) = long_mode();
    vp.cr4 |= 1 << 20 | 1 << 21;
    assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(0x11));
    assert_eq!(translate(&vp, &mut memory, Access::Read), fault(1));
    assert_eq!(translate(&vp, &mut memory, Access::Write), fault(3));
    vp.rflags |= 1 << 18;
    assert_eq!(translate(&vp, &mut memory, Access::Write), Ok(0x9678));
    assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(0x11));
    vp.cpl = 3;
    vp.rflags = 2;
    assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));
    // SMEP alone tells fetches apart in the error code.
    vp.efer &= !(1 << 11);
    change(&mut memory, 1, 0, P);
    assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(0x14));
    vp.cr4 &= !(1 << 20);
    assert_eq!(translate(&vp, &mut memory, Access::Execute), fault(4));
}

#[test]
fn reserved_bits() {
    // Physical addresses have 48 bits here, so 48 to 51 are reserved at each level.
    for level in 1..=4 {
        for bit in 48..52 {
            let (vp, mut memory) = long_mode();
            change(&mut memory, level, 1 << bit, 0);
            assert_eq!(translate(&vp, &mut memory, Access::Read), fault(9), "{level} {bit}");
        }
        for bit in (52..63).chain([9, 10, 11]) {
            let (vp, mut memory) = long_mode();
            change(&mut memory, level, 1 << bit, 0);
            assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678), "{level} {bit}");
        }
    }
    let (vp, mut memory) = long_mode();
    change(&mut memory, 4, PS, 0);
    assert_eq!(translate(&vp, &mut memory, Access::Write), fault(0xB));
    for (level, bits) in [(3, 13..30), (2, 13..21)] {
        for bit in bits {
            let (vp, mut memory) = long_mode();
            change(&mut memory, level, PS | 1 << bit, ADDRESS);
            change(&mut memory, level, 1 << bit, 0);
            assert_eq!(translate(&vp, &mut memory, Access::Read), fault(9), "{level} {bit}");
        }
    }
}

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

#[test]
fn large_pages() {
    let (vp, mut memory) = long_mode();
    change(&mut memory, 3, 0, ADDRESS);
    change(&mut memory, 3, PS | 0x40_0000_0000, 0);
    assert_eq!(
        translate(&vp, &mut memory, Access::Write),
        Ok(0x40_0000_0000 | LINEAR & 0x3FFF_FFFF)
    );
    assert_eq!(memory.u64_at(entry_at(3)) & (A | D), A | D);
    let limits = Limits { gigabyte_pages: false, ..LIMITS };
    let refused = Paging::of(&vp, limits).translate(&mut memory, LINEAR, Access::Read);
    assert_eq!(refused, fault(9));

    let (vp, mut memory) = long_mode();
    change(&mut memory, 2, 0, ADDRESS);
    change(&mut memory, 2, PS | 0x8_0020_0000, 0);
    assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x8_0020_0000 | LINEAR & 0x1F_FFFF));
}

#[test]
fn five_levels() {
    let (mut vp, mut memory) = long_mode();
    vp.cr4 |= 1 << 12;
    vp.cr3 = 0x6000;
    memory.put(0x6000 + 8 * 0xFF, &(LEVELS[0] | FULL).to_le_bytes());
    let linear = LINEAR | 0xFF << 48;
    let paging = Paging::of(&vp, LIMITS);
    assert_eq!(paging.translate(&mut memory, linear, Access::Read), Ok(0x9678));
    assert_eq!(memory.u64_at(0x6000 + 8 * 0xFF) & A, A);
    let beyond = paging.translate(&mut memory, 1 << 57, Access::Read);
    assert_eq!(beyond, Err(WalkError::NonCanonical));
    vp.cr4 &= !(1 << 12);
    let four = Paging::of(&vp, LIMITS).translate(&mut memory, linear, Access::Read);
    assert_eq!(four, Err(WalkError::NonCanonical));
}

#[test]
fn legacy_paging() {
    let mut vp = Vp::protected();
    vp.cr0 |= 1 << 31;
    vp.cr3 = 0x1000;
    let mut memory = Memory::new();
    let linear = 0x40_5678;
    memory.put(0x1004, &0x2007_u32.to_le_bytes());
    memory.put(0x2014, &0x9007_u32.to_le_bytes());
    let walk = |vp: &Vp, memory: &mut Memory| {
        Paging::of(vp, LIMITS).translate(memory, linear, Access::Write)
    };
    assert_eq!(walk(&vp, &mut memory), Ok(0x9678));
    assert_eq!((memory.ram[0x1004], memory.ram[0x2014]), (0x27, 0x67));
    assert_eq!(memory.ram[0x2018], 0, "a neighbour is untouched");

    // 4 MiB page with address bits 39-32 = 0x12; only if CR4.PSE says so.
    let large = 0x00C0_0000_u32 | 0x12 << 13 | 0x87;
    memory.put(0x1004, &large.to_le_bytes());
    vp.cr4 |= 1 << 4;
    assert_eq!(walk(&vp, &mut memory), Ok(0x12_00C0_5678));
    memory.put(0x1004, &(large | 1 << 21).to_le_bytes());
    assert_eq!(walk(&vp, &mut memory), Err(WalkError::Fault { linear, error_code: 0xB }));
    // Fetches are not told apart without PAE, even if EFER.NXE is set.
    memory.put(0x1004, &[0]);
    vp.efer = 1 << 11;
    let fetch = Paging::of(&vp, LIMITS).translate(&mut memory, linear, Access::Execute);
    assert_eq!(fetch, Err(WalkError::Fault { linear, error_code: 0 }));
}

#[test]
fn pae_paging() {
    let mut vp = Vp::protected();
    vp.cr0 |= 1 << 31;
    vp.cr4 |= 1 << 5;
    vp.cr3 = 0x1020;
    let mut memory = Memory::new();
    let linear = 0xC060_5678;
    memory.put(0x1020 + 24, &0x2001_u64.to_le_bytes());
    memory.put(0x2000 + 8 * 3, &0x3007_u64.to_le_bytes());
    memory.put(0x3000 + 8 * 5, &0x9007_u64.to_le_bytes());
    let walk = |vp: &Vp, memory: &mut Memory| {
        Paging::of(vp, LIMITS).translate(memory, linear, Access::Write)
    };
    assert_eq!(walk(&vp, &mut memory), Ok(0x9678));
    assert_eq!(memory.u64_at(0x1038), 0x2001, "pointers have no accessed bit");
    memory.put(0x1038, &(0x2021_u64).to_le_bytes());
    assert_eq!(walk(&vp, &mut memory), Ok(0x9678), "emulated CPUs mark pointers as accessed");
    for bit in [1, 2, 6, 7, 8, 48, 52, 62, 63] {
        memory.put(0x1038, &(0x2001_u64 | 1 << bit).to_le_bytes());
        assert_eq!(
            walk(&vp, &mut memory),
            Err(WalkError::Fault { linear, error_code: 0xB }),
            "{bit}"
        );
    }
    memory.put(0x1038, &0x2001_u64.to_le_bytes());
    memory.put(0x3000 + 8 * 5, &(0x9007_u64 | 1 << 52).to_le_bytes());
    assert_eq!(walk(&vp, &mut memory), Err(WalkError::Fault { linear, error_code: 0xB }));
    memory.put(0x2018, &0x4000_0087_u64.to_le_bytes());
    assert_eq!(walk(&vp, &mut memory), Ok(0x4000_5678));
    vp.cr0 &= !(1 << 31);
    assert_eq!(walk(&vp, &mut memory), Ok(linear));
}

#[test]
fn contention_restarts_the_walk_and_ends() {
    let (vp, mut memory) = long_mode();
    memory.contention = 2;
    assert_eq!(translate(&vp, &mut memory, Access::Read), Ok(0x9678));
    let (vp, mut memory) = long_mode();
    memory.contention = u32::MAX;
    assert_eq!(translate(&vp, &mut memory, Access::Read), Err(WalkError::Contended));
}

#[test]
fn tables_outside_of_memory_read_as_ones() {
    let (mut vp, mut memory) = long_mode();
    vp.cr3 = 0x7000_0000;
    assert_eq!(translate(&vp, &mut memory, Access::Read), fault(9));
}

/// A write across pages faults on the second one before the first one changes.
#[test]
fn crossing_accesses_translate_both_pages_first() {
    let (mut vp, mut memory) = long_mode();
    vp.cpl = 3;
    let page = LINEAR & !0xFFF;
    vp.rip = page;
    vp.gprs[3] = page + 0xFFD;
    memory.put(0x9000, &[0x48, 0x89, 0x03]);
    vp.gprs[0] = 0x0807_0605_0403_0201;
    let Outcome::Exception(exception) = emulate(&mut vp, &mut memory, LIMITS) else {
        panic!("no fault");
    };
    assert_eq!((exception.vector, exception.error_code), (14, Some(6)));
    assert_eq!(exception.cr2, Some(page + 0x1000));
    assert_eq!(memory.ram[0x9FFD..0xA000], [0, 0, 0]);

    memory.put(entry_at(1) + 8, &(0xC000 | FULL).to_le_bytes());
    assert_eq!(emulate(&mut vp, &mut memory, LIMITS), common::DONE);
    assert_eq!(memory.ram[0x9FFD..0xA000], [1, 2, 3]);
    assert_eq!(memory.ram[0xC000..0xC006], [4, 5, 6, 7, 8, 0]);
    // The written bytes come back.
    vp.rip = page;
    memory.put(0x9000, &[0x48, 0x8B, 0x0B]);
    assert_eq!(emulate(&mut vp, &mut memory, LIMITS), common::DONE);
    assert_eq!(vp.gprs[1], vp.gprs[0]);
}

#[test]
fn non_canonical_operands() {
    for (code, vector) in [(&[0x8B, 0x03][..], 13), (&[0x8B, 0x45, 0x00], 12), (&[0x50], 12)] {
        let (mut vp, mut memory) = long_mode();
        vp.rip = LINEAR & !0xFFF;
        memory.put(0x9000, code);
        for register in [3, 4, 5] {
            vp.gprs[register] = 0x8000_0000_0010;
        }
        assert_eq!(emulate(&mut vp, &mut memory, LIMITS), common::exception(vector, Some(0)));
    }
}
