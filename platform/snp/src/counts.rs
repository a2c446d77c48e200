//! What the guest's exits cost: calls of the host, and time.

use core::sync::atomic::{AtomicU64, Ordering};

use host_wire::report::COUNT;
use pc::LOCAL_APIC_PAGE;
use platform_api::Console;
use svm::{EXIT_KINDS, EXIT_NAMES};

/// Why the host was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// To run the guest: no call by itself, but one of the two world switches of an exit.
    Run,
    /// To sleep.
    Sleep,
    /// A port of a device.
    Port,
    /// A port of the device that hands in files.
    Files,
    /// The timer of the local APIC.
    Timer,
    /// The end of an interrupt.
    EndOfInterrupt,
    /// An interrupt for a CPU.
    Interrupt,
    /// Another register of a device.
    Register,
}

const NAMES: [(Why, &str); 8] = [
    (Why::Run, "run"),
    (Why::Sleep, "sleep"),
    (Why::Port, "host-call.port"),
    (Why::Files, "host-call.files"),
    (Why::Timer, "host-call.timer"),
    (Why::EndOfInterrupt, "host-call.end-of-interrupt"),
    (Why::Interrupt, "host-call.interrupt"),
    (Why::Register, "host-call.register"),
];

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Ticks of the TSC between an exit of each kind and the next entry. Calls of the host count.
static SPENT: [AtomicU64; EXIT_KINDS] = [const { AtomicU64::new(0) }; EXIT_KINDS];

/// Adds what an exit of this kind took.
pub(crate) fn spend(kind: usize, ticks: u64) {
    if let Some(spent) = SPENT.get(kind) {
        spent.fetch_add(ticks, Ordering::Relaxed);
    }
}

/// Counts a call.
#[inline]
pub(crate) fn add(why: Why) {
    if let Some(count) = COUNTS.get(why as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why `port` is accessed (QEMU, docs/specs/fw_cfg).
pub(crate) const fn of_port(port: u16) -> Why {
    if matches!(port, 0x510..=0x51b) { Why::Files } else { Why::Port }
}

/// Why the register at physical `address` is accessed (AMD64 APM vol. 2, table 16-2).
pub(crate) const fn of_register(address: u64) -> Why {
    match address.wrapping_sub(LOCAL_APIC_PAGE) {
        0xb0 => Why::EndOfInterrupt,
        0x300 | 0x310 => Why::Interrupt,
        0x380 | 0x390 => Why::Timer,
        _ => Why::Register,
    }
}

/// Reports all counters that are not zero.
pub(crate) fn report(to: &impl Console) {
    for (why, name) in NAMES {
        let count = COUNTS.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed));
        if count != 0 {
            to.report(format_args!("{COUNT} {name} {count}"));
        }
    }
    for (name, spent) in EXIT_NAMES.iter().zip(&SPENT) {
        let ticks = spent.load(Ordering::Relaxed);
        if ticks != 0 && !name.is_empty() {
            to.report(format_args!("{COUNT} exit-ticks.{name} {ticks}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        for (index, (why, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(why as usize, index, "{name}");
        }
        for (address, why) in [
            (LOCAL_APIC_PAGE + 0xb0, Why::EndOfInterrupt),
            (LOCAL_APIC_PAGE + 0x380, Why::Timer),
            (LOCAL_APIC_PAGE + 0x20, Why::Register),
            (0xfec0_0000, Why::Register),
            (0xb0, Why::Register),
        ] {
            assert_eq!(of_register(address), why, "{address:#x}");
        }
        for (port, why) in [(0x3f8, Why::Port), (0x510, Why::Files), (0x51c, Why::Port)] {
            assert_eq!(of_port(port), why, "{port:#x}");
        }
    }
}
