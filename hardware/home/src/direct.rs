//! The way to the host's devices by instructions: memory of ours is theirs, too.

use core::ptr::NonNull;

use pc::{Access, DeviceRegisters, Direction, Lent};
use platform_api::Width;

/// The way by instructions.
#[derive(Clone, Copy, Debug)]
pub struct Direct;

impl Access for Direct {
    const MOST_LENT: usize = usize::MAX;

    #[inline]
    fn port_read(&self, port: u16, width: Width) -> u32 {
        instructions::port_read(port, width)
    }

    #[inline]
    fn port_write(&self, port: u16, width: Width, value: u32) {
        instructions::port_write(port, width, value);
    }

    #[inline]
    fn register_read(&self, registers: &DeviceRegisters, offset: u64, width: Width) -> u32 {
        let Some(address) = registers.address(offset, width) else { return width.mask() };
        // SAFETY: the caller of `DeviceRegisters::new` vouches that device registers are mapped
        // there; the address lies within, aligned.
        unsafe {
            match width {
                Width::Byte => (address as *const u8).read_volatile().into(),
                Width::Word => (address as *const u16).read_volatile().into(),
                Width::Dword => (address as *const u32).read_volatile(),
            }
        }
    }

    #[inline]
    fn register_write(&self, registers: &DeviceRegisters, offset: u64, width: Width, value: u32) {
        let Some(address) = registers.address(offset, width) else { return };
        // SAFETY: as for the read. A device that a write makes write to memory is given the
        // addresses by its driver, which vouches for them.
        unsafe {
            match width {
                Width::Byte => (address as *mut u8).write_volatile(value as u8),
                Width::Word => (address as *mut u16).write_volatile(value as u16),
                Width::Dword => (address as *mut u32).write_volatile(value),
            }
        }
    }

    #[inline]
    fn tsc(&self) -> u64 {
        instructions::rdtsc()
    }

    fn lend<R>(&self, bytes: &mut [u8], _: Direction, transfer: impl FnOnce(&Lent) -> R) -> R {
        let pointer = NonNull::from_mut(bytes).cast::<u8>();
        // SAFETY: the bytes are the caller's alone, and are not touched meanwhile. Our memory is
        // mapped at its physical address, which devices use.
        let lent = unsafe { Lent::new(pointer, bytes.len(), pointer.as_ptr() as u64) };
        transfer(&lent)
    }
}
