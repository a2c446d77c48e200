//! Tests of what a guest can see of the clock.

use crate::*;
use proptest::prelude::*;

/// 2024-02-29 23:59:58 UTC, a Thursday.
const LEAP: u64 = 1_709_251_198;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn secs(seconds: u64) -> Instant {
    at(seconds * SECOND)
}

fn get(rtc: &mut Rtc, index: u8, now: Instant) -> u8 {
    rtc.write(INDEX, index, now);
    rtc.read(DATA, now)
}

fn set(rtc: &mut Rtc, index: u8, value: u8, now: Instant) {
    rtc.write(INDEX, index, now);
    rtc.write(DATA, value, now);
}

/// Century, year, month, day, weekday, hour, minute, second as the registers show them.
fn shown(rtc: &mut Rtc, now: Instant) -> [u8; 8] {
    [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS].map(|index| get(rtc, index, now))
}

#[test]
fn time_runs_through_leap_days() {
    let mut rtc = Rtc::new(LEAP, secs(0));
    assert_eq!(shown(&mut rtc, secs(0)), [0x20, 0x24, 2, 0x29, 5, 0x23, 0x59, 0x58]);
    assert_eq!(shown(&mut rtc, secs(1)), [0x20, 0x24, 2, 0x29, 5, 0x23, 0x59, 0x59]);
    assert_eq!(shown(&mut rtc, secs(2)), [0x20, 0x24, 3, 0x01, 6, 0, 0, 0]);
    assert_eq!(shown(&mut rtc, secs(0)), [0x20, 0x24, 3, 0x01, 6, 0, 0, 0], "never backwards");
    assert_eq!(shown(&mut rtc, secs(2 + 366 * 86_400)), [0x20, 0x25, 3, 0x02, 1, 0, 0, 0]);
}

#[test]
fn known_dates() {
    let dates = [
        (0, [0x19, 0x70, 1, 1, 5, 0, 0, 0]),
        (951_782_400, [0x20, 0, 2, 0x29, 3, 0, 0, 0]),
        (4_107_542_400, [0x21, 0, 3, 1, 2, 0, 0, 0]),
        (946_684_799, [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]),
        (253_402_300_799, [0x99, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]),
        (253_402_300_800, [0, 0, 1, 1, 7, 0, 0, 0]),
    ];
    for (unix, date) in dates {
        assert_eq!(shown(&mut Rtc::new(unix, secs(0)), secs(0)), date, "{unix}");
    }
}

#[test]
fn binary_and_12_hour_modes_show_the_same_time() {
    for (hour, bcd, binary) in [
        (0, 0x12, 12),
        (1, 1, 1),
        (11, 0x11, 11),
        (12, 0x92, 0x8C),
        (13, 0x81, 0x81),
        (23, 0x91, 0x8B),
    ] {
        let mut rtc = Rtc::new(hour * 3600, secs(0));
        set(&mut rtc, B, 0x00, secs(0));
        assert_eq!(get(&mut rtc, HOURS, secs(0)), bcd);
        set(&mut rtc, B, 0x04, secs(0));
        assert_eq!(get(&mut rtc, HOURS, secs(0)), binary);
        set(&mut rtc, HOURS, binary, secs(0));
        set(&mut rtc, B, 0x06, secs(0));
        assert_eq!(u64::from(get(&mut rtc, HOURS, secs(0))), hour);
    }
}

