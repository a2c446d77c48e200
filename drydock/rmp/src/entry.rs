//! One entry of the table.

use bitfield_struct::bitfield;

use crate::{GuestPage, LEVELS, Size};

/// What a level may do with a page (AMD64 APM vol. 2, section 15.36.7).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Rights {
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Execute at CPL 3.
    pub user_execute: bool,
    /// Execute at CPL 0 to 2.
    pub supervisor_execute: bool,
    #[bits(4)]
    __: u8,
}

impl Rights {
    /// All of them.
    pub const ALL: Self = Self::from_bits(0xf);

    /// Whether `self` has all rights that `other` has.
    pub const fn include(self, other: Self) -> bool {
        other.into_bits() & !self.into_bits() == 0
    }
}

/// An entry (AMD64 APM vol. 2, table 15-36), for a page of the one guest that Drydock has: an ASID
/// would always be the same.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// The page belongs to the guest, and not to the host.
    pub assigned: bool,
    /// The entry stands for 512 pages.
    pub is_large: bool,
    /// The guest has accepted the page.
    pub validated: bool,
    /// The page may be run as a VMSA.
    pub vmsa: bool,
    /// Software can not change the entry.
    pub immutable: bool,
    /// A CPU runs the VMSA in the page.
    pub in_use: bool,
    #[bits(16)]
    levels: u16,
    #[bits(28)]
    guest_page: u32,
    #[bits(14)]
    __: u16,
}

/// Guest pages that an entry can name: those of 2⁴⁰ bytes.
pub const GUEST_PAGES: u32 = 1 << 28;

impl Entry {
    /// The entry of a page that has just been assigned: VMPL0 has all rights, others have none.
    pub(crate) const fn of_new(guest: GuestPage, size: Size, immutable: bool) -> Self {
        Self::new()
            .with_assigned(true)
            .with_is_large(matches!(size, Size::Large))
            .with_immutable(immutable)
            .with_levels(Rights::ALL.into_bits() as u16)
            .with_guest_page(guest.0)
    }

    /// Where the guest has the page.
    pub const fn guest(self) -> GuestPage {
        GuestPage(self.guest_page())
    }

    /// The size that the entry stands for.
    pub const fn size(self) -> Size {
        if self.is_large() { Size::Large } else { Size::Small }
    }

    /// What level `vmpl` may do.
    pub const fn rights(self, vmpl: u8) -> Rights {
        if vmpl as usize >= LEVELS {
            return Rights::new();
        }
        Rights::from_bits((self.levels() >> (4 * vmpl)) as u8 & 0xf)
    }

    /// The entry with other rights for level `vmpl`.
    pub(crate) const fn with_rights(self, vmpl: u8, rights: Rights) -> Self {
        if vmpl as usize >= LEVELS {
            return self;
        }
        let shift = 4 * vmpl;
        let others = self.levels() & !(0xf << shift);
        self.with_levels(others | ((rights.into_bits() as u16) & 0xf) << shift)
    }

    /// The entry of page `index` of the 512 that this one stands for.
    pub(crate) const fn part(self, index: u32) -> Self {
        self.with_is_large(false).with_guest_page(self.guest_page() + index)
    }
}
