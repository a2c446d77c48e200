//! The start at VMPL0, from the registers that the launch measured to the machine.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU8};

use device_model::HostTsc;
use guest_memory::{GpaRange, MappedMemory, PAGE_SIZE};
use host_wire::paravisor_image::Reason;
use kernel::Region;
use kernel::paging::{Access, GUEST_BASE, PageTables};
use platform_api::Arrival;
use snp::instruction::PageSize;
use snp::msr_protocol::{Answer, Request};
use snp::page_state::Operation;
use spin::Mutex;
use x86::{efer, msr, vector};

use crate::accept::GiveToGuest;
use crate::acceptance::{Acceptance, SnpMemory};
use crate::calls;
use crate::cpus::{self, PAGES_PER_CPU};
use crate::found::{self, FIRMWARE_AREA, Found};
use crate::host::SnpHost;
use crate::{PC, Snp, accept, firmware, on_doorbell, probe};

/// Bytes of heap in any VM, and for each VP.
const HEAP: u64 = 640 << 10;
const HEAP_PER_CPU: u64 = 16 << 10;
/// Pages for our own page tables.
const TABLES: u64 = 64;
/// Pages for the state of the guest's memory: a byte for each 2 MiB of the 4 GiB that we map.
const CHUNK_PAGES: u64 = 1;
/// The page with the instructions of the probe.
const PROBE_PAGES: u64 = 1;
const SERVICE_STACK_PAGES: u64 = 16;

impl Snp {
    /// Starts on CPU 0. `stack_top` is where the running stack ends.
    ///
    /// # Errors
    /// [`Reason`].
    ///
    /// # Safety
    /// Called once, by the image at its place, with the tables of the entry code.
    pub unsafe fn start(stack_top: u64) -> Result<&'static Self, Reason> {
        let tsc = instructions::rdtsc();
        let layout = kernel::relocate::layout();
        let found = found::find(layout.end, |vps| PAGE_SIZE * pages(vps))?;
        check_host()?;
        // SAFETY: as this function's; what was launched ends with the image.
        let mut region = unsafe { take_own_memory(layout.end, found.own.end())? };
        let shared = region.take(shared_bytes(found.vps) / PAGE_SIZE);
        let mut tables = map_everything(&mut region, &found, shared);
        allow_no_execute();
        kernel::interrupts::set_hook(vector::HV, on_doorbell);
        kernel::interrupts::fill_table();
        // SAFETY: the tables map the image, this stack, and all of RAM at their addresses.
        unsafe { tables.activate() };
        let heap = heap_pages(found.vps);
        let bytes = (heap * PAGE_SIZE) as usize;
        // SAFETY: pages taken from the region are mapped, and ours for ever.
        unsafe { kernel::give_to_heap(region.take(heap) as *mut u8, bytes) };
        // SAFETY: fresh pages of the region, mapped as shared memory.
        unsafe { share_pages(shared, found.vps)? };
        calls::set_transfer_area(shared + calls::PAGES * PAGE_SIZE * u64::from(found.vps));
        let cpus = cpus::prepare(&mut region, &mut tables, found.vps, shared, stack_top);
        if let Some(first) = cpus.first() {
            // SAFETY: this is CPU 0, with the final tables active.
            unsafe { first.enter()? };
        }
        let secure_tsc = firmware::check_launch()?;
        let acceptance = all_untouched(&mut region, &found);
        let probe_page = fill_probe(&mut region);
        PC.start_devices();
        PC.enable_apic(Some(0));
        let before = instructions::rdtsc();
        let (first_sample, coarse) = PC.measure_clocks();
        let waited = instructions::rdtsc().wrapping_sub(before);
        let host = SnpHost::new(found.measured, acceptance, secure_tsc);
        host.set_frequencies(coarse);
        // SAFETY: all of it is mapped at `GUEST_BASE` for ever, and accepted before it is used; we
        // keep no reference into it.
        let memory = unsafe { MappedMemory::new(found.ram, GUEST_BASE) };
        // SAFETY: as above.
        let memory = unsafe { memory.with_window(FIRMWARE_AREA) };
        let service_stack = kernel::cpu::take_stack(&mut region, &mut tables, SERVICE_STACK_PAGES);
        Ok(Box::leak(Box::new(Self {
            host,
            memory: SnpMemory::new(memory, acceptance),
            acceptance,
            found,
            arrival: Arrival { tsc: HostTsc(tsc), waited },
            first_sample,
            coarse,
            cpus,
            tables_root: tables.root(),
            secure_tsc,
            probe_page: Mutex::new(probe_page),
            service_stack,
            has_service: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        })))
    }
}

/// Asks the host whether it can keep its part: several levels, AP creation, restricted injection.
fn check_host() -> Result<(), Reason> {
    // SAFETY: the request changes no memory.
    match unsafe { sev_guest::request(Request::HypervisorFeatures) } {
        Ok(Answer::HypervisorFeatures(has))
            if has.multi_vmpl() && has.ap_creation() && has.restricted_injection() =>
        {
            Ok(())
        }
        _ => Err(Reason::Levels),
    }
}

