//! The host's PCI devices on bus 0, as far as we look for one of them.
//!
//! Configuration space is reached through CF8h and CFCh (PCI Local Bus 3.0, section 3.2.2.3.2).
//! What it answers is the host's word: lists are followed a bounded number of steps, places are
//! checked before they are used, and each is read once.

use guest_memory::{GpaRange, PAGE_SIZE};
use platform_api::Width;

use crate::{Access, Pc};

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// Vendor 1AF4h, device 1042h: a block device of virtio 1 (virtio 1.2, sections 4.1.2 and 5.2.1).
const VIRTIO_BLOCK: u32 = 0x1042_1af4;
/// What no device answers.
const NOBODY: u32 = u32::MAX;
/// The most capabilities that fit into configuration space.
const MAX_CAPABILITIES: usize = 48;
/// `PCI_CAP_ID_VNDR`.
const VENDOR_CAPABILITY: u8 = 0x09;
/// Size and alignment of what one page table maps.
const TABLE_SPAN: u64 = 2 << 20;

/// Offsets in configuration space (PCI Local Bus 3.0, section 6.1).
mod register {
    pub(super) const IDENTITY: u8 = 0x00;
    pub(super) const COMMAND: u8 = 0x04;
    pub(super) const HEADER_TYPE: u8 = 0x0c;
    pub(super) const BASE_ADDRESSES: u8 = 0x10;
    pub(super) const CAPABILITIES: u8 = 0x34;
}

/// Status: there is a list of capabilities.
const HAS_CAPABILITIES: u32 = 1 << 20;
/// Header type: more than one function.
const MULTI_FUNCTION: u32 = 1 << 23;
/// Command: memory space, bus master, no INTx.
const COMMAND_WANTED: u32 = 1 << 1 | 1 << 2 | 1 << 10;

/// A function of a device on bus 0: device number times eight, plus its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function(pub(crate) u8);

/// Access to configuration space.
pub(crate) trait Configuration {
    /// Reads the double word at `register`, a multiple of four.
    fn read(&self, function: Function, register: u8) -> u32;
    /// Writes it.
    fn write(&self, function: Function, register: u8, value: u32);
}

/// Configuration space behind the two ports. One CPU uses them, at the start.
#[derive(Debug)]
pub(crate) struct Ports<'a, A>(&'a A);

impl<A: Access> Ports<'_, A> {
    fn select(&self, function: Function, register: u8) {
        let address = 1 << 31 | u32::from(function.0) << 8 | u32::from(register & !3);
        self.0.port_write(CONFIG_ADDRESS, Width::Dword, address);
    }

    /// Writes one byte.
    pub(crate) fn write_byte(&self, function: Function, register: u8, value: u8) {
        self.select(function, register);
        let port = CONFIG_DATA + u16::from(register & 3);
        self.0.port_write(port, Width::Byte, value.into());
    }
}

impl<A: Access> Configuration for Ports<'_, A> {
    fn read(&self, function: Function, register: u8) -> u32 {
        self.select(function, register);
        self.0.port_read(CONFIG_DATA, Width::Dword)
    }

    fn write(&self, function: Function, register: u8, value: u32) {
        self.select(function, register);
        self.0.port_write(CONFIG_DATA, Width::Dword, value);
    }
}

impl<A: Access> Pc<A> {
    /// The configuration space of bus 0.
    pub(crate) const fn configuration(&self) -> Ports<'_, A> {
        Ports(&self.access)
    }

    /// Block devices of virtio 1 on bus 0, at most `N` of them; those whose registers are not where
    /// they can be used are left out.
    pub fn virtio_blocks<const N: usize>(&self) -> [Option<VirtioRegisters>; N] {
        virtio_blocks(&self.configuration())
    }
}

/// Where the registers of a virtio device are (virtio 1.2, section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioRegisters {
    /// The function.
    pub(crate) function: Function,
    /// Pages that comprise all below; one page table maps them.
    pub pages: GpaRange,
    /// The common configuration.
    pub(crate) common: u64,
    /// Where queues are notified.
    pub(crate) notify: GpaRange,
    /// `notify_off_multiplier`.
    pub(crate) multiplier: u32,
    /// The device's own configuration.
    pub(crate) device: GpaRange,
}

/// Block devices of virtio 1 on bus 0, at most `N` of them; those whose registers are not where
/// they can be used are left out.
pub(crate) fn virtio_blocks<const N: usize>(
    configuration: &impl Configuration,
) -> [Option<VirtioRegisters>; N] {
    let mut found = functions(configuration)
        .filter(|function| configuration.read(*function, register::IDENTITY) == VIRTIO_BLOCK)
        .filter_map(|function| {
            let registers = registers(configuration, function);
            if registers.is_none() {
                log::warn!("the block device at PCI {:#04x} can not be used", function.0);
            }
            registers
        });
    core::array::from_fn(|_| found.next())
}

