//! Tests of what a guest can see of the timer.

mod steps;

use crate::*;
use proptest::prelude::*;
use std::vec::Vec;

/// The first instant of a clock tick.
fn at(tick: i64) -> Instant {
    instant(tick)
}

/// A timer whose counter got this mode and count at tick 0, so it loads the count at tick 1. The
/// gate of counter 2 is high.
fn counting(counter: u8, mode: u8, count: u16) -> Pit {
    let mut pit = Pit::new(0);
    pit.write(SPEAKER, 1, at(0));
    pit.write(CONTROL, counter << 6 | 0x30 | mode << 1, at(0));
    let [low, high] = count.to_le_bytes();
    pit.write(COUNTER_0 + u16::from(counter), low, at(0));
    pit.write(COUNTER_0 + u16::from(counter), high, at(0));
    pit
}

fn read_count(pit: &mut Pit, counter: u8, tick: i64) -> u16 {
    let port = COUNTER_0 + u16::from(counter);
    pit.write(CONTROL, counter << 6, at(tick));
    u16::from_le_bytes([pit.read(port, at(tick)), pit.read(port, at(tick))])
}

/// The level of OUT at each tick from 1 on, as drawn in the data sheet.
fn wave(pit: &mut Pit, counter: usize, ticks: i64) -> Vec<u8> {
    (1..=ticks).map(|tick| u8::from(pit.output(counter, at(tick)))).collect()
}

#[test]
fn the_clock_is_exact() {
    assert_eq!(tick(Instant::from_nanos(1_000_000_000)), 1_193_182);
    assert_eq!(tick(Instant::from_nanos(3_600_000_000_000)), 3600 * 1_193_182);
    for number in [0, 1, 2, 1000, 1_193_181, 1 << 40] {
        assert_eq!(tick(instant(number)), number);
        let before = instant(number).as_nanos().saturating_sub(1);
        assert!(number == 0 || tick(Instant::from_nanos(before)) == number - 1);
    }
    assert!(tick(Instant::from_nanos(u64::MAX)) < 1 << 55);
}

#[test]
fn mode_0_rises_after_n_plus_one() {
    let mut pit = counting(0, 0, 4);
    assert!(!pit.output(0, at(0)));
    assert_eq!(wave(&mut pit, 0, 7), [0, 0, 0, 0, 1, 1, 1]);
    assert!(pit.take_edge());
    assert_eq!(read_count(&mut pit, 0, 8), 0xFFFD, "it counts on");
    assert_eq!(pit.deadline(), None);
    pit.write(COUNTER_0, 9, at(10));
    assert!(!pit.output(0, at(10)), "the first byte stops it");
    assert_eq!(pit.deadline(), None);
}

#[test]
fn mode_1_is_triggered_and_again() {
    let mut pit = counting(2, 1, 3);
    assert!(pit.output(2, at(1)));
    pit.write(SPEAKER, 0, at(1));
    pit.write(SPEAKER, 1, at(2));
    let levels: Vec<_> = (3..8).map(|tick| pit.output(2, at(tick))).collect();
    assert_eq!(levels, [false, false, false, true, true]);
    pit.write(SPEAKER, 0, at(8));
    pit.write(SPEAKER, 1, at(9));
    pit.write(SPEAKER, 0, at(11));
    pit.write(SPEAKER, 1, at(11));
    assert!(!pit.output(2, at(14)));
    assert!(pit.output(2, at(15)));
}

#[test]
fn mode_2_is_low_for_one_tick() {
    let mut pit = counting(0, 2, 3);
    assert_eq!(wave(&mut pit, 0, 9), [1, 1, 0, 1, 1, 0, 1, 1, 0]);
    let mut pit = counting(0, 2, 3);
    let counts: Vec<_> = (1..=6).map(|tick| read_count(&mut pit, 0, tick)).collect();
    assert_eq!(counts, [3, 2, 1, 3, 2, 1]);
}

