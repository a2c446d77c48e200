//! The inspection of a UART.

use crate::Uart;
use device_model::{Inspect, Value};

/// Only the number of queued characters is shown, since they are the guest's data.
pub(crate) fn inspect(uart: &Uart, to: &mut dyn Inspect) {
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
    let hex = |value: u8| Value::Hex(u64::from(value));
    to.field("latest_ns", Value::Number(latest.as_nanos()));
    to.field("ier", hex(enable.bits()));
    to.field("fcr", hex(fifo_control.into_bits()));
    to.field("lcr", hex(line_control.into_bits()));
    to.field("mcr", hex(modem_control.bits()));
    to.field("divisor", Value::Number(u64::from(*divisor)));
    to.field("scr", hex(*scratch));
    to.field("received", Value::Number(receiver.len() as u64));
    to.field("to_transmit", Value::Number(transmitter.len() as u64));
    to.field("overrun", Value::Flag(*overrun));
    to.field("thr_empty_pending", Value::Flag(*thr_empty_pending));
    to.field("timeout_ns", Value::Number(timeout.map_or(0, |at| at.as_nanos())));
    to.field("modem_lines", hex(lines.bits()));
    to.field("modem_deltas", hex(*deltas));
    to.field("interrupt", Value::Flag(uart.interrupt()));
}
