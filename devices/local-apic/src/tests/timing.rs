//! Tests of the timer.

use super::*;
use crate::*;

const VECTOR: u32 = 0x40;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const MASKED: u32 = 1 << 16;
const BY_1: u32 = 0xB;

fn timer(lvt: u32, initial: u32) -> LocalApic {
    let mut apic = xapic();
    let _ = write(&mut apic, DIVIDE, BY_1);
    assert_eq!(write(&mut apic, LVT_TIMER, lvt), Some(Effect::TimerChanged));
    assert_eq!(write(&mut apic, INITIAL, initial), Some(Effect::TimerChanged));
    apic
}

/// Advances, then counts and ends the timer's interrupt if there is one.
fn fires(apic: &mut LocalApic, nanos: u64) -> bool {
    apic.advance_timer(at(nanos), GuestTsc(0));
    let fired = take(apic) == Some(VECTOR as u8);
    let _ = write(apic, EOI, 0);
    fired
}

#[test]
fn each_divisor_counts() {
    let codes = [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)];
    for (code, divisor) in codes {
        let mut apic = xapic();
        let _ = write(&mut apic, DIVIDE, code);
        let _ = write(&mut apic, LVT_TIMER, VECTOR);
        let _ = write(&mut apic, INITIAL, 1000);
        assert_eq!(apic.read_xapic(CURRENT, at(400 * divisor), TSC0), 600);
        assert_eq!(apic.timer_deadline(), Some(TimerDeadline::At(at(1000 * divisor))));
    }
}

#[test]
fn one_shot_fires_once() {
    let mut apic = timer(VECTOR, 1000);
    assert!(!fires(&mut apic, 999));
    assert_eq!(apic.read_xapic(CURRENT, at(999), TSC0), 1);
    assert!(fires(&mut apic, 1000));
    assert_eq!(apic.read_xapic(CURRENT, at(1000), TSC0), 0);
    assert_eq!((apic.timer_deadline(), read(&mut apic, INITIAL)), (None, 1000));
    assert!(!fires(&mut apic, 1_000_000));
}

#[test]
fn reading_the_expired_count_delivers() {
    let mut apic = timer(VECTOR, 1000);
    assert_eq!(apic.read_xapic(IRR + 0x20, at(1000), TSC0), 1);
    let mut apic = timer(VECTOR, 1000);
    assert_eq!(apic.read_xapic(CURRENT, at(1001), TSC0), 0);
    assert_eq!(apic.pending(), Some(0x40));
}

#[test]
fn periodic_keeps_its_phase_and_coalesces() {
    let mut apic = timer(VECTOR | PERIODIC, 100_000);
    assert!(fires(&mut apic, 130_000));
    assert_eq!(apic.timer_deadline(), Some(TimerDeadline::At(at(200_000))));
    assert_eq!(apic.read_xapic(CURRENT, at(130_000), TSC0), 70_000);
    assert!(fires(&mut apic, 10_050_000));
    assert!(!fires(&mut apic, 10_050_000), "a hundred missed periods are one interrupt");
    assert_eq!(apic.timer_deadline(), Some(TimerDeadline::At(at(10_100_000))));
}

#[test]
fn a_count_of_one_can_not_starve_others() {
    let mut apic = timer(VECTOR | PERIODIC, 1);
    let mut fired = 0;
    for nanos in (0..=1_000_000).step_by(100) {
        fired += u64::from(fires(&mut apic, nanos));
    }
    assert_eq!(fired, 1_000_000 / MINIMUM);
    assert!(fires(&mut apic, u64::MAX / 2), "an absence of 292 years is computed, not looped over");
    assert_eq!(apic.read_xapic(CURRENT, at(u64::MAX / 2), TSC0), 1);
}

#[test]
fn a_period_just_below_the_minimum_still_counts_exactly() {
    let mut apic = timer(VECTOR | PERIODIC, 15_000);
    assert!(!fires(&mut apic, 19_000));
    assert_eq!(apic.read_xapic(CURRENT, at(19_000), TSC0), 11_000);
    assert!(fires(&mut apic, 20_000));
    assert_eq!(apic.timer_deadline(), Some(TimerDeadline::At(at(40_000))));
}