#[test]
fn set_holds_the_time_for_the_guest_to_write() {
    let mut rtc = Rtc::new(LEAP, secs(0));
    set(&mut rtc, B, 0x92, secs(0));
    assert_eq!(get(&mut rtc, B, secs(0)), 0x82, "SET clears UIE");
    for (index, value) in [
        (CENTURY, 0x19),
        (YEAR, 0x99),
        (MONTH, 0x12),
        (DAY, 0x31),
        (WEEKDAY, 6),
        (HOURS, 0x23),
        (MINUTES, 0x59),
        (SECONDS, 0x59),
    ] {
        set(&mut rtc, index, value, secs(0));
    }
    assert_eq!(shown(&mut rtc, secs(100)), [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]);
    assert_eq!(get(&mut rtc, A, at(101 * SECOND - 1)), 0x26, "no update to warn of");
    set(&mut rtc, B, 0x02, secs(100));
    assert_eq!(shown(&mut rtc, secs(101)), [0x20, 0, 1, 1, 7, 0, 0, 0]);
}

#[test]
fn update_in_progress_warns_244_us_before() {
    let mut rtc = Rtc::new(0, secs(0));
    assert_eq!(get(&mut rtc, A, at(SECOND - UPDATE_WARNING - 1)), 0x26);
    assert_eq!(get(&mut rtc, A, at(SECOND - UPDATE_WARNING)), 0xA6);
    assert_eq!(get(&mut rtc, SECONDS, at(SECOND - 1)), 0);
    assert_eq!((get(&mut rtc, A, secs(1)), get(&mut rtc, SECONDS, secs(1))), (0x26, 1));
}

#[test]
fn update_ended_interrupts_until_c_is_read() {
    let mut rtc = Rtc::new(0, secs(0));
    set(&mut rtc, A, 0x20, secs(0));
    set(&mut rtc, B, 0x12, secs(0));
    assert_eq!(rtc.deadline(), Some(secs(1)));
    rtc.advance(secs(1));
    assert!(rtc.interrupt());
    assert_eq!(rtc.deadline(), None);
    assert_eq!(
        (rtc.peek(C), get(&mut rtc, C, secs(1)), get(&mut rtc, C, secs(1))),
        (0x90, 0x90, 0)
    );
    assert!(!rtc.interrupt());
    assert_eq!(rtc.deadline(), Some(secs(2)));
}

#[test]
fn periodic_rates() {
    for code in 1..=15u8 {
        let rate = match code {
            1 => 256,
            2 => 128,
            _ => 32_768 >> (code - 1),
        };
        let mut rtc = Rtc::new(0, secs(0));
        set(&mut rtc, A, 0x20 | code, secs(0));
        set(&mut rtc, B, 0x42, secs(0));
        let mut count = 0;
        while let Some(due) = rtc.deadline().filter(|due| *due <= secs(1)) {
            rtc.advance(at(due.as_nanos() - 1));
            assert!(!rtc.interrupt());
            assert_eq!(get(&mut rtc, C, due) & 0xC0, 0xC0);
            count += 1;
        }
        assert_eq!(count, rate);
        rtc.advance(at(u64::MAX));
        assert!(rtc.interrupt(), "a long absence is one interrupt");
    }
}

#[test]
fn alarms_match_with_wildcards() {
    // The time is 12:34:56. Each case has the alarm's hour, minute and second, then the seconds to
    // wait.
    let cases = [
        ([0x12, 0x34, 0x57], 1),
        ([0x12, 0x34, 0x56], 86_400),
        ([0x12, 0x34, 0x55], 86_399),
        ([0xFF, 0xFF, 0xFF], 1),
        ([0xC0, 0xFF, 0x00], 4),
        ([0xFF, 0x34, 0x00], 3544),
        ([0xFF, 0x35, 0xFF], 4),
        ([0x12, 0xFF, 0xFF], 1),
        ([0x13, 0xFF, 0xFF], 1504),
        ([0x12, 0x34, 0xFF], 1),
        ([0x00, 0x00, 0x00], 41_104),
        ([0xFF, 0x10, 0x05], 2109),
        ([0x12, 0x10, 0xFF], 84_904),
    ];
    for ([hour, minute, second], wait) in cases {
        let mut rtc = Rtc::new(45_296, secs(0));
        for (index, value) in [(A, 0x20), (5, hour), (3, minute), (1, second), (B, 0x22)] {
            set(&mut rtc, index, value, secs(0));
        }
        assert_eq!(rtc.deadline(), Some(secs(wait)), "{hour:x}:{minute:x}:{second:x}");
        rtc.advance(secs(wait - 1));
        assert!(!rtc.interrupt());
        assert_eq!(get(&mut rtc, C, secs(wait)), 0xB0);
    }
    let mut rtc = Rtc::new(0, secs(0));
    set(&mut rtc, 5, 0x24, secs(0));
    set(&mut rtc, B, 0x22, secs(0));
    assert_eq!(rtc.deadline(), None, "24 o'clock never comes");
}

