//! The tables behind GetCapability: algorithms, TPM properties (Part 2, sections 6.3, 6.13).

use alloc::vec::Vec;

use crate::codec::{Put, built};
use crate::constants::{MAX_ACTIVE_SESSIONS, MAX_LOADED_OBJECTS, MAX_LOADED_SESSIONS, alg, nv, rh};
use crate::nv_index::{MAX_INDEX, MAX_NV_BUFFER};
use crate::pcr::COUNT;
use crate::state::Orderly;
use crate::store::{MAX_INDICES, MAX_PERSISTENT};
use crate::structures::{MAX_BUFFER, MAX_DIGEST};
use crate::{MAX_COMMAND, MAX_RESPONSE, Tpm, clock, startup};

const ASYMMETRIC: u32 = 1 << 0;
const SYMMETRIC: u32 = 1 << 1;
const HASH: u32 = 1 << 2;
const OBJECT: u32 = 1 << 3;
const SIGNING: u32 = 1 << 8;
const ENCRYPTING: u32 = 1 << 9;
const METHOD: u32 = 1 << 10;

/// The implemented algorithms with their TPMA_ALGORITHM.
pub(crate) const ALGORITHMS: &[(u16, u32)] = &[
    (alg::RSA, ASYMMETRIC | OBJECT),
    (alg::SHA1, HASH),
    (alg::HMAC, HASH | SIGNING),
    (alg::AES, SYMMETRIC),
    (alg::MGF1, HASH | METHOD),
    (alg::KEYEDHASH, HASH | OBJECT | SIGNING | ENCRYPTING),
    (alg::XOR, HASH | SYMMETRIC),
    (alg::SHA256, HASH),
    (alg::SHA384, HASH),
    (alg::SHA512, HASH),
    (alg::RSASSA, ASYMMETRIC | SIGNING),
    (alg::RSAES, ASYMMETRIC | ENCRYPTING),
    (alg::RSAPSS, ASYMMETRIC | SIGNING),
    (alg::OAEP, ASYMMETRIC | ENCRYPTING),
    (alg::ECDSA, ASYMMETRIC | SIGNING),
    (alg::ECDH, ASYMMETRIC | METHOD),
    (alg::ECDAA, ASYMMETRIC | SIGNING),
    (alg::KDF1_SP800_56A, HASH | METHOD),
    (alg::KDF1_SP800_108, HASH | METHOD),
    (alg::ECC, ASYMMETRIC | OBJECT),
    (alg::SYMCIPHER, OBJECT | SYMMETRIC),
    (alg::CTR, SYMMETRIC | ENCRYPTING),
    (alg::OFB, SYMMETRIC | ENCRYPTING),
    (alg::CBC, SYMMETRIC | ENCRYPTING),
    (alg::CFB, SYMMETRIC | ENCRYPTING),
    (alg::ECB, SYMMETRIC | ENCRYPTING),
];

const fn text(bytes: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*bytes)
}

/// The fixed properties, apart from the number of commands.
const FIXED: &[(u32, u32)] = &[
    (0x100, text(b"2.0\0")),
    (0x101, 0),
    (0x102, 159),
    // Date of the library specification: day 312 of 2019.
    (0x103, 312),
    (0x104, 2019),
    (0x105, text(b"PRVN")),
    (0x106, text(b"Para")),
    (0x107, text(b"vane")),
    (0x108, 0),
    (0x109, 0),
    (0x10a, 1),
    (0x10b, 0x0000_0001),
    (0x10c, 0),
    (0x10d, MAX_BUFFER as u32),
    (0x10e, MAX_LOADED_OBJECTS as u32),
    (0x10f, MAX_PERSISTENT as u32),
    (0x110, MAX_LOADED_SESSIONS as u32),
    (0x111, MAX_ACTIVE_SESSIONS as u32),
    (0x112, COUNT),
    (0x113, 3),
    (0x114, u32::MAX),
    (0x116, MAX_INDICES as u32),
    (0x117, MAX_INDEX as u32),
    // Sessions and objects do not share memory.
    (0x118, 0),
    (0x119, clock::UPDATE_INTERVAL as u32),
    (0x11a, alg::SHA256 as u32),
    (0x11b, alg::AES as u32),
    (0x11c, 256),
    (0x11d, startup::ORDERLY_COUNTS as u32),
    (0x11e, MAX_COMMAND as u32),
    (0x11f, MAX_RESPONSE as u32),
    (0x120, MAX_DIGEST as u32),
    (0x121, 2500),
    (0x122, 1024),
    // TPM_PS_PC: PC Client profile 1.05, day 247 of 2020.
    (0x123, 1),
    (0x124, 0),
    (0x125, 0x0000_0105),
    (0x126, 247),
    (0x127, 2020),
    (0x128, 0),
    (0x12b, 0),
    (0x12c, MAX_NV_BUFFER as u32),
    (0x12d, 0),
    (0x12e, 1024),
];

