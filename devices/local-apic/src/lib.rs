//! The model of one x86 local APIC.
//!
//! It covers the xAPIC register page, the x2APIC MSRs, IA32_APIC_BASE, IA32_TSC_DEADLINE, the
//! timer, the local vector table with both LINT pins, and the acceptance of interrupts. It follows
//! the Intel SDM volume 3, chapter 11 ("SDM"), and where the two differ AMD's APM volume 2, chapter
//! 16 ("APM"). Choices that these leave to the implementation:
//!
//! - The version is 14h with six LVT entries: no CMCI, no suppression of EOI broadcasts. There is
//!   no performance counter and no thermal sensor, so their two entries never interrupt.
//! - The xAPIC ID is read-only (SDM 11.4.6 allows it), so a guest can not duplicate an ID.
//! - IPIs other than INIT are edge-triggered whatever the ICR says; INIT level de-assert does
//!   nothing (SDM 11.6.1, footnotes). A shorthand with a delivery mode that SDM table 11-3 calls
//!   invalid sends nothing.
//! - When TPR and ISRV have equal classes, PPR bits 3:0 are those of TPR (SDM 11.8.3.1).
//!
//! Only the VP that owns the model accesses it. Other VPs and devices post interrupts to that VP's
//! mailbox, which the shell drains through [`LocalApic::accept`]. The VP also holds the state of
//! INIT and SIPI: the model only resets itself in [`LocalApic::init`].
//!
//! The outputs are [`LocalApic::pending`] and [`LocalApic::accepts_ext_int`], which the shell reads
//! before each entry. A register access returns an [`Effect`] if the shell has more to do.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod access;
mod base;
mod command;
mod destination;
mod inspect;
mod local;
mod registers;
mod state;
#[cfg(test)]
mod tests;
mod timer;
mod vectors;

pub use command::{Delivery, Ipi};
pub use destination::{Destination, Identity, Mode, lowest_priority};
pub use local::{LintPin, LocalDelivery};
pub use state::{SAVED_VERSION, Saved};
pub use timer::{TIMER_INPUT_HZ, TimerDeadline};

use device_model::{Device, GuestTsc, Inspect, Instant, RestoreError};
use registers::{
    DFR_FLAT, ErrorStatus, FIRST_LEGAL_VECTOR, LVT_COUNT, LVT_RESET, SVR_RESET, SpuriousVector,
};
use timer::Timer;
use vectors::VectorSet;

/// The access is the guest's fault and must raise #GP(0) in it. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// A request of a register write to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Send this interrupt to all APICs that [`Destination::matches`]. A self-IPI is never
    /// returned: the model accepts it itself.
    Ipi(Ipi),
    /// A level-triggered interrupt has ended: notify the IOAPICs (SDM 11.8.5).
    EndOfInterrupt {
        /// The vector that ended.
        vector: u8,
    },
    /// Read [`LocalApic::timer_deadline`] again.
    TimerChanged,
    /// Publish [`LocalApic::identity`] again, then do as for [`Effect::TimerChanged`], because a
    /// software disable masks the timer.
    IdentityChanged,
}

/// Properties fixed at construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    apic_id: u32,
    is_bsp: bool,
    /// The implemented address bits of IA32_APIC_BASE.
    page_mask: u64,
    /// Minimum time between two interrupts of a periodic timer, in nanoseconds.
    minimum_period: u64,
}

/// The registers that a power-on reset initialises (SDM 11.4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    tpr: u8,
    /// Derived from `tpr` and `isr`; cached because each entry reads it.
    ppr: u8,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    svr: u32,
    lvt: [u32; LVT_COUNT],
    icr: u64,
    ldr: u8,
    dfr_model: u8,
    /// The value that the ESR reads.
    esr: ErrorStatus,
    /// Errors detected since the last write of the ESR.
    errors: ErrorStatus,
    timer: Timer,
}

