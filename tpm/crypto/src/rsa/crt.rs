//! The private operation by the Chinese remainder theorem.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, NonZero, Odd, Uint};
use zeroize::{Zeroize, Zeroizing};

use super::ModulusBytes;
use super::numbers::{from_bytes, join, message, power_public, to_bytes};
use crate::Error;
use crate::drbg::Drbg;

/// A private key: primes of `H` words, a modulus of `N`, which is twice as many.
#[derive(Clone)]
pub(super) struct Crt<const H: usize, const N: usize> {
    n: FixedMontyParams<N>,
    e: u32,
    p: FixedMontyParams<H>,
    q: FixedMontyParams<H>,
    /// The inverse of `e` modulo `p - 1`.
    dp: Uint<H>,
    /// The inverse of `e` modulo `q - 1`.
    dq: Uint<H>,
    /// The inverse of `q` modulo `p`, in Montgomery form.
    q_inverse: FixedMontyForm<H>,
}

impl<const H: usize, const N: usize> Crt<H, N> {
    /// Recovers the parts from the modulus and one prime.
    pub(super) fn new(n: &[u8], e: u32, prime: &[u8]) -> Result<Self, Error> {
        let modulus = from_bytes::<N>(n);
        let p = from_bytes::<H>(prime);
        let divisor = NonZero::new(p).into_option().ok_or(Error::Binding)?;
        let (quotient, rest) = modulus.div_rem(&divisor);
        let q = quotient.resize::<H>();
        if rest != Uint::ZERO || q.resize::<N>() != quotient {
            return Err(Error::Binding);
        }
        let odd = |number| Odd::new(number).into_option().ok_or(Error::Binding);
        let (dp, dq) = (inverse_exponent::<H, N>(e, &p)?, inverse_exponent::<H, N>(e, &q)?);
        let (n, p, q_odd) = (odd_wide(modulus)?, odd(p)?, odd(q)?);
        // With p = 1 the modulus would be its multiple too, and nothing would be secret.
        if p.as_ref() == &Uint::ONE || q_odd.as_ref() == &Uint::ONE {
            return Err(Error::Binding);
        }
        let p_parameters = FixedMontyParams::new(p);
        let q_in_p = FixedMontyForm::new(&remainder(&q, p.as_ref())?, &p_parameters);
        let q_inverse = q_in_p.invert().into_option().ok_or(Error::Binding)?;
        Ok(Self {
            n: FixedMontyParams::new_vartime(n),
            e,
            p: p_parameters,
            q: FixedMontyParams::new(q_odd),
            dp,
            dq,
            q_inverse,
        })
    }

    /// The private power of a message, blinded and checked.
    pub(super) fn raw(&self, bytes: &[u8], random: &mut Drbg) -> Result<ModulusBytes, Error> {
        let message = message(bytes, self.n.modulus().as_ref())?;
        let message = FixedMontyForm::new(&message, &self.n);
        let (blind, unblind) = self.blinding(random)?;
        let blinded = Zeroizing::new((message * *blind).retrieve());
        let power = Zeroizing::new(self.power(&blinded)?);
        let result = Zeroizing::new(FixedMontyForm::new(&power, &self.n) * *unblind);
        // A fault in one half would give the other prime away (Boneh, DeMillo, Lipton).
        if power_public(&result, self.e) != message {
            return Err(Error::NoResult);
        }
        Ok(to_bytes(&result.retrieve()))
    }

    /// A random number to the public exponent, and its inverse.
    fn blinding(
        &self,
        random: &mut Drbg,
    ) -> Result<(Zeroizing<FixedMontyForm<N>>, Zeroizing<FixedMontyForm<N>>), Error> {
        // A number with no inverse shares a prime with the modulus: not to be met by chance.
        for _ in 0..4 {
            let mut bytes = ModulusBytes::zeroed(N * 8);
            random.fill(bytes.as_mut_bytes());
            let number = from_bytes::<N>(&bytes).rem(self.n.modulus().as_nz_ref());
            let number = Zeroizing::new(FixedMontyForm::new(&number, &self.n));
            if let Some(inverse) = number.invert().into_option() {
                let blind = Zeroizing::new(power_public(&number, self.e));
                return Ok((blind, Zeroizing::new(inverse)));
            }
        }
        Err(Error::NoResult)
    }

    /// The private power modulo each prime, joined by Garner's formula.
    fn power(&self, message: &Uint<N>) -> Result<Uint<N>, Error> {
        let half = |parameters: &FixedMontyParams<H>, exponent| {
            let base = message.rem(parameters.modulus().as_nz_ref());
            Zeroizing::new(FixedMontyForm::new(&base, parameters).pow(exponent))
        };
        let in_p = half(&self.p, &self.dp);
        let in_q = Zeroizing::new(half(&self.q, &self.dq).retrieve());
        let q = self.q.modulus().as_ref();
        let in_q_mod_p =
            FixedMontyForm::new(&remainder(&in_q, self.p.modulus().as_ref())?, &self.p);
        let h = Zeroizing::new(((*in_p - in_q_mod_p) * self.q_inverse).retrieve());
        let (low, high) = h.widening_mul(q);
        let product = Zeroizing::new(join::<H, N>(&low, &high));
        Ok(product.wrapping_add(&in_q.resize::<N>()))
    }
}

impl<const H: usize, const N: usize> Drop for Crt<H, N> {
    fn drop(&mut self) {
        self.p.zeroize();
        self.q.zeroize();
        self.dp.zeroize();
        self.dq.zeroize();
        self.q_inverse.zeroize();
    }
}

fn odd_wide<const L: usize>(number: Uint<L>) -> Result<Odd<Uint<L>>, Error> {
    Odd::new(number).into_option().ok_or(Error::Binding)
}

fn remainder<const L: usize>(number: &Uint<L>, modulus: &Uint<L>) -> Result<Uint<L>, Error> {
    let modulus = NonZero::new(*modulus).into_option().ok_or(Error::Binding)?;
    Ok(number.rem(&modulus))
}

/// The inverse of a small `e` modulo `prime - 1`: the one multiple of `prime - 1` and one that `e`
/// divides, divided by it.
fn inverse_exponent<const H: usize, const N: usize>(
    e: u32,
    prime: &Uint<H>,
) -> Result<Uint<H>, Error> {
    let divisor = NonZero::new(Limb::from(e)).into_option().ok_or(Error::Binding)?;
    let order = prime.wrapping_sub(&Uint::ONE);
    let factor = inverse_small(order.rem_limb(divisor).0, u64::from(e)).ok_or(Error::Binding)?;
    // factor·order ≡ -1, so that one more is a multiple of e.
    let (low, high) = order.widening_mul(&Uint::<H>::from_u64(u64::from(e) - factor));
    let multiple = join::<H, N>(&low, &high).wrapping_add(&Uint::ONE);
    let (quotient, _) = multiple.div_rem_limb(divisor);
    Ok(quotient.resize())
}

/// The inverse of a number modulo `e`, which is at most 32 bits, by Euclid.
fn inverse_small(number: u64, e: u64) -> Option<u64> {
    let (mut r, mut next_r) = (e as i128, i128::from(number));
    let (mut t, mut next_t) = (0, 1);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (t, next_t) = (next_t, t - quotient * next_t);
    }
    if r == 1 { u64::try_from(t.rem_euclid(i128::from(e))).ok() } else { None }
}
