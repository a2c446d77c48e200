//! Linear memory: private at each page's own address, shared 4 GiB above it.

use host_wire::linux_start::CPUID;

/// How far above a page's private place its shared one is.
pub const SHARED: u64 = 4 << 30;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;
const PAGE: u64 = 4096;
/// Free RAM for the cases: 2 MiB pages that were not launched and not validated.
pub const FREE: u64 = 0x400_0000;

unsafe extern "C" {
    /// The root of the page tables, of the entry code.
    static mut page_table_root: [u64; 512];
    static mut directories_root: [u64; 512];
    static mut directories: [[u64; 512]; 4];
}

/// A table of small pages.
#[repr(C, align(4096))]
struct Table([u64; 512]);
static mut SMALL: Table = Table([0; 512]);

/// The C-bit as a mask, of the CPUID page.
pub fn c_bit() -> u64 {
    let page = CPUID as *const u32;
    // SAFETY: the page was launched, and nothing writes it.
    let read = |at: usize| unsafe { page.add(at).read_volatile() };
    let count = read(0) as usize;
    let found = (0..count.min(64)).find(|entry| read(4 + entry * 12) == 0x8000_001f);
    found.map_or(0, |entry| 1 << (read(4 + entry * 12 + 7) & 0x3f))
}

/// Maps the first 4 GiB a second time, as shared memory.
///
/// # Safety
/// Once, before anything else.
pub(crate) unsafe fn map_shared() {
    for gigabyte in 0..4 {
        let entry = gigabyte << 30 | LARGE | PRESENT_WRITABLE;
        // SAFETY: the table is the entry code's, which is over.
        unsafe { (&raw mut directories_root[4 + gigabyte as usize]).write_volatile(entry) };
    }
    flush();
}

/// Maps the GiB of guest-physical memory at `gpa` twice: private memory at [`FAR`], and shared memory
/// at [`FAR_SHARED`].
///
/// # Safety
/// Once; nothing but the cases uses the memory.
pub unsafe fn map_far(gpa: u64) {
    for (linear, bit) in [(FAR, c_bit()), (FAR_SHARED, 0)] {
        let index = (linear >> 30) as usize;
        // SAFETY: the table is the entry code's, which maps nothing there.
        unsafe {
            (&raw mut directories_root[index]).write_volatile(gpa | bit | LARGE | PRESENT_WRITABLE);
        }
    }
    flush();
}

/// Where [`map_far`] maps private memory.
pub const FAR: u64 = 8 << 30;
/// Where it maps shared memory.
pub const FAR_SHARED: u64 = 9 << 30;

/// The root of the page tables.
pub fn root() -> u64 {
    (&raw const page_table_root) as u64
}

/// Maps the 2 MiB at `address` by small private pages, all of them present. Answers the place of
/// their entries.
///
/// # Safety
/// For one such range at a time; nothing but the cases uses it.
pub unsafe fn map_small(address: u64) -> *mut u64 {
    let table = &raw mut SMALL;
    let entries = table.cast::<u64>();
    for index in 0..512 {
        let entry = (address + index * PAGE) | c_bit() | PRESENT_WRITABLE;
        // SAFETY: within the table.
        unsafe { entries.add(index as usize).write_volatile(entry) };
    }
    let directory = (address >> 30) as usize;
    let index = (address >> 21) as usize % 512;
    // SAFETY: the directory is the entry code's; the caller vouches for the range.
    unsafe {
        (&raw mut directories[directory][index])
            .write_volatile(entries as u64 | c_bit() | PRESENT_WRITABLE);
    }
    flush();
    entries
}

/// Drops all translations.
pub fn flush() {
    // SAFETY: the same tables once more.
    unsafe {
        core::arch::asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}

/// Reads eight bytes at a linear address.
///
/// # Safety
/// The address is mapped, or the read is an [`attempt`](crate::attempt)'s.
pub unsafe fn read(address: u64) -> u64 {
    let value: u64;
    // SAFETY: the caller vouches. One instruction, so that a fault names it.
    unsafe { core::arch::asm!("mov {}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes eight bytes at a linear address.
///
/// # Safety
/// As for [`read`]; nothing but the cases uses the memory.
pub unsafe fn write(address: u64, value: u64) {
    // SAFETY: the caller vouches.
    unsafe { core::arch::asm!("mov [{}], {}", in(reg) address, in(reg) value, options(nostack)) };
}
