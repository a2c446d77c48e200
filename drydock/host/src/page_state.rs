//! Lists of page state changes (GHCB specification 56421, "SNP Page State Change").

use drydock_rmp::{GuestPage, Size};
use snp::ghcb::{Field, InputError, SHARED_BUFFER_OFFSET};
use snp::page_state::{Entry, Header, Operation, Outcome};
use zerocopy::{FromBytes, IntoBytes};

use crate::ghcb::{Answer, Exchange};
use crate::outside::{Outside, PageState};
use crate::vp::HostVp;

/// The error of a host that can not change a page.
const FAILED: Outcome = Outcome::hypervisor_error(1);

impl<O: Outside> HostVp<'_, O> {
    /// Carries out the list in the shared buffer, and moves its header on.
    pub(crate) fn page_state_change(&self, on: &mut Exchange) -> Answer {
        let buffer = on.gpa + SHARED_BUFFER_OFFSET as u64;
        if on.need(Field::SW_SCRATCH)? != buffer {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        let Ok((mut header, entries)) = Header::read_from_prefix(on.buffer(&self.host.outside)?)
        else {
            return Ok(Outcome::INVALID_HEADER.0);
        };
        if let Err(invalid) = header.check() {
            return Ok(invalid.outcome().0);
        }
        let first = usize::from(header.cur_entry);
        let count = usize::from(header.end_entry - header.cur_entry) + 1;
        let mut outcome = Outcome::SUCCESS;
        for bytes in entries.as_chunks::<8>().0.iter().skip(first).take(count) {
            let entry = Entry::from_bits(u64::from_le_bytes(*bytes));
            if let Err(failed) = self.change_entry(entry) {
                outcome = failed;
                break;
            }
            header.cur_entry += 1;
        }
        self.host.outside.write_shared(buffer, header.as_bytes());
        Ok(outcome.0)
    }

    fn change_entry(&self, entry: Entry) -> Result<(), Outcome> {
        entry.check().map_err(|invalid| invalid.outcome())?;
        let page = u32::try_from(entry.gfn()).map(GuestPage).map_err(|_| FAILED)?;
        let size = if entry.is_2m() { Size::Large } else { Size::Small };
        let outside = &self.host.outside;
        let done = match entry.operation() {
            Operation::PRIVATE => outside.change_page(page, size, PageState::Private),
            Operation::SHARED => outside.change_page(page, size, PageState::Shared),
            Operation::PSMASH => outside.split_page(page),
            // Joining is an advice.
            _ => Ok(()),
        };
        done.map_err(|_| FAILED)
    }
}
