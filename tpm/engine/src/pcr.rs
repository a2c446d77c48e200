//! Platform configuration registers, by the rules of the PC Client profile.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::constants::BANKS;
use crate::crypto;
use crate::shared::Shared;
use crate::structures::PcrSelection;

/// Number of PCRs in a bank.
pub(crate) const COUNT: u32 = 24;

/// All PCRs of a bank, as bits.
pub(crate) const ALL: u32 = 0x00ff_ffff;
/// PCRs that Startup(STATE) restores.
pub(crate) const STATE_SAVED: u32 = 0x0000_ffff;
/// PCRs whose changes do not increment pcrUpdateCounter.
pub(crate) const NO_INCREMENT: u32 = 1 << 16 | 1 << 21 | 1 << 22 | 1 << 23;
/// PCRs that a dynamic root of trust resets; their initial value is all ones.
pub(crate) const DRTM: u32 = 0x007e_0000;
/// PCRs that share an authorization value and a policy.
pub(crate) const GROUP: u32 = 1 << 20 | 1 << 21 | 1 << 22;
/// The PCR that records a dynamic root of trust.
const DRTM_PCR: u32 = 17;

/// Whether bit `index` is set; false for an index beyond the word.
pub(crate) const fn has(bits: u32, index: u32) -> bool {
    match 1u32.checked_shl(index) {
        Some(bit) => bits & bit != 0,
        None => false,
    }
}

/// Localities that may reset a PCR, as bits (PC Client profile, section 4.6.2).
pub(crate) const fn reset_localities(pcr: u32) -> u8 {
    match pcr {
        16 | 23 => 0x0f,
        17..=19 => 0x10,
        20 => 0x14,
        21 | 22 => 0x04,
        _ => 0,
    }
}

/// Localities that may extend a PCR, as bits.
pub(crate) const fn extend_localities(pcr: u32) -> u8 {
    match pcr {
        17 | 18 => 0x1c,
        19 => 0x0c,
        20 => 0x0e,
        21 | 22 => 0x04,
        _ => 0x1f,
    }
}

/// The values of all banks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pcrs {
    /// The allocated PCRs of each bank.
    pub(crate) allocated: [u32; BANKS.len()],
    /// The values of each bank, concatenated.
    values: [Shared<Vec<u8>>; BANKS.len()],
}

impl Pcrs {
    /// The banks after Startup(CLEAR).
    pub(crate) fn new(allocated: [u32; BANKS.len()]) -> Self {
        let mut pcrs = Self { allocated, values: Default::default() };
        for (values, alg) in pcrs.values.iter_mut().zip(BANKS) {
            values.resize(crypto::digest_size(alg) * COUNT as usize, 0);
        }
        for pcr in 0..COUNT {
            pcrs.fill(pcr, if has(DRTM, pcr) { 0xff } else { 0 });
        }
        pcrs
    }

    fn bank(alg: u16) -> Option<usize> {
        BANKS.iter().position(|&bank| bank == alg)
    }

    /// A PCR's value; none if the bank does not have this PCR.
    pub(crate) fn value(&self, alg: u16, pcr: u32) -> Option<&[u8]> {
        let bank = Self::bank(alg)?;
        if !has(*self.allocated.get(bank)?, pcr) {
            return None;
        }
        self.values.get(bank)?.chunks_exact(crypto::digest_size(alg)).nth(pcr as usize)
    }

    pub(crate) fn value_mut(&mut self, alg: u16, pcr: u32) -> Option<&mut [u8]> {
        let bank = Self::bank(alg)?;
        if !has(*self.allocated.get(bank)?, pcr) {
            return None;
        }
        self.values.get_mut(bank)?.chunks_exact_mut(crypto::digest_size(alg)).nth(pcr as usize)
    }

    /// Sets a PCR of all banks to one repeated byte.
    pub(crate) fn fill(&mut self, pcr: u32, byte: u8) {
        for alg in BANKS {
            if let Some(value) = self.value_mut(alg, pcr) {
                value.fill(byte);
            }
        }
    }

    /// Sets the last byte of a PCR in all banks.
    pub(crate) fn set_last(&mut self, pcr: u32, byte: u8) {
        for alg in BANKS {
            if let Some(last) = self.value_mut(alg, pcr).and_then(<[u8]>::last_mut) {
                *last = byte;
            }
        }
    }

    /// Extends one PCR of one bank.
    pub(crate) fn extend(&mut self, alg: u16, pcr: u32, digest: &[u8]) {
        if let Some(value) = self.value_mut(alg, pcr) {
            let extended = crypto::hash(alg, &[value, digest]);
            value.copy_from_slice(&extended);
        }
    }

    /// Restores the values that Shutdown(STATE) preserved.
    pub(crate) fn resume(&mut self, kept: &Self) {
        for pcr in (0..COUNT).filter(|&pcr| has(STATE_SAVED, pcr)) {
            for alg in BANKS {
                if let (Some(value), Some(old)) = (self.value_mut(alg, pcr), kept.value(alg, pcr)) {
                    value.copy_from_slice(old);
                }
            }
        }
    }

    /// The digest over selected PCRs, in ascending order within each bank.
    pub(crate) fn digest(&self, alg: u16, selection: &PcrSelection) -> Vec<u8> {
        let values: Vec<&[u8]> = selection
            .0
            .iter()
            .flat_map(|&(bank, bits)| {
                (0..COUNT)
                    .filter(move |&pcr| has(bits, pcr))
                    .filter_map(move |pcr| self.value(bank, pcr))
            })
            .collect();
        crypto::hash(alg, &values)
    }

    /// _TPM_Hash_Start after Startup: resets the PCRs of the dynamic root of trust to zero.
    pub(crate) fn start_drtm(&mut self) {
        for pcr in (0..COUNT).filter(|&pcr| has(DRTM, pcr)) {
            self.fill(pcr, 0);
        }
    }

    /// _TPM_Hash_End: extends PCR 0 for an H-CRTM event before Startup, or else PCR 17.
    pub(crate) fn end_event(&mut self, before_startup: bool, digests: &[(u16, Vec<u8>)]) {
        let pcr = if before_startup { 0 } else { DRTM_PCR };
        if before_startup {
            self.fill(0, 0);
            self.set_last(0, 4);
        }
        for (alg, digest) in digests {
            self.extend(*alg, pcr, digest);
        }
    }
}
