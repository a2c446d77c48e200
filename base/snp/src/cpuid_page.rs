//! The page of CPUID values that the firmware checks at launch.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// Entries in the page (SNP firmware ABI 56860, section 7.1).
pub const MAX_ENTRIES: usize = 64;

/// The registers for one function and subfunction (table 14).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CpuidFunction {
    /// EAX: the function.
    pub eax_in: u32,
    /// ECX: the subfunction.
    pub ecx_in: u32,
    /// XCR0, on which the sizes of function Dh depend.
    pub xcr0_in: u64,
    /// XSS, on which the sizes of function Dh depend.
    pub xss_in: u64,
    /// EAX of the answer.
    pub eax: u32,
    /// EBX of the answer.
    pub ebx: u32,
    /// ECX of the answer.
    pub ecx: u32,
    /// EDX of the answer.
    pub edx: u32,
    /// Zero.
    pub reserved: u64,
}

/// The page.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CpuidPage {
    /// How many entries are in use; more than [`MAX_ENTRIES`] is invalid.
    pub count: u32,
    /// Zero.
    pub reserved_04: [u8; 12],
    /// The entries.
    pub functions: [CpuidFunction; MAX_ENTRIES],
    /// Zero.
    pub reserved_c10: [u8; 1008],
}

const _: () = assert!(size_of::<CpuidPage>() == 0x1000);
const _: () = assert!(size_of::<CpuidFunction>() == 0x30);
assert_offsets!(CpuidPage: functions = 0x10, reserved_c10 = 0xc10);
assert_offsets!(CpuidFunction: xcr0_in = 0x08, xss_in = 0x10, eax = 0x18, reserved = 0x28);

impl CpuidPage {
    /// The entries in use, or none if the count is invalid.
    pub fn used(&self) -> Option<&[CpuidFunction]> {
        self.functions.get(..usize::try_from(self.count).ok()?)
    }
}
