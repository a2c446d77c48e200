//! Tests of what a guest can see of a UART.

use crate::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const T0: Instant = Instant::START;
/// Scratch register.
const SCR: u8 = 7;

/// A UART whose interrupt gate is open, with these interrupts enabled.
fn uart(enable: u8) -> Uart {
    let mut uart = Uart::new();
    uart.write(MCR, 0x08, T0);
    uart.write(IER_DLM, enable, T0);
    uart
}

fn fifo_uart(enable: u8, trigger: u8) -> Uart {
    let mut uart = uart(enable);
    uart.write(IIR_FCR, trigger << 6 | 1, T0);
    uart
}

fn read(uart: &mut Uart, offset: u8) -> u8 {
    uart.read(offset, T0)
}

fn drain(uart: &mut Uart) -> Vec<u8> {
    core::iter::from_fn(|| uart.transmitted()).collect()
}

#[test]
fn reset_values_are_those_of_table_iii() {
    let mut uart = Uart::new();
    let values = [0, 0, 0x01, 0, 0, 0x60, 0, 0];
    for (offset, value) in (0..8).zip(values) {
        assert_eq!(read(&mut uart, offset), value, "{offset}");
    }
    assert!(!uart.interrupt());
}

#[test]
fn plain_registers_hold_their_bits() {
    let mut uart = Uart::new();
    for (offset, bits) in [(IER_DLM, 0x0F), (LCR, 0x7F), (MCR, 0x1F), (SCR, 0xFF)] {
        uart.write(offset, bits, T0);
        assert_eq!(read(&mut uart, offset), bits);
    }
    uart.write(IER_DLM, 0xFF, T0);
    uart.write(MCR, 0xFF, T0);
    assert_eq!((read(&mut uart, IER_DLM), read(&mut uart, MCR)), (0x0F, 0x1F));
    uart.write(LCR, 0x83, T0);
    uart.write(0, 0x34, T0);
    uart.write(1, 0x12, T0);
    assert_eq!((read(&mut uart, 0), read(&mut uart, 1)), (0x34, 0x12));
    assert_eq!(drain(&mut uart), []);
    uart.write(LCR, 0x03, T0);
    assert_eq!(read(&mut uart, IER_DLM), 0x0F);
    uart.write(LSR, 0, T0);
    assert_eq!(read(&mut uart, LSR), 0x60);
}

#[test]
fn transmitter_interrupts_when_drained_and_when_enabled() {
    let mut uart = uart(0x02);
    assert!(uart.interrupt(), "enabling reports an empty transmitter");
    assert_eq!(read(&mut uart, IIR_FCR), 0x02);
    assert_eq!(read(&mut uart, IIR_FCR), 0x01, "the read cleared it");
    uart.write(0, b'x', T0);
    assert_eq!((read(&mut uart, LSR), uart.interrupt()), (0x00, false));
    assert_eq!(drain(&mut uart), b"x");
    assert_eq!((read(&mut uart, LSR), uart.interrupt()), (0x60, true));
    uart.write(0, b'y', T0);
    assert!(!uart.interrupt(), "a write clears it, too");
    let _ = drain(&mut uart);
    uart.write(IER_DLM, 0, T0);
    assert!(!uart.interrupt());
    let _ = read(&mut uart, IIR_FCR);
    uart.write(IER_DLM, 2, T0);
    assert_eq!(read(&mut uart, IIR_FCR), 0x02);
}

#[test]
fn transmit_fifo_holds_sixteen_and_the_holding_register_one() {
    let mut uart = fifo_uart(0, 0);
    for byte in 0..20 {
        uart.write(0, byte, T0);
    }
    assert_eq!(drain(&mut uart), (0..16).collect::<Vec<u8>>());
    uart.write(IIR_FCR, 0, T0);
    uart.write(0, 1, T0);
    uart.write(0, 2, T0);
    assert_eq!(drain(&mut uart), [2]);
}

