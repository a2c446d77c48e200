//! The inspection of an I/O APIC.

use crate::IoApic;
use crate::registers::PINS;
use device_model::{Inspect, Value};

const NAMES: [&str; PINS] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23",
];

pub(crate) fn inspect(ioapic: &IoApic, to: &mut dyn Inspect) {
    let IoApic { select, id, entries, pins } = ioapic;
    to.field("ioregsel", Value::Hex(u64::from(*select)));
    to.field("id", Value::Hex(u64::from(*id >> 24)));
    to.field("pins", Value::Hex(u64::from(*pins)));
    to.begin("redirection");
    for (name, entry) in NAMES.iter().zip(entries) {
        to.field(name, Value::Hex(entry.into_bits()));
    }
    to.end();
}
