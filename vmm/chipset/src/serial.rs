//! The two serial ports, connected to the host's channels.

use core::sync::atomic::Ordering;

use acpi_pm::FixedEvent;
use device_model::Device;
use platform_api::{Console, Received};
use uart16550::{Flaw, ModemLines, Uart};

use crate::devices::{Access, Chipset};
use crate::lines::{Signals, irq};
use crate::route::Kick;

/// The lines of a modem that is connected and ready, as a terminal's cable sets them. Without them
/// a guest that watches the lines would neither send nor open the port.
pub(crate) const TERMINAL: ModemLines =
    ModemLines::CTS.union(ModemLines::DSR).union(ModemLines::DCD);
const UART_IRQ: [u8; 2] = [irq::SERIAL_1, irq::SERIAL_2];

/// The time after which a byte that had no room is tried again, in nanoseconds.
const SERIAL_RETRY: u64 = 1_000_000;

impl Chipset {
    /// Uses a UART: its output goes to the host at once, unless the host has no room.
    pub(crate) fn with_uart<T>(
        &self,
        index: usize,
        on: &Access<'_, impl Console, impl Kick>,
        use_it: impl FnOnce(&mut Uart) -> T,
    ) -> T {
        let [first, second] = &self.uarts;
        let (cell, irq) = if index == 0 { (first, UART_IRQ[0]) } else { (second, UART_IRQ[1]) };
        let mut uart = cell.lock();
        let result = use_it(&mut uart);
        let stalled = self.transmit(index, &mut uart, on);
        let signals = self.lines().set(irq, uart.interrupt());
        let retry = stalled.then(|| on.now.saturating_add(SERIAL_RETRY));
        let lowered = self.lower_deadline(uart.deadline().into_iter().chain(retry).min());
        drop(uart);
        self.deliver(signals, lowered, on);
        result
    }

    /// Passes the UART's output to the host. True if the host has no room now.
    fn transmit(
        &self,
        index: usize,
        uart: &mut Uart,
        on: &Access<'_, impl Console, impl Kick>,
    ) -> bool {
        while uart.has_output() {
            if !on.host.serial_ready(index) {
                self.serial_stalled.store(true, Ordering::Release);
                return true;
            }
            if let Some(byte) = uart.transmitted() {
                on.host.serial_write(index, byte);
            }
        }
        false
    }

    /// Passes on input from outside: a press of the power button, and bytes that came in on the
    /// serial channels.
    pub fn take_input(&self, on: &Access<'_, impl Console, impl Kick>) {
        if on.host.power_button() {
            self.with_pm(on, |pm| pm.raise(FixedEvent::PowerButton));
        }
        self.receive_serial(on);
    }

    /// Passes bytes from the host's serial channels to the guest as far as there is room.
    pub(crate) fn receive_serial(&self, on: &Access<'_, impl Console, impl Kick>) {
        let now = on.now;
        self.serial_stalled.store(false, Ordering::Release);
        for index in 0..self.uarts.len() {
            let stalled = self.with_uart(index, on, |uart| {
                while uart.has_room() {
                    // There is room, as has just been asked.
                    let _ = match on.host.serial_read(index) {
                        Some(Received::Byte(byte)) => uart.receive(byte, now),
                        Some(Received::Break) => uart.receive_flawed(0, Flaw::Break, now),
                        None => return false,
                    };
                }
                true
            });
            if stalled {
                self.serial_stalled.store(true, Ordering::Release);
                let lowered = self.lower_deadline(Some(now.saturating_add(SERIAL_RETRY)));
                self.deliver(Signals::default(), lowered, on);
            }
        }
    }
}
