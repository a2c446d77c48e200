//! The registers of the device, with the keys of its items.
//!
//! Sections are those of QEMU's `docs/specs/fw_cfg.rst` ("SPEC"). Keys that it does not name are
//! those of QEMU's `include/standard-headers/linux/qemu_fw_cfg.h`.

/// All ports of the device: selector (2 bytes) with data in its second byte, and from 514h on the
/// DMA register (SPEC, "x86, x86_64").
pub const PORTS: core::ops::RangeInclusive<u16> = SELECTOR..=DMA_END;
/// The selector register: 2 bytes, written only.
pub const SELECTOR: u16 = 0x510;
/// The data register: 1 byte, read only.
pub const DATA: u16 = 0x511;
/// The upper half of the DMA register, 4 bytes.
pub const DMA: u16 = 0x514;
/// The lower half of the DMA register, 4 bytes.
pub(crate) const DMA_LOW: u16 = 0x518;
/// The DMA register's last byte.
pub const DMA_END: u16 = 0x51B;

/// Selector: the item is to be written.
pub(crate) const WRITE_ACCESS: u16 = 1 << 14;

/// Keys of items.
pub mod key {
    /// "QEMU" (SPEC, "Signature").
    pub const SIGNATURE: u16 = 0x0;
    /// Which interfaces there are, 32 bits (SPEC, "Revision / feature bitmap").
    pub const ID: u16 = 0x1;
    /// The VM's UUID.
    pub const UUID: u16 = 0x2;
    /// Bytes of RAM, 64 bits.
    pub const RAM_SIZE: u16 = 0x3;
    /// There is no display, 16 bits.
    pub const NO_GRAPHIC: u16 = 0x4;
    /// Processors that run, 16 bits.
    pub const CPUS: u16 = 0x5;
    /// NUMA nodes, 64 bits.
    pub const NUMA: u16 = 0xD;
    /// Firmware offers a menu, 16 bits.
    pub const BOOT_MENU: u16 = 0xE;
    /// The highest number of processors, 16 bits.
    pub const MOST_CPUS: u16 = 0xF;
    /// The directory of files (SPEC, "File Directory").
    pub const FILE_DIRECTORY: u16 = 0x19;
}

/// The key of the first file.
pub const FIRST_FILE: u16 = 0x20;

/// The item [`key::ID`]: the interface by ports, and DMA.
pub const INTERFACES: u32 = 1 << 0 | 1 << 1;

/// The letters of the DMA signature, by their place in the register.
pub const fn signature(offset: u16) -> u8 {
    const LETTERS: [u8; 8] = *b"QEMU CFG";
    LETTERS[offset as usize % LETTERS.len()]
}

/// Bytes of a DMA command: control, length, address; the most significant byte of each first.
pub const COMMAND_LENGTH: usize = 16;
/// DMA control: the command has failed.
pub const CONTROL_ERROR: u32 = 1 << 0;
pub(crate) const CONTROL_READ: u32 = 1 << 1;
pub(crate) const CONTROL_SKIP: u32 = 1 << 2;
/// DMA control: the upper half is the key of the item to select.
pub(crate) const CONTROL_SELECT: u32 = 1 << 3;
pub(crate) const CONTROL_WRITE: u32 = 1 << 4;

/// What remains of a DMA command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Done,
    /// To copy the item's next bytes to memory.
    Read {
        /// Where to.
        address: u64,
        /// How many.
        length: u32,
    },
}
