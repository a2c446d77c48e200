//! Delivery of events in every operating mode.
#[path = "../common/mod.rs"]
mod common;
mod properties;
mod world;

use common::{LIMITS, Memory, Vp};
use emulator::{BusError, DeliveryError, Event, Exception, deliver};
use x86::rflags::{AC, IF, NT, RF, TF, VM};
use x86::{Attributes, Segment, cr0, cr4, efer};

use world::{
    CS, DS, ES, FS, GDT, GDTR, GS, IDT, IDTR, LDT, LDTR, RSP, SS, STACK_0, TR, TSS, USER_STACK,
    World, gate_32, gate_64, segment,
};

fn raised(vector: u8, error_code: u32) -> Result<(), DeliveryError> {
    Err(DeliveryError::Exception(Exception { vector, error_code: Some(error_code), cr2: None }))
}

/// #VC, an external interrupt, and a trap without an error code.
const VC: Event = Event { vector: 29, error_code: Some(0x72), is_fault: true };
const INTERRUPT: Event = Event { vector: 29, error_code: None, is_fault: false };

#[test]
fn a_vc_from_user_mode_pushes_six_values_on_the_stack_of_level_0() {
    let mut world = World::long(3);
    world.vp.rflags |= IF | TF | NT | AC;
    let rflags = world.vp.rflags;
    assert_eq!(world.deliver(VC), Ok(()));
    let top = STACK_0;
    let expected = [0x33, USER_STACK + 5, rflags | RF, 0x2b, 0x40_0000, 0x72];
    for (index, value) in (1..).zip(expected) {
        assert_eq!(world.memory.u64_at(top - 8 * index), value, "value {index}");
    }
    let vp = &world.vp;
    assert_eq!((vp.rip, vp.gprs[RSP], vp.cpl), (0xffff_8000_1234_5678, top - 48, 0));
    assert_eq!(vp.rflags, rflags & !(IF | TF | NT), "AC stays");
    assert_eq!((vp.segments[CS].selector, vp.segments[CS].attributes.is_long()), (0x08, true));
    let null = Segment { attributes: Attributes::from_bits(0), ..Segment::default() };
    assert_eq!(vp.segments[SS], null, "a null selector at level 0");
}

#[test]
fn the_stack_of_long_mode_depends_on_ist_and_level() {
    // IST, level before, level of the code segment (conforming or not), the top, SS is replaced.
    for (ist, cpl, code, top, replaced) in [
        (0, 0, 0x08, (USER_STACK + 5) & !15, false),
        (3, 0, 0x08, 0x6300, false),
        (7, 3, 0x08, 0x6700, true),
        (0, 3, 0x08, STACK_0, true),
        (0, 3, 0x18, STACK_0 - 0x400, true),
        (0, 3, 0x20, (USER_STACK + 5) & !15, false),
        (2, 3, 0x20, 0x6200, false),
    ] {
        let mut world = World::long(cpl);
        world.set_gate(gate_64(0xe, ist, code, 0x1234));
        let old = world.vp.segments[SS];
        assert_eq!(world.deliver(INTERRUPT), Ok(()), "{ist} {cpl} {code:#x}");
        assert_eq!(world.vp.gprs[RSP], top - 40, "{ist} {cpl} {code:#x}");
        let conforming = code == 0x20;
        let level = if conforming { cpl } else { (code == 0x18).into() };
        assert_eq!(world.vp.cpl, level);
        assert_eq!(world.vp.segments[CS].selector, code & !3 | u16::from(level));
        let stack = world.vp.segments[SS];
        assert_eq!(stack != old, replaced);
        if replaced {
            assert_eq!((stack.selector, stack.attributes.privilege()), (level.into(), level));
            assert!(!stack.attributes.is_present());
        }
        assert_eq!(world.memory.u64_at(top - 16), USER_STACK + 5, "the old RSP");
    }
}

#[test]
fn a_trap_gate_keeps_interrupts_enabled_and_only_a_fault_sets_rf_in_the_frame() {
    for (kind, left) in [(0xe, 0), (0xf, IF)] {
        for (event, pushed) in [(VC, RF), (INTERRUPT, 0)] {
            let mut world = World::long(0);
            world.set_gate(gate_64(kind, 0, 0x08, 0));
            world.vp.rflags |= IF;
            assert_eq!(world.deliver(event), Ok(()));
            assert_eq!(world.vp.rflags, 2 | left);
            let at = (USER_STACK + 5) & !15;
            assert_eq!(world.memory.u64_at(at - 24), 2 | IF | pushed);
        }
    }
    // An interrupt between two iterations of a string instruction finds RF set, and keeps it.
    let mut world = World::long(0);
    world.vp.rflags |= RF;
    assert_eq!(world.deliver(INTERRUPT), Ok(()));
    assert_eq!(world.memory.u64_at(((USER_STACK + 5) & !15) - 24), 2 | RF);
    assert_eq!(world.vp.rflags, 2);
}

