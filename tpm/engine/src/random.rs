//! Random numbers from a generator that the environment seeds.

use alloc::vec;

use tpm_crypto::drbg::Drbg;

use crate::call::{Call, Env};
use crate::codec::Put;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::{Environment, Tpm};

/// Bytes of entropy in a seed.
const SEED: usize = 48;
/// The most bytes that GetRandom returns: the size of the largest digest.
const MAX_RANDOM: u16 = 64;
/// The most bytes that StirRandom takes.
const MAX_STIR: usize = 128;

fn entropy(env: Env<'_>) -> Result<Secret> {
    let mut seed = vec![0; SEED];
    if env.entropy(&mut seed) { Ok(seed.into()) } else { Err(Rc::FAILURE) }
}

/// A generator with a fresh seed.
fn seeded(env: Env<'_>) -> Result<Drbg> {
    Ok(Drbg::new(&entropy(env)?, &[], b"TPM"))
}

impl Tpm {
    /// The generator, which is seeded at its first use.
    pub(crate) fn drbg(&mut self, env: &mut dyn Environment) -> Result<&mut Drbg> {
        match &mut self.random {
            Some(generator) => Ok(generator),
            none => Ok(none.insert(seeded(env)?)),
        }
    }

    /// Fills `out`.
    pub(crate) fn random(&mut self, env: &mut dyn Environment, out: &mut [u8]) -> Result<()> {
        Ok(self.drbg(env)?.generate(&[], out)?)
    }

    /// `size` random bytes.
    pub(crate) fn random_bytes(
        &mut self,
        env: &mut dyn Environment,
        size: usize,
    ) -> Result<Secret> {
        let mut bytes = vec![0; size];
        self.random(env, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// TPM2_GetRandom.
pub(crate) fn get_random(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let count = call.read(|r| r.u16())?.min(MAX_RANDOM);
    call.end()?;
    let mut bytes = [0; MAX_RANDOM as usize];
    let bytes = bytes.get_mut(..usize::from(count)).unwrap_or_default();
    tpm.random(env, bytes)?;
    call.out.put_sized(bytes);
    Ok(())
}

/// TPM2_StirRandom.
pub(crate) fn stir_random(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_STIR)?;
    call.end()?;
    let seed = entropy(&mut *env)?;
    match &mut tpm.random {
        Some(generator) => generator.reseed(&seed, &data),
        none => *none = Some(Drbg::new(&seed, &data, b"TPM")),
    }
    Ok(())
}
