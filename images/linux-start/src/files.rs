//! The files that were launched with the stub.

use alloc::vec;
use alloc::vec::Vec;

use guest_memory::{Gpa, GuestMemory, MappedMemory};
use host_wire::linux_start::{self as layout, File, INFO_SIZE, Info};
use loader::{Source, TransferError};

use crate::end::Reason;

/// Bytes that are copied at a time.
const CHUNK: usize = 16 << 10;
/// The longest command line that is read; the kernel's own limit is lower.
const LONGEST_LINE: u64 = 64 << 10;

/// Where the files are.
pub(crate) fn info(memory: &MappedMemory) -> Result<Info, Reason> {
    let mut bytes = [0; INFO_SIZE];
    memory.read(Gpa(layout::INFO), &mut bytes).map_err(|_| Reason::Info)?;
    let info = Info::from_bytes(&bytes);
    let ends = [info.kernel, info.initrd, info.command_line].map(|file| {
        let is_in_place = file.length == 0 || file.start >= layout::FILES;
        is_in_place.then(|| file.end())
    });
    let fine = ends.iter().all(Option::is_some) && info.command_line.length <= LONGEST_LINE;
    if fine { Ok(info) } else { Err(Reason::Info) }
}

/// Where the last of the files ends.
pub(crate) fn end(info: &Info) -> u64 {
    [info.kernel, info.initrd, info.command_line].iter().map(File::end).max().unwrap_or(0)
}

/// A file's bytes.
pub(crate) fn read(memory: &MappedMemory, file: File) -> Result<Vec<u8>, Reason> {
    let mut bytes = vec![0; file.length as usize];
    memory.read(Gpa(file.start), &mut bytes).map_err(|_| Reason::Info)?;
    Ok(bytes)
}

/// A file in memory, for the loader.
pub(crate) struct InMemory<'a> {
    memory: &'a MappedMemory,
    file: File,
    buffer: Vec<u8>,
}

impl<'a> InMemory<'a> {
    pub(crate) fn new(memory: &'a MappedMemory, file: File) -> Self {
        Self { memory, file, buffer: vec![0; CHUNK] }
    }
}

impl Source for InMemory<'_> {
    fn len(&self) -> u64 {
        self.file.length
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        let at = Gpa(self.file.start + offset);
        self.memory.read(at, bytes).map_err(|_| TransferError::Memory)
    }

    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        let mut done = 0;
        while done < length {
            let count = (length - done).min(CHUNK as u64) as usize;
            let part = self.buffer.get_mut(..count).ok_or(TransferError::Memory)?;
            let from = Gpa(self.file.start + offset + done);
            self.memory.read(from, part).map_err(|_| TransferError::Memory)?;
            self.memory.write(Gpa(gpa + done), part).map_err(|_| TransferError::Memory)?;
            done += count as u64;
        }
        Ok(())
    }
}

/// Memory as the loader writes it.
pub(crate) struct Target<'a>(pub(crate) &'a MappedMemory);

impl loader::GuestMemory for Target<'_> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError> {
        self.0.write(Gpa(gpa), bytes).map_err(|_| TransferError::Memory)
    }

    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError> {
        self.0.zero(Gpa(gpa), length).map_err(|_| TransferError::Memory)
    }
}
