//! Acceptance of the VM's memory.

use guest_memory::{GpaRange, RamMap};
use host_wire::linux_start::Info;
use snp::instruction::{Outcome, PageSize};

use crate::end::Reason;
use crate::memory_map::launched;

/// The area where a PC has its option ROMs and firmware: Linux looks for them there.
const FIRMWARE_AREA: (u64, u64) = (0xc_0000, 0x10_0000);
const SMALL: u64 = 4 << 10;
const LARGE: u64 = 2 << 20;

/// Accepts all RAM that was not launched, each page once.
pub(crate) fn all(ram: &RamMap, info: &Info) -> Result<(), Reason> {
    let mut left = *ram;
    for range in launched(info) {
        left.remove(range).map_err(|_| Reason::MemoryMap)?;
    }
    let firmware = GpaRange::new(FIRMWARE_AREA.0, FIRMWARE_AREA.1).unwrap_or_default();
    left.ranges().iter().chain([&firmware]).try_for_each(accept)
}

fn accept(range: &GpaRange) -> Result<(), Reason> {
    let mut at = range.start();
    while at < range.end() {
        let large = at.is_multiple_of(LARGE) && range.end() - at >= LARGE;
        if large && validate(at, PageSize::SIZE_2M)? {
            at += LARGE;
            continue;
        }
        let end = if large { at + LARGE } else { at + SMALL };
        while at < end {
            if !validate(at, PageSize::SIZE_4K)? {
                return Err(Reason::Accept);
            }
            at += SMALL;
        }
    }
    Ok(())
}

/// Validates a page. False if the host has put pages of another size there.
///
/// A page that was validated already is another one than the guest thinks: the host's attack.
fn validate(at: u64, size: PageSize) -> Result<bool, Reason> {
    // SAFETY: the page is RAM that nothing uses yet.
    let done = unsafe { sev_guest::pvalidate(at, size, true) };
    match done.outcome {
        Outcome::SUCCESS if done.changed => Ok(true),
        Outcome::FAIL_SIZEMISMATCH => Ok(false),
        _ => Err(Reason::Accept),
    }
}
