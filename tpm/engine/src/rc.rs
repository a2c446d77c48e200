//! Response codes (Part 2, section 6.6).

/// A response code other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rc(pub(crate) u32);

/// The result of a step of a command.
pub(crate) type Result<T> = core::result::Result<T, Rc>;

macro_rules! codes {
    ($($name:ident = $value:literal,)*) => {
        impl Rc { $(pub(crate) const $name: Rc = Rc($value);)* }
    };
}

codes! {
    BAD_TAG = 0x1e,
    ATTRIBUTES = 0x82,
    HASH = 0x83,
    VALUE = 0x84,
    HIERARCHY = 0x85,
    MODE = 0x89,
    TYPE = 0x8a,
    HANDLE = 0x8b,
    KDF = 0x8c,
    RANGE = 0x8d,
    AUTH_FAIL = 0x8e,
    NONCE = 0x8f,
    PP = 0x90,
    SCHEME = 0x92,
    SIZE = 0x95,
    SYMMETRIC = 0x96,
    TAG = 0x97,
    INSUFFICIENT = 0x9a,
    SIGNATURE = 0x9b,
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
    INITIALIZE = 0x100,
    FAILURE = 0x101,
    EXCLUSIVE = 0x121,
    AUTH_TYPE = 0x124,
    AUTH_MISSING = 0x125,
    PCR = 0x127,
    PCR_CHANGED = 0x128,
    TOO_MANY_CONTEXTS = 0x12e,
    AUTH_UNAVAILABLE = 0x12f,
    COMMAND_SIZE = 0x142,
    COMMAND_CODE = 0x143,
    AUTHSIZE = 0x144,
    AUTH_CONTEXT = 0x145,
    NV_RANGE = 0x146,
    NV_LOCKED = 0x148,
    NV_AUTHORIZATION = 0x149,
    NV_UNINITIALIZED = 0x14a,
    NV_SPACE = 0x14b,
    NV_DEFINED = 0x14c,
    CPHASH = 0x151,
    NEEDS_TEST = 0x153,
    NO_RESULT = 0x154,
    CONTEXT_GAP = 0x901,
    OBJECT_MEMORY = 0x902,
    SESSION_MEMORY = 0x903,
    SESSION_HANDLES = 0x905,
    LOCALITY = 0x907,
    CANCELED = 0x909,
    REFERENCE_H0 = 0x910,
    REFERENCE_S0 = 0x918,
    NV_RATE = 0x920,
    LOCKOUT = 0x921,
    NV_UNAVAILABLE = 0x923,
}

impl Rc {
    /// Whether it is of format one, which carries the number of a handle, session or parameter.
    const fn is_positional(self) -> bool {
        self.0 & 0x080 != 0 && self.0 & 0xf40 == 0
    }

    const fn at(self, position: u32) -> Self {
        if self.is_positional() { Self(self.0 | position) } else { self }
    }

    /// The fault is in parameter `number`, counted from one.
    pub(crate) const fn param(self, number: u8) -> Self {
        self.at(0x40 | (number as u32 & 0xf) << 8)
    }

    /// The fault is in handle `number`, counted from one.
    pub(crate) const fn handle(self, number: usize) -> Self {
        self.at((number as u32 & 7) << 8)
    }

    /// The fault is in session `number`, counted from one.
    pub(crate) const fn session(self, number: usize) -> Self {
        self.at(0x800 | (number as u32 & 7) << 8)
    }

    /// The REFERENCE code `count` places further.
    pub(crate) const fn plus(self, count: usize) -> Self {
        Self(self.0 + (count as u32 & 7))
    }
}
