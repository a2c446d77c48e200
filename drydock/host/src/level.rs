//! What the host keeps of one level of a VP.

use chipset::Chipset;
use chipset::mailbox::{Mail, Order};
use cpu_policy::Mtrrs;
use hyperv::kvm_clock::KvmClock;
use local_apic::{LintPin, LocalApic, LocalDelivery};

use crate::machine::{Area, local_apic};
use crate::outside::Vcpu;
use crate::vp::Activity;

/// A level of a VP.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) apic: LocalApic,
    pub(crate) mtrrs: Mtrrs,
    pub(crate) kvm_clock: KvmClock,
    pub(crate) activity: Activity,
    /// The GHCB that it has registered.
    pub(crate) registered: Option<u64>,
    /// Its #HV doorbell page.
    pub(crate) doorbell: Option<u64>,
    /// Its last interrupt ends when it clears the bit for that in the doorbell page.
    pub(crate) ends_without_eoi: bool,
    pub(crate) nmis_pending: u8,
    /// The number of the save area that it runs; zero without one.
    pub(crate) serial: u64,
}

impl Level {
    pub(crate) fn new(vp: u32, physical_bits: u8) -> Self {
        Self {
            apic: local_apic(vp, physical_bits),
            mtrrs: Mtrrs::new(physical_bits),
            kvm_clock: KvmClock::default(),
            activity: Activity::Running,
            registered: None,
            doorbell: None,
            ends_without_eoi: false,
            nmis_pending: 0,
            serial: 0,
        }
    }

    /// Replaces the doorbell page. What the old one said of an EOI does not count any more.
    pub(crate) const fn set_doorbell(&mut self, page: Option<u64>) {
        self.doorbell = page;
        self.ends_without_eoi = false;
    }

    /// Takes what others have posted. True if timers are to be looked at again.
    pub(crate) fn read(&mut self, mail: &Mail, chipset: &Chipset) -> bool {
        if mail.has(Order::ExtInt) {
            let delivery = self.apic.set_lint(LintPin::Lint0, chipset.lines().pic_output());
            self.take_local(delivery);
        }
        // A VP starts by a save area. INIT gives it one that waits for that, and a SIPI ends the
        // hold.
        if mail.has(Order::Startup) && self.activity == Activity::ResetHold {
            self.activity = Activity::Running;
        }
        self.nmis_pending = self.nmis_pending.saturating_add(mail.nmis()).min(2);
        for (word, (requests, level)) in (0u8..).zip(mail.requests.iter().zip(mail.level)) {
            let mut left = *requests;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                self.apic.accept(word * 64 + bit as u8, level >> bit & 1 != 0);
            }
        }
        mail.has(Order::Timer)
    }

    pub(crate) fn take_local(&mut self, delivery: Option<LocalDelivery>) {
        match delivery {
            Some(LocalDelivery::Nmi) => self.nmis_pending = (self.nmis_pending + 1).min(2),
            // Registers are out of reach: a VP is reset by a new save area.
            Some(LocalDelivery::Init | LocalDelivery::Smi) | None => {}
        }
    }

    /// Whether the 8259 pair asks this level for an interrupt.
    pub(crate) fn ext_int_waits(&self, chipset: &Chipset) -> bool {
        chipset.lines().pic_output() && self.apic.accepts_ext_int()
    }

    /// Whether something waits that the level would be told of.
    pub(crate) fn has_event(&self, area: Area, chipset: &Chipset) -> bool {
        let asked = self.nmis_pending != 0 || self.apic.pending().is_some();
        if area.features.restricted_injection() {
            return self.doorbell.is_some() && asked;
        }
        asked || self.ext_int_waits(chipset)
    }

    /// Whether no timer and no device can wake the level, which sleeps.
    pub(crate) fn is_dormant(&self, vcpu: &impl Vcpu, area: Area) -> bool {
        let open = area.features.restricted_injection() || vcpu.interrupts_enabled();
        self.activity == Activity::ResetHold || !open
    }

    /// Whether the level goes on.
    pub(crate) fn wakes(&mut self, vcpu: &mut impl Vcpu, area: Area, chipset: &Chipset) -> bool {
        match self.activity {
            Activity::Running => return true,
            Activity::Halted => {}
            Activity::ResetHold => return false,
        }
        let restricted = area.features.restricted_injection();
        let asked = self.apic.pending().is_some() || self.ext_int_waits(chipset);
        let open = restricted || vcpu.interrupts_enabled();
        if self.nmis_pending != 0 || vcpu.has_event() || open && asked {
            self.activity = Activity::Running;
        }
        self.activity == Activity::Running
    }
}
