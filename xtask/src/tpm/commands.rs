//! Random commands for a TPM (Part 3), some of them corrupted.

use super::random::Random;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
const NV_INDEX: u32 = 0x0150_0000;
/// A password session with the empty password.
const PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// A command under construction.
pub struct Builder(Vec<u8>);

impl Builder {
    /// A command with this code and no sessions.
    pub fn plain(code: u32, handles: &[u32]) -> Self {
        Self::new(NO_SESSIONS, code, handles)
    }

    /// A command whose first handle is authorized by the empty password.
    pub fn authorized(code: u32, handles: &[u32]) -> Self {
        Self::new(SESSIONS, code, handles).bytes(&PASSWORD)
    }

    fn new(tag: u16, code: u32, handles: &[u32]) -> Self {
        let mut bytes = tag.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(code.to_be_bytes());
        bytes.extend(handles.iter().flat_map(|handle| handle.to_be_bytes()));
        Self(bytes)
    }

    /// Appends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Appends a 16-bit number.
    pub fn u16(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a 32-bit number.
    pub fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a TPM2B.
    pub fn sized(self, bytes: &[u8]) -> Self {
        self.u16(bytes.len() as u16).bytes(bytes)
    }

    /// The command, with its size.
    pub fn done(mut self) -> Vec<u8> {
        let size = (self.0.len() as u32).to_be_bytes();
        self.0[2..6].copy_from_slice(&size);
        self.0
    }
}

/// The public area of a signing key: ECDSA on P-256, or RSASSA with 2048 bits.
pub fn signing_key(rsa: bool, unique: &[u8]) -> Vec<u8> {
    let (kind, hash, attributes) = (if rsa { 0x0001 } else { 0x0023 }, 0x000B, 0x0004_0072);
    let area = Builder(vec![]).u16(kind).u16(hash).u32(attributes).sized(&[]).u16(0x0010);
    if rsa {
        area.u16(0x0014).u16(hash).u16(2048).u32(0).sized(unique).0
    } else {
        area.u16(0x0018).u16(hash).u16(3).u16(0x0010).sized(unique).sized(&[]).0
    }
}

/// The public area of a key for HMAC with SHA-256.
pub fn hmac_key() -> Vec<u8> {
    let area = Builder(vec![]).u16(0x0008).u16(0x000B).u32(0x0004_0072).sized(&[]);
    area.u16(0x0005).u16(0x000B).sized(&[]).0
}

/// The public area of a key for AES-128 in CFB mode.
pub fn cipher_key() -> Vec<u8> {
    let area = Builder(vec![]).u16(0x0025).u16(0x000B).u32(0x0006_0072).sized(&[]);
    area.u16(0x0006).u16(128).u16(0x0043).sized(&[]).0
}

/// TPM2_CreatePrimary with the empty password.
pub fn create_primary(hierarchy: u32, public: &[u8]) -> Vec<u8> {
    Builder::authorized(0x131, &[hierarchy])
        .sized(&[0, 0, 0, 0])
        .sized(public)
        .sized(&[])
        .u32(0)
        .done()
}

/// TPM2_Sign with a key's own scheme.
pub fn sign(handle: u32, digest: &[u8]) -> Vec<u8> {
    let ticket = Builder(vec![]).u16(0x8024).u32(NULL).sized(&[]).0;
    Builder::authorized(0x15D, &[handle]).sized(digest).u16(0x0010).bytes(&ticket).done()
}

/// TPM2_StartAuthSession of a TPM_SE, with neither key nor object.
pub fn start_session(kind: u8) -> Vec<u8> {
    let nonces = Builder::plain(0x176, &[NULL, NULL]).sized(&[5; 16]).sized(&[]);
    nonces.bytes(&[kind]).u16(0x0010).u16(0x000B).done()
}

/// TPM2_NV_DefineSpace of an ordinary index of 32 bytes.
pub fn define(index: u32, attributes: u32, size: u16) -> Vec<u8> {
    let public = Builder(vec![]).u32(index).u16(0x000B).u32(attributes).sized(&[]).u16(size).0;
    Builder::authorized(0x12A, &[OWNER]).sized(&[]).sized(&public).done()
}

/// A stream of commands.
pub struct Generator(Random);

impl Generator {
    /// Starts the stream for a seed.
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// The next command: one of four is corrupted.
    pub fn next(&mut self, number: usize) -> Vec<u8> {
        let mut command = self.valid(number);
        if self.0.below(4) == 0 {
            self.spoil(&mut command);
        }
        command
    }

