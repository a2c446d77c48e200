//! Counters of exits, with their names.

use crate::vmcb::exit;

/// Exit codes from here to [`LAST`] have a counter each.
const FIRST: u64 = exit::EXCEPTION;
const LAST: u64 = 0x8f;
const RANGE: usize = (LAST - FIRST + 1) as usize;

/// Counters: the range, nested page faults, others.
pub const EXIT_KINDS: usize = RANGE + 2;

/// The counter of an exit code.
#[inline]
pub const fn kind(code: u64) -> usize {
    match code {
        FIRST..=LAST => (code - FIRST) as usize,
        exit::NESTED_PAGE_FAULT => RANGE,
        _ => RANGE + 1,
    }
}

/// Names of the counters; empty for those that no intercept of ours can cause.
pub static NAMES: [&str; EXIT_KINDS] = names();

const fn names() -> [&'static str; EXIT_KINDS] {
    let mut names = [""; EXIT_KINDS];
    let known: &[(u64, &str)] = &[
        (0x41, "exception-db"),
        (0x51, "exception-ac"),
        (0x52, "exception-mc"),
        (exit::INTERRUPT, "host-interrupt"),
        (exit::NMI, "host-nmi"),
        (exit::SMI, "host-smi"),
        (exit::INIT, "host-init"),
        (exit::VIRTUAL_INTERRUPT, "interrupt-window"),
        (exit::RDPMC, "rdpmc"),
        (exit::CPUID, "cpuid"),
        (exit::IRET, "iret"),
        (exit::INVD, "invd"),
        (exit::HLT, "hlt"),
        (exit::INVLPGA, "invlpga"),
        (exit::PORT, "port"),
        (exit::MSR, "msr"),
        (exit::SHUTDOWN, "shutdown"),
        (exit::VMRUN, "vmrun"),
        (exit::VMMCALL, "vmmcall"),
        (0x82, "vmload"),
        (0x83, "vmsave"),
        (0x84, "stgi"),
        (0x85, "clgi"),
        (exit::SKINIT, "skinit"),
        (exit::ICEBP, "icebp"),
        (exit::WBINVD, "wbinvd"),
        (exit::MONITOR, "monitor"),
        (exit::MWAIT, "mwait"),
        (exit::MWAIT_ARMED, "mwait-armed"),
        (exit::XSETBV, "xsetbv"),
        (exit::RDPRU, "rdpru"),
        (exit::NESTED_PAGE_FAULT, "nested-page-fault"),
        (u64::MAX, "other"),
    ];
    let mut index = 0;
    while index < known.len() {
        names[kind(known[index].0)] = known[index].1;
        index += 1;
    }
    names
}