#[test]
fn the_divider_stops_and_restarts() {
    let mut rtc = Rtc::new(0, secs(0));
    set(&mut rtc, A, 0x70, secs(10));
    assert_eq!(get(&mut rtc, SECONDS, secs(20)), 0x10);
    set(&mut rtc, A, 0x26, secs(20));
    assert_eq!(get(&mut rtc, SECONDS, at(20 * SECOND + SECOND / 2 - 1)), 0x10);
    assert_eq!(get(&mut rtc, SECONDS, at(20 * SECOND + SECOND / 2)), 0x11);
}

#[test]
fn odd_values_are_taken_in_range() {
    let mut rtc = Rtc::new(0, secs(0));
    set(&mut rtc, B, 0x86, secs(0));
    for (index, value, kept) in [
        (SECONDS, 61, 1),
        (HOURS, 255, 15),
        (DAY, 0, 1),
        (DAY, 32, 1),
        (MONTH, 13, 1),
        (MONTH, 0, 1),
        (YEAR, 199, 99),
        (WEEKDAY, 8, 1),
    ] {
        set(&mut rtc, index, value, secs(0));
        assert_eq!(get(&mut rtc, index, secs(0)), kept);
    }
    set(&mut rtc, DAY, 31, secs(0));
    set(&mut rtc, MONTH, 2, secs(0));
    set(&mut rtc, B, 0x06, secs(0));
    rtc.advance(secs(86_400));
    assert_eq!(get(&mut rtc, MONTH, secs(86_400)), 3);
}

