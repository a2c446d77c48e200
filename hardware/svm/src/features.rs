//! The CPU's features that matter to SVM.

use core::fmt;

use x86::msr;

/// Why the CPU can run no guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The CPU has no SVM.
    NoSvm,
    /// SVM is switched off (VM_CR.SVMDIS).
    Disabled,
    /// SVM has no nested paging.
    NoNestedPaging,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => {
                "the VM's CPU has no AMD-V (SVM): start QEMU with `-cpu EPYC,+svm,+npt`, or turn \
                 nested virtualisation on for KVM"
            }
            Self::Disabled => "AMD-V is switched off (VM_CR.SVMDIS) in the VM",
            Self::NoNestedPaging => {
                "the VM's AMD-V has no nested paging: start QEMU with `-cpu EPYC,+svm,+npt`"
            }
        })
    }
}

/// The CPU's features beyond the base of SVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The exit tells where the next instruction starts.
    pub next_rip: bool,
    /// XSAVE exists.
    pub xsave: bool,
    /// RDTSCP exists, with its MSR.
    pub rdtscp: bool,
    /// Pages of 1 GiB exist.
    pub gigabyte_pages: bool,
    /// The CPU is QEMU's software CPU.
    pub is_software: bool,
}

impl Features {
    /// Asks the running CPU.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn find() -> Result<Self, Unusable> {
        const VM_CR_SVMDIS: u64 = 1 << 4;
        let features = Self::of(instructions::cpuid)?;
        // SAFETY: a CPU with SVM has the register.
        if unsafe { instructions::rdmsr(msr::VM_CR) } & VM_CR_SVMDIS != 0 {
            return Err(Unusable::Disabled);
        }
        Ok(features)
    }

    /// What CPUID says (AMD64 APM vol. 2, section 15.4; vol. 3, appendix E).
    fn of(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Result<Self, Unusable> {
        let [_, _, extended_c, extended_d] = cpuid(0x8000_0001, 0);
        if extended_c & 1 << 2 == 0 || cpuid(0x8000_0000, 0)[0] < 0x8000_000a {
            return Err(Unusable::NoSvm);
        }
        let [_, _, _, svm] = cpuid(0x8000_000a, 0);
        if svm & 1 << 0 == 0 {
            return Err(Unusable::NoNestedPaging);
        }
        Ok(Self {
            next_rip: svm & 1 << 3 != 0,
            xsave: cpuid(1, 0)[2] & 1 << 26 != 0,
            rdtscp: extended_d & 1 << 27 != 0,
            gigabyte_pages: extended_d & 1 << 26 != 0,
            is_software: is_software_cpu(cpuid(0x4000_0000, 0)),
        })
    }
}

/// Whether the hypervisor's leaf is that of QEMU's software CPU.
fn is_software_cpu([_, b, c, d]: [u32; 4]) -> bool {
    [b, c, d] == [*b"TCGT", *b"CGTC", *b"GTCG"].map(u32::from_le_bytes)
}

/// How many of `cpus` may run no guest: the first of several on QEMU's software CPU.
///
/// There, FRSTOR, FXRSTOR and XRSTOR on any CPU change the flag word of the *first* CPU without a
/// lock (QEMU's `cpu_clear_ignne`). The same word says whether that CPU is in guest, whether nested
/// paging is on, and GIF. A VMRUN or an exit at the same moment loses its own change: the guest
/// then runs without nested paging, or the CPU goes on after the exit as if it were still in guest.
/// Seen with QEMU 7.2 and 10.0. On a CPU that never runs a guest that word never changes.
pub const fn spare_cpus(cpus: u32, features: Features) -> u32 {
    (features.is_software && cpus > 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUID of QEMU's EPYC with SVM.
    fn qemu(leaf: u32, _: u32) -> [u32; 4] {
        match leaf {
            0x8000_0000 => [0x8000_001f, 0, 0, 0],
            0x8000_0001 => [0, 0, 1 << 2, 1 << 26 | 1 << 27],
            0x8000_000a => [1, 16, 0, 1],
            0x4000_0000 => [0x4000_0001, 0x5447_4354, 0x4354_4743, 0x4743_5447],
            1 => [0, 0, 1 << 26, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn a_cpu_without_svm_or_nested_paging_is_refused() {
        let without =
            |leaf: u32| Features::of(move |l, s| if l == leaf { [0; 4] } else { qemu(l, s) });
        assert_eq!(without(0x8000_0001), Err(Unusable::NoSvm));
        assert_eq!(without(0x8000_0000), Err(Unusable::NoSvm), "no leaf that would tell");
        assert_eq!(without(0x8000_000a), Err(Unusable::NoNestedPaging));
        assert!(without(0x4000_0000).is_ok_and(|found| !found.is_software));
    }

    #[test]
    fn the_first_of_several_software_cpus_is_spared() {
        let software = Features::of(qemu).unwrap();
        assert!(software.is_software && software.xsave && software.rdtscp && !software.next_rip);
        let silicon = Features { is_software: false, ..software };
        for (cpus, features, spare) in
            [(1, software, 0), (2, software, 1), (64, software, 1), (2, silicon, 0)]
        {
            assert_eq!(spare_cpus(cpus, features), spare, "{cpus} CPUs");
        }
    }
}