#[test]
fn mode_3_is_square_and_longer_high() {
    assert_eq!(wave(&mut counting(0, 3, 4), 0, 8), [1, 1, 0, 0, 1, 1, 0, 0]);
    assert_eq!(wave(&mut counting(0, 7, 5), 0, 10), [1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
    let mut pit = counting(0, 3, 4);
    let counts: Vec<_> = (1..=8).map(|tick| read_count(&mut pit, 0, tick)).collect();
    assert_eq!(counts, [4, 2, 4, 2, 4, 2, 4, 2]);
    let mut pit = counting(0, 3, 5);
    let counts: Vec<_> = (1..=5).map(|tick| read_count(&mut pit, 0, tick)).collect();
    assert_eq!(counts, [4, 2, 0, 4, 2]);
}

#[test]
fn mode_4_strobes_once_and_mode_5_by_its_gate() {
    let mut pit = counting(0, 4, 3);
    assert_eq!(wave(&mut pit, 0, 7), [1, 1, 1, 0, 1, 1, 1]);
    assert!(pit.take_edge());
    let mut pit = counting(2, 5, 2);
    assert_eq!(wave(&mut pit, 2, 4), [1, 1, 1, 1]);
    pit.write(SPEAKER, 0, at(5));
    pit.write(SPEAKER, 1, at(5));
    let levels: Vec<_> = (6..10).map(|tick| pit.output(2, at(tick))).collect();
    assert_eq!(levels, [true, true, false, true]);
}

#[test]
fn the_gate_stops_modes_0_and_4_and_restarts_2_and_3() {
    let mut pit = counting(2, 0, 10);
    pit.write(SPEAKER, 0, at(4));
    assert_eq!(read_count(&mut pit, 2, 4), 7);
    assert_eq!(read_count(&mut pit, 2, 400), 7);
    pit.write(SPEAKER, 1, at(500));
    assert!(!pit.output(2, at(506)));
    assert!(pit.output(2, at(507)));
    assert_eq!(pit.read(SPEAKER, at(507)) & 0x2F, 0x21);
    for mode in [2, 3] {
        let mut pit = counting(2, mode, 10);
        pit.write(SPEAKER, 0, at(9));
        assert!(pit.output(2, at(10)), "OUT is high at once");
        pit.write(SPEAKER, 1, at(20));
        assert_eq!(read_count(&mut pit, 2, 21), 10);
    }
}

#[test]
fn a_new_count_waits_for_the_period() {
    let mut pit = counting(0, 2, 4);
    pit.write(COUNTER_0, 2, at(2));
    pit.write(COUNTER_0, 0, at(2));
    assert_eq!(wave(&mut pit, 0, 8)[2..], [1, 0, 1, 0, 1, 0]);
    let mut pit = counting(0, 3, 4);
    pit.write(COUNTER_0, 8, at(1));
    pit.write(COUNTER_0, 0, at(1));
    assert_eq!(pit.deadline(), Some(at(7)));
    let levels: Vec<_> = (2..12).map(|tick| u8::from(pit.output(0, at(tick)))).collect();
    assert_eq!(levels, [1, 0, 0, 0, 0, 1, 1, 1, 1, 0]);
    let mut pit = counting(0, 4, 4);
    pit.write(COUNTER_0, 9, at(2));
    pit.write(COUNTER_0, 0, at(2));
    assert_eq!(pit.deadline(), Some(at(13)));
}

#[test]
fn bcd_counts_in_decimal() {
    let mut pit = Pit::new(0);
    pit.write(CONTROL, 0x31, at(0));
    pit.write(COUNTER_0, 0x00, at(0));
    pit.write(COUNTER_0, 0x10, at(0));
    assert_eq!(read_count(&mut pit, 0, 2), 0x0999);
    assert!(!pit.output(0, at(1000)));
    assert!(pit.output(0, at(1001)));
    assert_eq!(read_count(&mut pit, 0, 1002), 0x9999);
    pit.write(CONTROL, 0x35, at(2000));
    pit.write(COUNTER_0, 0, at(2000));
    pit.write(COUNTER_0, 0, at(2000));
    assert_eq!(pit.deadline(), Some(at(2001 + 10_000)));
}

#[test]
fn single_byte_accesses() {
    let mut pit = Pit::new(0);
    pit.write(CONTROL, 0x14, at(0));
    pit.write(COUNTER_0, 200, at(0));
    assert_eq!(pit.read(COUNTER_0, at(11)), 190);
    pit.write(CONTROL, 0x24, at(20));
    pit.write(COUNTER_0, 2, at(20));
    assert_eq!(pit.read(COUNTER_0, at(22)), 1);
    assert_eq!(pit.deadline(), Some(at(21 + 512)));
}

#[test]
fn latches_hold_until_read() {
    let mut pit = counting(0, 2, 1000);
    pit.write(CONTROL, 0x00, at(11));
    pit.write(CONTROL, 0x00, at(50));
    assert_eq!((pit.read(COUNTER_0, at(60)), pit.read(COUNTER_0, at(70))), (0xDE, 0x03));
    assert_eq!(pit.read(COUNTER_0, at(101)), 0x84);
    assert_eq!(pit.read(COUNTER_0, at(101)), 0x03);
}

#[test]
fn read_back_latches_status_then_count() {
    let mut pit = counting(0, 2, 1000);
    pit.write(CONTROL, 0xC2, at(11));
    assert_eq!(pit.read(COUNTER_0, at(12)), 0xB4);
    assert_eq!((pit.read(COUNTER_0, at(60)), pit.read(COUNTER_0, at(70))), (0xDE, 0x03));
    pit.write(COUNTER_0, 5, at(100));
    pit.write(COUNTER_0, 0, at(100));
    pit.write(CONTROL, 0xE2, at(100));
    assert_eq!(pit.read(COUNTER_0, at(100)), 0xF4, "null count");
    pit.write(CONTROL, 0xE2, at(1001));
    assert_eq!(pit.read(COUNTER_0, at(1001)), 0xB4);
    pit.write(CONTROL, 0xB8, at(1002));
    pit.write(CONTROL, 0xE8, at(1002));
    assert_eq!(pit.read(COUNTER_2, at(1002)), 0xF8);
    assert_eq!((pit.read(CONTROL, at(1002)), pit.read(0x44, at(1002))), (0xFF, 0xFF));
}

#[test]
fn long_absences_are_one_edge_and_keep_the_phase() {
    let mut pit = counting(0, 2, 1000);
    pit.advance(at(1_000_000_500));
    assert!(pit.take_edge());
    assert!(!pit.take_edge());
    assert_eq!(pit.deadline(), Some(at(1_000_001_001)));
}

#[test]
fn a_count_of_one_is_paced() {
    let mut pit = Pit::new(100_000);
    pit.write(CONTROL, 0x14, at(0));
    pit.write(COUNTER_0, 1, at(0));
    let mut edges = 0;
    for nanos in (0..=10_000_000).step_by(700) {
        pit.advance(Instant::from_nanos(nanos));
        edges += u32::from(pit.take_edge());
    }
    assert!((95..=101).contains(&edges), "{edges}");
    pit.advance(Instant::from_nanos(u64::MAX));
    assert!(pit.take_edge());
}

#[test]
fn a_mode_change_that_raises_out_is_an_edge() {
    let mut pit = counting(0, 0, 1000);
    pit.write(CONTROL, 0x34, at(5));
    assert!(pit.take_edge());
}

#[test]
fn port_61_shows_refresh_and_speaker() {
    let mut pit = counting(2, 3, 4);
    let time = Instant::from_nanos;
    assert_eq!(pit.read(SPEAKER, time(15_000)) & 0x10, 0);
    assert_eq!(pit.read(SPEAKER, time(15_085)) & 0x10, 0x10);
    assert_eq!(pit.read(SPEAKER, time(30_170)) & 0x10, 0);
    pit.write(SPEAKER, 0xFF, time(31_000));
    assert_eq!(pit.read(SPEAKER, time(31_000)) & 0xCF, 0x0F);
    let now = time(40_000);
    assert_eq!(pit.speaker(now), pit.output(2, now));
    pit.write(SPEAKER, 1, now);
    assert!(!pit.speaker(now));
    pit.reset(now);
    assert_eq!((pit.deadline(), pit.read(SPEAKER, now) & 0x0F), (None, 0));
}

#[test]
fn a_count_written_while_the_gate_is_low_is_loaded() {
    for (mode, ends) in [(0, 1), (4, 0)] {
        let mut pit = Pit::new(0);
        pit.write(CONTROL, 0xB0 | mode << 1, at(0));
        pit.write(COUNTER_2, 5, at(0));
        pit.write(COUNTER_2, 0, at(0));
        assert_eq!(read_count(&mut pit, 2, 50), 5);
        pit.write(SPEAKER, 1, at(100));
        let levels: Vec<_> = (103..107).map(|tick| u8::from(pit.output(2, at(tick)))).collect();
        assert_eq!(levels, [1 - ends, 1 - ends, ends, 1], "mode {mode}");
    }
}

#[test]
fn a_new_count_waits_for_the_next_trigger_in_modes_1_and_5() {
    for mode in [1, 5] {
        let mut pit = counting(2, mode, 6);
        pit.write(SPEAKER, 0, at(10));
        pit.write(SPEAKER, 1, at(10));
        pit.write(COUNTER_2, 3, at(12));
        pit.write(COUNTER_2, 0, at(12));
        assert_eq!(read_count(&mut pit, 2, 13), 4);
        pit.write(SPEAKER, 0, at(30));
        pit.write(SPEAKER, 1, at(30));
        assert_eq!(read_count(&mut pit, 2, 32), 2);
    }
}

#[test]
fn the_status_byte_has_the_control_word_and_the_null_count() {
    for word in [0x10, 0x22, 0x34, 0x3E, 0x35, 0x1A, 0x2D] {
        for counter in 0..3 {
            let mut pit = Pit::new(0);
            pit.write(CONTROL, counter << 6 | word, at(0));
            pit.write(CONTROL, 0xE0 | 2 << counter, at(0));
            let status = pit.read(COUNTER_0 + u16::from(counter), at(0));
            let out = if word & 0x0E == 0 { 0 } else { 0x80 };
            assert_eq!(status, word | 0x40 | out, "{word:#x}");
        }
    }
    // The null count falls with the clock that loads the count (DS figure 14).
    let mut pit = Pit::new(0);
    pit.write(CONTROL, 0x14, at(7));
    pit.write(COUNTER_0, 9, at(7));
    let mut null = |tick| {
        pit.write(CONTROL, 0xE2, at(tick));
        pit.read(COUNTER_0, at(tick)) & 0x40 != 0
    };
    assert_eq!([7, 8, 9].map(&mut null), [true, false, false]);
}

#[test]
fn one_read_back_latches_several_counters() {
    let mut pit = Pit::new(0);
    pit.write(SPEAKER, 1, at(0));
    for (counter, count) in [(0, 100), (1, 200), (2, 250)] {
        pit.write(CONTROL, counter << 6 | 0x14, at(0));
        pit.write(COUNTER_0 + u16::from(counter), count, at(0));
    }
    pit.write(CONTROL, 0xDA, at(11));
    let ports = [COUNTER_0, COUNTER_0 + 1, COUNTER_2];
    assert_eq!(ports.map(|port| pit.read(port, at(50))), [90, 200 - 49, 240]);
    assert_eq!(ports.map(|port| pit.read(port, at(60))), [41, 141, 191], "each latch once");
}

#[test]
fn reads_and_writes_of_two_bytes_do_not_disturb_each_other() {
    let mut pit = counting(0, 2, 0x1234);
    pit.write(CONTROL, 0x00, at(1));
    assert_eq!(pit.read(COUNTER_0, at(2)), 0x34);
    pit.write(COUNTER_0, 0x78, at(3));
    assert_eq!(pit.read(COUNTER_0, at(4)), 0x12);
    pit.write(COUNTER_0, 0x56, at(5));
    assert_eq!(pit.deadline(), Some(at(1 + 0x1234)));
    pit.advance(at(1 + 0x1234));
    assert_eq!(pit.deadline(), Some(at(1 + 0x1234 + 0x5678)));
}

#[test]
fn a_control_word_drops_latches_and_half_written_counts() {
    let mut pit = counting(0, 2, 1000);
    pit.write(CONTROL, 0xC2, at(10));
    pit.write(COUNTER_0, 0x55, at(10));
    pit.write(CONTROL, 0x34, at(10));
    assert_eq!(pit.deadline(), None, "nothing counts before a count");
    pit.write(COUNTER_0, 0x10, at(20));
    pit.write(COUNTER_0, 0x00, at(20));
    assert_eq!(pit.deadline(), Some(at(37)));
    assert_eq!(u16::from_le_bytes([0, 1].map(|_| pit.read(COUNTER_0, at(22)))), 15);
}

#[test]
fn a_zero_is_the_largest_count() {
    for (word, largest) in [(0x30, 0x1_0000), (0x34, 0x1_0000), (0x31, 10_000), (0x37, 10_000)] {
        let mut pit = Pit::new(0);
        pit.write(CONTROL, word, at(0));
        pit.write(COUNTER_0, 0, at(0));
        pit.write(COUNTER_0, 0, at(0));
        assert_eq!(pit.deadline(), Some(at(1 + largest)), "{word:#x}");
    }
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0u8..4, 0usize..5, any::<u8>(), any::<u32>()), 0..200)
    ) {
        let mut pit = Pit::new(50_000);
        let mut now = Instant::START;
        for (kind, port, value, jump) in steps {
            now = now.saturating_add(u64::from(jump >> (value & 31)));
            let port = [0x40, 0x41, 0x42, 0x43, 0x61][port];
            match kind {
                0 => drop(pit.read(port, now)),
                1 | 2 => pit.write(port, value, now),
                _ => pit.advance(now),
            }
            let _ = pit.take_edge();
            let mut other = Pit::new(50_000);
            prop_assert_eq!(other.restore(&pit.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &pit);
            if let Some(due) = pit.deadline() {
                other.advance(Instant::from_nanos(due.as_nanos().saturating_sub(1)));
                prop_assert!(!other.take_edge(), "nothing before the deadline");
                other.advance(due);
                prop_assert!(other.take_edge(), "an edge at the deadline");
            }
        }
    }

    #[test]
    fn deadlines_find_the_waves_rises(
        mode in 0u8..6, count in 2u16..40, late in 0i64..50, next in 2u16..40
    ) {
        let mut pit = counting(0, mode, count);
        pit.advance(at(late));
        for byte in next.to_le_bytes() {
            pit.write(COUNTER_0, byte, at(late));
        }
        let _ = pit.take_edge();
        let deadline = pit.deadline();
        let mut level = pit.output(0, at(late));
        let rise = (late + 1..late + 200).find(|tick| {
            let was = core::mem::replace(&mut level, pit.output(0, at(*tick)));
            level && !was
        });
        prop_assert_eq!(deadline, rise.map(at));
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 12] = [
        ("speaker", |s| s.speaker = 0x10),
        ("due", |s| s.due = true),
        ("gate", |s| s.counters[0].gate = false),
        ("gate", |s| s.speaker = 0),
        ("control", |s| s.counters[0].control = 0x40),
        ("control", |s| s.counters[0].control = 0x04),
        ("low_byte", |s| {
            s.counters[0].control = 0x14;
            s.counters[0].low_byte = Some(1)
        }),
        ("run", |s| s.counters[0].run = SavedRun::Counting(i64::MAX)),
        ("run", |s| s.counters[0].run = SavedRun::Counting(i64::MIN)),
        ("run", |s| s.counters[0].run = SavedRun::Stopped(-1)),
        ("reload", |s| s.counters[1].reload = true),
        ("reload_at", |s| s.counters[0].reload_at = Some(5)),
    ];
    let mut pit = counting(0, 2, 1000);
    for (field, spoil) in cases {
        let (mut bad, before) = (pit.save(), pit.clone());
        spoil(&mut bad);
        assert_eq!(pit.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(pit, before);
    }
    let future = Saved { version: 2, ..pit.save() };
    assert_eq!(pit.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
}
