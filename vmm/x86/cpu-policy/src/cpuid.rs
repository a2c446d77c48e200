//! The CPUID leaves that the guest sees.
//!
//! The table is computed once from the CPU below; an exit only looks it up. Sources: AMD64 APM
//! vol. 3, appendix E; Intel SDM vol. 2, CPUID.

use crate::speculation::{self, Speculation};

/// The highest basic leaf.
const MAX_BASIC: u32 = 0xd;
/// The highest extended leaf.
const MAX_EXTENDED: u32 = 0x8000_0008;
const BASIC_LEAVES: usize = MAX_BASIC as usize + 1;
const EXTENDED_LEAVES: usize = (MAX_EXTENDED - 0x8000_0000) as usize + 1;

const fn bits(list: &[u32]) -> u32 {
    let (mut word, mut index) = (0, 0);
    while index < list.len() {
        word |= 1 << list[index];
        index += 1;
    }
    word
}

/// Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE,
/// AVX, F16C, RDRAND.
const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 1 ECX bits that we offer ourselves: x2APIC, TSC deadline.
const OWN_LEAF_1_ECX: u32 = bits(&[21, 24]);
const OSXSAVE: u32 = 1 << 27;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT,
/// PSE36, CLFLUSH, MMX, FXSR, SSE, SSE2.
const LEAF_1_EDX: u32 =
    bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
const HTT: u32 = 1 << 28;
/// Leaf 8000_0001 ECX: with HTT, the logical processors of a package are cores and no threads.
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 7 EBX: FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA.
const LEAF_7_EBX: u32 = bits(&[0, 3, 5, 7, 8, 9, 18, 19, 20, 23, 24, 29]);
/// Leaf 7 ECX: UMIP, VAES, VPCLMULQDQ, RDPID.
const LEAF_7_ECX: u32 = bits(&[2, 9, 10, 22]);
/// Leaf 7 EDX: fast short REP MOVSB.
const LEAF_7_EDX: u32 = bits(&[4]);
/// Leaf 8000_0001 ECX: LAHF, alternative MOV CR8, ABM, SSE4A, misaligned SSE, PREFETCHW.
const EXTENDED_1_ECX: u32 = bits(&[0, 4, 5, 6, 7, 8]);
/// Leaf 8000_0001 EDX: the AMD copies of leaf 1's, SYSCALL, NX, MMXEXT, fast FXSAVE, 1 GiB pages,
/// RDTSCP, long mode.
const EXTENDED_1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 29,
]);
/// Leaf 8000_0007 EDX: the TSC is invariant. The host's is, or it could run no VM with two CPUs.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 8000_0008 EBX: CLZERO, saved error pointers, control over speculation.
const EXTENDED_8_EBX: u32 = bits(&[0, 2]) | speculation::LEAF_BITS;
/// Leaf Dh subleaf 1 EAX: XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
const LEAF_D_1_EAX: u32 = bits(&[0, 1, 2]);

/// State components: x87, SSE, AVX.
const COMPONENTS: u64 = 0b111;
const AVX_SIZE: u32 = 256;
/// Legacy area and header.
const XSAVE_MINIMUM: u32 = 576;

/// The guest's CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// VPs, each a core of one package.
    pub vps: u32,
    /// Whether the Hyper-V interface is offered.
    pub hypervisor: bool,
}

/// All leaves, except the parts that depend on the VP or its registers.
#[derive(Clone, Debug)]
pub struct CpuidTable {
    basic: [[u32; 4]; BASIC_LEAVES],
    extended: [[u32; 4]; EXTENDED_LEAVES],
    /// Leaf Dh, subleaves 1 and 2.
    xsave: [[u32; 4]; 2],
    components: u64,
    topology: Topology,
}

impl CpuidTable {
    /// Computes the table; `host` is CPUID of the CPU below.
    pub fn new(topology: Topology, host: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        let mut table = Self {
            basic: [[0; 4]; BASIC_LEAVES],
            extended: [[0; 4]; EXTENDED_LEAVES],
            xsave: [[0; 4]; 2],
            components: 0,
            topology,
        };
        table.fill_basic(&host);
        table.fill_extended(&host);
        table
    }

