//! The machine as the loader describes it, and its end.

use core::cell::UnsafeCell;

use crate::cpu;

const MAX_RANGES: usize = 32;
const MAX_COMMAND_LINE: usize = 256;
const PM_CONTROL: u16 = 0x604;
const SLEEP_ENABLE: u16 = 1 << 13;
/// Usable memory in the map.
pub const RAM: u32 = 1;
/// Reserved memory in the map.
pub const RESERVED: u32 = 2;

/// A range of the memory map.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
    /// e820 type.
    pub kind: u32,
}

struct Known {
    map: [Range; MAX_RANGES],
    ranges: usize,
    command_line: [u8; MAX_COMMAND_LINE],
    length: usize,
    rsdp: u64,
    info: u64,
}

struct Shared(UnsafeCell<Known>);

// SAFETY: written by `learn` alone, before anything else runs.
unsafe impl Sync for Shared {}

static KNOWN: Shared = Shared(UnsafeCell::new(Known {
    map: [Range { start: 0, end: 0, kind: 0 }; MAX_RANGES],
    ranges: 0,
    command_line: [0; MAX_COMMAND_LINE],
    length: 0,
    rsdp: 0,
    info: 0,
}));

fn known() -> &'static Known {
    // SAFETY: never written again after `learn`.
    unsafe { &*KNOWN.0.get() }
}

/// Copies the PVH start information.
///
/// # Safety
/// To be called once, first, with the address of the start information.
pub(crate) unsafe fn learn(info: u64) {
    // SAFETY: it has no other user yet.
    let known = unsafe { &mut *KNOWN.0.get() };
    known.info = info;
    let command_line = cpu::read64(info + 24);
    known.rsdp = cpu::read64(info + 32);
    let map = cpu::read64(info + 40);
    known.ranges = (cpu::read32(info + 48) as usize).min(MAX_RANGES);
    for (at, range) in (map..).step_by(24).zip(known.map.iter_mut().take(known.ranges)) {
        let (start, length) = (cpu::read64(at), cpu::read64(at + 8));
        *range = Range { start, end: start + length, kind: cpu::read32(at + 16) };
    }
    if command_line == 0 {
        return;
    }
    for (at, byte) in (command_line..).zip(&mut known.command_line) {
        // SAFETY: the loader put a text there, which ends with a zero.
        *byte = unsafe { (at as *const u8).read() };
        if *byte == 0 {
            break;
        }
        known.length += 1;
    }
}

/// The memory map.
pub fn map() -> &'static [Range] {
    let known = known();
    known.map.get(..known.ranges).unwrap_or_default()
}

/// Address of the ACPI root pointer.
pub fn rsdp() -> u64 {
    known().rsdp
}

/// Address of the loader's start information.
pub fn start_info() -> u64 {
    known().info
}

/// The value of `key=value` on the command line; empty for the key alone.
pub fn option(key: &str) -> Option<&'static str> {
    let known = known();
    let text = core::str::from_utf8(known.command_line.get(..known.length)?).ok()?;
    text.split_ascii_whitespace().find_map(|word| {
        let rest = word.strip_prefix(key)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('=') }
    })
}

/// Whether the guest runs in a confidential VM, which it can not find out by itself.
pub fn is_confidential() -> bool {
    option("platform") == Some("snp")
}

/// The paravisor's range: the largest reserved one in low RAM; none on a machine without it.
pub fn paravisor() -> Option<Range> {
    let is_own = |range: &&Range| {
        range.end <= 0xc000_0000 && range.start >= 1 << 20 && range.kind == RESERVED
    };
    map().iter().filter(is_own).max_by_key(|range| range.end - range.start).copied()
}

/// Ends the machine, as the ACPI tables of the paravisor and of QEMU say alike.
pub fn power_off() -> ! {
    cpu::out16(PM_CONTROL, SLEEP_ENABLE);
    cpu::stop()
}

/// The range of this guest's image.
pub fn image() -> Range {
    unsafe extern "C" {
        static __image_start: u8;
        static __image_end: u8;
    }
    Range {
        start: (&raw const __image_start) as u64,
        end: (&raw const __image_end) as u64,
        kind: RAM,
    }
}
