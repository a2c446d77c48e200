//! The inspection of the device.

use crate::FwCfg;
use device_model::{Inspect, Value};

pub(crate) fn inspect(model: &FwCfg, to: &mut dyn Inspect) {
    let FwCfg { key, offset, address_high } = model;
    to.field("key", Value::Hex(u64::from(*key)));
    to.field("offset", Value::Hex(u64::from(*offset)));
    to.field("address_high", Value::Hex(u64::from(*address_high)));
}
