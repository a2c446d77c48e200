//! The model of a National PC16550D UART.
//!
//! It follows the data sheet of June 1995 ("DS"). The shell connects both directions:
//!
//! - After each register write it takes all bytes from [`Uart::transmitted`], so the transmitter is
//!   empty when the guest next reads a register. The divisor has no effect: bytes are not paced by
//!   a baud rate.
//! - It offers received bytes to [`Uart::receive`]. If that refuses a byte, the shell offers it
//!   again later. The line is therefore flow-controlled and loses no bytes; an overrun can only
//!   occur in loopback mode. In loopback mode the input is disconnected (DS 8.7), so bytes are
//!   refused until the mode ends.
//!
//! The character time-out is the time of four characters of ten bits at 115,200 baud, whatever the
//! divisor. OUT2 gates the interrupt output, as in every PC. Loopback mode deactivates the OUT2 pin
//! and with it the interrupt.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod fifo;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use registers::ModemLines;
pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use fifo::Fifo;
use registers::*;

/// Time from the last reception or read of a character to the character time-out interrupt, in
/// nanoseconds: four characters of ten bits at 115,200 baud (DS 8.11, FIFO interrupt mode).
pub const CHARACTER_TIMEOUT_NANOS: u64 = 4 * 10 * 1_000_000_000 / 115_200;

/// An error of a received character (DS 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The parity bit is wrong.
    Parity,
    /// The stop bit is missing.
    Framing,
    /// The line was low for a whole character.
    Break,
}

/// One UART.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    latest: Instant,
    enable: InterruptEnable,
    fifo_control: FifoControl,
    line_control: LineControl,
    modem_control: ModemControl,
    divisor: u16,
    scratch: u8,
    receiver: Fifo,
    transmitter: Fifo,
    overrun: bool,
    /// The transmitter has become empty, and no read of the IIR has reported it yet.
    thr_empty_pending: bool,
    /// The time of the character time-out, which may have passed.
    timeout: Option<Instant>,
    /// Levels of the lines that the modem drives.
    lines: ModemLines,
    deltas: u8,
}

impl Uart {
    /// A UART after reset, with no modem line active.
    pub fn new() -> Self {
        Self::power_on(Instant::START, ModemLines::empty())
    }

    /// A UART after reset whose modem drives `lines`, none of which counts as changed.
    pub fn connected(lines: ModemLines) -> Self {
        Self::power_on(Instant::START, lines)
    }

    fn power_on(latest: Instant, lines: ModemLines) -> Self {
        Self {
            latest,
            enable: InterruptEnable::empty(),
            fifo_control: FifoControl::new(),
            line_control: LineControl::new(),
            modem_control: ModemControl::empty(),
            divisor: 0,
            scratch: 0,
            receiver: Fifo::EMPTY,
            transmitter: Fifo::EMPTY,
            overrun: false,
            thr_empty_pending: false,
            timeout: None,
            lines,
            deltas: 0,
        }
    }

    /// Reads the register at `offset` (0 to 7; higher bits are not decoded).
    pub fn read(&mut self, offset: u8, now: Instant) -> u8 {
        self.advance(now);
        match (offset & 7, self.divisor_latched()) {
            (RBR_THR_DLL, true) => self.divisor as u8,
            (IER_DLM, true) => (self.divisor >> 8) as u8,
            (RBR_THR_DLL, false) => self.read_received(),
            (IER_DLM, false) => self.enable.bits(),
            (IIR_FCR, _) => self.read_identification(),
            (LCR, _) => self.line_control.into_bits(),
            (MCR, _) => self.modem_control.bits(),
            (LSR, _) => self.read_line_status(),
            (MSR, _) => {
                let value = self.modem_lines().bits() | self.deltas;
                self.deltas = 0;
                value
            }
            // Scratch register.
            _ => self.scratch,
        }
    }

    /// Writes the register at `offset` (0 to 7; higher bits are not decoded).
    pub fn write(&mut self, offset: u8, value: u8, now: Instant) {
        self.advance(now);
        match (offset & 7, self.divisor_latched()) {
            (RBR_THR_DLL, true) => self.divisor = (self.divisor & 0xFF00) | u16::from(value),
            (IER_DLM, true) => self.divisor = (self.divisor & 0xFF) | u16::from(value) << 8,
            (RBR_THR_DLL, false) => self.transmit(value),
            (IER_DLM, false) => self.write_enable(value),
            (IIR_FCR, _) => self.write_fifo_control(FifoControl::from_bits(value)),
            (LCR, _) => self.write_line_control(LineControl::from_bits(value)),
            (MCR, _) => {
                let value = ModemControl::from_bits_truncate(value);
                self.with_deltas(|uart| uart.modem_control = value);
            }
            // Writes of LSR are for factory tests (DS 8.3); the deltas in MSR are read-only here.
            (LSR | MSR, _) => {}
            _ => self.scratch = value,
        }
    }

