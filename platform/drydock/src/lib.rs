//! The platform that runs SEV-SNP guests on AMD-V, by emulation.
//!
//! [`Drydock::start`] builds the home and divides the RAM: guest memory that the host shares stays
//! at its address, private memory is a pool of system pages of its own, and QEMU's devices reach the
//! former only. [`CpuVp`] runs one VP on its CPU. What an SEV-SNP CPU is stands in `drydock/cpu`,
//! what its host does in `drydock/host`; this crate joins them to `hardware/svm`.
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod counts;
mod division;
mod firmware;
mod injection;
mod launch;
mod launch_error;
mod level;
mod pages;
mod parameters;
mod shootdown;
mod tables;
mod vp;

use alloc::boxed::Box;

use drydock_cpu::Space;
use drydock_rmp::{Entry, HostMap, Rmp};
use guest_memory::{GpaRange, PAGE_SIZE};
use home::{Built, Discovered, Home, Needs};
use kernel::Region;
use spin::Mutex;

use counts::Counts;
use firmware::Firmware;
use shootdown::Shootdown;
use tables::Tables;

pub use division::{Division, DivisionError};
pub use launch::{Launched, Parameters};
pub use launch_error::LaunchError;
pub use vp::CpuVp;

/// The place of the C-bit: the highest address bit that nested page tables of four levels translate,
/// where the first CPUs with SEV-SNP have it, too.
pub const C_BIT: u8 = 47;
/// Guest pages above the RAM that a file can have memory at, with what the start of a range at a
/// large page takes.
pub(crate) const FAR_PAGES: u32 = (32 + 16) << 8;
/// System pages beside those behind the guest's RAM: for save areas without an address there.
pub(crate) const EXTRA_PAGES: u32 = 64;

/// Pages for the owners' table and the host's map, for each GiB of RAM.
const OWNERS_PER_GIB: u64 = (1 << 18) * (8 + 4) / PAGE_SIZE;
/// Nested page tables for each GiB of RAM, half of which is the guest's: every page by itself,
/// private and shared, for each level.
const TABLES_PER_GIB: u64 = 4 * 2 * (256 + 2);
/// The same for pages above the RAM, and for the tables that lead to them.
const TABLES_FAR: u64 = 4 * 2 * (FAR_PAGES as u64 / 512 + 8 * 4);
/// The owners' table and the host's map for them, with what they share pages with.
const OWNERS_FAR: u64 = (FAR_PAGES + EXTRA_PAGES) as u64 * (8 + 4) / PAGE_SIZE + 4;

/// What Drydock needs.
pub const NEEDS: Needs = Needs {
    // The firmware signs reports on the CPU that asks for one.
    stack_pages: 16,
    heap: 1 << 20,
    heap_per_cpu: 32 << 10,
    pages: 4 * 8 + svm::PORT_MAP_PAGES + svm::MSR_MAP_PAGES + 16 + TABLES_FAR + OWNERS_FAR,
    // A control block for each level but the first.
    pages_per_cpu: 3,
    pages_per_gib: OWNERS_PER_GIB + TABLES_PER_GIB,
    left: 16 << 20,
};

/// The platform.
#[derive(Debug)]
pub struct Drydock {
    home: Home,
    division: Division,
    /// Who owns which page, and the page tables that follow from it. The lock is held while pages
    /// are taken from the guest.
    state: Mutex<State>,
    shootdown: Shootdown,
    counts: Counts,
    /// The firmware, once it has launched the VM.
    firmware: Mutex<Option<Firmware>>,
    /// Control blocks of the levels 1 to 3 of each VP.
    control_blocks: u64,
    port_map: u64,
    msr_map: u64,
}

/// The state of all memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) space: Space<'static>,
    pub(crate) tables: Tables,
}

impl Drydock {
    /// Builds the home on CPU 0, and divides the RAM so that the guest gets `guest_bytes`.
    ///
    /// # Errors
    /// [`DivisionError`].
    ///
    /// # Safety
    /// As for [`Home::build`].
    pub unsafe fn start(
        found: Discovered,
        loaded: GpaRange,
        guest_bytes: u64,
    ) -> Result<&'static Self, DivisionError> {
        // SAFETY: as this function's.
        let Built { home, mut region, .. } = unsafe { Home::build(found, loaded, false) };
        if found.physical_bits <= C_BIT {
            return Err(DivisionError::AddressBits(found.physical_bits));
        }
        let division = Division::new(&found.ram, guest_bytes)?;
        let region_ref = &mut region;
        let entries = take_slice(region_ref, division.system_pages());
        let map = take_slice(region_ref, division.map_entries());
        let (port_map, msr_map) =
            (region.take(svm::PORT_MAP_PAGES), region.take(svm::MSR_MAP_PAGES));
        // SAFETY: fresh pages of the region.
        unsafe { svm::fill_permission_maps(port_map, msr_map) };
        let control_blocks = region.take(3 * u64::from(found.vps()));
        let (counts, firmware) = (Counts::default(), Mutex::new(None));
        let shootdown = Shootdown::new(found.vps());
        let map = HostMap::with_far(map, division.guest_pages(), division.far());
        let mut space = Space { rmp: Rmp::new(entries), map, pool: division.pool() };
        division.assign_all(&mut space);
        let tables = Tables::new(region, division.pool(), found.features.gigabyte_pages);
        let state = Mutex::new(State { space, tables });
        let drydock = Self {
            home,
            division,
            state,
            shootdown,
            counts,
            firmware,
            control_blocks,
            port_map,
            msr_map,
        };
        Ok(Box::leak(Box::new(drydock)))
    }

    /// The home.
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Reports how often the guest exited, for an observer at the host.
    pub fn report_counts(&self) {
        self.counts.report(self.home.host());
    }

    /// How the RAM is divided.
    pub const fn division(&self) -> &Division {
        &self.division
    }
}

/// Values that any bytes are.
trait Plain: Copy {}
impl Plain for Entry {}
impl Plain for u32 {}

/// Takes pages for `count` values, all zero.
fn take_slice<T: Plain>(region: &mut Region, count: u32) -> &'static mut [T] {
    let pages = (u64::from(count) * size_of::<T>() as u64).div_ceil(PAGE_SIZE);
    let start = region.take(pages) as *mut T;
    // SAFETY: the pages are fresh, zeroed, aligned, and large enough; all zeroes are a value of a
    // `Plain` type. Nothing else refers to them, for ever.
    unsafe { core::slice::from_raw_parts_mut(start, count as usize) }
}
