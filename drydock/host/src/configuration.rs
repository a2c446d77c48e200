//! What the guest's firmware is told by QEMU's firmware configuration device, and by the memory of
//! the real-time clock.

use alloc::string::String;
use alloc::vec::Vec;

use chipset::Chipset;
use fw_cfg::{
    COMMAND_LENGTH, CONTROL_ERROR, FIRST_FILE, FwCfg, INTERFACES, Items, PORTS, SELECTOR, Work,
    directory_entry, directory_head, key,
};
use platform_api::{Files, HostFile, Width};
use spin::Mutex;

use crate::machine::Settings;
use crate::outside::Outside;
use crate::vp::HostVp;

/// The file with the memory map.
const MEMORY_MAP: &str = "etc/e820";
/// A type of the memory map: RAM (ACPI 6.5, table 15.3).
const RAM: u32 = 1;
/// Where a PC has no RAM.
const HOLE: core::ops::Range<u64> = 0xa_0000..0x10_0000;
/// Bytes that are copied at once.
const PIECE: usize = 4096;

/// A file that the guest's firmware finds by its name.
#[derive(Clone, Debug)]
pub struct GuestFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub content: Content,
}

/// The bytes of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// These.
    Bytes(Vec<u8>),
    /// A file of the emulating machine's host.
    Host(HostFile),
}

impl Content {
    fn length(&self) -> u32 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u32,
            Self::Host(file) => file.length,
        }
    }
}

/// The items of the device.
#[derive(Debug)]
pub(crate) struct Configuration {
    settings: Settings,
    files: Vec<GuestFile>,
    directory: Vec<u8>,
    /// The emulating machine's host reads one file at a time.
    reading: Mutex<()>,
}

impl Configuration {
    pub(crate) fn new(settings: Settings, mut files: Vec<GuestFile>) -> Self {
        let map = memory_map(settings.memory);
        files.push(GuestFile { name: MEMORY_MAP.into(), content: Content::Bytes(map) });
        // Firmware may rely on the order of names.
        files.sort_by(|one, other| one.name.cmp(&other.name));
        files.truncate(usize::from(u16::MAX - FIRST_FILE));
        let mut directory = Vec::from(directory_head(files.len() as u32));
        for (key, file) in (FIRST_FILE..).zip(&files) {
            directory.extend(directory_entry(file.content.length(), key, &file.name));
        }
        Self { settings, files, directory, reading: Mutex::new(()) }
    }

    fn file(&self, key: u16) -> Option<&GuestFile> {
        self.files.get(usize::from(key.checked_sub(FIRST_FILE)?))
    }

    /// An item of a few bytes, with its length.
    fn number(&self, key: u16) -> Option<([u8; 8], u32)> {
        let Settings { vps, memory, .. } = self.settings;
        let (value, length) = match key {
            key::SIGNATURE => (u64::from(u32::from_le_bytes(*b"QEMU")), 4),
            key::ID => (u64::from(INTERFACES), 4),
            key::RAM_SIZE => (memory, 8),
            key::CPUS | key::MOST_CPUS => (u64::from(vps), 2),
            key::NO_GRAPHIC => (1, 2),
            key::BOOT_MENU => (0, 2),
            key::NUMA => (0, 8),
            _ => return None,
        };
        Some((value.to_le_bytes(), length))
    }
}

/// The memory map: an address, a size and a type for each range, all little-endian.
fn memory_map(memory: u64) -> Vec<u8> {
    let ranges = [(0, HOLE.start), (HOLE.end, memory.saturating_sub(HOLE.end))];
    let entry = |(start, size): (u64, u64)| {
        let numbers = start.to_le_bytes().into_iter().chain(size.to_le_bytes());
        numbers.chain(RAM.to_le_bytes())
    };
    ranges.into_iter().flat_map(entry).collect()
}

/// Tells firmware by the clock's memory how much RAM and how many processors there are, as QEMU does
/// (`hw/i386/pc.c`, `pc_cmos_init`).
pub(crate) fn fill_clock_memory(chipset: &Chipset, settings: Settings) {
    let kibibytes = |bytes: u64| u16::try_from(bytes >> 10).unwrap_or(u16::MAX).to_le_bytes();
    let [base_low, base_high] = kibibytes(HOLE.start);
    let [extended_low, extended_high] = kibibytes(settings.memory.saturating_sub(1 << 20));
    let above_16_mebibytes = settings.memory.saturating_sub(16 << 20) >> 16;
    let above_16_mebibytes = u16::try_from(above_16_mebibytes).unwrap_or(u16::MAX);
    let [low, high] = above_16_mebibytes.to_le_bytes();
    let last_processor = settings.vps.saturating_sub(1).min(255) as u8;
    for (index, value) in [
        (0x15, base_low),
        (0x16, base_high),
        (0x17, extended_low),
        (0x18, extended_high),
        (0x30, extended_low),
        (0x31, extended_high),
        (0x34, low),
        (0x35, high),
        (0x5f, last_processor),
    ] {
        chipset.set_clock_memory(index, value);
    }
}

