//! How a save area comes onto the CPU and leaves it, with the events on their way (AMD64 APM vol. 2,
//! section 15.36.16).

use drydock_cpu::{AutomaticExit, PCPU_ID, Unfit, keeps_translations};
use drydock_host::Area;
use platform_api::Event;
use snp::exit::ExitCode;
use snp::vmsa::{EventInj, EventType, VintrCtrl, Vmsa};
use x86::{SystemRegisters, vector};

use crate::level::{Level, XCR0_X87};

impl Level {
    /// VMRUN's load of a save area whose state has been checked.
    ///
    /// # Errors
    /// [`Unfit::Invalid`] if the control block injects an event that the save area does not allow.
    pub(crate) fn begin(&mut self, vmsa: &Vmsa, area: Area) -> Result<(), Unfit> {
        if !keeps_translations(vmsa, self.serial, area.serial) {
            self.vcpu.forget_translations();
        }
        if self.serial != area.serial {
            // Another save area: the control block is a new one, too.
            self.serial = area.serial;
            self.vcpu.forget_events();
        }
        self.features.sev = vmsa.sev_features;
        let top = vmsa.sev_features.vtom().then_some(vmsa.virtual_tom);
        self.features.addressing.virtual_tom = top;
        if vmsa.sev_features.restricted_injection() {
            self.check_restricted()?;
        }
        self.vcpu.load(vmsa, &mut self.fpu);
        self.load_xcr0(vmsa.xcr0);
        if vmsa.sev_features.debug_swap() {
            let Vmsa { dr0, dr1, dr2, dr3, .. } = *vmsa;
            instructions::set_breakpoints([dr0, dr1, dr2, dr3]);
        }
        if vmsa.sev_features.alternate_injection() {
            self.take_events(vmsa);
        }
        (self.interrupted, self.next_rip) = (0, 0);
        Ok(())
    }

    /// Loads XCR0. A value that XSETBV would refuse is none that a CPU has stored: what is wrong with
    /// it is dropped.
    fn load_xcr0(&mut self, xcr0: u64) {
        let xcr0 = xcr0 & self.components | XCR0_X87;
        // A write of the register costs more than a read, and it seldom changes.
        if self.vcpu.xcr0() != xcr0 {
            self.vcpu.set_xcr0(xcr0);
        }
    }

    /// Under restricted injection the control block can bring #HV and nothing else.
    fn check_restricted(&mut self) -> Result<(), Unfit> {
        let allowed = match self.vcpu.injected() {
            None => true,
            Some(Event::Exception { vector, .. }) => vector == vector::HV,
            Some(Event::Interrupt(_) | Event::Nmi) => false,
        };
        if allowed && !self.vcpu.offers() {
            return Ok(());
        }
        self.vcpu.forget_events();
        Err(Unfit::Invalid)
    }

    /// Under alternate injection events come from the save area, and what the control block has is
    /// ignored.
    fn take_events(&mut self, vmsa: &Vmsa) {
        self.vcpu.forget_events();
        let control = vmsa.vintr_ctrl;
        self.virtual_interrupt = control;
        self.vcpu.set_cr8(control.tpr() & 0xf);
        self.vcpu.set_interrupt_shadow(control.shadow());
        self.vcpu.set_nmi_masked(control.nmi_mask());
        match decode(vmsa.event_inj) {
            Some(event) => self.vcpu.inject(event),
            None if control.nmi_enable() && control.nmi() && self.vcpu.can_take_nmi() => {
                self.virtual_interrupt.set_nmi(false);
                self.vcpu.inject(Event::Nmi);
            }
            None => {}
        }
        self.offer_again();
    }

    /// Offers the interrupt of the save area, once the task priority lets it through.
    pub(crate) fn offer_again(&mut self) {
        if !self.features.sev.alternate_injection() {
            return;
        }
        if self.vcpu.taken().is_some() {
            self.virtual_interrupt.set_irq(false);
        }
        let control = self.virtual_interrupt;
        let is_let = control.ignore_tpr() || control.priority() > self.vcpu.cr8();
        let waits = control.irq();
        self.vcpu.watch_task_priority(waits && !is_let);
        self.vcpu.offer((waits && is_let).then_some(control.vector()));
    }

    /// The store of the save area at an automatic exit.
    pub(crate) fn end(&mut self, vmsa: &mut Vmsa, exit: &AutomaticExit) {
        let cut_short = EventInj::from_bits(self.interrupted);
        self.vcpu.undo_step();
        self.vcpu.store(vmsa, &mut self.fpu);
        vmsa.pcpu_id = PCPU_ID;
        vmsa.xcr0 = self.vcpu.xcr0();
        if vmsa.sev_features.debug_swap() {
            [vmsa.dr0, vmsa.dr1, vmsa.dr2, vmsa.dr3] = instructions::breakpoints();
        }
        if let Some(top) = self.features.addressing.virtual_tom {
            vmsa.virtual_tom = top;
        }
        vmsa.guest_exit_code = exit.reason.code;
        vmsa.guest_exit_info_1 = exit.reason.info_1;
        vmsa.guest_exit_info_2 = exit.reason.info_2;
        vmsa.guest_exit_int_info = if cut_short.valid() { cut_short } else { EventInj::new() };
        vmsa.guest_nrip = self.next_rip;
        if vmsa.sev_features.alternate_injection() {
            self.give_events_back(vmsa);
            let is_cut = exit.code == ExitCode::VC && cut_short.valid();
            vmsa.vintr_ctrl.set_busy(is_cut);
            if is_cut {
                // The event is level 0's to deliver again, from GUEST_EXITINTINFO.
                vmsa.event_inj = EventInj::new();
            }
        }
        if exit.code == ExitCode::VC
            && let Some(cr2) = exit.reason.cr2
        {
            vmsa.cr2 = cr2;
        }
    }

    /// Writes back what has become of the save area's events.
    fn give_events_back(&mut self, vmsa: &mut Vmsa) {
        let mut control: VintrCtrl = self.virtual_interrupt;
        // An injected interrupt that was taken is over, too.
        let taken = self.vcpu.taken();
        if control.irq() && taken.is_some() {
            control.set_irq(false);
        }
        control.set_tpr(self.vcpu.cr8());
        control.set_shadow(self.vcpu.interrupt_shadow());
        control.set_nmi_mask(self.vcpu.nmi_is_masked());
        vmsa.vintr_ctrl = control;
        // Silicon injects as it enters. Here, an exit may have come first: the event is still the
        // next entry's.
        vmsa.event_inj = self.vcpu.injected().map_or(EventInj::new(), |event| encode(&event));
        // An event that was cut short stands in the save area alone.
        self.vcpu.forget_events();
    }
}

/// The form of a save area for an event.
fn encode(event: &Event) -> EventInj {
    EventInj::from_bits(svm::events::encode(event))
}

/// The event that a save area injects.
fn decode(event: EventInj) -> Option<Event> {
    if !event.valid() {
        return None;
    }
    let vector = event.vector();
    match event.event_type() {
        EventType::INTERRUPT => Some(Event::Interrupt(vector)),
        EventType::NMI => Some(Event::Nmi),
        EventType::EXCEPTION | EventType::SOFTWARE_INTERRUPT => {
            let error_code = event.has_error_code().then(|| event.error_code());
            Some(Event::Exception { vector, error_code })
        }
        _ => None,
    }
}
