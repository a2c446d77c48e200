//! The model of one x86 local APIC.
//!
//! It covers the xAPIC register page, the x2APIC MSRs, IA32_APIC_BASE, IA32_TSC_DEADLINE, the
//! timer, the local vector table with both LINT pins, and the acceptance of interrupts. The
//! source is the Intel SDM volume 3, chapter 11 ("SDM"), with AMD's APM volume 2, chapter 16
//! ("APM") where the two differ. What is left to the implementation was decided so:
//!
//! - Version 14h with six LVT entries: no CMCI, no suppression of EOI broadcasts. No performance
//!   counter and no thermal sensor exists, so those two entries are registers only.
//! - The xAPIC ID is read-only (SDM 11.4.6 allows it), so a guest can not imitate another's.
//! - IPIs other than INIT are edge-triggered whatever the ICR says; INIT level de-assert does
//!   nothing (SDM 11.6.1, footnotes). A shorthand with a delivery mode that SDM table 11-3 calls
//!   invalid sends nothing.
//! - When TPR and ISRV have equal classes, PPR bits 3:0 are those of TPR (SDM 11.8.3.1).
//!
//! The model belongs to its VP alone. Other VPs and devices put interrupts into that VP's mailbox,
//! which the shell drains through [`LocalApic::accept`]. The state machine of INIT and SIPI is the
//! VP's, too: the model only resets itself in [`LocalApic::init`].
//!
//! [`LocalApic::pending`] and [`LocalApic::accepts_ext_int`] are the outputs; the shell asks for
//! them before each entry. A register access returns an [`Effect`] when more must happen.
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

use device::{Device, GuestTsc, Inspect, Instant, RestoreError};
use registers::{
    DFR_FLAT, ErrorStatus, FIRST_LEGAL_VECTOR, LVT_COUNT, LVT_RESET, SVR_RESET, SpuriousVector,
};
use timer::Timer;
use vectors::VectorSet;

/// The access must raise #GP(0) in the guest, whose fault it is. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// What a register write asks of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Send this interrupt to all that [`Destination::matches`]. One to itself alone never
    /// appears here: the model has accepted it already.
    Ipi(Ipi),
    /// A level-triggered interrupt ended: tell the IOAPICs (SDM 11.8.5).
    EndOfInterrupt {
        /// The vector that ended.
        vector: u8,
    },
    /// Ask for [`LocalApic::timer_deadline`] again.
    TimerChanged,
    /// Publish [`LocalApic::identity`] again, then as for [`Effect::TimerChanged`]: a software
    /// disable masks the timer.
    IdentityChanged,
}

/// What construction fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    apic_id: u32,
    is_bsp: bool,
    /// IA32_APIC_BASE bits that may hold an address.
    page_mask: u64,
    /// Shortest time between two interrupts of a periodic timer, in nanoseconds.
    minimum_period: u64,
}

/// All that a power-on reset initialises (SDM 11.4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    tpr: u8,
    /// Derived from `tpr` and `isr`, kept because each entry asks for it.
    ppr: u8,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    svr: u32,
    lvt: [u32; LVT_COUNT],
    icr: u64,
    ldr: u8,
    dfr_model: u8,
    /// What a read of the ESR shows.
    esr: ErrorStatus,
    /// What was detected since the last write of the ESR.
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
    /// `physical_bits` is the guest's MAXPHYADDR, which bounds where it may move the page; values
    /// outside 32 to 52 are taken as the nearest of these. `minimum_timer_period` is in
    /// nanoseconds; see [`LocalApic::advance_timer`].
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

    /// The reset that an INIT causes: all registers as after power-on, but the APIC ID, the mode
    /// and IA32_APIC_BASE stay (SDM 11.4.7.3, 11.12.5.1).
    pub fn init(&mut self) {
        self.registers = Registers::RESET;
    }

    /// What other VPs need in order to address this APIC.
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

    /// Takes a fixed or lowest-priority interrupt into the IRR (SDM 11.8.4).
    ///
    /// False if the APIC does not hold it now: a vector below 16 is logged as an error instead; a
    /// software-disabled APIC takes none (SDM 11.4.7.2).
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

    /// The vector to give to the CPU as soon as it takes interrupts: the highest in the IRR, if
    /// its class exceeds that of the processor priority (SDM 11.8.3.1).
    ///
    /// What was accepted before a software disable stays deliverable (SDM 11.4.7.2: it "requires
    /// masking or handling by the CPU").
    #[inline]
    pub fn pending(&self) -> Option<u8> {
        let vector = self.registers.irr.highest();
        (vector >> 4 > self.registers.ppr >> 4).then_some(vector)
    }

    /// As [`LocalApic::pending`], but for a CPU that compares the task priority itself, as AMD-V
    /// does with V_TPR (APM 15.21.2): the guest may lower CR8 without an exit.
    #[inline]
    pub fn pending_at_any_task_priority(&self) -> Option<u8> {
        if self.registers.irr.is_empty() {
            return None;
        }
        let vector = self.registers.irr.highest();
        (vector >> 4 > self.registers.isr.highest() >> 4).then_some(vector)
    }

    /// The CPU took `vector`: it moves from the IRR to the ISR (SDM 11.8.4). A vector that is not
    /// requested changes nothing.
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

    /// Bits 7:4 of the task priority: what CR8 reads (SDM 11.8.6).
    #[inline]
    pub fn task_priority_class(&self) -> u8 {
        self.registers.tpr >> 4
    }

    /// Writes CR8. Bits 7:4 of `class` are the caller's #GP and ignored here (SDM 11.8.6.1).
    #[inline]
    pub fn set_task_priority_class(&mut self, class: u8) {
        self.set_tpr(class << 4);
    }

    /// SVR bit 8. It is clear in a globally disabled APIC, too.
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

    /// Logs an error. The error interrupt fires for the first since the last write of the ESR
    /// (SDM 11.5.3).
    fn log_error(&mut self, error: ErrorStatus) {
        let armed = self.registers.errors.is_empty();
        self.registers.errors |= error;
        if armed {
            self.signal_local(registers::LVT_ERROR);
        }
    }

    /// The later of `now` and what was seen before.
    #[inline]
    fn at(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }
}

/// Here `deadline` and `advance` know no TSC: use [`LocalApic::timer_deadline`] and
/// [`LocalApic::advance_timer`] in a shell that offers TSC-deadline mode.
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
