//! Page tables in long mode: all memory is mapped to itself, and tests add mappings of their own.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu;

/// Present, writable, user.
pub const OPEN: u64 = 7;
/// A large page.
pub const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const SPARE: usize = 32;

unsafe extern "C" {
    static boot_pml4: [u64; 512];
    static boot_pdpt: [u64; 512];
    static boot_directories: [[u64; 512]; 4];
}

#[repr(C, align(4096))]
struct Tables(UnsafeCell<[[u64; 512]; SPARE]>);

// SAFETY: handed out one by one.
unsafe impl Sync for Tables {}

static TABLES: Tables = Tables(UnsafeCell::new([[0; 512]; SPARE]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// The address of a fresh, zeroed table.
pub fn new_table() -> u64 {
    let index = USED.fetch_add(1, Ordering::Relaxed);
    assert!(index < SPARE, "out of page tables");
    TABLES.0.get() as u64 + index as u64 * 4096
}

/// The root of the tables that all processors start with.
pub fn root() -> u64 {
    (&raw const boot_pml4) as u64
}

/// The four page directories that map the first 4 GiB by 2 MiB pages.
pub fn directories() -> u64 {
    (&raw const boot_directories) as u64
}

/// Maps 4 GiB to 512 GiB by 1 GiB pages, if there are such pages.
pub(crate) fn map_high_memory() {
    let has_gigabyte_pages = cpu::cpuid(0x8000_0001, 0)[3] & 1 << 26 != 0;
    if !has_gigabyte_pages {
        return;
    }
    let table = (&raw const boot_pdpt) as u64;
    for index in 4..512 {
        cpu::write64(table + index * 8, index << 30 | OPEN | LARGE);
    }
    cpu::set_cr3(root());
}

/// Maps the page of `size` (4 KiB, 2 MiB or 1 GiB) at `address` by `entry`, which holds target and
/// bits; tables on the way are made. Returns the entry's address.
pub fn map(root: u64, address: u64, size: u64, entry: u64) -> u64 {
    let mut table = root;
    let mut shift = 39;
    loop {
        let slot = table + ((address >> shift) & 511) * 8;
        if 1 << shift == size {
            cpu::write64(slot, entry);
            cpu::invlpg(address);
            return slot;
        }
        let old = cpu::read64(slot);
        if old & 1 == 0 || old & LARGE != 0 {
            cpu::write64(slot, new_table() | OPEN);
        }
        table = cpu::read64(slot) & ADDRESS;
        shift -= 9;
    }
}
