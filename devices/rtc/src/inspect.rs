//! The inspection of the clock.

use crate::Rtc;
use crate::calendar::Calendar;
use device_model::{Inspect, Value};

/// The memory belongs to guest and firmware. It may hold a password, so it is not shown.
pub(crate) fn inspect(rtc: &Rtc, to: &mut dyn Inspect) {
    let Rtc { latest, second_start, calendar, alarm, index, a, b, flags, memory: _ } = rtc;
    let Calendar { second, minute, hour, weekday, day, month, year, century } = calendar;
    let number = |value: u8| Value::Number(u64::from(value));
    let hex = |value: u8| Value::Hex(u64::from(value));
    to.field("latest_ns", Value::Number(latest.as_nanos()));
    to.field("second_start_ns", Value::Number(second_start.as_nanos()));
    to.begin("calendar");
    to.field("year", Value::Number(u64::from(*century) * 100 + u64::from(*year)));
    for (name, value) in [
        ("month", month),
        ("day", day),
        ("weekday", weekday),
        ("hour", hour),
        ("minute", minute),
        ("second", second),
    ] {
        to.field(name, number(*value));
    }
    to.end();
    to.begin("alarm");
    for (name, byte) in ["second", "minute", "hour"].iter().zip(alarm) {
        to.field(name, hex(*byte));
    }
    to.end();
    to.field("index", hex(index.into_bits()));
    to.field("a", hex(a.into_bits()));
    to.field("b", hex(b.bits()));
    to.field("flags", hex(flags.bits()));
    to.field("memory", Value::Secret);
    to.field("interrupt", Value::Flag(rtc.interrupt()));
}
