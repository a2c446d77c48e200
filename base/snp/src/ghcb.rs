//! The GHCB page, through which a guest and its hypervisor exchange registers.
//!
//! The hypervisor can write to the page at any time. Copy it, or the fields that matter, once out of
//! shared memory; then check the copy. [`Field::offset`] and [`Field::valid_bit`] serve code that
//! reads single fields.

use core::mem::{offset_of, size_of};
use core::ops::Range;

use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// Version 2 of the protocol, which SEV-SNP needs.
pub const PROTOCOL_VERSION: u16 = 2;

/// GHCB_USAGE of a page with this layout (GHCB specification 56421).
pub const USAGE_STANDARD: u32 = 0;

/// Bytes in the shared buffer.
pub const SHARED_BUFFER_SIZE: usize = 0x7f0;

/// Where the shared buffer starts in the page.
pub const SHARED_BUFFER_OFFSET: usize = 0x800;

/// Quadwords of the page that have a bit in the valid bitmap.
const QUADWORDS: usize = 0x7e;

/// A quadword of the page with its bit in the valid bitmap (GHCB specification, "GHCB Layout").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(usize);

/// Defines the fields by their offsets.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $offset:literal;)+) => {
        impl Field {
            $($(#[$doc])* pub const $name: Self = Self::at($offset);)+

            /// All fields that have a name.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

fields! {
    /// The quadword whose byte 3 is the CPL.
    CPL = 0x0c8;
    /// XSS.
    XSS = 0x140;
    /// DR7.
    DR7 = 0x160;
    /// RIP.
    RIP = 0x178;
    /// RSP.
    RSP = 0x1d8;
    /// RAX.
    RAX = 0x1f8;
    /// RCX.
    RCX = 0x308;
    /// RDX.
    RDX = 0x310;
    /// RBX.
    RBX = 0x318;
    /// RBP.
    RBP = 0x328;
    /// RSI.
    RSI = 0x330;
    /// RDI.
    RDI = 0x338;
    /// R8.
    R8 = 0x340;
    /// R9.
    R9 = 0x348;
    /// R10.
    R10 = 0x350;
    /// R11.
    R11 = 0x358;
    /// R12.
    R12 = 0x360;
    /// R13.
    R13 = 0x368;
    /// R14.
    R14 = 0x370;
    /// R15.
    R15 = 0x378;
    /// SW_EXITCODE, an [`ExitCode`](crate::exit::ExitCode).
    SW_EXITCODE = 0x390;
    /// SW_EXITINFO1; on return a [`Status`].
    SW_EXITINFO1 = 0x398;
    /// SW_EXITINFO2.
    SW_EXITINFO2 = 0x3a0;
    /// SW_SCRATCH: GPA of the scratch area.
    SW_SCRATCH = 0x3a8;
    /// XCR0.
    XCR0 = 0x3e8;
}

impl Field {
    const fn at(offset: usize) -> Self {
        assert!(offset.is_multiple_of(8) && offset / 8 < QUADWORDS);
        Self(offset / 8)
    }

    /// Where the quadword stands in the page.
    pub const fn offset(self) -> usize {
        self.0 * 8
    }

    /// Its bit in the valid bitmap.
    pub const fn valid_bit(self) -> usize {
        self.0
    }
}

/// A copy of the page.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ghcb {
    quadwords: [u64; QUADWORDS],
    /// VALID_BITMAP: bit n is set if the quadword n holds a value.
    pub valid_bitmap: [u64; 2],
    /// X87_STATE_GPA. It has no bit in the bitmap.
    pub x87_state_gpa: u64,
    reserved_408: [u8; 0x3f8],
    /// The shared buffer, which may be the scratch area.
    pub shared_buffer: [u8; SHARED_BUFFER_SIZE],
    reserved_ff0: [u8; 10],
    /// PROTOCOL_VERSION that the guest uses.
    pub protocol_version: u16,
    /// GHCB_USAGE: the layout of the page.
    pub usage: u32,
}

const _: () = assert!(size_of::<Ghcb>() == 0x1000);
assert_offsets!(Ghcb:
    valid_bitmap = 0x3f0, x87_state_gpa = 0x400, shared_buffer = 0x800,
    protocol_version = 0xffa, usage = 0xffc,
);

impl Ghcb {
    /// The bytes of the page that have a request's fields, with the bitmap.
    pub const FIELDS: Range<usize> = offset_of!(Self, quadwords)..offset_of!(Self, x87_state_gpa);

    /// The bytes of the page that say how a request is to be read.
    pub const FORM: Range<usize> = offset_of!(Self, protocol_version)..size_of::<Self>();

    /// The bytes of the shared buffer.
    pub const BUFFER: Range<usize> =
        SHARED_BUFFER_OFFSET..SHARED_BUFFER_OFFSET + SHARED_BUFFER_SIZE;

    /// The value of a field, if it is marked as valid.
    pub fn get(&self, field: Field) -> Option<u64> {
        self.is_valid(field).then(|| self.quadwords[field.0])
    }

    /// Sets a field and marks it as valid.
    pub fn set(&mut self, field: Field, value: u64) {
        self.quadwords[field.0] = value;
        self.valid_bitmap[field.0 / 64] |= 1 << (field.0 % 64);
    }

    /// The field is marked as valid.
    pub fn is_valid(&self, field: Field) -> bool {
        self.valid_bitmap[field.0 / 64] & 1 << (field.0 % 64) != 0
    }

    /// Marks all fields as invalid.
    pub fn invalidate_all(&mut self) {
        self.valid_bitmap = [0; 2];
    }

    /// The CPL, if it is marked as valid.
    pub fn cpl(&self) -> Option<u8> {
        self.get(Field::CPL).map(|quadword| quadword.to_le_bytes()[3])
    }

    /// Sets the CPL.
    pub fn set_cpl(&mut self, cpl: u8) {
        self.set(Field::CPL, u64::from(cpl) << 24);
    }

    /// The answer in SW_EXITINFO1, if it is marked as valid.
    pub fn status(&self) -> Option<Status> {
        self.get(Field::SW_EXITINFO1).map(|value| Status((value & 0xffff_ffff) as u32))
    }
}

/// The low half of SW_EXITINFO1 after VMGEXIT (GHCB specification, "Invoking VMGEXIT").
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The request was handled.
    SUCCESS = 0,
    /// The guest is to raise the exception in SW_EXITINFO2, an
    /// [`EventInj`](crate::vmsa::EventInj).
    EXCEPTION = 1,
    /// The request was malformed; SW_EXITINFO2 is an [`InputError`].
    MALFORMED = 2,
}

/// The fault in a malformed request (GHCB specification, "Invoking VMGEXIT").
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum InputError {
    /// The GHCB is not registered.
    NOT_REGISTERED = 1,
    /// GHCB_USAGE has an unknown value.
    INVALID_USAGE = 2,
    /// SW_SCRATCH is invalid.
    INVALID_SCRATCH_AREA = 3,
    /// A field that the request needs is not marked as valid.
    MISSING_INPUT = 4,
    /// A field has an invalid value.
    INVALID_INPUT = 5,
    /// SW_EXITCODE is invalid.
    INVALID_EVENT = 6,
}
