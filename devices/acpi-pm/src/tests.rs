//! Tests of what a guest can see of the power-management block.

use crate::*;
use proptest::prelude::*;

const T0: Instant = Instant::START;

#[test]
fn the_timer_counts_at_its_rate() {
    let mut pm = AcpiPm::new();
    let second = Instant::from_nanos(1_000_000_000);
    assert_eq!(pm.read(PM_TIMER, 4, second), 3_579_545);
    assert_eq!(pm.read(PM_TIMER, 4, T0), 3_579_545, "never backwards");
    assert_eq!(pm.read(PM_TIMER + 1, 1, second), 3_579_545 >> 8 & 0xFF);
    assert_eq!(pm.write(PM_TIMER, 4, 0, second), None);
    let wrapped = pm.read(PM_TIMER, 4, instant((1 << 32) + 5));
    assert_eq!(wrapped, 5);
}

#[test]
fn the_carry_interrupts_each_half_period() {
    let mut pm = AcpiPm::new();
    assert_eq!(pm.deadline(), None);
    let _ = pm.write(PM1_ENABLE, 2, 1, T0);
    let due = pm.deadline().unwrap();
    assert_eq!(due, instant(1 << 31));
    pm.advance(Instant::from_nanos(due.as_nanos() - 1));
    assert!(!pm.interrupt());
    pm.advance(due);
    assert!(pm.interrupt());
    assert_eq!(pm.deadline(), None);
    assert_eq!(pm.read(PM1_STATUS, 2, due), 1);
    let _ = pm.write(PM1_STATUS, 2, 1, due);
    assert!(!pm.interrupt());
    assert_eq!(pm.deadline(), Some(instant(2 << 31)));
    pm.advance(Instant::from_nanos(u64::MAX));
    assert!(pm.interrupt());
}

#[test]
fn events_are_set_outside_and_cleared_by_ones() {
    let cases = [
        (FixedEvent::PowerButton, 0x100),
        (FixedEvent::RtcAlarm, 0x400),
        (FixedEvent::GlobalLock, 0x020),
    ];
    for (event, bit) in cases {
        let mut pm = AcpiPm::new();
        pm.raise(event);
        assert!(!pm.interrupt());
        assert_eq!(pm.read(PM1_STATUS, 2, T0), bit);
        let _ = pm.write(PM1_ENABLE, 2, bit, T0);
        assert!(pm.interrupt());
        let _ = pm.write(PM1_STATUS, 2, !bit, T0);
        assert!(pm.interrupt(), "zeros keep");
        let _ = pm.write(PM1_STATUS, 4, bit | bit << 16, T0);
        assert!(!pm.interrupt());
        assert_eq!(pm.read(PM1_STATUS, 4, T0), bit << 16);
    }
}

#[test]
fn enable_takes_single_bytes_and_known_bits() {
    let mut pm = AcpiPm::new();
    let _ = pm.write(PM1_ENABLE, 2, 0xFFFF, T0);
    assert_eq!(pm.read(PM1_ENABLE, 2, T0), 0x521);
    let _ = pm.write(PM1_ENABLE + 1, 1, 0, T0);
    assert_eq!(pm.read(PM1_ENABLE, 2, T0), 0x021);
}

#[test]
fn only_s5_switches_off() {
    for sleep_type in 0..8 {
        let mut pm = AcpiPm::new();
        assert_eq!(pm.write(PM1_CONTROL, 2, sleep_type << 10, T0), None);
        let effect = pm.write(PM1_CONTROL, 2, sleep_type << 10 | 0x2000, T0);
        let off = sleep_type == u32::from(SLP_TYP_S5);
        assert_eq!(effect, off.then_some(Effect::PowerOff));
        assert_eq!(pm.read(PM1_CONTROL, 2, T0), sleep_type << 10 | 1, "SLP_EN reads zero");
        let high = (sleep_type << 2 | 0x20) & 0xFF;
        assert_eq!(pm.write(PM1_CONTROL + 1, 1, high, T0), off.then_some(Effect::PowerOff));
    }
}

