//! The check of a CPUID page against the host's CPU.
//!
//! A guest must not be told of a feature that the CPU lacks, nor of a wrong size of the XSAVE area.
//! The rules follow the public descriptions of the firmware's check; they are not AMD's table, which
//! depends on the CPU's family. A register without a rule may have no bit that the host's lacks.

use snp::cpuid_page::{CpuidFunction, CpuidPage};
use snp::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use crate::xsave;

/// The registers after CPUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registers'")]
pub struct CpuidResult {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// CPUID of the host's CPU.
pub trait HostCpuid {
    /// The result for a function and subfunction. EBX of function Dh, subfunctions 0 and 1, is not
    /// used, as it depends on XCR0 and XSS.
    fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult;
}

/// The permitted difference between a register of the guest and of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// In any way.
    Any,
    /// It must be equal.
    Equal,
    /// It may be less.
    AtMost,
    /// It may lack bits, except that the bits given here are free.
    Subset(u32),
    /// It must be equal in these bits; the others are free.
    EqualIn(u32),
    /// Each of the two low bytes may be less; the high half is free.
    AtMostInLowBytes,
}

impl Rule {
    /// The value nearest to the guest's that is allowed.
    const fn correct(self, guest: u32, host: u32) -> u32 {
        match self {
            Self::Any => guest,
            Self::Equal => host,
            Self::AtMost => {
                if guest > host {
                    host
                } else {
                    guest
                }
            }
            Self::Subset(free) => guest & (host | free),
            Self::EqualIn(mask) => guest & !mask | host & mask,
            Self::AtMostInLowBytes => {
                let low = Self::AtMost.correct(guest & 0xff, host & 0xff);
                let high = Self::AtMost.correct(guest & 0xff00, host & 0xff00);
                guest & 0xffff_0000 | high | low
            }
        }
    }
}

/// The rules of EAX, EBX, ECX and EDX.
type Rules = [Rule; 4];

/// Bit 27 says whether the OS has enabled XSAVE, bit 31 that there is a hypervisor.
const FUNCTION_1_ECX: Rule = Rule::Subset(1 << 27 | 1 << 31);
/// Bit 4 says whether the OS has enabled protection keys.
const FUNCTION_7_ECX: Rule = Rule::Subset(1 << 4);
/// Bits 5:0 are the place of the C-bit, bits 11:6 the address bits that encryption costs.
const FUNCTION_8000_001F_EBX: Rule = Rule::EqualIn(0xfff);

/// The functions that a hypervisor has for itself.
const HYPERVISOR: u32 = 0x4000_0000;
const HYPERVISOR_END: u32 = 0x4000_ffff;

/// The rules for a function (AMD64 APM vol. 3, appendix E).
const fn rules(function: u32, subfunction: u32) -> Rules {
    use Rule::{Any, AtMost, AtMostInLowBytes, Equal};
    const BITS: Rule = Rule::Subset(0);
    match (function, subfunction) {
        // Highest function and vendor.
        (0 | 0x8000_0000, _) => [AtMost, Equal, Equal, Equal],
        // Signature, APIC ID, features.
        (1, _) => [Any, Any, FUNCTION_1_ECX, BITS],
        (7, 0) => [AtMost, BITS, FUNCTION_7_ECX, BITS],
        // XSAVE: features, then one component each. EBX of the first two is computed.
        (0xd, 0) => [BITS, Any, AtMost, BITS],
        (0xd, 1) => [BITS, Any, BITS, BITS],
        (0xd, _) => [Equal, Equal, Equal, Equal],
        // Monitor lines, topology, brand, caches, TLBs, power.
        (5 | 6 | 0xb | 0x8000_0002..=0x8000_0006 | 0x8000_0019 | 0x8000_001d | 0x8000_001e, _)
        | (0x8000_0026, _) => [Any; 4],
        (0x8000_0001, _) => [Any, Any, BITS, BITS],
        (0x8000_0007, _) => [Any, Any, Any, BITS],
        // Address sizes, features, number of threads.
        (0x8000_0008, _) => [AtMostInLowBytes, BITS, Any, Any],
        // SVM: revision, ASIDs, features.
        (0x8000_000a, _) => [Any, AtMost, BITS, BITS],
        // Memory encryption: features, C-bit, numbers of encrypted VMs.
        (0x8000_001f, _) => [BITS, FUNCTION_8000_001F_EBX, Any, Any],
        // The hypervisor's own: Linux looks for them in the page.
        (HYPERVISOR..=HYPERVISOR_END, _) => [Any; 4],
        _ => [BITS; 4],
    }
}

/// Checks a page. If a value is refused, the page gets the values that would be accepted.
pub(crate) fn check_page(page: &mut [u8; 4096], host: &dyn HostCpuid) -> Result<(), Status> {
    let copy = CpuidPage::read_from_bytes(page).map_err(|_| Status::INVALID_LENGTH)?;
    if copy.reserved_04 != [0; 12] || copy.reserved_c10 != [0; 1008] {
        return Err(Status::INVALID_PARAM);
    }
    let mut corrected = copy.clone();
    let count = copy.used().ok_or(Status::INVALID_PARAM)?.len();
    for entry in &mut corrected.functions[..count] {
        *entry = correct(entry, host)?;
    }
    if corrected != copy {
        page.copy_from_slice(corrected.as_bytes());
        return Err(Status::INVALID_PARAM);
    }
    Ok(())
}

/// The entry with all values that are accepted.
fn correct(entry: &CpuidFunction, host: &dyn HostCpuid) -> Result<CpuidFunction, Status> {
    let CpuidFunction { eax_in: function, ecx_in: subfunction, .. } = *entry;
    let is_known_range =
        matches!(function, 0..=0xffff | HYPERVISOR..=HYPERVISOR_END | 0x8000_0000..=0x8000_ffff);
    if !is_known_range || entry.reserved != 0 {
        return Err(Status::INVALID_PARAM);
    }
    let theirs = host.cpuid(function, subfunction);
    let [eax, ebx, ecx, edx] = rules(function, subfunction);
    let mut result = CpuidFunction {
        eax: eax.correct(entry.eax, theirs.eax),
        ebx: ebx.correct(entry.ebx, theirs.ebx),
        ecx: ecx.correct(entry.ecx, theirs.ecx),
        edx: edx.correct(entry.edx, theirs.edx),
        ..*entry
    };
    if function == xsave::FUNCTION && subfunction <= 1 {
        result.ebx = xsave::size(host, subfunction == 1, entry.xcr0_in, entry.xss_in)?;
    }
    Ok(result)
}
