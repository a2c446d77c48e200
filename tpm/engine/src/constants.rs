//! Numbers of the specification: algorithms, handles, attributes, structure tags.

/// TPM_ALG_ID (Part 2, section 6.3).
pub(crate) mod alg {
    pub(crate) const RSA: u16 = 1;
    pub(crate) const SHA1: u16 = 4;
    pub(crate) const HMAC: u16 = 5;
    pub(crate) const AES: u16 = 6;
    pub(crate) const MGF1: u16 = 7;
    pub(crate) const KEYEDHASH: u16 = 8;
    pub(crate) const XOR: u16 = 0xa;
    pub(crate) const SHA256: u16 = 0xb;
    pub(crate) const SHA384: u16 = 0xc;
    pub(crate) const SHA512: u16 = 0xd;
    pub(crate) const NULL: u16 = 0x10;
    pub(crate) const RSASSA: u16 = 0x14;
    pub(crate) const RSAES: u16 = 0x15;
    pub(crate) const RSAPSS: u16 = 0x16;
    pub(crate) const OAEP: u16 = 0x17;
    pub(crate) const ECDSA: u16 = 0x18;
    pub(crate) const ECDH: u16 = 0x19;
    pub(crate) const ECDAA: u16 = 0x1a;
    pub(crate) const ECSCHNORR: u16 = 0x1c;
    pub(crate) const KDF1_SP800_56A: u16 = 0x20;
    pub(crate) const KDF1_SP800_108: u16 = 0x22;
    pub(crate) const ECC: u16 = 0x23;
    pub(crate) const SYMCIPHER: u16 = 0x25;
    pub(crate) const CTR: u16 = 0x40;
    pub(crate) const OFB: u16 = 0x41;
    pub(crate) const CBC: u16 = 0x42;
    pub(crate) const CFB: u16 = 0x43;
    pub(crate) const ECB: u16 = 0x44;
}

/// TPM_ECC_CURVE (Part 2, section 6.4).
pub(crate) mod curve {
    pub(crate) const P256: u16 = 3;
    pub(crate) const P384: u16 = 4;
}

/// TPM_CC of commands with rules of their own (Part 2, section 6.5.2).
pub(crate) mod cc {
    /// It always needs physical presence (Part 3, section 26.2).
    pub(crate) const PP_COMMANDS: u32 = 0x12d;
    /// It is always audited.
    pub(crate) const SET_AUDIT_STATUS: u32 = 0x140;
    /// Those that use an index as data: NV_Read, NV_Certify, PolicyNV, PolicyAuthorizeNV.
    pub(crate) const READ_INDEX: [u32; 4] = [0x14e, 0x184, 0x149, 0x192];
}

/// The banks of PCRs, in the order in which capabilities list them.
pub(crate) const BANKS: [u16; 3] = [alg::SHA1, alg::SHA256, alg::SHA384];

/// The most transient objects and sequences at a time.
pub(crate) const MAX_LOADED_OBJECTS: usize = 7;
/// The most sessions at a time, loaded and saved.
pub(crate) const MAX_ACTIVE_SESSIONS: usize = 64;
/// The most loaded sessions at a time.
pub(crate) const MAX_LOADED_SESSIONS: usize = 16;

/// TPM_HANDLE (Part 2, section 7).
pub(crate) mod rh {
    pub(crate) const OWNER: u32 = 0x4000_0001;
    pub(crate) const NULL: u32 = 0x4000_0007;
    pub(crate) const PW: u32 = 0x4000_0009;
    pub(crate) const LOCKOUT: u32 = 0x4000_000a;
    pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;
    pub(crate) const PLATFORM: u32 = 0x4000_000c;
    pub(crate) const PLATFORM_NV: u32 = 0x4000_000d;

    pub(crate) const HMAC_SESSION_FIRST: u32 = 0x0200_0000;
    pub(crate) const POLICY_SESSION_FIRST: u32 = 0x0300_0000;
    pub(crate) const TRANSIENT_FIRST: u32 = 0x8000_0000;
    pub(crate) const PLATFORM_PERSISTENT: u32 = 0x8180_0000;

    /// TPM_HT of a handle.
    pub(crate) const fn kind(handle: u32) -> u8 {
        (handle >> 24) as u8
    }

    /// Whether a handle is in the range of transient objects (Part 2, section 7.4: TRANSIENT_LAST).
    pub(crate) const fn is_transient(handle: u32) -> bool {
        kind(handle) == HT_TRANSIENT && in_kind(handle) < super::MAX_LOADED_OBJECTS
    }

    /// Whether a handle is in the range of sessions of this kind (the same section:
    /// HMAC_SESSION_LAST, POLICY_SESSION_LAST).
    pub(crate) const fn is_session(handle: u32, session: u8) -> bool {
        kind(handle) == session && in_kind(handle) < super::MAX_ACTIVE_SESSIONS
    }

    /// A handle without its type.
    const fn in_kind(handle: u32) -> usize {
        (handle & 0x00ff_ffff) as usize
    }

    pub(crate) const HT_PCR: u8 = 0x00;
    pub(crate) const HT_NV: u8 = 0x01;
    pub(crate) const HT_HMAC: u8 = 0x02;
    pub(crate) const HT_POLICY: u8 = 0x03;
    pub(crate) const HT_PERMANENT: u8 = 0x40;
    pub(crate) const HT_TRANSIENT: u8 = 0x80;
    pub(crate) const HT_PERSISTENT: u8 = 0x81;
}