/// Lets a device reach memory and answer there, without an interrupt line.
pub(crate) fn enable(configuration: &impl Configuration, function: Function) {
    // The upper half is the status, whose bits are cleared by ones.
    let command = configuration.read(function, register::COMMAND) & 0xffff;
    configuration.write(function, register::COMMAND, command | COMMAND_WANTED);
}

/// Every function on bus 0.
pub(crate) fn functions(configuration: &impl Configuration) -> impl Iterator<Item = Function> {
    (0..32_u8).flat_map(move |device| {
        let first = Function(device << 3);
        let count = if configuration.read(first, register::IDENTITY) == NOBODY {
            0
        } else if configuration.read(first, register::HEADER_TYPE) & MULTI_FUNCTION != 0 {
            8
        } else {
            1
        };
        (0..count).map(move |number| Function(first.0 | number))
    })
}

/// A structure of `struct virtio_pci_cap`.
#[derive(Clone, Copy, Debug)]
struct Structure {
    bar: u8,
    place: GpaRange,
    multiplier: u32,
}

fn registers(configuration: &impl Configuration, function: Function) -> Option<VirtioRegisters> {
    // `cfg_type` 1, 2 and 4; the first of each counts.
    let [mut common, mut notify, mut device] = [None; 3];
    for (kind, at) in capabilities(configuration, function) {
        let place = match kind {
            1 => &mut common,
            2 => &mut notify,
            4 => &mut device,
            _ => continue,
        };
        if place.is_none() {
            *place = Some(structure(configuration, function, at)?);
        }
    }
    let [common, notify, device]: [Structure; 3] = [common?, notify?, device?];
    let all = [common.place, notify.place, device.place];
    let start = all.iter().map(GpaRange::start).min()? & !(PAGE_SIZE - 1);
    let end = all.iter().map(GpaRange::end).max()?.checked_next_multiple_of(PAGE_SIZE)?;
    let fits = common.place.length() >= 0x38
        && notify.place.length() >= 2
        && device.place.length() >= 8
        && all.iter().all(|place| place.start().is_multiple_of(4))
        && notify.multiplier.is_multiple_of(2)
        && [notify.bar, device.bar] == [common.bar; 2]
        && start / TABLE_SPAN == (end - 1) / TABLE_SPAN;
    fits.then_some(VirtioRegisters {
        function,
        pages: GpaRange::new(start, end)?,
        common: common.place.start(),
        notify: notify.place,
        multiplier: notify.multiplier,
        device: device.place,
    })
}

/// Kinds and places of virtio's capabilities.
fn capabilities(
    configuration: &impl Configuration,
    function: Function,
) -> impl Iterator<Item = (u8, u8)> {
    let has = configuration.read(function, register::COMMAND) & HAS_CAPABILITIES != 0;
    let mut next =
        if has { configuration.read(function, register::CAPABILITIES) as u8 & !3 } else { 0 };
    let all = core::iter::from_fn(move || {
        let at = next;
        if at < 0x40 {
            return None;
        }
        let [id, after, length, kind] = configuration.read(function, at).to_le_bytes();
        next = after & !3;
        Some((id, length, kind, at))
    });
    // A list may lead back into itself.
    all.take(MAX_CAPABILITIES).filter_map(|(id, length, kind, at)| {
        let wanted = if kind == 2 { 20 } else { 16 };
        let whole = length >= wanted && u16::from(at) + u16::from(wanted) <= 0x100;
        (id == VENDOR_CAPABILITY && whole).then_some((kind, at))
    })
}

fn structure(configuration: &impl Configuration, function: Function, at: u8) -> Option<Structure> {
    let word = |index: u8| configuration.read(function, at.saturating_add(4 * index));
    let [bar, ..] = word(1).to_le_bytes();
    let (offset, length) = (word(2), word(3));
    // Behind the last capability's end this would be another's; only the notify structure has it.
    let multiplier = if at <= 0xec { word(4) } else { 0 };
    let start = base_address(configuration, function, bar)?.checked_add(offset.into())?;
    Some(Structure { bar, place: GpaRange::from_length(start, length.into())?, multiplier })
}

/// The address in a base address register for memory, which firmware has assigned.
fn base_address(configuration: &impl Configuration, function: Function, bar: u8) -> Option<u64> {
    let read = |bar: u8| {
        let register = register::BASE_ADDRESSES + 4 * bar;
        (bar < 6).then(|| u64::from(configuration.read(function, register)))
    };
    if bar > 5 {
        return None;
    }
    let low = read(bar)?;
    let high = match low & 0b111 {
        0b000 => 0,
        0b100 => read(bar + 1)?,
        _ => return None,
    };
    let address = high << 32 | low & !0xf;
    (address != 0).then_some(address)
}

#[cfg(test)]
mod tests;