/// One thing wrong, and the exception for it.
type Fault = (&'static str, fn(&mut World), u8, u32);

fn check_faults(make: impl Fn() -> World, cases: &[Fault]) {
    for (name, spoil, vector, error_code) in cases {
        let mut world = make();
        spoil(&mut world);
        let before = world.vp.clone();
        assert_eq!(world.deliver(VC), raised(*vector, *error_code), "{name}");
        assert_eq!(world.vp, before, "{name}: a register has changed");
    }
}

/// The error code that names the gate: vector 29, IDT and EXT.
const OF_GATE: u32 = 29 << 3 | 0b11;

#[test]
fn each_check_of_long_mode_has_its_exception() {
    check_faults(
        || World::long(3),
        &[
            ("IDT limit", |w| w.vp.tables[IDTR].limit = 29 * 16 + 14, 13, OF_GATE),
            ("legacy gate", |w| w.set_gate(gate_64(0x6, 0, 8, 0)), 13, OF_GATE),
            ("task gate", |w| w.set_gate(gate_64(0x5, 0, 8, 0)), 13, OF_GATE),
            ("no system segment", |w| w.set_gate(gate_64(0x1e, 0, 8, 0)), 13, OF_GATE),
            ("absent gate", |w| w.set_gate(gate_64(0xe, 0, 8, 0) & !(1 << 47)), 11, OF_GATE),
            ("null code", |w| w.set_gate(gate_64(0xe, 0, 3, 0)), 13, 1),
            ("code outside", |w| w.set_gate(gate_64(0xe, 0, 0x1003, 0)), 13, 0x1001),
            ("GDT limit", |w| w.vp.tables[GDTR].limit = 0xe, 13, 0x09),
            ("no LDT", |w| w.set_gate(gate_64(0xe, 0, 0xc, 0)), 13, 0x0d),
            ("data", |w| w.set_descriptor(0x08, segment(0x93, 0xa)), 13, 0x09),
            ("system segment", |w| w.set_descriptor(0x08, segment(0x89, 0xa)), 13, 0x09),
            ("32-bit code", |w| w.set_descriptor(0x08, segment(0x9b, 0xc)), 13, 0x09),
            ("L and D", |w| w.set_descriptor(0x08, segment(0x9b, 0xe)), 13, 0x09),
            ("absent code", |w| w.set_descriptor(0x08, segment(0x1b, 0xa)), 11, 0x09),
            ("TSS limit", |w| w.vp.tables[TR].limit = 10, 10, 0x41),
            ("RSP0", |w| w.put(TSS + 4, 0x8000_0000_0000_0000_u64, 8), 12, 1),
            ("RIP", |w| w.set_gate(gate_64(0xe, 0, 8, 1 << 63)), 13, 1),
        ],
    );
    check_faults(
        || {
            let mut world = World::long(0);
            world.set_gate(gate_64(0xe, 7, 0x08, 0));
            world
        },
        &[
            ("level 3 code", |w| w.set_descriptor(0x08, segment(0xfb, 0xa)), 13, 0x09),
            ("conforming", |w| w.set_descriptor(0x08, segment(0xff, 0xa)), 13, 0x09),
            ("IST", |w| w.vp.tables[TR].limit = 0x5a, 10, 0x41),
            ("IST's RSP", |w| w.put(TSS + 0x54, 1 << 62, 8), 12, 1),
        ],
    );
}

#[test]
fn limits_that_just_suffice_are_enough() {
    let mut world = World::long(3);
    world.vp.tables[IDTR].limit = 29 * 16 + 15;
    world.vp.tables[TR].limit = 11;
    world.vp.tables[GDTR].limit = 15;
    assert_eq!(world.deliver(VC), Ok(()));
    let mut world = World::legacy(3);
    world.vp.tables[IDTR].limit = 29 * 8 + 7;
    world.vp.tables[TR].limit = 9;
    world.vp.tables[GDTR].limit = 0x17;
    assert_eq!(world.deliver(VC), Ok(()));
}

#[test]
fn a_stack_without_room_for_the_whole_frame_gets_no_part_of_it() {
    let mut world = World::legacy(0);
    world.vp.segments[SS].attributes = Attributes::from_bits(0xc97);
    world.vp.segments[SS].limit = USER_STACK as u32 - 8;
    assert_eq!(world.deliver(VC), raised(12, 1));
    assert_eq!(world.memory.u64_at(USER_STACK + 1) as u32, 0);
}

#[test]
fn a_code_segment_in_the_ldt_is_found() {
    let mut world = World::long(3);
    world.set_gate(gate_64(0xe, 0, 0xc, 0x77));
    world.vp.tables[LDTR] =
        Segment { selector: 0x50, attributes: Attributes::from_bits(0x82), limit: 0xf, base: LDT };
    world.put(LDT + 8, segment(0x9b, 0xa), 8);
    assert_eq!(world.deliver(VC), Ok(()));
    assert_eq!((world.vp.segments[CS].selector, world.vp.rip), (0xc, 0x77));
    // A null LDTR has no table, whatever its hidden part holds.
    world = World::long(3);
    world.set_gate(gate_64(0xe, 0, 0xc, 0x77));
    world.vp.tables[LDTR] = Segment { limit: 0xf, base: LDT, ..Segment::default() };
    world.put(LDT + 8, segment(0x9b, 0xa), 8);
    assert_eq!(world.deliver(VC), raised(13, 0xd));
}

#[test]
fn accessed_bits_are_set_in_descriptors_that_lack_them() {
    let mut world = World::long(3);
    world.set_descriptor(0x08, segment(0x9a, 0xa));
    assert_eq!(world.deliver(VC), Ok(()));
    assert_eq!(world.memory.u64_at(GDT + 8), segment(0x9b, 0xa));
    assert_eq!(world.vp.segments[CS].attributes.kind(), 0xb);
    let mut world = World::legacy(3);
    world.set_descriptor(0x08, segment(0x9a, 0xc));
    world.set_descriptor(0x10, segment(0x92, 0xc));
    assert_eq!(world.deliver(VC), Ok(()));
    assert_eq!(world.memory.u64_at(GDT + 8), segment(0x9b, 0xc));
    assert_eq!(world.memory.u64_at(GDT + 0x10), segment(0x93, 0xc));
    // Another VP has changed the descriptor meanwhile.
    let mut world = World::long(3);
    world.set_descriptor(0x08, segment(0x9a, 0xa));
    world.memory.contention = 1;
    let before = world.vp.clone();
    assert_eq!(world.deliver(VC), Err(DeliveryError::Contended));
    assert_eq!(world.vp, before);
    assert_eq!(world.memory.u64_at(STACK_0 - 8), 0, "nothing is pushed");
}

#[test]
fn legacy_frames_have_the_size_of_their_gate() {
    // Gate type, bytes of a value.
    for (kind, bytes) in [(0xe_u64, 4), (0xf, 4), (0x6, 2), (0x7, 2)] {
        for cpl in [0, 3] {
            let mut world = World::legacy(cpl);
            world.set_gate(u128::from(gate_32(kind, 0x08, 0x1234_5678)));
            world.vp.rflags |= IF | NT | TF;
            let rflags = world.vp.rflags;
            assert_eq!(world.deliver(VC), Ok(()), "{kind:x} {cpl}");
            let mut expected = vec![rflags | RF, 0x2b & !3 | u64::from(cpl), 0x40_0000, 0x72];
            let top = if cpl == 3 { STACK_0 } else { USER_STACK + 5 };
            if cpl == 3 {
                expected.splice(0..0, [0x33, USER_STACK + 5]);
            }
            let count = expected.len() as u64;
            for (index, value) in (1..).zip(expected) {
                let mask = (1 << (8 * bytes)) - 1;
                let pushed = world.memory.u64_at(top - bytes * index) & mask;
                assert_eq!(pushed, value & mask, "{kind:x} {cpl}: value {index}");
            }
            let vp = &world.vp;
            assert_eq!(vp.gprs[RSP], top - bytes * count);
            assert_eq!(vp.rip, if bytes == 2 { 0x5678 } else { 0x1234_5678 });
            assert_eq!(vp.rflags, 2 | if kind & 1 != 0 { IF } else { 0 });
            assert_eq!((vp.cpl, vp.segments[CS].selector), (0, 0x08));
            let stack = if cpl == 3 { 0x10 } else { 0x30 };
            assert_eq!(vp.segments[SS].selector & !3, stack);
        }
    }
}

#[test]
fn a_16_bit_stack_wraps_and_keeps_the_upper_half_of_esp() {
    let mut world = World::legacy(0);
    world.vp.segments[SS].attributes = Attributes::from_bits(0x093);
    world.vp.segments[SS].limit = 0xffff;
    world.vp.gprs[RSP] = 0xabcd_0004;
    assert_eq!(world.deliver(INTERRUPT), Ok(()));
    assert_eq!(world.vp.gprs[RSP], 0xabcd_fff8);
    assert_eq!(world.memory.u64_at(0) & 0xffff_ffff, 2, "EFLAGS");
    assert_eq!(world.memory.u64_at(0xfff8) & 0xffff_ffff, 0x40_0000, "EIP");
}

#[test]
fn a_16_bit_task_state_segment_gives_a_16_bit_stack_pointer() {
    let mut world = World::legacy(3);
    world.vp.tables[TR].attributes = Attributes::from_bits(0x83);
    world.put(TSS + 2, STACK_0 & 0xffff, 2);
    world.put(TSS + 4, 0x10, 2);
    assert_eq!(world.deliver(VC), Ok(()));
    assert_eq!(world.vp.gprs[RSP], STACK_0 - 24);
    world = World::legacy(3);
    world.vp.tables[TR].attributes = Attributes::from_bits(0x83);
    world.vp.tables[TR].limit = 4;
    assert_eq!(world.deliver(VC), raised(10, 0x41));
}

#[test]
fn each_check_of_legacy_mode_has_its_exception() {
    check_faults(
        || World::legacy(3),
        &[
            ("IDT limit", |w| w.vp.tables[IDTR].limit = 29 * 8 + 6, 13, OF_GATE),
            ("call gate", |w| w.set_gate(gate_32(0xc, 8, 0).into()), 13, OF_GATE),
            ("absent", |w| w.set_gate((gate_32(0xe, 8, 0) & !(1 << 47)).into()), 11, OF_GATE),
            ("absent task", |w| w.set_gate((gate_32(5, 8, 0) & !(1 << 47)).into()), 11, OF_GATE),
            ("null code", |w| w.set_gate(gate_32(0xe, 1, 0).into()), 13, 1),
            ("absent code", |w| w.set_descriptor(0x08, segment(0x1b, 0xc)), 11, 0x09),
            ("EIP", |w| w.set_descriptor(0x08, segment(0x9b, 0x4)), 13, 1),
            ("TSS limit", |w| w.vp.tables[TR].limit = 8, 10, 0x41),
            ("null stack", |w| w.put(TSS + 8, 3, 2), 10, 1),
            ("stack outside", |w| w.put(TSS + 8, 0x2000, 2), 10, 0x2001),
            ("stack's RPL", |w| w.put(TSS + 8, 0x13, 2), 10, 0x11),
            ("stack's DPL", |w| w.set_descriptor(0x10, segment(0xf3, 0xc)), 10, 0x11),
            ("read-only", |w| w.set_descriptor(0x10, segment(0x91, 0xc)), 10, 0x11),
            ("code as stack", |w| w.set_descriptor(0x10, segment(0x9b, 0xc)), 10, 0x11),
            ("absent stack", |w| w.set_descriptor(0x10, segment(0x13, 0xc)), 12, 0x11),
            ("room", |w| w.put(TSS + 4, 23, 4), 12, 0x11),
        ],
    );
    check_faults(
        || World::legacy(0),
        &[
            ("room", |w| w.vp.segments[SS].limit = 0x5003, 12, 1),
            ("level 3 code", |w| w.set_descriptor(0x08, segment(0xfb, 0xc)), 13, 0x09),
        ],
    );
}

#[test]
fn virtual_8086_mode_pushes_its_data_segments_and_leaves_them_null() {
    let mut world = World::legacy(3);
    world.vp.rflags |= VM | IF;
    for (index, register) in [CS, SS, DS, ES, FS, GS].into_iter().enumerate() {
        world.vp.segments[register].selector = 0x1000 + index as u16;
    }
    (world.vp.rip, world.vp.gprs[RSP]) = (0x123, 0x456);
    assert_eq!(world.deliver(VC), Ok(()));
    let expected =
        [0x1005, 0x1004, 0x1002, 0x1003, 0x1001, 0x456, 2 | VM | IF | RF, 0x1000, 0x123, 0x72];
    for (index, value) in (1..).zip(expected) {
        let pushed = world.memory.u64_at(STACK_0 - 4 * index) & 0xffff_ffff;
        assert_eq!(pushed, value, "value {index}");
    }
    assert_eq!((world.vp.rflags, world.vp.cpl), (2, 0));
    for register in [DS, ES, FS, GS] {
        assert_eq!(world.vp.segments[register], Segment::default());
    }
    // Only code of level 0 may take over.
    for access in [0x9f, 0xff, 0xbb, 0xfb] {
        let mut world = World::legacy(3);
        world.vp.rflags |= VM;
        world.set_descriptor(0x08, segment(access, 0xc));
        assert_eq!(world.deliver(VC), raised(13, 0x09), "{access:x}");
    }
}

#[test]
fn real_mode_goes_through_the_vector_table() {
    let mut vp = Vp::real();
    vp.tables[IDTR] = Segment { limit: 0x3ff, base: 0x100, ..Segment::default() };
    vp.segments[SS].base = 0x2_0000;
    vp.segments[CS] = Segment { selector: 0x1234, base: 0x1_2340, ..vp.segments[CS] };
    (vp.rip, vp.gprs[RSP]) = (0x5678, 0xaaaa_0002);
    vp.rflags = 2 | IF | TF | AC | NT;
    let mut memory = Memory::new();
    memory.put(0x100 + 29 * 4, &[0x21, 0x43, 0x65, 0x87]);
    let before = vp.clone();
    assert_eq!(deliver(&mut vp, &mut memory, LIMITS, VC), Ok(()));
    // No error code is pushed, and SP wraps within its 64 KiB.
    assert_eq!(memory.ram[0x2_0000..0x2_0002], ((2 | IF | TF | NT) as u16).to_le_bytes());
    assert_eq!(memory.ram[0x2_fffc..0x3_0000], [0x78, 0x56, 0x34, 0x12]);
    assert_eq!((vp.rip, vp.gprs[RSP], vp.rflags), (0x4321, 0xaaaa_fffc, 2 | NT));
    let code = Segment { selector: 0x8765, base: 0x8_7650, ..before.segments[CS] };
    assert_eq!(vp.segments[CS], code);
    let mut just_inside = before.clone();
    just_inside.tables[IDTR].limit = 29 * 4 + 3;
    assert_eq!(deliver(&mut just_inside, &mut memory, LIMITS, VC), Ok(()));
    for (limit, rsp, vector) in [(29 * 4 + 2, 0x100, 13), (0x3ff, 1, 12)] {
        let mut vp = before.clone();
        vp.tables[IDTR].limit = limit;
        vp.gprs[RSP] = rsp;
        let spoiled = vp.clone();
        assert_eq!(deliver(&mut vp, &mut memory, LIMITS, VC), raised(vector, 1));
        assert_eq!(vp, spoiled);
    }
}

#[test]
fn a_task_gate_is_refused_with_its_selector() {
    let mut world = World::legacy(3);
    world.set_gate(gate_32(0x5, 0x48, 0).into());
    let before = world.vp.clone();
    assert_eq!(world.deliver(VC), Err(DeliveryError::TaskGate { selector: 0x48 }));
    assert_eq!(world.vp, before);
}

#[test]
fn a_table_or_stack_without_memory_is_a_bus_error() {
    for spoil in [
        (|w| w.vp.tables[IDTR].base = 0x7000_0000) as fn(&mut World),
        |w| w.vp.tables[GDTR].base = 0x7000_0000,
        |w| w.vp.tables[TR].base = 0x7000_0000,
        |w| w.put(TSS + 4, 0x7000_0000, 8),
    ] {
        let mut world = World::long(3);
        spoil(&mut world);
        let answer = world.deliver(VC);
        assert!(matches!(answer, Err(DeliveryError::Bus(BusError { .. }))), "{answer:?}");
    }
}

#[test]
fn a_page_fault_in_the_stack_leaves_earlier_values_and_no_changed_register() {
    let mut world = World::long(3);
    world.start_paging();
    // The frame's fourth value lies in a page that is absent.
    world.put(TSS + 4, 0x5010, 8);
    world.set_page(0x4000, 0);
    let before = world.vp.clone();
    let fault = Exception { vector: 14, error_code: Some(2), cr2: Some(0x4ff8) };
    assert_eq!(world.deliver(VC), Err(DeliveryError::Exception(fault)));
    assert_eq!(world.vp, before);
    assert_eq!((world.memory.u64_at(0x5008), world.memory.u64_at(0x5000)), (0x33, USER_STACK + 5));
}

#[test]
fn tables_are_read_as_a_supervisor_and_never_from_user_pages_under_smap() {
    for (page, cr2) in [(IDT, IDT + 29 * 16), (GDT, GDT + 8), (TSS & !0xfff, TSS + 4)] {
        for (smap, rflags, allowed) in [(0, 0, true), (cr4::SMAP, 0, false), (cr4::SMAP, AC, false)]
        {
            let mut world = World::long(3);
            world.start_paging();
            world.set_page(page, page | 0x67);
            world.vp.cr4 |= smap;
            world.vp.rflags |= rflags;
            let fault = Exception { vector: 14, error_code: Some(1), cr2: Some(cr2) };
            let refused = Err(DeliveryError::Exception(fault));
            let expected = if allowed { Ok(()) } else { refused };
            assert_eq!(world.deliver(VC), expected, "{page:#x} {smap:#x} {rflags:#x}");
        }
    }
}

#[test]
fn the_stack_is_written_with_the_rights_of_the_handler() {
    let at = (STACK_0 - 0x1000) & !0xfff;
    let user = at | 0x67;
    // The stack's page, CR4, RFLAGS, the handler's level (3 for conforming code), the error code.
    for (page, smap, rflags, level, refused) in [
        (user, 0, 0, 0, None),
        (user, cr4::SMAP, 0, 0, Some(3)),
        (user, cr4::SMAP, AC, 0, None),
        (user, cr4::SMAP, 0, 3, None),
        (at | 0x63, 0, 0, 3, Some(7)),
        (at | 0x65, 0, 0, 3, Some(7)),
    ] {
        let mut world = World::long(3);
        world.start_paging();
        world.put(TSS + 4, at + 0x800, 8);
        world.set_page(at, page);
        if level == 3 {
            world.vp.gprs[RSP] = at + 0x800;
            world.set_gate(gate_64(0xe, 0, 0x20, 0x1234));
        }
        world.vp.cr4 |= smap;
        world.vp.rflags |= rflags;
        let expected = refused.map_or(Ok(()), |code| {
            let cr2 = Some(at + 0x800 - 8);
            let fault = Exception { vector: 14, error_code: Some(code), cr2 };
            Err(DeliveryError::Exception(fault))
        });
        assert_eq!(world.deliver(VC), expected, "{page:#x} {smap:#x} {rflags:#x} {level}");
    }
}

#[test]
fn tables_that_cross_a_page_are_read_in_parts() {
    let mut world = World::long(3);
    world.start_paging();
    let mut move_to = |from: u64, to: u64, length: usize| {
        let bytes = world.memory.ram[from as usize..][..length].to_vec();
        world.memory.put(to, &bytes);
    };
    // The gate of vector 29, the descriptor at 08h and RSP0 lie across the ends of pages.
    let (idt, gdt, tss) = (0x9000 - 29 * 16 - 3, 0xb000 - 12, 0xd000 - 6);
    move_to(IDT + 29 * 16, idt + 29 * 16, 16);
    move_to(GDT, gdt, 0x40);
    move_to(TSS, tss, 0x68);
    for (table, base) in [(IDTR, idt), (GDTR, gdt), (TR, tss)] {
        world.vp.tables[table].base = base;
    }
    assert_eq!(world.deliver(VC), Ok(()));
    assert_eq!((world.vp.rip, world.vp.gprs[RSP]), (0xffff_8000_1234_5678, STACK_0 - 48));
}

#[test]
fn a_descriptor_in_a_read_only_page_is_written_only_if_it_must_be() {
    for (access, allowed) in [(0x9b, true), (0x9a, false)] {
        let mut world = World::long(3);
        world.start_paging();
        world.vp.cr0 |= cr0::WP;
        world.set_page(GDT, GDT | 0x21);
        world.set_descriptor(0x08, segment(access, 0xa));
        let fault = Exception { vector: 14, error_code: Some(3), cr2: Some(GDT + 8 + 5) };
        let refused = Err(DeliveryError::Exception(fault));
        assert_eq!(world.deliver(VC), if allowed { Ok(()) } else { refused });
    }
    assert_eq!(World::long(3).vp.efer & efer::LMA, efer::LMA);
}
