//! The files that the host hands in.

use alloc::vec;
use alloc::vec::Vec;

use loader::{Source, TransferError};
use memory::{Gpa, GuestMemory};
use platform_api::{Host, HostFile, Platform};
use wire::{Config, ConfigError, config, file};

use crate::guest::GuestError;

/// The longest command line that is read at all.
const MAX_COMMAND_LINE: u32 = 64 * 1024;
/// Bytes that are hashed at once.
const CHUNK: usize = 4096;

/// The guest's files, as the host names them.
#[derive(Clone, Copy, Debug)]
pub struct GuestFiles {
    kernel: Option<HostFile>,
    initrd: Option<HostFile>,
    command_line: Option<HostFile>,
}

impl GuestFiles {
    /// Looks the files up.
    pub fn find(host: &impl Host) -> Self {
        Self {
            kernel: host.file(file::KERNEL),
            initrd: host.file(file::INITRD),
            command_line: host.file(file::COMMAND_LINE),
        }
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> Result<HostFile, GuestError> {
        self.kernel.ok_or(GuestError::NoKernel)
    }

    /// The initrd, if there is one.
    pub(crate) const fn initrd(&self) -> Option<HostFile> {
        self.initrd
    }

    /// The command line.
    pub(crate) fn command_line(&self, host: &impl Host) -> Result<Vec<u8>, GuestError> {
        let Some(file) = self.command_line else { return Ok(vec![]) };
        if file.length > MAX_COMMAND_LINE {
            return Err(GuestError::CommandLine { length: file.length, limit: MAX_COMMAND_LINE });
        }
        let mut bytes = vec![0; file.length as usize];
        host.read_file(file, 0, &mut bytes).map_err(|_| GuestError::HostRead)?;
        Ok(bytes)
    }
}

/// Reads the configuration; without the file, it is the default one.
pub fn read_config(host: &impl Host) -> Result<Config, ConfigError> {
    let Some(file) = host.file(file::CONFIG) else { return Ok(Config::default()) };
    if file.length as usize > config::MAX_LENGTH {
        return Err(ConfigError::TooLong);
    }
    let mut bytes = vec![0; file.length as usize];
    host.read_file(file, 0, &mut bytes).map_err(|_| ConfigError::NotText)?;
    Config::parse(&bytes)
}

/// A host file as the kernel loader reads it.
pub(crate) struct FileSource<'a, P: Platform> {
    platform: &'a P,
    file: HostFile,
    /// The parts that were read.
    parts: Vec<Part>,
}

/// A part of a file that was read.
struct Part {
    offset: u32,
    place: Place,
}

/// Where it is now.
enum Place {
    /// With us: what the loader looked at.
    Ours(Vec<u8>),
    /// In guest memory, so many bytes.
    Guest { gpa: u64, length: u32 },
}

impl Part {
    fn end(&self) -> u64 {
        u64::from(self.offset)
            + match &self.place {
                Place::Ours(bytes) => bytes.len() as u64,
                Place::Guest { length, .. } => u64::from(*length),
            }
    }
}

impl<'a, P: Platform> FileSource<'a, P> {
    /// Nothing has been read.
    pub(crate) const fn new(platform: &'a P, file: HostFile) -> Self {
        Self { platform, file, parts: Vec::new() }
    }

    /// Gives the whole file to `each` in order, as it was read: what the loader looked at and what
    /// lies in guest memory is what was used, whatever the host would answer now. Only what nobody
    /// has used is read for this.
    pub(crate) fn each_part(&self, each: &mut dyn FnMut(&[u8])) -> Result<(), TransferError> {
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < u64::from(self.file.length) {
            let covers = |part: &&Part| u64::from(part.offset) <= at && at < part.end();
            // What went to the guest counts before what the loader only looked at.
            let in_guest = |part: &&Part| matches!(part.place, Place::Guest { .. });
            let covering = || self.parts.iter().filter(covers);
            let part = covering().find(in_guest).or_else(|| covering().next());
            let end = match part {
                Some(part) => part.end(),
                None => {
                    let later = self.parts.iter().map(|part| u64::from(part.offset));
                    later.filter(|offset| *offset > at).min().unwrap_or(self.file.length.into())
                }
            };
            let next = self.parts.iter().filter(in_guest).map(|part| u64::from(part.offset));
            let next = next.filter(|offset| *offset > at).min().unwrap_or(u64::MAX);
            let length = (end.min(next) - at).min(CHUNK as u64) as usize;
            let chunk = buffer.get_mut(..length).ok_or(TransferError)?;
            self.read_part(part, at, chunk)?;
            each(chunk);
            at += length as u64;
        }
        Ok(())
    }

    /// Reads from where a part is now, or from the host.
    fn read_part(&self, part: Option<&Part>, at: u64, to: &mut [u8]) -> Result<(), TransferError> {
        let host = self.platform.host();
        let Some(Part { offset, place }) = part else {
            return host.read_file(self.file, at as u32, to).map_err(|_| TransferError);
        };
        let inside = at - u64::from(*offset);
        match place {
            Place::Ours(bytes) => {
                let found = bytes.get(inside as usize..).and_then(|rest| rest.get(..to.len()));
                to.copy_from_slice(found.ok_or(TransferError)?);
                Ok(())
            }
            Place::Guest { gpa, .. } => {
                self.platform.memory().read(Gpa(gpa + inside), to).map_err(|_| TransferError)
            }
        }
    }
}

impl<P: Platform> Source for FileSource<'_, P> {
    fn len(&self) -> u64 {
        u64::from(self.file.length)
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        let offset = u32::try_from(offset).map_err(|_| TransferError)?;
        self.platform.host().read_file(self.file, offset, bytes).map_err(|_| TransferError)?;
        self.parts.push(Part { offset, place: Place::Ours(bytes.to_vec()) });
        Ok(())
    }

    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        let offset = u32::try_from(offset).map_err(|_| TransferError)?;
        let short = u32::try_from(length).map_err(|_| TransferError)?;
        if !self.platform.ram().contains(gpa, length) {
            return Err(TransferError);
        }
        self.platform.host().load_file(self.file, offset, gpa, short).map_err(|_| TransferError)?;
        self.parts.push(Part { offset, place: Place::Guest { gpa, length: short } });
        Ok(())
    }
}
