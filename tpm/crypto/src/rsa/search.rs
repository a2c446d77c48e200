//! Searches for the primes of a key, in slices.
//!
//! A seed gives the same key forever. It seeds a [`Drbg`], whose bytes are the starts of windows
//! of candidates (with the top two bits and the lowest bit set) and the bases of the Miller-Rabin
//! rounds. A sieve removes the multiples of small primes from a window; the other candidates are
//! tried in ascending order. Neither slices nor saves change the result.
//!
//! The primes are probable primes that meet the conditions of FIPS 186-5, A.1.3: the product has
//! the full length, the primes differ in their upper 100 bits, and neither prime minus one has a
//! factor in common with the exponent. Each prime passes a Miller-Rabin round with base 2, which
//! rejects most composites, and as many rounds with random bases as table B.1 requires. Unlike in
//! A.1.3, a window has more than one candidate, as in Brandt and Damgård's incremental search.

use core::fmt;

use serde::{Deserialize, Serialize};
use tpm_modular::{BLOCK_LIMBS, Modulus, Number, Powers};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sieve::{self, WINDOW_WORDS};
use super::{DEFAULT_EXPONENT, MAX_PRIME, PrimeBytes, RsaPrivateKey, RsaSize, crt};
use crate::Error;
use crate::drbg::{Drbg, SavedDrbg};

/// Version of [`SavedSearch`].
pub const SAVED_VERSION: u8 = 3;
/// Words of the longest prime.
const WORDS: usize = MAX_PRIME / 8;
/// Limbs of the longest prime.
const LIMBS: usize = WORDS / 8 * BLOCK_LIMBS;
/// Cost of a step of a power in units: four squarings and a product.
const STEP_UNITS: u32 = 5;
/// Cost of setting up a candidate: its one in Montgomery form.
const CANDIDATE_UNITS: u32 = 3;
/// Cost of setting up a base: the table of its powers.
const BASE_UNITS: u32 = 16;

/// The progress of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The budget is used up.
    Searching,
    /// Both primes are found.
    Done,
}

/// The state of a search, as secret as the key.
///
/// Limbs are words of 58 bits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct SavedSearch {
    /// [`SAVED_VERSION`].
    pub version: u8,
    /// Bits of the key.
    pub bits: u16,
    /// The public exponent.
    pub exponent: u32,
    /// The stream that candidates and bases come from.
    pub random: SavedDrbg,
    /// Number of primes found.
    pub found: u8,
    /// The primes found, as words from the lowest.
    pub primes: [[u64; WORDS]; 2],
    /// The first number of the window; zero before there is one.
    pub start: [u64; WORDS],
    /// Number of groups of small primes that the window has been sieved with.
    pub sieved: u16,
    /// A bit for each odd number of the window, set if a small prime divides it.
    pub composite: [[u64; 32]; WINDOW_WORDS / 32],
    /// The position of the candidate in the window.
    pub place: u16,
    /// The round of Miller-Rabin: zero is base 2.
    pub round: u8,
    /// Whether a power is under way.
    pub in_power: bool,
    /// Number of finished steps of the power.
    pub steps: u16,
    /// The base, as limbs of its Montgomery form.
    pub base: [u64; LIMBS],
    /// The power so far, as limbs of its Montgomery form.
    pub power: [u64; LIMBS],
}

/// A search for a key of [`RsaSize`].
///
/// Its work is counted in units of about one product modulo a prime: natively 0.1 µs for a key of
/// 1024 bits, 0.35 µs for 2048 and 0.8 µs for 3072. An indivisible step takes at most 40 units, and
/// n more with a probability of 2⁻ⁿ.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaKeySearch {
    state: SavedSearch,
    random: Drbg,
}

impl RsaKeySearch {
    /// A search for the key of a seed. `exponent` is odd and at least 3; 0 means 65537.
    ///
    /// # Errors
    /// [`Error::Value`] for another exponent.
    pub fn new(size: RsaSize, exponent: u32, seed: &[u8]) -> Result<Self, Error> {
        Self::with_random(size, exponent, Drbg::new(seed, &[], b"RSA primes"))
    }

