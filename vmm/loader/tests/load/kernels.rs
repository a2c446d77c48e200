//! Each kind of kernel, and mutated ones.

use loader::{Entry, LoadError, Mode};
use proptest::prelude::*;

use crate::setup::*;

#[test]
fn linux_in_64_bit_mode() {
    let mut setup = Setup::new(bz_image(0x20F, true));
    setup.initrd = Some(vec![0x5A; 5000]);
    let (entry, memory) = setup.loaded();
    assert_eq!(entry.rip, 0x100_0200);
    assert_eq!(memory.at(0x100_0000, 0x2000), &setup.kernel[3 * 512..]);
    let params = entry.rsi;
    assert_eq!(memory.at(params + 0x202, 4), b"HdrS");
    assert_eq!(memory.number(params + 0x210, 1), 0xFF);
    assert_eq!(memory.number(params + 0x214, 4), 0x100_0000);
    assert_eq!(memory.number(params + 0x070, 8), 0xF_0010);
    assert!(memory.at(params, 0x70).iter().all(|&b| b == 0), "screen_info is not zero");
    assert!(memory.at(params + 0x26C, 0x2D0 - 0x26C).iter().all(|&b| b == 0));
    assert_eq!(memory.text(memory.number(params + 0x228, 4)), "console=ttyS0");
    // The initrd ends at the top of RAM.
    let (start, length) = (memory.number(params + 0x218, 4), memory.number(params + 0x21C, 4));
    assert_eq!((start, length), (RAM_END - 8192, 5000));
    assert_eq!(memory.at(start, 5000), &[0x5A; 5000]);
    let entries = memory.number(params + 0x1E8, 1);
    assert_eq!(entries, setup.map.len() as u64);
    for (index, expected) in setup.map.iter().enumerate() {
        let at = params + 0x2D0 + 20 * index as u64;
        let found = [memory.number(at, 8), memory.number(at + 8, 8), memory.number(at + 16, 4)];
        assert_eq!(found, [expected.start, expected.length, expected.kind as u64]);
    }
    check_identity_map(&entry, &memory);
}

fn check_identity_map(entry: &Entry, memory: &Memory) {
    let Mode::Long64 { page_tables } = entry.mode else { panic!("not 64-bit") };
    for linear in [0, 0x1F_FFFF, 0x20_0000, 0x100_0200, 0x4000_0000, 0xFFFF_FFFF_u64] {
        let mut table = page_tables;
        for shift in [39, 30, 21] {
            let value = memory.number(table + 8 * (linear >> shift & 0x1FF), 8);
            assert_eq!(value & 3, 3, "{linear:#x} is not mapped");
            assert_eq!(value & 0x80 != 0, shift == 21);
            table = value & !0xFFF;
        }
        assert_eq!(table, linear & !0x1F_FFFF);
    }
}

#[test]
fn descriptors_agree_with_the_gdt() {
    for long in [false, true] {
        let (entry, memory) = Setup::new(bz_image(0x20F, long)).loaded();
        assert_eq!((entry.code.selector, entry.data.selector), (0x10, 0x18));
        let expected = if long { 0x00AF_9B00_0000_FFFF } else { 0x00CF_9B00_0000_FFFF };
        assert_eq!(memory.number(entry.gdt + 0x10, 8), expected);
        assert_eq!(memory.number(entry.gdt + 0x18, 8), 0x00CF_9300_0000_FFFF);
        assert_eq!(memory.number(entry.gdt + 0x20, 8), 0x0000_8B00_0000_0067);
        assert_eq!(entry.gdt_limit, 0x27);
    }
}

#[test]
fn linux_in_32_bit_mode() {
    let (entry, memory) = Setup::new(bz_image(0x20C, false)).loaded();
    assert_eq!((entry.mode, entry.rip, entry.rbx), (Mode::Protected32, 0x100_0000, 0));
    assert_eq!(memory.number(entry.rsi + 0x70, 8), 0, "2.12 knows no RSDP address");
    // Before 2.10 there is no preferred address, before 2.12 no 64-bit entry.
    let (entry, _) = Setup::new(bz_image(0x209, true)).loaded();
    assert_eq!((entry.mode, entry.rip), (Mode::Protected32, 0x10_0000));
}

