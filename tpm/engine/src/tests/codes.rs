//! Numbers of Part 2 for the tests, independent of the engine's tables.

/// TPM_CC (section 6.5.2).
pub(super) mod cc {
    macro_rules! codes {
        ($($name:ident = $value:literal,)*) => {
            $(pub(in crate::tests) const $name: u32 = $value;)*
        };
    }

    codes! {
        NV_UNDEFINE_SPACE_SPECIAL = 0x11f,
        EVICT_CONTROL = 0x120,
        HIERARCHY_CONTROL = 0x121,
        NV_UNDEFINE_SPACE = 0x122,
        CHANGE_EPS = 0x124,
        CHANGE_PPS = 0x125,
        CLEAR = 0x126,
        CLEAR_CONTROL = 0x127,
        CLOCK_SET = 0x128,
        HIERARCHY_CHANGE_AUTH = 0x129,
        NV_DEFINE_SPACE = 0x12a,
        PCR_ALLOCATE = 0x12b,
        PCR_SET_AUTH_POLICY = 0x12c,
        SET_PRIMARY_POLICY = 0x12e,
        CLOCK_RATE_ADJUST = 0x130,
        CREATE_PRIMARY = 0x131,
        NV_GLOBAL_WRITE_LOCK = 0x132,
        GET_COMMAND_AUDIT_DIGEST = 0x133,
        NV_INCREMENT = 0x134,
        NV_SET_BITS = 0x135,
        NV_EXTEND = 0x136,
        NV_WRITE = 0x137,
        NV_WRITE_LOCK = 0x138,
        DICTIONARY_ATTACK_LOCK_RESET = 0x139,
        DICTIONARY_ATTACK_PARAMETERS = 0x13a,
        NV_CHANGE_AUTH = 0x13b,
        PCR_EVENT = 0x13c,
        PCR_RESET = 0x13d,
        SEQUENCE_COMPLETE = 0x13e,
        SET_COMMAND_CODE_AUDIT_STATUS = 0x140,
        INCREMENTAL_SELF_TEST = 0x142,
        STARTUP = 0x144,
        SHUTDOWN = 0x145,
        STIR_RANDOM = 0x146,
        CERTIFY = 0x148,
        POLICY_NV = 0x149,
        CERTIFY_CREATION = 0x14a,
        DUPLICATE = 0x14b,
        GET_TIME = 0x14c,
        GET_SESSION_AUDIT_DIGEST = 0x14d,
        NV_READ = 0x14e,
        NV_READ_LOCK = 0x14f,
        OBJECT_CHANGE_AUTH = 0x150,
        POLICY_SECRET = 0x151,
        CREATE = 0x153,
        ECDH_ZGEN = 0x154,
        HMAC = 0x155,
        IMPORT = 0x156,
        LOAD = 0x157,
        QUOTE = 0x158,
        RSA_DECRYPT = 0x159,
        HMAC_START = 0x15b,
        SEQUENCE_UPDATE = 0x15c,
        SIGN = 0x15d,
        UNSEAL = 0x15e,
        CONTEXT_LOAD = 0x161,
        CONTEXT_SAVE = 0x162,
        ECDH_KEY_GEN = 0x163,
        ENCRYPT_DECRYPT = 0x164,
        FLUSH_CONTEXT = 0x165,
        LOAD_EXTERNAL = 0x167,
        NV_READ_PUBLIC = 0x169,
        POLICY_AUTH_VALUE = 0x16b,
        POLICY_COMMAND_CODE = 0x16c,
        POLICY_COUNTER_TIMER = 0x16d,
        POLICY_CP_HASH = 0x16e,
        POLICY_LOCALITY = 0x16f,
        POLICY_NAME_HASH = 0x170,
        READ_PUBLIC = 0x173,
        RSA_ENCRYPT = 0x174,
        START_AUTH_SESSION = 0x176,
        VERIFY_SIGNATURE = 0x177,
        GET_CAPABILITY = 0x17a,
        GET_RANDOM = 0x17b,
        HASH = 0x17d,
        PCR_READ = 0x17e,
        POLICY_PCR = 0x17f,
        POLICY_RESTART = 0x180,
        READ_CLOCK = 0x181,
        PCR_EXTEND = 0x182,
        PCR_SET_AUTH_VALUE = 0x183,
        NV_CERTIFY = 0x184,
        EVENT_SEQUENCE_COMPLETE = 0x185,
        HASH_SEQUENCE_START = 0x186,
        POLICY_PHYSICAL_PRESENCE = 0x187,
        POLICY_GET_DIGEST = 0x189,
        TEST_PARMS = 0x18a,
        POLICY_PASSWORD = 0x18c,
        POLICY_NV_WRITTEN = 0x18f,
        POLICY_TEMPLATE = 0x190,
        CREATE_LOADED = 0x191,
        POLICY_AUTHORIZE_NV = 0x192,
        ENCRYPT_DECRYPT_2 = 0x193,
    }
}

/// TPM_RC (section 6.6).
pub(super) mod rc {
    macro_rules! codes {
        ($($name:ident = $value:literal,)*) => {
            $(pub(in crate::tests) const $name: u32 = $value;)*
        };
    }

    codes! {
        ATTRIBUTES = 0x82,
        HASH = 0x83,
        VALUE = 0x84,
        HIERARCHY = 0x85,
        KEY_SIZE = 0x87,
        MODE = 0x89,
        TYPE = 0x8a,
        HANDLE = 0x8b,
        KDF = 0x8c,
        RANGE = 0x8d,
        AUTH_FAIL = 0x8e,
        PP = 0x90,
        SCHEME = 0x92,
        SIZE = 0x95,
        SYMMETRIC = 0x96,
        INSUFFICIENT = 0x9a,
        KEY = 0x9c,
        POLICY_FAIL = 0x9d,
        INTEGRITY = 0x9f,
        TICKET = 0xa0,
        RESERVED_BITS = 0xa1,
        BAD_AUTH = 0xa2,
        EXPIRED = 0xa3,
        POLICY_CC = 0xa4,
        BINDING = 0xa5,
        CURVE = 0xa6,
        ECC_POINT = 0xa7,
        FAILURE = 0x101,
        DISABLED = 0x120,
        EXCLUSIVE = 0x121,
        AUTH_TYPE = 0x124,
        POLICY = 0x126,
        PCR = 0x127,
        PCR_CHANGED = 0x128,
        AUTH_UNAVAILABLE = 0x12f,
        NV_RANGE = 0x146,
        NV_LOCKED = 0x148,
        NV_AUTHORIZATION = 0x149,
        NV_UNINITIALIZED = 0x14a,
        NV_SPACE = 0x14b,
        CPHASH = 0x151,
        NEEDS_TEST = 0x153,
        OBJECT_MEMORY = 0x902,
        SESSION_MEMORY = 0x903,
        SESSION_HANDLES = 0x905,
        LOCALITY = 0x907,
        REFERENCE_H0 = 0x910,
        REFERENCE_S0 = 0x918,
    }

    /// A code about a parameter, counted from one.
    pub(in crate::tests) const fn param(number: u32, code: u32) -> u32 {
        code | 0x40 | number << 8
    }

    /// A code about a handle, counted from one.
    pub(in crate::tests) const fn handle(number: u32, code: u32) -> u32 {
        code | number << 8
    }

    /// A code about a session, counted from one.
    pub(in crate::tests) const fn session(number: u32, code: u32) -> u32 {
        code | 0x800 | number << 8
    }
}
