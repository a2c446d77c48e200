//! The inspection of a local APIC.

use crate::registers::{LVT_COUNT, LVT_FIRST, LVT_LAST};
use crate::vectors::VectorSet;
use crate::{Config, LocalApic, Mode, Registers, Timer};
use device_model::{Inspect, Value};

const LVT_NAMES: [&str; LVT_COUNT] = ["timer", "thermal", "performance", "lint0", "lint1", "error"];
const _: () = assert!(LVT_COUNT == (LVT_LAST - LVT_FIRST + 1) as usize);

pub(crate) fn inspect(apic: &LocalApic, to: &mut dyn Inspect) {
    let LocalApic { config, base, mode, latest, pins: [lint0, lint1], registers } = apic;
    let Config { apic_id, is_bsp, page_mask: _, minimum_period } = config;
    to.field("apic_id", Value::Hex(u64::from(*apic_id)));
    to.field("is_bsp", Value::Flag(*is_bsp));
    to.field("mode", Value::Text(mode_name(*mode)));
    to.field("base", Value::Hex(*base));
    to.field("latest_ns", Value::Number(latest.as_nanos()));
    to.field("lint0", Value::Flag(*lint0));
    to.field("lint1", Value::Flag(*lint1));
    inspect_registers(registers, to);
    inspect_timer(&registers.timer, *minimum_period, to);
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Disabled => "disabled",
        Mode::XApic => "xapic",
        Mode::X2Apic => "x2apic",
    }
}

fn inspect_registers(registers: &Registers, to: &mut dyn Inspect) {
    let Registers { tpr, ppr, irr, isr, tmr, svr, lvt, icr, ldr, dfr_model, esr, errors, timer: _ } =
        registers;
    to.field("tpr", Value::Hex(u64::from(*tpr)));
    to.field("ppr", Value::Hex(u64::from(*ppr)));
    inspect_set("irr", irr, to);
    inspect_set("isr", isr, to);
    inspect_set("tmr", tmr, to);
    to.field("svr", Value::Hex(u64::from(*svr)));
    to.field("icr", Value::Hex(*icr));
    to.field("ldr", Value::Hex(u64::from(*ldr)));
    to.field("dfr_model", Value::Hex(u64::from(*dfr_model)));
    to.field("esr", Value::Hex(u64::from(esr.bits())));
    to.field("errors", Value::Hex(u64::from(errors.bits())));
    to.begin("lvt");
    for (name, entry) in LVT_NAMES.iter().zip(lvt) {
        to.field(name, Value::Hex(u64::from(*entry)));
    }
    to.end();
}

fn inspect_set(name: &str, set: &VectorSet, to: &mut dyn Inspect) {
    let names = ["bits_63_0", "bits_127_64", "bits_191_128", "bits_255_192"];
    to.begin(name);
    for (name, word) in names.iter().zip(set.words()) {
        to.field(name, Value::Hex(word));
    }
    to.end();
}

fn inspect_timer(timer: &Timer, minimum_period: u64, to: &mut dyn Inspect) {
    let Timer { initial, divide, expiry, not_before, tsc_deadline } = timer;
    to.begin("timer");
    to.field("initial", Value::Number(u64::from(*initial)));
    to.field("divide", Value::Hex(u64::from(*divide)));
    to.field("running", Value::Flag(expiry.is_some()));
    to.field("expiry_ns", Value::Number(expiry.map_or(0, |at| at.as_nanos())));
    to.field("not_before_ns", Value::Number(not_before.as_nanos()));
    to.field("minimum_period_ns", Value::Number(minimum_period));
    to.field("tsc_deadline", Value::Number(*tsc_deadline));
    to.end();
}