#[test]
fn receiver_without_fifo_takes_one() {
    let mut uart = uart(0x01);
    assert!(uart.receive(b'a', T0));
    assert!(!uart.receive(b'b', T0), "no room: the shell keeps it");
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, LSR)), (0x04, 0x61));
    assert_eq!(read(&mut uart, 0), b'a');
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, LSR)), (0x01, 0x60));
    assert_eq!(uart.deadline(), None);
    assert!(uart.receive(b'b', T0));
}

#[test]
fn trigger_levels_count() {
    for (code, level) in [(0, 1), (1, 4), (2, 8), (3, 14)] {
        let mut uart = fifo_uart(0x01, code);
        for count in 1..=16 {
            assert!(uart.receive(count, T0));
            assert_eq!(uart.interrupt(), count >= level, "{code} {count}");
        }
        assert!(!uart.receive(17, T0));
        assert_eq!(read(&mut uart, IIR_FCR), 0xC4);
        for count in 1..=16 {
            assert_eq!(read(&mut uart, 0), count);
        }
    }
}

#[test]
fn character_timeout_fires_and_a_read_restarts_it() {
    let mut uart = fifo_uart(0x01, 2);
    let at = |nanos| Instant::from_nanos(nanos);
    assert!(uart.receive(1, at(0)) && uart.receive(2, at(100)));
    let due = at(100 + CHARACTER_TIMEOUT_NANOS);
    assert_eq!(uart.deadline(), Some(due));
    uart.advance(at(99 + CHARACTER_TIMEOUT_NANOS));
    assert!(!uart.interrupt());
    uart.advance(due);
    assert!(uart.interrupt());
    assert_eq!(uart.deadline(), None);
    assert_eq!(uart.read(IIR_FCR, due), 0xCC);
    assert_eq!(uart.read(0, due), 1);
    assert!(!uart.interrupt());
    assert_eq!(uart.deadline(), Some(due.saturating_add(CHARACTER_TIMEOUT_NANOS)));
    assert_eq!(uart.read(0, due), 2);
    assert_eq!(uart.deadline(), None);
}

#[test]
fn fifo_control_clears() {
    let mut uart = fifo_uart(0x01, 3);
    assert!(uart.receive(1, T0));
    uart.write(0, 9, T0);
    uart.write(IIR_FCR, 0x03, T0);
    assert_eq!(read(&mut uart, LSR), 0x00, "only the receiver");
    uart.write(IIR_FCR, 0x05, T0);
    assert_eq!((read(&mut uart, LSR), drain(&mut uart).len()), (0x60, 0));
    assert!(uart.receive(1, T0));
    uart.write(IIR_FCR, 0x00, T0);
    assert_eq!((read(&mut uart, LSR), read(&mut uart, IIR_FCR)), (0x60, 0x01));
}

#[test]
fn flaws_surface_with_their_character() {
    let mut uart = fifo_uart(0x05, 0);
    assert!(uart.receive(b'a', T0));
    assert!(uart.receive_flawed(b'b', Flaw::Parity, T0));
    assert!(uart.receive_flawed(b'c', Flaw::Framing, T0));
    assert!(uart.receive_flawed(b'd', Flaw::Break, T0));
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, LSR)), (0xC4, 0xE1));
    assert_eq!(read(&mut uart, 0), b'a');
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, LSR)), (0xC6, 0xE5));
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, LSR)), (0xC4, 0xE1), "read clears");
    assert_eq!(read(&mut uart, 0), b'b');
    assert_eq!((read(&mut uart, LSR), read(&mut uart, 0)), (0xE9, b'c'));
    assert_eq!((read(&mut uart, LSR), read(&mut uart, 0)), (0xF9, 0));
    assert_eq!(read(&mut uart, LSR), 0x60);
}

