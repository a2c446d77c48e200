//! The automatic exits of a VP.

use drydock_rmp::{GuestPage, Size};
use snp::exit::{ExitCode, NestedPageFault};

use crate::machine::{Area, End};
use crate::outside::{Outside, PageState, Vcpu};
use crate::vp::{Activity, HostVp};

impl<O: Outside> HostVp<'_, O> {
    /// Answers an exit of the level that ran `area`.
    pub fn exit(
        &mut self,
        vcpu: &mut impl Vcpu,
        area: Area,
        code: ExitCode,
        info_1: u64,
        info_2: u64,
    ) {
        self.come_back();
        self.end_interrupts();
        log::trace!(
            "VP {} VMPL{}: exit {:#x} ({info_1:#x}, {info_2:#x}), GHCB MSR {:#x}",
            self.index,
            self.level,
            code.0,
            vcpu.ghcb_msr()
        );
        self.note_taken_interrupt(vcpu);
        // The level is a guest of the first one's, which gets what the host need not resolve.
        let is_reflecting = self.level != 0 && area.features.reflect_vc();
        match code {
            ExitCode::VMGEXIT if is_reflecting => self.level = 0,
            ExitCode::VMGEXIT => self.vmgexit(vcpu),
            // Why the CPU was interrupted is found out by looking.
            ExitCode::INTR | ExitCode::NMI | ExitCode::SMI | ExitCode::INIT => self.check_timers(),
            ExitCode::VINTR | ExitCode::PAUSE => {}
            ExitCode::NPF => self.nested_page_fault(code, info_1, info_2, is_reflecting),
            ExitCode::HLT | ExitCode::IDLE_HLT | ExitCode::SHUTDOWN if is_reflecting => {
                self.level = 0;
            }
            ExitCode::HLT | ExitCode::IDLE_HLT => {
                self.current_mut().activity = Activity::Halted;
            }
            ExitCode::SHUTDOWN => self.host.end(End::Shutdown { vp: self.index }),
            ExitCode::INVALID | ExitCode::BUSY => {
                self.enter_first_or(End::Invalid { vp: self.index, level: self.level });
            }
            ExitCode(other) => self.enter_first_or(End::Unanswerable {
                vp: self.index,
                code: other,
                info_1,
                info_2,
            }),
        }
    }

    /// Enters the first level with what another level's exit leaves to it; an exit of the first
    /// level itself ends the VM.
    fn enter_first_or(&mut self, end: End) {
        if self.level == 0 {
            return self.host.end(end);
        }
        self.level = 0;
    }

    /// Ends the VM for a VMGEXIT that has no answer.
    pub(crate) fn unanswerable(&self, info_1: u64, info_2: u64) {
        let code = ExitCode::VMGEXIT.0;
        self.host.end(End::Unanswerable { vp: self.index, code, info_1, info_2 });
    }

    /// A nested page fault: the page is in another state than the guest's tables say, or its entry
    /// is larger than what an instruction works on. As KVM and QEMU do, the host gives the guest
    /// what its access asks for; the guest then finds a page that is not validated, or shared. A
    /// level that lacks a right, and one that has no memory there, are the first level's to judge,
    /// and so is a page in the other state for a reflecting level.
    fn nested_page_fault(&mut self, code: ExitCode, info_1: u64, info_2: u64, is_reflecting: bool) {
        let fault = NestedPageFault::from_bits(info_1);
        let gpa = info_2 & !(1 << self.host.settings.c_bit);
        let outside = &self.host.outside;
        let done = GuestPage::of(gpa).and_then(|page| {
            if fault.size_mismatch() {
                return outside.split_page(page).ok();
            }
            if fault.vmpl() || is_reflecting {
                return None;
            }
            let to = if fault.encrypted() { PageState::Private } else { PageState::Shared };
            outside.change_page(page, Size::Small, to).ok()
        });
        if done.is_none() {
            let vp = self.index;
            self.enter_first_or(End::Unanswerable { vp, code: code.0, info_1, info_2 });
        }
    }
}
