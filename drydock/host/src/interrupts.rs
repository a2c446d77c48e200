//! Injection of interrupts, as the control block lets a host do it.

use platform_api::Event;

use crate::outside::{Outside, Vcpu};
use crate::vp::HostVp;

impl<O: Outside> HostVp<'_, O> {
    /// Brings pending interrupts to the CPU: an NMI, the 8259's, the local APIC's.
    pub(crate) fn offer_interrupts(&mut self, vcpu: &mut impl Vcpu) {
        self.apic.set_task_priority_class(vcpu.task_priority());
        if self.nmis_pending != 0 && vcpu.can_take_nmi() {
            self.nmis_pending -= 1;
            vcpu.inject(Event::Nmi);
        }
        if self.ext_int_waits() {
            if !vcpu.can_take_interrupt() {
                return vcpu.request_window();
            }
            if let Some(vector) = self.host.chipset.lines().acknowledge_pic() {
                vcpu.inject(Event::Interrupt(vector));
            }
        }
        vcpu.offer_interrupt(self.apic.pending());
    }

    /// What the guest did to its interrupts without an exit: it took the one offered.
    pub(crate) fn note_taken_interrupt(&mut self, vcpu: &mut impl Vcpu) {
        if let Some(vector) = vcpu.taken_interrupt() {
            self.apic.acknowledge(vector);
        }
    }
}
