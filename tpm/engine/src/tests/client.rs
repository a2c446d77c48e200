//! A client that builds commands itself, in an environment that can fail.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;
use tpm_crypto::hmac::hmac;
use tpm_crypto::kdf::kdfa;

pub(super) use super::public_areas::*;
use crate::{Change, CommitError, Environment, Tpm};

pub(super) const OWNER: u32 = 0x4000_0001;
pub(super) const NULL: u32 = 0x4000_0007;
pub(super) const LOCKOUT: u32 = 0x4000_000a;
pub(super) const PLATFORM: u32 = 0x4000_000c;
pub(super) const ENDORSEMENT: u32 = 0x4000_000b;

/// Repeating entropy, time set by the test, storage in memory.
#[derive(Default)]
pub(super) struct Fake {
    seed: u64,
    pub(super) now: u64,
    pub(super) records: BTreeMap<u32, Vec<u8>>,
    pub(super) commits: usize,
    /// The first commit that fails; all later ones fail, too.
    pub(super) fail_from: Option<usize>,
    pub(super) presence: bool,
    pub(super) canceled: bool,
    /// The running command is canceled after this many polls.
    pub(super) cancel_after: Option<usize>,
    /// The entropy source fails.
    pub(super) dry: bool,
    /// The locality of commands.
    pub(super) locality: u8,
}

impl Environment for Fake {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        for byte in out {
            self.seed =
                self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *byte = (self.seed >> 56) as u8;
        }
        !self.dry
    }

    fn now_ms(&mut self) -> u64 {
        self.now
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        self.commits += 1;
        if self.fail_from.is_some_and(|from| self.commits >= from) {
            return Err(CommitError::Unavailable);
        }
        for change in changes {
            match &change.data {
                Some(data) => self.records.insert(change.key, data.clone()),
                None => self.records.remove(&change.key),
            };
        }
        Ok(())
    }

    fn physical_presence(&mut self) -> bool {
        self.presence
    }

    fn is_canceled(&mut self) -> bool {
        let left = self.cancel_after.map(|left| left.saturating_sub(1));
        self.cancel_after = left;
        self.canceled || left == Some(0)
    }
}

/// A big-endian writer for commands.
#[derive(Clone, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(bytes.len() as u16).raw(bytes)
    }
}

pub(super) fn b() -> Bytes {
    Bytes::default()
}

/// A big-endian reader of responses.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take(&mut self, size: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(size);
        self.0 = rest;
        head.into()
    }
    pub(super) fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }
    pub(super) fn sized(&mut self) -> Vec<u8> {
        let size = self.u16();
        self.take(size.into())
    }
}

/// How a handle is authorized.
pub(super) enum Auth<'a> {
    Password(&'a [u8]),
    /// A session with the value of the entity that it authorizes, and its attributes.
    Session(&'a mut Session, &'a [u8], u8),
    /// A policy session whose HMAC field holds a password.
    Shown(&'a mut Session, &'a [u8]),
}

impl Auth<'_> {
    /// Attributes of an HMAC session.
    fn attributes(&self) -> u8 {
        if let Self::Session(_, _, attributes) = self { *attributes } else { 0 }
    }

    fn nonce(&self) -> Vec<u8> {
        if let Self::Session(session, ..) = self { session.nonce.clone() } else { vec![] }
    }
}

/// The client's side of a session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) handle: u32,
    pub(super) alg: HashAlgorithm,
    pub(super) key: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// Whether the entity's authorization value is part of the HMAC key.
    pub(super) with_value: bool,
    /// The authorization value for the response HMAC, if the command changes it.
    pub(super) renewed: Option<Vec<u8>>,
}

/// The parameters of StartAuthSession.
pub(super) struct Start<'a> {
    /// tpmKey, with the salt encrypted and in clear.
    pub(super) salt: (u32, &'a [u8], &'a [u8]),
    /// The entity that the session is bound to, with its authorization value.
    pub(super) bind: (u32, &'a [u8]),
    /// 0 for HMAC, 1 for policy, 3 for trial.
    pub(super) kind: u8,
    pub(super) symmetric: Bytes,
    pub(super) alg: HashAlgorithm,
}

impl Default for Start<'_> {
    fn default() -> Self {
        Self {
            salt: (NULL, &[], &[]),
            bind: (NULL, &[]),
            kind: 0,
            symmetric: b().u16(0x10),
            alg: HashAlgorithm::Sha256,
        }
    }
}

/// A response in parts.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) rc: u32,
    pub(super) handle: u32,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.rc, 0, "response code {:#x}", self.rc);
        self
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }

    /// The TPM2Bs at the start of the body.
    pub(super) fn field(&self, index: usize) -> Vec<u8> {
        let mut rest = &self.body[..];
        for _ in 0..index {
            let size = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            rest = &rest[2 + size..];
        }
        let size = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        rest[2..2 + size].into()
    }
}

