//! Tests of what a guest can see of an I/O APIC.

use crate::*;
use proptest::prelude::*;
use std::vec::Vec;

fn select_write(ioapic: &mut IoApic, index: u8, value: u32) -> Vec<Message> {
    assert_eq!(ioapic.write(IOREGSEL, u32::from(index)).count(), 0);
    ioapic.write(IOWIN, value).collect()
}

fn select_read(ioapic: &mut IoApic, index: u8) -> u32 {
    let _ = ioapic.write(IOREGSEL, u32::from(index));
    ioapic.read(IOWIN)
}

/// An I/O APIC with this low half in the entry of pin 5, for destination 7.
fn with_entry(low: u32) -> IoApic {
    let mut ioapic = IoApic::new();
    assert_eq!(select_write(&mut ioapic, 0x1B, 7 << 24), []);
    assert_eq!(select_write(&mut ioapic, 0x1A, low), []);
    ioapic
}

fn message(vector: u8, delivery_mode: DeliveryMode, trigger_mode: TriggerMode) -> Message {
    let destination_mode = DestinationMode::Physical;
    Message { destination: 7, destination_mode, delivery_mode, vector, trigger_mode }
}

const LEVEL: u32 = 0x8000;
const MASKED: u32 = 0x1_0000;

#[test]
fn registers_read_as_documented() {
    let mut ioapic = IoApic::new();
    assert_eq!(select_read(&mut ioapic, 1), 0x0017_0020);
    let _ = select_write(&mut ioapic, 0, 0xFFFF_FFFF);
    assert_eq!(select_read(&mut ioapic, 0), 0x0F00_0000);
    assert_eq!(select_read(&mut ioapic, 2), 0x0F00_0000);
    let _ = select_write(&mut ioapic, 1, 0);
    assert_eq!(select_read(&mut ioapic, 1), 0x0017_0020);
    for index in 0x10..0x40 {
        assert_eq!(select_read(&mut ioapic, index), if index % 2 == 0 { MASKED } else { 0 });
        assert_eq!(select_write(&mut ioapic, index, u32::MAX), []);
        let bits = if index % 2 == 0 { 0x1_AFFF } else { 0xFF00_0000 };
        assert_eq!(select_read(&mut ioapic, index), bits, "{index:#x}");
    }
    for index in (3..0x10).chain(0x40..=0xFF) {
        assert_eq!(select_write(&mut ioapic, index, u32::MAX), []);
        assert_eq!(select_read(&mut ioapic, index), 0);
    }
    assert_eq!((ioapic.read(IOREGSEL), ioapic.read(EOIR), ioapic.read(0x11)), (0xFF, 0, 0));
    ioapic.reset(Instant::START);
    assert_eq!(ioapic, IoApic::new());
}

#[test]
fn edges_send_once_and_masked_edges_are_lost() {
    let mut ioapic = with_entry(0x31);
    let sent = Some(message(0x31, DeliveryMode::Fixed, TriggerMode::Edge));
    assert_eq!(ioapic.set_pin(5, true), sent);
    assert_eq!(ioapic.set_pin(5, true), None);
    assert_eq!(ioapic.set_pin(5, false), None);
    assert_eq!(ioapic.set_pin(5, true), sent);
    assert_eq!(ioapic.set_pin(5, false), None);
    assert_eq!(select_write(&mut ioapic, 0x1A, 0x31 | MASKED), []);
    assert_eq!(ioapic.set_pin(5, true), None);
    assert_eq!(select_write(&mut ioapic, 0x1A, 0x31), []);
    assert_eq!(ioapic.set_pin(24, true), None);
    assert_eq!(ioapic.set_pin(255, true), None);
}

#[test]
fn every_delivery_mode_is_named() {
    let modes = [
        (0, Some(DeliveryMode::Fixed)),
        (1, Some(DeliveryMode::LowestPriority)),
        (2, Some(DeliveryMode::Smi)),
        (3, None),
        (4, Some(DeliveryMode::Nmi)),
        (5, Some(DeliveryMode::Init)),
        (6, None),
        (7, Some(DeliveryMode::ExtInt)),
    ];
    for (code, mode) in modes {
        let mut ioapic = with_entry(0x44 | code << 8);
        let sent = ioapic.set_pin(5, true);
        assert_eq!(sent, mode.map(|mode| message(0x44, mode, TriggerMode::Edge)));
        let mut level = with_entry(0x44 | code << 8 | LEVEL);
        let trigger_mode = level.set_pin(5, true).map(|sent| sent.trigger_mode);
        let expected = if code < 2 { TriggerMode::Level } else { TriggerMode::Edge };
        assert_eq!(trigger_mode, mode.map(|_| expected), "{code}");
        assert_eq!(select_read(&mut level, 0x1A) & 0x4000 != 0, code < 2);
    }
    let logical = with_entry(0x0844).set_pin(5, true).unwrap();
    assert_eq!(logical.destination_mode, DestinationMode::Logical);
}