#[test]
fn linux_moves_away_from_reserved_ranges() {
    let mut setup = Setup::new(bz_image(0x20F, true));
    put(&mut setup.kernel, 0x258, &0x60_0000_u64.to_le_bytes());
    let (entry, _) = setup.loaded();
    assert_eq!((entry.rip - 0x200) % 0x20_0000, 0);
    assert_eq!(entry.rip, 0x80_0200, "the lowest place above the preferred one");
    setup.kernel[0x234] = 0;
    assert_eq!(setup.refused(), LoadError::Overlaps { start: 0x60_0000, end: 0xB0_0000 });
    put(&mut setup.kernel, 0x258, &0x300_0000_u64.to_le_bytes());
    assert_eq!(setup.refused(), LoadError::OutsideRam { start: 0x300_0000, end: 0x350_0000 });
    setup.kernel[0x234] = 1;
    put(&mut setup.kernel, 0x260, &0x7000_0000_u32.to_le_bytes());
    assert_eq!(setup.refused(), LoadError::KernelTooBig { length: 0x7000_0000, below: 1 << 32 });
}

#[test]
fn linux_refusals() {
    let change = |offset: usize, value: &[u8]| {
        let mut image = bz_image(0x20F, true);
        put(&mut image, offset, value);
        Setup::new(image)
    };
    assert_eq!(change(0x206, &[1, 2]).refused(), LoadError::ProtocolTooOld { version: 0x201 });
    assert_eq!(change(0x211, &[0]).refused(), LoadError::LoadedLow);
    assert_eq!(change(0x202, b"XXXX").refused(), LoadError::NotAKernel);
    let mut cut = Setup::new(bz_image(0x20F, true));
    cut.kernel.truncate(3 * 512 + 0x200);
    assert!(matches!(cut.refused(), LoadError::Truncated { .. }));
    cut.kernel.truncate(0x240);
    assert!(matches!(cut.refused(), LoadError::Truncated { .. }));
    cut.broken = true;
    assert_eq!(cut.refused(), LoadError::HostRead);
    let mut initrd = Setup::new(bz_image(0x20F, true));
    initrd.initrd = Some(vec![0; 45 << 20]);
    let error = LoadError::InitrdTooBig { length: 45 << 20, below: 0x8000_0000 };
    assert_eq!(initrd.refused(), error);
    assert!(error.to_string().contains("below 0x80000000"));
}

#[test]
fn initrd_stays_below_its_limit() {
    let mut setup = Setup::new(bz_image(0x20F, true));
    put(&mut setup.kernel, 0x22C, &0x7F_FFFF_u32.to_le_bytes());
    setup.initrd = Some(vec![1; 0x20_0000]);
    let (entry, memory) = setup.loaded();
    // 0x710000 to 0x800000 is too small, so it goes below the reserved range.
    assert_eq!(memory.number(entry.rsi + 0x218, 4), 0x50_0000);
}

#[test]
fn command_lines_have_the_kernels_limit() {
    let mut setup = Setup::new(bz_image(0x20F, true));
    setup.line = vec![b'a'; 2047];
    let (entry, memory) = setup.loaded();
    assert_eq!(memory.text(memory.number(entry.rsi + 0x228, 4)).len(), 2047);
    setup.line.push(b'a');
    let error = LoadError::CommandLineTooLong { limit: 2047, length: 2048 };
    assert_eq!(setup.refused(), error);
    assert!(error.to_string().contains("2048 bytes") && error.to_string().contains("2047"));
    put(&mut setup.kernel, 0x206, &[5, 2]);
    assert_eq!(setup.refused(), LoadError::CommandLineTooLong { limit: 255, length: 2048 });
    setup.line = b"a\0b".to_vec();
    assert_eq!(setup.refused(), LoadError::CommandLineHasNul);
}

