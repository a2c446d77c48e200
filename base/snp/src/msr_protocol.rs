//! The protocol of the GHCB MSR, for requests without a GHCB page.
//!
//! The low 12 bits of the MSR tell which message it holds (GHCB specification 56421, "GHCB MSR
//! Protocol"). Reserved bits are ignored. [`Answer::decode`] accepts every answer; the guest must
//! compare it with its request.

use crate::exit::HypervisorFeatures;
use crate::page_state::Operation;

const INFO_MASK: u64 = 0xfff;
const DATA_SHIFT: u32 = 12;
const GFN_MASK: u64 = (1 << 40) - 1;

mod info {
    pub(super) const GHCB: u64 = 0x000;
    pub(super) const SEV_INFO_ANSWER: u64 = 0x001;
    pub(super) const SEV_INFO: u64 = 0x002;
    pub(super) const CPUID: u64 = 0x004;
    pub(super) const CPUID_ANSWER: u64 = 0x005;
    pub(super) const AP_RESET_HOLD: u64 = 0x006;
    pub(super) const AP_RESET_HOLD_ANSWER: u64 = 0x007;
    pub(super) const PREFERRED_GHCB: u64 = 0x010;
    pub(super) const PREFERRED_GHCB_ANSWER: u64 = 0x011;
    pub(super) const REGISTER_GHCB: u64 = 0x012;
    pub(super) const REGISTER_GHCB_ANSWER: u64 = 0x013;
    pub(super) const PAGE_STATE: u64 = 0x014;
    pub(super) const PAGE_STATE_ANSWER: u64 = 0x015;
    pub(super) const RUN_VMPL: u64 = 0x016;
    pub(super) const RUN_VMPL_ANSWER: u64 = 0x017;
    pub(super) const FEATURES: u64 = 0x080;
    pub(super) const FEATURES_ANSWER: u64 = 0x081;
    pub(super) const TERMINATE: u64 = 0x100;
}

/// A value of the MSR that is no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMessage(pub u64);

/// The register of a CPUID request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registers'")]
pub enum CpuidRegister {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl CpuidRegister {
    const fn decode(value: u64) -> Self {
        match value >> 30 & 3 {
            0 => Self::Eax,
            1 => Self::Ebx,
            2 => Self::Ecx,
            _ => Self::Edx,
        }
    }

    const fn encode(self) -> u64 {
        (self as u64) << 30
    }
}

/// Why a guest ends the VM: the set that defines the reason, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// 0 for the reasons of the specification, 1 for Linux's; 4 bits.
    pub set: u8,
    /// The reason.
    pub reason: u8,
}

impl Termination {
    /// An unspecified reason.
    pub const GENERAL: Self = Self { set: 0, reason: 0 };
    /// The hypervisor does not support the guest's version of the protocol.
    pub const UNSUPPORTED_VERSION: Self = Self { set: 0, reason: 1 };
    /// The hypervisor does not support the features that the guest needs.
    pub const UNSUPPORTED_FEATURES: Self = Self { set: 0, reason: 2 };
}

/// A message from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The MSR holds the GPA of a GHCB with a request.
    Ghcb {
        /// The GPA, a multiple of 4096.
        gpa: u64,
    },
    /// Asks for protocol versions and the C-bit.
    SevInfo,
    /// Asks for one register of a CPUID function with subfunction 0.
    Cpuid {
        /// The function.
        function: u32,
        /// The register.
        register: CpuidRegister,
    },
    /// The VP waits for INIT and SIPI.
    ApResetHold,
    /// Asks for the GPA that the hypervisor prefers for the GHCB.
    PreferredGhcb,
    /// Registers the GHCB.
    RegisterGhcb {
        /// Number of its guest page.
        gfn: u64,
    },
    /// Changes the state of one 4 KiB page.
    PageState {
        /// Number of the guest page, 40 bits.
        gfn: u64,
        /// The new state.
        operation: Operation,
    },
    /// Runs another privilege level on this CPU.
    RunVmpl {
        /// The level.
        vmpl: u8,
    },
    /// Asks for the hypervisor's features.
    HypervisorFeatures,
    /// Ends the VM.
    Terminate(Termination),
}

impl Request {
    /// The value for the MSR. Bits beyond a field's width are cut off.
    pub const fn encode(self) -> u64 {
        match self {
            Self::Ghcb { gpa } => gpa & !INFO_MASK,
            Self::SevInfo => info::SEV_INFO,
            Self::Cpuid { function, register } => {
                info::CPUID | register.encode() | (function as u64) << 32
            }
            Self::ApResetHold => info::AP_RESET_HOLD,
            Self::PreferredGhcb => info::PREFERRED_GHCB,
            Self::RegisterGhcb { gfn } => info::REGISTER_GHCB | gfn << DATA_SHIFT,
            Self::PageState { gfn, operation } => {
                info::PAGE_STATE
                    | (gfn & GFN_MASK) << DATA_SHIFT
                    | ((operation.0 & 0xf) as u64) << 52
            }
            Self::RunVmpl { vmpl } => info::RUN_VMPL | (vmpl as u64) << 32,
            Self::HypervisorFeatures => info::FEATURES,
            Self::Terminate(Termination { set, reason }) => {
                info::TERMINATE | ((set & 0xf) as u64) << 12 | (reason as u64) << 16
            }
        }
    }

