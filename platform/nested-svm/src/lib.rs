//! The platform on which the guest is a nested AMD-V guest of a stock QEMU.
//!
//! [`discover()`] asks what the VM has; [`NestedSvm::start`] builds the paravisor's home on CPU 0;
//! the rest is that of any platform ([`StartUp`]). What AMD-V and the host's PC are stands in
//! `hardware/`; this crate joins them to the traits.
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod direct;
mod discover;
mod host;
mod start_info;
mod vp;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Arguments;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use device_model::HostTsc;
use guest_memory::{GpaRange, MappedMemory, PAGE_SIZE, RamMap};
use kernel::cpu::Place;
use kernel::paging::{Access, GUEST_BASE, PageTables};
use kernel::service::KernelService;
use kernel::{Region, trampoline};
use log::Level;
use pc::{Candidates, DevicePages, Frequencies, Pc, Sample};
use platform_api::{Arrival, Capabilities, NotConfidential, Platform, StartUp};
use svm::{NestedTables, Pages, Vcpu};

use direct::Direct;

pub use discover::{Discovered, StartError, discover};
pub use host::{SvmHost, end, write_report};
pub use pc::MAX_VPS;
pub use start_info::note_firmware;
pub use vp::SvmVp;

/// Pages of CPU 0's stack, which the image is moved onto; a hole lies below.
const FIRST_STACK_PAGES: u64 = 4;
/// Conventional memory ends here.
const LOW_MEMORY_END: u64 = 0xa_0000;
/// Option ROMs start here.
const ROM_START: u64 = 0xc_0000;

/// The host's devices.
// SAFETY: nothing of an APIC is used before `build` has mapped the two pages.
static PC: Pc<Direct> = unsafe { Pc::new(Direct) };

/// What one CPU works with.
#[derive(Debug)]
struct CpuPages {
    place: Place,
    vmcb: u64,
    host: u64,
    host_save: u64,
    /// Its VP has been made.
    has_vp: AtomicBool,
}

/// The platform.
#[derive(Debug)]
pub struct NestedSvm {
    host: SvmHost,
    memory: MappedMemory,
    found: Discovered,
    image: GpaRange,
    first_sample: Sample,
    coarse: Frequencies,
    /// TSC ticks that the first measurement took.
    waited: u64,
    tables_root: u64,
    nested_root: u64,
    port_map: u64,
    msr_map: u64,
    cpus: Vec<CpuPages>,
    stacks: Vec<u64>,
    service_stack: u64,
    settled: AtomicBool,
    has_service: AtomicBool,
}

/// Null until it stands; then there for ever.
static PLATFORM: AtomicPtr<NestedSvm> = AtomicPtr::new(core::ptr::null_mut());
/// CPUs that run our code.
static RUNNING: AtomicU32 = AtomicU32::new(0);
/// The image's function for each further CPU.
static CPU_MAIN: AtomicUsize = AtomicUsize::new(0);

