//! The intercept policy: which instructions, events and MSRs make the guest exit.

use x86::{msr, vector};

/// Instructions and events that exit, with the reason why (AMD64 APM vol. 2, table B-1,
/// bits of the word at offset 00Ch).
pub(crate) const INTERCEPT_1: &[(u32, &str)] = &[
    (0, "INTR: host interrupts are ours"),
    (1, "NMI: the host's way to ask for a dump"),
    (2, "SMI: the host's"),
    (3, "INIT: would reset the CPU below the guest"),
    (4, "VINTR: a virtual interrupt asks for a window; open only while one is to be taken"),
    (15, "RDPMC: the counters are the host's"),
    (18, "CPUID: the guest sees our table"),
    (22, "INVD: would drop others' dirty cache lines"),
    (24, "HLT: the VP idles in our loop"),
    (26, "INVLPGA: takes an ASID, which is ours"),
    (27, "IN, OUT: by the permission map, which lets none pass"),
    (28, "RDMSR, WRMSR: by the permission map"),
    (31, "shutdown: would reset the machine"),
];

/// As above, bits of the word at offset 010h.
pub(crate) const INTERCEPT_2: &[(u32, &str)] = &[
    (0, "VMRUN: the guest has no SVM"),
    (1, "VMMCALL: hypercalls"),
    (2, "VMLOAD: takes a host-physical address"),
    (3, "VMSAVE: takes a host-physical address"),
    (4, "STGI: the global interrupt flag is ours"),
    (5, "CLGI: the global interrupt flag is ours"),
    (6, "SKINIT: would restart the CPU in code of the guest's choice"),
    (8, "ICEBP: its #DB is no exception to the intercepts below, and could repeat for ever"),
    (9, "WBINVD: would stall the machine"),
    (10, "MONITOR: not offered"),
    (11, "MWAIT: not offered"),
    (12, "MWAIT when armed: not offered"),
    (13, "XSETBV: checked against what is offered"),
    (14, "RDPRU: not offered"),
];

/// Writes of CR0 that change more than TS and MP, for a platform that must know the guest's mode: bit
/// of [`INTERCEPT_1`]'s word.
pub(crate) const CR0_SELECTIVE: u32 = 1 << 5;
/// IRET, while an NMI is in service: bit of [`INTERCEPT_1`]'s word.
pub(crate) const IRET: u32 = 1 << 20;
/// The virtual interrupt: bit of [`INTERCEPT_1`]'s word.
pub(crate) const VIRTUAL_INTERRUPT: u32 = 1 << 4;

/// Exceptions that exit: delivery of #DB or #AC can cause itself again, for ever and without an
/// instruction boundary (CVE-2015-8104, CVE-2015-5307); #MC is the machine's.
pub(crate) const EXCEPTIONS: u32 = 1 << vector::DB | 1 << vector::AC | 1 << vector::MC;

/// The word with the bits of `table`.
pub(crate) const fn word(table: &[(u32, &str)]) -> u32 {
    let (mut word, mut index) = (0, 0);
    while index < table.len() {
        word |= 1 << table[index].0;
        index += 1;
    }
    word
}

/// MSRs that the guest uses without us: the VMCB or VMLOAD and VMSAVE switch them, or only the
/// guest uses them.
pub(crate) const OPEN_MSRS: &[(u32, &str)] = &[
    (msr::SYSENTER_CS, "SYSENTER_CS"),
    (msr::SYSENTER_ESP, "SYSENTER_ESP"),
    (msr::SYSENTER_EIP, "SYSENTER_EIP"),
    (msr::STAR, "STAR"),
    (msr::LSTAR, "LSTAR"),
    (msr::CSTAR, "CSTAR"),
    (msr::SFMASK, "SFMASK"),
    (msr::FS_BASE, "FS_BASE"),
    (msr::GS_BASE, "GS_BASE"),
    (msr::KERNEL_GS_BASE, "KERNEL_GS_BASE"),
    (msr::TSC_AUX, "TSC_AUX"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_into_svm_is_intercepted() {
        // VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT.
        assert_eq!(word(INTERCEPT_2) & 0b111_1101, 0b111_1101);
        // INVLPGA, INTR, NMI, SMI, INIT, VINTR, shutdown.
        assert_eq!(word(INTERCEPT_1) & 0x8400_001f, 0x8400_001f);
    }
}