pub(super) struct Client {
    pub(super) tpm: Tpm,
    pub(super) env: Fake,
}

const HANDLE_CODES: [u32; 9] = [0x131, 0x157, 0x15b, 0x161, 0x167, 0x176, 0x186, 0x191, 0];

impl Client {
    /// A new TPM after Startup(CLEAR).
    pub(super) fn new() -> Self {
        let mut env = Fake::default();
        let tpm = Tpm::manufacture(&mut env).expect("a new TPM");
        let mut client = Self { tpm, env };
        client.startup(0);
        client
    }

    pub(super) fn startup(&mut self, kind: u16) {
        self.run(0x144, &[], b().u16(kind)).ok();
    }

    /// Power cycle: a new TPM from the stored records.
    pub(super) fn power_cycle(&mut self) {
        let records: Vec<(u32, Vec<u8>)> = self.env.records.clone().into_iter().collect();
        let records = records.iter().map(|(key, bytes)| (*key, &bytes[..]));
        self.tpm = Tpm::open(records, &mut self.env).expect("its own records");
    }

    pub(super) fn send(&mut self, command: &[u8], locality: u8) -> Vec<u8> {
        let response = self.tpm.execute(command, locality, &mut self.env);
        assert!(response.len() >= 10 && response.len() <= 4096);
        let size = u32::from_be_bytes(response[2..6].try_into().expect("four bytes"));
        assert_eq!(size as usize, response.len(), "a well-formed response");
        response
    }

    /// A command without sessions.
    pub(super) fn run(&mut self, code: u32, handles: &[u32], parameters: Bytes) -> Answer {
        self.auth(code, handles, vec![], parameters)
    }

    /// A command whose handles have empty passwords.
    pub(super) fn pw(&mut self, code: u32, handles: &[u32], parameters: Bytes) -> Answer {
        self.auth(code, handles, vec![Auth::Password(&[])], parameters)
    }

    pub(super) fn name(&mut self, handle: u32) -> Vec<u8> {
        match handle >> 24 {
            0x80 | 0x81 => self.run(0x173, &[handle], b()).ok().field(1),
            0x01 => self.run(0x169, &[handle], b()).ok().field(1),
            _ => handle.to_be_bytes().into(),
        }
    }

    pub(super) fn auth(
        &mut self,
        code: u32,
        handles: &[u32],
        auths: Vec<Auth<'_>>,
        parameters: Bytes,
    ) -> Answer {
        let names: Vec<Vec<u8>> = if auths.iter().any(|a| !matches!(a, Auth::Password(_))) {
            handles.iter().map(|&handle| self.name(handle)).collect()
        } else {
            vec![]
        };
        let mut hashed = b().u32(code);
        for name in &names {
            hashed = hashed.raw(name);
        }
        let hashed = hashed.raw(&parameters.0).0;
        let others = crypting_nonces(&auths);
        let mut area = b();
        for (index, auth) in auths.iter().enumerate() {
            area = match auth {
                Auth::Password(value) => area.u32(0x4000_0009).u16(0).u8(1).sized(value),
                Auth::Shown(session, value) => {
                    area.u32(session.handle).sized(&[0x5a; 16]).u8(1).sized(value)
                }
                Auth::Session(session, value, attributes) => {
                    let key = session.hmac_key(value);
                    let cp_hash = session.alg.hash(&hashed);
                    let others: &[u8] = if index == 0 { &others } else { &[] };
                    let parts: [&[u8]; 5] =
                        [&cp_hash, &[0x5a; 16], &session.nonce, others, &[*attributes]];
                    let mac = hmac(session.alg, &key, &parts);
                    let mac: &[u8] =
                        if session.handle >> 24 == 3 && key.is_empty() { &[] } else { &mac };
                    area.u32(session.handle).sized(&[0x5a; 16]).u8(*attributes).sized(mac)
                }
            };
        }
        let mut command = b();
        for &handle in handles {
            command = command.u32(handle);
        }
        if !auths.is_empty() {
            command = command.u32(area.0.len() as u32).raw(&area.0);
        }
        let body = command.raw(&parameters.0).0;
        let tag = if auths.is_empty() { 0x8001 } else { 0x8002 };
        let command = b().u16(tag).u32(10 + body.len() as u32).u32(code).raw(&body).0;
        let response = self.send(&command, self.env.locality);
        take_apart(code, &response, auths)
    }

    /// An unbound, unsalted session: 0 for HMAC, 1 for policy, 3 for trial.
    pub(super) fn session(&mut self, kind: u8) -> Session {
        self.session_with(NULL, &[], kind, b().u16(0x10))
    }

    pub(super) fn session_with(
        &mut self,
        bind: u32,
        value: &[u8],
        kind: u8,
        symmetric: Bytes,
    ) -> Session {
        self.start_session(Start { bind: (bind, value), kind, symmetric, ..Start::default() })
    }

