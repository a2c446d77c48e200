//! The devices as a guest sees them, and input from outside.

use std::sync::atomic::Ordering;

use platform_api::{Event, Exit, Platform, Received, Width};

use super::fake::{CONFIDENTIAL, Fake};
use super::{exit, machine, one, port, write_msr, x2apic_on};
use crate::vp::{Activity, VirtualProcessor};

/// The first register of each serial port.
const SERIAL: [u16; 2] = [0x3f8, 0x2f8];
/// CTS, DSR and DCD in the modem status register, without changes (PC16550D, 8.8).
const CONNECTED: u64 = 0xb0;
/// The power button in the PM1 status and enable registers (ACPI 6.5, 4.8.3.1).
const POWER_BUTTON: u32 = 1 << 8;

#[test]
fn a_terminal_is_connected_to_both_serial_ports() {
    let mut vp = one();
    for base in SERIAL {
        assert_eq!(port(&mut vp, base + 6, Width::Byte, None) & 0xff, CONNECTED);
    }
    vp.machine.chipset.reset(vp.machine.now());
    for base in SERIAL {
        assert_eq!(port(&mut vp, base + 6, Width::Byte, None) & 0xff, CONNECTED, "after a reset");
    }
}

#[test]
fn a_break_arrives_in_its_place_and_as_a_break() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    for (channel, base) in SERIAL.into_iter().enumerate() {
        port(&mut vp, base + 2, Width::Byte, Some(1));
        let news = [Received::Byte(b'a'), Received::Break, Received::Byte(b'b')];
        host.typed[channel].lock().unwrap().extend(news);
        exit(&mut vp, Exit::HostInterrupt);
        for (byte, broken) in [(u64::from(b'a'), false), (0, true), (u64::from(b'b'), false)] {
            let status = port(&mut vp, base + 5, Width::Byte, None);
            assert_eq!((status & 1, status & 0x10 != 0), (1, broken));
            assert_eq!(port(&mut vp, base, Width::Byte, None) & 0xff, byte);
        }
    }
}

#[test]
fn a_press_of_the_power_button_is_an_sci() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    x2apic_on(&mut vp);
    // Pin 9: level triggered, vector 99.
    for (index, value) in [(0x23, 0), (0x22, 1 << 15 | 99)] {
        vp.machine.chipset.lines().write_ioapic(0, index, |_, _| {});
        vp.machine.chipset.lines().write_ioapic(0x10, value, |_, _| {});
    }
    port(&mut vp, 0x602, Width::Word, Some(POWER_BUTTON));
    host.pressed.store(true, Ordering::SeqCst);
    exit(&mut vp, Exit::HostInterrupt);
    assert_eq!(port(&mut vp, 0x600, Width::Word, None) & 0xffff, POWER_BUTTON.into());
    assert_eq!(vp.cpu.offered, Some(99));
    port(&mut vp, 0x600, Width::Word, Some(POWER_BUTTON));
    assert_eq!(port(&mut vp, 0x600, Width::Word, None) & 0xffff, 0);
}

/// Both VPs run, in x2APIC mode.
fn start_second(vps: &mut [VirtualProcessor<Fake>]) {
    x2apic_on(&mut vps[0]);
    for icr in [0x4500, 0x4608] {
        write_msr(&mut vps[0], 0x830, 1 << 32 | icr);
    }
    vps[1].turn();
    x2apic_on(&mut vps[1]);
}

#[test]
fn an_nmi_of_the_host_asks_the_lint1_of_each_vp() {
    let mut vps = machine(2);
    start_second(&mut vps);
    for open in [false, true] {
        if open {
            write_msr(&mut vps[1], 0x836, 0x400);
        }
        vps[1].machine.platform.host().nmi.store(true, Ordering::SeqCst);
        vps[1].turn();
        vps[1].turn();
        assert_eq!(vps[1].cpu.injected.contains(&Event::Nmi), open);
    }
}

/// Initialises the 8259 pair with vectors 20h and 28h, and opens IRQ 4 alone.
pub(super) fn start_pic(vp: &mut VirtualProcessor<Fake>) {
    for (base, vector, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        for (at, value) in [(base, 0x11), (base + 1, vector), (base + 1, cascade), (base + 1, 1)] {
            port(vp, at, Width::Byte, Some(value));
        }
    }
    port(vp, 0x21, Width::Byte, Some(0xef));
    port(vp, 0xa1, Width::Byte, Some(0xff));
}

/// Has the first serial port interrupt, as somebody types.
pub(super) fn type_byte(vp: &mut VirtualProcessor<Fake>) {
    port(vp, 0x3fc, Width::Byte, Some(0x0b));
    port(vp, 0x3f9, Width::Byte, Some(1));
    vp.machine.platform.host().typed[0].lock().unwrap().push_back(Received::Byte(b'a'));
    exit(vp, Exit::HostInterrupt);
}

#[test]
fn legacy_interrupts_go_to_the_vp_that_asks_for_them() {
    const IRQ_4: Event = Event::Interrupt(0x24);
    for (first, second) in [(0x1_0700, 0x700), (0x700, 0x1_0700), (0x700, 0x700)] {
        let mut vps = machine(2);
        start_second(&mut vps);
        for (vp, lint0) in vps.iter_mut().zip([first, second]) {
            write_msr(vp, 0x835, lint0);
            vp.cpu.rflags = 0x202;
        }
        // The second one sleeps.
        exit(&mut vps[1], Exit::Halt);
        start_pic(&mut vps[0]);
        let host = vps[0].machine.platform.host();
        host.kicks.lock().unwrap().clear();
        type_byte(&mut vps[0]);
        for vp in &mut vps {
            vp.turn();
            vp.turn();
        }
        let got = |index: usize| {
            let cpu = &vps[index].cpu;
            let offered = usize::from(cpu.offered == Some(0x24));
            offered + cpu.injected.iter().filter(|event| **event == IRQ_4).count()
        };
        let (first, second) = (first == 0x700, second == 0x700);
        assert_eq!(got(0) + got(1), 1, "one interrupt");
        assert!((got(0) == 1) <= first && (got(1) == 1) <= second);
        // Where the interrupt is only on offer to the other one, a sleeper may look in vain.
        let may_look = CONFIDENTIAL && first && second;
        assert!(may_look || (vps[1].activity == Activity::Running) == (got(1) == 1));
    }
}
