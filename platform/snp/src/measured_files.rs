//! The files of the host that the launch has measured.

use core::sync::atomic::{AtomicU16, Ordering};

use host_wire::file;
use host_wire::paravisor_image::{COUNT, FileDigest, Measured, NAMES};
use pc::{Access, Pc};
use platform_api::{HostFile, Transfer};

/// The handle of the configuration, which stands in the measured page. Those of the files are their
/// places in [`NAMES`].
const CONFIG: u16 = COUNT as u16;

/// The host does not offer a file that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing;

/// The files. None exists for the machine that was not measured, whatever the host offers.
#[derive(Debug)]
pub(crate) struct MeasuredFiles {
    measured: Measured<'static>,
    /// The host's own handles, from the last look-up on.
    selectors: [AtomicU16; COUNT],
}

impl MeasuredFiles {
    /// Those of the measured page.
    pub(crate) const fn new(measured: Measured<'static>) -> Self {
        Self { measured, selectors: [const { AtomicU16::new(0) }; COUNT] }
    }

    fn of(&self, file: HostFile) -> Option<&FileDigest> {
        self.measured.files.get(usize::from(file.selector))
    }

    /// Looks up a file by its name: its length is the measured one.
    ///
    /// # Errors
    /// [`Missing`].
    pub(crate) fn find<A: Access>(
        &self,
        pc: &Pc<A>,
        name: &str,
    ) -> Result<Option<HostFile>, Missing> {
        if name == file::CONFIG {
            let length = self.measured.config.len() as u32;
            return Ok(Some(HostFile { selector: CONFIG, length }));
        }
        let Some(index) = NAMES.iter().position(|known| *known == name) else { return Ok(None) };
        let file = HostFile { selector: index as u16, length: 0 };
        let length = self.of(file).map_or(0, |file| file.length);
        if length == 0 {
            return Ok(None);
        }
        let length = u32::try_from(length).map_err(|_| Missing)?;
        let found = pc.has_fw_cfg().then(|| pc.find_file(name)).flatten().ok_or(Missing)?;
        if let Some(selector) = self.selectors.get(index) {
            selector.store(found.selector, Ordering::Relaxed);
        }
        Ok(Some(HostFile { length, ..file }))
    }

    /// Reads part of a file, as the host gives it.
    ///
    /// # Errors
    /// [`Transfer`].
    pub(crate) fn read<A: Access>(
        &self,
        pc: &Pc<A>,
        file: HostFile,
        offset: u32,
        to: &mut [u8],
    ) -> Result<(), Transfer> {
        if file.selector == CONFIG {
            let rest = self.measured.config.get(offset as usize..);
            let from = rest.and_then(|rest| rest.get(..to.len())).ok_or(Transfer::PastEnd)?;
            to.copy_from_slice(from);
            return Ok(());
        }
        let selector = self.selectors.get(usize::from(file.selector)).ok_or(Transfer::Refused)?;
        pc.read_file(HostFile { selector: selector.load(Ordering::Relaxed), ..file }, offset, to)
    }

    /// The digest that a file must have. The configuration has been measured itself.
    pub(crate) fn digest(&self, file: HostFile) -> Option<[u8; 32]> {
        self.of(file).map(|file| file.sha256)
    }
}

#[cfg(test)]
mod tests;
