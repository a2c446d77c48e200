//! The registers of the block with their fields.
//!
//! Sections are those of the ACPI specification 6.5 ("ACPI"), chapter 4.8.

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// PM1a_EVT_BLK: status, 2 bytes (ACPI 4.8.3.1.1).
pub(crate) const PM1_STATUS: u16 = 0x0;
/// PM1a_EVT_BLK: enable, 2 bytes (ACPI 4.8.3.1.2).
pub(crate) const PM1_ENABLE: u16 = 0x2;
/// PM1a_CNT_BLK: control, 2 bytes (ACPI 4.8.3.2.1).
pub const PM1_CONTROL: u16 = 0x4;
/// PM_TMR_BLK: timer, 4 bytes (ACPI 4.8.3.3).
pub const PM_TIMER: u16 = 0x8;

/// Rate of the power management timer, in Hz (ACPI 4.8.2.1).
pub(crate) const TIMER_HZ: u64 = 3_579_545;
/// Width of the timer in bits. With 32 bits, the FADT must set TMR_VAL_EXT.
pub(crate) const TIMER_BITS: u32 = 32;
/// SLP_TYP for S5: the first element of the DSDT's `\_S5` package.
pub const SLP_TYP_S5: u8 = 0;

bitflags! {
    /// Fixed events, which have the same bits in the status and the enable register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Events: u16 {
        /// The timer's most significant bit changed.
        const TIMER = 1 << 0;
        /// Firmware released the global lock.
        const GLOBAL = 1 << 5;
        const POWER_BUTTON = 1 << 8;
        const RTC = 1 << 10;
    }
}

/// PM1 control register (ACPI 4.8.3.2.1).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub(crate) struct Control {
    /// SCI_EN, always set: there is no other mode.
    pub(crate) sci_enable: bool,
    /// BM_RLD, kept without an effect: no processor is ever in C3.
    pub(crate) bus_master_reload: bool,
    /// GBL_RLS, write-only: it asks firmware that does not exist.
    _global_lock_release: bool,
    #[bits(7)]
    _reserved: u8,
    /// SLP_TYP.
    #[bits(3)]
    pub(crate) sleep_type: u8,
    /// SLP_EN, write-only.
    pub(crate) sleep_enable: bool,
    #[bits(2)]
    _reserved: u8,
}

impl Control {
    /// The writable bits that can be read back.
    pub(crate) const WRITABLE: u16 =
        Self::new().with_bus_master_reload(true).with_sleep_type(0b111).into_bits();
    /// The register after reset.
    pub(crate) const RESET: Self = Self::new().with_sci_enable(true);
}
