//! Exits: of AMD-V as they come in, and of SEV-SNP as they go out.

use emulator::Exception;
use snp::exit::ExitCode;

use crate::instruction::Remap;

/// An exit as AMD-V reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawExit {
    /// EXITCODE.
    pub code: u64,
    /// EXITINFO1.
    pub info_1: u64,
    /// EXITINFO2.
    pub info_2: u64,
    /// EXITINTINFO: the event whose delivery the exit cut short.
    pub interrupt_info: u64,
}

/// An exit that the host gets, with what stands in the save area about it (AMD64 APM vol. 2,
/// section 15.36.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomaticExit {
    /// The code for the host. For a reflected #VC that is [`ExitCode::VC`], and the save area has
    /// the reason.
    pub code: ExitCode,
    /// EXITINFO1 for the host.
    pub info_1: u64,
    /// EXITINFO2 for the host.
    pub info_2: u64,
    /// The reason in the save area.
    pub reason: VcInfo,
}

/// The reason of a #VC, or of an automatic exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcInfo {
    /// The exit code: the error code of #VC, GUEST_EXITCODE.
    pub code: ExitCode,
    /// GUEST_EXITINFO1.
    pub info_1: u64,
    /// GUEST_EXITINFO2.
    pub info_2: u64,
    /// CR2, for an access to a page that is not validated.
    pub cr2: Option<u64>,
}

/// What follows an exit of AMD-V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The guest goes on: it was no exit of SEV-SNP's.
    Resume,
    /// The guest goes on, after the tables of these pages have been computed again.
    Remap(Remap),
    /// A walk or fetch without C-bit met a private page: it is to be reached at this address, too.
    Alias {
        /// The guest-physical address.
        gpa: u64,
    },
    /// The guest gets an exception.
    Exception(Exception),
    /// The guest gets #VC, or the host a reflected one.
    Vc(VcInfo),
    /// The host gets an exit.
    Automatic(AutomaticExit),
}

impl Disposition {
    /// An exit whose reason the host may see.
    pub(crate) const fn automatic(code: ExitCode, info_1: u64, info_2: u64) -> Self {
        let reason = VcInfo { code, info_1, info_2, cr2: None };
        Self::Automatic(AutomaticExit { code, info_1, info_2, reason })
    }

    pub(crate) const fn vc(code: ExitCode, info_1: u64, info_2: u64) -> Self {
        Self::Vc(VcInfo { code, info_1, info_2, cr2: None })
    }
}