impl Registers {
    const RESET: Self = Self {
        tpr: 0,
        ppr: 0,
        irr: VectorSet::EMPTY,
        isr: VectorSet::EMPTY,
        tmr: VectorSet::EMPTY,
        svr: SVR_RESET,
        lvt: [LVT_RESET; LVT_COUNT],
        icr: 0,
        ldr: 0,
        dfr_model: DFR_FLAT,
        esr: ErrorStatus::empty(),
        errors: ErrorStatus::empty(),
        timer: Timer::RESET,
    };
}

/// One local APIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApic {
    config: Config,
    /// IA32_APIC_BASE.
    base: u64,
    /// Derived from `base`.
    mode: Mode,
    /// The latest time seen.
    latest: Instant,
    /// Electrical levels of LINT0 and LINT1.
    pins: [bool; 2],
    registers: Registers,
}

impl LocalApic {
    /// A local APIC after power-on: xAPIC mode, software-disabled, page at FEE0_0000h.
    ///
    /// `physical_bits` is the guest's MAXPHYADDR, which bounds the page's address; values outside
    /// 32 to 52 count as the nearest of these. `minimum_timer_period` is in nanoseconds; see
    /// [`LocalApic::advance_timer`].
    pub fn new(apic_id: u32, is_bsp: bool, physical_bits: u8, minimum_timer_period: u64) -> Self {
        let width = physical_bits.clamp(32, 52);
        let page_mask = ((1 << width) - 1) & !0xFFF;
        let config = Config { apic_id, is_bsp, page_mask, minimum_period: minimum_timer_period };
        Self::power_on(config, Instant::START, [false; 2])
    }

    fn power_on(config: Config, latest: Instant, pins: [bool; 2]) -> Self {
        let base = base::reset_value(config.is_bsp);
        Self { config, base, mode: Mode::XApic, latest, pins, registers: Registers::RESET }
    }

    /// The reset by an INIT: all registers as after power-on, except that the APIC ID, the mode and
    /// IA32_APIC_BASE stay (SDM 11.4.7.3, 11.12.5.1).
    pub fn init(&mut self) {
        self.registers = Registers::RESET;
    }

    /// The identity by which other VPs address this APIC.
    #[inline]
    pub fn identity(&self) -> Identity {
        Identity {
            mode: self.mode,
            x2apic_id: self.config.apic_id,
            logical_id: self.registers.ldr,
            model: self.registers.dfr_model,
            software_enabled: self.software_enabled(),
            lint0_open: self.lint0_open(),
        }
    }

    /// Accepts a fixed or lowest-priority interrupt into the IRR (SDM 11.8.4).
    ///
    /// Returns whether it was accepted. A vector below 16 is logged as an error instead, and a
    /// software-disabled APIC accepts none (SDM 11.4.7.2).
    #[inline]
    pub fn accept(&mut self, vector: u8, level_triggered: bool) -> bool {
        if self.mode == Mode::Disabled {
            return false;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.log_error(ErrorStatus::RECEIVE_ILLEGAL_VECTOR);
            return false;
        }
        if !self.software_enabled() {
            return false;
        }
        self.request(vector, level_triggered);
        true
    }

    /// The vector to deliver as soon as the CPU takes interrupts: the highest in the IRR, if its
    /// class exceeds that of the processor priority (SDM 11.8.3.1).
    ///
    /// Interrupts accepted before a software disable are still delivered (SDM 11.4.7.2: they
    /// require "masking or handling by the CPU").
    #[inline]
    pub fn pending(&self) -> Option<u8> {
        let vector = self.registers.irr.highest();
        (vector >> 4 > self.registers.ppr >> 4).then_some(vector)
    }

    /// Like [`LocalApic::pending`], but ignores the task priority. This is for a CPU that compares
    /// it itself, as AMD-V does with V_TPR (APM 15.21.2), so that the guest can lower CR8 without
    /// an exit.
    #[inline]
    pub fn pending_at_any_task_priority(&self) -> Option<u8> {
        if self.registers.irr.is_empty() {
            return None;
        }
        let vector = self.registers.irr.highest();
        (vector >> 4 > self.registers.isr.highest() >> 4).then_some(vector)
    }

