//! What the launch and the host have given this VM.

use guest_memory::{GpaRange, MapError, PAGE_SIZE, RamMap};
use host_wire::linux_start as layout;
use host_wire::paravisor_image::{self as image, Measured, Reason};
use snp::cpuid_page::CpuidPage;
use snp::features::SevStatus;

/// The hole that PCs have below 1 MiB.
pub(crate) const LEGACY_HOLE: GpaRange = GpaRange::new(0xa_0000, 0x10_0000).unwrap();
/// Option ROMs and firmware of a PC: memory for the guest, though not in the memory map.
pub(crate) const FIRMWARE_AREA: GpaRange = GpaRange::new(0xc_0000, 0x10_0000).unwrap();
/// What the VM has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The place of the C-bit.
    pub(crate) c_bit: u8,
    /// Bits of an address of the guest's, which lies below the C-bit.
    pub(crate) physical_bits: u8,
    pub(crate) has_gigabyte_pages: bool,
    pub(crate) vps: u32,
    /// The guest's RAM: all but the hole and our own range.
    pub(crate) ram: RamMap,
    /// Our own range.
    pub(crate) own: GpaRange,
    /// The configuration, with the digests of the files.
    pub(crate) measured: Measured<'static>,
}

/// Reads a page of the launch's, or a part of one.
///
/// # Safety
/// The page must be one of the layout, mapped at its address.
unsafe fn read<const N: usize>(address: u64) -> [u8; N] {
    // SAFETY: the caller vouches; no reference stays.
    unsafe { (address as *const [u8; N]).read_volatile() }
}

/// The CPUID page, which the firmware has checked.
pub(crate) fn cpuid_page() -> &'static CpuidPage {
    // SAFETY: the page was launched at this address, which our tables and those of the entry code
    // map; nothing writes it.
    unsafe { &*(layout::CPUID as *const CpuidPage) }
}

/// The page that the image's builder has filled.
fn measured_page() -> &'static [u8; image::PAGE_SIZE] {
    // SAFETY: as for the CPUID page.
    unsafe { &*(layout::INFO as *const [u8; image::PAGE_SIZE]) }
}

/// A function of the CPUID page, all zero where it has none. The subfunction counts where the page
/// has several.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let functions = cpuid_page().used().unwrap_or_default();
    let of_leaf = || functions.iter().filter(|function| function.eax_in == leaf);
    let exact = of_leaf().find(|function| function.ecx_in == subleaf);
    let only = || of_leaf().next().filter(|_| of_leaf().count() == 1);
    exact.or_else(only).map_or([0; 4], |found| [found.eax, found.ebx, found.ecx, found.edx])
}

/// Asks the CPU, the firmware's pages and the loader's. `image_end` is where our image ends;
/// `own_size` tells how many bytes behind it are ours in a VM with so many VPs.
///
/// # Errors
/// [`Reason`].
pub(crate) fn find(image_end: u64, own_size: impl Fn(u32) -> u64) -> Result<Found, Reason> {
    let status: SevStatus = sev_guest::status();
    if !status.is_snp() || !status.features().restricted_injection() {
        return Err(Reason::NoSnp);
    }
    if cpuid_page().used().is_none() {
        return Err(Reason::Cpuid);
    }
    let [_, encryption, ..] = cpuid(0x8000_001f, 0);
    let c_bit = (encryption & 0x3f) as u8;
    let physical_bits = (cpuid(0x8000_0008, 0)[0] as u8).min(c_bit);
    if !(32..52).contains(&c_bit) || physical_bits < 32 {
        return Err(Reason::Cpuid);
    }
    // SAFETY: a page of the layout.
    let vps = u32::from_le_bytes(unsafe { read(layout::VP_COUNT) });
    if vps == 0 || vps as usize > pc::MAX_VPS {
        return Err(Reason::VpCount);
    }
    let measured = Measured::from_page(measured_page()).ok_or(Reason::Measured)?;
    let own = GpaRange::new(layout::INFO, image_end + own_size(vps)).unwrap_or_default();
    if own.end() > image::OWN_END {
        return Err(Reason::VpCount);
    }
    // SAFETY: a page of the layout.
    let map: [u8; PAGE_SIZE as usize] = unsafe { read(layout::MEMORY_MAP) };
    let ram = guest_ram(&map, own)?;
    Ok(Found {
        c_bit,
        physical_bits,
        has_gigabyte_pages: cpuid(0x8000_0001, 0)[3] & 1 << 26 != 0,
        vps,
        ram,
        own,
        measured,
    })
}

/// The guest's part of the memory map. Our own range must be RAM in it.
fn guest_ram(map: &[u8; PAGE_SIZE as usize], own: GpaRange) -> Result<RamMap, Reason> {
    let wrong = |_: MapError| Reason::MemoryMap;
    let mut ram = sev_guest::memory_map(map).ok_or(Reason::MemoryMap)?;
    if !ram.contains(own.start(), own.length()) {
        return Err(Reason::MemoryMap);
    }
    ram.remove(own).map_err(wrong)?;
    ram.remove(LEGACY_HOLE).map_err(wrong)?;
    Ok(ram)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    /// Bytes of an entry of the memory map.
    const ENTRY: usize = 24;

    /// A page with these ranges of RAM, and one that is reserved.
    fn map(ranges: &[(u64, u64)]) -> [u8; PAGE_SIZE as usize] {
        let mut page = [0; PAGE_SIZE as usize];
        let entries =
            ranges.iter().map(|range| (*range, 0_u64)).chain([((0xfe00_0000, 0x1000), 3)]);
        for (place, ((start, length), kind)) in
            page.as_chunks_mut::<ENTRY>().0.iter_mut().zip(entries)
        {
            place[..8].copy_from_slice(&(start / PAGE_SIZE).to_le_bytes());
            place[8..16].copy_from_slice(&(length / PAGE_SIZE).to_le_bytes());
            place[16..].copy_from_slice(&kind.to_le_bytes());
        }
        page
    }

    fn own() -> GpaRange {
        GpaRange::new(8 * MIB, 16 * MIB).unwrap()
    }

    #[test]
    fn the_guest_gets_what_is_not_ours() {
        let ram = guest_ram(&map(&[(0, 64 * MIB)]), own()).unwrap();
        let expected = [(0, 0xa_0000), (MIB, 8 * MIB), (16 * MIB, 64 * MIB)];
        let found = ram.ranges().iter().map(|range| (range.start(), range.end()));
        assert!(found.eq(expected), "{ram:?}");
    }

    #[test]
    fn a_memory_map_without_what_was_launched_is_refused() {
        for (what, ranges) in [
            ("no RAM", &[][..]),
            ("too little", &[(0, 12 * MIB)][..]),
            ("RAM twice", &[(0, 64 * MIB), (MIB, MIB)][..]),
            ("beyond the map", &[(0, 64 * MIB), (4096 * MIB, MIB)][..]),
            ("a range that wraps", &[(0, 64 * MIB), (!0xfff, 0x2000)][..]),
        ] {
            assert!(guest_ram(&map(ranges), own()).is_err(), "{what}");
        }
    }
}
