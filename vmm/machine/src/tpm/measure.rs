//! The measurements before the guest's first instruction.
//!
//! | PCR | event | hashed bytes |
//! | --- | --- | --- |
//! | 0 | EV_S_CRTM_VERSION | the paravisor's name and version, UTF-16 with a terminator: the event's data |
//! | 1 | EV_PLATFORM_CONFIG_FLAGS | the paravisor's configuration as text: the event's data |
//! | 0–7 | EV_SEPARATOR | four zero bytes: the event's data |
//! | 4 | EV_COMPACT_HASH `kernel` | the kernel's file |
//! | 8 | EV_IPL `kernel_cmdline: …` with a terminator | the command line, which the event's data shows |
//! | 9 | EV_IPL `initrd` with a terminator | the initrd's file, if there is one |
//! | 8 | EV_IPL `module_cmdline: …` with a terminator | the text of a module, which the event's data shows |
//! | 9 | EV_IPL `module` with a terminator | the file of that module |
//!
//! Those of PCRs 8 and 9 are as GRUB has them, so that tools for its logs understand these.
//!
//! The command line is the one that the guest gets: with a Multiboot kernel, the name of the
//! kernel's file stands in front of it. Where the host writes files into guest memory, they are
//! hashed as they lie there. Elsewhere they are hashed while they are copied, for all banks that
//! the TPM can have, as it starts later.

use alloc::format;
use alloc::vec::Vec;

use platform_api::Platform;
use tpm_commands as commands;
use tpm_crypto::hash::{Digest, HashAlgorithm};

use super::event_log::EventType;
use super::{EventLog, TpmError, VirtualTpm};
use crate::files::FileSource;
use crate::machine::Machine;

/// Separators go into these.
const FIRMWARE_PCRS: core::ops::Range<u32> = 0..8;
const VERSION_PCR: u32 = 0;
const CONFIG_PCR: u32 = 1;
const SEPARATOR: [u8; 4] = [0; 4];

/// A part of the guest that is measured.
pub(crate) enum Measured<'a, P: Platform> {
    /// The kernel.
    Kernel(&'a FileSource<'a, P>),
    /// The initrd.
    Initrd(&'a FileSource<'a, P>),
    /// The command line.
    CommandLine(&'a [u8]),
    /// A module.
    Module(&'a FileSource<'a, P>),
    /// The text of the module that follows.
    ModuleText(&'a [u8]),
}

impl<P: Platform> Measured<'_, P> {
    const fn pcr(&self) -> u32 {
        match self {
            Self::Kernel(_) => 4,
            Self::CommandLine(_) | Self::ModuleText(_) => 8,
            Self::Initrd(_) | Self::Module(_) => 9,
        }
    }

    fn event(&self) -> (EventType, Vec<u8>) {
        match self {
            Self::Kernel(_) => (EventType::CompactHash, Vec::from(*b"kernel")),
            Self::CommandLine(line) => {
                (EventType::Ipl, [b"kernel_cmdline: ", *line, &[0]].concat())
            }
            Self::ModuleText(text) => (EventType::Ipl, [b"module_cmdline: ", *text, &[0]].concat()),
            Self::Initrd(_) => (EventType::Ipl, Vec::from(*b"initrd\0")),
            Self::Module(_) => (EventType::Ipl, Vec::from(*b"module\0")),
        }
    }
}

/// The active banks, each with its hash algorithm.
struct Banks(Vec<HashAlgorithm>);

impl Banks {
    fn of_data(&self, data: &[u8]) -> Vec<(u16, Digest)> {
        self.0.iter().map(|bank| (bank.id(), bank.hash(data))).collect()
    }

    fn of_file(
        &self,
        file: &FileSource<'_, impl Platform>,
    ) -> Result<Vec<(u16, Digest)>, TpmError> {
        let digests = file.digests(&self.0).map_err(TpmError::Measured)?;
        Ok(self.0.iter().map(|bank| bank.id()).zip(digests).collect())
    }
}

impl<P: Platform> Machine<P> {
    /// The banks that the guest's TPM can have; none without a TPM.
    pub(crate) fn possible_banks(&self) -> Vec<HashAlgorithm> {
        let banks = commands::NEW_BANKS.iter().filter(|_| self.tpm.is_some());
        banks.filter_map(|(bank, _)| HashAlgorithm::from_id(*bank)).collect()
    }

    /// Measures everything, and returns the log.
    pub(super) fn measure(
        &self,
        tpm: &VirtualTpm<P>,
        measured: &[Measured<'_, P>],
    ) -> Result<EventLog, TpmError> {
        let response = self.command_tpm(tpm, &commands::pcr_banks())?;
        let active = commands::active_banks(&response).ok_or(TpmError::Failed)?;
        let banks = Banks(active.into_iter().filter_map(HashAlgorithm::from_id).collect());
        let described = banks.0.iter().map(|bank| (bank.id(), bank.digest_size() as u16));
        let mut log = EventLog::new(&described.collect::<Vec<_>>());
        let mut session = Session { machine: self, tpm, banks: &banks, log: &mut log };
        let version = format!("Paravane {}\0", env!("CARGO_PKG_VERSION"));
        let version: Vec<u8> = version.encode_utf16().flat_map(u16::to_le_bytes).collect();
        session.data(VERSION_PCR, EventType::CrtmVersion, &version)?;
        let config = format!("{}", self.config);
        session.data(CONFIG_PCR, EventType::PlatformConfigFlags, config.as_bytes())?;
        for pcr in FIRMWARE_PCRS {
            session.data(pcr, EventType::Separator, &SEPARATOR)?;
        }
        for what in measured {
            let digests = match what {
                Measured::Kernel(file) | Measured::Initrd(file) | Measured::Module(file) => {
                    banks.of_file(file)?
                }
                Measured::CommandLine(line) | Measured::ModuleText(line) => banks.of_data(line),
            };
            let (kind, data) = what.event();
            session.extend(what.pcr(), kind, &digests, &data)?;
        }
        Ok(log)
    }
}

/// The measurements of one start.
struct Session<'a, P: Platform> {
    machine: &'a Machine<P>,
    tpm: &'a VirtualTpm<P>,
    banks: &'a Banks,
    log: &'a mut EventLog,
}

impl<P: Platform> Session<'_, P> {
    /// Measures the event's own data.
    fn data(&mut self, pcr: u32, kind: EventType, data: &[u8]) -> Result<(), TpmError> {
        let digests = self.banks.of_data(data);
        self.extend(pcr, kind, &digests, data)
    }

    fn extend(
        &mut self,
        pcr: u32,
        kind: EventType,
        digests: &[(u16, Digest)],
        data: &[u8],
    ) -> Result<(), TpmError> {
        // Without this event the log would contradict the PCRs.
        if !self.log.add(pcr, kind, digests, data) {
            return Err(TpmError::LogFull);
        }
        let parts: Vec<(u16, &[u8])> =
            digests.iter().map(|(bank, digest)| (*bank, digest.as_bytes())).collect();
        self.machine.command_tpm(self.tpm, &commands::extend(pcr, &parts))?;
        Ok(())
    }
}
