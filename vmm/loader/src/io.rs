//! Where files come from, where they go.

/// The host did not deliver, or guest memory could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferError;

/// A file that the host offers, possibly bigger than the paravisor's heap.
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
    /// [`TransferError`] if the host does not deliver.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError>;

    /// Moves `length` bytes from `offset` on straight into guest memory at `gpa`.
    ///
    /// # Errors
    /// [`TransferError`] if the host does not deliver or the memory is not there.
    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError>;
}

/// Guest memory, as far as a loader needs it.
pub trait GuestMemory {
    /// Writes bytes.
    ///
    /// # Errors
    /// [`TransferError`] if the memory is not there.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError>;

    /// Clears `length` bytes.
    ///
    /// # Errors
    /// [`TransferError`] if the memory is not there.
    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError>;
}
