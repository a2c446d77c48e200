//! A client that builds commands by itself, and an environment that can fail.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;
use tpm_crypto::hmac::hmac;
use tpm_crypto::kdf::kdfa;

use crate::{Change, CommitError, Environment, Tpm};

pub(super) const OWNER: u32 = 0x4000_0001;
pub(super) const NULL: u32 = 0x4000_0007;
pub(super) const LOCKOUT: u32 = 0x4000_000a;
pub(super) const PLATFORM: u32 = 0x4000_000c;
pub(super) const ENDORSEMENT: u32 = 0x4000_000b;

/// Entropy that repeats, time by hand, storage in memory.
#[derive(Default)]
pub(super) struct Fake {
    seed: u64,
    pub(super) now: u64,
    pub(super) records: BTreeMap<u32, Vec<u8>>,
    pub(super) commits: usize,
    /// Commits fail from this one on.
    pub(super) fail_from: Option<usize>,
    pub(super) presence: bool,
    pub(super) canceled: bool,
    /// The running command is to end once it has been asked about so often.
    pub(super) cancel_after: Option<usize>,
    /// There is no entropy.
    pub(super) dry: bool,
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

/// How a handle is authorized.
pub(super) enum Auth<'a> {
    Password(&'a [u8]),
    /// A session with the value and name of what it authorizes.
    Session(&'a mut Session, &'a [u8], u8),
}

/// The client's side of a session over SHA-256.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) handle: u32,
    pub(super) key: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// The value of the entity is part of the HMAC key.
    pub(super) with_value: bool,
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

    /// The TPM2Bs that the body begins with.
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

    /// Power off and on again, from the records.
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
        let names: Vec<Vec<u8>> = if auths.iter().any(|a| matches!(a, Auth::Session(..))) {
            handles.iter().map(|&handle| self.name(handle)).collect()
        } else {
            vec![]
        };
        let mut hashed = b().u32(code);
        for name in &names {
            hashed = hashed.raw(name);
        }
        let cp_hash = HashAlgorithm::Sha256.hash(&hashed.raw(&parameters.0).0);
        let mut area = b();
        for auth in &auths {
            area = match auth {
                Auth::Password(value) => area.u32(0x4000_0009).u16(0).u8(1).sized(value),
                Auth::Session(session, value, attributes) => {
                    let key = session.hmac_key(value);
                    let caller = [0x5a; 16];
                    let parts: [&[u8]; 4] = [&cp_hash, &caller, &session.nonce, &[*attributes]];
                    let mac = hmac(HashAlgorithm::Sha256, &key, &parts);
                    let mac: &[u8] =
                        if session.handle >> 24 == 3 && key.is_empty() { &[] } else { &mac };
                    area.u32(session.handle).sized(&caller).u8(*attributes).sized(mac)
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
        let response = self.send(&command, 0);
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
        let parameters = b().sized(&[1; 16]).u16(0).u8(kind).raw(&symmetric.0).u16(0x0b);
        let answer = self.run(0x176, &[NULL, bind], parameters).ok();
        let nonce = answer.field(0);
        let mut key = vec![];
        if bind != NULL {
            key = vec![0; 32];
            kdfa(HashAlgorithm::Sha256, value, b"ATH", &nonce, &[1; 16], &mut key);
        }
        Session { handle: answer.handle, key, nonce, with_value: bind == NULL && kind == 0 }
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
    let rp_hash = HashAlgorithm::Sha256.hash(&b().u32(0).u32(code).raw(&answer.body).0);
    for auth in auths {
        let nonce_size = usize::from(u16::from_be_bytes([sessions[0], sessions[1]]));
        let nonce = sessions[2..2 + nonce_size].to_vec();
        sessions = &sessions[2 + nonce_size..];
        let attributes = sessions[0];
        let mac_size = usize::from(u16::from_be_bytes([sessions[1], sessions[2]]));
        let mac = &sessions[3..3 + mac_size];
        if let Auth::Session(session, value, _) = auth {
            let key = session.hmac_key(value);
            let parts: [&[u8]; 4] = [&rp_hash, &nonce, &[0x5a; 16], &[attributes]];
            let expected = hmac(HashAlgorithm::Sha256, &key, &parts);
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

/// The SRK template of the TCG for ECC P-256.
pub(super) fn ecc_srk() -> Bytes {
    b().u16(0x23)
        .u16(0x0b)
        .u32(0x0003_0472)
        .u16(0)
        .u16(6)
        .u16(128)
        .u16(0x43)
        .u16(0x10)
        .u16(3)
        .u16(0x10)
        .u16(0)
        .u16(0)
}

/// The SRK template for RSA-2048.
pub(super) fn rsa_srk() -> Bytes {
    b().u16(1)
        .u16(0x0b)
        .u32(0x0003_0472)
        .u16(0)
        .u16(6)
        .u16(128)
        .u16(0x43)
        .u16(0x10)
        .u16(2048)
        .u32(0)
        .u16(0)
}

/// A restricted ECDSA key.
pub(super) fn ecc_attestation_key() -> Bytes {
    b().u16(0x23)
        .u16(0x0b)
        .u32(0x0005_0072)
        .u16(0)
        .u16(0x10)
        .u16(0x18)
        .u16(0x0b)
        .u16(3)
        .u16(0x10)
        .u16(0)
        .u16(0)
}

/// Sealed data.
pub(super) fn sealed() -> Bytes {
    b().u16(8).u16(0x0b).u32(0x0000_0052).u16(0).u16(0x10).u16(0)
}
