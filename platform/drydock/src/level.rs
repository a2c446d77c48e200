//! One level of a VP, on the CPU that carries it.

use drydock_cpu::{Addressing, Features};
use drydock_host::Vcpu as HostSide;
use instructions::FxArea;
use platform_api::Event;
use snp::features::SevFeatures;
use snp::vmsa::VintrCtrl;
use svm::{Pages, Vcpu};
use x86::{Registers, SystemRegisters, rflags};

use crate::C_BIT;

/// The CPUID leaf that describes XSAVE.
const XSAVE_LEAF: u32 = 0xd;
/// XCR0: the x87 registers, which are always on.
pub(crate) const XCR0_X87: u64 = 1;

/// A level, with the control block that a host has for it.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) vcpu: Vcpu,
    pub(crate) features: Features,
    /// The generation of page tables that the CPU's translations are of.
    pub(crate) generation: u64,
    /// The number of the save area that the control block is for.
    pub(crate) serial: u64,
    /// Under alternate injection: the save area's virtual interrupt, as far as it is left.
    pub(crate) virtual_interrupt: VintrCtrl,
    /// EXITINTINFO of the last exit.
    pub(crate) interrupted: u64,
    /// Where the instruction that exited ends, for a reflected #VC.
    pub(crate) next_rip: u64,
    /// Room for the FPU's state on its way.
    pub(crate) fpu: FxArea,
    /// What XCR0 can have (CPUID Fn0000_000D EAX).
    pub(crate) components: u64,
}

impl Level {
    /// Makes level `vmpl`.
    ///
    /// # Safety
    /// As for [`Vcpu::new`].
    pub(crate) unsafe fn new(
        pages: Pages,
        features: svm::Features,
        vmpl: u8,
        tsc_frequency: u64,
        ghcb_msr: u64,
    ) -> Self {
        // SAFETY: as this function's.
        let mut vcpu = unsafe { Vcpu::new(pages, features) };
        vcpu.intercept_undefined_and_modes();
        let components =
            if features.xsave { instructions::cpuid(XSAVE_LEAF, 0)[0].into() } else { XCR0_X87 };
        let features = Features {
            sev: SevFeatures::new(),
            vmpl,
            addressing: Addressing { c_bit: C_BIT, virtual_tom: None },
            ghcb_msr,
            tsc_mhz: tsc_frequency / 1_000_000,
        };
        Self {
            vcpu,
            features,
            generation: 0,
            serial: 0,
            virtual_interrupt: VintrCtrl::new(),
            interrupted: 0,
            next_rip: 0,
            fpu: FxArea::initial(),
            components,
        }
    }
}

impl HostSide for Level {
    fn ghcb_msr(&self) -> u64 {
        self.features.ghcb_msr
    }

    fn set_ghcb_msr(&mut self, value: u64) {
        self.features.ghcb_msr = value;
    }

    fn interrupts_enabled(&self) -> bool {
        self.vcpu.rflags() & rflags::IF != 0
    }

    fn can_take_interrupt(&self) -> bool {
        self.vcpu.can_take_interrupt()
    }

    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.vcpu.offer(vector);
    }

    fn taken_interrupt(&mut self) -> Option<u8> {
        self.vcpu.taken()
    }

    fn request_window(&mut self) {
        self.vcpu.request_window();
    }

    fn inject(&mut self, event: Event) {
        self.vcpu.inject(event);
    }

    fn can_take_nmi(&self) -> bool {
        self.vcpu.can_take_nmi()
    }

    fn has_event(&self) -> bool {
        self.vcpu.has_event()
    }

    fn task_priority(&self) -> u8 {
        self.vcpu.cr8()
    }
}