#[test]
fn memory_index_and_reset() {
    let mut rtc = Rtc::new(0, secs(0));
    for index in (0x0E..0x80).filter(|index| *index != CENTURY) {
        set(&mut rtc, index, index ^ 0x5A, secs(0));
        assert_eq!(get(&mut rtc, index | 0x80, secs(0)), index ^ 0x5A);
    }
    assert_eq!(rtc.save().index & 0x80, 0x80, "the NMI mask is kept");
    assert_eq!((rtc.read(INDEX, secs(0)), rtc.read(0x72, secs(0))), (0xFF, 0xFF));
    set(&mut rtc, D, 0, secs(0));
    set(&mut rtc, C, 0xFF, secs(0));
    assert_eq!((get(&mut rtc, D, secs(0)), get(&mut rtc, C, secs(0))), (0x80, 0));
    set(&mut rtc, 0x10, 0x42, secs(0));
    set(&mut rtc, B, 0x7A, secs(0));
    rtc.reset(secs(3));
    assert_eq!((rtc.peek(B), rtc.peek(C), rtc.peek(0x10), rtc.peek(SECONDS)), (2, 0, 0x42, 3));
    assert_eq!(rtc.save().index, 0);
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

/// A byte of the alarm in BCD: any value, the wildcard, or no time at all.
fn alarm_byte(range: u8) -> impl Strategy<Value = u8> {
    let bcd = (0..range).prop_map(|value| ((value / 10) << 4) | (value % 10));
    prop_oneof![3 => bcd, 3 => Just(0xFF), 1 => Just(0x7A)]
}

proptest! {
    #[test]
    fn random_traffic_keeps_the_promises(
        unix: u32,
        steps in proptest::collection::vec(
            (any::<bool>(), 0u8..0x40, any::<u8>(), any::<u64>(), 0u32..64), 0..150)
    ) {
        let mut rtc = Rtc::new(u64::from(unix), secs(0));
        for (writes, index, value, jump, shift) in steps {
            let now = rtc.latest.saturating_add(jump >> shift);
            if writes {
                set(&mut rtc, index, value, now);
            } else {
                let peeked = { rtc.advance(now); rtc.peek(index) };
                prop_assert_eq!(get(&mut rtc, index, now), peeked);
            }
            let mut other = Rtc::new(0, secs(0));
            prop_assert_eq!(other.restore(&rtc.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &rtc);
            if let Some(due) = rtc.deadline().filter(|due| due.as_nanos() < u64::MAX) {
                other.advance(at(due.as_nanos() - 1));
                prop_assert!(!other.interrupt());
                other.advance(due);
                prop_assert!(other.interrupt());
            }
        }
    }

    #[test]
    fn time_and_flags_do_not_depend_on_how_often_the_clock_is_read(
        unix in 0u64..4_000_000_000,
        rate in 0u8..16,
        alarm in [alarm_byte(24), alarm_byte(60), alarm_byte(60)],
        steps in proptest::collection::vec(0u64..3_000_000_000, 1..40),
    ) {
        let mut long = Rtc::new(unix, secs(0));
        let [hour, minute, second] = alarm;
        for (index, value) in [(A, 0x20 | rate), (5, hour), (3, minute), (1, second)] {
            set(&mut long, index, value, secs(0));
        }
        let (mut short, mut now) = (long.clone(), 0);
        for step in steps {
            now += step;
            short.advance(at(now));
        }
        long.advance(at(now));
        prop_assert_eq!(long, short);
    }

    #[test]
    fn one_long_step_is_many_short_ones(unix in 0u64..8_000_000_000, days in 0u64..3000) {
        let mut long = Rtc::new(unix, secs(0));
        let direct = Rtc::new(unix + days * 86_400, secs(0));
        let mut short = long.clone();
        for day in 0..=days {
            short.advance(secs(day * 86_400));
        }
        long.advance(secs(days * 86_400));
        prop_assert_eq!(long.calendar, short.calendar);
        prop_assert_eq!(long.calendar, direct.calendar);
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 9] = [
        ("calendar", |s| s.calendar[0] = 60),
        ("calendar", |s| s.calendar[3] = 0),
        ("calendar", |s| s.calendar[5] = 13),
        ("a", |s| s.a = 0x80),
        ("b", |s| s.b = 0x90),
        ("flags", |s| s.flags = 1),
        ("memory", |s| s.memory[0][0] = 1),
        ("second_start", |s| s.second_start = secs(6)),
        ("second_start", |s| s.second_start = secs(1)),
    ];
    let mut rtc = Rtc::new(LEAP, secs(5));
    for (field, spoil) in cases {
        let (mut bad, before) = (rtc.save(), rtc.clone());
        spoil(&mut bad);
        assert_eq!(rtc.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(rtc, before);
    }
    let future = Saved { version: 2, ..rtc.save() };
    assert_eq!(rtc.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
}

#[test]
fn a_board_puts_bytes_into_memory_and_not_into_registers() {
    let (mut rtc, untouched) = (Rtc::new(LEAP, secs(5)), Rtc::new(LEAP, secs(5)));
    rtc.set_memory(0x34, 0x5a);
    assert_eq!(rtc.peek(0x34), 0x5a);
    rtc.reset(secs(5));
    assert_eq!(rtc.peek(0x34), 0x5a, "a battery keeps it");
    rtc.set_memory(0x34, 0);
    for register in (0..=0x0D).chain([0x32, 0x80, 0xB2]) {
        rtc.set_memory(register, 0x55);
        assert_eq!(rtc, untouched, "{register:#x}");
    }
}
