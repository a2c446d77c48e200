//! The loader's interfaces to files and guest memory.

/// The reason why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The host did not deliver: its fault.
    Host,
    /// Guest memory is not at its place in the memory map: our fault.
    Memory,
}

/// A file that the host offers, possibly bigger than the paravisor's heap.
///
/// Each byte has one value, however often it is read.
pub trait Source {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the file's bytes from `offset` on; all of them lie within the length.
    ///
    /// # Errors
    /// [`TransferError`].
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError>;

    /// Moves `length` bytes from `offset` on straight into guest memory at `gpa`.
    ///
    /// # Errors
    /// [`TransferError`].
    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError>;
}

/// Guest memory, as far as a loader needs it.
pub trait GuestMemory {
    /// Writes bytes.
    ///
    /// # Errors
    /// [`TransferError::Memory`] if the memory is not there.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError>;

    /// Clears `length` bytes.
    ///
    /// # Errors
    /// [`TransferError::Memory`] if the memory is not there.
    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError>;
}