    /// A search that takes its bytes from `random`.
    ///
    /// # Errors
    /// [`Error::Value`] for an exponent that is even, or less than 3 and not 0.
    pub fn with_random(size: RsaSize, exponent: u32, random: Drbg) -> Result<Self, Error> {
        let exponent = if exponent == 0 { DEFAULT_EXPONENT } else { exponent };
        if !is_exponent(exponent) {
            return Err(Error::Value);
        }
        let state = SavedSearch {
            version: SAVED_VERSION,
            bits: size.bits(),
            exponent,
            random: random.save(),
            found: 0,
            primes: [[0; WORDS]; 2],
            start: [0; WORDS],
            sieved: 0,
            composite: [[0; 32]; WINDOW_WORDS / 32],
            place: 0,
            round: 0,
            in_power: false,
            steps: 0,
            base: [0; LIMBS],
            power: [0; LIMBS],
        };
        Ok(Self { state, random })
    }

    /// Continues for at least one step, until `units` are used up.
    pub fn step(&mut self, mut units: u32) -> Progress {
        let mut candidate = None;
        while self.state.found < 2 {
            let cost = self.advance(&mut candidate);
            units = units.saturating_sub(cost);
            if units == 0 && self.state.found < 2 {
                return Progress::Searching;
            }
        }
        Progress::Done
    }

    /// Searches to the end.
    pub fn run(&mut self) {
        while self.step(u32::MAX) == Progress::Searching {}
    }

    /// The key, once it is found.
    pub fn key(&self) -> Option<RsaPrivateKey> {
        if self.state.found < 2 {
            return None;
        }
        let [p, q] = &self.state.primes;
        let bytes = |words: &[u64]| {
            let mut bytes = PrimeBytes::zeroed(usize::from(self.state.bits / 16));
            self.number(words).fill_bytes(bytes.as_mut_bytes());
            bytes
        };
        RsaPrivateKey::from_primes(&bytes(p), &bytes(q), self.state.exponent).ok()
    }

    /// The state, from which [`Self::restore`] continues at this step.
    pub fn save(&self) -> SavedSearch {
        let mut saved = self.state.clone();
        saved.random = self.random.save();
        saved
    }

    /// Continues from a state.
    ///
    /// # Errors
    /// [`Error::Saved`] if it has another version or impossible content.
    pub fn restore(saved: &SavedSearch) -> Result<Self, Error> {
        let blocks = RsaSize::from_bits(saved.bits).ok_or(Error::Saved)?.blocks();
        let digits = Number::zero(blocks).digits();
        let is_number = |limbs| Number::from_limbs(limbs, blocks).is_some();
        let bounds = saved.found <= 2
            && usize::from(saved.sieved) <= sieve::GROUPS
            && usize::from(saved.place) <= sieve::WINDOW
            && saved.round <= rounds(saved.bits)
            && u32::from(saved.steps) <= digits
            && is_number(&saved.base)
            && is_number(&saved.power)
            && is_exponent(saved.exponent);
        if saved.version != SAVED_VERSION || !bounds {
            return Err(Error::Saved);
        }
        let random = Drbg::restore(&saved.random)?;
        Ok(Self { state: saved.clone(), random })
    }

    /// Number of blocks of a prime.
    fn blocks(&self) -> usize {
        usize::from(self.state.bits) / 1024
    }

    /// A number as long as a prime.
    fn number(&self, words: &[u64]) -> Number {
        Number::from_words(words, self.blocks())
    }

