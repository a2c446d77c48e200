//! Tests of priorities, EOI, errors, software disable, LINT pins.

use super::*;
use crate::*;

#[test]
fn higher_classes_preempt_and_end_in_order() {
    let mut apic = xapic();
    for vector in [0x31, 0x35, 0x52] {
        assert!(apic.accept(vector, false));
    }
    assert_eq!(read(&mut apic, IRR + 0x10), 1 << 0x11 | 1 << 0x15);
    assert_eq!(take(&mut apic), Some(0x52));
    assert_eq!(read(&mut apic, PPR), 0x50);
    assert_eq!(take(&mut apic), None);
    assert_eq!(write(&mut apic, EOI, 0xFFFF), None);
    assert_eq!(take(&mut apic), Some(0x35));
    assert_eq!(apic.pending(), None, "same class waits");
    assert_eq!(read(&mut apic, ISR + 0x10), 1 << 0x15);
    let _ = write(&mut apic, EOI, 0);
    assert_eq!(take(&mut apic), Some(0x31));
    let _ = write(&mut apic, EOI, 0);
    assert_eq!(write(&mut apic, EOI, 0), None, "nothing in service");
    assert_eq!(read(&mut apic, PPR), 0);
}

#[test]
fn task_priority_holds_back_its_class() {
    let mut apic = xapic();
    apic.accept(0x45, false);
    let _ = write(&mut apic, TPR, 0x4A);
    assert_eq!((apic.pending(), apic.task_priority_class()), (None, 4));
    assert_eq!((read(&mut apic, PPR), read(&mut apic, 0x90)), (0x4A, 0x4A));
    apic.set_task_priority_class(3);
    assert_eq!(read(&mut apic, TPR), 0x30);
    assert_eq!(take(&mut apic), Some(0x45));
    apic.set_task_priority_class(4);
    assert_eq!(read(&mut apic, PPR), 0x40);
    apic.set_task_priority_class(0xF);
    let _ = write(&mut apic, EOI, 0);
    apic.accept(0xFF, false);
    assert_eq!(apic.pending(), None);
}

#[test]
fn each_word_of_the_sets_works_at_its_edges() {
    for vector in [16, 31, 32, 63, 64, 127, 128, 191, 192, 255] {
        let mut apic = x2apic(0);
        apic.accept(vector, true);
        let (index, bit) = (u32::from(vector >> 5), 1 << (vector & 31));
        assert_eq!(apic.read_msr(0x820 + index, T0, TSC0), Ok(bit));
        assert_eq!(apic.read_msr(0x818 + index, T0, TSC0), Ok(bit));
        assert_eq!(take(&mut apic), Some(vector));
        assert_eq!(apic.read_msr(0x820 + index, T0, TSC0), Ok(0));
        assert_eq!(apic.read_msr(0x810 + index, T0, TSC0), Ok(bit));
        let ended = apic.write_msr(0x80B, 0, T0, TSC0);
        assert_eq!(ended, Ok(Some(Effect::EndOfInterrupt { vector })));
    }
}

#[test]
fn a_request_that_waits_for_another_ones_end_is_told() {
    let mut apic = xapic();
    assert!(!apic.has_requests());
    apic.accept(0x51, false);
    assert!(apic.has_requests() && !apic.is_level_triggered(0x51));
    apic.acknowledge(0x51);
    assert!(!apic.has_requests());
    apic.accept(0x41, true);
    assert_eq!(apic.pending(), None);
    assert!(apic.has_requests() && apic.is_level_triggered(0x41));
}

#[test]
fn trigger_mode_follows_the_latest_acceptance() {
    let mut apic = xapic();
    apic.accept(0x40, true);
    apic.accept(0x40, false);
    assert_eq!(read(&mut apic, TMR + 0x20), 0);
    assert_eq!(take(&mut apic), Some(0x40));
    apic.acknowledge(0x77);
    assert_eq!(read(&mut apic, ISR + 0x30), 0, "nothing that was not requested is in service");
    assert_eq!(write(&mut apic, EOI, 0), None);
}

#[test]
fn errors_are_latched_by_a_write() {
    let mut apic = xapic();
    let _ = write(&mut apic, LVT_ERROR, 0xFE);
    assert!(!apic.accept(15, false));
    assert_eq!(read(&mut apic, ESR), 0);
    assert_eq!(take(&mut apic), Some(0xFE));
    let _ = write(&mut apic, ICR, 0x4_0005);
    let _ = write(&mut apic, 0x40, 1);
    let _ = write(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), None, "not armed before the next write");
    let _ = write(&mut apic, ESR, 0xFFFF_FFFF);
    assert_eq!(read(&mut apic, ESR), 0xE0);
    assert_eq!(read(&mut apic, 0x3F0), 0);
    assert_eq!(take(&mut apic), Some(0xFE), "an unknown register is an error, too");
    let _ = write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0x80);
    let _ = write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0);
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_is_only_logged() {
    let mut apic = x2apic(0);
    let _ = apic.write_msr(0x837, 3, T0, TSC0);
    let _ = apic.write_msr(0x83F, 3, T0, TSC0);
    assert_eq!(apic.pending(), None);
    let _ = apic.write_msr(0x828, 0, T0, TSC0);
    assert_eq!(apic.read_msr(0x828, T0, TSC0), Ok(0x60));
}

