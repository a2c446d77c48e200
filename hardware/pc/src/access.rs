//! The way to the devices of the PC.

use core::ptr::NonNull;

use platform_api::Width;

/// The way to the devices.
///
/// The host answers: every value is an allegation.
pub trait Access: Sync + 'static {
    /// The most bytes that [`Access::lend`] lends at once.
    const MOST_LENT: usize;
    /// A write to a register has had its effect when it returns, because the host carries it out: the
    /// local APIC is never found sending.
    const IS_DONE_AT_ONCE: bool = false;

    /// IN.
    fn port_read(&self, port: u16, width: Width) -> u32;
    /// OUT.
    fn port_write(&self, port: u16, width: Width, value: u32);
    /// OUT of one byte after the other, in as few calls of the host as possible.
    fn port_write_bytes(&self, port: u16, bytes: &[u8]) {
        for byte in bytes {
            self.port_write(port, Width::Byte, (*byte).into());
        }
    }
    /// Reads the register at `offset`, a multiple of the width. One outside of `registers` reads as
    /// all ones.
    fn register_read(&self, registers: &DeviceRegisters, offset: u64, width: Width) -> u32;
    /// Writes the register at `offset`, a multiple of the width. One outside of `registers` takes
    /// nothing.
    fn register_write(&self, registers: &DeviceRegisters, offset: u64, width: Width, value: u32);
    /// Whether the host ends the interrupt in service by itself. Asked once for each interrupt, at
    /// its end.
    fn no_eoi_required(&self) -> bool {
        false
    }
    /// The time-stamp counter.
    fn tsc(&self) -> u64;
    /// Lends `bytes`, at most [`Access::MOST_LENT`], to devices while `transfer` runs. Where
    /// devices do not reach our memory, they get a copy, and the answer is copied back. A command
    /// to a device, of 16 bytes ([`Direction::Both`]), may be lent while its data is.
    fn lend<R>(
        &self,
        bytes: &mut [u8],
        direction: Direction,
        transfer: impl FnOnce(&Lent) -> R,
    ) -> R;
}

/// What devices do with lent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They write them. The old content is kept from them where that is possible.
    FromDevice,
    /// They read and write them.
    Both,
}

/// Memory that devices reach.
#[derive(Debug)]
pub struct Lent {
    pointer: NonNull<u8>,
    length: usize,
    /// The address that devices use.
    pub address: u64,
}

impl Lent {
    /// The `length` bytes at `pointer`, which devices reach at `address`.
    ///
    /// # Safety
    /// The bytes must be valid for reads and writes for the life of the value, and no reference may
    /// be used meanwhile that covers them.
    pub const unsafe fn new(pointer: NonNull<u8>, length: usize, address: u64) -> Self {
        Self { pointer, length, address }
    }

    /// Reads four bytes, which a device may be writing, by one access. All ones if they do not lie
    /// in the memory, at a multiple of four.
    pub fn read_u32(&self, offset: usize) -> u32 {
        let inside = offset.checked_add(4).is_some_and(|end| end <= self.length);
        let place = self.pointer.as_ptr().wrapping_add(offset).cast::<u32>();
        if !inside || !place.is_aligned() {
            return u32::MAX;
        }
        // SAFETY: `new`'s caller vouches for the bytes; the place lies within, aligned.
        unsafe { place.read_volatile() }
    }
}

/// Registers of a device in the address space of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRegisters {
    start: u64,
    length: u64,
}

impl DeviceRegisters {
    /// The `length` bytes from physical address `start` on, which is a multiple of four.
    ///
    /// # Safety
    /// They must be registers of a device, mapped at their address as device memory for as long as
    /// they are accessed, and no memory that Rust code uses.
    pub const unsafe fn new(start: u64, length: u64) -> Self {
        debug_assert!(start.is_multiple_of(4));
        Self { start, length }
    }

    /// How many bytes there are.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The physical address of the register of `width` at `offset`, if it is one of these.
    #[inline]
    pub const fn address(&self, offset: u64, width: Width) -> Option<u64> {
        let bytes = width.bytes() as u64;
        let inside =
            offset.is_multiple_of(bytes) && bytes <= self.length && offset <= self.length - bytes;
        if inside { Some(self.start + offset) } else { None }
    }
}
