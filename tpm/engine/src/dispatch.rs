//! Runs a command from its bytes to the bytes of its response (Part 1, section 18; Part 3, section
//! 5).

use alloc::boxed::Box;
use alloc::vec::Vec;

use zeroize::Zeroize;

use crate::call::{Call, Command, find};
use crate::codec::Reader;
use crate::commands::COMMANDS;
use crate::constants::{rh, st};
use crate::rc::{Rc, Result};
use crate::response::{self, USUAL_RESPONSE};
use crate::rsa_search::KeyWork;
use crate::running::Running;
use crate::state::Orderly;
use crate::table::flag;
use crate::{Environment, MAX_COMMAND, Progress, SEARCH_UNITS, Tpm, authorization};

impl Tpm {
    /// Starts a command from `locality`. An unfinished command is dropped.
    #[inline(never)]
    pub fn start(&mut self, command: &[u8], locality: u8, env: &mut dyn Environment) {
        let bytes = command.get(..=MAX_COMMAND).unwrap_or(command);
        self.running = Some(Box::new(Running {
            bytes: Vec::from(bytes).into(),
            locality,
            presence: env.physical_presence(),
            keys: KeyWork::default(),
        }));
        // Time is committed separately, so that a failing command cannot roll it back.
        let (healing, safe) = (self.v.healing.clone(), self.v.clock.safe);
        let now = env.now_ms();
        self.advance_time(now);
        if self.store.commit(env).is_err() {
            self.v.healing = healing;
            self.v.clock.safe = safe;
        }
    }

    /// Continues the started command: either `budget` units of a key search, or everything else in
    /// one step. Without a started command the response is TPM_RC_FAILURE.
    #[inline(never)]
    pub fn work(&mut self, budget: u32, env: &mut dyn Environment) -> Progress {
        let Some(mut running) = self.running.take() else {
            return Progress::Done(response::error(Rc::FAILURE));
        };
        if running.keys.is_searching() {
            if env.is_canceled() {
                return Progress::Done(response::error(Rc::CANCELED));
            }
            match running.keys.search(budget) {
                Ok(true) => {}
                Ok(false) => {
                    self.running = Some(running);
                    return Progress::Working;
                }
                Err(rc) => return Progress::Done(response::error(rc)),
            }
        }
        let mut call = Call {
            locality: running.locality,
            presence: running.presence,
            table: COMMANDS,
            keys: core::mem::take(&mut running.keys),
            // One allocation is enough for the parameters of most responses.
            out: Vec::with_capacity(USUAL_RESPONSE),
            ..Call::default()
        };
        let answer = self.run(&running.bytes, &mut call, env);
        call.parameters.zeroize();
        if call.keys.is_searching() {
            running.keys = call.keys;
            self.running = Some(running);
            return Progress::Working;
        }
        Progress::Done(answer.unwrap_or_else(response::error))
    }

    /// Runs a command until it is done or the environment cancels it.
    pub fn execute(&mut self, command: &[u8], locality: u8, env: &mut dyn Environment) -> Vec<u8> {
        self.start(command, locality, env);
        loop {
            if let Progress::Done(response) = self.work(SEARCH_UNITS, env) {
                return response;
            }
        }
    }

    fn run(&mut self, bytes: &[u8], call: &mut Call, env: &mut dyn Environment) -> Result<Vec<u8>> {
        let command = self.parse(bytes, call)?;
        self.authorize(env, call, command)?;
        let before = self.v.clone();
        let outcome = self.complete(command, call, env);
        if outcome.is_err() {
            self.store.roll_back();
            let failed = self.v.failed;
            self.v = before;
            // A failed self-test is not rolled back.
            self.v.failed |= failed;
        }
        outcome
    }

    /// Runs the command and builds the response before it commits: nothing can fail afterwards.
    fn complete(
        &mut self,
        command: &Command,
        call: &mut Call,
        env: &mut dyn Environment,
    ) -> Result<Vec<u8>> {
        self.act(command, call, env)?;
        let response = self.respond(command, call, env)?;
        self.store.commit(env)?;
        Ok(response)
    }

    fn act(&mut self, command: &Command, call: &mut Call, env: &mut dyn Environment) -> Result<()> {
        if self.store.global().orderly != Orderly::None && !command.is(flag::PASSIVE) {
            let global = self.store.global_mut();
            global.orderly = Orderly::None;
            global.preserved = None;
        }
        (command.run)(self, env, call)
    }

    /// Reads the header, the handles and the authorization area; the rest are parameters.
    fn parse(&self, bytes: &[u8], call: &mut Call) -> Result<&'static Command> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u16()?;
        if !matches!(tag, st::NO_SESSIONS | st::SESSIONS) {
            return Err(Rc::BAD_TAG);
        }
        let size = reader.u32().map_err(|_| Rc::COMMAND_SIZE)? as usize;
        if size != bytes.len() || bytes.len() > MAX_COMMAND {
            return Err(Rc::COMMAND_SIZE);
        }
        call.code = reader.u32().map_err(|_| Rc::COMMAND_SIZE)?;
        let command = find(call.table, call.code).ok_or(Rc::COMMAND_CODE)?;
        self.check_mode(command, tag)?;
        call.count = command.handles.len();
        for (number, (kind, place)) in (1..).zip(command.handles.iter().zip(&mut call.handles)) {
            *place = kind.parse(&mut reader).map_err(|rc| rc.handle(number))?;
        }
        let handles = call.handles.get(..command.handles.len()).unwrap_or_default();
        for (number, &handle) in (1..).zip(handles) {
            let empty_context = call.code == FLUSH_CONTEXT;
            if handle != rh::NULL && !empty_context {
                self.check_present(call.code, handle, number)?;
            }
        }
        if tag == st::SESSIONS {
            if command.is(flag::NO_SESSIONS) {
                return Err(Rc::AUTH_CONTEXT);
            }
            let size = reader.u32().map_err(|_| Rc::AUTHSIZE)? as usize;
            if size < 9 || size > reader.rest().len() {
                return Err(Rc::AUTHSIZE);
            }
            call.sessions = authorization::parse(self, reader.take(size)?, command, handles)?;
        } else if !command.auths.is_empty() {
            return Err(Rc::AUTH_MISSING);
        }
        call.parameters = reader.rest().into();
        Ok(command)
    }

    /// Refuses most commands before Startup and in failure mode, where sessions are refused as
    /// well: they need the cryptography that failed.
    fn check_mode(&self, command: &Command, tag: u16) -> Result<()> {
        if self.v.failed {
            let answered = command.is(flag::ALWAYS) && tag == st::NO_SESSIONS;
            return if answered { Ok(()) } else { Err(Rc::FAILURE) };
        }
        if !self.v.started && command.code != STARTUP {
            return Err(Rc::INITIALIZE);
        }
        Ok(())
    }
}

/// TPM_CC_Startup.
pub(crate) const STARTUP: u32 = 0x144;
/// TPM_CC_FlushContext: its handle is a parameter.
const FLUSH_CONTEXT: u32 = 0x165;