impl NestedSvm {
    /// Builds the paravisor's home on CPU 0, at the place that `found` gives. `loaded` is where the
    /// loader had put the image.
    ///
    /// # Safety
    /// Called once, on CPU 0, by the image at its final place, on the stack at the end of
    /// `found.own`, with the early page tables.
    pub unsafe fn start(found: Discovered, loaded: GpaRange) -> &'static Self {
        // SAFETY: as this function's.
        let platform = Box::leak(Box::new(unsafe { Self::build(found, loaded) }));
        PLATFORM.store(platform, Ordering::Release);
        platform
    }

    /// See [`NestedSvm::start`].
    ///
    /// # Safety
    /// As there.
    unsafe fn build(found: Discovered, loaded: GpaRange) -> Self {
        let layout = kernel::relocate::layout();
        let stack_hole = found.own.end() - (FIRST_STACK_PAGES + 1) * PAGE_SIZE;
        let free = GpaRange::new(layout.end, stack_hole).unwrap_or_default();
        // SAFETY: the range is ours, and lies between the image and the stack we run on.
        let mut region = unsafe { zeroed_region(free) };
        let region = &mut region;
        let mut tables = map_everything(region, &found);
        let disks = map_disk_candidates(region, &mut tables, &found);
        tables.make_hole(region, stack_hole);
        // SAFETY: the tables map the image, this stack, and all of RAM at their addresses.
        unsafe { tables.activate() };
        kernel::interrupts::fill_table();
        kernel::interrupts::set_handler(on_interrupt);
        let cpus: Vec<CpuPages> = {
            // SAFETY: pages taken from the region are mapped, and ours for ever.
            unsafe { give_heap(region, found.cpus) };
            (0..found.cpus).map(|index| take_cpu(region, &mut tables, index, &found)).collect()
        };
        if let Some(first) = cpus.first() {
            // SAFETY: this is CPU 0, with the final tables active.
            unsafe { kernel::enter(&first.place) };
        }
        PC.start_devices();
        PC.enable_apic(vp_of_cpu(&found, 0));
        // The APIC timer keeps counting until `refine_clocks`, four seconds at the most.
        let before = instructions::rdtsc();
        let (first_sample, coarse) = PC.measure_clocks();
        let waited = instructions::rdtsc().wrapping_sub(before);
        let mut host = SvmHost::new(found.features.is_software);
        host.set_frequencies(coarse);
        // SAFETY: fresh pages of the region, which are mapped at their physical addresses.
        let pages = unsafe { DevicePages::new(region.take(DevicePages::COUNT)) };
        // SAFETY: the candidates' registers are mapped in the tables that are active.
        host.set_state_disk(unsafe { PC.find_state_disk(&disks, pages, coarse.tsc) });
        let nested_root = map_guest(region, &mut tables, &found);
        RUNNING.store(1, Ordering::Release);
        // SAFETY: all of it is mapped at `GUEST_BASE` for ever, and the paravisor keeps no
        // reference into it.
        let memory = unsafe { MappedMemory::new(found.ram, GUEST_BASE) };
        // SAFETY: as above: video memory and the firmware area.
        let memory = unsafe { memory.with_window(discover::LEGACY_HOLE) };
        let service_stack =
            kernel::cpu::take_stack(region, &mut tables, discover::SERVICE_STACK_PAGES);
        let stacks = cpus.iter().map(|cpu| cpu.place.stack_top).collect();
        let (port_map, msr_map) =
            (region.take(svm::PORT_MAP_PAGES), region.take(svm::MSR_MAP_PAGES));
        // SAFETY: fresh pages of the region.
        unsafe { svm::fill_permission_maps(port_map, msr_map) };
        Self {
            host,
            memory,
            found,
            image: loaded,
            first_sample,
            coarse,
            waited,
            tables_root: tables.root(),
            nested_root,
            port_map,
            msr_map,
            cpus,
            stacks,
            service_stack,
            settled: AtomicBool::new(false),
            has_service: AtomicBool::new(false),
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

impl Platform for NestedSvm {
    type Host = SvmHost;
    type Vp = SvmVp;
    type Memory = MappedMemory;
    type Service = KernelService;
    type Confidential = NotConfidential;

    fn host(&self) -> &SvmHost {
        &self.host
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
        let interrupt_shadow = !self.found.features.is_software;
        Capabilities {
            interrupt_window: true,
            tsc_offset: true,
            task_priority: false,
            interrupt_shadow,
        }
    }

    fn cpus(&self) -> u32 {
        self.found.cpus - self.found.spare_cpus
    }

    fn memory(&self) -> &MappedMemory {
        &self.memory
    }

    fn ram(&self) -> &RamMap {
        &self.found.ram
    }

    fn own_range(&self) -> GpaRange {
        self.found.own
    }

    fn physical_bits(&self) -> u8 {
        self.found.physical_bits
    }

    fn arrival(&self) -> Arrival {
        Arrival { tsc: HostTsc(start_info::arrived()), waited: self.waited }
    }
}

impl StartUp for NestedSvm {
    fn log_line(level: Level, line: Arguments<'_>) {
        PC.report_line(format_args!("log {level} {line}"));
    }

    fn start_other_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32> {
        let is_first = CPU_MAIN
            .compare_exchange(0, main as usize, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // A second start would use the stacks, and low memory, once more.
        if self.found.cpus == 1 || !is_first {
            return Ok(());
        }
        let start = trampoline::Start {
            limit: self.found.cpus,
            page_tables: self.tables_root,
            stacks: self.stacks.as_ptr() as u64,
            entry: cpu_entry,
        };
        // SAFETY: low memory is free until `erase_leftovers`; the early tables are still there.
        unsafe { trampoline::install((GUEST_BASE + trampoline::PAGE) as *mut u8, &start) };
        let wait = |microseconds: u64| {
            let ticks = self.coarse.tsc / 1_000_000 * microseconds;
            let begin = instructions::rdtsc();
            while instructions::rdtsc().wrapping_sub(begin) < ticks {
                core::hint::spin_loop();
            }
        };
        PC.start_others(trampoline::PAGE, wait);
        for _ in 0..10_000 {
            if RUNNING.load(Ordering::Acquire) == self.found.cpus {
                break;
            }
            wait(1_000);
        }
        let running = RUNNING.load(Ordering::Acquire);
        if running == self.found.cpus { Ok(()) } else { Err(running) }
    }

    fn settle(&self) {
        let all_run = RUNNING.load(Ordering::Acquire) == self.found.cpus;
        if !all_run || self.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        log::info!("the image was loaded at {}", self.image);
        // SAFETY: all CPUs run our own code at its final place, and no guest does yet.
        unsafe { self.erase_leftovers() };
        self.host.set_frequencies(PC.refine_clocks(&self.first_sample, self.coarse));
        PC.set_timer(0);
    }

    fn start_service(&self, body: extern "C" fn() -> !) {
        if !self.has_service.swap(true, Ordering::AcqRel) {
            // SAFETY: the first and only call; the stack was taken for this.
            unsafe { kernel::service::start(self.service_stack, body) };
        }
    }

    fn vp_index(&self) -> Option<u32> {
        vp_of_cpu(&self.found, kernel::cpu::index())
    }

    fn vp(&self) -> Option<SvmVp> {
        let cpu = self.cpus.get(kernel::cpu::index() as usize)?;
        if self.vp_index().is_none() || cpu.has_vp.swap(true, Ordering::AcqRel) {
            return None;
        }
        if self.vp_index() == Some(0) {
            PC.route_devices();
        }
        // SAFETY: the page was taken for this, and the CPU has SVM.
        unsafe { svm::enable(cpu.host_save, self.found.features.xsave) };
        // SAFETY: as above.
        unsafe { svm::vmsave(cpu.host) };
        let pages = Pages {
            vmcb: cpu.vmcb,
            host: cpu.host,
            port_map: self.port_map,
            msr_map: self.msr_map,
            nested_root: self.nested_root,
        };
        // SAFETY: the pages were taken for this CPU's VP.
        Some(SvmVp(unsafe { Vcpu::new(pages, self.found.features) }))
    }

    fn rest(&self) -> ! {
        loop {
            instructions::sleep();
        }
    }
}

/// Video memory: the guest gets RAM there, so that writing to a screen makes no exits.
const LOW_VIDEO: GpaRange = GpaRange::new(LOW_MEMORY_END, ROM_START).unwrap();
/// Option ROMs and firmware: RAM that a guest finds empty, but for our tables.
const FIRMWARE_AREA: GpaRange = GpaRange::new(ROM_START, 0x10_0000).unwrap();

/// The VP that CPU `cpu` carries, if it carries one.
fn vp_of_cpu(found: &Discovered, cpu: u32) -> Option<u32> {
    cpu.checked_sub(found.spare_cpus)
}

/// Where the stack of CPU 0 ends, for the move of the image.
pub fn first_stack_top(found: &Discovered) -> u64 {
    found.own.end()
}

fn on_interrupt(vector: u8) {
    if vector == kernel::interrupts::NMI {
        // An interrupt of our own follows, so that the VP loop looks for the NMI wherever it was.
        return PC.kick_self();
    }
    PC.interrupt(vector);
}

/// The first Rust code of each further CPU.
extern "C" fn cpu_entry(index: u32) -> ! {
    let platform = loop {
        // SAFETY: null, or the platform, which is never changed after it was stored.
        if let Some(platform) = unsafe { PLATFORM.load(Ordering::Acquire).as_ref() } {
            break platform;
        }
    };
    if let Some(cpu) = platform.cpus.get(index as usize) {
        // SAFETY: tickets are unique, and the trampoline has switched to the final tables.
        unsafe { kernel::enter(&cpu.place) };
    }
    PC.enable_apic(vp_of_cpu(&platform.found, index));
    RUNNING.fetch_add(1, Ordering::AcqRel);
    // SAFETY: `start_other_cpus` stored a function of this type before it woke us.
    let main = unsafe {
        core::mem::transmute::<usize, extern "C" fn() -> !>(CPU_MAIN.load(Ordering::Acquire))
    };
    main()
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

/// Takes heap pages.
///
/// # Safety
/// Once.
unsafe fn give_heap(region: &mut Region, cpus: u32) {
    let pages = discover::heap_size(cpus).div_ceil(PAGE_SIZE);
    let heap = region.take(pages);
    // SAFETY: fresh pages of the region.
    unsafe { kernel::give_to_heap(heap as *mut u8, (pages * PAGE_SIZE) as usize) };
}

fn take_cpu(
    region: &mut Region,
    tables: &mut PageTables,
    index: u32,
    found: &Discovered,
) -> CpuPages {
    let stack = (index == 0).then(|| first_stack_top(found));
    CpuPages {
        place: kernel::cpu::prepare(region, tables, index, stack, false),
        vmcb: region.take(1),
        host: region.take(1),
        host_save: region.take(1),
        has_vp: AtomicBool::new(false),
    }
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
