//! The inspection of both chips.

use crate::Pic;
use crate::chip::{Chip, Expects, Status};
use device_model::{Inspect, Value};

pub(crate) fn inspect(pic: &Pic, to: &mut dyn Inspect) {
    let Pic { master, slave } = pic;
    for (name, chip) in [("master", master), ("slave", slave)] {
        to.begin(name);
        inspect_chip(chip, to);
        to.end();
    }
    to.field("intr", Value::Flag(pic.output()));
}

fn inspect_chip(chip: &Chip, to: &mut dyn Inspect) {
    let Chip {
        is_master: _,
        expects,
        icw1,
        base,
        icw3,
        icw4,
        lines,
        edges,
        isr,
        imr,
        elcr,
        lowest,
        rotates_on_auto_eoi,
        special_mask,
        polls,
        status,
    } = chip;
    let hex = |value: u8| Value::Hex(u64::from(value));
    let expected = match expects {
        Expects::Nothing => "icw1",
        Expects::Icw2 => "icw2",
        Expects::Icw3 => "icw3",
        Expects::Icw4 => "icw4",
        Expects::Ocw1 => "ocw",
    };
    to.field("expects", Value::Text(expected));
    to.field("icw1", hex(icw1.bits()));
    to.field("vector_base", hex(*base));
    to.field("icw3", hex(*icw3));
    to.field("icw4", hex(icw4.bits()));
    to.field("lines", hex(*lines));
    to.field("edges", hex(*edges));
    to.field("irr", hex(chip.irr()));
    to.field("isr", hex(*isr));
    to.field("imr", hex(*imr));
    to.field("elcr", hex(*elcr));
    to.field("lowest_priority", Value::Number(u64::from(*lowest)));
    to.field("rotates_on_auto_eoi", Value::Flag(*rotates_on_auto_eoi));
    to.field("special_mask", Value::Flag(*special_mask));
    to.field("polls", Value::Flag(*polls));
    to.field("reads_isr", Value::Flag(*status == Status::Isr));
}