#[test]
fn loopback_returns_bytes_lines_and_overruns() {
    let mut uart = fifo_uart(0, 0);
    uart.write(MCR, 0x1F, T0);
    assert_eq!(read(&mut uart, MSR), 0xFB, "no trailing edge of RI yet");
    uart.write(MCR, 0x10, T0);
    assert_eq!(read(&mut uart, MSR), 0x0F);
    assert!(!uart.receive(1, T0), "disconnected");
    for byte in 0..17 {
        uart.write(0, byte, T0);
    }
    assert_eq!(drain(&mut uart), []);
    assert_eq!((read(&mut uart, LSR), read(&mut uart, LSR)), (0x63, 0x61));
    assert_eq!(
        (0..16).map(|_| read(&mut uart, 0)).collect::<Vec<_>>(),
        (0..16).collect::<Vec<_>>()
    );
    uart.write(LCR, 0x43, T0);
    assert_eq!(read(&mut uart, LSR), 0xF9);
    uart.write(IIR_FCR, 0, T0);
    uart.write(0, 1, T0);
    uart.write(0, 2, T0);
    assert_eq!((read(&mut uart, LSR), read(&mut uart, 0)), (0x63, 2), "overwritten");
}

#[test]
fn modem_deltas_interrupt_last() {
    let mut uart = uart(0x0A);
    uart.write(MCR, 0x16, T0);
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, IIR_FCR)), (0x02, 0x00));
    assert_eq!((read(&mut uart, MSR), read(&mut uart, MSR)), (0x51, 0x50));
    assert_eq!(read(&mut uart, IIR_FCR), 0x01);
    uart.write(MCR, 0x08, T0);
    assert_eq!((read(&mut uart, IIR_FCR), uart.interrupt()), (0x00, true));
    assert_eq!((read(&mut uart, MSR), uart.interrupt()), (0x05, false));
}

#[test]
fn out2_gates_the_line() {
    let mut uart = uart(0x01);
    assert!(uart.receive(1, T0) && uart.interrupt());
    for (control, line) in [(0x00, false), (0x08, true), (0x18, false), (0x0B, true)] {
        uart.write(MCR, control, T0);
        assert_eq!(uart.interrupt(), line);
    }
    uart.reset(T0);
    assert_eq!(uart, Uart::new());
}

/// Raises CTS and lowers it again by a turn in loopback mode, which leaves the delta set.
fn pulse_cts(uart: &mut Uart) {
    uart.write(MCR, 0x12, T0);
    uart.write(MCR, 0x08, T0);
}

#[test]
fn the_four_sources_are_reported_by_priority_and_cleared_as_table_iv_says() {
    let mut uart = uart(0x0F);
    pulse_cts(&mut uart);
    assert!(uart.receive_flawed(b'a', Flaw::Framing, T0));
    assert_eq!((read(&mut uart, IIR_FCR), read(&mut uart, IIR_FCR)), (0x06, 0x06));
    assert_eq!((read(&mut uart, LSR), read(&mut uart, IIR_FCR)), (0x69, 0x04));
    assert_eq!((read(&mut uart, RBR_THR_DLL), read(&mut uart, IIR_FCR)), (b'a', 0x02));
    assert_eq!(read(&mut uart, IIR_FCR), 0x00, "only a read that reports THRE clears it");
    assert!(uart.interrupt());
    assert_eq!((read(&mut uart, MSR), read(&mut uart, IIR_FCR)), (0x01, 0x01));
    assert!(!uart.interrupt());
}

#[test]
fn each_enable_bit_opens_its_own_source() {
    for (enable, identification) in [(0x01, 0x04), (0x02, 0x02), (0x04, 0x06), (0x08, 0x00)] {
        let mut uart = uart(enable);
        pulse_cts(&mut uart);
        assert!(uart.receive_flawed(b'a', Flaw::Parity, T0));
        assert_eq!((uart.interrupt(), read(&mut uart, IIR_FCR)), (true, identification));
        uart.write(IER_DLM, !enable & 0x0F, T0);
        assert_ne!(read(&mut uart, IIR_FCR), identification);
    }
}