    pub(super) fn start_session(&mut self, start: Start<'_>) -> Session {
        let Start { salt: (key_handle, sent, salt), bind: (bind, value), kind, symmetric, alg } =
            start;
        let head = b().sized(&[1; 16]).sized(sent).u8(kind);
        let parameters = head.raw(&symmetric.0).u16(alg.id());
        let answer = self.run(0x176, &[key_handle, bind], parameters).ok();
        let nonce = answer.field(0);
        let mut key = vec![];
        if (key_handle, bind) != (NULL, NULL) {
            key = vec![0; alg.digest_size()];
            kdfa(alg, &[value, salt].concat(), b"ATH", &nonce, &[1; 16], &mut key);
        }
        let with_value = bind == NULL && kind == 0;
        Session { handle: answer.handle, alg, key, nonce, with_value, renewed: None }
    }

    /// A primary key of a hierarchy from a template.
    pub(super) fn primary(&mut self, hierarchy: u32, template: &Bytes) -> Answer {
        let parameters = b().u16(4).u32(0).sized(&template.0).u16(0).u32(0);
        self.pw(0x131, &[hierarchy], parameters).ok()
    }

    /// Create under a parent, then Load.
    pub(super) fn child(&mut self, parent: u32, template: &Bytes, auth: &[u8], data: &[u8]) -> u32 {
        let sensitive = b().sized(auth).sized(data);
        let parameters = b().sized(&sensitive.0).sized(&template.0).u16(0).u32(0);
        let made = self.pw(0x153, &[parent], parameters).ok();
        let parameters = b().sized(&made.field(0)).sized(&made.field(1));
        self.pw(0x157, &[parent], parameters).ok().handle
    }
}

impl Session {
    fn hmac_key(&self, value: &[u8]) -> Vec<u8> {
        let value = if self.with_value { value } else { &[] };
        [&self.key, value].concat()
    }
}

/// The nonces of the sessions that encrypt parameters, as the first session's HMAC takes them in
/// (Part 1, section 19.6.5): the one that decrypts, then the one that encrypts if it is another.
fn crypting_nonces(auths: &[Auth<'_>]) -> Vec<u8> {
    let with = |bit: u8| auths.iter().position(|auth| auth.attributes() & bit != 0);
    let (decrypt, encrypt) = (with(0x20), with(0x40));
    let encrypt = encrypt.filter(|_| encrypt != decrypt);
    let nonce = |place: Option<usize>| {
        place.filter(|&place| place != 0).map(|place| auths[place].nonce()).unwrap_or_default()
    };
    [nonce(decrypt), nonce(encrypt)].concat()
}

/// Splits a response and checks its sessions' HMACs.
fn take_apart(code: u32, response: &[u8], auths: Vec<Auth<'_>>) -> Answer {
    let rc = u32::from_be_bytes(response[6..10].try_into().expect("four bytes"));
    let mut rest = &response[10..];
    let mut answer = Answer { rc, handle: 0, body: vec![] };
    if rc != 0 {
        assert!(rest.is_empty(), "an error is its code only");
        return answer;
    }
    if HANDLE_CODES.contains(&code) {
        answer.handle = u32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        rest = &rest[4..];
    }
    if auths.is_empty() {
        answer.body = rest.into();
        return answer;
    }
    let size = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
    answer.body = rest[4..4 + size].into();
    let mut sessions = &rest[4 + size..];
    let hashed = b().u32(0).u32(code).raw(&answer.body).0;
    for auth in auths {
        let nonce_size = usize::from(u16::from_be_bytes([sessions[0], sessions[1]]));
        let nonce = sessions[2..2 + nonce_size].to_vec();
        sessions = &sessions[2 + nonce_size..];
        let attributes = sessions[0];
        let mac_size = usize::from(u16::from_be_bytes([sessions[1], sessions[2]]));
        let mac = &sessions[3..3 + mac_size];
        if let Auth::Shown(session, _) = auth {
            assert!(mac.is_empty(), "a password has no HMAC");
            session.nonce = nonce;
        } else if let Auth::Session(session, value, _) = auth {
            let key = session.hmac_key(session.renewed.as_deref().unwrap_or(value));
            let rp_hash = session.alg.hash(&hashed);
            let parts: [&[u8]; 4] = [&rp_hash, &nonce, &[0x5a; 16], &[attributes]];
            let expected = hmac(session.alg, &key, &parts);
            if !(session.handle >> 24 == 3 && key.is_empty()) {
                assert_eq!(mac, expected.as_bytes(), "the response's HMAC");
            }
            session.nonce = nonce;
        }
        sessions = &sessions[3 + mac_size..];
    }
    assert!(sessions.is_empty());
    answer
}
