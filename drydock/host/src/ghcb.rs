//! Requests by a GHCB page (GHCB specification 56421, "Supported NAE events").

use alloc::boxed::Box;
use core::ops::Range;
use core::sync::atomic::Ordering;

use snp::exit::{DoorbellRequest, ExitCode};
use snp::ghcb::{Field, Ghcb, InputError, PROTOCOL_VERSION, Status, USAGE_STANDARD};
use snp::msr_protocol::Termination;
use snp::vmsa::{EventInj, EventType};
use x86::vector;
use zerocopy::IntoBytes;

use crate::machine::End;
use crate::msr_protocol::FEATURES;
use crate::outside::Outside;
use crate::vp::{Activity, HostVp};

/// The interrupt command register, in x2APIC mode.
const ICR: u32 = x86::msr::X2APIC + 0x30;

/// Why a request has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is malformed.
    Malformed(InputError),
    /// The guest's instruction raises #GP(0).
    GeneralProtection,
}

impl From<InputError> for Refusal {
    fn from(error: InputError) -> Self {
        Self::Malformed(error)
    }
}

/// A request's outcome: SW_EXITINFO2.
pub(crate) type Answer = Result<u64, Refusal>;

/// Fields that an answer has at the most: four registers, DR7, and the two of the status.
const MOST_FIELDS: usize = 7;

/// A request, copied once, with the answer as it grows.
pub(crate) struct Exchange {
    /// Where the page is.
    pub(crate) gpa: u64,
    /// The page as far as it was copied: its fields, and the buffer once it was asked for.
    request: Box<Ghcb>,
    answer: [Option<(Field, u64)>; MOST_FIELDS],
}

impl Exchange {
    /// A field that the request needs.
    pub(crate) fn need(&self, field: Field) -> Result<u64, Refusal> {
        self.request.get(field).ok_or(Refusal::Malformed(InputError::MISSING_INPUT))
    }

    /// SW_EXITINFO1.
    pub(crate) fn info_1(&self) -> Result<u64, Refusal> {
        self.need(Field::SW_EXITINFO1)
    }

    /// SW_EXITINFO2.
    pub(crate) fn info_2(&self) -> Result<u64, Refusal> {
        self.need(Field::SW_EXITINFO2)
    }

    /// Sets a field of the answer.
    pub(crate) fn set(&mut self, field: Field, value: u64) {
        let same = self.answer.iter().position(|slot| slot.is_some_and(|(name, _)| name == field));
        let free = || self.answer.iter().position(Option::is_none);
        if let Some(slot) = same.or_else(free).and_then(|index| self.answer.get_mut(index)) {
            *slot = Some((field, value));
        }
    }

    /// Copies the shared buffer, which few requests use. A request calls it once at the most.
    pub(crate) fn buffer(&mut self, outside: &impl Outside) -> Result<&[u8], Refusal> {
        if !copy(outside, self.gpa, &mut self.request, Ghcb::BUFFER) {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        Ok(&self.request.shared_buffer)
    }
}

/// Copies a part of the page at `gpa`.
fn copy(outside: &impl Outside, gpa: u64, page: &mut Ghcb, part: Range<usize>) -> bool {
    let from = gpa + part.start as u64;
    page.as_mut_bytes().get_mut(part).is_some_and(|to| outside.read_shared(from, to))
}

impl<O: Outside> HostVp<'_, O> {
    /// Answers the request in the page at `gpa`.
    pub(crate) fn page_request(&mut self, gpa: u64) {
        let Some(mut request) = self.ghcb.take() else { return };
        let outside = &self.host.outside;
        let mut parts = [Ghcb::FIELDS, Ghcb::FORM].into_iter();
        if !parts.all(|part| copy(outside, gpa, &mut request, part)) {
            self.ghcb = Some(request);
            return self.unanswerable(gpa, 0);
        }
        let mut exchange = Exchange { gpa, request, answer: [None; MOST_FIELDS] };
        let result = self.check(&exchange).and_then(|code| self.serve(code, &mut exchange));
        log::trace!(
            "VP {}: event {:#x?} ({:#x?}, {:#x?}): {result:x?}",
            self.index,
            exchange.request.get(Field::SW_EXITCODE).unwrap_or_default(),
            exchange.request.get(Field::SW_EXITINFO1).unwrap_or_default(),
            exchange.request.get(Field::RCX).unwrap_or_default(),
        );
        let (status, information) = match result {
            Ok(information) => (Status::SUCCESS, information),
            Err(Refusal::Malformed(error)) => (Status::MALFORMED, error.0),
            Err(Refusal::GeneralProtection) => {
                let event = EventInj::new()
                    .with_vector(vector::GP)
                    .with_event_type(EventType::EXCEPTION)
                    .with_has_error_code(true)
                    .with_valid(true);
                (Status::EXCEPTION, event.into_bits())
            }
        };
        exchange.set(Field::SW_EXITINFO1, status.0.into());
        exchange.set(Field::SW_EXITINFO2, information);
        self.write_back(&exchange);
        self.ghcb = Some(exchange.request);
    }

