//! One command while it runs: its handles, its parameters, what becomes its response.

use alloc::vec::Vec;

use crate::Environment;
use crate::authorization::Authorization;
use crate::codec::Reader;
use crate::rc::{Rc, Result};
use crate::rsa_search::KeyWork;

/// The environment as commands get it.
pub(crate) type Env<'a> = &'a mut dyn Environment;

/// A command that passed its authorizations.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) code: u32,
    pub(crate) locality: u8,
    /// Physical presence when the command began.
    pub(crate) presence: bool,
    pub(crate) handles: [u32; 3],
    pub(crate) sessions: Vec<Authorization>,
    /// Parameters in clear, with how much was read in how many steps.
    pub(crate) parameters: Vec<u8>,
    pub(crate) position: usize,
    pub(crate) number: u8,
    /// Parameters of the response.
    pub(crate) out: Vec<u8>,
    pub(crate) out_handle: Option<u32>,
    /// cpHash for the audit session, and for the command audit.
    pub(crate) audit: [Option<Vec<u8>>; 2],
    /// RSA keys that were asked for.
    pub(crate) keys: KeyWork,
}

impl Call {
    /// Handle `index`, counted from zero.
    pub(crate) fn handle(&self, index: usize) -> u32 {
        self.handles.get(index).copied().unwrap_or(crate::constants::rh::NULL)
    }

    /// Reads the next parameter; an error names its number.
    pub(crate) fn read<T>(
        &mut self,
        parse: impl FnOnce(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        self.number += 1;
        let rest = self.parameters.get(self.position..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        let value = parse(&mut reader).map_err(|rc| rc.param(self.number))?;
        self.position = self.parameters.len() - reader.rest().len();
        Ok(value)
    }

    /// Reads a TPM2B of at most `max` bytes.
    pub(crate) fn sized(&mut self, max: usize) -> Result<Vec<u8>> {
        self.read(|r| r.sized(max))
    }

    /// All parameters were read: SIZE if there are more bytes.
    pub(crate) fn end(&self) -> Result<()> {
        if self.position == self.parameters.len() { Ok(()) } else { Err(Rc::SIZE) }
    }
}
