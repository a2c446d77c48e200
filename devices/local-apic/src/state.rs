//! The saved state of a local APIC.

use crate::registers::{
    DIVIDE_BITS, ErrorStatus, ICR_LOW_BITS, ICR_XAPIC_HIGH, InterruptCommand, LVT_BITS, LVT_COUNT,
    LVT_LINT0, LVT_TIMER, LvtEntry, SVR_BITS, SpuriousVector, TimerMode,
};
use crate::timer::Timer;
use crate::vectors::VectorSet;
use crate::{Config, LocalApic, Mode, Registers, base};
use device_model::{Instant, RestoreError};
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the registers of the same names")]
pub struct Saved {
    pub version: u16,
    pub apic_id: u32,
    pub base: u64,
    pub latest: Instant,
    pub pins: [bool; 2],
    pub tpr: u8,
    pub irr: [u64; 4],
    pub isr: [u64; 4],
    pub tmr: [u64; 4],
    pub svr: u32,
    pub lvt: [u32; LVT_COUNT],
    pub icr: u64,
    pub ldr: u8,
    pub dfr_model: u8,
    pub esr: u32,
    pub errors: u32,
    pub timer_initial: u32,
    pub timer_divide: u32,
    pub timer_expiry: Option<Instant>,
    pub timer_not_before: Instant,
    pub tsc_deadline: u64,
}

pub(crate) fn save(apic: &LocalApic) -> Saved {
    let LocalApic { config, base, mode: _, latest, pins, registers } = apic;
    let Config { apic_id, is_bsp: _, page_mask: _, minimum_period: _ } = config;
    let Registers { tpr, ppr: _, irr, isr, tmr, svr, lvt, icr, ldr, dfr_model, esr, errors, timer } =
        registers;
    let Timer { initial, divide, expiry, not_before, tsc_deadline } = timer;
    Saved {
        version: SAVED_VERSION,
        apic_id: *apic_id,
        base: *base,
        latest: *latest,
        pins: *pins,
        tpr: *tpr,
        irr: irr.words(),
        isr: isr.words(),
        tmr: tmr.words(),
        svr: *svr,
        lvt: *lvt,
        icr: *icr,
        ldr: *ldr,
        dfr_model: *dfr_model,
        esr: esr.bits(),
        errors: errors.bits(),
        timer_initial: *initial,
        timer_divide: *divide,
        timer_expiry: *expiry,
        timer_not_before: *not_before,
        tsc_deadline: *tsc_deadline,
    }
}

pub(crate) fn restore(config: Config, saved: &Saved) -> Result<LocalApic, RestoreError> {
    let Saved {
        version,
        apic_id,
        base,
        latest,
        pins,
        tpr,
        irr,
        isr,
        tmr,
        svr,
        lvt,
        icr,
        ldr,
        dfr_model,
        esr,
        errors,
        timer_initial,
        timer_divide,
        timer_expiry,
        timer_not_before,
        tsc_deadline,
    } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    require(apic_id == config.apic_id, "apic_id")?;
    require(base & !base::writable_bits(config.page_mask) == 0, "base")?;
    let mode = base::mode_of(base).ok_or(RestoreError::Field("base"))?;
    let timer = Timer {
        initial: timer_initial,
        divide: timer_divide,
        expiry: timer_expiry,
        not_before: timer_not_before,
        tsc_deadline,
    };
    let registers = Registers {
        tpr,
        ppr: 0,
        irr: vectors(irr, "irr")?,
        isr: vectors(isr, "isr")?,
        tmr: vectors(tmr, "tmr")?,
        svr,
        lvt,
        icr,
        ldr,
        dfr_model,
        esr: ErrorStatus::from_bits(esr).ok_or(RestoreError::Field("esr"))?,
        errors: ErrorStatus::from_bits(errors).ok_or(RestoreError::Field("errors"))?,
        timer,
    };
    check_timer(&registers)?;
    check_lvt(&registers)?;
    check_addressing(mode, &registers)?;
    // A disabled APIC has reset values, except for the task priority, which CR8 still writes.
    require(mode != Mode::Disabled || registers == Registers { tpr, ..Registers::RESET }, "base")?;
    let mut apic = LocalApic { config, base, mode, latest, pins, registers };
    apic.update_ppr();
    Ok(apic)
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}

fn vectors(words: [u64; 4], field: &'static str) -> Result<VectorSet, RestoreError> {
    VectorSet::from_words(words).ok_or(RestoreError::Field(field))
}

fn check_timer(registers: &Registers) -> Result<(), RestoreError> {
    let timer = &registers.timer;
    let mode = LvtEntry::from_bits(registers.lvt[LVT_TIMER]).timer_mode();
    require(timer.divide & !DIVIDE_BITS == 0, "timer_divide")?;
    require(mode.counts() || timer.initial == 0, "timer_initial")?;
    require(timer.expiry.is_none() || timer.initial != 0, "timer_expiry")?;
    require(mode.counts() || timer.not_before == Instant::START, "timer_not_before")?;
    require(timer.tsc_deadline == 0 || mode == TimerMode::TscDeadline, "tsc_deadline")
}

fn check_lvt(registers: &Registers) -> Result<(), RestoreError> {
    require(registers.svr & !SVR_BITS == 0, "svr")?;
    let enabled = SpuriousVector::from_bits(registers.svr).enable();
    for (index, (lvt, bits)) in registers.lvt.iter().zip(LVT_BITS).enumerate() {
        let entry = LvtEntry::from_bits(*lvt);
        let may_wait = index == LVT_LINT0 && entry.uses_remote_irr();
        let remote = LvtEntry::new().with_remote_irr(may_wait).into_bits();
        require(*lvt & !(bits | remote) == 0, "lvt")?;
        require(enabled || entry.masked(), "lvt")?;
    }
    Ok(())
}

fn check_addressing(mode: Mode, registers: &Registers) -> Result<(), RestoreError> {
    let xapic = mode == Mode::XApic;
    let icr_bits = InterruptCommand::from_bits(u64::from(ICR_LOW_BITS))
        .with_destination(if xapic { ICR_XAPIC_HIGH } else { u32::MAX })
        .into_bits();
    require(registers.icr & !icr_bits == 0, "icr")?;
    require(xapic || registers.ldr == Registers::RESET.ldr, "ldr")?;
    let model_bound = if xapic { 0..=0xF } else { Registers::RESET.dfr_model..=0xF };
    require(model_bound.contains(&registers.dfr_model), "dfr_model")
}