#[test]
fn levels_wait_for_their_end() {
    let mut ioapic = with_entry(0x31 | LEVEL);
    let sent = message(0x31, DeliveryMode::Fixed, TriggerMode::Level);
    assert_eq!(ioapic.set_pin(5, true), Some(sent));
    assert_eq!(select_read(&mut ioapic, 0x1A), 0xC031);
    assert_eq!(ioapic.set_pin(5, false), None);
    assert_eq!(ioapic.set_pin(5, true), None, "remote IRR holds it");
    assert_eq!(ioapic.end_of_interrupt(0x30).count(), 0);
    assert_eq!(ioapic.end_of_interrupt(0x31).collect::<Vec<_>>(), [sent]);
    assert_eq!(ioapic.set_pin(5, false), None);
    assert_eq!(ioapic.write(EOIR, 0x31).count(), 0);
    assert_eq!(select_read(&mut ioapic, 0x1A), 0x8031);
    assert_eq!(ioapic.end_of_interrupt(0x31).count(), 0);
}

#[test]
fn shared_vectors_end_together() {
    let mut ioapic = IoApic::new();
    for index in [0x10, 0x12, 0x3E] {
        let _ = select_write(&mut ioapic, index, 0x50 | LEVEL);
    }
    for pin in [0, 1, 23] {
        assert!(ioapic.set_pin(pin, true).is_some());
    }
    let _ = ioapic.set_pin(1, false);
    assert_eq!(ioapic.write(EOIR, 0x50).count(), 2);
}

#[test]
fn unmasking_an_asserted_level_sends() {
    let mut ioapic = with_entry(0x31 | LEVEL | MASKED);
    assert_eq!(ioapic.set_pin(5, true), None);
    let sent = message(0x31, DeliveryMode::Fixed, TriggerMode::Level);
    assert_eq!(select_write(&mut ioapic, 0x1A, 0x31 | LEVEL), [sent]);
    assert_eq!(select_write(&mut ioapic, 0x1A, 0x31 | LEVEL | MASKED), []);
    assert_eq!(ioapic.end_of_interrupt(0x31).count(), 0, "masked");
    assert_eq!(select_write(&mut ioapic, 0x1A, 0x31 | LEVEL), [sent]);
}

#[test]
fn changing_the_trigger_mode_clears_a_stuck_remote_irr() {
    let mut ioapic = with_entry(0x31 | LEVEL);
    let _ = ioapic.set_pin(5, true);
    let _ = ioapic.set_pin(5, false);
    let _ = select_write(&mut ioapic, 0x1A, 0x31 | LEVEL | MASKED);
    assert_eq!(select_read(&mut ioapic, 0x1A), 0x1_C031, "read-only");
    let _ = select_write(&mut ioapic, 0x1A, 0x31 | MASKED);
    let _ = select_write(&mut ioapic, 0x1A, 0x31 | LEVEL | MASKED);
    assert_eq!(select_read(&mut ioapic, 0x1A), 0x1_8031);
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    /// A message leaves when the pin is asserted, open and not waiting for an EOI, as soon as that
    /// becomes true.
    #[test]
    fn a_level_sends_exactly_when_it_may(steps in proptest::collection::vec(0u8..6, 0..80)) {
        let mut ioapic = with_entry(0x31 | LEVEL | MASKED);
        let (mut asserted, mut open, mut waits) = (false, false, false);
        for step in steps {
            let sent = match step {
                0 | 1 => {
                    asserted = step == 0;
                    usize::from(ioapic.set_pin(5, asserted).is_some())
                }
                2 | 3 => {
                    open = step == 2;
                    let mask = if open { 0 } else { MASKED };
                    select_write(&mut ioapic, 0x1A, 0x31 | LEVEL | mask).len()
                }
                4 => {
                    waits = false;
                    ioapic.end_of_interrupt(0x31).count()
                }
                _ => ioapic.end_of_interrupt(0x32).count(),
            };
            let sends = asserted && open && !waits;
            waits |= sends;
            prop_assert_eq!(sent, usize::from(sends));
            prop_assert_eq!(select_read(&mut ioapic, 0x1A) & 0x4000 != 0, waits);
        }
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0u8..6, any::<u8>(), any::<u32>()), 0..300)
    ) {
        let mut ioapic = IoApic::new();
        for (kind, byte, value) in steps {
            match kind {
                0 => drop(ioapic.write(IOREGSEL, u32::from(byte & 0x3F))),
                // A small range of vectors, so that pins share them.
                1 | 2 => drop(ioapic.write(IOWIN, value & 0xFF01_FF07).count()),
                3 => drop(ioapic.set_pin(byte & 31, value & 1 != 0)),
                4 => drop(ioapic.end_of_interrupt(byte & 7).count()),
                _ => drop(ioapic.read(u16::from(byte))),
            }
            let mut other = IoApic::new();
            prop_assert_eq!(other.restore(&ioapic.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &ioapic);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 5] = [
        ("id", |s| s.id = 1),
        ("pins", |s| s.pins = 1 << 24),
        ("entries", |s| s.entries[3] = 1 << 12),
        ("entries", |s| s.entries[3] = 1 << 14),
        ("entries", |s| {
            s.entries[3] = 0x8030;
            s.pins = 8
        }),
    ];
    let mut ioapic = with_entry(0x31);
    for (field, spoil) in cases {
        let (mut bad, before) = (ioapic.save(), ioapic.clone());
        spoil(&mut bad);
        assert_eq!(ioapic.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(ioapic, before);
    }
    let future = Saved { version: 2, ..ioapic.save() };
    assert_eq!(ioapic.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
}
