//! The local APIC and IOAPIC that the host gives *us*: timer, kicks, serial input.

use core::sync::atomic::Ordering;

use guest_memory::PAGE_SIZE;
use platform_api::Width;

use crate::{Access, DeviceRegisters, Pc};

/// The page of the local APIC (AMD64 APM vol. 2, section 16.3.1), where firmware leaves it.
pub const LOCAL_APIC_PAGE: u64 = 0xfee0_0000;
/// The page of the IOAPIC.
pub const IO_APIC_PAGE: u64 = 0xfec0_0000;

/// VPs that a VM may have.
pub const MAX_VPS: usize = 64;

/// The vector of the timer.
pub const TIMER_VECTOR: u8 = 0x40;
/// The vector of a kick.
pub const KICK_VECTOR: u8 = 0x41;
pub(crate) const SERIAL_VECTOR: u8 = 0x42;
pub(crate) const SCI_VECTOR: u8 = 0x43;
/// The vector of a spurious interrupt, which no device sends. No EOI ends it.
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// Whether this PC's devices were ever told to send interrupts of this vector.
pub const fn is_asked_for(vector: u8) -> bool {
    matches!(vector, TIMER_VECTOR | KICK_VECTOR | SERIAL_VECTOR | SCI_VECTOR | SPURIOUS_VECTOR)
}

/// Register offsets (AMD64 APM vol. 2, table 16-2).
mod register {
    pub(super) const ID: u64 = 0x20;
    pub(super) const TASK_PRIORITY: u64 = 0x80;
    pub(super) const END_OF_INTERRUPT: u64 = 0xb0;
    pub(super) const SPURIOUS: u64 = 0xf0;
    pub(super) const COMMAND_LOW: u64 = 0x300;
    pub(super) const COMMAND_HIGH: u64 = 0x310;
    pub(super) const TIMER: u64 = 0x320;
    pub(super) const LINT0: u64 = 0x350;
    pub(super) const LINT1: u64 = 0x360;
    pub(super) const INITIAL_COUNT: u64 = 0x380;
    pub(super) const CURRENT_COUNT: u64 = 0x390;
    pub(super) const DIVIDE: u64 = 0x3e0;
}

const MASKED: u32 = 1 << 16;
/// Delivery mode NMI.
const NMI: u32 = 0b100 << 8;
const DIVIDE_BY_1: u32 = 0b1011;
const DELIVERY_PENDING: u32 = 1 << 12;

// SAFETY: the caller of `Pc::new` vouches for both pages; the constants are used by `Pc` alone.
const LOCAL_APIC: DeviceRegisters = unsafe { DeviceRegisters::new(LOCAL_APIC_PAGE, PAGE_SIZE) };
// SAFETY: as above.
const IO_APIC: DeviceRegisters = unsafe { DeviceRegisters::new(IO_APIC_PAGE, PAGE_SIZE) };
/// Offsets of the IOAPIC's index and data registers (Intel 82093AA, section 3.1).
const IO_APIC_SELECT: u64 = 0x00;
const IO_APIC_WINDOW: u64 = 0x10;

impl<A: Access> Pc<A> {
    #[inline]
    fn read_apic(&self, register: u64) -> u32 {
        self.access.register_read(&LOCAL_APIC, register, Width::Dword)
    }

    #[inline]
    fn write_apic(&self, register: u64, value: u32) {
        self.access.register_write(&LOCAL_APIC, register, Width::Dword, value);
    }

    /// Turns this CPU's APIC on, and notes its id under the VP that it carries. The host's NMIs go
    /// to the CPUs that carry one.
    pub fn enable_apic(&self, vp: Option<u32>) {
        self.write_apic(register::SPURIOUS, 0x100 | u32::from(SPURIOUS_VECTOR));
        self.write_apic(register::LINT0, MASKED);
        self.write_apic(register::TIMER, u32::from(TIMER_VECTOR));
        self.write_apic(register::DIVIDE, DIVIDE_BY_1);
        // Firmware opens it on the first CPU alone; each VP has an LINT1 of its own to be asked.
        self.write_apic(register::LINT1, if vp.is_some() { NMI } else { MASKED });
        if let Some(id) = vp.and_then(|vp| self.apic_ids.get(vp as usize)) {
            id.store((self.read_apic(register::ID) >> 24) as u8, Ordering::Release);
        }
    }

