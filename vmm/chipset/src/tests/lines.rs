//! The lines to the two controllers.

use local_apic::{Delivery, Destination, Ipi};

use super::Board;
use crate::lines::{Lines, irq};

/// An entry of the IOAPIC for an edge on `vector`; the bit adds the level trigger.
const LEVEL: u32 = 1 << 15;

fn routed(pin: u32, entry: u32) -> Lines {
    let lines = Lines::new();
    for (offset, value) in [(0, 0x10 + 2 * pin), (0x10, entry)] {
        lines.write_ioapic(offset, value, |_, _| panic!("no line is high"));
    }
    lines
}

#[test]
fn a_rising_line_is_a_message_and_a_level_that_stays_is_none() {
    let lines = routed(irq::SERIAL_1.into(), 0x44);
    let message =
        Ipi { destination: Destination::Physical(0), delivery: Delivery::Fixed, vector: 0x44 };
    assert_eq!(lines.set(irq::SERIAL_1, true).messages, [Some((message, false)), None]);
    assert_eq!(lines.set(irq::SERIAL_1, true).messages, [None; 2]);
    assert_eq!(lines.set(irq::SERIAL_1, false).messages, [None; 2]);
    assert_eq!(lines.set(irq::SERIAL_1, true).messages, [Some((message, false)), None]);
}

#[test]
fn the_timer_reaches_the_io_apic_at_pin_2_and_each_pulse_counts() {
    let lines = routed(2, 0x30);
    for _ in 0..3 {
        let [first, second] = lines.pulse(irq::TIMER).messages;
        assert_eq!((first.map(|(ipi, _)| ipi.vector), second), (Some(0x30), None));
    }
    let at_pin_0 = routed(0, 0x30);
    assert_eq!(at_pin_0.pulse(irq::TIMER).messages, [None; 2]);
}

#[test]
fn every_kind_of_io_apic_message_goes_out_but_the_8259s() {
    for (mode, delivery) in [
        (0, Some(Delivery::Fixed)),
        (1, Some(Delivery::LowestPriority)),
        (2, Some(Delivery::Smi)),
        (4, Some(Delivery::Nmi)),
        (5, Some(Delivery::Init)),
        (7, None),
    ] {
        let lines = routed(irq::SCI.into(), mode << 8 | 0x51);
        let [message, _] = lines.set(irq::SCI, true).messages;
        assert_eq!(message.map(|(ipi, _)| ipi.delivery), delivery, "{mode}");
    }
}

#[test]
fn a_level_that_is_still_high_at_the_end_of_its_interrupt_comes_again() {
    let lines = routed(irq::SCI.into(), LEVEL | 0x51);
    assert!(matches!(lines.set(irq::SCI, true).messages, [Some((_, true)), None]));
    let mut again = 0;
    lines.end_of_interrupt(0x52, |_, _| panic!("another vector"));
    lines.end_of_interrupt(0x51, |ipi, level| {
        assert!(level && ipi.vector == 0x51);
        // The callback may use the lines: no lock is held.
        assert_eq!(lines.read_ioapic(0), 0x10 + 2 * u32::from(irq::SCI));
        again += 1;
    });
    assert_eq!(again, 1);
    let _ = lines.set(irq::SCI, false);
    lines.end_of_interrupt(0x51, |_, _| panic!("the line is low"));
}

#[test]
fn an_8259_interrupt_is_acknowledged_once() {
    let board = Board::new(1);
    board.start_pic();
    let lines = board.chipset.lines();
    assert_eq!(lines.acknowledge_pic(), None);
    assert!(lines.set(irq::RTC, true).pic_changed && lines.pic_output());
    assert!(!lines.set(irq::SERIAL_2, true).pic_changed, "the output was high already");
    assert_eq!(lines.acknowledge_pic(), Some(0x28), "the second controller is above IRQ 3");
    assert!(!lines.pic_output());
    assert_eq!(lines.acknowledge_pic(), None, "IRQ 8 is in service");
    for port in [0xa0, 0x20] {
        board.write(port, 0x20);
    }
    assert_eq!(lines.acknowledge_pic(), Some(0x23));
}

#[test]
fn a_reset_lowers_all_lines() {
    let lines = routed(irq::SCI.into(), 0x400);
    assert!(lines.reach_cpus(), "an NMI");
    let _ = lines.set(irq::SCI, true);
    lines.reset(device_model::Instant::from_nanos(0));
    assert!(!lines.reach_cpus() && !lines.pic_output());
    assert_eq!(lines.set(irq::SCI, true).messages, [None; 2], "masked after a reset");
}
