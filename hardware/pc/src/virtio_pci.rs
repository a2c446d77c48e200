//! A virtio device behind PCI registers in memory (virtio 1.2, section 4.1).
//!
//! The transport of `virtio-drivers` takes an offset for each notification from the device, panics
//! if it leads out of the device's registers, and waits for a reset for ever. This one takes it
//! once, checks it, and waits for nothing.

use platform_api::Width;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::pci::VirtioRegisters;
use crate::{Access, DeviceRegisters};

/// Offsets in the common configuration (virtio 1.2, section 4.1.4.3).
mod common {
    /// Bytes of what is used of it.
    pub(super) const LENGTH: u64 = 0x38;
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
pub(crate) struct PciTransport<A: 'static> {
    access: &'static A,
    common: DeviceRegisters,
    notify: DeviceRegisters,
    device: DeviceRegisters,
    /// Where queue 0 is notified, in `notify`.
    doorbell: u64,
}

impl<A: Access> PciTransport<A> {
    /// The device whose registers lie there; nothing if its first queue can not be notified.
    ///
    /// # Safety
    /// The pages of `registers` must be mapped at their addresses for ever, and be no memory that
    /// Rust code uses.
    pub(crate) unsafe fn new(access: &'static A, registers: VirtioRegisters) -> Option<Self> {
        let VirtioRegisters { common, notify, device, multiplier, .. } = registers;
        // SAFETY: the caller vouches for all of them.
        let part = |start, length| unsafe { DeviceRegisters::new(start, length) };
        let mut transport = Self {
            access,
            common: part(common, common::LENGTH),
            notify: part(notify.start(), notify.length()),
            device: part(device.start(), device.length()),
            doorbell: 0,
        };
        transport.select(QUEUE);
        let number = transport.read(common::QUEUE_NOTIFY_OFF, Width::Word);
        transport.doorbell = u64::from(number) * u64::from(multiplier);
        transport.notify.address(transport.doorbell, Width::Word)?;
        Some(transport)
    }

    /// Reads a field of the common configuration.
    fn read(&self, offset: u64, width: Width) -> u32 {
        self.access.register_read(&self.common, offset, width)
    }

    /// Writes a field of the common configuration. What the device then does to memory is bounded
    /// by the addresses that `queue_set` and the queue give it.
    fn write(&mut self, offset: u64, width: Width, value: u32) {
        self.access.register_write(&self.common, offset, width, value);
    }

    /// Writes a field of 64 bits as section 4.1.3.1 has it: in two halves.
    fn write_halves(&mut self, offset: u64, value: u64) {
        self.write(offset, Width::Dword, value as u32);
        self.write(offset + 4, Width::Dword, (value >> 32) as u32);
    }

    fn select(&mut self, queue: u16) {
        self.write(common::QUEUE_SELECT, Width::Word, queue.into());
    }
}

impl<A: Access> Transport for PciTransport<A> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        let [low, high] = [0_u32, 1].map(|half| {
            self.write(common::DEVICE_FEATURE_SELECT, Width::Dword, half);
            u64::from(self.read(common::DEVICE_FEATURE, Width::Dword))
        });
        high << 32 | low
    }

    fn write_driver_features(&mut self, features: u64) {
        for (half, bits) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(common::DRIVER_FEATURE_SELECT, Width::Dword, half);
            self.write(common::DRIVER_FEATURE, Width::Dword, bits);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.read(common::QUEUE_SIZE, Width::Word)
    }

    fn notify(&mut self, queue: u16) {
        self.access.register_write(&self.notify, self.doorbell, Width::Word, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(common::DEVICE_STATUS, Width::Byte))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(common::DEVICE_STATUS, Width::Byte, status.bits());
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
        self.write(common::QUEUE_SIZE, Width::Word, size);
        self.write_halves(common::QUEUE_DESC, descriptors);
        self.write_halves(common::QUEUE_DRIVER, driver_area);
        self.write_halves(common::QUEUE_DEVICE, device_area);
        self.write(common::QUEUE_ENABLE, Width::Word, 1);
    }

    /// A queue ends with a reset of the device (section 4.1.4.3.2).
    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.read(common::QUEUE_ENABLE, Width::Word) != 0
    }

    /// It raises none: INTx is off, and no message has an address.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.read(common::CONFIG_GENERATION, Width::Byte)
    }

    /// Reads a field of 8, 16 or 32 bits by one access, as section 4.1.3.1 has it.
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let width = match size_of::<T>() {
            1 => Width::Byte,
            2 => Width::Word,
            4 => Width::Dword,
            _ => return Err(Error::InvalidParam),
        };
        let end = offset.checked_add(size_of::<T>()).ok_or(Error::ConfigSpaceTooSmall)?;
        if end as u64 > self.device.length() {
            return Err(Error::ConfigSpaceTooSmall);
        }
        if !offset.is_multiple_of(size_of::<T>()) {
            return Err(Error::InvalidParam);
        }
        let value = self.access.register_read(&self.device, offset as u64, width);
        let bytes = value.to_le_bytes();
        T::read_from_prefix(&bytes).map(|(field, _)| field).map_err(|_| Error::InvalidParam)
    }

    /// Nothing in a block device's configuration is ours to write.
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}

#[cfg(test)]
mod tests;
