//! The #HV doorbell page, through which a hypervisor tells a VP of events.
//!
//! Both sides change the page at the same time: use atomic accesses at the offsets given here.

use core::mem::size_of;

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// The pending events: a 16-bit word at the start of the page (GHCB specification 56421,
/// "#HV Doorbell Page").
#[bitfield(u16)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PendingEvents {
    /// Vector of the pending interrupt; 0 for none.
    pub vector: u8,
    /// An NMI is pending.
    pub nmi: bool,
    /// A machine check is pending.
    pub machine_check: bool,
    #[bits(5)]
    __: u8,
    /// NoFurtherSignal: no other #HV comes until the guest clears this bit.
    pub no_further_signal: bool,
}

/// Offset of [`PendingEvents`].
pub const PENDING_EVENTS: usize = 0x00;
/// Offset of the byte of [`NO_EOI_REQUIRED_BIT`].
pub const NO_EOI_REQUIRED: usize = 0x02;
/// The guest that clears this bit needs no EOI for the last interrupt.
pub const NO_EOI_REQUIRED_BIT: u8 = 1 << 0;
/// Offset of the byte whose bit n - 1 says that [`LevelEvents`] of level n changed.
pub const PER_VMPL_EVENTS: usize = 0x03;
/// Offset of the [`LevelEvents`] of levels 1 to 3.
pub const LEVELS: usize = 0x40;

/// The pending interrupts of a lower level.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LevelStatus {
    /// Vector of the only pending interrupt.
    pub vector: u8,
    /// An NMI is pending.
    pub nmi: bool,
    /// A machine check is pending.
    pub machine_check: bool,
    /// The interrupt is level-triggered.
    pub level_triggered: bool,
    #[bits(3)]
    __: u8,
    /// Several vectors are pending; they are in the bitmap.
    pub multiple_vectors: bool,
    #[bits(12)]
    __: u16,
    /// An IPI was requested.
    pub ipi_requested: bool,
    #[bits(3)]
    __: u8,
    /// Vector 31 is pending.
    pub vector_31: bool,
}

/// The events of one lower level.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LevelEvents {
    /// The summary.
    pub status: LevelStatus,
    /// Pending vectors 32–255.
    pub pending: [u32; 7],
    /// Vectors in service.
    pub in_service: [u32; 8],
}

/// A copy of the page's defined part.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Doorbell {
    /// The pending events.
    pub pending: PendingEvents,
    /// See [`NO_EOI_REQUIRED_BIT`].
    pub no_eoi_required: u8,
    /// See [`PER_VMPL_EVENTS`].
    pub per_vmpl_events: u8,
    reserved_04: [u8; 60],
    /// Levels 1 to 3, with the feature `extended_interrupts`.
    pub levels: [LevelEvents; 3],
}

const _: () = assert!(size_of::<LevelEvents>() == 0x40);
assert_offsets!(Doorbell:
    pending = PENDING_EVENTS, no_eoi_required = NO_EOI_REQUIRED,
    per_vmpl_events = PER_VMPL_EVENTS, levels = LEVELS,
);
