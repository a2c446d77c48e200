//! The reasons for which a guest can not be started.

use core::fmt;

use firmware_tables::BuildError;
use guest_memory::NotRam;
use host_wire::Status;
use loader::LoadError;

use crate::tpm::TpmError;

/// The reason for which a guest can not be started. The fault is that of the VM's configuration,
/// unless a variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestError {
    /// The host gives no kernel.
    NoKernel,
    /// The host did not deliver a file that it offers.
    HostRead,
    /// The host gave other bytes than those that the launch of the VM has measured: its fault.
    NotMeasured {
        /// The name of the file.
        file: &'static str,
    },
    /// The command line, or the texts of the modules, are longer than any kernel accepts.
    Text {
        /// Its length in bytes.
        length: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// The kernel or its initrd can not be loaded.
    Load(LoadError),
    /// The tables can not be built: our fault.
    Tables(BuildError),
    /// There is no memory at the place of the tables: our fault.
    TablesMemory(NotRam),
    /// The TPM can not be started.
    Tpm(TpmError),
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel => f.write_str("no guest kernel is given: use `paravane run --kernel`"),
            Self::HostRead => f.write_str("the host did not deliver a file that it offers"),
            Self::NotMeasured { file } => {
                write!(f, "the host gave another {file} than the one that was measured")
            }
            Self::Text { length, limit } => {
                write!(f, "the command line has {length} bytes; {limit} are the most")
            }
            Self::Load(error) => write!(f, "{error}"),
            Self::Tpm(error) => write!(f, "{error}"),
            Self::Tables(error) => write!(f, "the firmware tables can not be built: {error}"),
            Self::TablesMemory(error) => {
                write!(
                    f,
                    "the firmware tables can not be written, a fault of the paravisor: {error}"
                )
            }
        }
    }
}

impl core::error::Error for GuestError {}

impl GuestError {
    /// The status that the VM ends with.
    pub(crate) const fn status(&self) -> Status {
        match self {
            Self::Tpm(error) => error.status(),
            Self::Tables(_) | Self::TablesMemory(_) | Self::Load(LoadError::GuestMemory) => {
                Status::Crashed
            }
            Self::NoKernel
            | Self::HostRead
            | Self::NotMeasured { .. }
            | Self::Text { .. }
            | Self::Load(_) => Status::BadGuest,
        }
    }
}
