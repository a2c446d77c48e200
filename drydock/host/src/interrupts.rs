//! Injection of interrupts: by the control block, by the doorbell page, or not at all.

use platform_api::Event;
use snp::doorbell::{NO_EOI_REQUIRED, NO_EOI_REQUIRED_BIT, PENDING_EVENTS, PendingEvents};
use x86::vector;

use crate::machine::Area;
use crate::outside::{Outside, Vcpu};
use crate::vp::HostVp;

impl<O: Outside> HostVp<'_, O> {
    /// Brings pending interrupts to the level that runs, in the way that its save area allows
    /// (AMD64 APM vol. 2, section 15.36.16).
    pub(crate) fn offer_interrupts(&mut self, vcpu: &mut impl Vcpu, area: Area) {
        if area.features.alternate_injection() {
            // They come from the save area, which is not the host's.
            return;
        }
        if area.features.restricted_injection() {
            return self.ring(vcpu);
        }
        let chipset = self.chipset();
        let level = self.current_mut();
        level.apic.set_task_priority_class(vcpu.task_priority());
        if level.nmis_pending != 0 && vcpu.can_take_nmi() {
            level.nmis_pending -= 1;
            vcpu.inject(Event::Nmi);
        }
        if level.ext_int_waits(chipset) {
            if !vcpu.can_take_interrupt() {
                return vcpu.request_window();
            }
            if let Some(vector) = chipset.lines().acknowledge_pic() {
                vcpu.inject(Event::Interrupt(vector));
            }
        }
        vcpu.offer_interrupt(level.apic.pending());
    }

    /// Puts pending events into the doorbell page, and signals them by #HV (GHCB specification 56421,
    /// "#HV Doorbell Page").
    fn ring(&mut self, vcpu: &mut impl Vcpu) {
        let outside = &self.host.outside;
        let Some(page) = self.current().doorbell else { return };
        let mut word = [0; 2];
        if !outside.read_shared(page + PENDING_EVENTS as u64, &mut word) {
            return;
        }
        let mut events = PendingEvents::from_bits(u16::from_le_bytes(word));
        let level = self.current_mut();
        if level.ends_without_eoi && level.apic.has_requests() {
            // Something waits for the end of the last interrupt: its EOI tells of that at once.
            level.ends_without_eoi = false;
            outside.write_shared(page + NO_EOI_REQUIRED as u64, &[0]);
        }
        let mut is_new = false;
        if level.nmis_pending != 0 && !events.nmi() {
            level.nmis_pending -= 1;
            events.set_nmi(true);
            is_new = true;
        }
        // A vector that the guest has not taken yet waits, unless a more urgent one comes.
        let pending = level.apic.pending();
        if let (0, Some(vector)) = (events.vector(), pending) {
            level.apic.acknowledge(vector);
            events.set_vector(vector);
            is_new = true;
            // An interrupt that no other waits for, and that no device wants to see ended, ends by
            // a bit of the page.
            level.ends_without_eoi =
                !level.apic.has_requests() && !level.apic.is_level_triggered(vector);
            let required = if level.ends_without_eoi { NO_EOI_REQUIRED_BIT } else { 0 };
            outside.write_shared(page + NO_EOI_REQUIRED as u64, &[required]);
        }
        if !is_new {
            return;
        }
        let signal = !events.no_further_signal() && !vcpu.has_event();
        if signal {
            events.set_no_further_signal(true);
            vcpu.inject(Event::Exception { vector: vector::HV, error_code: None });
        }
        let bytes = events.into_bits().to_le_bytes();
        outside.write_shared(page + PENDING_EVENTS as u64, &bytes);
    }

    /// Ends the interrupts of levels that have cleared the bit for that since they ran.
    pub(crate) fn end_interrupts(&mut self) {
        let outside = &self.host.outside;
        for level in &mut self.levels {
            let Some(page) = level.doorbell.filter(|_| level.ends_without_eoi) else { continue };
            let mut byte = [0];
            let is_read = outside.read_shared(page + NO_EOI_REQUIRED as u64, &mut byte);
            if is_read && byte[0] & NO_EOI_REQUIRED_BIT == 0 {
                level.ends_without_eoi = false;
                // It was edge-triggered: no device is told.
                let _ = level.apic.end_of_interrupt();
            }
        }
    }

    /// What the guest did to its interrupts without an exit: it took the one offered.
    pub(crate) fn note_taken_interrupt(&mut self, vcpu: &mut impl Vcpu) {
        if let Some(vector) = vcpu.taken_interrupt() {
            self.current_mut().apic.acknowledge(vector);
        }
    }
}