    /// Takes the next byte that the guest has sent, if any.
    pub fn transmitted(&mut self) -> Option<u8> {
        let byte = self.transmitter.pop()?;
        self.thr_empty_pending |= self.transmitter.is_empty();
        Some(byte)
    }

    /// Whether [`Uart::transmitted`] has a byte to return.
    pub fn has_output(&self) -> bool {
        !self.transmitter.is_empty()
    }

    /// Whether [`Uart::receive`] would accept a byte now.
    pub fn has_room(&self) -> bool {
        !self.loops() && self.receiver.len() < self.capacity()
    }

    /// Receives a byte from the line. Returns false if there is no room: offer the byte again
    /// later.
    #[must_use]
    pub fn receive(&mut self, byte: u8, now: Instant) -> bool {
        self.receive_with(byte, LineStatus::empty(), now)
    }

    /// Receives a character with an error; for a break the byte is zero. Returns false as
    /// [`Uart::receive`] does.
    #[must_use]
    pub fn receive_flawed(&mut self, byte: u8, flaw: Flaw, now: Instant) -> bool {
        match flaw {
            Flaw::Parity => self.receive_with(byte, LineStatus::PARITY, now),
            Flaw::Framing => self.receive_with(byte, LineStatus::FRAMING, now),
            Flaw::Break => self.receive_with(0, LineStatus::BREAK | LineStatus::FRAMING, now),
        }
    }

    /// The level of the interrupt line, which OUT2 gates.
    pub fn interrupt(&self) -> bool {
        let gate = self.modem_control.contains(ModemControl::OUT2) && !self.loops();
        gate && self.identification() != IIR_NONE
    }

    fn receive_with(&mut self, byte: u8, errors: LineStatus, now: Instant) -> bool {
        self.advance(now);
        if !self.has_room() {
            return false;
        }
        self.shift_in(byte, errors);
        true
    }

    /// Puts a character into the receiver; if there is no room, this is an overrun (DS 8.3).
    fn shift_in(&mut self, byte: u8, errors: LineStatus) {
        if self.receiver.len() >= self.capacity() {
            self.overrun = true;
            if self.fifos_on() {
                return;
            }
            self.receiver = Fifo::EMPTY;
        }
        self.receiver.push(byte, errors.bits());
        self.restart_timeout();
    }

    fn transmit(&mut self, byte: u8) {
        self.thr_empty_pending = false;
        if self.loops() {
            self.shift_in(byte, LineStatus::empty());
            self.thr_empty_pending = self.transmitter.is_empty();
            return;
        }
        if !self.fifos_on() {
            self.transmitter = Fifo::EMPTY;
        }
        self.transmitter.push(byte, 0);
    }

    fn read_received(&mut self) -> u8 {
        let byte = self.receiver.pop().unwrap_or(0);
        self.restart_timeout();
        byte
    }

    /// Restarts the character time-out, which runs while the FIFO holds characters (DS 8.11).
    fn restart_timeout(&mut self) {
        let waits = self.fifos_on() && !self.receiver.is_empty();
        self.timeout = waits.then(|| self.latest.saturating_add(CHARACTER_TIMEOUT_NANOS));
    }

    fn write_enable(&mut self, value: u8) {
        let old = self.enable;
        self.enable = InterruptEnable::from_bits_truncate(value);
        // Enabling the interrupt while the transmitter is empty raises it (DS 8.6 with table IV).
        if (self.enable - old).contains(InterruptEnable::THR_EMPTY) && self.transmitter.is_empty() {
            self.thr_empty_pending = true;
        }
    }

    fn write_fifo_control(&mut self, value: FifoControl) {
        let enables = value.enable();
        let switches = enables != self.fifos_on();
        if switches || (enables && value.reset_receiver()) {
            self.receiver = Fifo::EMPTY;
        }
        if switches || (enables && value.reset_transmitter()) {
            self.thr_empty_pending |= !self.transmitter.is_empty();
            self.transmitter = Fifo::EMPTY;
        }
        // The other bits are only programmed if ENABLE is set in the same write (DS 8.4).
        let programmed = if enables { value } else { self.fifo_control };
        let held = programmed.into_bits() & FifoControl::HELD;
        self.fifo_control = FifoControl::from_bits(held).with_enable(enables);
        if self.receiver.is_empty() {
            self.timeout = None;
        }
    }