    /// The message that the guest left in the MSR.
    pub const fn decode(value: u64) -> Result<Self, UnknownMessage> {
        Ok(match value & INFO_MASK {
            info::GHCB => Self::Ghcb { gpa: value },
            info::SEV_INFO => Self::SevInfo,
            info::CPUID => Self::Cpuid {
                function: (value >> 32) as u32,
                register: CpuidRegister::decode(value),
            },
            info::AP_RESET_HOLD => Self::ApResetHold,
            info::PREFERRED_GHCB => Self::PreferredGhcb,
            info::REGISTER_GHCB => Self::RegisterGhcb { gfn: value >> DATA_SHIFT },
            info::PAGE_STATE => Self::PageState {
                gfn: value >> DATA_SHIFT & GFN_MASK,
                operation: Operation((value >> 52 & 0xf) as u8),
            },
            info::RUN_VMPL => Self::RunVmpl { vmpl: (value >> 32 & 0xff) as u8 },
            info::FEATURES => Self::HypervisorFeatures,
            info::TERMINATE => Self::Terminate(Termination {
                set: (value >> 12 & 0xf) as u8,
                reason: (value >> 16 & 0xff) as u8,
            }),
            _ => return Err(UnknownMessage(value)),
        })
    }
}

/// The page number that means "none" in [`Answer::PreferredGhcb`] and "refused" in
/// [`Answer::RegisterGhcb`].
pub const NO_GFN: u64 = u64::MAX >> DATA_SHIFT;

/// A message from the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::SevInfo`], and the state of the MSR at the start.
    SevInfo {
        /// Highest version of the protocol.
        max_version: u16,
        /// Lowest version of the protocol.
        min_version: u16,
        /// The C-bit's place in page-table entries.
        c_bit: u8,
    },
    /// To [`Request::Cpuid`].
    Cpuid {
        /// The value of the register.
        value: u32,
        /// The register.
        register: CpuidRegister,
    },
    /// To [`Request::ApResetHold`].
    ApResetHold {
        /// The VP has got its SIPI. Without it, it waits again.
        started: bool,
    },
    /// To [`Request::PreferredGhcb`].
    PreferredGhcb {
        /// Number of the guest page, or [`NO_GFN`].
        gfn: u64,
    },
    /// To [`Request::RegisterGhcb`].
    RegisterGhcb {
        /// The number in the request, or [`NO_GFN`].
        gfn: u64,
    },
    /// To [`Request::PageState`].
    PageState {
        /// 0 for success.
        error: u32,
    },
    /// To [`Request::RunVmpl`].
    RunVmpl {
        /// 0 for success.
        error: u32,
    },
    /// To [`Request::HypervisorFeatures`].
    HypervisorFeatures(HypervisorFeatures),
}

impl Answer {
    /// The value for the MSR.
    pub const fn encode(self) -> u64 {
        match self {
            Self::SevInfo { max_version, min_version, c_bit } => {
                info::SEV_INFO_ANSWER
                    | (max_version as u64) << 48
                    | (min_version as u64) << 32
                    | (c_bit as u64) << 24
            }
            Self::Cpuid { value, register } => {
                info::CPUID_ANSWER | register.encode() | (value as u64) << 32
            }
            Self::ApResetHold { started } => {
                info::AP_RESET_HOLD_ANSWER | (started as u64) << DATA_SHIFT
            }
            Self::PreferredGhcb { gfn } => info::PREFERRED_GHCB_ANSWER | gfn << DATA_SHIFT,
            Self::RegisterGhcb { gfn } => info::REGISTER_GHCB_ANSWER | gfn << DATA_SHIFT,
            Self::PageState { error } => info::PAGE_STATE_ANSWER | (error as u64) << 32,
            Self::RunVmpl { error } => info::RUN_VMPL_ANSWER | (error as u64) << 32,
            Self::HypervisorFeatures(features) => {
                info::FEATURES_ANSWER | features.into_bits() << DATA_SHIFT
            }
        }
    }

    /// The message that the hypervisor left in the MSR.
    pub const fn decode(value: u64) -> Result<Self, UnknownMessage> {
        Ok(match value & INFO_MASK {
            info::SEV_INFO_ANSWER => Self::SevInfo {
                max_version: (value >> 48) as u16,
                min_version: (value >> 32 & 0xffff) as u16,
                c_bit: (value >> 24 & 0xff) as u8,
            },
            info::CPUID_ANSWER => {
                Self::Cpuid { value: (value >> 32) as u32, register: CpuidRegister::decode(value) }
            }
            info::AP_RESET_HOLD_ANSWER => Self::ApResetHold { started: value >> DATA_SHIFT != 0 },
            info::PREFERRED_GHCB_ANSWER => Self::PreferredGhcb { gfn: value >> DATA_SHIFT },
            info::REGISTER_GHCB_ANSWER => Self::RegisterGhcb { gfn: value >> DATA_SHIFT },
            info::PAGE_STATE_ANSWER => Self::PageState { error: (value >> 32) as u32 },
            info::RUN_VMPL_ANSWER => Self::RunVmpl { error: (value >> 32) as u32 },
            info::FEATURES_ANSWER => {
                Self::HypervisorFeatures(HypervisorFeatures::from_bits(value >> DATA_SHIFT))
            }
            _ => return Err(UnknownMessage(value)),
        })
    }
}
