//! The files that the host hands in.

use alloc::vec;
use alloc::vec::Vec;
use core::{fmt, mem};

use guest_memory::{Gpa, GuestMemory};
use host_wire::{Config, ConfigError, config, file};
use loader::{Source, TransferError};
use platform_api::{Files, HostFile, Platform};
use tpm_crypto::hash::{Digest, HashAlgorithm, Hasher};

use crate::digests::Digests;
use crate::error::GuestError;

/// The longest texts that are read at all: the command line, those of all modules.
const MAX_TEXT: u32 = 64 * 1024;
/// Bytes that are hashed at once.
const CHUNK: usize = 4096;
/// Bytes that are asked for at once: a confidential VM pays for each call of the host.
const COPIED: usize = 64 << 10;
/// The hash of a part that is copied out of the file's order.
const PART_HASH: HashAlgorithm = HashAlgorithm::Sha256;
/// The hash by which the launch of a VM measures files.
const MEASURED_HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// The guest's files, as the host names them.
#[derive(Clone, Copy, Debug)]
pub struct GuestFiles {
    kernel: Option<HostFile>,
    kernel_name: Option<HostFile>,
    initrd: Option<HostFile>,
    command_line: Option<HostFile>,
    modules: [Option<HostFile>; file::MODULES.len()],
    module_texts: Option<HostFile>,
}

impl GuestFiles {
    /// Looks the files up.
    pub fn find(host: &impl Files) -> Self {
        let mut modules = [None; file::MODULES.len()];
        for (module, name) in modules.iter_mut().zip(file::MODULES) {
            *module = host.file(name);
            // A look-up takes time, and files behind the first missing one do not count.
            if module.is_none() {
                break;
            }
        }
        let has_modules = matches!(modules, [Some(_), ..]);
        Self {
            kernel: host.file(file::KERNEL),
            kernel_name: host.file(file::KERNEL_NAME),
            initrd: host.file(file::INITRD),
            command_line: host.file(file::COMMAND_LINE),
            modules,
            module_texts: if has_modules { host.file(file::MODULE_TEXTS) } else { None },
        }
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> Result<HostFile, GuestError> {
        self.kernel.ok_or(GuestError::NoKernel)
    }

    /// The name of the kernel's file.
    pub(crate) fn kernel_name(&self, host: &impl Files) -> Result<Vec<u8>, GuestError> {
        read_text(host, file::KERNEL_NAME, self.kernel_name)
    }

    /// The initrd, if there is one.
    pub(crate) const fn initrd(&self) -> Option<HostFile> {
        self.initrd
    }

    /// The command line.
    pub(crate) fn command_line(&self, host: &impl Files) -> Result<Vec<u8>, GuestError> {
        read_text(host, file::COMMAND_LINE, self.command_line)
    }

    /// The modules, up to the first that is missing.
    pub(crate) fn modules(&self) -> impl Iterator<Item = HostFile> {
        self.modules.into_iter().map_while(|module| module)
    }

    /// The texts of the modules, each with a zero behind it.
    pub(crate) fn module_texts(&self, host: &impl Files) -> Result<Vec<u8>, GuestError> {
        read_text(host, file::MODULE_TEXTS, self.module_texts)
    }
}

/// A short file as a whole; one that is missing is empty.
fn read_text(
    host: &impl Files,
    name: &'static str,
    file: Option<HostFile>,
) -> Result<Vec<u8>, GuestError> {
    let Some(file) = file else { return Ok(vec![]) };
    if file.length > MAX_TEXT {
        return Err(GuestError::Text { length: file.length, limit: MAX_TEXT });
    }
    let mut bytes = vec![0; file.length as usize];
    host.read_file(file, 0, &mut bytes).map_err(|_| GuestError::HostRead)?;
    let is_other = |measured: [u8; 32]| MEASURED_HASH.hash(&bytes).as_bytes() != measured;
    if host.measured(file).is_some_and(is_other) {
        return Err(GuestError::NotMeasured { file: name });
    }
    Ok(bytes)
}

/// Why there is no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoConfig {
    /// The host offers it, but does not deliver it.
    HostRead,
    /// It is no valid configuration.
    Wrong(ConfigError),
}

