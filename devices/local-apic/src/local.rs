//! The local vector table, LINT pins included.

use crate::registers::{
    DeliveryMode, ErrorStatus, FIRST_LEGAL_VECTOR, LVT_BITS, LVT_ERROR, LVT_LINT0, LVT_LINT1,
    LVT_TIMER, LvtEntry, SVR_BITS,
};
use crate::{Effect, LocalApic, Mode};
use device_model::{GuestTsc, Instant};

/// A local interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintPin {
    /// Wired to the 8259A's INTR in a PC.
    Lint0,
    /// Wired to NMI in a PC.
    Lint1,
}

/// An event that a LINT pin delivers to the CPU directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LocalDelivery {
    /// Non-maskable interrupt.
    Nmi,
    /// System management interrupt.
    Smi,
    /// INIT.
    Init,
}

impl LintPin {
    fn entry(self) -> usize {
        match self {
            Self::Lint0 => LVT_LINT0,
            Self::Lint1 => LVT_LINT1,
        }
    }
}

impl LocalApic {
    /// Sets the electrical level of a LINT pin (SDM 11.5.1).
    ///
    /// A fixed interrupt goes to the IRR; an event for the CPU itself is returned. For ExtINT see
    /// [`LocalApic::accepts_ext_int`]. While the APIC is globally disabled, LINT1 is the CPU's NMI
    /// pin (SDM 11.4.3).
    pub fn set_lint(&mut self, pin: LintPin, level: bool) -> Option<LocalDelivery> {
        let entry = LvtEntry::from_bits(self.registers.lvt[pin.entry()]);
        let was = self.asserted(pin);
        self.pins[pin as usize] = level;
        let rises = self.asserted(pin) && !was;
        if self.mode == Mode::Disabled {
            return (rises && pin == LintPin::Lint1).then_some(LocalDelivery::Nmi);
        }
        if !rises || entry.masked() {
            return None;
        }
        match entry.delivery_mode() {
            DeliveryMode::Fixed if is_level(pin, entry) => self.sample_lint0(),
            DeliveryMode::Fixed => self.signal_local(pin.entry()),
            DeliveryMode::Smi => return Some(LocalDelivery::Smi),
            DeliveryMode::Nmi => return Some(LocalDelivery::Nmi),
            DeliveryMode::Init => return Some(LocalDelivery::Init),
            DeliveryMode::ExtInt => {}
            // Reserved here.
            DeliveryMode::LowestPriority | DeliveryMode::Reserved | DeliveryMode::StartUp => {}
        }
        None
    }

    /// Whether the CPU takes interrupts from the 8259A through LINT0: its entry is an unmasked
    /// ExtINT, or the APIC is globally disabled, which makes LINT0 the INTR pin (SDM 11.4.3). The
    /// 8259A's output is not considered here.
    #[inline]
    pub fn accepts_ext_int(&self) -> bool {
        let entry = self.lint0();
        let takes = !entry.masked() && entry.delivery_mode() == DeliveryMode::ExtInt;
        takes || self.mode == Mode::Disabled
    }

    /// Whether LINT0 delivers NMI, SMI or INIT, which reach a CPU with interrupts disabled.
    pub fn lint0_is_for_the_cpu(&self) -> bool {
        let entry = self.lint0();
        let mode = entry.delivery_mode();
        let for_the_cpu =
            matches!(mode, DeliveryMode::Smi | DeliveryMode::Nmi | DeliveryMode::Init);
        self.mode != Mode::Disabled && !entry.masked() && for_the_cpu
    }

    pub(crate) fn lint0_open(&self) -> bool {
        !self.lint0().masked() || self.mode == Mode::Disabled
    }

    #[inline]
    fn lint0(&self) -> LvtEntry {
        LvtEntry::from_bits(self.registers.lvt[LVT_LINT0])
    }

