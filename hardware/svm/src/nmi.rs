//! When the guest can take an NMI: not before the IRET of the handler that serves one.

use platform_api::Event;
use x86::{dr6, efer, rflags, vector};

use crate::intercepts;
use crate::vcpu::Vcpu;
use crate::vmcb::{control, save};

/// Whether the guest can take an NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NmiMask {
    Open,
    /// An NMI is in service; the IRET that ends it is intercepted.
    InService,
    /// The IRET runs as a single step; the NMI is over when it has completed.
    Stepping {
        /// RFLAGS.TF before our step.
        trap_flag: bool,
    },
}

impl Vcpu {
    /// The exception that an exit for `vector` was about; none if that was the end of our own
    /// single step, with which NMIs are unmasked.
    #[inline]
    pub fn exception(&mut self, vector: u8) -> Option<Event> {
        if let (vector::DB, NmiMask::Stepping { trap_flag }) = (vector, self.nmi) {
            self.nmi = NmiMask::Open;
            let dr6 = self.vmcb.read_u64(save::DR6);
            if !trap_flag && dr6 & dr6::BS != 0 {
                self.vmcb.write_u64(save::DR6, dr6 & !dr6::BS);
                return None;
            }
        }
        let error_code =
            vector::has_error_code(vector).then(|| self.vmcb.read_u64(control::EXIT_INFO_1) as u32);
        Some(Event::Exception { vector, error_code })
    }

    /// The IRET that ends an NMI handler: let it run, and look again when it has.
    pub fn step_over_iret(&mut self) {
        self.intercept(intercepts::IRET, false);
        let rflags = self.vmcb.read_u64(save::RFLAGS);
        if rflags & rflags::NT != 0 && self.vmcb.read_u64(save::EFER) & efer::LMA == 0 {
            // This IRET switches tasks: it would save TF in the task that it leaves, and the guest
            // would get a #DB of ours when that task runs again. It is over with the NMI, then; the
            // next one is offered at the next exit.
            self.nmi = NmiMask::Open;
            return;
        }
        self.nmi = NmiMask::Stepping { trap_flag: rflags & rflags::TF != 0 };
        self.vmcb.write_u64(save::RFLAGS, rflags | rflags::TF);
    }

    /// Takes a single step back that has not happened yet: another exit came first, and the guest's
    /// registers are to be read as it left them. The IRET exits once more.
    pub fn undo_step(&mut self) {
        let NmiMask::Stepping { trap_flag } = self.nmi else { return };
        let rflags = self.vmcb.read_u64(save::RFLAGS) & !rflags::TF;
        let own = if trap_flag { rflags::TF } else { 0 };
        self.vmcb.write_u64(save::RFLAGS, rflags | own);
        self.nmi = NmiMask::InService;
        self.intercept(intercepts::IRET, true);
    }
}
