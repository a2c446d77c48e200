//! Names of the registers with the bits that each one implements.
//!
//! Sections are those of the National Semiconductor PC16550D data sheet, June 1995 ("DS").

use bitflags::bitflags;

/// Receiver buffer (read) or transmitter holding register (write); divisor low byte with DLAB.
pub const RBR_THR_DLL: u8 = 0;
/// Interrupt enable; divisor high byte with DLAB.
pub const IER_DLM: u8 = 1;
/// Interrupt identification (read) or FIFO control (write).
pub const IIR_FCR: u8 = 2;
/// Line control.
pub const LCR: u8 = 3;
/// Modem control.
pub const MCR: u8 = 4;
/// Line status.
pub const LSR: u8 = 5;
/// Modem status.
pub const MSR: u8 = 6;
/// Scratch.
pub const SCR: u8 = 7;

/// Bytes in each FIFO (DS 8.4).
pub const FIFO_SIZE: usize = 16;

bitflags! {
    /// Interrupt enable register (DS 8.6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct InterruptEnable: u8 {
        const RECEIVED_DATA = 1 << 0;
        const THR_EMPTY = 1 << 1;
        const LINE_STATUS = 1 << 2;
        const MODEM_STATUS = 1 << 3;
    }

    /// FIFO control register (DS 8.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct FifoControl: u8 {
        const ENABLE = 1 << 0;
        const RESET_RECEIVER = 1 << 1;
        const RESET_TRANSMITTER = 1 << 2;
        /// The RXRDY and TXRDY pins, which a PC does not wire.
        const DMA_MODE = 1 << 3;
        const TRIGGER = 0b11 << 6;
    }

    /// Modem control register (DS 8.7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct ModemControl: u8 {
        const DTR = 1 << 0;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        const OUT2 = 1 << 3;
        const LOOP = 1 << 4;
    }

    /// Line status register (DS 8.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct LineStatus: u8 {
        const DATA_READY = 1 << 0;
        const OVERRUN = 1 << 1;
        const PARITY = 1 << 2;
        const FRAMING = 1 << 3;
        const BREAK = 1 << 4;
        const THR_EMPTY = 1 << 5;
        const TRANSMITTER_EMPTY = 1 << 6;
        const FIFO_ERROR = 1 << 7;
    }

    /// The modem's lines as bits 7:4 of the modem status register show them (DS 8.8).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ModemLines: u8 {
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RI = 1 << 6;
        /// Data carrier detect.
        const DCD = 1 << 7;
    }
}

/// LCR: divisor latch access (DS 8.1).
pub(crate) const LCR_DLAB: u8 = 1 << 7;
/// LCR: set break (DS 8.1).
pub(crate) const LCR_BREAK: u8 = 1 << 6;

/// MSR: the deltas of CTS, DSR and DCD stand 4 bits below their lines (DS 8.8).
pub(crate) const MSR_DELTA_SHIFT: u32 = 4;
/// MSR bits 3:0.
pub(crate) const MSR_DELTAS: u8 = 0x0F;

/// IIR: no interrupt is pending (DS table IV).
pub(crate) const IIR_NONE: u8 = 0x01;
/// IIR: receiver line status, first priority.
pub(crate) const IIR_LINE_STATUS: u8 = 0x06;
/// IIR: received data available, second priority.
pub(crate) const IIR_RECEIVED_DATA: u8 = 0x04;
/// IIR: character time-out, second priority.
pub(crate) const IIR_TIMEOUT: u8 = 0x0C;
/// IIR: transmitter holding register empty, third priority.
pub(crate) const IIR_THR_EMPTY: u8 = 0x02;
/// IIR: modem status, fourth priority.
pub(crate) const IIR_MODEM_STATUS: u8 = 0x00;
/// IIR: both FIFO bits, set while the FIFOs are on (DS 8.5).
pub(crate) const IIR_FIFOS: u8 = 0xC0;

/// Receiver FIFO levels that FCR bits 7:6 select (DS 8.4).
pub(crate) const TRIGGER_LEVELS: [u8; 4] = [1, 4, 8, 14];