    fn spoil(&mut self, command: &mut Vec<u8>) {
        match self.0.below(3) {
            0 => {
                let place = 10 + self.0.below(command.len().saturating_sub(10));
                let byte = self.0.byte();
                if let Some(spoilt) = command.get_mut(place) {
                    *spoilt = byte;
                }
            }
            1 => command.truncate(10 + self.0.below(command.len().saturating_sub(10))),
            _ => command.push(self.0.byte()),
        }
        let size = (command.len() as u32).to_be_bytes();
        command[2..6].copy_from_slice(&size);
    }

    fn valid(&mut self, number: usize) -> Vec<u8> {
        match self.0.below(3) {
            0 => self.simple(number),
            1 => self.object(number),
            _ => self.storage(),
        }
    }

    fn simple(&mut self, number: usize) -> Vec<u8> {
        let random = &mut self.0;
        let pcr = random.pick(&[0, 8, 16, 23, 24]);
        match random.below(9) {
            0 => Builder::plain(0x17B, &[]).u16(random.below(80) as u16).done(),
            1 => {
                let bank = random.pick(&[0x0004, 0x000B, 0x000C]);
                Builder::plain(0x17E, &[]).u32(1).u16(bank).bytes(&[3, 1, 2, random.byte()]).done()
            }
            2 => {
                let digest = [number as u8; 32];
                Builder::authorized(0x182, &[pcr]).u32(1).u16(0x000B).bytes(&digest).done()
            }
            3 => Builder::authorized(0x13D, &[pcr]).done(),
            4 => {
                let capability = random.below(11) as u32;
                let property = random.pick(&[0, 1, 0x100, 0x200, 0x8000_0000]);
                Builder::plain(0x17A, &[]).u32(capability).u32(property).u32(4).done()
            }
            5 => {
                let hash = random.pick(&[0x0004, 0x000B, 0x000C, 0x000D, 0x0010]);
                let data = vec![7; random.below(200)];
                Builder::plain(0x17D, &[]).sized(&data).u16(hash).u32(OWNER).done()
            }
            6 => Builder::plain(0x178, &[]).u16(random.pick(&[0, 1, 3, 4])).done(),
            7 => Builder::plain(0x146, &[]).sized(&vec![1; random.below(140)]).done(),
            _ => Builder::plain(0x181, &[]).done(),
        }
    }

    fn object(&mut self, number: usize) -> Vec<u8> {
        let random = &mut self.0;
        // No more handles than swtpm has slots: it rejects higher numbers as no handles at all.
        let handle = 0x8000_0000 + random.below(3) as u32;
        let session = 0x0300_0000 + random.below(3) as u32;
        match random.below(9) {
            0 => create_primary(OWNER, &signing_key(false, &[])),
            1 | 2 => Builder::plain(0x165, &[]).u32(random.pick(&[handle, session])).done(),
            3 => Builder::plain(0x173, &[handle]).done(),
            4 => sign(handle, &[number as u8; 32]),
            5 => Builder::plain(0x163, &[handle]).done(),
            6 => {
                let kind = random.pick(&[0, 1, 3]);
                start_session(kind)
            }
            7 => {
                let code = random.pick(&[0x180, 0x16B, 0x18C, 0x189]);
                Builder::plain(code, &[session]).done()
            }
            _ => Builder::plain(0x16C, &[session]).u32(0x15D).done(),
        }
    }

    fn storage(&mut self) -> Vec<u8> {
        let random = &mut self.0;
        let index = NV_INDEX + random.below(3) as u32;
        match random.below(7) {
            0 => define(index, 0x0002_0002, random.pick(&[8, 32])),
            1 => define(index, 0x0002_0012, 8),
            2 => Builder::authorized(0x122, &[OWNER, index]).done(),
            3 => {
                let data = vec![3; random.below(34)];
                Builder::authorized(0x137, &[OWNER, index]).sized(&data).u16(0).done()
            }
            4 => {
                let size = random.below(34) as u16;
                Builder::authorized(0x14E, &[OWNER, index]).u16(size).u16(0).done()
            }
            5 => Builder::plain(0x169, &[index]).done(),
            _ => Builder::authorized(0x134, &[OWNER, index]).done(),
        }
    }
}
