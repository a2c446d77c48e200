//! The division of the machine's RAM between shared memory and the pool of system pages.

use core::fmt;

use drydock_cpu::Space;
use drydock_rmp::{Backing, GuestPage, PAGES_IN_LARGE, Size, SystemPage};
use guest_memory::{PAGE_SIZE, RamMap};
use home::LEGACY_HOLE;
use host_wire::drydock::{LEAST_MEMORY, MEMORY_STEP, MOST_MEMORY, is_memory};

use crate::{C_BIT, EXTRA_PAGES, FAR_PAGES};

/// Bytes of a large page.
const LARGE: u64 = PAGE_SIZE * PAGES_IN_LARGE as u64;
const _: () = assert!(MEMORY_STEP.is_multiple_of(LARGE));
/// A guest's RAM ends below this address, and devices of a PC begin above it.
pub(crate) const RAM_LIMIT: u64 = 3 << 30;
const _: () = assert!(MOST_MEMORY <= RAM_LIMIT);

/// Why the RAM can not be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivisionError {
    /// The guest's RAM, in bytes, has no such size.
    Size(u64),
    /// Physical addresses of the machine that emulates have too few bits for the C-bit.
    AddressBits(u8),
    /// There is too little: the guest's RAM at its own addresses, or as much for its private pages.
    TooLittle(u64),
}

impl fmt::Display for DivisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(bytes) => write!(
                f,
                "the guest can not have {bytes} bytes of RAM: it takes {} to {} MiB, in steps of {}",
                LEAST_MEMORY >> 20,
                MOST_MEMORY >> 20,
                MEMORY_STEP >> 20
            ),
            Self::AddressBits(bits) => write!(
                f,
                "the CPU has {bits} bits of physical address: Drydock needs {} (phys-bits of QEMU's \
                 CPU)",
                C_BIT + 1
            ),
            Self::TooLittle(bytes) => write!(
                f,
                "the VM has too little RAM for a guest of {} MiB: Drydock needs it twice, and some",
                bytes >> 20
            ),
        }
    }
}

impl core::error::Error for DivisionError {}

/// How the RAM is divided: the guest's addresses from zero on are shared memory where they lie, and
/// private memory in the pool.
#[derive(Clone, Copy, Debug)]
pub struct Division {
    guest_pages: u32,
    pool: u64,
}

impl Division {
    /// Divides `ram` for a guest of `guest_bytes`.
    ///
    /// # Errors
    /// [`DivisionError`].
    pub fn new(ram: &RamMap, guest_bytes: u64) -> Result<Self, DivisionError> {
        if !is_memory(guest_bytes) {
            return Err(DivisionError::Size(guest_bytes));
        }
        let few = DivisionError::TooLittle(guest_bytes);
        let low = LEGACY_HOLE.end();
        if !ram.contains(0, LEGACY_HOLE.start()) || !ram.contains(low, guest_bytes - low) {
            return Err(few);
        }
        let wanted = guest_bytes + u64::from(2 * FAR_PAGES + EXTRA_PAGES) * PAGE_SIZE;
        let pool = ram.ranges().iter().find_map(|range| {
            let start = range.start().max(guest_bytes).next_multiple_of(LARGE);
            (start.checked_add(wanted)? <= range.end()).then_some(start)
        });
        let guest_pages = (guest_bytes / PAGE_SIZE) as u32;
        Ok(Self { guest_pages, pool: pool.ok_or(few)? })
    }

    /// Pages of the guest's RAM.
    pub const fn guest_pages(&self) -> u32 {
        self.guest_pages
    }

    /// Bytes of the guest's RAM.
    pub const fn guest_bytes(&self) -> u64 {
        self.guest_pages as u64 * PAGE_SIZE
    }

    /// System pages.
    pub(crate) const fn system_pages(&self) -> u32 {
        self.first_extra().0 + EXTRA_PAGES
    }

    /// The first system page beside those of the guest's memory.
    pub(crate) const fn first_extra(&self) -> SystemPage {
        SystemPage(self.map_entries())
    }

    /// Entries of the host's map.
    pub(crate) const fn map_entries(&self) -> u32 {
        self.guest_pages + FAR_PAGES
    }

    /// Where the memory lies that is shared in place of guest pages above the RAM.
    pub(crate) const fn far(&self) -> u64 {
        self.pool + self.system_pages() as u64 * PAGE_SIZE
    }

    /// The address of system page zero.
    pub(crate) const fn pool(&self) -> u64 {
        self.pool
    }

    /// Gives all the guest's RAM to the guest, in large pages: it is private until the guest asks
    /// for something else, and not validated.
    pub(crate) fn assign_all(&self, space: &mut Space<'_>) {
        for page in 0..self.guest_pages {
            let guest = GuestPage(page);
            let system = SystemPage(page);
            space.map.set(guest, Some(Backing::Private(system)));
            if page.is_multiple_of(PAGES_IN_LARGE) {
                let assigned = space.rmp.assign(system, guest, Size::Large, false);
                debug_assert!(assigned.is_ok());
            }
        }
    }

    /// Whether a page of the guest's memory can be shared: the host has none in the hole below 1 MiB.
    pub(crate) fn can_be_shared(page: GuestPage) -> bool {
        !(LEGACY_HOLE.start()..LEGACY_HOLE.end()).contains(&page.address())
    }
}