    /// Does the next step and returns its cost. `candidate` caches values between steps that can be
    /// computed from the state.
    fn advance(&mut self, candidate: &mut Option<Candidate>) -> u32 {
        if self.state.start == [0; WORDS] {
            self.draw();
            return 1;
        }
        if let Some(primes) = sieve::group(self.state.sieved.into()) {
            let words = self.blocks() * 8;
            let SavedSearch { start, composite, sieved, .. } = &mut self.state;
            let start = start.get(..words).unwrap_or_default();
            sieve::mark(composite.as_flattened_mut(), start, primes);
            *sieved += 1;
            return 1;
        }
        // The cache is lost at the end of a slice. The step that needs it computes it again, so
        // every step makes progress.
        let mut cost = 0;
        if candidate.is_none() {
            *candidate = self.candidate();
            cost += CANDIDATE_UNITS;
        }
        match candidate {
            Some(ready) => cost + self.test(ready).apply(candidate),
            None => cost,
        }
    }

    /// Starts a window at a random number with the top two bits and the lowest bit set.
    fn draw(&mut self) {
        let mut bytes = PrimeBytes::zeroed(usize::from(self.state.bits / 16));
        self.random.fill(bytes.as_mut_bytes());
        if let Some(first) = bytes.as_mut_bytes().first_mut() {
            *first |= 0xC0;
        }
        if let Some(last) = bytes.as_mut_bytes().last_mut() {
            *last |= 1;
        }
        Number::from_bytes(&bytes, self.blocks()).fill_words(&mut self.state.start);
        self.state.composite.zeroize();
        (self.state.sieved, self.state.place) = (0, 0);
        (self.state.round, self.state.in_power) = (0, false);
    }

    /// The candidate to test: the current one or the next in the window. Without one, the next step
    /// draws a new window.
    fn candidate(&mut self) -> Option<Candidate> {
        let next =
            sieve::next_candidate(self.state.composite.as_flattened(), self.state.place.into());
        let candidate = next.and_then(|place| {
            self.state.place = u16::try_from(place).ok()?;
            let mut number = self.number(&self.state.start);
            number.add_word(2 * place as u64);
            Candidate::new(&number)
        });
        if candidate.is_none() {
            self.state.start.zeroize();
        }
        candidate
    }

    /// One step of the test of a candidate.
    fn test(&mut self, candidate: &mut Candidate) -> Step {
        let blocks = self.blocks();
        if !self.state.in_power {
            if self.state.round > 0 {
                // The Montgomery form of a random number is as random as the number.
                candidate.random_base(&mut self.random).fill_limbs(&mut self.state.base);
            }
            candidate.one.fill_limbs(&mut self.state.power);
            (self.state.in_power, self.state.steps) = (true, 0);
            return Step::Go(1);
        }
        let mut cost = STEP_UNITS;
        if self.state.round > 0 && candidate.powers.is_none() {
            let base = Number::from_limbs(&self.state.base, blocks).unwrap_or(Number::zero(blocks));
            candidate.powers = Some(candidate.modulus.powers(&base));
            cost += BASE_UNITS;
        }
        let power = Number::from_limbs(&self.state.power, blocks);
        let mut power = power.unwrap_or(Number::zero(blocks));
        let step = u32::from(self.state.steps);
        if step < candidate.odd_part.digits() {
            candidate.power_step(&mut power, step);
            power.fill_limbs(&mut self.state.power);
            self.state.steps += 1;
            return Step::Go(cost);
        }
        self.state.in_power = false;
        candidate.powers = None;
        cost += candidate.twos;
        if !candidate.passes(power) {
            return self.reject(cost);
        }
        self.state.round += 1;
        if self.state.round <= rounds(self.state.bits) {
            return Step::Go(cost);
        }
        self.accept(candidate.modulus.number(), cost)
    }

    /// Moves on to the next candidate of the window.
    fn reject(&mut self, cost: u32) -> Step {
        self.state.round = 0;
        self.state.place += 1;
        Step::Next(cost)
    }

    /// Accepts a prime if it fits the exponent and the first prime.
    fn accept(&mut self, prime: &Number, cost: u32) -> Step {
        let differs = self.state.found == 0 || differs(&self.number(&self.state.primes[0]), prime);
        let state = &mut self.state;
        if !crt::is_coprime(state.exponent, prime) || !differs {
            return self.reject(cost);
        }
        if let Some(place) = state.primes.get_mut(usize::from(state.found)) {
            prime.fill_words(place);
        }
        state.found += 1;
        (state.round, state.place) = (0, 0);
        state.start.zeroize();
        state.base.zeroize();
        state.power.zeroize();
        Step::Next(cost)
    }
}