#[test]
fn software_disable_masks_and_holds() {
    let mut apic = xapic();
    let _ = write(&mut apic, LVT_LINT1, 0x400);
    apic.accept(0x61, false);
    assert_eq!(write(&mut apic, SVR, 0xFF), Some(Effect::IdentityChanged));
    assert_eq!(read(&mut apic, LVT_LINT1), 0x10400);
    let _ = write(&mut apic, LVT_LINT1, 0x400);
    assert_eq!(read(&mut apic, LVT_LINT1), 0x10400, "the mask stays");
    assert!(!apic.accept(0x71, false));
    assert_eq!(apic.set_lint(LintPin::Lint1, true), None);
    assert_eq!(take(&mut apic), Some(0x61), "what was accepted before stays");
    assert!(matches!(write(&mut apic, ICR, 0x430), Some(Effect::Ipi(_))), "it still sends");
    assert!(!apic.identity().software_enabled);
}

#[test]
fn lint_pins_deliver_by_mode() {
    let cases = [
        (0x200, Some(LocalDelivery::Smi)),
        (0x400, Some(LocalDelivery::Nmi)),
        (0x500, Some(LocalDelivery::Init)),
        (0x700, None),
        (0x10400, None),
        (0x100, None),
    ];
    for (entry, delivery) in cases {
        for (pin, offset) in [(LintPin::Lint0, LVT_LINT0), (LintPin::Lint1, LVT_LINT1)] {
            let mut apic = xapic();
            let _ = write(&mut apic, offset, entry);
            assert_eq!(apic.set_lint(pin, true), delivery);
            assert_eq!(apic.set_lint(pin, true), None, "no second edge");
            assert_eq!(apic.set_lint(pin, false), None);
        }
    }
    let mut apic = xapic();
    let _ = write(&mut apic, LVT_LINT1, 0x2400);
    assert_eq!(apic.set_lint(LintPin::Lint1, true), None);
    assert_eq!(apic.set_lint(LintPin::Lint1, false), Some(LocalDelivery::Nmi), "active low");
}

#[test]
fn ext_int_needs_an_unmasked_entry() {
    let mut apic = xapic();
    for (entry, accepts) in [(0x700, true), (0x10700, false), (0x30, false), (0x8700, true)] {
        let was_open = apic.identity().lint0_open;
        let effect = write(&mut apic, LVT_LINT0, entry);
        assert_eq!(apic.accepts_ext_int(), accepts);
        let is_open = apic.identity().lint0_open;
        assert_eq!(is_open, entry & 0x10000 == 0);
        assert_eq!(effect, (is_open != was_open).then_some(Effect::IdentityChanged));
    }
}

#[test]
fn fixed_lint_edges_and_levels() {
    let mut apic = xapic();
    let _ = write(&mut apic, LVT_LINT1, 0x8044);
    assert_eq!(apic.set_lint(LintPin::Lint1, true), None);
    assert_eq!(take(&mut apic), Some(0x44));
    assert_eq!(write(&mut apic, EOI, 0), None, "LINT1 is always an edge");
    assert_eq!(apic.pending(), None);

    let _ = apic.set_lint(LintPin::Lint0, true);
    let _ = write(&mut apic, LVT_LINT0, 0x8055);
    assert_eq!(read(&mut apic, LVT_LINT0), 0xC055, "an asserted level counts when unmasked");
    assert_eq!(take(&mut apic), Some(0x55));
    let ended = Some(Effect::EndOfInterrupt { vector: 0x55 });
    assert_eq!(write(&mut apic, EOI, 0), ended);
    assert_eq!(take(&mut apic), Some(0x55), "still asserted");
    let _ = apic.set_lint(LintPin::Lint0, false);
    assert_eq!(write(&mut apic, EOI, 0), ended);
    assert_eq!((apic.pending(), read(&mut apic, LVT_LINT0)), (None, 0x8055));
}

#[test]
fn narrow_and_odd_accesses_are_harmless() {
    let mut apic = xapic();
    assert_eq!(read(&mut apic, VERSION + 2), 0x5);
    assert_eq!(read(&mut apic, VERSION + 4), 0);
    let _ = write(&mut apic, TPR + 4, 0x50);
    assert_eq!(read(&mut apic, TPR), 0);
    let _ = write(&mut apic, ISR, u32::MAX);
    assert_eq!(read(&mut apic, ISR), 0);
}
