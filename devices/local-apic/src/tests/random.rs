//! Tests with random traffic or saved states.

use super::*;
use crate::*;
use device_model::{Device, RestoreError};
use proptest::prelude::*;
use std::vec;

#[derive(Clone, Debug)]
enum Step {
    Read(u16),
    Write(u16, u32),
    ReadMsr(u32),
    WriteMsr(u32, u64),
    Base(u64),
    Deadline(u64),
    Accept(u8, bool),
    Take,
    Lint(bool, bool),
    Priority(u8),
    Advance,
    Init,
    Reset,
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0u32..0x800,
        (0u32..8).prop_map(|mode| 0x40 | mode << 16),
        Just(0x1FF)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u16>().prop_map(|offset| Step::Read(offset & 0x7FF)),
        8 => (0u16..0x40, value()).prop_map(|(index, value)| Step::Write(index << 4, value)),
        4 => (0x7F0u32..0x850).prop_map(Step::ReadMsr),
        8 => (0x7F0u32..0x850, value()).prop_map(|(m, v)| Step::WriteMsr(m, u64::from(v))),
        1 => (0u64..4, any::<u64>()).prop_map(|(mode, low)| {
            Step::Base(0xFEE0_0000 | mode << 10 | (low & 0x100))
        }),
        2 => any::<u64>().prop_map(Step::Deadline),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(v, level)| Step::Accept(v, level)),
        6 => Just(Step::Take),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(pin, level)| Step::Lint(pin, level)),
        1 => any::<u8>().prop_map(Step::Priority),
        4 => Just(Step::Advance),
        1 => Just(Step::Init),
        1 => Just(Step::Reset),
    ]
}

fn run(apic: &mut LocalApic, step: &Step, now: Instant, tsc: GuestTsc) {
    match *step {
        Step::Read(offset) => drop(apic.read_xapic(offset, now, tsc)),
        Step::Write(offset, value) => drop(apic.write_xapic(offset, value, now, tsc)),
        Step::ReadMsr(msr) => drop(apic.read_msr(msr, now, tsc)),
        Step::WriteMsr(msr, value) => drop(apic.write_msr(msr, value, now, tsc)),
        Step::Base(value) => drop(apic.set_apic_base(value)),
        Step::Deadline(value) => apic.set_tsc_deadline(value, now, tsc),
        Step::Accept(vector, level) => drop(apic.accept(vector, level)),
        Step::Take => drop(take(apic)),
        Step::Lint(first, level) => {
            let pin = if first { LintPin::Lint0 } else { LintPin::Lint1 };
            let _ = apic.set_lint(pin, level);
        }
        Step::Priority(class) => apic.set_task_priority_class(class),
        Step::Advance => apic.advance_timer(now, tsc),
        Step::Init => apic.init(),
        Step::Reset => apic.reset(now),
    }
}

#[derive(Default)]
struct Counter(usize, usize);

impl device_model::Inspect for Counter {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {
        self.0 += 1;
    }
    fn begin(&mut self, _: &str) {
        self.1 += 1;
    }
    fn end(&mut self) {
        self.1 -= 1;
    }
}

