//! A virtio device behind PCI registers in memory (virtio 1.2, section 4.1).
//!
//! The transport of `virtio-drivers` takes an offset for each notification from the device, panics
//! if it leads out of the device's registers, and waits for a reset for ever. This one takes it
//! once, checks it, and waits for nothing.

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::pci::Registers;

/// Offsets in the common configuration (virtio 1.2, section 4.1.4.3).
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub(super) const DEVICE_FEATURE: u64 = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const DEVICE_STATUS: u64 = 0x14;
    pub(super) const CONFIG_GENERATION: u64 = 0x15;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub(super) const QUEUE_DESC: u64 = 0x20;
    pub(super) const QUEUE_DRIVER: u64 = 0x28;
    pub(super) const QUEUE_DEVICE: u64 = 0x30;
}

/// The queue that is used.
const QUEUE: u16 = 0;

/// A device's registers.
#[derive(Debug)]
pub(crate) struct PciTransport {
    registers: Registers,
    /// Where queue 0 is notified.
    doorbell: u64,
}

impl PciTransport {
    /// The device whose registers lie there; nothing if its first queue can not be notified.
    ///
    /// # Safety
    /// The pages of `registers` must be mapped at their addresses for ever, and be no memory that
    /// Rust code uses.
    pub(crate) unsafe fn new(registers: Registers) -> Option<Self> {
        let mut transport = Self { registers, doorbell: 0 };
        transport.select(QUEUE);
        let number: u16 = transport.read(common::QUEUE_NOTIFY_OFF);
        let offset = u64::from(number) * u64::from(registers.multiplier);
        let doorbell = registers.notify.start().checked_add(offset)?;
        if doorbell.checked_add(2)? > registers.notify.end() {
            return None;
        }
        transport.doorbell = doorbell;
        Some(transport)
    }

    /// Reads a field of the common configuration, which is aligned to its size.
    fn read<T: FromBytes>(&self, offset: u64) -> T {
        // SAFETY: `new`'s caller vouches for the registers, and `pci::registers` for their length;
        // any bits are a value of such a type.
        unsafe { ((self.registers.common + offset) as *const T).read_volatile() }
    }

    /// Writes a field of the common configuration.
    fn write<T: IntoBytes>(&mut self, offset: u64, value: T) {
        // SAFETY: as for `read`. What the device then does to memory is bounded by the addresses
        // that `queue_set` and the queue give it.
        unsafe { ((self.registers.common + offset) as *mut T).write_volatile(value) };
    }

    /// Writes a field of 64 bits as section 4.1.3.1 has it: in two halves.
    fn write_halves(&mut self, offset: u64, value: u64) {
        self.write(offset, value as u32);
        self.write(offset + 4, (value >> 32) as u32);
    }

    fn select(&mut self, queue: u16) {
        self.write(common::QUEUE_SELECT, queue);
    }
}

impl Transport for PciTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        let [low, high] = [0_u32, 1].map(|half| {
            self.write(common::DEVICE_FEATURE_SELECT, half);
            u64::from(self.read::<u32>(common::DEVICE_FEATURE))
        });
        high << 32 | low
    }

    fn write_driver_features(&mut self, features: u64) {
        for (half, bits) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(common::DRIVER_FEATURE_SELECT, half);
            self.write(common::DRIVER_FEATURE, bits);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.read::<u16>(common::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        // SAFETY: as for `read`; `new` has checked the place.
        unsafe { (self.doorbell as *mut u16).write_volatile(queue) };
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read::<u8>(common::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(common::DEVICE_STATUS, status.bits() as u8);
    }

    /// For devices before virtio 1.
    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select(queue);
        self.write(common::QUEUE_SIZE, size as u16);
        self.write_halves(common::QUEUE_DESC, descriptors);
        self.write_halves(common::QUEUE_DRIVER, driver_area);
        self.write_halves(common::QUEUE_DEVICE, device_area);
        self.write(common::QUEUE_ENABLE, 1_u16);
    }

    /// A queue ends with a reset of the device (section 4.1.4.3.2).
    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.read::<u16>(common::QUEUE_ENABLE) != 0
    }

    /// It raises none: INTx is off, and no message has an address.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.read::<u8>(common::CONFIG_GENERATION).into()
    }

    /// Reads a field of 8, 16 or 32 bits by one access, as section 4.1.3.1 has it.
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let size = size_of::<T>();
        let place = self.registers.device;
        let start = place.start().checked_add(offset as u64).ok_or(Error::ConfigSpaceTooSmall)?;
        if start.checked_add(size as u64).is_none_or(|end| end > place.end()) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        if !matches!(size, 1 | 2 | 4) || align_of::<T>() != size || !offset.is_multiple_of(size) {
            return Err(Error::InvalidParam);
        }
        // SAFETY: `new`'s caller vouches for the registers; the field lies in them, aligned, as
        // their start is; any bits are a value of such a type.
        Ok(unsafe { (start as *const T).read_volatile() })
    }

    /// Nothing in a block device's configuration is ours to write.
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}

#[cfg(test)]
mod tests;