    fn write_line_control(&mut self, value: LineControl) {
        let breaks = value.set_break() && !self.line_control.set_break();
        self.line_control = value;
        if breaks && self.loops() {
            self.shift_in(0, LineStatus::BREAK | LineStatus::FRAMING);
        }
    }

    fn read_identification(&mut self) -> u8 {
        let identification = self.identification();
        if identification == IIR_THR_EMPTY {
            self.thr_empty_pending = false;
        }
        identification | if self.fifos_on() { IIR_FIFOS } else { 0 }
    }

    /// The IIR code of the pending interrupt with the highest priority (DS table IV).
    fn identification(&self) -> u8 {
        let enabled = |source| self.enable.contains(source);
        if enabled(InterruptEnable::LINE_STATUS)
            && (self.overrun || self.receiver.top_errors() != 0)
        {
            return IIR_LINE_STATUS;
        }
        if enabled(InterruptEnable::RECEIVED_DATA) {
            if self.receiver.len() >= self.trigger_level() {
                return IIR_RECEIVED_DATA;
            }
            if self.timeout.is_some_and(|at| at <= self.latest) {
                return IIR_TIMEOUT;
            }
        }
        if enabled(InterruptEnable::THR_EMPTY) && self.thr_empty_pending {
            return IIR_THR_EMPTY;
        }
        if enabled(InterruptEnable::MODEM_STATUS) && self.deltas != 0 {
            return IIR_MODEM_STATUS;
        }
        IIR_NONE
    }

    fn read_line_status(&mut self) -> u8 {
        let mut status = LineStatus::from_bits_truncate(self.receiver.top_errors());
        status.set(LineStatus::DATA_READY, !self.receiver.is_empty());
        status.set(LineStatus::OVERRUN, self.overrun);
        let empty = LineStatus::THR_EMPTY | LineStatus::TRANSMITTER_EMPTY;
        status.set(empty, self.transmitter.is_empty());
        let fifo_error = self.fifos_on() && self.receiver.any_errors();
        status.set(LineStatus::FIFO_ERROR, fifo_error);
        self.overrun = false;
        self.receiver.clear_top_errors();
        status.bits()
    }

    /// Bits 7:4 of the MSR, which in loopback mode come from the modem control register (DS 8.7).
    fn modem_lines(&self) -> ModemLines {
        if !self.loops() {
            return self.lines;
        }
        let mut lines = ModemLines::empty();
        lines.set(ModemLines::CTS, self.modem_control.contains(ModemControl::RTS));
        lines.set(ModemLines::DSR, self.modem_control.contains(ModemControl::DTR));
        lines.set(ModemLines::RI, self.modem_control.contains(ModemControl::OUT1));
        lines.set(ModemLines::DCD, self.modem_control.contains(ModemControl::OUT2));
        lines
    }

    /// Records the deltas caused by a change. RI only has one when it ends (DS 8.8).
    fn with_deltas(&mut self, change: impl FnOnce(&mut Self)) {
        let old = self.modem_lines();
        change(self);
        let new = self.modem_lines();
        let changed = ((old ^ new) - ModemLines::RI) | ((old - new) & ModemLines::RI);
        self.deltas |= changed.bits() >> MSR_DELTA_SHIFT;
    }

    fn loops(&self) -> bool {
        self.modem_control.contains(ModemControl::LOOP)
    }

    fn fifos_on(&self) -> bool {
        self.fifo_control.enable()
    }

    fn divisor_latched(&self) -> bool {
        self.line_control.divisor_latch()
    }

    fn capacity(&self) -> usize {
        if self.fifos_on() { FIFO_SIZE } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        if self.fifos_on() { self.fifo_control.trigger_level() } else { 1 }
    }
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Uart {
    type Saved = Saved;

    fn reset(&mut self, now: Instant) {
        *self = Self::power_on(self.latest.max(now), self.lines);
    }

    fn deadline(&self) -> Option<Instant> {
        let enabled = self.enable.contains(InterruptEnable::RECEIVED_DATA);
        self.timeout.filter(|at| enabled && *at > self.latest)
    }

    fn advance(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
