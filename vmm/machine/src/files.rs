//! The files that the host hands in.

use alloc::vec;

use loader::{Source, TransferError};
use memory::RamMap;
use platform_api::{Host, HostFile, Platform};
use wire::{Config, ConfigError, config, file};

use crate::guest::GuestError;

/// The longest command line that is read at all.
const MAX_COMMAND_LINE: u32 = 64 * 1024;

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
    pub(crate) fn command_line(&self, host: &impl Host) -> Result<vec::Vec<u8>, GuestError> {
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
    pub(crate) platform: &'a P,
    pub(crate) file: HostFile,
}

impl<P: Platform> FileSource<'_, P> {
    fn ram(&self) -> &RamMap {
        self.platform.ram()
    }
}

impl<P: Platform> Source for FileSource<'_, P> {
    fn len(&self) -> u64 {
        u64::from(self.file.length)
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        let offset = u32::try_from(offset).map_err(|_| TransferError)?;
        self.platform.host().read_file(self.file, offset, bytes).map_err(|_| TransferError)
    }

    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        let offset = u32::try_from(offset).map_err(|_| TransferError)?;
        let short = u32::try_from(length).map_err(|_| TransferError)?;
        if !self.ram().contains(gpa, length) {
            return Err(TransferError);
        }
        self.platform.host().load_file(self.file, offset, gpa, short).map_err(|_| TransferError)
    }
}