proptest! {
    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((step(), any::<u64>(), 0u32..64), 0..200)
    ) {
        let mut apic = fresh(7);
        for (step, jump, shift) in &steps {
            let now = apic.save().latest.saturating_add(jump >> shift);
            run(&mut apic, step, now, GuestTsc(now.as_nanos() / 2));
            let bits = apic.identity().to_bits();
            prop_assert_eq!(Identity::from_bits(bits), apic.identity());
            prop_assert!(apic.pending().is_none_or(|vector| vector >= 16));
        }
        let saved = apic.save();
        let mut other = fresh(7);
        prop_assert_eq!(other.restore(&saved), Ok(()));
        prop_assert_eq!(&other, &apic);
        let mut seen = Counter::default();
        apic.inspect(&mut seen);
        prop_assert!(seen.0 > 30 && seen.1 == 0);
        prop_assert_eq!(other, apic);
    }

    /// A register that both interfaces have is one register (SDM 11.12.1.2), whose reserved bits
    /// only the MSR refuses.
    #[test]
    fn both_interfaces_reach_the_same_registers(
        enabled: bool,
        writes in prop::collection::vec(
            (prop::sample::select(&[0x08u16, 0x0F, 0x32, 0x33, 0x35, 0x36, 0x37, 0x38, 0x3E]), value()),
            0..30
        )
    ) {
        let (mut page, mut msrs) = (xapic(), x2apic(3));
        if !enabled {
            let _ = (write(&mut page, SVR, 0xFF), msrs.write_msr(0x80F, 0xFF, T0, TSC0));
        }
        for (index, value) in writes {
            let msr = 0x800 + u32::from(index);
            let accepted = msrs.clone().write_msr(msr, u64::from(value), T0, TSC0).is_ok();
            let effect = write(&mut page, index << 4, value);
            let value = if accepted { value } else { read(&mut page, index << 4) };
            let by_msr = msrs.write_msr(msr, u64::from(value), T0, TSC0);
            if accepted {
                prop_assert_eq!(by_msr, Ok(effect));
            }
            for index in [0x08, 0x0A, 0x0F, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3E] {
                let by_msr = msrs.read_msr(0x800 + u32::from(index), T0, TSC0);
                prop_assert_eq!(by_msr, Ok(u64::from(read(&mut page, index << 4))), "{:#x}", index);
            }
        }
    }

    #[test]
    fn sets_agree_with_a_naive_model(vectors in proptest::collection::vec(16u8..=255, 0..40)) {
        let mut apic = xapic();
        let mut naive = std::collections::BTreeSet::new();
        for vector in vectors {
            apic.accept(vector, false);
            naive.insert(vector);
        }
        apic.set_task_priority_class(0);
        while let Some(highest) = naive.pop_last() {
            prop_assert_eq!(take(&mut apic), Some(highest));
            let _ = apic.end_of_interrupt();
        }
        prop_assert_eq!(apic.pending(), None);
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 19] = [
        ("apic_id", |s| s.apic_id = 8),
        ("base", |s| s.base |= 1 << 45),
        ("base", |s| s.base = 0xFEE0_0400),
        ("base", |s| s.base = 0xFEE0_0000),
        ("irr", |s| s.irr[0] = 1),
        ("isr", |s| s.isr[0] = 1 << 15),
        ("tmr", |s| s.tmr[0] = 2),
        ("svr", |s| s.svr = 0x1000),
        ("lvt", |s| s.lvt[0] = 1 << 30),
        ("lvt", |s| s.lvt[3] = 0x4000),
        ("lvt", |s| {
            s.svr = 0;
            s.lvt[5] = 0
        }),
        ("icr", |s| s.icr = 1 << 12),
        ("icr", |s| s.icr = 1 << 32),
        ("esr", |s| s.esr = 1),
        ("errors", |s| s.errors = 1 << 31),
        ("dfr_model", |s| s.dfr_model = 16),
        ("timer_divide", |s| s.timer_divide = 4),
        ("timer_expiry", |s| s.timer_expiry = Some(T0)),
        ("tsc_deadline", |s| s.tsc_deadline = 1),
    ];
    let mut apic = fresh(7);
    let _ = write(&mut apic, SVR, 0x1FF);
    let good = apic.save();
    for (field, spoil) in cases {
        let (mut bad, before) = (good, apic.clone());
        spoil(&mut bad);
        assert_eq!(apic.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(apic, before);
    }
    let future = Saved { version: 2, ..good };
    let refused = Err(RestoreError::Version { found: 2, supported: 1 });
    assert_eq!(apic.restore(&future), refused);
    let x2 = Saved { base: 0xFEE0_0C00, ldr: 1, ..good };
    assert_eq!(apic.restore(&x2), Err(RestoreError::Field("ldr")));
}