    fn asserted(&self, pin: LintPin) -> bool {
        let entry = LvtEntry::from_bits(self.registers.lvt[pin.entry()]);
        self.pins[pin as usize] != entry.active_low()
    }

    /// Delivers the fixed, edge-triggered interrupt of an LVT entry, unless it is masked.
    pub(crate) fn signal_local(&mut self, entry: usize) {
        let Some(lvt) = self.registers.lvt.get(entry).copied() else { return };
        let lvt = LvtEntry::from_bits(lvt);
        if lvt.masked() {
            return;
        }
        let vector = lvt.vector();
        if vector >= FIRST_LEGAL_VECTOR {
            self.request(vector, false);
        } else if self.registers.errors.is_empty() && entry != LVT_ERROR {
            self.log_error(ErrorStatus::RECEIVE_ILLEGAL_VECTOR);
        } else {
            // An illegal vector in the error entry itself can not be signalled, only logged.
            self.registers.errors |= ErrorStatus::RECEIVE_ILLEGAL_VECTOR;
        }
    }

    /// Requests the level-triggered interrupt of LINT0 if the pin is asserted and none is pending.
    fn sample_lint0(&mut self) {
        let entry = self.lint0();
        let idle = !entry.masked() && entry.uses_remote_irr() && !entry.remote_irr();
        if idle && self.asserted(LintPin::Lint0) && self.accept(entry.vector(), true) {
            self.registers.lvt[LVT_LINT0] = entry.with_remote_irr(true).into_bits();
        }
    }

    /// Clears LINT0's remote IRR when its interrupt ends. The interrupt recurs if the pin is still
    /// asserted.
    pub(crate) fn end_lint0(&mut self, vector: u8) {
        let entry = self.lint0();
        if entry.remote_irr() && entry.vector() == vector {
            self.registers.lvt[LVT_LINT0] = entry.with_remote_irr(false).into_bits();
            self.sample_lint0();
        }
    }

    /// Writes an LVT entry. The mask can not be cleared while the APIC is software-disabled
    /// (SDM 11.4.7.2).
    pub(crate) fn write_lvt(
        &mut self,
        entry: usize,
        value: u32,
        now: Instant,
        tsc: GuestTsc,
    ) -> Option<Effect> {
        let mut new = LvtEntry::from_bits(value & LVT_BITS.get(entry)?);
        if !self.software_enabled() {
            new.set_masked(true);
        }
        if entry == LVT_TIMER {
            self.write_lvt_timer(new, now, tsc);
            return Some(Effect::TimerChanged);
        }
        let was_open = self.lint0_open();
        let lvt = self.registers.lvt.get_mut(entry)?;
        if entry == LVT_LINT0 && new.uses_remote_irr() {
            new.set_remote_irr(LvtEntry::from_bits(*lvt).remote_irr());
        }
        *lvt = new.into_bits();
        if entry == LVT_LINT0 {
            self.sample_lint0();
        }
        (self.lint0_open() != was_open).then_some(Effect::IdentityChanged)
    }

    /// Writes the SVR. A software disable masks the whole table (SDM 11.4.7.2).
    pub(crate) fn write_svr(&mut self, value: u32, now: Instant, tsc: GuestTsc) -> Option<Effect> {
        let was_enabled = self.software_enabled();
        if was_enabled {
            // A timer that has expired before the disable still interrupts.
            self.advance_timer(now, tsc);
        }
        self.registers.svr = value & SVR_BITS;
        let enabled = self.software_enabled();
        if !enabled {
            for lvt in &mut self.registers.lvt {
                *lvt = LvtEntry::from_bits(*lvt).with_masked(true).into_bits();
            }
        }
        (enabled != was_enabled).then_some(Effect::IdentityChanged)
    }
}

/// LINT1 is always edge-triggered (SDM 11.5.1, trigger mode).
fn is_level(pin: LintPin, entry: LvtEntry) -> bool {
    pin == LintPin::Lint0 && entry.level()
}
