//! One command: its description, its state while it runs.

use alloc::vec::Vec;

use crate::codec::Reader;
use crate::rc::{Rc, Result};
use crate::rsa_search::KeyWork;
use crate::secret::Secret;
use crate::table::{Kind, Role, flag};
use crate::{Environment, Tpm};

/// The environment as it is passed to commands.
pub(crate) type Env<'a> = &'a mut dyn Environment;

/// The function that runs an authorized command.
pub(crate) type Handler = fn(&mut Tpm, Env<'_>, &mut Call) -> Result<()>;

/// The description of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) code: u32,
    pub(crate) run: Handler,
    pub(crate) handles: &'static [Kind],
    /// Roles of the first handles.
    pub(crate) auths: &'static [Role],
    pub(crate) flags: u16,
}

impl Command {
    pub(crate) const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// TPMA_CC (Part 2, section 8.9).
    pub(crate) const fn attributes(&self) -> u32 {
        self.code & 0xffff
            | (self.is(flag::NV) as u32) << 22
            | (self.is(flag::EXTENSIVE) as u32) << 23
            | (self.is(flag::FLUSHED) as u32) << 24
            | (self.handles.len() as u32) << 25
            | (self.is(flag::HANDLE) as u32) << 28
    }
}

/// The description of the command with a code.
pub(crate) fn find(table: &'static [Command], code: u32) -> Option<&'static Command> {
    let place = table.binary_search_by_key(&code, |command| command.code).ok()?;
    table.get(place)
}

/// One entry of a command's authorization area.
#[derive(Debug)]
pub(crate) struct Authorization {
    pub(crate) handle: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) attributes: u8,
    pub(crate) hmac: Secret,
    /// The entity that the session authorizes, if any.
    pub(crate) entity: Option<u32>,
}

impl Authorization {
    pub(crate) const fn has(&self, attributes: u8) -> bool {
        self.attributes & attributes == attributes
    }
}

/// A command: its handles, its parameters, and the response as far as it is built.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) code: u32,
    pub(crate) locality: u8,
    /// Whether physical presence was asserted when the command started.
    pub(crate) presence: bool,
    /// The table of commands.
    pub(crate) table: &'static [Command],
    pub(crate) handles: [u32; 3],
    /// How many handles there are.
    pub(crate) count: usize,
    pub(crate) sessions: Vec<Authorization>,
    /// The parameters, in clear once the command is authorized. `position` bytes, in `number`
    /// parameters, have been read.
    pub(crate) parameters: Vec<u8>,
    pub(crate) position: usize,
    pub(crate) number: u8,
    /// Parameters of the response.
    pub(crate) out: Vec<u8>,
    pub(crate) out_handle: Option<u32>,
    /// cpHash for the audit session, and for the command audit.
    pub(crate) audit: [Option<Vec<u8>>; 2],
    /// The RSA key that the command needs, if any.
    pub(crate) keys: KeyWork,
}

impl Call {
    /// Handle `index`, counted from zero.
    pub(crate) fn handle(&self, index: usize) -> u32 {
        self.handles.get(index).copied().unwrap_or(crate::constants::rh::NULL)
    }

    /// Reads the next parameter; errors carry its number.
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

    /// Checks that all parameter bytes were read; SIZE if not.
    pub(crate) fn end(&self) -> Result<()> {
        if self.position == self.parameters.len() { Ok(()) } else { Err(Rc::SIZE) }
    }
}
