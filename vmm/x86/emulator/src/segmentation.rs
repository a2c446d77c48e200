//! Translation of segment and offset to a linear address.

use x86::{Registers, Segment, SegmentRegister, cr0, rflags};

use crate::exception::Exception;
use crate::paging::Access;
use crate::size::CodeSize;

/// Linear address of `length` bytes at `offset`, checked as the CPU does (APM vol. 2, 4.7 to 4.12).
///
/// Privilege was checked when the selector was loaded, and is not part of an access. Canonical
/// form is checked by the page walk, as only it knows the width of linear addresses.
pub(crate) fn linear(
    cpu: &impl Registers,
    code_size: CodeSize,
    register: SegmentRegister,
    offset: u64,
    length: u8,
    access: Access,
) -> Result<u64, Exception> {
    let segment = cpu.segment(register);
    if code_size == CodeSize::Bits64 {
        let based = matches!(register, SegmentRegister::Fs | SegmentRegister::Gs);
        return Ok(if based { segment.base.wrapping_add(offset) } else { offset });
    }
    // Real and virtual-8086 mode know limits but no types.
    let typed = cpu.cr0() & cr0::PE != 0 && cpu.rflags() & rflags::VM == 0;
    within(&segment, typed, offset, length, access).ok_or(refusal(register))
}

/// Linear address of `length` bytes at `offset` of `segment`, whose type counts if `typed`; none if
/// the segment refuses the access.
pub(crate) fn within(
    segment: &Segment,
    typed: bool,
    offset: u64,
    length: u8,
    access: Access,
) -> Option<u64> {
    let allowed = match access {
        Access::Read => segment.attributes.is_present() && segment.is_readable(),
        Access::Write => segment.attributes.is_present() && segment.is_writable(),
        Access::Execute => true,
    };
    let limit = u64::from(segment.limit);
    let last = offset.saturating_add(u64::from(length.max(1)) - 1);
    let inside = if typed && segment.is_expand_down() {
        let top = if segment.attributes.is_big() { 0xFFFF_FFFF } else { 0xFFFF };
        offset > limit && last <= top
    } else {
        last <= limit
    };
    (inside && (allowed || !typed)).then(|| segment.base.wrapping_add(offset) & 0xFFFF_FFFF)
}

/// The exception of a refused access through `register`.
pub(crate) const fn refusal(register: SegmentRegister) -> Exception {
    match register {
        SegmentRegister::Ss => Exception::STACK,
        _ => Exception::GENERAL_PROTECTION,
    }
}