/// TPMA_OBJECT (Part 2, section 8.3).
pub(crate) mod attr {
    pub(crate) const FIXED_TPM: u32 = 1 << 1;
    pub(crate) const ST_CLEAR: u32 = 1 << 2;
    pub(crate) const FIXED_PARENT: u32 = 1 << 4;
    pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub(crate) const USER_WITH_AUTH: u32 = 1 << 6;
    pub(crate) const ADMIN_WITH_POLICY: u32 = 1 << 7;
    pub(crate) const NO_DA: u32 = 1 << 10;
    pub(crate) const ENCRYPTED_DUPLICATION: u32 = 1 << 11;
    pub(crate) const RESTRICTED: u32 = 1 << 16;
    pub(crate) const DECRYPT: u32 = 1 << 17;
    pub(crate) const SIGN: u32 = 1 << 18;
    pub(crate) const X509_SIGN: u32 = 1 << 19;
    pub(crate) const RESERVED: u32 = !(FIXED_TPM
        | ST_CLEAR
        | FIXED_PARENT
        | SENSITIVE_DATA_ORIGIN
        | USER_WITH_AUTH
        | ADMIN_WITH_POLICY
        | NO_DA
        | ENCRYPTED_DUPLICATION
        | RESTRICTED
        | DECRYPT
        | SIGN
        | X509_SIGN);
}

/// TPMA_SESSION (Part 2, section 8.4).
pub(crate) mod sa {
    pub(crate) const CONTINUE: u8 = 1;
    pub(crate) const AUDIT_EXCLUSIVE: u8 = 2;
    pub(crate) const AUDIT_RESET: u8 = 4;
    pub(crate) const RESERVED: u8 = 0x18;
    pub(crate) const DECRYPT: u8 = 0x20;
    pub(crate) const ENCRYPT: u8 = 0x40;
    pub(crate) const AUDIT: u8 = 0x80;
}

/// TPM_ST (Part 2, section 6.9).
pub(crate) mod st {
    pub(crate) const RSP_COMMAND: u16 = 0x00c4;
    pub(crate) const NO_SESSIONS: u16 = 0x8001;
    pub(crate) const SESSIONS: u16 = 0x8002;
    pub(crate) const ATTEST_NV: u16 = 0x8014;
    pub(crate) const ATTEST_COMMAND_AUDIT: u16 = 0x8015;
    pub(crate) const ATTEST_SESSION_AUDIT: u16 = 0x8016;
    pub(crate) const ATTEST_CERTIFY: u16 = 0x8017;
    pub(crate) const ATTEST_QUOTE: u16 = 0x8018;
    pub(crate) const ATTEST_TIME: u16 = 0x8019;
    pub(crate) const ATTEST_CREATION: u16 = 0x801a;
    pub(crate) const ATTEST_NV_DIGEST: u16 = 0x801c;
    pub(crate) const CREATION: u16 = 0x8021;
    pub(crate) const VERIFIED: u16 = 0x8022;
    pub(crate) const AUTH_SECRET: u16 = 0x8023;
    pub(crate) const HASHCHECK: u16 = 0x8024;
    pub(crate) const AUTH_SIGNED: u16 = 0x8025;
}

/// TPM_GENERATED_VALUE (Part 2, section 6.2).
pub(crate) const GENERATED: u32 = 0xff54_4347;

/// TPMA_NV (Part 2, section 13.4).
pub(crate) mod nv {
    pub(crate) const PP_WRITE: u32 = 1 << 0;
    pub(crate) const OWNER_WRITE: u32 = 1 << 1;
    pub(crate) const AUTH_WRITE: u32 = 1 << 2;
    pub(crate) const POLICY_WRITE: u32 = 1 << 3;
    pub(crate) const POLICY_DELETE: u32 = 1 << 10;
    pub(crate) const WRITE_LOCKED: u32 = 1 << 11;
    pub(crate) const WRITE_ALL: u32 = 1 << 12;
    pub(crate) const WRITE_DEFINE: u32 = 1 << 13;
    pub(crate) const WRITE_STCLEAR: u32 = 1 << 14;
    pub(crate) const GLOBAL_LOCK: u32 = 1 << 15;
    pub(crate) const PP_READ: u32 = 1 << 16;
    pub(crate) const OWNER_READ: u32 = 1 << 17;
    pub(crate) const AUTH_READ: u32 = 1 << 18;
    pub(crate) const POLICY_READ: u32 = 1 << 19;
    pub(crate) const NO_DA: u32 = 1 << 25;
    pub(crate) const ORDERLY: u32 = 1 << 26;
    pub(crate) const CLEAR_STCLEAR: u32 = 1 << 27;
    pub(crate) const READ_LOCKED: u32 = 1 << 28;
    pub(crate) const WRITTEN: u32 = 1 << 29;
    pub(crate) const PLATFORM_CREATE: u32 = 1 << 30;
    pub(crate) const READ_STCLEAR: u32 = 1 << 31;
    pub(crate) const RESERVED: u32 = 0x01f0_0300;

    /// TPM_NT of an index's attributes.
    pub(crate) const fn kind(attributes: u32) -> u32 {
        attributes >> 4 & 0xf
    }

    pub(crate) const ORDINARY: u32 = 0;
    pub(crate) const COUNTER: u32 = 1;
    pub(crate) const BITS: u32 = 2;
    pub(crate) const EXTEND: u32 = 4;
    pub(crate) const PIN_FAIL: u32 = 8;
    pub(crate) const PIN_PASS: u32 = 9;
}
