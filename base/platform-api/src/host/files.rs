//! The files that the host hands in.

use guest_memory::RamRange;

/// A file that the host offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// The host's handle.
    pub selector: u16,
    /// Its length in bytes, as the host says.
    pub length: u32,
}

/// Why a transfer from a host file failed. The fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The host reported an error.
    Refused,
    /// The range goes past the file's end.
    PastEnd,
}

/// The files that the host hands in.
pub trait Files {
    /// Looks up a file that the host offers.
    fn file(&self, name: &str) -> Option<HostFile>;
    /// The UUID that the host gives this VM, in the byte order of RFC 9562, if it gives one.
    fn uuid(&self) -> Option<[u8; 16]>;
    /// Reads part of a host file into our own memory. Where the host must not write there, this
    /// copies it from memory that is shared with the host.
    ///
    /// # Errors
    /// [`Transfer`]; the content of `to` is then of no meaning.
    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer>;
    /// Has the host write part of a file to guest memory. None where the host must not write there:
    /// the caller then reads the file, and writes it.
    fn load_file(&self, file: HostFile, offset: u32, to: RamRange) -> Option<Result<(), Transfer>>;
    /// The SHA-256 digest that a file must have, where the launch of the VM has measured it. The
    /// caller compares it before the guest runs.
    fn measured(&self, _: HostFile) -> Option<[u8; 32]> {
        None
    }
}
