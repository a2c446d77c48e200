//! The home of an image in a stock QEMU's VM whose CPUs offer AMD-V.
//!
//! [`discover()`] asks what the VM has; [`Home::build`] makes page tables, stacks and CPUs' places on
//! CPU 0; [`Home::start_other_cpus`] brings the others up. The host's devices are [`PC`].
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod cpus;
mod direct;
mod discover;
mod host;
mod start_info;

use alloc::vec::Vec;
use core::fmt::Arguments;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_memory::{GpaRange, MappedMemory, PAGE_SIZE};
use kernel::Region;
use kernel::paging::{Access, GUEST_BASE, PageTables};
use log::Level;
use pc::{Candidates, Frequencies, Pc, Sample};
use svm::Features;

use cpus::CpuPages;

pub use cpus::VcpuPages;
pub use direct::Direct;
pub use discover::{Discovered, LEGACY_HOLE, Needs, StartError, discover};
pub use host::{PcHost, end, write_report};
pub use start_info::{arrived, note_firmware};

/// Conventional memory ends here.
pub const LOW_MEMORY_END: u64 = 0xa_0000;
/// Option ROMs start here.
pub const ROM_START: u64 = 0xc_0000;
/// Option ROMs and firmware, which we map as the host's RAM.
pub const FIRMWARE_AREA: GpaRange = GpaRange::new(ROM_START, 0x10_0000).unwrap();

/// The host's devices.
// SAFETY: nothing of an APIC is used before `build` has mapped the two pages.
pub static PC: Pc<Direct> = unsafe { Pc::new(Direct) };

/// The home.
#[derive(Debug)]
pub struct Home {
    host: PcHost,
    memory: MappedMemory,
    found: Discovered,
    image: GpaRange,
    first_sample: Sample,
    coarse: Frequencies,
    /// TSC ticks that the first measurement took.
    waited: u64,
    tables_root: u64,
    cpus: Vec<CpuPages>,
    stacks: Vec<u64>,
    service_stack: u64,
    settled: AtomicBool,
    has_service: AtomicBool,
}

/// A home that has just been built, with what an image adds to it.
#[derive(Debug)]
pub struct Built {
    /// The home.
    pub home: Home,
    /// The pages that are left for the image.
    pub region: Region,
    /// Our page tables, which are active.
    pub tables: PageTables,
}

impl Home {
    /// Builds the home on CPU 0, at the place that `found` gives. `loaded` is where the loader had
    /// put the image. `state_disk` says whether to look for the disk of our own state.
    ///
    /// # Safety
    /// Called once, on CPU 0, by the image at its final place, on the stack at the end of
    /// `found.own`, with the early page tables.
    pub unsafe fn build(found: Discovered, loaded: GpaRange, state_disk: bool) -> Built {
        let layout = kernel::relocate::layout();
        let stack_hole = found.own.end() - (found.stack_pages + 1) * PAGE_SIZE;
        let free = GpaRange::new(layout.end, stack_hole).unwrap_or_default();
        // SAFETY: the range is ours, and lies between the image and the stack we run on.
        let mut region = unsafe { zeroed_region(free) };
        let mut tables = map_everything(&mut region, &found);
        let disks = state_disk.then(|| map_disk_candidates(&mut region, &mut tables, &found));
        tables.make_hole(&mut region, stack_hole);
        // SAFETY: the tables map the image, this stack, and all of RAM at their addresses.
        unsafe { tables.activate() };
        kernel::interrupts::fill_table();
        kernel::interrupts::set_handler(on_interrupt);
        // SAFETY: pages taken from the region are mapped, and ours for ever.
        unsafe { give_heap(&mut region, found.heap) };
        let cpus = cpus::prepare(&mut region, &mut tables, &found);
        if let Some(first) = cpus.first() {
            // SAFETY: this is CPU 0, with the final tables active.
            unsafe { kernel::enter(&first.place) };
        }
        PC.start_devices();
        PC.enable_apic(found.vp_of_cpu(0));
        // The APIC timer keeps counting until `refine_clocks`, four seconds at the most.
        let before = instructions::rdtsc();
        let (first_sample, coarse) = PC.measure_clocks();
        let waited = instructions::rdtsc().wrapping_sub(before);
        let mut host = PcHost::new(found.features.is_software);
        host.set_frequencies(coarse);
        if let Some(disks) = disks {
            host.find_state_disk(&disks, &mut region, coarse.tsc);
        }
        cpus::note_first();
        // SAFETY: all of it is mapped at `GUEST_BASE` for ever, and the image keeps no reference
        // into it.
        let memory = unsafe { MappedMemory::new(found.ram, GUEST_BASE) };
        // SAFETY: as above: video memory and the firmware area.
        let memory = unsafe { memory.with_window(LEGACY_HOLE) };
        let service_stack =
            kernel::cpu::take_stack(&mut region, &mut tables, discover::SERVICE_STACK_PAGES);
        let stacks = cpus.iter().map(|cpu| cpu.place.stack_top).collect();
        let home = Self {
            host,
            memory,
            found,
            image: loaded,
            first_sample,
            coarse,
            waited,
            tables_root: tables.root(),
            cpus,
            stacks,
            service_stack,
            settled: AtomicBool::new(false),
            has_service: AtomicBool::new(false),
        };
        Built { home, region, tables }
    }

