//! The disk for the paravisor's own state: the host's virtio block device with our serial number.
//!
//! Its registers are mapped for us alone: they are no RAM, so the guest's tables never hold them.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_memory::{GpaRange, PAGE_SIZE, RamMap};
use platform_api::StateDiskError;
use spin::Mutex;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use crate::apic::{IO_APIC_PAGE, LOCAL_APIC_PAGE};
use crate::pci::{self, VirtioRegisters};
use crate::virtio_block::{Block, Clock, Counter, Pages};
use crate::virtio_pci::PciTransport;
use crate::{Access, Pc};

/// The serial number of the disk that is ours.
const SERIAL: &[u8] = b"paravane-state";
/// Block devices whose serial numbers we ask for.
pub const MAX_CANDIDATES: usize = 4;
/// Pages of a queue: one that the device reads, one that it writes.
const QUEUE_PAGES: usize = 2;
/// The places where the disk may be.
pub type Candidates = [Option<VirtioRegisters>; MAX_CANDIDATES];

/// Memory for the disk's driver: consecutive pages that devices reach at their own address.
#[derive(Clone, Copy, Debug)]
pub struct DevicePages {
    start: u64,
}

impl DevicePages {
    /// How many pages there are: the queue's, one for data, one for a request's frame.
    pub const COUNT: u64 = QUEUE_PAGES as u64 + 2;

    /// The pages from `start` on.
    ///
    /// # Safety
    /// They must be page aligned, zeroed, used by nothing else for ever, and have the same address
    /// for the CPU and for devices.
    pub const unsafe fn new(start: u64) -> Self {
        Self { start }
    }

    fn page(self, number: u64) -> Option<NonNull<u8>> {
        NonNull::new((self.start + number * PAGE_SIZE) as *mut u8)
    }
}

/// The time-stamp counter.
struct Tsc<A: 'static>(&'static A);

impl<A> Clone for Tsc<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Tsc<A> {}

impl<A: Access> Counter for Tsc<A> {
    fn now(self) -> u64 {
        self.0.tsc()
    }
}

/// The disk.
pub struct StateDisk<A: Access> {
    sectors: u64,
    block: Mutex<Block<QueuePages, PciTransport<A>, Tsc<A>>>,
}

/// Whether `pages` can be a device's: no memory, neither guest's nor `own`, no APIC's, and below
/// `limit`, as far as addresses reach.
pub fn may_map(pages: GpaRange, ram: &RamMap, own: GpaRange, limit: u64) -> bool {
    /// What lies below is the PC's.
    const LOWEST: u64 = 1 << 20;
    let apics = [LOCAL_APIC_PAGE, IO_APIC_PAGE]
        .map(|page| GpaRange::from_length(page, PAGE_SIZE).unwrap_or_default());
    let taken = ram.ranges().iter().chain(&apics).chain([&own]);
    pages.start() >= LOWEST
        && pages.end() <= limit
        && taken.into_iter().all(|range| !range.overlaps(&pages))
}

impl<A: Access> Pc<A> {
    /// Asks the candidates for their serial numbers, and answers the disk that has ours. The others
    /// are left reset. The TSC counts `second` ticks a second.
    ///
    /// # Safety
    /// Called once; the candidates' registers must be mapped at their addresses for ever.
    pub unsafe fn find_state_disk(
        &'static self,
        candidates: &Candidates,
        pages: DevicePages,
        second: u64,
    ) -> Option<StateDisk<A>> {
        QUEUE_START.store(pages.start, Ordering::Release);
        let buffers = Pages {
            data: pages.page(QUEUE_PAGES as u64)?,
            frame: pages.page(QUEUE_PAGES as u64 + 1)?,
        };
        for registers in candidates.iter().flatten() {
            // SAFETY: nothing else uses the pages, and each device is stopped before the next is
            // tried; the caller vouches for the registers.
            match unsafe { self.try_candidate(*registers, buffers, second) } {
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
    /// As for [`Pc::find_state_disk`]; the pages must be unused.
    unsafe fn try_candidate(
        &'static self,
        registers: VirtioRegisters,
        pages: Pages,
        second: u64,
    ) -> Result<Option<StateDisk<A>>, StateDiskError> {
        pci::enable(&self.configuration(), registers.function);
        // SAFETY: the caller vouches for the registers.
        let transport = unsafe { PciTransport::new(&self.access, registers) };
        let transport = transport.ok_or(StateDiskError::Misbehaved)?;
        let clock = Clock { counter: Tsc(&self.access), second };
        // SAFETY: the caller vouches for the pages, which have the same address for devices.
        let mut block = unsafe { Block::<QueuePages, _, _>::start(transport, pages, clock) }?;
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
}

impl<A: Access> StateDisk<A> {
    /// Sectors of 512 bytes.
    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Reads whole sectors.
    ///
    /// # Errors
    /// [`StateDiskError`]; the content of `to` is then of no meaning.
    pub fn read(&self, sector: u64, to: &mut [u8]) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.read(sector, to)
    }

    /// Writes whole sectors.
    ///
    /// # Errors
    /// [`StateDiskError`]; each of the sectors may then have been written.
    pub fn write(&self, sector: u64, from: &[u8]) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.write(sector, from)
    }

    /// Makes all writes so far durable.
    ///
    /// # Errors
    /// [`StateDiskError`]; any of it may then not be durable.
    pub fn flush(&self) -> Result<(), StateDiskError> {
        self.block.try_lock().ok_or(StateDiskError::Busy)?.flush()
    }
}

impl<A: Access> fmt::Debug for StateDisk<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateDisk").field("sectors", &self.sectors).finish_non_exhaustive()
    }
}

/// The queue's pages: the first of them.
static QUEUE_START: AtomicU64 = AtomicU64::new(0);
/// How many of them are taken.
static QUEUE_TAKEN: AtomicU64 = AtomicU64::new(0);

/// The pages of [`DevicePages`] that queues take.
#[derive(Debug)]
pub(crate) struct QueuePages;

// SAFETY: the caller of `DevicePages::new` vouches for the pages; each is given out once, until it
// comes back from a queue whose device was reset.
unsafe impl Hal for QueuePages {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let start = QUEUE_START.load(Ordering::Acquire);
        let taken = QUEUE_TAKEN.load(Ordering::Acquire);
        let after = taken + pages as u64;
        let place = start + taken * PAGE_SIZE;
        match NonNull::new(place as *mut u8) {
            Some(pointer) if start != 0 && after <= QUEUE_PAGES as u64 => {
                QUEUE_TAKEN.store(after, Ordering::Release);
                // SAFETY: pages that are ours and unused.
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
