//! The inspection of the power-management block.

use crate::AcpiPm;
use device_model::{Inspect, Value};

pub(crate) fn inspect(pm: &AcpiPm, to: &mut dyn Inspect) {
    let AcpiPm { latest, status, enable, control } = pm;
    to.field("latest_ns", Value::Number(latest.as_nanos()));
    to.field("pm1_status", Value::Hex(u64::from(status.bits())));
    to.field("pm1_enable", Value::Hex(u64::from(enable.bits())));
    to.field("pm1_control", Value::Hex(u64::from(control.into_bits())));
    to.field("sci", Value::Flag(pm.interrupt()));
}