impl fmt::Display for NoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostRead => f.write_str("the host did not deliver the configuration it offers"),
            Self::Wrong(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for NoConfig {}

/// Reads the configuration; without the file, it is the default one.
pub fn read_config(host: &impl Files) -> Result<Config, NoConfig> {
    let Some(file) = host.file(file::CONFIG) else { return Ok(Config::default()) };
    if file.length as usize > config::MAX_LENGTH {
        return Err(NoConfig::Wrong(ConfigError::TooLong));
    }
    let mut bytes = vec![0; file.length as usize];
    host.read_file(file, 0, &mut bytes).map_err(|_| NoConfig::HostRead)?;
    Config::parse(&bytes).map_err(NoConfig::Wrong)
}

/// A host file as the kernel loader reads it.
///
/// The host is asked for no byte twice while the guest is loaded: it could give another answer, and
/// the guest would start with other bytes than those that were measured. Bytes that were read
/// before are taken from where they are now.
///
/// Where the host must not write guest memory, a file that is measured is hashed while it is
/// copied. Parts that are copied out of the file's order, such as the segments of an ELF kernel,
/// can only be hashed behind those in front of them. They are read back for this, and must have the
/// digest that they had when they were copied.
pub(crate) struct FileSource<'a, P: Platform> {
    platform: &'a P,
    file: HostFile,
    /// The parts that were read. They do not overlap.
    parts: Vec<Part>,
    digests: Digests,
}

/// A part of a file that was read.
struct Part {
    offset: u64,
    length: u64,
    place: Place,
}

/// The place of its bytes.
enum Place {
    /// In our memory: the loader has looked at them.
    Ours(Vec<u8>),
    /// In guest memory, from this address on, with the digest that the bytes must have.
    Guest(u64, Option<Digest>),
}

impl Part {
    /// Copies its bytes from offset `at` of the file on.
    fn copy(&self, memory: &impl GuestMemory, at: u64, to: &mut [u8]) -> Result<(), TransferError> {
        let inside = at.wrapping_sub(self.offset);
        match &self.place {
            Place::Ours(bytes) => {
                let found = bytes.get(inside as usize..).and_then(|rest| rest.get(..to.len()));
                to.copy_from_slice(found.ok_or(TransferError::Memory)?);
                Ok(())
            }
            Place::Guest(gpa, _) => {
                let gpa = Gpa(gpa.wrapping_add(inside));
                memory.read(gpa, to).map_err(|_| TransferError::Memory)
            }
        }
    }
}

impl<'a, P: Platform> FileSource<'a, P> {
    /// Nothing has been read. The file will be measured into some of `banks`, or not at all if
    /// there are none.
    pub(crate) fn new(platform: &'a P, file: HostFile, banks: &[HashAlgorithm]) -> Self {
        let mut hashes = banks.to_vec();
        if platform.host().measured(file).is_some() && !hashes.contains(&MEASURED_HASH) {
            hashes.push(MEASURED_HASH);
        }
        Self { platform, file, parts: Vec::new(), digests: Digests::new(&hashes) }
    }

    /// Compares the file with what the launch of the VM has measured. Bytes that nothing has used are
    /// read for this, and hashed for every bank: the host is not asked for them again.
    ///
    /// # Errors
    /// [`GuestError::NotMeasured`] with the name `file`.
    pub(crate) fn check(&mut self, file: &'static str) -> Result<(), GuestError> {
        let Some(measured) = self.platform.host().measured(self.file) else { return Ok(()) };
        let digests = self.hash_rest().and_then(|()| self.digests(&[MEASURED_HASH]));
        let digests = digests.map_err(|error| GuestError::Load(error.into()))?;
        let is_same = digests.iter().all(|digest| digest.as_bytes() == measured);
        if is_same { Ok(()) } else { Err(GuestError::NotMeasured { file }) }
    }

    /// Hashes what follows the hashed bytes, up to the end of the file.
    fn hash_rest(&mut self) -> Result<(), TransferError> {
        let mut digests = mem::replace(&mut self.digests, Digests::new(&[]));
        let from = digests.length();
        let done = self.each_part(from, &mut |bytes| digests.update(bytes));
        self.digests = digests;
        done
    }

    /// The digests of the whole file for `banks`.
    pub(crate) fn digests(&self, banks: &[HashAlgorithm]) -> Result<Vec<Digest>, TransferError> {
        let (mut hashers, from) = self.digests.for_banks(banks);
        self.each_part(from, &mut |bytes| {
            hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
        })?;
        Ok(hashers.into_iter().map(Hasher::finish).collect())
    }

