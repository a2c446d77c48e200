//! What the guest may do without us: the intercept policy, as tables.

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

/// IRET, while an NMI is in service: bit of [`INTERCEPT_1`]'s word.
pub(crate) const IRET: u32 = 1 << 20;
/// The virtual interrupt: bit of [`INTERCEPT_1`]'s word.
pub(crate) const VIRTUAL_INTERRUPT: u32 = 1 << 4;

/// Exceptions that exit: delivery of #DB or #AC can cause itself again, for ever and without an
/// instruction boundary (CVE-2015-8104, CVE-2015-5307); #MC is the machine's.
pub(crate) const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

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
    (0x174, "SYSENTER_CS"),
    (0x175, "SYSENTER_ESP"),
    (0x176, "SYSENTER_EIP"),
    (0xc000_0081, "STAR"),
    (0xc000_0082, "LSTAR"),
    (0xc000_0083, "CSTAR"),
    (0xc000_0084, "SFMASK"),
    (0xc000_0100, "FS_BASE"),
    (0xc000_0101, "GS_BASE"),
    (0xc000_0102, "KERNEL_GS_BASE"),
    (0xc000_0103, "TSC_AUX"),
];

/// Bytes of the MSR permission map (section 15.11).
pub(crate) const MSR_MAP_SIZE: usize = 0x2000;
/// Bytes of the I/O permission map (section 15.10.1).
pub(crate) const PORT_MAP_SIZE: usize = 0x3000;

/// Where the two bits of `msr` are in the map: byte, and shift of the read bit.
pub(crate) const fn msr_map_place(msr: u32) -> Option<(usize, u32)> {
    let (base, index) = match msr {
        0..=0x1fff => (0, msr),
        0xc000_0000..=0xc000_1fff => (0x800, msr - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (0x1000, msr - 0xc001_0000),
        _ => return None,
    };
    Some((base + index as usize / 4, index % 4 * 2))
}

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

    #[test]
    fn no_open_msr_belongs_to_svm_or_to_the_apic() {
        for (msr, name) in OPEN_MSRS {
            assert!(msr_map_place(*msr).is_some(), "{name} is outside the map");
            assert!(!(0xc001_0114..=0xc001_0117).contains(msr), "{name}");
            assert!(!(0x800..0x900).contains(msr), "{name}");
            assert_ne!(*msr, 0xc000_0080, "EFER holds SVME");
        }
    }

    #[test]
    fn the_map_places_are_those_of_the_manual() {
        assert_eq!(msr_map_place(0x174), Some((0x5d, 0)));
        assert_eq!(msr_map_place(0xc000_0081), Some((0x820, 2)));
        assert_eq!(msr_map_place(0xc001_0117), Some((0x1045, 6)));
        assert_eq!(msr_map_place(0x4000_0000), None);
    }
}
