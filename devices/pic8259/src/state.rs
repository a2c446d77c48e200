//! The saved state of both chips.

use crate::Pic;
use crate::chip::{Chip, Expects, Status};
use crate::registers::{CASCADE, ELCR1_BITS, ELCR2_BITS, Icw1, Icw4};
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub master: SavedChip,
    pub slave: SavedChip,
}

/// The state of one chip. `expects` is 0 before an ICW1, then 1 to 3 for ICW2 to ICW4 and 4 for
/// OCW1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct SavedChip {
    pub expects: u8,
    pub icw1: u8,
    pub base: u8,
    pub icw3: u8,
    pub icw4: u8,
    pub lines: u8,
    pub edges: u8,
    pub isr: u8,
    pub imr: u8,
    pub elcr: u8,
    pub lowest: u8,
    pub rotates_on_auto_eoi: bool,
    pub special_mask: bool,
    pub polls: bool,
    pub reads_isr: bool,
}

pub(crate) fn save(pic: &Pic) -> Saved {
    let Pic { master, slave } = pic;
    Saved { version: SAVED_VERSION, master: save_chip(master), slave: save_chip(slave) }
}

fn save_chip(chip: &Chip) -> SavedChip {
    let Chip {
        is_master: _,
        expects,
        icw1,
        base,
        icw3,
        icw4,
        lines,
        edges,
        isr,
        imr,
        elcr,
        lowest,
        rotates_on_auto_eoi,
        special_mask,
        polls,
        status,
    } = *chip;
    SavedChip {
        expects: expects as u8,
        icw1: icw1.bits(),
        base,
        icw3,
        icw4: icw4.bits(),
        lines,
        edges,
        isr,
        imr,
        elcr,
        lowest,
        rotates_on_auto_eoi,
        special_mask,
        polls,
        reads_isr: status == Status::Isr,
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<Pic, RestoreError> {
    let Saved { version, master, slave } = saved;
    if *version != SAVED_VERSION {
        return Err(RestoreError::Version { found: *version, supported: SAVED_VERSION });
    }
    let pic = Pic { master: restore_chip(true, master)?, slave: restore_chip(false, slave)? };
    let cascade = pic.master.lines >> CASCADE & 1 != 0;
    require(cascade == pic.slave.request().is_some(), "lines")?;
    Ok(pic)
}

fn restore_chip(is_master: bool, saved: &SavedChip) -> Result<Chip, RestoreError> {
    let SavedChip {
        expects,
        icw1,
        base,
        icw3,
        icw4,
        lines,
        edges,
        isr,
        imr,
        elcr,
        lowest,
        rotates_on_auto_eoi,
        special_mask,
        polls,
        reads_isr,
    } = *saved;
    let icw1 = Icw1::from_bits(icw1).ok_or(RestoreError::Field("icw1"))?;
    let icw4 = Icw4::from_bits(icw4).ok_or(RestoreError::Field("icw4"))?;
    require(!icw1.contains(Icw1::IS_ICW1), "icw1")?;
    require(icw4.is_empty() || icw1.contains(Icw1::NEEDS_ICW4), "icw4")?;
    require(base & 7 == 0, "base")?;
    require(is_master || icw3 <= 7, "icw3")?;
    require(edges & !lines == 0, "edges")?;
    let elcr_bits = if is_master { ELCR1_BITS } else { ELCR2_BITS };
    require(elcr & !elcr_bits == 0, "elcr")?;
    require(lowest <= 7, "lowest")?;
    let chip = Chip {
        is_master,
        expects: restore_expects(expects, icw1)?,
        icw1,
        base,
        icw3,
        icw4,
        lines,
        edges,
        isr,
        imr,
        elcr,
        lowest,
        rotates_on_auto_eoi,
        special_mask,
        polls,
        status: if reads_isr { Status::Isr } else { Status::Irr },
    };
    require(chip.expects == Expects::Ocw1 || isr == 0, "isr")?;
    Ok(chip)
}

fn restore_expects(expects: u8, icw1: Icw1) -> Result<Expects, RestoreError> {
    match expects {
        0 if icw1.is_empty() => Ok(Expects::Nothing),
        1 => Ok(Expects::Icw2),
        2 if !icw1.contains(Icw1::SINGLE) => Ok(Expects::Icw3),
        3 if icw1.contains(Icw1::NEEDS_ICW4) => Ok(Expects::Icw4),
        4 => Ok(Expects::Ocw1),
        _ => Err(RestoreError::Field("expects")),
    }
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