#[test]
fn an_empty_transmitter_is_reported_once_however_often_it_is_enabled() {
    let mut uart = uart(0x02);
    assert_eq!(read(&mut uart, IIR_FCR), 0x02);
    uart.write(IER_DLM, 0x02, T0);
    assert_eq!(read(&mut uart, IIR_FCR), 0x01, "it was enabled already");
    uart.write(0, b'x', T0);
    uart.write(IER_DLM, 0x00, T0);
    uart.write(IER_DLM, 0x02, T0);
    assert_eq!(read(&mut uart, IIR_FCR), 0x01, "the transmitter is not empty");
}

#[test]
fn without_fifos_errors_do_not_reach_bit_7_of_the_lsr() {
    let mut uart = uart(0);
    assert!(uart.receive_flawed(b'a', Flaw::Parity, T0));
    assert_eq!((read(&mut uart, LSR), read(&mut uart, LSR)), (0x65, 0x61));
    assert_eq!(read(&mut uart, RBR_THR_DLL), b'a');
    assert!(uart.receive_flawed(b'b', Flaw::Break, T0));
    assert_eq!((read(&mut uart, LSR), read(&mut uart, RBR_THR_DLL)), (0x79, 0));
}

#[test]
fn the_divisor_latch_hides_data_and_enables_without_touching_them() {
    let mut uart = fifo_uart(0x01, 0);
    assert!(uart.receive(b'a', T0));
    uart.write(LCR, 0x80, T0);
    uart.write(RBR_THR_DLL, 0x01, T0);
    uart.write(IER_DLM, 0xC2, T0);
    assert_eq!((read(&mut uart, RBR_THR_DLL), read(&mut uart, IER_DLM)), (0x01, 0xC2));
    assert_eq!((read(&mut uart, LSR), uart.has_output()), (0x61, false));
    uart.write(LCR, 0x00, T0);
    assert_eq!((read(&mut uart, IER_DLM), read(&mut uart, RBR_THR_DLL)), (0x01, b'a'));
}

#[test]
fn each_modem_line_has_its_delta_and_the_ring_counts_when_it_ends() {
    // In loopback mode RTS, DTR, OUT1 and OUT2 drive CTS, DSR, RI and DCD (DS 8.7).
    for (bit, control) in [0x02, 0x01, 0x04, 0x08].into_iter().enumerate() {
        let (level, delta) = (0x10 << bit, 0x01 << bit);
        let mut uart = Uart::new();
        uart.write(MCR, 0x10 | control, T0);
        let rise = if level == 0x40 { level } else { level | delta };
        assert_eq!((read(&mut uart, MSR), read(&mut uart, MSR)), (rise, level));
        uart.write(MCR, 0x10 | control, T0);
        assert_eq!(read(&mut uart, MSR), level, "no change, no delta");
        uart.write(MCR, 0x10, T0);
        assert_eq!((read(&mut uart, MSR), read(&mut uart, MSR)), (delta, 0));
    }
}

#[test]
fn a_write_of_the_fcr_neither_delays_nor_drops_a_character_timeout() {
    let at = |nanos| Instant::from_nanos(nanos);
    let due = at(CHARACTER_TIMEOUT_NANOS);
    let mut uart = fifo_uart(0x01, 3);
    assert!(uart.receive(1, T0));
    uart.write(IIR_FCR, 0xC1, at(1000));
    assert_eq!(uart.deadline(), Some(due), "only receiving or reading a character restarts it");
    uart.advance(due);
    uart.write(IIR_FCR, 0x81, due);
    assert_eq!((uart.interrupt(), uart.read(IIR_FCR, due)), (true, 0xCC));
    uart.write(IIR_FCR, 0x83, due);
    assert_eq!((uart.interrupt(), uart.deadline()), (false, None), "nothing waits any more");
}

#[test]
fn a_reset_keeps_only_the_modems_lines() {
    let lines = ModemLines::CTS | ModemLines::DSR | ModemLines::DCD;
    let mut uart = Uart::connected(lines);
    assert_eq!(read(&mut uart, MSR), 0xB0, "no line has changed");
    for (offset, value) in [(LCR, 0xFF), (0, 0x55), (LCR, 0x03), (MCR, 0x0F), (SCR, 0x77)] {
        uart.write(offset, value, T0);
    }
    uart.write(IIR_FCR, 0xC1, T0);
    assert!(uart.receive(b'a', T0));
    uart.reset(T0);
    assert_eq!(uart, Uart::connected(lines));
}