/// Whether two primes differ in their upper 100 bits (FIPS 186-5, A.1.3).
fn differs(one: &Number, other: &Number) -> bool {
    let (mut more, less) =
        if one.is_below(other) { (other.clone(), one) } else { (one.clone(), other) };
    more.subtract(less);
    let bits = (one.length() * tpm_modular::BLOCK_BITS) as u32;
    !more.shifted_right(bits - 100).is(0)
}

/// The result of a step of a test, with its cost.
enum Step {
    /// The test continues.
    Go(u32),
    /// The test of the candidate is done.
    Next(u32),
}

impl Step {
    fn apply(self, candidate: &mut Option<Candidate>) -> u32 {
        match self {
            Self::Go(cost) => cost.max(1),
            Self::Next(cost) => {
                *candidate = None;
                cost.max(1)
            }
        }
    }
}

/// A candidate with precomputed values for its test.
struct Candidate {
    modulus: Modulus,
    /// One, in Montgomery form.
    one: Number,
    /// The candidate minus one, without its factors of two.
    odd_part: Number,
    /// The number of these factors of two.
    twos: u32,
    /// The powers of the random base.
    powers: Option<Powers>,
}

impl Candidate {
    fn new(number: &Number) -> Option<Self> {
        let modulus = Modulus::new(number)?;
        // Minus one and divided by two: drop the lowest bit, which is set.
        let above = number.shifted_right(1);
        let twos = above.trailing_zeros() + 1;
        let (one, odd_part) = (modulus.one(), above.shifted_right(twos - 1));
        Some(Self { modulus, one, odd_part, twos, powers: None })
    }

    /// A random number from 2 to the candidate minus 2 (FIPS 186-5, B.3.1).
    fn random_base(&self, random: &mut Drbg) -> Number {
        let blocks = self.odd_part.length();
        loop {
            let mut bytes = PrimeBytes::zeroed(blocks * super::numbers::BLOCK);
            random.fill(bytes.as_mut_bytes());
            let base = Number::from_bytes(&bytes, blocks);
            let mut above = base.clone();
            above.add_word(1);
            if !base.is(0) && !base.is(1) && above.is_below(self.modulus.number()) {
                return base;
            }
        }
    }

    /// Continues the power with the next digit of the odd part, in constant time: the last
    /// candidate is the key.
    fn power_step(&mut self, power: &mut Number, step: u32) {
        let digit = self.odd_part.digit(step);
        match &self.powers {
            Some(powers) => self.modulus.power_step(power, powers, digit),
            None => self.modulus.power_step_of_two(power, digit),
        }
    }

    /// Whether the finished power, or one of its squares, passes the Miller-Rabin test.
    fn passes(&mut self, mut power: Number) -> bool {
        let mut minus_one = self.modulus.number().clone();
        minus_one.subtract(&self.one);
        self.modulus.tighten(&mut power);
        if power == self.one {
            return true;
        }
        for _ in 1..self.twos {
            if power == minus_one {
                return true;
            }
            self.modulus.square(&mut power);
            self.modulus.tighten(&mut power);
        }
        power == minus_one
    }
}

/// Whether a number is a valid RSA exponent.
const fn is_exponent(exponent: u32) -> bool {
    exponent >= 3 && !exponent.is_multiple_of(2)
}

/// Number of rounds with random bases, by the bits of the key (FIPS 186-5, table B.1).
const fn rounds(bits: u16) -> u8 {
    match bits {
        1024 => 7,
        2048 => 5,
        _ => 4,
    }
}

impl fmt::Debug for SavedSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedSearch({} bits, {} primes found)", self.bits, self.found)
    }
}

impl fmt::Debug for RsaKeySearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKeySearch({} bits, {} primes found)", self.state.bits, self.state.found)
    }
}