#[test]
fn acpi_mode_can_not_be_left() {
    let mut pm = AcpiPm::new();
    let _ = pm.write(PM1_CONTROL, 2, 0, T0);
    assert_eq!(pm.read(PM1_CONTROL, 2, T0), 1);
    let _ = pm.write(PM1_CONTROL, 2, 0xDFFF, T0);
    assert_eq!(pm.read(PM1_CONTROL, 2, T0), 0x1C03);
    pm.reset(T0);
    assert_eq!(pm, AcpiPm::new());
}

#[test]
fn what_is_no_register_reads_zero() {
    let mut pm = AcpiPm::new();
    for offset in [6, 12, 15, 16, 0xFFFF] {
        let _ = pm.write(offset, 4, u32::MAX, T0);
    }
    assert_eq!(pm.read(6, 2, T0) | pm.read(12, 4, T0) | pm.read(0x100, 4, T0), 0);
    assert_eq!(pm.read(PM1_STATUS, 0, T0), 0);
}

#[test]
fn an_access_across_the_last_offset_does_not_reach_the_first() {
    let mut pm = AcpiPm::new();
    pm.raise(FixedEvent::PowerButton);
    let _ = pm.write(PM1_ENABLE, 2, 0x0100, T0);
    let _ = pm.write(0xFFFE, 4, 0x0100_FFFF, T0);
    let _ = pm.write(0xFFFD, 4, u32::MAX, T0);
    assert_eq!(pm.read(PM1_STATUS, 4, T0), 0x0100_0100);
    assert_eq!(pm.read(0xFFFE, 4, T0), 0);
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn wide_accesses_are_their_bytes(
        raised: bool, offset in 0u16..0x20, width in prop::sample::select(&[1u8, 2, 4]), value: u32
    ) {
        let mut wide = AcpiPm::new();
        let _ = wide.write(PM1_ENABLE, 2, 0x521, T0);
        if raised {
            wide.raise(FixedEvent::PowerButton);
        }
        let mut narrow = wide.clone();
        let effect = wide.write(offset, width, value, T0);
        let places = (0..u16::from(width)).map(|place| (offset + place, value >> (8 * place)));
        let effects = places.map(|(offset, byte)| narrow.write(offset, 1, byte & 0xFF, T0));
        prop_assert_eq!(effects.fold(None, |all, effect| effect.or(all)), effect);
        prop_assert_eq!(&wide, &narrow);
        let bytes = (0..u16::from(width)).map(|at| narrow.read(offset + at, 1, T0) << (8 * at));
        prop_assert_eq!(wide.read(offset, width, T0), bytes.fold(0, |all, byte| all | byte));
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec(
            (0u8..4, any::<u16>(), 0u8..9, any::<u32>(), any::<u64>(), 0u32..64), 0..200)
    ) {
        let mut pm = AcpiPm::new();
        for (kind, offset, width, value, jump, shift) in steps {
            let now = pm.latest.saturating_add(jump >> shift);
            match kind {
                0 => drop(pm.read(offset & 0x1F, width, now)),
                1 | 2 => drop(pm.write(offset & 0x1F, width, value, now)),
                _ => pm.raise(FixedEvent::PowerButton),
            }
            let mut other = AcpiPm::new();
            prop_assert_eq!(other.restore(&pm.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &pm);
            if let Some(due) = pm.deadline().filter(|due| due.as_nanos() < u64::MAX) {
                other.advance(Instant::from_nanos(due.as_nanos() - 1));
                prop_assert_eq!(other.interrupt(), pm.interrupt());
                other.advance(due);
                prop_assert!(other.interrupt());
            }
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 4] = [
        ("status", |s| s.status = 2),
        ("enable", |s| s.enable = 0x8000),
        ("control", |s| s.control = 0),
        ("control", |s| s.control = 0x2001),
    ];
    let mut pm = AcpiPm::new();
    for (field, spoil) in cases {
        let (mut bad, before) = (pm.save(), pm.clone());
        spoil(&mut bad);
        assert_eq!(pm.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(pm, before);
    }
    let future = Saved { version: 2, ..pm.save() };
    assert_eq!(pm.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
}
