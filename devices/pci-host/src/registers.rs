//! The registers of the bridge.
//!
//! "PCI" is the PCI Local Bus Specification 3.0, "PCIe" the PCI Express Base Specification 3.0,
//! "MCH" Intel's 3 Series Express Chipset data sheet, order number 316966.

/// CONFIG_ADDRESS, a double word (PCI 3.2.2.3.2).
pub(crate) const CONFIG_ADDRESS: u16 = 0xCF8;
/// CONFIG_DATA, four bytes (PCI 3.2.2.3.2).
pub(crate) const CONFIG_DATA: u16 = 0xCFC;
/// Last byte of CONFIG_DATA.
pub(crate) const CONFIG_DATA_LAST: u16 = 0xCFF;

/// CONFIG_ADDRESS: accesses to CONFIG_DATA are configuration accesses.
pub(crate) const ADDRESS_ENABLE: u32 = 1 << 31;
/// CONFIG_ADDRESS: the writable bits.
pub(crate) const ADDRESS_BITS: u32 = 0x80FF_FFFC;

/// Bytes of ECAM space for 256 buses (PCIe 7.2.2).
pub(crate) const ECAM_SIZE: u64 = 1 << 28;

/// Vendor in bits 15:0, device in bits 31:16: Intel 82G33 DRAM controller (MCH 5.1.1).
pub(crate) const ID: u32 = 0x29C0_8086;
/// Revision in bits 7:0, class 06h, subclass 00h: host bridge (MCH 5.1.5).
pub(crate) const CLASS: u32 = 0x0600_0002;
/// Command: memory space and bus master, always on (MCH 5.1.3).
pub(crate) const COMMAND_FIXED: u16 = 0x0006;
/// Command: SERR enable, the only writable bit (MCH 5.1.3).
pub(crate) const COMMAND_SERR: u16 = 1 << 8;

/// Register offset: vendor, device.
pub(crate) const REGISTER_ID: u16 = 0x00;
/// Register offset: command, status.
pub(crate) const REGISTER_COMMAND: u16 = 0x04;
/// Register offset: revision, class.
pub(crate) const REGISTER_CLASS: u16 = 0x08;
/// Register offset: PCIEXBAR, low half (MCH 5.1.16).
pub(crate) const REGISTER_PCIEXBAR: u16 = 0x60;
/// Register offset: PCIEXBAR, high half.
pub(crate) const REGISTER_PCIEXBAR_HIGH: u16 = 0x64;

/// PCIEXBAR: address bits for a window of 256 buses, which is length code 0 in bits 2:1.
pub(crate) const PCIEXBAR_ADDRESS: u64 = 0xF_F000_0000;
/// PCIEXBAR: the window is decoded.
pub(crate) const PCIEXBAR_ENABLE: u64 = 1;