    /// Whether any vector is requested, also one that can not be delivered yet.
    pub fn has_requests(&self) -> bool {
        self.registers.irr.highest() != 0
    }

    /// Whether `vector` was last requested by a level-triggered interrupt.
    pub fn is_level_triggered(&self, vector: u8) -> bool {
        self.registers.tmr.contains(vector)
    }

    /// Moves `vector`, which the CPU has taken, from the IRR to the ISR (SDM 11.8.4). No effect if
    /// the vector is not in the IRR.
    #[inline]
    pub fn acknowledge(&mut self, vector: u8) {
        if self.registers.irr.contains(vector) {
            self.registers.irr.remove(vector);
            self.registers.isr.insert(vector);
            self.update_ppr();
        }
    }

    /// Ends the highest interrupt in service, as a write to the EOI register does (SDM 11.8.5).
    #[inline]
    pub fn end_of_interrupt(&mut self) -> Option<Effect> {
        let vector = self.registers.isr.highest();
        if vector == 0 {
            return None;
        }
        self.registers.isr.remove(vector);
        self.update_ppr();
        if !self.registers.tmr.contains(vector) {
            return None;
        }
        self.end_lint0(vector);
        Some(Effect::EndOfInterrupt { vector })
    }

    /// Bits 7:4 of the task priority, as CR8 reads them (SDM 11.8.6).
    #[inline]
    pub fn task_priority_class(&self) -> u8 {
        self.registers.tpr >> 4
    }

    /// Writes CR8. For bits 7:4 of `class` the caller must raise #GP; they are ignored here (SDM
    /// 11.8.6.1).
    #[inline]
    pub fn set_task_priority_class(&mut self, class: u8) {
        self.set_tpr(class << 4);
    }

    /// SVR bit 8, which is also clear while the APIC is globally disabled.
    #[inline]
    fn software_enabled(&self) -> bool {
        SpuriousVector::from_bits(self.registers.svr).enable()
    }

    fn set_tpr(&mut self, tpr: u8) {
        self.registers.tpr = tpr;
        self.update_ppr();
    }

    #[inline]
    fn request(&mut self, vector: u8, level_triggered: bool) {
        self.registers.irr.insert(vector);
        if level_triggered {
            self.registers.tmr.insert(vector);
        } else {
            self.registers.tmr.remove(vector);
        }
    }

    #[inline]
    fn update_ppr(&mut self) {
        let (tpr, in_service) = (self.registers.tpr, self.registers.isr.highest() & 0xF0);
        self.registers.ppr = if tpr >> 4 >= in_service >> 4 { tpr } else { in_service };
    }

    /// Logs an error. Only the first error since the last write of the ESR raises the error
    /// interrupt (SDM 11.5.3).
    fn log_error(&mut self, error: ErrorStatus) {
        let armed = self.registers.errors.is_empty();
        self.registers.errors |= error;
        if armed {
            self.signal_local(registers::LVT_ERROR);
        }
    }

    /// The later of `now` and the latest time seen before.
    #[inline]
    fn at(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }
}

/// `deadline` and `advance` do not cover TSC-deadline mode: a shell that offers it uses
/// [`LocalApic::timer_deadline`] and [`LocalApic::advance_timer`].
impl Device for LocalApic {
    type Saved = Saved;

    fn reset(&mut self, now: Instant) {
        let latest = self.at(now);
        *self = Self::power_on(self.config, latest, self.pins);
    }

    fn deadline(&self) -> Option<Instant> {
        match self.timer_deadline()? {
            TimerDeadline::At(at) => Some(at),
            TimerDeadline::Tsc(_) => None,
        }
    }

    fn advance(&mut self, now: Instant) {
        self.advance_timer(now, GuestTsc(0));
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(self.config, saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