    /// The host.
    pub const fn host(&self) -> &PcHost {
        &self.host
    }

    /// The RAM that is not ours.
    pub const fn memory(&self) -> &MappedMemory {
        &self.memory
    }

    /// What the VM has.
    pub const fn found(&self) -> &Discovered {
        &self.found
    }

    /// TSC ticks that the start has waited to measure clocks.
    pub const fn waited(&self) -> u64 {
        self.waited
    }

    /// Once all CPUs run in the home: erases what firmware and loader have left, and measures the
    /// clocks once more. Only the first call does anything.
    pub fn settle(&self) {
        if !self.all_run() || self.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        log::info!("the image was loaded at {}", self.image);
        // SAFETY: all CPUs run our own code at its final place, and no guest does yet.
        unsafe { self.erase_leftovers() };
        self.host.set_frequencies(PC.refine_clocks(&self.first_sample, self.coarse));
        PC.set_timer(0);
    }

    /// Makes the service, which runs `body`. Only the first call does anything.
    pub fn start_service(&self, body: extern "C" fn() -> !) {
        if !self.has_service.swap(true, Ordering::AcqRel) {
            // SAFETY: the first and only call; the stack was taken for this.
            unsafe { kernel::service::start(self.service_stack, body) };
        }
    }

    /// Ends the VM.
    pub fn end(&self, status: u8) -> ! {
        end(status)
    }

    /// Has this CPU's APIC offer again the interrupts that wait. On QEMU's software CPU, an exit
    /// changes the CPU's interrupt flags without a lock, and can lose an interrupt that arrives at
    /// that moment: the APIC still has it.
    #[inline]
    pub fn offer_again(&self) {
        if self.found.features.is_software {
            PC.offer_again();
        }
    }

    /// Erases what the firmware and the loader left in memory that becomes the guest's.
    ///
    /// # Safety
    /// All CPUs must have left the trampoline, and the image must run at its final place.
    unsafe fn erase_leftovers(&self) {
        let low = GpaRange::new(0, LOW_MEMORY_END).unwrap_or_default();
        for range in [low, FIRMWARE_AREA, self.image] {
            // SAFETY: mapped and unused: guest RAM before the guest runs, or firmware's.
            unsafe { fill_zero(GUEST_BASE + range.start(), range.length()) };
        }
        let leftovers = start_info::firmware_leftovers();
        log::info!("firmware's leftovers lie around {leftovers}");
        for ram in self.found.ram.ranges() {
            let start = ram.start().max(leftovers.start());
            let part = GpaRange::new(start, ram.end().min(leftovers.end()));
            if let Some(part) = part {
                // SAFETY: guest RAM before the guest runs.
                unsafe { fill_zero(GUEST_BASE + part.start(), part.length()) };
            }
        }
    }
}

