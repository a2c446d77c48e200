//! Tests of modes, identities, destinations, commands.

use super::*;
use crate::*;

#[test]
fn power_on_values_are_those_of_the_sdm() {
    let mut apic = fresh(3);
    assert_eq!(apic.apic_base(), 0xFEE0_0900);
    assert_eq!(apic.xapic_page(), Some(0xFEE0_0000));
    let expected = [
        (ID, 3 << 24),
        (VERSION, 0x50014),
        (TPR, 0),
        (PPR, 0),
        (EOI, 0),
        (LDR, 0),
        (DFR, u32::MAX),
        (SVR, 0xFF),
        (ISR, 0),
        (TMR, 0),
        (IRR, 0),
        (ESR, 0),
        (ICR, 0),
        (ICR_HIGH, 0),
        (LVT_TIMER, 0x10000),
        (LVT_LINT0, 0x10000),
        (LVT_LINT1, 0x10000),
        (LVT_ERROR, 0x10000),
        (INITIAL, 0),
        (CURRENT, 0),
        (DIVIDE, 0),
        (0x90, 0),
        (0xC0, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(read(&mut apic, offset), value, "{offset:#x}");
    }
    assert_eq!(LocalApic::new(1, false, 40, 0).apic_base(), 0xFEE0_0800);
}

#[test]
fn mode_transitions_follow_figure_11_27() {
    const OFF: u64 = DEFAULT_PAGE;
    const XAPIC: u64 = DEFAULT_PAGE | BASE_EN;
    const X2APIC: u64 = XAPIC | BASE_EXTD;
    const INVALID: u64 = DEFAULT_PAGE | BASE_EXTD;
    let table = [
        (OFF, OFF, true),
        (OFF, XAPIC, true),
        (OFF, X2APIC, false),
        (OFF, INVALID, false),
        (XAPIC, OFF, true),
        (XAPIC, XAPIC, true),
        (XAPIC, X2APIC, true),
        (XAPIC, INVALID, false),
        (X2APIC, OFF, true),
        (X2APIC, XAPIC, false),
        (X2APIC, X2APIC, true),
        (X2APIC, INVALID, false),
    ];
    for (from, to, allowed) in table {
        let mut apic = fresh(0);
        apic.set_apic_base(from).unwrap();
        assert_eq!(apic.set_apic_base(to).is_ok(), allowed, "{from:#x} -> {to:#x}");
        assert_eq!(apic.apic_base(), if allowed { to } else { from });
    }
}

#[test]
fn base_refuses_reserved_bits_and_moves_the_page() {
    let mut apic = fresh(0);
    for bit in (0..8).chain([9]).chain(40..64) {
        assert_eq!(apic.set_apic_base(0xFEE0_0900 | 1 << bit), Err(GeneralProtection), "{bit}");
    }
    apic.set_apic_base(0xAB_CDEF_0000 | BASE_EN).unwrap();
    assert_eq!(apic.xapic_page(), Some(0xAB_CDEF_0000));
}

#[test]
fn disabling_loses_state_and_enabling_x2apic_loses_addressing_only() {
    let mut apic = xapic();
    let _ = write(&mut apic, LDR, 0x0800_0000);
    let _ = write(&mut apic, ICR_HIGH, 0x0500_0000);
    apic.accept(0x41, false);
    apic.set_apic_base(DEFAULT_PAGE | BASE_EN | BASE_EXTD).unwrap();
    assert_eq!(apic.pending(), Some(0x41));
    assert_eq!(apic.read_msr(0x830, T0, TSC0), Ok(0));
    assert_eq!(apic.read_msr(0x80D, T0, TSC0), Ok(1 << 3));
    assert_eq!(apic.read_xapic(ID, T0, TSC0), u32::MAX);
    apic.set_apic_base(DEFAULT_PAGE).unwrap();
    assert_eq!(apic.pending(), None);
    assert!(!apic.accept(0x41, false));
    assert!(!apic.accept(0x01, false));
    assert!(apic.accepts_ext_int());
    assert_eq!(apic.set_lint(LintPin::Lint1, true), Some(LocalDelivery::Nmi));
    apic.set_apic_base(DEFAULT_PAGE | BASE_EN).unwrap();
    assert_eq!(read(&mut apic, SVR), 0xFF);
}

#[test]
fn x2apic_registers_fault_exactly_as_table_11_6_says() {
    let readable = [
        0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, 0x828, 0x830, 0x832, 0x833, 0x834, 0x835, 0x836,
        0x837, 0x838, 0x839, 0x83E,
    ];
    let writable = [
        0x808, 0x80B, 0x80F, 0x828, 0x830, 0x832, 0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x83E,
        0x83F,
    ];
    let mut apic = x2apic(5);
    for msr in 0x7F0..0x910 {
        let can_read = readable.contains(&msr) || (0x810..=0x827).contains(&msr);
        assert_eq!(apic.read_msr(msr, T0, TSC0).is_ok(), can_read, "{msr:#x}");
        assert_eq!(apic.write_msr(msr, 0, T0, TSC0).is_ok(), writable.contains(&msr), "{msr:#x}");
    }
    let mut other = xapic();
    assert_eq!(other.read_msr(0x802, T0, TSC0), Err(GeneralProtection));
    assert_eq!(other.write_msr(0x80B, 0, T0, TSC0), Err(GeneralProtection));
}

#[test]
fn x2apic_reserved_bits_fault() {
    let table: [(u32, u64); 11] = [
        (0x808, 0xFF),
        (0x80B, 0),
        (0x80F, 0x3FF),
        (0x828, 0),
        (0x830, 0xFFFF_FFFF_000C_DFFF),
        (0x832, 0x7_10FF),
        (0x833, 0x1_17FF),
        (0x835, 0x1_F7FF),
        (0x837, 0x1_10FF),
        (0x83E, 0xB),
        (0x83F, 0xFF),
    ];
    for (msr, bits) in table {
        for bit in 0..64 {
            let mut apic = x2apic(5);
            let outcome = apic.write_msr(msr, 1 << bit, T0, TSC0);
            assert_eq!(outcome.is_ok(), bits >> bit & 1 != 0, "{msr:#x} bit {bit}");
        }
    }
}

#[test]
fn logical_x2apic_id_is_derived() {
    for (id, ldr) in [(0, 1), (5, 0x20), (0x1F, 0x1_8000), (0x123, 0x12_0008)] {
        assert_eq!(x2apic(id).read_msr(0x80D, T0, TSC0), Ok(ldr));
        assert_eq!(x2apic(id).read_msr(0x802, T0, TSC0), Ok(u64::from(id)));
    }
}

fn identity(mode: Mode, x2apic_id: u32, logical_id: u8, model: u8) -> Identity {
    Identity { mode, x2apic_id, logical_id, model, software_enabled: true, lint0_open: true }
}

#[test]
fn destinations_match_as_specified() {
    use Destination::*;
    let flat = identity(Mode::XApic, 0x103, 0x08, 0xF);
    let cluster = identity(Mode::XApic, 2, 0x24, 0);
    let odd = identity(Mode::XApic, 2, 0xFF, 5);
    let x2 = identity(Mode::X2Apic, 0x123, 0, 0xF);
    let off = identity(Mode::Disabled, 3, 0xFF, 0xF);
    let table = [
        (flat, Physical(3), true),
        (flat, Physical(2), false),
        (flat, Physical(0x103), false),
        (flat, Destination::physical8(0xFF), true),
        (flat, Destination::logical8(0xFF), true),
        (flat, Logical(0x18), true),
        (flat, Logical(0x17), false),
        (flat, Logical(0x108), false),
        (flat, Logical(0), false),
        (cluster, Logical(0x24), true),
        (cluster, Logical(0x2F), true),
        (cluster, Logical(0x2B), false),
        (cluster, Logical(0x34), false),
        (cluster, Logical(0x20), false),
        (cluster, Destination::logical8(0xFF), true),
        (cluster, Physical(2), true),
        (odd, Logical(0x01), false),
        (odd, Destination::logical8(0xFF), true),
        (x2, Physical(0x123), true),
        (x2, Physical(0x23), false),
        (x2, Physical(0xFF), false),
        (x2, Physical(u32::MAX), true),
        (x2, Destination::physical8(0xFF), true),
        (x2, Logical(0x12_0008), true),
        (x2, Logical(0x12_FFFF), true),
        (x2, Logical(0x12_0004), false),
        (x2, Logical(0x13_0008), false),
        (x2, Logical(u32::MAX), true),
        (x2, Logical(0), false),
        (off, Physical(3), false),
        (off, AllIncludingSelf, false),
        (off, Physical(u32::MAX), false),
    ];
    for (target, destination, matches) in table {
        assert_eq!(destination.matches(target, false), matches, "{destination:x?} {target:x?}");
    }
    for is_sender in [false, true] {
        assert!(AllIncludingSelf.matches(x2, is_sender));
        assert_eq!(AllExcludingSelf.matches(x2, is_sender), !is_sender);
        assert!(Physical(0x123).matches(x2, is_sender));
    }
}

#[test]
fn guest_programs_its_own_identity() {
    let mut apic = xapic();
    assert_eq!(write(&mut apic, LDR, 0x24FF_FFFF), Some(Effect::IdentityChanged));
    assert_eq!(write(&mut apic, DFR, 0x0000_0000), Some(Effect::IdentityChanged));
    assert_eq!((read(&mut apic, LDR), read(&mut apic, DFR)), (0x2400_0000, 0x0FFF_FFFF));
    assert!(Destination::logical8(0x25).matches(apic.identity(), false));
    assert_eq!(write(&mut apic, ID, 0xFF00_0000), None);
    assert_eq!(read(&mut apic, ID), 3 << 24);
    assert_eq!(Identity::from_bits(apic.identity().to_bits()), apic.identity());
    assert_eq!(Identity::from_bits(0).mode, Mode::Disabled);
}

#[test]
fn lowest_priority_is_stable_per_vector_and_spreads() {
    let on = identity(Mode::X2Apic, 0, 0, 0xF);
    let off = Identity { software_enabled: false, ..on };
    let all = [(0, on), (1, off), (2, on), (3, on)];
    let mut hits = [0; 4];
    for vector in 16..=255 {
        let pick = lowest_priority(all.into_iter(), vector).unwrap();
        assert_eq!(lowest_priority(all.into_iter(), vector), Some(pick));
        hits[pick] += 1;
    }
    assert_eq!(hits, [80, 0, 80, 80]);
    assert_eq!(lowest_priority([(1, off)].into_iter(), 16), None);
    assert_eq!(lowest_priority(core::iter::empty::<((), Identity)>(), 16), None);
}

fn send(apic: &mut LocalApic, low: u32) -> Option<Effect> {
    write(apic, ICR, low)
}

#[test]
fn icr_sends_each_delivery_mode() {
    let mut apic = xapic();
    let _ = write(&mut apic, ICR_HIGH, 0x0712_3456);
    assert_eq!(read(&mut apic, ICR_HIGH), 0x0700_0000);
    let modes = [
        (0, Some(Delivery::Fixed)),
        (1, Some(Delivery::LowestPriority)),
        (2, Some(Delivery::Smi)),
        (3, None),
        (4, Some(Delivery::Nmi)),
        (5, Some(Delivery::Init)),
        (6, Some(Delivery::StartUp)),
        (7, None),
    ];
    for (code, delivery) in modes {
        let ipi = |destination| {
            delivery.map(|delivery| Effect::Ipi(Ipi { destination, delivery, vector: 0x30 }))
        };
        let low = 0x4030 | code << 8;
        assert_eq!(send(&mut apic, low), ipi(Destination::Physical(7)), "{code}");
        assert_eq!(send(&mut apic, low | 0x800), ipi(Destination::Logical(7)), "{code}");
        assert_eq!(send(&mut apic, low | 0xC0000), ipi(Destination::AllExcludingSelf), "{code}");
        let all = if code == 0 { ipi(Destination::AllIncludingSelf) } else { None };
        assert_eq!(send(&mut apic, low | 0x80000), all, "{code}");
        assert_eq!(read(&mut apic, ICR), low | 0x80000);
    }
    assert_eq!(send(&mut apic, 0x8530), None, "INIT level de-assert");
    assert!(matches!(send(&mut apic, 0xC500), Some(Effect::Ipi(_))), "INIT level assert");
    assert_eq!(read(&mut apic, ESR), 0);
}

#[test]
fn icr_in_x2apic_mode_is_one_write() {
    let mut apic = x2apic(0);
    let effect = apic.write_msr(0x830, 0x0001_0002_0000_0831, T0, TSC0);
    let destination = Destination::Logical(0x1_0002);
    let ipi = Ipi { destination, delivery: Delivery::Fixed, vector: 0x31 };
    assert_eq!(effect, Ok(Some(Effect::Ipi(ipi))));
    assert_eq!(apic.read_msr(0x830, T0, TSC0), Ok(0x0001_0002_0000_0831));
    let _ = apic.write_msr(0x830, 0xFF_0000_1031, T0, TSC0);
    assert_eq!(apic.read_msr(0x830, T0, TSC0), Ok(0xFF_0000_0031), "delivery status reads idle");
}

#[test]
fn self_ipis_stay_inside() {
    let mut apic = x2apic(0);
    assert_eq!(apic.write_msr(0x83F, 0x55, T0, TSC0), Ok(None));
    assert_eq!(take(&mut apic), Some(0x55));
    assert_eq!(apic.write_msr(0x830, 0x4_0066, T0, TSC0), Ok(None));
    assert_eq!(take(&mut apic), Some(0x66));
    assert_eq!(apic.write_msr(0x830, 0x4_0466, T0, TSC0), Ok(None), "NMI to self is invalid");
}

#[test]
fn init_keeps_the_mode_and_power_on_does_not() {
    let mut apic = x2apic(9);
    apic.accept(0x99, true);
    apic.init();
    assert_eq!(apic.mode(), Mode::X2Apic);
    assert_eq!(apic.pending(), None);
    assert_eq!(apic.read_msr(0x80F, T0, TSC0), Ok(0xFF));
    apic.reset(T0);
    assert_eq!(apic, fresh(9));
}