    /// Ends the interrupt in service.
    pub(crate) fn end_of_interrupt(&self, vector: u8) {
        if vector != SPURIOUS_VECTOR && !self.access.no_eoi_required() {
            self.write_apic(register::END_OF_INTERRUPT, 0);
        }
    }

    /// Starts the count-down; zero stops it.
    pub fn set_timer(&self, count: u32) {
        self.write_apic(register::INITIAL_COUNT, count);
    }

    /// What is left of the count-down.
    pub(crate) fn timer_count(&self) -> u32 {
        self.read_apic(register::CURRENT_COUNT)
    }

    /// Sends the kick vector to the CPU of VP `vp`.
    pub fn kick(&self, vp: u32) {
        let Some(id) = self.apic_ids.get(vp as usize) else { return };
        self.command(u32::from(id.load(Ordering::Acquire)) << 24, u32::from(KICK_VECTOR));
    }

    /// Sends the kick vector to this CPU. An NMI may do this at any time: the upper half of the
    /// command register, which others may be about to use, stays as it is.
    pub fn kick_self(&self) {
        const SELF: u32 = 0b01 << 18;
        self.write_apic(register::COMMAND_LOW, SELF | u32::from(KICK_VECTOR));
    }

    fn command(&self, high: u32, low: u32) {
        while !A::IS_DONE_AT_ONCE && self.read_apic(register::COMMAND_LOW) & DELIVERY_PENDING != 0 {
            core::hint::spin_loop();
        }
        self.write_apic(register::COMMAND_HIGH, high);
        self.write_apic(register::COMMAND_LOW, low);
    }

    /// INIT, then SIPI with `page`, to all CPUs but this one (AMD64 APM vol. 2, section 15.27.8
    /// asks for no second SIPI; a host that loses one would be broken).
    pub fn start_others(&self, page: u64, wait: impl Fn(u64)) {
        const ALL_BUT_SELF: u32 = 0b11 << 18;
        const ASSERT: u32 = 1 << 14;
        const INIT: u32 = 0b101 << 8;
        const STARTUP: u32 = 0b110 << 8;
        self.command(0, ALL_BUT_SELF | ASSERT | INIT);
        wait(10_000);
        self.command(0, ALL_BUT_SELF | ASSERT | STARTUP | (page >> 12) as u32);
    }

    /// Has the APIC offer the CPU again what waits.
    pub fn offer_again(&self) {
        self.write_apic(register::TASK_PRIORITY, 0);
    }

    /// Routes IOAPIC `pin` to the CPU of VP 0 as `vector`, edge triggered.
    pub(crate) fn route_pin(&self, pin: u32, vector: u8) {
        let id = self.apic_ids.first().map_or(0, |id| id.load(Ordering::Acquire));
        for (register, value) in
            [(0x11 + 2 * pin, u32::from(id) << 24), (0x10 + 2 * pin, vector.into())]
        {
            self.access.register_write(&IO_APIC, IO_APIC_SELECT, Width::Dword, register);
            self.access.register_write(&IO_APIC, IO_APIC_WINDOW, Width::Dword, value);
        }
    }

    /// Notes the ratio of the APIC timer's frequency to the TSC's.
    pub fn set_timer_ratio(&self, apic_ticks: u64, tsc_ticks: u64) {
        let ratio = (u128::from(apic_ticks) << 32) / u128::from(tsc_ticks.max(1));
        self.ticks_per_tsc.store(ratio as u64, Ordering::Release);
    }

    /// Has this CPU interrupted at TSC `deadline`, or never.
    ///
    /// A deadline further off than the counter reaches interrupts early; the VP loop then asks
    /// again.
    pub fn set_deadline(&self, deadline: Option<u64>) {
        let Some(deadline) = deadline else { return self.set_timer(0) };
        let left = deadline.saturating_sub(self.access.tsc());
        let ratio = self.ticks_per_tsc.load(Ordering::Relaxed);
        let count = (u128::from(left) * u128::from(ratio)) >> 32;
        self.set_timer(u32::try_from(count).unwrap_or(u32::MAX).max(1));
    }
}