#[test]
fn pvh_in_both_classes() {
    for long in [false, true] {
        let mut setup = Setup::new(pvh(long));
        setup.initrd = Some(vec![7; 100]);
        let (entry, memory) = setup.loaded();
        assert_eq!((entry.mode, entry.rip, entry.rsi), (Mode::Protected32, 0x10_0004, 0));
        assert_eq!(memory.at(0x10_0000, 12), b"kernel text\0");
        assert!(memory.at(0x10_000B, 0x3000 - 11).iter().all(|&b| b == 0), "bss is dirty");
        assert_eq!(memory.at(0x10_3000, 1), [0xEE], "more than bss was cleared");
        let info = entry.rbx;
        assert_eq!(memory.number(info, 4), 0x336E_C578);
        assert_eq!((memory.number(info + 4, 4), memory.number(info + 12, 4)), (1, 1));
        let list = memory.number(info + 16, 8);
        assert_eq!((memory.number(list, 8), memory.number(list + 8, 8)), (RAM_END - 4096, 100));
        assert_eq!(memory.text(memory.number(info + 24, 8)), "console=ttyS0");
        assert_eq!(memory.number(info + 32, 8), 0xF_0010);
        let table = memory.number(info + 40, 8);
        assert_eq!(memory.number(info + 48, 8), setup.map.len() as u64);
        assert_eq!(memory.number(table + 24 * 3, 8), RESERVED.0);
        assert_eq!(memory.number(table + 24 * 3 + 16, 8), 4);
    }
}

#[test]
fn pvh_refusals() {
    let text: (u64, u64, &[u8], u64) = (0x10_0000, 0, b"x", 0x1000);
    let at = |entry: u32| note(b"Xen\0", 18, &entry.to_le_bytes());
    let refused =
        |segments: &[_], notes: &[u8]| Setup::new(elf(true, 0, segments, notes)).refused();
    assert_eq!(refused(&[text], &[]), LoadError::NoEntryNote);
    assert_eq!(refused(&[text], &at(0x10_1000)), LoadError::EntryOutside { entry: 0x10_1000 });
    // Reserved memory is no place for an entry either.
    assert_eq!(refused(&[text], &at(0x70_0000)), LoadError::EntryOutside { entry: 0x70_0000 });
    let low: (u64, u64, &[u8], u64) = (RESERVED.0 - 1, 0, b"xy", 2);
    assert_eq!(refused(&[low], &at(0)), LoadError::Overlaps { start: 0x6F_FFFF, end: 0x70_0001 });
    let high: (u64, u64, &[u8], u64) = (u64::MAX, 0, b"xy", 2);
    assert_eq!(refused(&[high], &at(0)), LoadError::Overflow);
    let twice = refused(&[text, text], &at(0));
    assert_eq!(twice, LoadError::Overlaps { start: 0x10_0000, end: 0x10_1000 });
    let shrunk: (u64, u64, &[u8], u64) = (0x10_0000, 0, b"xy", 1);
    assert_eq!(refused(&[shrunk], &at(0)), LoadError::BadElf { field: "p_filesz" });
    let mut cut = Setup::new(pvh(true));
    cut.kernel.truncate(100);
    assert!(matches!(cut.refused(), LoadError::Truncated { .. }));
}

#[test]
fn multiboot_with_address_fields() {
    let mut setup = Setup::new(flat());
    setup.initrd = Some(vec![3; 10]);
    let (entry, memory) = setup.loaded();
    assert_eq!((entry.mode, entry.rip, entry.rax), (Mode::Protected32, 0x10_0100, 0x2BAD_B002));
    assert_eq!(memory.at(0x10_0000, 0x200), &setup.kernel);
    assert_eq!(memory.at(0x10_0200, 0x41)[0x3F..], [0, 0xEE]);
    let info = entry.rbx;
    assert_eq!(memory.number(info, 4), 0b10_0100_1101);
    assert_eq!(
        (memory.number(info + 4, 4), memory.number(info + 8, 4)),
        (0x9_F000 / 1024, 15 * 1024)
    );
    assert_eq!(memory.text(memory.number(info + 16, 4)), "console=ttyS0");
    assert_eq!(memory.text(memory.number(info + 64, 4)), "Paravane");
    let module = memory.number(info + 24, 4);
    let (start, end) = (memory.number(module, 4), memory.number(module + 4, 4));
    assert_eq!((memory.number(info + 20, 4), start, end), (1, 0x10_1000, 0x10_100A));
    assert_eq!(memory.text(memory.number(module + 8, 4)), "");
    let (length, at) = (memory.number(info + 44, 4), memory.number(info + 48, 4));
    assert_eq!(length, 24 * setup.map.len() as u64);
    assert_eq!((memory.number(at + 24, 4), memory.number(at + 28, 8)), (20, 0x9_F000));
}