    /// Gives the file from offset `from` on to `each` in order, as it was read. Only bytes that
    /// were not used before are read from the host for this.
    pub(crate) fn each_part(
        &self,
        from: u64,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransferError> {
        let mut buffer = vec![0; CHUNK];
        let length = u64::from(self.file.length);
        let mut check = Hasher::new(PART_HASH);
        let mut at = from;
        while at < length {
            let (part, end) = self.piece(at, length.min(at + CHUNK as u64));
            let chunk = buffer.get_mut(..(end - at) as usize).ok_or(TransferError::Memory)?;
            match part {
                Some(part) => part.copy(self.platform.memory(), at, chunk)?,
                None => self.ask(at, chunk)?,
            }
            if let Some(Part { offset, length, place: Place::Guest(_, Some(digest)) }) = part {
                if at == *offset {
                    check = Hasher::new(PART_HASH);
                }
                check.update(chunk);
                if end == offset + length && check.clone().finish() != *digest {
                    return Err(TransferError::Memory);
                }
            }
            each(chunk);
            at = end;
        }
        Ok(())
    }

    /// The part that holds offset `at`, or none if it has not been read; and where that ends, at
    /// `end` at the latest.
    fn piece(&self, at: u64, end: u64) -> (Option<&Part>, u64) {
        let mut end = end;
        for part in &self.parts {
            let part_end = part.offset + part.length;
            if (part.offset..part_end).contains(&at) {
                return (Some(part), end.min(part_end));
            }
            if part.offset > at {
                end = end.min(part.offset);
            }
        }
        (None, end)
    }

    fn ask(&self, at: u64, to: &mut [u8]) -> Result<(), TransferError> {
        let offset = u32::try_from(at).map_err(|_| TransferError::Host)?;
        self.platform.host().read_file(self.file, offset, to).map_err(|_| TransferError::Host)
    }

    /// Has the host write a part of the file to guest memory; where it must not, the part is copied
    /// there.
    fn ask_for_guest(&mut self, at: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        let offset = u32::try_from(at).map_err(|_| TransferError::Host)?;
        let range = self.platform.memory().ram_range(Gpa(gpa), length);
        let range = range.map_err(|_| TransferError::Memory)?;
        let digest = match self.platform.host().load_file(self.file, offset, range) {
            Some(loaded) => loaded.map(|()| None).map_err(|_| TransferError::Host)?,
            None => self.copy_to_guest(at, gpa, length)?,
        };
        self.parts.push(Part { offset: at, length, place: Place::Guest(gpa, digest) });
        Ok(())
    }

    /// Copies a part of the file to guest memory through memory of ours, and hashes it on the way
    /// if it is measured. The part's own digest if the file's can not go on with it.
    fn copy_to_guest(
        &mut self,
        at: u64,
        gpa: u64,
        length: u64,
    ) -> Result<Option<Digest>, TransferError> {
        let is_measured = self.digests.are_wanted();
        if is_measured {
            self.hash_own_parts();
        }
        let follows = self.digests.length() == at;
        let mut own = (is_measured && !follows).then(|| Hasher::new(PART_HASH));
        let mut buffer = vec![0; COPIED];
        let mut done = 0;
        while done < length {
            let bytes = (length - done).min(COPIED as u64);
            let chunk = buffer.get_mut(..bytes as usize).ok_or(TransferError::Memory)?;
            self.ask(at + done, chunk)?;
            if let Some(hasher) = &mut own {
                hasher.update(chunk);
            } else if is_measured {
                self.digests.update(chunk);
            }
            let to = Gpa(gpa.wrapping_add(done));
            self.platform.memory().write(to, chunk).map_err(|_| TransferError::Memory)?;
            done += bytes;
        }
        Ok(own.map(Hasher::finish))
    }

    /// Hashes the parts in our memory that follow the hashed bytes.
    fn hash_own_parts(&mut self) {
        loop {
            let next = self.digests.length();
            let part = self.parts.iter().find(|part| part.offset == next);
            let Some(Part { place: Place::Ours(bytes), .. }) = part else { return };
            self.digests.update(bytes);
        }
    }
}

impl<P: Platform> Source for FileSource<'_, P> {
    fn len(&self) -> u64 {
        u64::from(self.file.length)
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        let end = offset + bytes.len() as u64;
        let (mut at, mut rest) = (offset, bytes);
        while at < end {
            let (part, until) = self.piece(at, end);
            let (chunk, behind) =
                rest.split_at_mut_checked((until - at) as usize).ok_or(TransferError::Memory)?;
            match part {
                Some(part) => part.copy(self.platform.memory(), at, chunk)?,
                None => {
                    self.ask(at, chunk)?;
                    let place = Place::Ours(chunk.to_vec());
                    self.parts.push(Part { offset: at, length: until - at, place });
                }
            }
            (at, rest) = (until, behind);
        }
        Ok(())
    }

    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        let end = offset + length;
        let memory = self.platform.memory();
        let mut at = offset;
        while at < end {
            let to = gpa + (at - offset);
            let (part, mut until) = self.piece(at, end);
            if let Some(part) = part {
                until = until.min(at + CHUNK as u64);
                let mut buffer = vec![0; (until - at) as usize];
                part.copy(memory, at, &mut buffer)?;
                memory.write(Gpa(to), &buffer).map_err(|_| TransferError::Memory)?;
            } else {
                self.ask_for_guest(at, to, until - at)?;
            }
            at = until;
        }
        Ok(())
    }
}
