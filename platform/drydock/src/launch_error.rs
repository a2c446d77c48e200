//! The reasons why a file can not be launched.

use core::fmt;

use drydock_rmp::HostError;
use igvm_file::{Error, ParameterKind};
use snp::status::Status;

use crate::FAR_PAGES;

/// Why a file can not be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// The file of so many bytes does not fit into the guest's RAM.
    FileSize(u64),
    /// The host does not give the file.
    Unreadable,
    /// The file is malformed, or not for this platform.
    File(Error),
    /// It loads something where the VM has no RAM.
    OutsideRam(u64),
    /// It loads or requires memory at this address, where a device is.
    Device(u64),
    /// It wants more memory above the RAM than can be given to it, from this address on.
    TooFar(u64),
    /// It wants RAM that the VM does not have.
    RequiredMemory {
        /// The first address.
        gpa: u64,
        /// Bytes.
        size: u64,
    },
    /// It starts a VP that the VM does not have.
    NoSuchVp(u16),
    /// It starts no VP 0.
    NoFirstVp,
    /// It asks for features that are not there.
    Features(u64),
    /// A parameter has more bytes than its area.
    ParameterSpace(ParameterKind),
    /// The table of owners refuses: our own mistake.
    Owners(HostError),
    /// The firmware refuses.
    Firmware(Status),
    /// The firmware refuses the CPUID page at this address.
    Cpuid(u64),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSize(bytes) => write!(
                f,
                "the IGVM file of {} MiB needs a guest with more RAM than that",
                bytes.div_ceil(1 << 20)
            ),
            Self::Unreadable => f.write_str("the host does not give the IGVM file"),
            Self::File(error) => write!(f, "{error}"),
            Self::OutsideRam(gpa) => {
                write!(f, "the IGVM file loads {gpa:#x}, where the VM has no RAM: give it more")
            }
            Self::Device(gpa) => {
                write!(f, "the IGVM file wants memory at {gpa:#x}, where the VM has a device")
            }
            Self::TooFar(gpa) => write!(
                f,
                "the IGVM file wants memory at {gpa:#x}: above 3 GiB and below 1 TiB there is room \
                 for {} MiB in 8 pieces",
                FAR_PAGES >> 8
            ),
            Self::RequiredMemory { gpa, size } => {
                write!(
                    f,
                    "the IGVM file needs {size:#x} bytes of RAM at {gpa:#x}: give the VM more"
                )
            }
            Self::NoSuchVp(vp) => {
                write!(f, "the IGVM file starts VP {vp}, which the VM does not have")
            }
            Self::NoFirstVp => f.write_str("the IGVM file starts no VP 0"),
            Self::Features(features) => write!(
                f,
                "the IGVM file wants SEV_FEATURES {features:#x}, of which some are not emulated"
            ),
            Self::ParameterSpace(kind) => {
                write!(f, "the IGVM file has too little room for the parameter {kind:?}")
            }
            Self::Owners(error) => write!(f, "the launch failed: {error}"),
            Self::Firmware(status) => {
                write!(f, "the SNP firmware refuses to launch the IGVM file: {status:?}")
            }
            Self::Cpuid(gpa) => write!(f, "the SNP firmware refuses the CPUID page at {gpa:#x}"),
        }
    }
}

impl core::error::Error for LaunchError {}

impl From<Status> for LaunchError {
    fn from(status: Status) -> Self {
        Self::Firmware(status)
    }
}

impl From<HostError> for LaunchError {
    fn from(error: HostError) -> Self {
        Self::Owners(error)
    }
}