    /// Checks what all requests have in common; answers the exit code.
    fn check(&self, exchange: &Exchange) -> Result<ExitCode, Refusal> {
        if self.current().registered != Some(exchange.gpa) {
            return Err(InputError::NOT_REGISTERED.into());
        }
        if exchange.request.usage != USAGE_STANDARD {
            return Err(InputError::INVALID_USAGE.into());
        }
        if exchange.request.protocol_version > PROTOCOL_VERSION {
            return Err(InputError::INVALID_INPUT.into());
        }
        let code = exchange.need(Field::SW_EXITCODE)?;
        exchange.info_1()?;
        exchange.info_2()?;
        Ok(ExitCode(code))
    }

    fn serve(&mut self, code: ExitCode, on: &mut Exchange) -> Answer {
        match code {
            ExitCode::IOIO => self.port(on),
            ExitCode::MSR => self.msr(on),
            ExitCode::CPUID => self.cpuid_request(on),
            ExitCode::MMIO_READ => self.mmio_read(on),
            ExitCode::MMIO_WRITE => self.mmio_write(on),
            ExitCode::PAGE_STATE_CHANGE => self.page_state_change(on),
            ExitCode::AP_CREATION => self.create(on),
            ExitCode::GUEST_REQUEST => self.guest_request(on),
            ExitCode::EXTENDED_GUEST_REQUEST => self.extended_guest_request(on),
            ExitCode::AP_RESET_HOLD => {
                self.current_mut().activity = Activity::ResetHold;
                Ok(1)
            }
            ExitCode::RUN_VMPL => {
                let level = on.info_1()?;
                if self.run_level(level) { Ok(0) } else { Err(InputError::INVALID_INPUT.into()) }
            }
            ExitCode::HV_DOORBELL_PAGE => self.doorbell(on),
            ExitCode::HV_IPI => {
                let command = on.info_1()?;
                self.write_msr(ICR, command).ok_or(Refusal::GeneralProtection)?;
                Ok(0)
            }
            ExitCode::APIC_IDS => self.apic_ids(on),
            // Nothing is cached, and no other VM is there to be slowed down.
            ExitCode::WBINVD | ExitCode::INVD => Ok(0),
            ExitCode::RDTSC => self.time_stamp(on, false),
            ExitCode::RDTSCP => self.time_stamp(on, true),
            ExitCode::HLT => {
                self.current_mut().activity = Activity::Halted;
                Ok(0)
            }
            ExitCode::NMI_COMPLETE => Ok(0),
            ExitCode::AP_JUMP_TABLE => self.jump_table(on),
            ExitCode::MONITOR | ExitCode::MWAIT | ExitCode::RDPMC => Self::absent(code, on),
            ExitCode::HYPERVISOR_FEATURES => Ok(FEATURES.into_bits()),
            ExitCode::TERMINATION_REQUEST => {
                // The set in bits 3:0, the reason in bits 11:4.
                let info = on.info_1()?;
                let (set, reason) = (info as u8 & 0xf, (info >> 4) as u8);
                self.host.end(End::Terminated(Termination { set, reason }));
                Ok(0)
            }
            _ if code == ExitCode::dr_write(7) => Ok(0),
            _ if code == ExitCode::dr_read(7) => {
                on.set(Field::DR7, x86::dr7::RESET);
                Ok(0)
            }
            ExitCode::VMMCALL => {
                on.need(Field::RAX)?;
                on.need(Field::CPL)?;
                // KVM_ENOSYS: there is no hypercall.
                on.set(Field::RAX, -1000_i64 as u64);
                Ok(0)
            }
            ExitCode::UNSUPPORTED_EVENT => {
                log::warn!("VP {}: the guest met an exit that it does not know", self.index);
                let (info_1, info_2) = (on.info_1()?, on.info_2()?);
                self.unanswerable(info_1, info_2);
                Ok(0)
            }
            _ => Err(InputError::INVALID_EVENT.into()),
        }
    }