/// Where the stack of CPU 0 ends, for the move of the image.
pub fn first_stack_top(found: &Discovered) -> u64 {
    found.own.end()
}

/// Writes one line of the log for an observer at the host.
pub fn log_line(level: Level, line: Arguments<'_>) {
    PC.report_line(format_args!("log {level} {line}"));
}

/// Turns AMD-V on, on this CPU.
///
/// # Safety
/// `host_save` must be a page of ours, used for this only.
unsafe fn enable_svm(host_save: u64, features: Features) {
    // SAFETY: the caller gives the page; `discover` has found that the CPU has SVM.
    unsafe { svm::enable(host_save, features.xsave) };
}

fn on_interrupt(vector: u8) {
    if vector == kernel::interrupts::NMI {
        // An interrupt of our own follows, so that the VP loop looks for the NMI wherever it was.
        return PC.kick_self();
    }
    PC.interrupt(vector);
}

/// Zeroes `free` and makes it the region that pages come from.
///
/// # Safety
/// The range must be ours, mapped and unused.
unsafe fn zeroed_region(free: GpaRange) -> Region {
    // SAFETY: the caller vouches.
    unsafe { fill_zero(free.start(), free.length()) };
    // SAFETY: as above.
    unsafe { Region::new(free) }
}

/// Zeroes a range.
///
/// # Safety
/// It must be mapped, and no reference may point there.
unsafe fn fill_zero(start: u64, length: u64) {
    // SAFETY: the caller vouches.
    unsafe { core::ptr::write_bytes(start as *mut u8, 0, length as usize) };
}

/// Takes pages for `bytes` of heap.
///
/// # Safety
/// Once.
unsafe fn give_heap(region: &mut Region, bytes: u64) {
    let pages = bytes.div_ceil(PAGE_SIZE);
    let heap = region.take(pages);
    // SAFETY: fresh pages of the region.
    unsafe { kernel::give_to_heap(heap as *mut u8, (pages * PAGE_SIZE) as usize) };
}

/// Our page tables: the image by its sections, the rest of our range, the guest's RAM, and the
/// pages of our APICs.
fn map_everything(region: &mut Region, found: &Discovered) -> PageTables {
    let mut tables = PageTables::new(region, found.features.gigabyte_pages);
    let layout = kernel::relocate::layout();
    let parts = [
        (layout.start, layout.text_end, Access::Code),
        (layout.text_end, layout.rodata_end, Access::Constant),
        (layout.rodata_end, found.own.end(), Access::Data),
    ];
    for (start, end, access) in parts {
        tables.map_small(region, GpaRange::new(start, end).unwrap_or_default(), access);
    }
    for range in found.ram.ranges() {
        tables.map(region, *range, GUEST_BASE, Access::Data);
    }
    tables.map(region, FIRMWARE_AREA, GUEST_BASE, Access::Data);
    for page in [pc::LOCAL_APIC_PAGE, pc::IO_APIC_PAGE] {
        let range = GpaRange::from_length(page, PAGE_SIZE).unwrap_or_default();
        tables.map(region, range, 0, Access::Device);
    }
    tables
}

/// Looks for block devices that may hold our state, and maps their registers.
fn map_disk_candidates(
    region: &mut Region,
    tables: &mut PageTables,
    found: &Discovered,
) -> Candidates {
    let limit = 1_u64.checked_shl(found.physical_bits.into()).unwrap_or(0).min(GUEST_BASE);
    let mut candidates: Candidates = PC.virtio_blocks();
    for candidate in &mut candidates {
        let Some(registers) = candidate else { continue };
        if pc::may_map(registers.pages, &found.ram, found.own, limit) {
            tables.map(region, registers.pages, 0, Access::Device);
        } else {
            log::warn!("a block device's registers at {} are not where they may", registers.pages);
            *candidate = None;
        }
    }
    candidates
}
