//! The emulator's interface to the memory at the guest's physical addresses.

/// A guest-physical address has no memory or device that may be accessed.
///
/// An implementor that wants the architectural answer (reads give all ones, writes are dropped)
/// gives that answer itself. This error ends the instruction instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError {
    /// Guest-physical address of the refused access.
    pub gpa: u64,
}

/// Guest-physical memory, RAM or device.
///
/// Lengths are 1, 2, 4, 8 or 16 bytes, except for `fetch`. No call crosses a 4 KiB page. An access
/// of the guest comes as one call unless it crosses a page; then the pieces are naturally aligned.
pub trait PhysicalMemory {
    /// Reads data.
    ///
    /// # Errors
    /// [`BusError`] if nothing may be read there.
    fn read(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError>;

    /// Reads a page-table entry, aligned to 8 bytes; all ones if nothing answers.
    #[inline]
    fn read_entry(&mut self, gpa: u64) -> u64 {
        let mut bytes = [0; 8];
        match self.read(gpa, &mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => u64::MAX,
        }
    }

    /// Replaces a page-table entry of `size` bytes (4 or 8), as [`Self::compare_exchange`] does. If
    /// there is no memory, a CPU's table walk writes nothing, and `old` is returned.
    ///
    /// # Errors
    /// [`BusError`] if nothing may be written there.
    fn exchange_entry(&mut self, gpa: u64, old: u64, new: u64, size: u8) -> Result<u64, BusError> {
        Ok(self.compare_exchange(gpa, old.into(), new.into(), size)? as u64)
    }

    /// Writes data.
    ///
    /// # Errors
    /// [`BusError`] if nothing may be written there.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), BusError>;

    /// Reads 1 to 16 instruction bytes; must have no side effect.
    ///
    /// # Errors
    /// [`BusError`] if code may not run from there.
    fn fetch(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError>;

    /// Reads 4 instruction bytes of one page; none if code may not run from there.
    #[inline]
    fn fetch_4(&mut self, gpa: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.fetch(gpa, &mut bytes).ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// Replaces `old` by `new` atomically if memory still holds `old`, and returns its previous
    /// content.
    ///
    /// For RAM, an address that is not a multiple of `size` bytes may be done without atomicity.
    /// A device takes `new` as a write and returns `old`: the emulator has read it just before.
    ///
    /// # Errors
    /// [`BusError`] if nothing may be written there.
    fn compare_exchange(
        &mut self,
        gpa: u64,
        old: u128,
        new: u128,
        size: u8,
    ) -> Result<u128, BusError>;
}

/// Port I/O space, for INS and OUTS.
pub trait Ports {
    /// Reads `size` bytes (1, 2 or 4) from `port`.
    fn read_port(&mut self, port: u16, size: u8) -> u32;
    /// Writes the low `size` bytes (1, 2 or 4) of `value` to `port`.
    fn write_port(&mut self, port: u16, size: u8, value: u32);
}
