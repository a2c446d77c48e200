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

/// TSC ticks per second, measured once over 20 ms.
pub fn tsc_hz() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};
    static HZ: AtomicU64 = AtomicU64::new(0);
    let known = HZ.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let (start, tsc) = (pm_timer(), cpu::rdtsc());
    while pm_since(start) < PM_HZ / 50 {}
    let ticks = cpu::rdtsc() - tsc;
    let hz = ticks * PM_HZ / pm_since(start);
    HZ.store(hz, Ordering::Relaxed);
    hz
}
