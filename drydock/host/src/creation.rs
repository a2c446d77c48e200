//! Creation of VPs (GHCB specification 56421, "SNP AP Creation").

use core::sync::atomic::Ordering;

use chipset::mailbox::Order;
use drydock_rmp::{GuestPage, PAGES_IN_LARGE};
use snp::exit::{ApCreation, ApCreationRequest};
use snp::features::SevFeatures;
use snp::ghcb::{Field, InputError};

use crate::ghcb::{Answer, Exchange, Refusal};
use crate::machine::Area;
use crate::outside::Outside;
use crate::vp::HostVp;

impl<O: Outside> HostVp<'_, O> {
    /// Gives a VP a save area, or takes it away.
    pub(crate) fn create(&self, on: &Exchange) -> Answer {
        let invalid = Refusal::Malformed(InputError::INVALID_INPUT);
        let request = ApCreation::from_bits(on.info_1()?);
        // A VP's APIC id is its number.
        let vp = request.apic_id();
        let shared = self.host.vps.get(vp as usize).ok_or(invalid)?;
        let level = usize::from(request.vmpl());
        let mut areas = shared.areas.lock();
        let place = areas.get_mut(level).ok_or(invalid)?;
        match request.request() {
            ApCreationRequest::CREATE | ApCreationRequest::CREATE_ON_INIT => {
                let features = SevFeatures::from_bits(on.need(Field::RAX)?);
                let guest = GuestPage::of(on.info_2()?).ok_or(invalid)?;
                // A VMSA at a 2 MiB boundary meets an erratum; hosts refuse it.
                if guest.0.is_multiple_of(PAGES_IN_LARGE) || vp == self.index && level == 0 {
                    return Err(invalid);
                }
                let page = self.host.outside.save_area(guest).ok_or(invalid)?;
                *place = Some(Area { guest, page, features });
                drop(areas);
                shared.is_started.store(true, Ordering::Release);
            }
            ApCreationRequest::DESTROY => {
                *place = None;
                drop(areas);
            }
            _ => return Err(invalid),
        }
        self.host.chipset.mailboxes().post(vp, &self.kicker, |mailbox| mailbox.post(Order::Timer));
        Ok(0)
    }
}