#[test]
fn multiboot_elf_with_a_virtual_entry() {
    let mut text = vec![0; 0x40];
    put(
        &mut text,
        0,
        &[0x1BAD_B002_u32, 0, 0_u32.wrapping_sub(0x1BAD_B002)].map(u32::to_le_bytes).concat(),
    );
    let image = elf(false, 0xC010_0020, &[(0x10_0000, 0xC010_0000, &text, 0x40)], &[]);
    let (entry, memory) = Setup::new(image).loaded();
    assert_eq!(entry.rip, 0x10_0020);
    assert_eq!(memory.number(entry.rbx, 4) & 8, 0, "no modules");
    let image = elf(true, 0x10_0020, &[(0x10_0000, 0, &text, 0x40)], &[]);
    assert_eq!(Setup::new(image).refused(), LoadError::NoEntryNote);
}

#[test]
fn multiboot_refusals() {
    let mut unknown = flat();
    put(&mut unknown, 0x14, &(1_u32 << 16 | 1 << 5).to_le_bytes());
    let checksum = 0_u32.wrapping_sub(0x1BAD_B002 + (1 << 16 | 1 << 5));
    put(&mut unknown, 0x18, &checksum.to_le_bytes());
    assert_eq!(Setup::new(unknown).refused(), LoadError::NeedsUnknown { flags: 0x20 });
    let mut sum = flat();
    sum[0x18] ^= 1;
    assert_eq!(Setup::new(sum).refused(), LoadError::NotAKernel);
    let mut entry = flat();
    put(&mut entry, 0x2C, &0x20_0000_u32.to_le_bytes());
    assert_eq!(Setup::new(entry).refused(), LoadError::EntryOutside { entry: 0x20_0000 });
}

#[test]
fn not_kernels() {
    for bytes in [vec![], vec![0; 1], vec![0; 10_000], b"#!/bin/sh\n".to_vec()] {
        assert_eq!(Setup::new(bytes).refused(), LoadError::NotAKernel);
    }
    let mut setup = Setup::new(flat());
    setup.map = vec![map()[0]; 129];
    assert_eq!(setup.refused(), LoadError::TooManyRanges { count: 129 });
    setup.map.truncate(0);
    assert_eq!(setup.refused(), LoadError::OutsideRam { start: 0x10_0000, end: 0x10_0240 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The memory panics on a write outside of RAM, the file on a read outside of it.
    #[test]
    fn mutated_images_stay_inside(
        kind in 0..6_usize,
        changes in proptest::collection::vec((0..0x300_usize, prop_oneof![any::<u8>(), Just(0), Just(0xFF)]), 0..12),
        cut in proptest::option::of(0..0x3000_usize), initrd in 0..100_000_usize, tiny: bool,
    ) {
        let mut image = match kind {
            0 => bz_image(0x20F, true),
            1 => bz_image(0x20C, false),
            2 => pvh(false),
            3 => pvh(true),
            4 => flat(),
            _ => vec![0; 0x400],
        };
        for (offset, value) in changes {
            if let Some(byte) = image.get_mut(offset) {
                *byte = value;
            }
        }
        image.truncate(cut.unwrap_or(usize::MAX));
        let mut setup = Setup::new(image);
        setup.initrd = Some(vec![1; initrd]);
        if tiny {
            setup.map.remove(4);
            setup.map.remove(0);
        }
        if let (Ok(entry), memory) = setup.run() {
            prop_assert!(entry.rip < RAM_END);
            prop_assert!(entry.gdt < RAM_END && memory.number(entry.gdt, 8) == 0);
        }
    }
}
