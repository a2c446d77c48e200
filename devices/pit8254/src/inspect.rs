//! The inspection of the timer.

use crate::Pit;
use crate::counter::{Counter, Run};
use device_model::{Inspect, Value};

pub(crate) fn inspect(pit: &Pit, to: &mut dyn Inspect) {
    let Pit { minimum_period, latest, counters, speaker, examined, due, edge, not_before } = pit;
    to.field("latest_ns", Value::Number(latest.as_nanos()));
    to.field("minimum_period_ns", Value::Number(*minimum_period));
    to.field("not_before_ns", Value::Number(not_before.as_nanos()));
    to.field("port_61", Value::Hex(u64::from(speaker.into_bits())));
    to.field("due", Value::Flag(*due));
    to.field("edge", Value::Flag(*edge));
    for (name, counter) in ["counter_0", "counter_1", "counter_2"].iter().zip(counters) {
        to.begin(name);
        inspect_counter(counter, *examined, to);
        to.end();
    }
}

fn inspect_counter(counter: &Counter, tick: i64, to: &mut dyn Inspect) {
    let Counter {
        control: _,
        count,
        active,
        reload,
        reload_at: _,
        run,
        gate,
        low_byte,
        reads_high,
        latched_count,
        latched_status,
    } = counter;
    let state = match run {
        Run::Idle => "idle",
        Run::Armed => "armed",
        Run::Counting(_) => "counting",
        Run::Stopped(_) => "stopped",
    };
    to.field("mode", Value::Number(u64::from(counter.mode())));
    to.field("access", Value::Number(counter.access() as u64));
    to.field("run", Value::Text(state));
    to.field("count", Value::Number(u64::from(*count)));
    to.field("active", Value::Number(u64::from(*active)));
    to.field("reload", Value::Flag(*reload));
    to.field("gate", Value::Flag(*gate));
    to.field("out", Value::Flag(counter.out(tick)));
    to.field("write_in_half", Value::Flag(low_byte.is_some()));
    to.field("read_in_half", Value::Flag(*reads_high));
    to.field("latched_count", Value::Flag(latched_count.is_some()));
    to.field("latched_status", Value::Flag(latched_status.is_some()));
}
