//! The pages of the launch: those that the firmware checks, those that were measured, and those that
//! the host fills as it likes.
//!
//! The host fills the memory map and the number of VPs. They are copies here, and must agree with the
//! pages that were measured before anything is mapped.

use guest_memory::{GpaRange, MapError, PAGE_SIZE, RamMap};
use host_wire::linux_start::INFO;
use host_wire::paravisor_image::{self as image, Measured, Reason};
use snp::cpuid_page::CpuidPage;

use crate::memory_map::memory_map;

/// The hole that PCs have below 1 MiB.
pub const LEGACY_HOLE: GpaRange = GpaRange::new(0xa_0000, 0x10_0000).unwrap();
/// Option ROMs and firmware of a PC: memory for the guest, though not in the memory map.
pub const FIRMWARE_AREA: GpaRange = GpaRange::new(0xc_0000, 0x10_0000).unwrap();

/// Copies of the pages.
#[derive(Clone, Copy, Debug)]
pub struct LaunchPages<'a, 'm> {
    /// The CPUID page, which the firmware has checked.
    pub cpuid: &'a CpuidPage,
    /// The host's number of VPs.
    pub vps: u32,
    /// The host's memory map.
    pub memory_map: &'a [u8; PAGE_SIZE as usize],
    /// The page that the image's builder has filled, and that was measured.
    pub measured: &'m [u8; image::PAGE_SIZE],
}

/// What the VM has.
#[derive(Clone, Copy, Debug)]
pub struct Found<'m> {
    /// The place of the C-bit.
    pub c_bit: u8,
    /// Bits of an address of the guest's, which lies below the C-bit.
    pub physical_bits: u8,
    /// The CPU has pages of 1 GiB.
    pub has_gigabyte_pages: bool,
    /// VPs.
    pub vps: u32,
    /// The guest's RAM: all but the hole and our own range.
    pub ram: RamMap,
    /// Our own range.
    pub own: GpaRange,
    /// The configuration, with the digests of the files.
    pub measured: Measured<'m>,
}

/// Holds the pages against each other. A VM may have `most_vps` VPs; `own_end` tells where our own
/// range ends in one with so many.
///
/// # Errors
/// [`Reason`].
pub fn find<'m>(
    pages: &LaunchPages<'_, 'm>,
    most_vps: usize,
    own_end: impl Fn(u32) -> u64,
) -> Result<Found<'m>, Reason> {
    let LaunchPages { cpuid: page, vps, memory_map, measured } = *pages;
    if page.used().is_none() {
        return Err(Reason::Cpuid);
    }
    let [_, encryption, ..] = cpuid(page, 0x8000_001f, 0);
    let c_bit = (encryption & 0x3f) as u8;
    let [sizes, ..] = cpuid(page, 0x8000_0008, 0);
    let physical_bits = (sizes as u8).min(c_bit);
    if !(32..52).contains(&c_bit) || physical_bits < 32 {
        return Err(Reason::Cpuid);
    }
    if vps == 0 || vps as usize > most_vps {
        return Err(Reason::VpCount);
    }
    let own = GpaRange::new(INFO, own_end(vps)).filter(|own| own.end() <= image::OWN_END);
    let own = own.ok_or(Reason::VpCount)?;
    let [.., features] = cpuid(page, 0x8000_0001, 0);
    Ok(Found {
        c_bit,
        physical_bits,
        has_gigabyte_pages: features & 1 << 26 != 0,
        vps,
        ram: guest_ram(memory_map, own)?,
        own,
        measured: Measured::from_page(measured).ok_or(Reason::Measured)?,
    })
}

/// A function of the CPUID page, all zero where it has none. The subfunction counts where the page
/// has several.
pub fn cpuid(page: &CpuidPage, leaf: u32, subleaf: u32) -> [u32; 4] {
    let functions = page.used().unwrap_or_default();
    let of_leaf = || functions.iter().filter(|function| function.eax_in == leaf);
    let exact = of_leaf().find(|function| function.ecx_in == subleaf);
    let only = || of_leaf().next().filter(|_| of_leaf().count() == 1);
    exact.or_else(only).map_or([0; 4], |found| [found.eax, found.ebx, found.ecx, found.edx])
}

/// The guest's part of the memory map. Our own range must be RAM in it.
fn guest_ram(map: &[u8; PAGE_SIZE as usize], own: GpaRange) -> Result<RamMap, Reason> {
    let wrong = |_: MapError| Reason::MemoryMap;
    let mut ram = memory_map(map).ok_or(Reason::MemoryMap)?;
    if !ram.contains(own.start(), own.length()) {
        return Err(Reason::MemoryMap);
    }
    ram.remove(own).map_err(wrong)?;
    ram.remove(LEGACY_HOLE).map_err(wrong)?;
    Ok(ram)
}

#[cfg(test)]
mod tests;
