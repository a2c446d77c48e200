//! Messages between guest and firmware (GHCB specification 56421, "SNP Guest Request", "SNP Extended
//! Guest Request").

use snp::certificates::CertificateEntry;
use snp::ghcb::{Field, InputError};
use zerocopy::IntoBytes;

use crate::ghcb::{Answer, Exchange, Refusal};
use crate::outside::Outside;
use crate::vp::HostVp;

/// SW_EXITINFO2's upper half: the hypervisor's error.
mod hypervisor_error {
    /// The guest has given too few pages for the certificates.
    pub(super) const INVALID_LENGTH: u64 = 1 << 32;
}

const PAGE: u64 = 4096;

impl<O: Outside> HostVp<'_, O> {
    /// SNP_GUEST_REQUEST.
    pub(crate) fn guest_request(&self, on: &Exchange) -> Answer {
        let (request, response) = (on.info_1()?, on.info_2()?);
        let invalid = Refusal::Malformed(InputError::INVALID_INPUT);
        if !request.is_multiple_of(PAGE) || !response.is_multiple_of(PAGE) || request == response {
            return Err(invalid);
        }
        let status = self.host.outside.guest_request(request, response).ok_or(invalid)?;
        Ok(status.0.into())
    }

    /// SNP_GUEST_REQUEST, with certificates beside the answer. If they do not fit, the guest learns
    /// how many pages they need, and the firmware gets no message.
    pub(crate) fn extended_guest_request(&self, on: &mut Exchange) -> Answer {
        let (data, pages) = (on.need(Field::RAX)?, on.need(Field::RBX)?);
        let certificates = match self.host.certificates.as_slice() {
            [] => CertificateEntry::END.as_bytes(),
            some => some,
        };
        let needed = (certificates.len() as u64).div_ceil(PAGE);
        if pages < needed {
            on.set(Field::RBX, needed);
            return Ok(hypervisor_error::INVALID_LENGTH);
        }
        if !data.is_multiple_of(PAGE) || !self.host.outside.write_shared(data, certificates) {
            return Err(InputError::INVALID_INPUT.into());
        }
        self.guest_request(on)
    }
}
