//! IA32_APIC_BASE, which selects the mode.

use crate::registers::{ApicBase, DEFAULT_PAGE, InterruptCommand};
use crate::{GeneralProtection, LocalApic, Mode, Registers};

/// IA32_APIC_BASE after power-on (SDM 11.4.7.1).
pub(crate) fn reset_value(is_bsp: bool) -> u64 {
    ApicBase::from_bits(DEFAULT_PAGE).with_en(true).with_bsp(is_bsp).into_bits()
}

/// The mode that a value of IA32_APIC_BASE selects (SDM table 11-5); `None` if it is invalid.
pub(crate) fn mode_of(value: u64) -> Option<Mode> {
    let base = ApicBase::from_bits(value);
    match (base.en(), base.extd()) {
        (false, false) => Some(Mode::Disabled),
        (true, false) => Some(Mode::XApic),
        (true, true) => Some(Mode::X2Apic),
        (false, true) => None,
    }
}

/// Bits of IA32_APIC_BASE that are not reserved; `page_mask` has the implemented address bits.
pub(crate) fn writable_bits(page_mask: u64) -> u64 {
    ApicBase::from_bits(page_mask).with_en(true).with_extd(true).with_bsp(true).into_bits()
}

impl LocalApic {
    /// IA32_APIC_BASE (SDM 11.4.4).
    pub fn apic_base(&self) -> u64 {
        self.base
    }

    /// The address of the guest's xAPIC register page; `None` outside xAPIC mode.
    pub fn xapic_page(&self) -> Option<u64> {
        (self.mode == Mode::XApic).then_some(self.base & self.config.page_mask)
    }

    /// The interface in use.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Writes IA32_APIC_BASE. After a success the caller must ask for [`LocalApic::identity`],
    /// [`LocalApic::xapic_page`] and [`LocalApic::timer_deadline`] again.
    ///
    /// The BSP flag is read/write (SDM volume 4, table 2-2) and has no effect here. Disabling the
    /// APIC resets all registers (SDM 11.4.3); enabling x2APIC mode resets LDR, DFR and the
    /// destination in the ICR (SDM 11.12.5.1).
    ///
    /// # Errors
    ///
    /// A reserved bit is set, the address exceeds the physical width, the mode is invalid (EN = 0,
    /// EXTD = 1), or the transition is not allowed: x2APIC to xAPIC, disabled to x2APIC (SDM
    /// 11.12.5).
    pub fn set_apic_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        if value & !writable_bits(self.config.page_mask) != 0 {
            return Err(GeneralProtection);
        }
        let mode = mode_of(value).ok_or(GeneralProtection)?;
        match (self.mode, mode) {
            (Mode::X2Apic, Mode::XApic) | (Mode::Disabled, Mode::X2Apic) => {
                return Err(GeneralProtection);
            }
            (_, Mode::Disabled) => self.registers = Registers::RESET,
            (Mode::XApic, Mode::X2Apic) => self.enter_x2apic(),
            (Mode::Disabled | Mode::XApic, Mode::XApic) | (Mode::X2Apic, Mode::X2Apic) => {}
        }
        self.base = value;
        self.mode = mode;
        Ok(())
    }

    fn enter_x2apic(&mut self) {
        self.registers.ldr = Registers::RESET.ldr;
        self.registers.dfr_model = Registers::RESET.dfr_model;
        let command = InterruptCommand::from_bits(self.registers.icr);
        self.registers.icr = command.with_destination(0).into_bits();
    }
}
