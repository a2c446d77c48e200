//! Creation of VPs, and the switch of levels (GHCB specification 56421, "SNP AP Creation", "SNP Run
//! VMPL").

use chipset::mailbox::Order;
use drydock_rmp::{GuestPage, LEVELS, PAGES_IN_LARGE};
use snp::exit::{ApCreation, ApCreationRequest};
use snp::features::SevFeatures;
use snp::ghcb::{Field, InputError};

use crate::ghcb::{Answer, Exchange, Refusal};
use crate::machine::Area;
use crate::outside::Outside;
use crate::vp::HostVp;

impl<O: Outside> HostVp<'_, O> {
    /// Gives a level of a VP a save area, or takes it away.
    pub(crate) fn create(&self, on: &Exchange) -> Answer {
        let invalid = Refusal::Malformed(InputError::INVALID_INPUT);
        let request = ApCreation::from_bits(on.info_1()?);
        // A VP's APIC id is its number.
        let (vp, level) = (request.apic_id(), request.vmpl());
        // A level decides about less privileged ones, and about its like on other VPs.
        let is_own = vp == self.index && level == self.level;
        let is_destroyed = request.request() == ApCreationRequest::DESTROY;
        if level < self.level || is_own && !is_destroyed {
            return Err(invalid);
        }
        let area = match request.request() {
            ApCreationRequest::CREATE | ApCreationRequest::CREATE_ON_INIT => {
                let features = SevFeatures::from_bits(on.need(Field::RAX)?);
                let gpa = on.info_2()?;
                let guest = GuestPage::of(gpa).ok_or(invalid)?;
                // A VMSA at a 2 MiB boundary meets an erratum; hosts refuse it.
                if gpa != guest.address() || guest.0.is_multiple_of(PAGES_IN_LARGE) {
                    return Err(invalid);
                }
                let page = self.host.outside.save_area(guest).ok_or(invalid)?;
                Some(Area { guest, page, features, serial: 0 })
            }
            ApCreationRequest::DESTROY => None,
            _ => return Err(invalid),
        };
        let done = match area {
            Some(area) if request.request() == ApCreationRequest::CREATE_ON_INIT => {
                self.host.keep_for_init(vp, level, area)
            }
            Some(_) | None => self.host.give(vp, level, area),
        };
        if !done {
            return Err(invalid);
        }
        let mailboxes = self.host.chipset(0).mailboxes();
        mailboxes.post(vp, &self.kicker, |mailbox| mailbox.post(Order::Timer));
        Ok(0)
    }

    /// Runs another level of this VP from now on. False if it has no save area. One that awaits an INIT
    /// takes the place of the level's, as the request to run the level starts it, too: COCONUT-SVSM
    /// starts its guest so.
    pub(crate) fn run_level(&mut self, level: u64) -> bool {
        if let Ok(level) = u8::try_from(level)
            && level != self.level
            && self.host.awaits_init(self.index, level)
        {
            self.host.init(self.index, level);
        }
        let areas = self.host.areas(self.index);
        let found = usize::try_from(level).ok().and_then(|level| areas.get(level));
        let exists = matches!(found, Some(Some(_)));
        if exists && level < LEVELS as u64 {
            self.level = level as u8;
        }
        exists
    }
}
