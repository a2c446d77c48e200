//! The registers of the UART with their fields.
//!
//! Sections are those of the National Semiconductor PC16550D data sheet, June 1995 ("DS").

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Receiver buffer (read) or transmitter holding register (write); divisor low byte with DLAB.
pub(crate) const RBR_THR_DLL: u8 = 0;
/// Interrupt enable; divisor high byte with DLAB.
pub(crate) const IER_DLM: u8 = 1;
/// Interrupt identification (read) or FIFO control (write).
pub(crate) const IIR_FCR: u8 = 2;
/// Line control.
pub(crate) const LCR: u8 = 3;
/// Modem control.
pub(crate) const MCR: u8 = 4;
/// Line status.
pub(crate) const LSR: u8 = 5;
/// Modem status.
pub(crate) const MSR: u8 = 6;

/// Bytes in each FIFO (DS 8.4).
pub(crate) const FIFO_SIZE: usize = 16;

bitflags! {
    /// Interrupt enable register (DS 8.6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct InterruptEnable: u8 {
        const RECEIVED_DATA = 1 << 0;
        const THR_EMPTY = 1 << 1;
        const LINE_STATUS = 1 << 2;
        const MODEM_STATUS = 1 << 3;
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

    /// The modem's lines, as in bits 7:4 of the modem status register (DS 8.8).
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

/// FIFO control register (DS 8.4).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct FifoControl {
    pub(crate) enable: bool,
    pub(crate) reset_receiver: bool,
    pub(crate) reset_transmitter: bool,
    /// Mode of the RXRDY and TXRDY pins, which a PC does not connect.
    pub(crate) dma_mode: bool,
    #[bits(2)]
    _reserved: u8,
    /// Receiver trigger, the code of [`FifoControl::trigger_level`].
    #[bits(2)]
    pub(crate) trigger: u8,
}

impl FifoControl {
    /// Bits that keep the written value; the reset bits clear themselves.
    pub(crate) const HELD: u8 = 0b1100_1001;

    /// The number of characters in the receiver FIFO that raises the interrupt (DS 8.4).
    pub(crate) const fn trigger_level(self) -> usize {
        match self.trigger() {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }
}

/// Line control register (DS 8.1). The format of a character has no effect here.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct LineControl {
    #[bits(6)]
    _format: u8,
    pub(crate) set_break: bool,
    /// DLAB: divisor latch access.
    pub(crate) divisor_latch: bool,
}

/// MSR: distance from the bit of a line to that of its delta (DS 8.8).
pub(crate) const MSR_DELTA_SHIFT: u32 = 4;
/// MSR: the deltas in bits 3:0.
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
/// IIR: both FIFO bits, which are set while the FIFOs are enabled (DS 8.5).
pub(crate) const IIR_FIFOS: u8 = 0xC0;
