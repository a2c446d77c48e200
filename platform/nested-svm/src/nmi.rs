//! When the guest can take an NMI: not before the IRET of the handler that serves one.

use platform_api::Exit;

use crate::intercepts;
use crate::vmcb::{control, save};
use crate::vp::SvmVp;

const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_NT: u64 = 1 << 14;
const EFER_LMA: u64 = 1 << 10;
const DR6_BS: u64 = 1 << 14;

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

impl SvmVp {
    /// An intercepted exception: the end of our own single step, or the guest's.
    pub(crate) fn exception(&mut self, vector: u8) -> Option<Exit> {
        if let (1, NmiMask::Stepping { trap_flag }) = (vector, self.nmi) {
            self.nmi = NmiMask::Open;
            let dr6 = self.vmcb.read_u64(save::DR6);
            if !trap_flag && dr6 & DR6_BS != 0 {
                self.vmcb.write_u64(save::DR6, dr6 & !DR6_BS);
                return Some(Exit::NmiUnmasked);
            }
        }
        let has_error = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
        let error_code = has_error.then(|| self.vmcb.read_u64(control::EXIT_INFO_1) as u32);
        Some(Exit::Exception { vector, error_code })
    }

    /// The IRET that ends an NMI handler: let it run, and look again when it has.
    pub(crate) fn step_over_iret(&mut self) {
        self.intercept(intercepts::IRET, false);
        let rflags = self.vmcb.read_u64(save::RFLAGS);
        if rflags & RFLAGS_NT != 0 && self.vmcb.read_u64(save::EFER) & EFER_LMA == 0 {
            // This IRET switches tasks: it would save TF in the task that it leaves, and the guest
            // would get a #DB of ours when that task runs again. It is over with the NMI, then; the
            // next one is offered at the next exit.
            self.nmi = NmiMask::Open;
            return;
        }
        self.nmi = NmiMask::Stepping { trap_flag: rflags & RFLAGS_TF != 0 };
        self.vmcb.write_u64(save::RFLAGS, rflags | RFLAGS_TF);
    }
}
