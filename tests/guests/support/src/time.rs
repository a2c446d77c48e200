//! Time by the ACPI timer, which every machine here has.

use crate::cpu;

const PM_TIMER: u16 = 0x608;
/// Its rate in Hz.
pub const PM_HZ: u64 = 3_579_545;

/// The ACPI timer: 32 bits on the paravisor, 24 on QEMU.
pub fn pm_timer() -> u32 {
    cpu::in32(PM_TIMER)
}

/// Ticks since `start`, whatever the timer's width.
pub fn pm_since(start: u32) -> u64 {
    u64::from(pm_timer().wrapping_sub(start) & 0xff_ffff)
}

/// Waits, busily.
pub fn wait_micros(micros: u64) {
    let mut left = micros * PM_HZ / 1_000_000 + 1;
    let mut last = pm_timer();
    while left > 0 {
        let now = pm_timer();
        let passed = u64::from(now.wrapping_sub(last) & 0xff_ffff);
        last = now;
        left = left.saturating_sub(passed);
    }
}

/// Waits until `condition` holds, for `millis` at most; whether it did.
pub fn wait_until(millis: u64, condition: impl Fn() -> bool) -> bool {
    for _ in 0..millis * 20 {
        if condition() {
            return true;
        }
        wait_micros(50);
    }
    condition()
}

/// The ACPI timer and `clock` at the same moment, as near as the best of some attempts comes: the host
/// may hold the VP up between two reads.
pub fn together(clock: impl Fn() -> u64) -> (u32, u64) {
    const ATTEMPTS: u32 = 16;
    let mut best = (0, 0);
    let mut narrowest = u64::MAX;
    for _ in 0..ATTEMPTS {
        let (before, timer, after) = (clock(), pm_timer(), clock());
        let width = after.wrapping_sub(before);
        if width < narrowest {
            narrowest = width;
            best = (timer, before.wrapping_add(width / 2));
        }
    }
    best
}

/// How far the ACPI timer and `clock` get in `millis` or more.
pub fn progress(millis: u64, clock: impl Fn() -> u64) -> (u64, u64) {
    let (start, first) = together(&clock);
    while pm_since(start) < PM_HZ * millis / 1000 {}
    let (end, last) = together(&clock);
    (u64::from(end.wrapping_sub(start) & 0xff_ffff), last.wrapping_sub(first))
}

/// TSC ticks per second, measured once over 20 ms.
pub fn tsc_hz() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};
    static HZ: AtomicU64 = AtomicU64::new(0);
    let known = HZ.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let (elapsed, ticks) = progress(20, cpu::rdtsc);
    let hz = ticks * PM_HZ / elapsed;
    HZ.store(hz, Ordering::Relaxed);
    hz
}
