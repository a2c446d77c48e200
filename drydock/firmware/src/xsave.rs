//! The size of the XSAVE area for given components.

use snp::status::Status;

use crate::cpuid::HostCpuid;

/// The CPUID function that describes XSAVE (AMD64 APM vol. 3, section E.3.8).
pub(crate) const FUNCTION: u32 = 0xd;

/// Bytes of the legacy area and the header, which every area has.
const FIXED: u32 = 512 + 64;

/// The first component behind the header; x87 and SSE are in the legacy area.
const FIRST: u32 = 2;

/// In ECX of a component: the compacted form aligns it to 64 bytes.
const ALIGNED: u32 = 1 << 1;

/// The size for the components in XCR0, in the compacted form also those in XSS.
pub(crate) fn size(
    host: &dyn HostCpuid,
    is_compacted: bool,
    xcr0: u64,
    xss: u64,
) -> Result<u32, Status> {
    let user = host.cpuid(FUNCTION, 0);
    let system = host.cpuid(FUNCTION, 1);
    let mask = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    if xcr0 & !mask(user.eax, user.edx) != 0 || xss & !mask(system.ecx, system.edx) != 0 {
        return Err(Status::INVALID_PARAM);
    }
    let components = if is_compacted { xcr0 | xss } else { xcr0 };
    let mut end = FIXED;
    for component in FIRST..64 {
        if components & 1 << component == 0 {
            continue;
        }
        let place = host.cpuid(FUNCTION, component);
        let start = match (is_compacted, place.ecx & ALIGNED != 0) {
            (false, _) => place.ebx,
            (true, false) => end,
            (true, true) => end.checked_next_multiple_of(64).ok_or(Status::INVALID_PARAM)?,
        };
        let component_end = start.checked_add(place.eax).ok_or(Status::INVALID_PARAM)?;
        end = end.max(component_end);
    }
    Ok(end)
}
