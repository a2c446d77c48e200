//! The inspection of the host bridge.

use crate::{Bridge, PciHost};
use device_model::{Inspect, Value};

pub(crate) fn inspect(host: &PciHost, to: &mut dyn Inspect) {
    let PciHost { address, bridge: Bridge { pciexbar, command } } = host;
    to.field("config_address", Value::Hex(u64::from(*address)));
    to.field("pciexbar", Value::Hex(*pciexbar));
    to.field("command", Value::Hex(u64::from(*command)));
}
