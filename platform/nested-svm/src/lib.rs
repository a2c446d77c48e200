//! The platform on which the guest is a nested AMD-V guest of a stock QEMU.
//!
//! [`NestedSvm::start`] builds the paravisor's home on CPU 0; the rest is that of any platform
//! ([`StartUp`]). What AMD-V, the host's PC and the home are stands in `hardware/`; this crate joins
//! them to the traits.
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod vp;

use alloc::boxed::Box;
use core::fmt::Arguments;

use device_model::HostTsc;
use guest_memory::{GpaRange, MappedMemory, PAGE_SIZE, RamMap};
use home::{Built, Discovered, FIRMWARE_AREA, Home, LOW_MEMORY_END, Needs, PC, PcHost, ROM_START};
use kernel::Region;
use kernel::paging::{Access, GUEST_BASE, PageTables};
use kernel::service::KernelService;
use log::Level;
use pc::{DevicePages, MAX_CANDIDATES};
use platform_api::{Arrival, Capabilities, NotConfidential, Platform, StartUp};
use svm::{NestedTables, Pages, Vcpu};

pub use vp::SvmVp;

/// Video memory: the guest gets RAM there, so that writing to a screen makes no exits.
const LOW_VIDEO: GpaRange = GpaRange::new(LOW_MEMORY_END, ROM_START).unwrap();
/// Page tables for the registers of a candidate for the state's disk: one of each level below the
/// root, at the most.
const TABLES_PER_CANDIDATE: u64 = 3;
const STATE_DISK_PAGES: u64 = TABLES_PER_CANDIDATE * MAX_CANDIDATES as u64 + DevicePages::COUNT;
/// Pages of nested page tables that every VM needs.
const NESTED_TABLES: u64 = 8;

/// What the paravisor needs on this platform.
pub const NEEDS: Needs = Needs {
    stack_pages: 4,
    heap: 640 << 10,
    heap_per_cpu: 4 << 10,
    pages: NESTED_TABLES
        + svm::PORT_MAP_PAGES
        + svm::MSR_MAP_PAGES
        + LOW_VIDEO.length() / PAGE_SIZE
        + STATE_DISK_PAGES,
    pages_per_cpu: 0,
    // A table of the nested ones, on a CPU without pages of 1 GiB.
    pages_per_gib: 1,
    left: 24 << 20,
};

/// The platform.
#[derive(Debug)]
pub struct NestedSvm {
    home: Home,
    nested_root: u64,
    port_map: u64,
    msr_map: u64,
}

impl NestedSvm {
    /// Builds the paravisor's home on CPU 0, at the place that `found` gives. `loaded` is where the
    /// loader had put the image.
    ///
    /// # Safety
    /// As for [`Home::build`].
    pub unsafe fn start(found: Discovered, loaded: GpaRange) -> &'static Self {
        // SAFETY: as this function's.
        let Built { home, mut region, mut tables } = unsafe { Home::build(found, loaded, true) };
        let region = &mut region;
        let nested_root = map_guest(region, &mut tables, &found);
        let (port_map, msr_map) =
            (region.take(svm::PORT_MAP_PAGES), region.take(svm::MSR_MAP_PAGES));
        // SAFETY: fresh pages of the region.
        unsafe { svm::fill_permission_maps(port_map, msr_map) };
        Box::leak(Box::new(Self { home, nested_root, port_map, msr_map }))
    }
}

impl Platform for NestedSvm {
    type Host = PcHost;
    type Vp = SvmVp;
    type Memory = MappedMemory;
    type Service = KernelService;
    type Confidential = NotConfidential;

    fn host(&self) -> &PcHost {
        self.home.host()
    }

    fn service(&self) -> &KernelService {
        &KernelService
    }

    fn confidential(&self) -> Option<&NotConfidential> {
        None
    }

    #[inline]
    fn capabilities(&self) -> Capabilities {
        // A V_IRQ that waits behind CR8 would be delivered without an exit, in which QEMU's
        // software CPU can lose other interrupts. That CPU also forgets an interrupt shadow at
        // VMRUN.
        let interrupt_shadow = !self.home.found().features.is_software;
        Capabilities {
            interrupt_window: true,
            tsc_offset: true,
            task_priority: false,
            interrupt_shadow,
        }
    }

    fn cpus(&self) -> u32 {
        self.home.found().vps()
    }

    fn memory(&self) -> &MappedMemory {
        self.home.memory()
    }

    fn ram(&self) -> &RamMap {
        &self.home.found().ram
    }

    fn own_range(&self) -> GpaRange {
        self.home.found().own
    }

    fn physical_bits(&self) -> u8 {
        self.home.found().physical_bits
    }

    fn arrival(&self) -> Arrival {
        Arrival { tsc: HostTsc(home::arrived()), waited: self.home.waited() }
    }
}

impl StartUp for NestedSvm {
    fn log_line(level: Level, line: Arguments<'_>) {
        home::log_line(level, line);
    }

    fn start_other_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32> {
        self.home.start_other_cpus(main)
    }

    fn settle(&self) {
        self.home.settle();
    }

    fn start_service(&self, body: extern "C" fn() -> !) {
        self.home.start_service(body);
    }

    fn vp_index(&self) -> Option<u32> {
        self.home.vp_index()
    }

    fn vp(&self) -> Option<SvmVp> {
        let cpu = self.home.take_vcpu_pages()?;
        let pages = Pages {
            vmcb: cpu.vmcb,
            host: cpu.host,
            port_map: self.port_map,
            msr_map: self.msr_map,
            nested_root: self.nested_root,
            asid: 1,
        };
        // SAFETY: the pages are those of this CPU's VP.
        Some(SvmVp(unsafe { Vcpu::new(pages, self.home.found().features) }))
    }

    fn rest(&self) -> ! {
        self.home.rest()
    }
}

/// The guest's nested page tables: its RAM, with plain RAM where a PC has video memory and
/// firmware. Answers their root.
fn map_guest(region: &mut Region, tables: &mut PageTables, found: &Discovered) -> u64 {
    let video = region.take(LOW_VIDEO.length() / PAGE_SIZE);
    let pages = GpaRange::from_length(video, LOW_VIDEO.length()).unwrap_or_default();
    // The paravisor finds the guest's video memory at the guest's address, too.
    tables.map(region, pages, GUEST_BASE + LOW_VIDEO.start() - video, Access::Data);
    let mut nested = NestedTables::new(region, &found.ram, found.features.gigabyte_pages);
    nested.map(region, LOW_VIDEO, video);
    if let Err(unknown) = PC.open_firmware_area() {
        log::warn!("{unknown}");
    }
    nested.map(region, FIRMWARE_AREA, FIRMWARE_AREA.start());
    nested.root()
}