#[test]
fn a_new_trigger_level_applies_to_characters_in_the_fifo() {
    let mut uart = fifo_uart(0x01, 3);
    for count in 0..4 {
        assert!(uart.receive(count, T0));
    }
    assert!(!uart.interrupt());
    uart.write(IIR_FCR, 0x41, T0);
    assert_eq!((uart.interrupt(), read(&mut uart, IIR_FCR)), (true, 0xC4));
    uart.write(IIR_FCR, 0x81, T0);
    assert_eq!((uart.interrupt(), read(&mut uart, LSR)), (false, 0x61));
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_reordered(
        fifos: bool, steps in proptest::collection::vec((0u8..3, any::<u8>()), 0..200)
    ) {
        let mut uart = uart(0x01);
        uart.write(IIR_FCR, u8::from(fifos), T0);
        let (mut sent, mut line, mut offered, mut got) = (vec![], vec![], vec![], vec![]);
        for (kind, byte) in steps {
            match kind {
                0 if uart.receive(byte, T0) => offered.push(byte),
                1 if read(&mut uart, LSR) & 0x01 != 0 => got.push(read(&mut uart, 0)),
                2 if read(&mut uart, LSR) & 0x20 != 0 => {
                    for byte in 0..if fifos { 16 } else { 1 } {
                        uart.write(0, byte, T0);
                        sent.push(byte);
                    }
                }
                _ => line.extend(drain(&mut uart)),
            }
        }
        line.extend(drain(&mut uart));
        while uart.interrupt() {
            got.push(read(&mut uart, 0));
        }
        prop_assert_eq!((got, line), (offered, sent));
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0u8..7, any::<u8>(), any::<u8>(), any::<u32>()), 0..200)
    ) {
        let mut uart = Uart::new();
        let mut now = T0;
        for (kind, offset, value, jump) in steps {
            now = now.saturating_add(u64::from(jump >> (offset & 31)));
            match kind {
                0 => drop(uart.read(offset, now)),
                1 | 2 => uart.write(offset, value, now),
                3 => drop(uart.receive(value, now)),
                4 => drop(uart.receive_flawed(value, Flaw::Parity, now)),
                5 => uart.write(MCR, value, now),
                _ => drop(drain(&mut uart)),
            }
            if let Some(due) = uart.deadline() {
                // The interrupt appears at the deadline and not before.
                let mut early = uart.clone();
                early.advance(Instant::from_nanos(due.as_nanos() - 1));
                prop_assert_eq!(early.interrupt(), uart.interrupt());
                early.advance(due);
                prop_assert_ne!(early.identification(), IIR_NONE);
            }
            let mut other = Uart::new();
            prop_assert_eq!(other.restore(&uart.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &uart);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 11] = [
        ("enable", |s| s.enable = 0x10),
        ("fifo_control", |s| s.fifo_control = 0x02),
        ("fifo_control", |s| s.fifo_control = 0x20),
        ("modem_control", |s| s.modem_control = 0x20),
        ("receiver", |s| s.receiver_length = 17),
        ("receiver", |s| s.receiver_length = 2),
        ("receiver", |s| s.receiver[0].1 = 1),
        ("transmitter", |s| s.transmitter[0] = (1, 0)),
        ("lines", |s| s.lines = 1),
        ("deltas", |s| s.deltas = 0x10),
        ("timeout", |s| s.timeout = Some(T0)),
    ];
    let mut uart = Uart::new();
    for (field, spoil) in cases {
        let (mut bad, before) = (uart.save(), uart.clone());
        spoil(&mut bad);
        assert_eq!(uart.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(uart, before);
    }
    let future = Saved { version: 9, ..uart.save() };
    assert_eq!(uart.restore(&future), Err(RestoreError::Version { found: 9, supported: 1 }));
}
