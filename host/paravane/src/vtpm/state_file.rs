//! The TPM's non-volatile storage in one file, which is replaced as a whole.
//!
//! Form, all numbers little-endian: eight bytes of magic, the number of records, each record's key,
//! size and bytes, and the SHA-256 of all before. A new content is written beside the file, made
//! durable, and renamed over it, so that a crash leaves the one or the other. It is not encrypted:
//! only its owner may read it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tpm::Change;
use tpm_crypto::hash::HashAlgorithm;

const MAGIC: &[u8; 8] = b"PVvTPM\0\x01";
/// No state is larger: the engine's storage is bounded far below.
const MAX_SIZE: u64 = 1 << 20;
const DIGEST: usize = 32;
const OWNER_ONLY: u32 = 0o600;

type Records = BTreeMap<u32, Vec<u8>>;

/// The records, and the file that holds them.
pub struct StateFile {
    records: Records,
    place: Option<Place>,
}

struct Place {
    file: PathBuf,
    beside: PathBuf,
    /// Open, for the name in it to be made durable.
    folder: File,
    /// Held for as long as this process uses the file.
    _lock: File,
}

impl StateFile {
    /// No file: all is lost with the process.
    pub fn in_memory() -> Self {
        Self { records: Records::new(), place: None }
    }

    /// The file's records, and whether there was none.
    ///
    /// # Errors
    /// When another process has it, or it is no state of a TPM.
    pub fn open(path: &Path) -> Result<(Self, bool)> {
        let place = Place::lock(path)?;
        let records = match fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAX_SIZE => {
                bail!("{} is too large for the state of a TPM", path.display())
            }
            Ok(_) => Some(fs::read(path).with_context(|| path.display().to_string())?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let is_new = records.is_none();
        let records = match records {
            Some(bytes) => decode(&bytes)
                .with_context(|| format!("{} is no state of a TPM, or torn", path.display()))?,
            None => Records::new(),
        };
        Ok((Self { records, place: Some(place) }, is_new))
    }

    /// The records by key.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Makes changes durable, all or none.
    ///
    /// # Errors
    /// Why none was.
    pub fn commit(&mut self, changes: &[Change]) -> Result<()> {
        let mut records = self.records.clone();
        for change in changes {
            match &change.data {
                Some(data) => records.insert(change.key, data.clone()),
                None => records.remove(&change.key),
            };
        }
        if let Some(place) = &self.place {
            place.replace(&encode(&records))?;
        }
        self.records = records;
        Ok(())
    }
}

impl Place {
    fn lock(path: &Path) -> Result<Self> {
        let with = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = File::open(folder).with_context(|| folder.display().to_string())?;
        let name = with(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(OWNER_ONLY)
            .open(&name)
            .with_context(|| name.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process uses {}", path.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| name.display().to_string());
            }
        }
        Ok(Self { file: path.to_owned(), beside: with(".new"), folder, _lock: lock })
    }

    fn replace(&self, content: &[u8]) -> Result<()> {
        let mut beside = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(OWNER_ONLY)
            .open(&self.beside)
            .with_context(|| self.beside.display().to_string())?;
        beside.write_all(content)?;
        beside.sync_all()?;
        fs::rename(&self.beside, &self.file).with_context(|| self.file.display().to_string())?;
        self.folder.sync_all()?;
        Ok(())
    }
}

fn encode(records: &Records) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let number = |bytes: &mut Vec<u8>, value: usize| {
        bytes.extend_from_slice(&(value as u32).to_le_bytes());
    };
    number(&mut bytes, records.len());
    for (key, data) in records {
        number(&mut bytes, *key as usize);
        number(&mut bytes, data.len());
        bytes.extend_from_slice(data);
    }
    let digest = HashAlgorithm::Sha256.hash(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Records> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    if HashAlgorithm::Sha256.hash(content).as_bytes() != digest {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let count = number(&mut rest)?;
    let mut records = Records::new();
    for _ in 0..count {
        let (key, size) = (number(&mut rest)?, number(&mut rest)? as usize);
        let (data, after) = rest.split_at_checked(size)?;
        records.insert(key, data.to_vec());
        rest = after;
    }
    rest.is_empty().then_some(records)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}
