//! The saved state of a UART.

use crate::Uart;
use crate::fifo::Fifo;
use crate::registers::{
    FIFO_SIZE, FifoControl, InterruptEnable, LineControl, LineStatus, MSR_DELTAS, ModemControl,
    ModemLines,
};
use device_model::{Instant, RestoreError};
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of a UART. A queued character is a pair of the byte and its error bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub latest: Instant,
    pub enable: u8,
    pub fifo_control: u8,
    pub line_control: u8,
    pub modem_control: u8,
    pub divisor: u16,
    pub scratch: u8,
    pub receiver: [(u8, u8); FIFO_SIZE],
    pub receiver_length: u8,
    pub transmitter: [(u8, u8); FIFO_SIZE],
    pub transmitter_length: u8,
    pub overrun: bool,
    pub thr_empty_pending: bool,
    pub timeout: Option<Instant>,
    pub lines: u8,
    pub deltas: u8,
}

pub(crate) fn save(uart: &Uart) -> Saved {
    let Uart {
        latest,
        enable,
        fifo_control,
        line_control,
        modem_control,
        divisor,
        scratch,
        receiver,
        transmitter,
        overrun,
        thr_empty_pending,
        timeout,
        lines,
        deltas,
    } = uart;
    let (received, receiver_length) = receiver.parts();
    let (sent, transmitter_length) = transmitter.parts();
    Saved {
        version: SAVED_VERSION,
        latest: *latest,
        enable: enable.bits(),
        fifo_control: fifo_control.into_bits(),
        line_control: line_control.into_bits(),
        modem_control: modem_control.bits(),
        divisor: *divisor,
        scratch: *scratch,
        receiver: received,
        receiver_length,
        transmitter: sent,
        transmitter_length,
        overrun: *overrun,
        thr_empty_pending: *thr_empty_pending,
        timeout: *timeout,
        lines: lines.bits(),
        deltas: *deltas,
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<Uart, RestoreError> {
    let Saved {
        version,
        latest,
        enable,
        fifo_control,
        line_control,
        modem_control,
        divisor,
        scratch,
        receiver,
        receiver_length,
        transmitter,
        transmitter_length,
        overrun,
        thr_empty_pending,
        timeout,
        lines,
        deltas,
    } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    let uart = Uart {
        latest,
        enable: InterruptEnable::from_bits(enable).ok_or(RestoreError::Field("enable"))?,
        fifo_control: FifoControl::from_bits(fifo_control),
        line_control: LineControl::from_bits(line_control),
        modem_control: ModemControl::from_bits(modem_control)
            .ok_or(RestoreError::Field("modem_control"))?,
        divisor,
        scratch,
        receiver: Fifo::from_parts(receiver, receiver_length)
            .ok_or(RestoreError::Field("receiver"))?,
        transmitter: Fifo::from_parts(transmitter, transmitter_length)
            .ok_or(RestoreError::Field("transmitter"))?,
        overrun,
        thr_empty_pending,
        timeout,
        lines: ModemLines::from_bits(lines).ok_or(RestoreError::Field("lines"))?,
        deltas,
    };
    check(&uart)?;
    Ok(uart)
}

fn check(uart: &Uart) -> Result<(), RestoreError> {
    require(uart.fifo_control.into_bits() & !FifoControl::HELD == 0, "fifo_control")?;
    let errors = (LineStatus::PARITY | LineStatus::FRAMING | LineStatus::BREAK).bits();
    let legal = |fifo: &Fifo, mask: u8| {
        let (characters, _) = fifo.parts();
        fifo.len() <= uart.capacity() && characters.iter().all(|(_, bits)| bits & !mask == 0)
    };
    require(legal(&uart.receiver, errors), "receiver")?;
    require(legal(&uart.transmitter, 0), "transmitter")?;
    require(uart.deltas & !MSR_DELTAS == 0, "deltas")?;
    let waits = uart.fifos_on() && !uart.receiver.is_empty();
    require(uart.timeout.is_some() == waits, "timeout")
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
