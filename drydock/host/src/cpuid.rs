//! CPUID, as the host answers it and puts it into the page that the firmware checks.

use snp::cpuid_page::{CpuidFunction, MAX_ENTRIES};

use crate::machine::Host;
use crate::outside::Outside;

/// The highest basic leaf. Leaf Dh is there, but above it: the CPU that emulates has no XSAVEC, and a
/// Linux that runs confidentially refuses such a leaf Dh if it counts. It does not use XSAVE then.
/// COCONUT-SVSM needs XSAVE, and does not ask for the highest leaf.
const MAX_BASIC: u32 = 0xb;
/// The leaf of XSAVE.
const XSAVE: u32 = 0xd;
/// XCR0 after power-on.
const XCR0_RESET: u64 = 1;
/// The highest extended leaf.
const MAX_EXTENDED: u32 = 0x8000_001f;
/// Leaf 8000_001Fh EAX: SEV, SEV-ES, SEV-SNP, levels, RMPQUERY, Secure TSC, restricted and alternate injection,
/// debug swap, no sampling by the host, vTOM, register protection (AMD64 APM vol. 3, appendix E.4.17).
const ENCRYPTION: u32 = 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 18
    | 1 << 24;
/// The CPU's signature: family 19h, model 1, stepping 1, which is Milan-B1. The CPU that emulates is
/// older than SEV-SNP, and verifiers of reports know the layout of a TCB version by the family.
const SIGNATURE: u32 = 0x00a0_0f11;
/// How many bits physical addresses lose to encryption.
const REDUCTION: u32 = 1;
const LEVELS: u32 = 4;
/// The leaves of the hypervisor.
const HYPERVISOR: u32 = 0x4000_0000;
const KVM: u32 = HYPERVISOR + 1;
/// Leaf 4000_0001h EAX: no delay after a port access is needed, the clock (version 2), which is
/// stable (Linux, Documentation/virt/kvm/x86/cpuid.rst).
const KVM_FEATURES: u32 = 1 << 1 | 1 << 3 | 1 << 24;

/// The leaves in the page, with their subleaves, and XCR0 for those that depend on it. A guest may give
/// up at a leaf that is not there, so all that other builders' files name are: COCONUT-SVSM's by
/// igvmbuilder, Microsoft's by igvm-tooling.
const PAGE: [(u32, u32, u64); 40] = [
    (0, 0, 0),
    (1, 0, 0),
    (2, 0, 0),
    (4, 0, 0),
    (4, 1, 0),
    (4, 2, 0),
    (4, 3, 0),
    (5, 0, 0),
    (6, 0, 0),
    (7, 0, 0),
    (7, 1, 0),
    (9, 0, 0),
    (0xa, 0, 0),
    (0xb, 0, 0),
    (0xb, 1, 0),
    // QEMU gives the first two for XCR0 after power-on, where Linux looks for them; COCONUT-SVSM looks
    // for entries without XCR0.
    (XSAVE, 0, XCR0_RESET),
    (XSAVE, 1, XCR0_RESET),
    (XSAVE, 0, 0),
    (XSAVE, 1, 0),
    (XSAVE, 2, 0),
    (HYPERVISOR, 0, 0),
    (KVM, 0, 0),
    (0x8000_0000, 0, 0),
    (0x8000_0001, 0, 0),
    (0x8000_0002, 0, 0),
    (0x8000_0003, 0, 0),
    (0x8000_0004, 0, 0),
    (0x8000_0005, 0, 0),
    (0x8000_0006, 0, 0),
    (0x8000_0007, 0, 0),
    (0x8000_0008, 0, 0),
    (0x8000_000a, 0, 0),
    (0x8000_0019, 0, 0),
    (0x8000_001a, 0, 0),
    (0x8000_001d, 0, 0),
    (0x8000_001d, 1, 0),
    (0x8000_001d, 2, 0),
    (0x8000_001d, 3, 0),
    (0x8000_001e, 0, 0),
    (0x8000_001f, 0, 0),
];
const _: () = assert!(PAGE.len() <= MAX_ENTRIES);

impl<O: Outside> Host<O> {
    /// CPUID of VP `vp` after power-on.
    pub fn cpuid(&self, leaf: u32, subleaf: u32, vp: u32) -> [u32; 4] {
        self.cpuid_with(leaf, subleaf, vp, XCR0_RESET)
    }

    /// CPUID of VP `vp` with this value in XCR0.
    pub(crate) fn cpuid_with(&self, leaf: u32, subleaf: u32, vp: u32, xcr0: u64) -> [u32; 4] {
        let [a, b, c, d] = self.cpuid.look_up(leaf, subleaf, vp, false, xcr0);
        match leaf {
            0 => [MAX_BASIC, b, c, d],
            1 | 0x8000_0001 => [SIGNATURE, b, c, d],
            // KVM's signature: guests look for x2APIC without interrupt remapping there, and for
            // the TSC's frequency in its clock.
            HYPERVISOR => {
                let [b, c, d] = [*b"KVMK", *b"VMKV", *b"M\0\0\0"].map(u32::from_le_bytes);
                [KVM, b, c, d]
            }
            KVM => [KVM_FEATURES, 0, 0, 0],
            0x8000_0000 => [MAX_EXTENDED, b, c, d],
            0x8000_001f => {
                let c_bit = u32::from(self.settings.c_bit);
                [ENCRYPTION, c_bit | REDUCTION << 6 | LEVELS << 12, 1, 0]
            }
            _ => [a, b, c, d],
        }
    }

    /// The entries of the page that the firmware checks, for VP 0.
    pub fn cpuid_page(&self) -> impl Iterator<Item = CpuidFunction> + '_ {
        PAGE.into_iter().map(|(leaf, subleaf, xcr0_in)| {
            let [eax, ebx, ecx, edx] = self.cpuid(leaf, subleaf, 0);
            CpuidFunction {
                eax_in: leaf,
                ecx_in: subleaf,
                xcr0_in,
                eax,
                ebx,
                ecx,
                edx,
                ..Default::default()
            }
        })
    }
}
