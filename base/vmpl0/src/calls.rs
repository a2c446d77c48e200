//! Calls of the host by a GHCB page (GHCB specification 56421, "Supported NAE events").
//!
//! The host can write to the page at any time. After a call each quadword of the answer is read once
//! at most, and its value is the host's word. A field counts only if the host has marked it as valid.

use core::mem::offset_of;

use snp::exit::ExitCode;
use snp::ghcb::{Field, Ghcb, InputError, PROTOCOL_VERSION, Status, USAGE_STANDARD};
use snp::vmsa::EventInj;

/// The GHCB page of a CPU, quadword by quadword.
pub trait Quadwords {
    /// Reads the quadword at `offset`, a multiple of 8 in the page.
    fn read(&self, offset: usize) -> u64;

    /// Writes the quadword at `offset`, a multiple of 8 in the page.
    fn write(&self, offset: usize, value: u64);
}

/// A request: its code, SW_EXITINFO1 and SW_EXITINFO2.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// SW_EXITCODE.
    pub code: ExitCode,
    /// SW_EXITINFO1.
    pub info_1: u64,
    /// SW_EXITINFO2.
    pub info_2: u64,
}

/// Why a call has no result (GHCB specification 56421, "Invoking VMGEXIT").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The host wants this exception raised where the call was made.
    Exception(EventInj),
    /// The host takes the request for malformed.
    Malformed(InputError),
    /// The host answers with a status that the protocol does not have.
    UnknownStatus(Status),
    /// The host has not marked a field of the answer as valid.
    Missing(Field),
}

/// Makes a call, and answers the `wanted` fields, which are different ones and not SW_EXITINFO1.
/// `leave` gives the host its turn.
///
/// # Errors
/// [`Failed`].
#[inline]
pub fn call<const N: usize>(
    page: &impl Quadwords,
    call: Call,
    fields: &[(Field, u64)],
    wanted: [Field; N],
    leave: impl FnOnce(),
) -> Result<[u64; N], Failed> {
    prepare(page, call, fields);
    leave();
    Answer::of(page).result(wanted)
}

/// Asks the host to run level `vmpl` (GHCB specification 56421, "SNP Run VMPL"). `leave` gives the
/// host its turn unless there is something to do here first: then the request still stands in the
/// page, and no answer is needed.
///
/// # Errors
/// [`Failed`].
#[inline]
pub fn run_level(page: &impl Quadwords, vmpl: u8, leave: impl FnOnce()) -> Result<(), Failed> {
    prepare(page, Call { code: ExitCode::RUN_VMPL, info_1: vmpl.into(), info_2: 0 }, &[]);
    leave();
    let answer = Answer::of(page);
    if answer.get(Field::SW_EXITCODE) == Ok(ExitCode::RUN_VMPL.0) {
        return Ok(());
    }
    answer.result([]).map(|[]| ())
}

/// Writes the request. Inlined, the loop over the fields is a few stores for each exit of the guest.
#[inline(always)]
fn prepare(page: &impl Quadwords, call: Call, fields: &[(Field, u64)]) {
    let Call { code, info_1, info_2 } = call;
    let own = [
        (Field::SW_EXITCODE, code.0),
        (Field::SW_EXITINFO1, info_1),
        (Field::SW_EXITINFO2, info_2),
    ];
    let mut valid = [0_u64; 2];
    for (field, value) in own.iter().chain(fields) {
        page.write(field.offset(), *value);
        let bit = field.valid_bit();
        if let Some(word) = valid.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }
    let [low, high] = valid;
    page.write(BITMAP, low);
    page.write(BITMAP + 8, high);
    // The version stands in bytes 2 and 3 of the word, behind ten reserved bytes, the usage in bytes
    // 4 to 7.
    let form = u64::from(PROTOCOL_VERSION) << 16 | u64::from(USAGE_STANDARD) << 32;
    page.write(offset_of!(Ghcb, protocol_version) - 2, form);
}

const BITMAP: usize = offset_of!(Ghcb, valid_bitmap);

/// What the host has left in the page, with the bitmap as it was right after the host's turn.
struct Answer<'a, P> {
    page: &'a P,
    valid: [u64; 2],
}

impl<'a, P: Quadwords> Answer<'a, P> {
    fn of(page: &'a P) -> Self {
        Self { page, valid: [page.read(BITMAP), page.read(BITMAP + 8)] }
    }

    /// A field, which must be marked as valid.
    fn get(&self, field: Field) -> Result<u64, Failed> {
        let bit = field.valid_bit();
        let word = self.valid.get(bit / 64).copied().unwrap_or_default();
        if word >> (bit % 64) & 1 == 0 {
            return Err(Failed::Missing(field));
        }
        Ok(self.page.read(field.offset()))
    }

    fn result<const N: usize>(&self, wanted: [Field; N]) -> Result<[u64; N], Failed> {
        let information = || self.get(Field::SW_EXITINFO2);
        match Status(self.get(Field::SW_EXITINFO1)? as u32) {
            Status::SUCCESS => {}
            Status::EXCEPTION => {
                return Err(Failed::Exception(EventInj::from_bits(information()?)));
            }
            Status::MALFORMED => return Err(Failed::Malformed(InputError(information()?))),
            unknown => return Err(Failed::UnknownStatus(unknown)),
        }
        let mut values = [0; N];
        for (value, field) in values.iter_mut().zip(wanted) {
            *value = self.get(field)?;
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
