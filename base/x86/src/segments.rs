//! Segment registers with their hidden parts.

use bitfield_struct::bitfield;

/// A segment register, numbered as instructions encode them, then the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
#[repr(u8)]
pub enum SegmentRegister {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
    /// Base and limit only.
    Gdtr,
    /// Base and limit only.
    Idtr,
}

impl SegmentRegister {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Es,
        Self::Cs,
        Self::Ss,
        Self::Ds,
        Self::Fs,
        Self::Gs,
        Self::Ldtr,
        Self::Tr,
        Self::Gdtr,
        Self::Idtr,
    ];
}

/// The attributes of a segment: bits 47:40 and 55:52 of its descriptor (AMD64 APM vol. 2, section
/// 4.7).
///
/// The value has these twelve bits in a row, which is how AMD's control block stores them (section
/// 15.5.1). [`Attributes::access_rights`] is Intel's way.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Attributes {
    /// The type; its meaning depends on `is_code_or_data`.
    #[bits(4)]
    pub kind: u8,
    /// S: a code or data segment, not one of the system's.
    pub is_code_or_data: bool,
    /// DPL: the privilege level.
    #[bits(2)]
    pub privilege: u8,
    /// P: the segment is present.
    pub is_present: bool,
    /// AVL: for software.
    pub is_available: bool,
    /// L: 64-bit code.
    pub is_long: bool,
    /// D/B: operands, or the stack pointer, have 32 bits.
    pub is_big: bool,
    /// G: the descriptor counts the limit in pages.
    pub is_granular: bool,
    #[bits(4)]
    __: u8,
}

/// The bit of Intel's access rights that says that a register holds no segment.
const UNUSABLE: u32 = 1 << 16;

impl Attributes {
    /// As a VMCS stores them (Intel SDM vol. 3C, section 25.4.1): bits 7:0 and 15:12, and bit 16
    /// for a register that holds no segment.
    pub const fn access_rights(self) -> u32 {
        let bits = self.into_bits() as u32;
        let unusable = if self.is_present() { 0 } else { UNUSABLE };
        bits & 0xff | (bits & 0xf00) << 4 | unusable
    }

    /// From the form of [`Attributes::access_rights`].
    pub const fn from_access_rights(rights: u32) -> Self {
        if rights & UNUSABLE != 0 {
            return Self::new();
        }
        Self::from_bits((rights & 0xff | rights >> 4 & 0xf00) as u16)
    }
}

/// Bits of a code or data segment's type.
mod kind {
    pub(super) const WRITABLE_OR_READABLE: u8 = 1 << 1;
    pub(super) const EXPAND_DOWN: u8 = 1 << 2;
    pub(super) const CODE: u8 = 1 << 3;
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// The attributes.
    pub attributes: Attributes,
    /// The last valid offset in bytes, with the granularity applied.
    pub limit: u32,
    /// The linear base address.
    pub base: u64,
}

impl Segment {
    const fn has(&self, bit: u8) -> bool {
        self.attributes.kind() & bit != 0
    }

    /// Whether data may be read through it.
    pub const fn is_readable(&self) -> bool {
        !self.has(kind::CODE) || self.has(kind::WRITABLE_OR_READABLE)
    }

    /// Whether data may be written through it.
    pub const fn is_writable(&self) -> bool {
        !self.has(kind::CODE) && self.has(kind::WRITABLE_OR_READABLE)
    }

    /// Whether valid offsets lie above the limit.
    pub const fn is_expand_down(&self) -> bool {
        !self.has(kind::CODE) && self.has(kind::EXPAND_DOWN)
    }

    /// The segment that `selector` and the eight bytes of a descriptor select (AMD64 APM vol. 2,
    /// section 4.8). Bits 63:32 of the base are zero.
    pub const fn from_descriptor(selector: u16, descriptor: u64) -> Self {
        let attributes = (descriptor >> 40 & 0xff | descriptor >> 44 & 0xf00) as u16;
        let attributes = Attributes::from_bits(attributes);
        let limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
        let limit = if attributes.is_granular() { limit << 12 | 0xfff } else { limit };
        let base = descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000;
        Self { selector, attributes, limit, base }
    }

    /// The eight bytes of its descriptor (AMD64 APM vol. 2, section 4.8). For a system segment in
    /// long mode, bits 63:32 of the base follow as eight more bytes.
    pub const fn descriptor(&self) -> u64 {
        let limit =
            if self.attributes.is_granular() { self.limit >> 12 } else { self.limit } as u64;
        let attributes = self.attributes.into_bits() as u64;
        limit & 0xffff
            | (self.base & 0xff_ffff) << 16
            | (attributes & 0xff) << 40
            | (limit >> 16 & 0xf) << 48
            | (attributes >> 8 & 0xf) << 52
            | (self.base >> 24 & 0xff) << 56
    }
}