    /// Writes the fields that have been set, and the bitmap that names them.
    fn write_back(&self, exchange: &Exchange) {
        let outside = &self.host.outside;
        let mut written = true;
        let mut valid = [0; 2];
        for (field, value) in exchange.answer.iter().flatten() {
            let at = exchange.gpa + field.offset() as u64;
            written &= outside.write_shared(at, &value.to_le_bytes());
            let bit = field.valid_bit();
            if let Some(word) = valid.get_mut(bit / 64) {
                *word |= 1_u64 << (bit % 64);
            }
        }
        let bitmap = exchange.gpa + core::mem::offset_of!(Ghcb, valid_bitmap) as u64;
        written &= outside.write_shared(bitmap, valid.as_bytes());
        if !written {
            self.unanswerable(exchange.gpa, 1);
        }
    }

    /// Sets, or tells of, the level's doorbell page.
    fn doorbell(&mut self, on: &Exchange) -> Answer {
        let invalid = Refusal::Malformed(InputError::INVALID_INPUT);
        match DoorbellRequest(on.info_1()?) {
            // Any page will do.
            DoorbellRequest::GET_PREFERRED => Ok(u64::MAX),
            DoorbellRequest::SET => {
                let page = on.info_2()?;
                let is_page = page.is_multiple_of(4096);
                if !is_page || !self.host.outside.read_shared(page, &mut [0; 8]) {
                    return Err(invalid);
                }
                self.current_mut().set_doorbell(Some(page));
                Ok(page)
            }
            DoorbellRequest::QUERY => Ok(self.current().doorbell.unwrap_or(0)),
            DoorbellRequest::CLEAR => {
                self.current_mut().set_doorbell(None);
                Ok(0)
            }
            _ => Err(invalid),
        }
    }

    /// Writes the list of APIC ids: their number, then each; all of 32 bits.
    fn apic_ids(&self, on: &mut Exchange) -> Answer {
        let (pages, list) = (on.need(Field::RAX)?, on.info_1()?);
        let vps = self.host.settings.vps;
        let needed = (4 + 4 * u64::from(vps)).div_ceil(4096);
        if pages < needed {
            on.set(Field::RAX, needed);
            return Ok(0);
        }
        let words = core::iter::once(vps).chain(0..vps);
        for (index, word) in (0_u64..).zip(words) {
            let at = list.checked_add(4 * index).ok_or(InputError::INVALID_INPUT)?;
            if !self.host.outside.write_shared(at, &word.to_le_bytes()) {
                return Err(InputError::INVALID_INPUT.into());
            }
        }
        Ok(0)
    }

    /// Keeps, or tells, where the VM has its jump table for APs. An SEV-SNP VM starts them by AP
    /// creation, but OVMF sets a table all the same.
    fn jump_table(&self, on: &Exchange) -> Answer {
        const SET: u64 = 0;
        const GET: u64 = 1;
        let table = &self.host.ap_jump_table;
        match on.info_1()? {
            SET => table.store(on.info_2()?, Ordering::Relaxed),
            GET => {}
            _ => return Err(InputError::INVALID_INPUT.into()),
        }
        Ok(table.load(Ordering::Relaxed))
    }

    /// An instruction of a feature that the host does not offer. MONITOR and MWAIT do nothing, as below
    /// KVM, and no performance counter is there to read.
    fn absent(code: ExitCode, on: &Exchange) -> Answer {
        on.need(Field::RCX)?;
        if code == ExitCode::RDPMC {
            return Err(Refusal::GeneralProtection);
        }
        on.need(Field::RAX)?;
        if code == ExitCode::MONITOR {
            on.need(Field::RDX)?;
        }
        Ok(0)
    }

    fn cpuid_request(&self, on: &mut Exchange) -> Answer {
        let (leaf, subleaf) = (on.need(Field::RAX)? as u32, on.need(Field::RCX)? as u32);
        // A guest without XSAVE gives no XCR0.
        let xcr0 = on.request.get(Field::XCR0).unwrap_or(1);
        let [eax, ebx, ecx, edx] = self.host.cpuid_with(leaf, subleaf, self.index, xcr0);
        for (field, value) in
            [(Field::RAX, eax), (Field::RBX, ebx), (Field::RCX, ecx), (Field::RDX, edx)]
        {
            on.set(field, value.into());
        }
        Ok(0)
    }

    fn time_stamp(&self, on: &mut Exchange, with_id: bool) -> Answer {
        let tsc = self.tsc().0;
        on.set(Field::RAX, tsc & 0xffff_ffff);
        on.set(Field::RDX, tsc >> 32);
        if with_id {
            on.set(Field::RCX, self.index.into());
        }
        Ok(0)
    }
}
