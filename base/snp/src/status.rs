//! The status codes of the firmware.

use open_enum::open_enum;

/// The outcome of a command or of a guest's message (SNP firmware ABI 56860, "Status codes").
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    SUCCESS = 0x00,
    /// The platform's state does not allow the command.
    INVALID_PLATFORM_STATE = 0x01,
    /// The VM's state does not allow the command.
    INVALID_GUEST_STATE = 0x02,
    /// The platform's configuration is invalid.
    INVALID_CONFIG = 0x03,
    /// A buffer is too short.
    INVALID_LENGTH = 0x04,
    /// The platform has an owner already.
    ALREADY_OWNED = 0x05,
    /// A certificate is invalid.
    INVALID_CERTIFICATE = 0x06,
    /// The VM's policy does not allow the command.
    POLICY_FAILURE = 0x07,
    /// The VM is not active.
    INACTIVE = 0x08,
    /// An address is invalid.
    INVALID_ADDRESS = 0x09,
    /// A signature or authentication tag is wrong.
    BAD_SIGNATURE = 0x0a,
    /// The launch digest is not the expected one.
    BAD_MEASUREMENT = 0x0b,
    /// The ASID belongs to another VM.
    ASID_OWNED = 0x0c,
    /// The ASID is invalid.
    INVALID_ASID = 0x0d,
    /// Caches must be written back first.
    WBINVD_REQUIRED = 0x0e,
    /// The data fabric must be flushed first.
    DF_FLUSH_REQUIRED = 0x0f,
    /// There is no such VM.
    INVALID_GUEST = 0x10,
    /// There is no such command.
    INVALID_COMMAND = 0x11,
    /// The VM is active.
    ACTIVE = 0x12,
    /// A hardware error; the platform is safe.
    HWERROR_PLATFORM = 0x13,
    /// A hardware error; the platform is not safe.
    HWERROR_UNSAFE = 0x14,
    /// The platform does not support this.
    UNSUPPORTED = 0x15,
    /// A parameter is invalid.
    INVALID_PARAM = 0x16,
    /// The firmware lacks a resource.
    RESOURCE_LIMIT = 0x17,
    /// Stored data failed its check.
    SECURE_DATA_INVALID = 0x18,
    /// A page's size in the RMP does not fit.
    INVALID_PAGE_SIZE = 0x19,
    /// A page's state in the RMP does not fit.
    INVALID_PAGE_STATE = 0x1a,
    /// A metadata entry is invalid.
    INVALID_MDATA_ENTRY = 0x1b,
    /// A page belongs to another VM.
    INVALID_PAGE_OWNER = 0x1c,
    /// The sequence number of messages would wrap.
    AEAD_OFLOW = 0x1d,
    /// The ring-buffer mode has ended.
    RB_MODE_EXITED = 0x1f,
    /// The RMP is not initialized.
    RMP_INIT_REQUIRED = 0x20,
    /// A security version is too low.
    BAD_SVN = 0x21,
    /// A version is wrong.
    BAD_VERSION = 0x22,
    /// A shutdown must come first.
    SHUTDOWN_REQUIRED = 0x23,
    /// An update failed.
    UPDATE_FAILED = 0x24,
    /// The firmware must be restored.
    RESTORE_REQUIRED = 0x25,
    /// The RMP could not be initialized.
    RMP_INITIALIZATION_FAILED = 0x26,
    /// The selected key is not available.
    INVALID_KEY = 0x27,
}