/// Has the CPU know the no-execute bit, which our tables use.
fn allow_no_execute() {
    // SAFETY: every CPU with SEV-SNP has the bit, and the tables of the entry code do not use it.
    unsafe { instructions::wrmsr(msr::EFER, instructions::rdmsr(msr::EFER) | efer::NXE) };
}

/// Pages of ours behind the image in a VM with so many VPs.
fn pages(vps: u32) -> u64 {
    let cpus = u64::from(vps);
    let of_all = TABLES + CHUNK_PAGES + SERVICE_STACK_PAGES + 1 + calls::AREA_PAGES + PROBE_PAGES;
    of_all + heap_pages(vps) + PAGES_PER_CPU * cpus
}

fn heap_pages(vps: u32) -> u64 {
    (HEAP + HEAP_PER_CPU * u64::from(vps)) / PAGE_SIZE
}

/// Bytes that are shared with the host: the pages of each CPU, then the area for large transfers.
fn shared_bytes(vps: u32) -> u64 {
    (calls::PAGES * u64::from(vps) + calls::AREA_PAGES) * PAGE_SIZE
}

/// Accepts and zeroes the part of our own range that was not launched.
///
/// # Safety
/// The pages from `start` to `end` must be unused, and mapped at their addresses.
unsafe fn take_own_memory(start: u64, end: u64) -> Result<Region, Reason> {
    let free = GpaRange::new(start, end).ok_or(Reason::MemoryMap)?;
    // SAFETY: the caller vouches.
    unsafe { accept::accept(free, 0)? };
    // SAFETY: as above. What an accepted page holds is not defined.
    unsafe { core::ptr::write_bytes(free.start() as *mut u8, 0, free.length() as usize) };
    // SAFETY: as above.
    Ok(unsafe { Region::new(free) })
}

/// Our page tables: the image by its sections, the rest of our range, the guest's RAM, and the pages
/// that are shared with the host.
fn map_everything(region: &mut Region, found: &Found<'_>, shared: u64) -> PageTables {
    let private = 1 << found.c_bit;
    let mut tables = PageTables::with_private_bit(region, found.has_gigabyte_pages, private);
    let layout = kernel::relocate::layout();
    let parts = [
        (found.own.start(), layout.start, Access::Constant),
        (layout.start, layout.text_end, Access::Code),
        (layout.text_end, layout.rodata_end, Access::Constant),
        (layout.rodata_end, found.own.end(), Access::Data),
        (shared, shared + shared_bytes(found.vps), Access::Shared),
    ];
    for (start, end, access) in parts {
        tables.map_small(region, GpaRange::new(start, end).unwrap_or_default(), access);
    }
    for range in found.ram.ranges().iter().chain([&FIRMWARE_AREA]) {
        tables.map(region, *range, GUEST_BASE, Access::Data);
    }
    tables
}

/// Shares the pages of all CPUs with the host.
///
/// # Safety
/// The pages must be ours, accepted, mapped as shared memory, and unused.
unsafe fn share_pages(start: u64, vps: u32) -> Result<(), Reason> {
    for page in (start..start + shared_bytes(vps)).step_by(PAGE_SIZE as usize) {
        let (gfn, operation) = (page / PAGE_SIZE, Operation::SHARED);
        // SAFETY: the caller vouches.
        let answer = unsafe {
            let _ = sev_guest::pvalidate(page, PageSize::SIZE_4K, false);
            sev_guest::request(Request::PageState { gfn, operation })
        };
        if answer != Ok(Answer::PageState { error: 0 }) {
            return Err(Reason::Share);
        }
        // SAFETY: as above. The host had the page.
        unsafe { core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize) };
    }
    Ok(())
}

/// The page with the instructions of the probe.
fn fill_probe(region: &mut Region) -> u64 {
    let page = region.take(PROBE_PAGES);
    let length = (PROBE_PAGES * PAGE_SIZE) as usize;
    // SAFETY: a fresh page of the region, mapped at its address; the reference ends here.
    probe::fill(unsafe { core::slice::from_raw_parts_mut(page as *mut u8, length) });
    page
}

/// The state of the guest's memory, none of which has been accepted.
fn all_untouched(region: &mut Region, found: &Found<'_>) -> &'static Acceptance<GiveToGuest> {
    let chunks = Acceptance::<GiveToGuest>::chunks(&found.ram);
    let page = region.take(chunks.div_ceil(PAGE_SIZE));
    // SAFETY: fresh, zeroed pages of the region, mapped at their addresses for ever; zero is a
    // value of the type.
    let states: &[AtomicU8] =
        unsafe { core::slice::from_raw_parts(page as *const AtomicU8, chunks as usize) };
    // SAFETY: it is asked for the RAM and the firmware area alone, which `map_everything` mapped.
    let by = unsafe { GiveToGuest::new() };
    Box::leak(Box::new(Acceptance::new(found.ram, FIRMWARE_AREA, states, by)))
}
