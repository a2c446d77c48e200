//! Requests by the GHCB MSR (GHCB specification 56421, "GHCB MSR Protocol").

use drydock_rmp::{GuestPage, Size};
use snp::exit::HypervisorFeatures;
use snp::ghcb::PROTOCOL_VERSION;
use snp::msr_protocol::{Answer, CpuidRegister, NO_GFN, Request};
use snp::page_state::Operation;

use crate::machine::End;
use crate::outside::{Outside, PageState, Vcpu};
use crate::vp::{Activity, HostVp};

/// What this host offers.
pub(crate) const FEATURES: HypervisorFeatures = HypervisorFeatures::new()
    .with_snp(true)
    .with_ap_creation(true)
    .with_restricted_injection(true)
    .with_apic_id_list(true)
    .with_multi_vmpl(true);

impl<O: Outside> HostVp<'_, O> {
    /// Answers VMGEXIT.
    pub(crate) fn vmgexit(&mut self, vcpu: &mut impl Vcpu) {
        let value = vcpu.ghcb_msr();
        let Ok(request) = Request::decode(value) else { return self.unanswerable(value, 0) };
        let answer = match request {
            Request::Ghcb { gpa } => return self.page_request(gpa),
            Request::SevInfo => self.sev_info(),
            Request::Cpuid { function, register } => {
                let [eax, ebx, ecx, edx] = self.host.cpuid(function, 0, self.index);
                let value = match register {
                    CpuidRegister::Eax => eax,
                    CpuidRegister::Ebx => ebx,
                    CpuidRegister::Ecx => ecx,
                    CpuidRegister::Edx => edx,
                };
                Answer::Cpuid { value, register }
            }
            Request::ApResetHold => {
                self.current_mut().activity = Activity::ResetHold;
                Answer::ApResetHold { started: true }
            }
            // Any page will do.
            Request::PreferredGhcb => Answer::PreferredGhcb { gfn: NO_GFN },
            Request::RegisterGhcb { gfn } => Answer::RegisterGhcb { gfn: self.register(gfn) },
            Request::PageState { gfn, operation } => {
                Answer::PageState { error: u32::from(self.change(gfn, operation).is_none()) }
            }
            Request::RunVmpl { vmpl } => {
                Answer::RunVmpl { error: u32::from(!self.run_level(vmpl.into())) }
            }
            Request::HypervisorFeatures => Answer::HypervisorFeatures(FEATURES),
            Request::Terminate(termination) => {
                return self.host.end(End::Terminated(termination));
            }
        };
        vcpu.set_ghcb_msr(answer.encode());
    }

    /// The answer to a request for the SEV information, which also stands in the MSR at the start.
    pub fn sev_info(&self) -> Answer {
        let version = PROTOCOL_VERSION;
        let c_bit = self.host.settings.c_bit;
        Answer::SevInfo { max_version: version, min_version: version, c_bit }
    }

    /// Notes the GHCB of the level.
    pub(crate) fn register(&mut self, gfn: u64) -> u64 {
        let gpa = gfn << 12;
        // A GHCB is shared memory, or it will never be of use.
        if !self.host.outside.read_shared(gpa, &mut [0; 8]) {
            log::debug!("VP {}: a GHCB at {gpa:#x}, which is not shared yet", self.index);
        }
        self.current_mut().registered = Some(gpa);
        gfn
    }

    /// Changes one page of 4 KiB.
    fn change(&self, gfn: u64, operation: Operation) -> Option<()> {
        let page = GuestPage(u32::try_from(gfn).ok()?);
        let to = match operation {
            Operation::PRIVATE => PageState::Private,
            Operation::SHARED => PageState::Shared,
            _ => return None,
        };
        self.host.outside.change_page(page, Size::Small, to).ok()
    }
}