/// TPM_PT_TOTAL_COMMANDS and TPM_PT_LIBRARY_COMMANDS: there are no vendor commands.
const TOTAL_COMMANDS: u32 = 0x129;
const LIBRARY_COMMANDS: u32 = 0x12a;
/// The highest property.
const LAST: u32 = 0x214;

impl Tpm {
    /// Properties from `first` to the end of its group of 256, in ascending order (Part 3, section
    /// 30.2).
    pub(crate) fn properties(&self, first: u32, commands: usize) -> Vec<u8> {
        let first = first.max(0x100);
        built(|out| {
            for tag in first..=LAST.min(first | 0xff) {
                if let Some(value) = self.property(tag, commands) {
                    out.put_u32(tag).put_u32(value);
                }
            }
        })
    }

    fn property(&self, tag: u32, commands: usize) -> Option<u32> {
        match tag {
            TOTAL_COMMANDS | LIBRARY_COMMANDS => Some(commands as u32),
            0x200.. => self.variable(tag),
            _ => FIXED.iter().find(|(fixed, _)| *fixed == tag).map(|(_, value)| *value),
        }
    }

    fn variable(&self, tag: u32) -> Option<u32> {
        let lockout = &self.store.global().lockout;
        let loaded_sessions = self.loaded_sessions() as u32;
        let active = self.active_sessions() as u32;
        let objects = self.v.objects.iter().flatten().count() as u32;
        let persistent = self.store.objects().count() as u32;
        let counter = |index: &crate::nv_index::Index| index.kind() == nv::COUNTER;
        let free = |all: usize, used: u32| (all as u32).saturating_sub(used);
        Some(match tag {
            0x200 => self.permanent_attributes(),
            0x201 => self.startup_attributes(),
            0x202 => self.store.indices().count() as u32,
            0x203 => loaded_sessions,
            0x204 => free(MAX_LOADED_SESSIONS, loaded_sessions),
            0x205 => active,
            0x206 => free(MAX_ACTIVE_SESSIONS, active),
            0x207 => free(MAX_LOADED_OBJECTS, objects),
            0x208 => persistent,
            0x209 => free(MAX_PERSISTENT, persistent),
            0x20a => self.store.handles_of(counter).len() as u32,
            0x20b => free(MAX_INDICES, self.store.indices().count() as u32),
            // The algorithm set is fixed; both curves are loaded.
            0x20c => 0,
            0x20d => 2,
            0x20e => lockout.failed_tries,
            0x20f => lockout.max_tries,
            0x210 => lockout.recovery_time,
            0x211 => lockout.lockout_recovery,
            // Writes to NV need no recovery time.
            0x212 => 0,
            0x213 => (self.store.global().audit_counter >> 32) as u32,
            0x214 => self.store.global().audit_counter as u32,
            _ => return None,
        })
    }

    /// TPMA_PERMANENT (Part 2, section 8.6).
    fn permanent_attributes(&self) -> u32 {
        let global = self.store.global();
        u32::from(!global.owner_auth.is_empty())
            | u32::from(!global.endorsement_auth.is_empty()) << 1
            | u32::from(!global.lockout_auth.is_empty()) << 2
            | u32::from(global.disable_clear) << 8
            | u32::from(self.is_locked_out()) << 9
            // tpmGeneratedEPS.
            | 1 << 10
    }

    /// TPMA_STARTUP_CLEAR (Part 2, section 8.7).
    fn startup_attributes(&self) -> u32 {
        u32::from(self.is_enabled(rh::PLATFORM))
            | u32::from(self.is_enabled(rh::OWNER)) << 1
            | u32::from(self.is_enabled(rh::ENDORSEMENT)) << 2
            | u32::from(self.is_enabled(rh::PLATFORM_NV)) << 3
            | u32::from(self.store.global().orderly != Orderly::None) << 31
    }
}
