//! The permission maps: which ports and MSRs the guest uses without an exit.

use guest_memory::PAGE_SIZE;

use crate::intercepts;

/// Pages of the I/O permission map (AMD64 APM vol. 2, section 15.10.1).
pub const PORT_MAP_PAGES: u64 = 3;
/// Pages of the MSR permission map (AMD64 APM vol. 2, section 15.11).
pub const MSR_MAP_PAGES: u64 = 2;
const MSR_MAP_SIZE: usize = MSR_MAP_PAGES as usize * PAGE_SIZE as usize;

/// Fills both maps: no port passes, and of the MSRs only those of the table.
///
/// # Safety
/// The maps must be [`PORT_MAP_PAGES`] and [`MSR_MAP_PAGES`] consecutive pages of ours, mapped at
/// their physical addresses, that no reference covers and no CPU uses yet.
pub unsafe fn fill_permission_maps(port_map: u64, msr_map: u64) {
    // SAFETY: the caller gives the pages.
    unsafe {
        core::ptr::write_bytes(port_map as *mut u8, 0xff, (PORT_MAP_PAGES * PAGE_SIZE) as usize);
    };
    let map = msr_permissions();
    // SAFETY: as above.
    unsafe { core::ptr::copy_nonoverlapping(map.as_ptr(), msr_map as *mut u8, map.len()) };
}

/// The content of the MSR permission map: two bits an MSR, set to intercept.
fn msr_permissions() -> [u8; MSR_MAP_SIZE] {
    let mut map = [0xff; MSR_MAP_SIZE];
    for (msr, _) in intercepts::OPEN_MSRS {
        if let Some((byte, shift)) = place(*msr)
            && let Some(byte) = map.get_mut(byte)
        {
            *byte &= !(0b11 << shift);
        }
    }
    map
}

/// Where the two bits of `msr` are in the map: byte, and shift of the read bit.
const fn place(msr: u32) -> Option<(usize, u32)> {
    let (base, index) = match msr {
        0..=0x1fff => (0, msr),
        0xc000_0000..=0xc000_1fff => (0x800, msr - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (0x1000, msr - 0xc001_0000),
        _ => return None,
    };
    Some((base + index as usize / 4, index % 4 * 2))
}

#[cfg(test)]
mod tests {
    use x86::msr;

    use super::*;

    #[test]
    fn the_map_places_are_those_of_the_manual() {
        assert_eq!(place(0x174), Some((0x5d, 0)));
        assert_eq!(place(0xc000_0081), Some((0x820, 2)));
        assert_eq!(place(0xc001_0117), Some((0x1045, 6)));
        assert_eq!(place(0x4000_0000), None);
    }

    #[test]
    fn no_open_msr_belongs_to_svm_or_to_the_apic() {
        for (number, name) in intercepts::OPEN_MSRS {
            assert!(place(*number).is_some(), "{name} is outside the map");
            assert!(!(msr::VM_CR..=msr::VM_HSAVE_PA).contains(number), "{name}");
            assert!(!(msr::X2APIC..msr::X2APIC + 0x100).contains(number), "{name}");
            assert_ne!(*number, msr::EFER, "EFER holds SVME");
        }
    }

    #[test]
    fn everything_is_intercepted_but_the_open_ones() {
        let map = msr_permissions();
        let open: u32 = map.iter().map(|byte| byte.count_zeros()).sum();
        assert_eq!(open as usize, 2 * intercepts::OPEN_MSRS.len());
        let (byte, shift) = place(msr::LSTAR).unwrap();
        assert_eq!(map[byte] >> shift & 0b11, 0, "neither a read nor a write exits");
        let (byte, shift) = place(msr::EFER).unwrap();
        assert_eq!(map[byte] >> shift & 0b11, 0b11);
    }
}
