//! The places of kernels and modules, and the blame of a refusal.

use loader::LoadError;

use crate::setup::*;

#[test]
fn a_32_bit_linux_stays_in_the_memory_that_it_maps() {
    // The preferred address is occupied; the kernel maps its first 32 MiB permanently.
    let mut setup = Setup::new(bz_image(0x20C, false));
    put(&mut setup.kernel, 0x258, &0x60_0000_u64.to_le_bytes());
    put(&mut setup.kernel, 0x22C, &0x1FF_FFFF_u32.to_le_bytes());
    assert_eq!(setup.loaded().0.rip, 0x80_0000);
    put(&mut setup.kernel, 0x22C, &0xBF_FFFF_u32.to_le_bytes());
    let error = setup.refused();
    assert_eq!(error, LoadError::KernelTooBig { length: 0x50_0000, below: 0xC0_0000 });
    assert!(error.to_string().contains("below 0xc00000"), "{error}");
}

#[test]
fn linux_is_never_loaded_below_its_preferred_address() {
    // There is room below the preferred place, and none above it.
    let mut setup = Setup::new(bz_image(0x20F, true));
    put(&mut setup.kernel, 0x258, &(RAM_END - 4 * MIB).to_le_bytes());
    let error = LoadError::KernelTooBig { length: 0x50_0000, below: 1 << 32 };
    assert_eq!(setup.refused(), error);
}

/// Modules with their start, end and text, of a Multiboot kernel.
fn modules(setup: &Setup) -> (String, Vec<(u64, u64, String)>) {
    let (result, memory) = setup.run_whole();
    let loaded = result.expect("loads");
    let info = loaded.entry.rbx;
    let list = memory.number(info + 24, 4);
    let module = |index| {
        let [start, end, text] = [0, 4, 8].map(|at| memory.number(list + 16 * index + at, 4));
        (start, end, memory.text(text))
    };
    let line = memory.text(memory.number(info + 16, 4));
    assert_eq!(line.as_bytes(), loaded.command_line, "the measured command line");
    (line, (0..memory.number(info + 20, 4)).map(module).collect())
}

#[test]
fn multiboot_modules_follow_the_kernel_in_their_order() {
    let mut setup = Setup::new(flat());
    setup.name = b"dir/a kernel";
    setup.initrd = Some(vec![1; 100]);
    setup.modules =
        vec![(vec![2; 0x60_0000], b"b.bin x=1"), (vec![3; 10], b""), (vec![], b"empty")];
    let (line, modules) = modules(&setup);
    assert_eq!(line, "dir/a kernel console=ttyS0");
    let text = String::from;
    let expected = [
        (0x10_1000, 0x10_1064, text("")),
        // The reserved range at 7 MiB is in the way.
        (0x71_0000, 0xD1_0000, text("b.bin x=1")),
        (0xD1_0000, 0xD1_000A, text("")),
        (0xD1_1000, 0xD1_1000, text("empty")),
    ];
    assert_eq!(modules, expected);
}

#[test]
fn pvh_has_modules_and_linux_has_one_initrd() {
    let mut setup = Setup::new(pvh(true));
    setup.name = b"kernel";
    setup.modules = vec![(vec![2; 10], b"first"), (vec![3; 10], b"second")];
    let (entry, memory) = setup.loaded();
    let info = entry.rbx;
    assert_eq!(memory.text(memory.number(info + 24, 8)), "console=ttyS0", "without a name");
    assert_eq!(memory.number(info + 12, 4), 2);
    let second = memory.number(info + 16, 8) + 32;
    assert_eq!(memory.at(memory.number(second, 8), 10), [3; 10]);
    assert_eq!(memory.text(memory.number(second + 16, 8)), "second");
    setup.kernel = bz_image(0x20F, true);
    assert_eq!(setup.refused(), LoadError::TooManyModules { count: 2 });
    setup.modules.truncate(1);
    let (entry, memory) = setup.loaded();
    assert_eq!(memory.number(entry.rsi + 0x21C, 4), 10, "the one module is the initrd");
}

#[test]
fn xens_pvh_note_takes_precedence_over_others() {
    let text: (u64, u64, &[u8], u64) = (0x10_0000, 0, b"x", 0x1000);
    let entry =
        |notes: &[Vec<u8>]| Setup::new(elf(true, 0, &[text], &notes.concat())).loaded().0.rip;
    let at = |owner: &[u8], entry: u32| note(owner, 18, &entry.to_le_bytes());
    assert_eq!(entry(&[at(b"Solo5\0", 0x10_0010)]), 0x10_0010);
    assert_eq!(entry(&[note(b"A\0", 17, &[1; 4]), at(b"", 0x10_0020)]), 0x10_0020);
    assert_eq!(entry(&[at(b"GNU\0", 0x10_0010), at(b"Xen\0", 0x10_0030)]), 0x10_0030);
}

#[test]
fn refusals_name_the_fault() {
    let mut high = flat();
    put(&mut high, 0x10 + 12, &0xF_0000_u32.to_le_bytes());
    let error = Setup::new(high).refused();
    assert_eq!(error, LoadError::BadMultiboot { field: "header_addr" });
    assert!(error.to_string().contains("Multiboot") && !error.to_string().contains("ELF"));
    for (index, field) in [(5, "load_end_addr"), (6, "bss_end_addr")] {
        let mut image = flat();
        put(&mut image, 0x10 + 4 * index, &1_u32.to_le_bytes());
        assert_eq!(Setup::new(image).refused(), LoadError::BadMultiboot { field });
    }
    let text: (u64, u64, &[u8], u64) = (0x10_0000, 0, b"x", 0x1000);
    let long = note(b"Xen\0", 6, &[0; 70_000]);
    let error = Setup::new(elf(true, 0, &[text], &long)).refused();
    let length = long.len() as u64;
    assert_eq!(error, LoadError::NotesTooLong { length, limit: 65_536 });
    assert!(error.to_string().contains("notes"), "{error}");
}
