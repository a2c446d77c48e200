//! The disk for the paravisor's own state: the host's virtio block device with our serial number.
//!
//! Its registers are mapped for us alone: they are no RAM, so the guest's tables never hold them.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::Region;
use kernel::paging::{Access, GUEST_BASE, PageTables};
use memory::{GpaRange, PAGE_SIZE};
use platform_api::StateDiskError;
use spin::Mutex;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use crate::discover::Discovered;
use crate::pci::{self, Registers};
use crate::virtio_block::{Block, Clock, Pages};
use crate::virtio_pci::PciTransport;
use crate::{apic, instructions};

/// The serial number of the disk that is ours.
const SERIAL: &[u8] = b"paravane-state";
/// Block devices whose serial numbers we ask for.
const MAX_CANDIDATES: usize = 4;
/// Pages of a queue: one that the device reads, one that it writes.
const QUEUE_PAGES: usize = 2;
/// New page tables for a candidate's registers at the most: one of each level below the root.
const TABLES_PER_CANDIDATE: u64 = 3;
/// Pages of our own that the disk costs: page tables, the queue's, and those for requests.
pub(crate) const PAGES: u64 = TABLES_PER_CANDIDATE * MAX_CANDIDATES as u64 + QUEUE_PAGES as u64 + 2;

/// The places where the disk may be.
pub(crate) type Candidates = [Option<Registers>; MAX_CANDIDATES];

/// The disk.
#[derive(Debug)]
pub(crate) struct StateDisk {
    sectors: u64,
    block: Mutex<Block<OwnPages, PciTransport>>,
}

/// Looks for block devices and maps their registers.
pub(crate) fn map_candidates(
    region: &mut Region,
    tables: &mut PageTables,
    found: &Discovered,
) -> Candidates {
    let mut candidates = pci::virtio_blocks(&pci::Ports);
    for candidate in &mut candidates {
        let Some(registers) = candidate else { continue };
        if may_map(registers.pages, found) {
            tables.map(region, registers.pages, 0, Access::Device);
        } else {
            log::warn!("a block device's registers at {} are not where they may", registers.pages);
            *candidate = None;
        }
    }
    candidates
}

/// Whether pages can be a device's: no memory, nobody else's, and within the CPU's reach.
fn may_map(pages: GpaRange, found: &Discovered) -> bool {
    /// What lies below is the PC's.
    const LOWEST: u64 = 1 << 20;
    let limit = 1_u64.checked_shl(found.physical_bits.into()).unwrap_or(0).min(GUEST_BASE);
    let apics = [apic::LOCAL_APIC_PAGE, apic::IO_APIC_PAGE]
        .map(|page| GpaRange::from_length(page, PAGE_SIZE).unwrap_or_default());
    let taken = found.ram.ranges().iter().chain(&apics).chain([&found.own]);
    pages.start() >= LOWEST
        && pages.end() <= limit
        && taken.into_iter().all(|range| !range.overlaps(&pages))
}

/// Asks the candidates for their serial numbers, and answers the disk that has ours. The others
/// are left reset.
///
/// # Safety
/// Called once; the candidates' registers must be mapped at their addresses for ever.
pub(crate) unsafe fn find(
    candidates: &Candidates,
    region: &mut Region,
    second: u64,
) -> Option<StateDisk> {
    let mut candidates = candidates.iter().flatten().peekable();
    candidates.peek()?;
    QUEUE_START.store(region.take(QUEUE_PAGES as u64), Ordering::Release);
    let [data, frame] = [region.take(1), region.take(1)].map(|page| NonNull::new(page as *mut u8));
    let pages = Pages { data: data?, frame: frame? };
    let clock = Clock { now: instructions::rdtsc, second };
    for registers in candidates {
        // SAFETY: the pages are fresh ones of the region, and each device is stopped before the
        // next is tried; the caller vouches for the registers.
        match unsafe { try_candidate(*registers, pages, clock) } {
            Ok(Some(disk)) => return Some(disk),
            Ok(None) => {}
            Err(error) => {
                log::warn!("the block device at PCI {:#04x}: {error:?}", registers.function.0);
                // It may still use the pages.
                return None;
            }
        }
    }
    None
}

/// Starts one device; it stays if it is ours.
///
/// # Safety
/// As for [`find`]; the pages must be nobody's.
unsafe fn try_candidate(
    registers: Registers,
    pages: Pages,
    clock: Clock,
) -> Result<Option<StateDisk>, StateDiskError> {
    pci::enable(&pci::Ports, registers.function);
    // SAFETY: the caller vouches for the registers.
    let transport = unsafe { PciTransport::new(registers) }.ok_or(StateDiskError::Misbehaved)?;
    // SAFETY: the caller vouches for the pages; memory of ours has the same address for devices.
    let mut block = unsafe { Block::<OwnPages, _>::start(transport, pages, clock) }?;
    let id = block.id()?;
    let end = id.iter().position(|byte| *byte == 0).unwrap_or(id.len());
    if id.get(..end) != Some(SERIAL) {
        return block.stop().map(|()| None);
    }
    if !block.is_durable() {
        log::error!("the state's disk is read-only or has no flush");
        return block.stop().map(|()| None);
    }
    Ok(Some(StateDisk { sectors: block.sectors(), block: Mutex::new(block) }))
}

impl StateDisk {
    pub(crate) const fn sectors(&self) -> u64 {
        self.sectors
    }

    pub(crate) fn read(&self, sector: u64, to: &mut [u8]) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.read(sector, to)
    }

    pub(crate) fn write(&self, sector: u64, from: &[u8]) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.write(sector, from)
    }

    pub(crate) fn flush(&self) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.flush()
    }
}

/// The queue's pages: the first of them.
static QUEUE_START: AtomicU64 = AtomicU64::new(0);
/// How many of them are taken.
static QUEUE_TAKEN: AtomicU64 = AtomicU64::new(0);

/// Memory of ours, which is mapped at its physical address and shared with devices as it is.
#[derive(Debug)]
pub(crate) struct OwnPages;

// SAFETY: pages come from `Region`, mapped at their physical addresses for ever; each is given out
// once, until it comes back from a queue whose device was reset.
unsafe impl Hal for OwnPages {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let start = QUEUE_START.load(Ordering::Acquire);
        let taken = QUEUE_TAKEN.load(Ordering::Acquire);
        let after = taken + pages as u64;
        let place = start + taken * PAGE_SIZE;
        match NonNull::new(place as *mut u8) {
            Some(pointer) if start != 0 && after <= QUEUE_PAGES as u64 => {
                QUEUE_TAKEN.store(after, Ordering::Release);
                // SAFETY: pages of ours that nobody uses.
                unsafe { pointer.write_bytes(0, pages * PAGE_SIZE as usize) };
                (place, pointer)
            }
            // The address zero says that there is none.
            _ => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, pages: usize) -> i32 {
        // A queue gives back all of its pages before the next takes any.
        QUEUE_TAKEN.fetch_sub(pages as u64, Ordering::AcqRel);
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

#[cfg(test)]
mod tests;