    fn fill_basic(&mut self, host: &impl Fn(u32, u32) -> [u32; 4]) {
        let [_, b, c, d] = host(0, 0);
        let [signature, _, features_c, features_d] = host(1, 0);
        let mut features_c = features_c & LEAF_1_ECX | OWN_LEAF_1_ECX;
        if self.topology.hypervisor {
            features_c |= HYPERVISOR;
        }
        let several = if self.topology.vps > 1 { HTT } else { 0 };
        // CLFLUSH lines of 64 bytes, VPs in the package.
        let one_b = 8 << 8 | (self.topology.vps & 0xff) << 16;
        let [_, b7, c7, d7] = host(7, 0);
        let seven = [0, b7 & LEAF_7_EBX, c7 & LEAF_7_ECX, d7 & LEAF_7_EDX];
        let has_xsave = features_c & 1 << 26 != 0;
        if has_xsave {
            self.components = u64::from(host(0xd, 0)[0]) & COMPONENTS;
            self.xsave = [[host(0xd, 1)[0] & LEAF_D_1_EAX, 0, 0, 0], host(0xd, 2)];
        }
        let leaves = [
            (0, [MAX_BASIC, b, c, d]),
            (1, [signature, one_b, features_c, features_d & LEAF_1_EDX | several]),
            (7, seven),
        ];
        for (leaf, value) in leaves {
            if let Some(slot) = self.basic.get_mut(leaf) {
                *slot = value;
            }
        }
    }

    fn fill_extended(&mut self, host: &impl Fn(u32, u32) -> [u32; 4]) {
        let last_vp = self.topology.vps.saturating_sub(1);
        let id_bits = u32::BITS - last_vp.leading_zeros();
        let several = if last_vp > 0 { CMP_LEGACY } else { 0 };
        for (index, slot) in self.extended.iter_mut().enumerate() {
            let [a, b, c, d] = host(0x8000_0000 + index as u32, 0);
            *slot = match index {
                0 => [MAX_EXTENDED, b, c, d],
                1 => [a, b, c & EXTENDED_1_ECX | several, d & EXTENDED_1_EDX],
                // Processor name; caches and TLBs.
                2..=6 => [a, b, c, d],
                7 => [0, 0, 0, INVARIANT_TSC],
                _ => [a & 0xffff, b & EXTENDED_8_EBX, last_vp | id_bits << 12, 0],
            };
        }
    }

    /// State components that the guest may turn on in XCR0; zero if there is no XSAVE.
    pub const fn components(&self) -> u64 {
        self.components
    }

    /// The speculation controls of the physical CPU that the guest gets.
    pub const fn speculation(&self) -> Speculation {
        Speculation::from_leaf(self.extended[8][1])
    }

    /// Whether the guest has pages of 1 GiB.
    pub fn has_gigabyte_pages(&self) -> bool {
        self.extended[1][3] & 1 << 26 != 0
    }

    /// CPUID of VP `vp`, whose CR4.OSXSAVE and XCR0 are as given. A leaf that is not in the table
    /// is zero; on AMD this includes leaves beyond the highest.
    #[inline]
    pub fn look_up(&self, leaf: u32, subleaf: u32, vp: u32, osxsave: bool, xcr0: u64) -> [u32; 4] {
        match leaf {
            1 => {
                let [a, b, c, d] = self.basic[1];
                [a, b | vp << 24, c | if osxsave { OSXSAVE } else { 0 }, d]
            }
            7 if subleaf != 0 => [0; 4],
            0xb => self.topology_leaf(subleaf, vp),
            0xd => self.xsave_leaf(subleaf, xcr0),
            0..=MAX_BASIC => self.basic[leaf as usize],
            0x8000_0000..=MAX_EXTENDED => self.extended[(leaf - 0x8000_0000) as usize],
            0x4000_0000..=0x4000_00ff if self.topology.hypervisor => [0; 4],
            _ => [0; 4],
        }
    }

    /// Leaf Bh: one thread a core, all cores in one package.
    fn topology_leaf(&self, subleaf: u32, vp: u32) -> [u32; 4] {
        let core_bits = u32::BITS - self.topology.vps.saturating_sub(1).leading_zeros();
        match subleaf {
            0 => [0, 1, 1 << 8, vp],
            1 => [core_bits, self.topology.vps, 2 << 8 | 1, vp],
            _ => [0, 0, subleaf & 0xff, vp],
        }
    }

    fn xsave_leaf(&self, subleaf: u32, xcr0: u64) -> [u32; 4] {
        if self.components == 0 {
            return [0; 4];
        }
        let size = |components: u64| XSAVE_MINIMUM + if components & 4 == 0 { 0 } else { AVX_SIZE };
        match subleaf {
            0 => [self.components as u32, size(xcr0), size(self.components), 0],
            1 => [self.xsave[0][0], size(xcr0), 0, 0],
            2 if self.components & 4 != 0 => self.xsave[1],
            _ => [0; 4],
        }
    }
}

/// Whether XSETBV may set XCR0 to `value`, if `components` are offered (AMD64 APM vol. 2, 11.5.2).
pub const fn xcr0_is_valid(value: u64, components: u64) -> bool {
    let sse_for_avx = value & 4 == 0 || value & 2 != 0;
    value & 1 != 0 && value & !components == 0 && sse_for_avx
}