#[test]
fn masked_timers_count_silently() {
    let mut apic = timer(VECTOR | MASKED | PERIODIC, 100_000);
    assert_eq!(apic.timer_deadline(), None);
    assert_eq!(apic.read_xapic(CURRENT, at(250_000), TSC0), 50_000);
    let _ = apic.write_xapic(LVT_TIMER, VECTOR | PERIODIC, at(450_000), TSC0);
    assert!(!fires(&mut apic, 450_000), "what expired under the mask is lost");
    assert!(fires(&mut apic, 500_000));
}

#[test]
fn an_initial_count_of_zero_stops() {
    let mut apic = timer(VECTOR | PERIODIC, 100_000);
    let _ = apic.write_xapic(INITIAL, 0, at(50), TSC0);
    assert_eq!(apic.timer_deadline(), None);
    assert!(!fires(&mut apic, 200_000));
}

#[test]
fn changing_the_divisor_keeps_the_count() {
    let mut apic = timer(VECTOR, 1000);
    let _ = apic.write_xapic(DIVIDE, 0, at(600), TSC0);
    assert_eq!(apic.read_xapic(CURRENT, at(600), TSC0), 400);
    assert_eq!(apic.timer_deadline(), Some(TimerDeadline::At(at(1400))));
}

#[test]
fn tsc_deadline_fires_and_clears() {
    let mut apic = timer(VECTOR | TSC_DEADLINE, 1000);
    assert_eq!((read(&mut apic, INITIAL), read(&mut apic, CURRENT)), (0, 0));
    apic.set_tsc_deadline(5000, T0, GuestTsc(100));
    assert_eq!(apic.timer_deadline(), Some(TimerDeadline::Tsc(GuestTsc(5000))));
    apic.advance_timer(T0, GuestTsc(4999));
    assert_eq!((apic.pending(), apic.tsc_deadline()), (None, 5000));
    apic.advance_timer(T0, GuestTsc(5000));
    assert_eq!((apic.pending(), apic.tsc_deadline()), (Some(0x40), 0));
    let _ = (take(&mut apic), write(&mut apic, EOI, 0));
    apic.set_tsc_deadline(5000, T0, GuestTsc(6000));
    assert_eq!(take(&mut apic), Some(0x40), "a deadline in the past fires at once");
    apic.set_tsc_deadline(9000, T0, GuestTsc(6000));
    apic.set_tsc_deadline(0, T0, GuestTsc(6000));
    assert_eq!(apic.timer_deadline(), None);
}

#[test]
fn leaving_tsc_deadline_mode_disarms() {
    let mut apic = timer(VECTOR | TSC_DEADLINE, 0);
    apic.set_tsc_deadline(5000, T0, GuestTsc(100));
    let _ = write(&mut apic, LVT_TIMER, VECTOR);
    assert_eq!((apic.tsc_deadline(), apic.timer_deadline()), (0, None));
    apic.set_tsc_deadline(5000, T0, GuestTsc(100));
    assert_eq!(apic.tsc_deadline(), 0, "ignored in the other modes");
    let _ = write(&mut apic, INITIAL, 100);
    let _ = write(&mut apic, LVT_TIMER, VECTOR | TSC_DEADLINE);
    assert_eq!(apic.timer_deadline(), None);
}

#[test]
fn an_illegal_timer_vector_is_an_error() {
    let mut apic = timer(3, 100);
    let _ = write(&mut apic, LVT_ERROR, 0x50);
    apic.advance_timer(at(100), GuestTsc(0));
    assert_eq!(apic.pending(), Some(0x50));
    let _ = write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0x40);
}

#[test]
fn time_never_runs_backwards() {
    let mut apic = timer(VECTOR, 1000);
    assert_eq!(apic.read_xapic(CURRENT, at(600), TSC0), 400);
    assert_eq!(apic.read_xapic(CURRENT, at(100), TSC0), 400);
}
