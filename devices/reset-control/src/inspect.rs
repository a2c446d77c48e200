//! The inspection of the reset registers.

use crate::ResetControl;
use device_model::{Inspect, Value};

pub(crate) fn inspect(model: &ResetControl, to: &mut dyn Inspect) {
    let ResetControl { port_92, reset_control } = model;
    to.field("port_92", Value::Hex(u64::from(*port_92)));
    to.field("reset_control", Value::Hex(u64::from(*reset_control)));
}