/// The items, with the way to the files of the emulating machine's host.
struct Reader<'a, H> {
    configuration: &'a Configuration,
    host: &'a H,
}

impl<H: Files> Items for Reader<'_, H> {
    fn length(&self, key: u16) -> Option<u32> {
        match key {
            key::FILE_DIRECTORY => Some(self.configuration.directory.len() as u32),
            key::UUID => Some(16),
            _ => {
                let number = self.configuration.number(key).map(|(_, length)| length);
                number.or_else(|| Some(self.configuration.file(key)?.content.length()))
            }
        }
    }

    fn read(&self, key: u16, offset: u32, to: &mut [u8]) {
        if let Some((bytes, _)) = self.configuration.number(key) {
            return copy(&bytes, offset, to);
        }
        if key == key::FILE_DIRECTORY {
            return copy(&self.configuration.directory, offset, to);
        }
        match self.configuration.file(key).map(|file| &file.content) {
            Some(Content::Bytes(bytes)) => copy(bytes, offset, to),
            Some(Content::Host(file)) => {
                let _reading = self.configuration.reading.lock();
                if self.host.read_file(*file, offset, to).is_err() {
                    to.fill(0);
                }
            }
            // The UUID of a VM that has none is all zeros.
            None => {}
        }
    }
}

fn copy(from: &[u8], offset: u32, to: &mut [u8]) {
    let from = from.get(offset as usize..).unwrap_or_default();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

impl<O: Outside> HostVp<'_, O> {
    fn fw_cfg(&self) -> (&Mutex<FwCfg>, Reader<'_, O::Host>) {
        let [first, ..] = &self.host.fw_cfgs;
        let device = self.host.fw_cfgs.get(usize::from(self.level)).unwrap_or(first);
        let host = self.host.outside.host();
        (device, Reader { configuration: &self.host.configuration, host })
    }

    /// Reads a port of the device; none if it is another one's.
    pub(crate) fn read_configuration(&self, port: u16, width: Width) -> Option<u32> {
        if !PORTS.contains(&port) {
            return None;
        }
        let (device, items) = self.fw_cfg();
        let mut device = device.lock();
        let mut bytes = [0xff; 4];
        for (offset, byte) in (0..u16::from(width.bytes())).zip(&mut bytes) {
            *byte = device.read_byte(port.wrapping_add(offset), &items);
        }
        Some(u32::from_le_bytes(bytes) & width.mask())
    }

    /// Writes a port of the device. False if it is another one's.
    pub(crate) fn write_configuration(&self, port: u16, width: Width, value: u32) -> bool {
        if !PORTS.contains(&port) {
            return false;
        }
        let (device, items) = self.fw_cfg();
        let mut device = device.lock();
        if (port, width) == (SELECTOR, Width::Word) {
            device.select(value as u16);
        } else if width == Width::Dword
            && let Some(at) = device.write_dma(port, value.to_le_bytes())
        {
            self.command(&mut device, &items, at);
        }
        true
    }

    /// Carries out the DMA command at `at`, in shared memory like its data. A command that can not be
    /// read leaves no trace.
    fn command(&self, device: &mut FwCfg, items: &impl Items, at: u64) {
        let outside = &self.host.outside;
        let mut command = [0; COMMAND_LENGTH];
        if !outside.read_shared(at, &mut command) {
            return;
        }
        let status = match device.begin(&command) {
            Err(error) => error,
            Ok(Work::Done) => 0,
            Ok(Work::Read { address, length }) => {
                let done = self.copy_item(device, items, address, length);
                if done { 0 } else { CONTROL_ERROR }
            }
        };
        // Memory that is private meanwhile gets no answer.
        let _ = outside.write_shared(at, &status.to_be_bytes());
    }

    /// Copies the item's next bytes to shared memory, which bounds their number.
    fn copy_item(&self, device: &mut FwCfg, items: &impl Items, address: u64, length: u32) -> bool {
        let mut done = 0;
        while done < length {
            let mut bytes = [0; PIECE];
            let count = (length - done).min(PIECE as u32);
            let piece = bytes.get_mut(..count as usize).unwrap_or_default();
            device.read(piece, items);
            let at = address.checked_add(done.into());
            if !at.is_some_and(|at| self.host.outside.write_shared(at, piece)) {
                return false;
            }
            done += count;
        }
        true
    }
}
