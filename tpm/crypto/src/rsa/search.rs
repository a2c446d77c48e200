//! The search for the primes of a key, in slices.
//!
//! A key is a function of its seed, for ever: the seed makes a [`Drbg`], whose bytes are the starts
//! of windows of candidates (top two bits and lowest bit set) and the bases of the Miller-Rabin
//! rounds. In a window the multiples of small primes are sieved out and the rest are tried in
//! ascending order. Neither the slices nor a save in between change what is found.
//!
//! The primes are probable primes of FIPS 186-5, A.1.3, with its conditions: the product has the
//! full length, the primes differ in their upper 100 bits, and no prime less one has a factor in
//! common with the exponent. Each has passed a Miller-Rabin round with base 2, which sorts out, and
//! as many with random bases as table B.1 asks for. Unlike A.1.3 a window yields more than one
//! candidate, as Brandt and Damgård's incremental search does.

use core::fmt;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CheckedAdd, Odd, Uint};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::numbers::from_bytes;
use super::sieve::{self, PRIMES, SMALL_PRIMES, WINDOW_WORDS};
use super::{DEFAULT_EXPONENT, MAX_PRIME, PrimeBytes, RsaPrivateKey, RsaSize};
use crate::Error;
use crate::drbg::{Drbg, SavedDrbg};

/// Version of [`SavedSearch`].
pub const SAVED_VERSION: u8 = 1;
/// Words of the longest prime.
const WORDS: usize = MAX_PRIME / 8;
/// Bits of the exponent that one step of a power takes in.
const NIBBLE: u32 = 4;
/// What a step of a power costs, in units: four squarings and a product.
const NIBBLE_UNITS: u32 = 5;
/// What to start with a candidate costs: its Montgomery parameters.
const CANDIDATE_UNITS: u32 = 15;
/// What it costs to set up a base: the table of its powers.
const BASE_UNITS: u32 = 16;

/// Whether a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The budget is used up.
    Searching,
    /// Both primes are found.
    Done,
}

/// The state of a search, as secret as the key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SavedSearch {
    /// [`SAVED_VERSION`].
    pub version: u8,
    /// Bits of the key.
    pub bits: u16,
    /// The public exponent.
    pub exponent: u32,
    /// The stream that candidates and bases come from.
    pub random: SavedDrbg,
    /// How many primes are found.
    pub found: u8,
    /// The primes found, words from the lowest.
    pub primes: [[u64; WORDS]; 2],
    /// The first number of the window; zero before there is one.
    pub start: [u64; WORDS],
    /// The window's odd numbers that small primes divide, as bits.
    pub composite: [u64; WINDOW_WORDS],
    /// How many small primes have been sieved with.
    pub sieved: u16,
    /// The place of the candidate in the window.
    pub place: u16,
    /// The round of Miller-Rabin: zero is base 2.
    pub round: u8,
    /// Whether a power is under way.
    pub in_power: bool,
    /// How many steps of the power are done.
    pub steps: u16,
    /// The base, in Montgomery form.
    pub base: [u64; WORDS],
    /// The power so far, in Montgomery form.
    pub power: [u64; WORDS],
}

/// A search for a key of [`RsaSize`].
///
/// Its work is counted in units of about one product modulo a prime: natively 0.2 µs for a key of
/// 1024 bits, 0.5 µs for 2048 and 1 µs for 3072. No indivisible step is longer than 40 units, but for
/// a chance of 2⁻ⁿ of n more.
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

    /// A search whose bytes are the next ones of `random`.
    ///
    /// # Errors
    /// [`Error::Value`] for an exponent that is even, or less than 3 and not 0.
    pub fn with_random(size: RsaSize, exponent: u32, random: Drbg) -> Result<Self, Error> {
        let exponent = if exponent == 0 { DEFAULT_EXPONENT } else { exponent };
        if exponent < 3 || exponent.is_multiple_of(2) {
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
            composite: [0; WINDOW_WORDS],
            sieved: 0,
            place: 0,
            round: 0,
            in_power: false,
            steps: 0,
            base: [0; WORDS],
            power: [0; WORDS],
        };
        Ok(Self { state, random })
    }

    /// Searches on, for at least one step and until `units` are used up.
    pub fn step(&mut self, units: u32) -> Progress {
        match self.state.bits {
            1024 => self.search::<8>(units),
            2048 => self.search::<16>(units),
            _ => self.search::<24>(units),
        }
    }

    /// Searches to the end.
    pub fn run(&mut self) {
        while self.step(u32::MAX) == Progress::Searching {}
    }

    /// The key, when it is found.
    pub fn key(&self) -> Option<RsaPrivateKey> {
        if self.state.found < 2 {
            return None;
        }
        let [p, q] = &self.state.primes;
        let size = usize::from(self.state.bits / 16);
        RsaPrivateKey::from_primes(&bytes(p, size), &bytes(q, size), self.state.exponent).ok()
    }

    /// The state.
    pub fn save(&self) -> SavedSearch {
        let mut saved = self.state.clone();
        saved.random = self.random.save();
        saved
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// [`Error::Saved`] when it is of another version or holds what no search does.
    pub fn restore(saved: &SavedSearch) -> Result<Self, Error> {
        let bounds = saved.found <= 2
            && usize::from(saved.sieved) <= SMALL_PRIMES
            && usize::from(saved.place) <= sieve::WINDOW
            && saved.exponent >= 3
            && !saved.exponent.is_multiple_of(2)
            && RsaSize::from_bits(saved.bits).is_some();
        if saved.version != SAVED_VERSION || !bounds {
            return Err(Error::Saved);
        }
        Ok(Self { state: saved.clone(), random: Drbg::restore(&saved.random)? })
    }

    fn search<const L: usize>(&mut self, mut units: u32) -> Progress {
        let mut candidate = None;
        while self.state.found < 2 {
            let cost = self.advance::<L>(&mut candidate);
            units = units.saturating_sub(cost);
            if units == 0 && self.state.found < 2 {
                return Progress::Searching;
            }
        }
        Progress::Done
    }

    /// Does the next step and returns what it cost. `candidate` holds over steps what can be
    /// computed from the state.
    fn advance<const L: usize>(&mut self, candidate: &mut Option<Candidate<L>>) -> u32 {
        let state = &mut self.state;
        if state.start == [0; WORDS] {
            draw::<L>(state, &mut self.random);
            return 1;
        }
        if let Some(prime) = PRIMES.get(usize::from(state.sieved)) {
            let start = state.start.get(..L).unwrap_or(&state.start);
            sieve::mark(&mut state.composite, start, *prime);
            state.sieved += 1;
            return 1;
        }
        // What is lost at the end of a slice is computed again within the step that needs it, so
        // that each step moves on.
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

    /// The candidate to test, the current one or the next of the window; draws a new window when
    /// there is none.
    fn candidate<const L: usize>(&mut self) -> Option<Candidate<L>> {
        let state = &mut self.state;
        let start = words::<L>(&state.start);
        let next = sieve::next_candidate(&state.composite, usize::from(state.place));
        let number = next.and_then(|place| {
            state.place = u16::try_from(place).ok()?;
            start.checked_add(&Uint::from_u64(2 * place as u64)).into_option()
        });
        match number.and_then(Candidate::new) {
            Some(candidate) => Some(candidate),
            None => {
                state.start.zeroize();
                None
            }
        }
    }

    /// One step of the test of a candidate.
    fn test<const L: usize>(&mut self, candidate: &mut Candidate<L>) -> Step {
        let state = &mut self.state;
        if !state.in_power {
            if state.round > 0 {
                let base = candidate.random_base(&mut self.random);
                let base = FixedMontyForm::new(&base, &candidate.parameters);
                store(&mut state.base, base.as_montgomery());
            }
            store(&mut state.power, candidate.parameters.one());
            (state.in_power, state.steps) = (true, 0);
            return Step::Go(1);
        }
        let mut cost = NIBBLE_UNITS;
        if state.round > 0 && !candidate.has_base {
            let base = FixedMontyForm::from_montgomery(words(&state.base), &candidate.parameters);
            candidate.set_base(base);
            cost += BASE_UNITS;
        }
        let mut power = FixedMontyForm::from_montgomery(words(&state.power), &candidate.parameters);
        if u32::from(state.steps) < L as u32 * 64 / NIBBLE {
            power = candidate.power_step(power, state.steps, state.round);
            store(&mut state.power, power.as_montgomery());
            state.steps += 1;
            return Step::Go(cost);
        }
        state.in_power = false;
        candidate.has_base = false;
        cost += candidate.twos;
        if !candidate.passes(power) {
            return self.reject(cost);
        }
        state.round += 1;
        if state.round <= rounds(state.bits) {
            return Step::Go(cost);
        }
        self.accept(candidate, cost)
    }

    /// Moves on to the next candidate of the window.
    fn reject(&mut self, cost: u32) -> Step {
        self.state.round = 0;
        self.state.place += 1;
        Step::Next(cost)
    }

    /// Takes a prime, if it fits the exponent and the prime before it.
    fn accept<const L: usize>(&mut self, candidate: &Candidate<L>, cost: u32) -> Step {
        let state = &mut self.state;
        let prime = candidate.number();
        let fits = coprime(prime, state.exponent);
        let differs = state.found == 0 || {
            let first = words::<L>(&state.primes[0]);
            let distance =
                if first > prime { first.wrapping_sub(&prime) } else { prime.wrapping_sub(&first) };
            distance.bit_width() > Uint::<L>::BITS - 100
        };
        if !fits || !differs {
            return self.reject(cost);
        }
        if let Some(place) = state.primes.get_mut(usize::from(state.found)) {
            store(place, &prime);
        }
        state.found += 1;
        (state.round, state.place, state.sieved) = (0, 0, 0);
        state.start.zeroize();
        state.base.zeroize();
        state.power.zeroize();
        Step::Next(cost)
    }
}

/// What a step of a test came to, with its cost.
enum Step {
    /// The candidate is tested on.
    Go(u32),
    /// The candidate is done with.
    Next(u32),
}

impl Step {
    fn apply<const L: usize>(self, candidate: &mut Option<Candidate<L>>) -> u32 {
        match self {
            Self::Go(cost) => cost.max(1),
            Self::Next(cost) => {
                *candidate = None;
                cost.max(1)
            }
        }
    }
}

/// A candidate with what the test needs of it.
struct Candidate<const L: usize> {
    parameters: FixedMontyParams<L>,
    /// The candidate less one, without its factors of two.
    odd_part: Uint<L>,
    /// How many factors of two there are.
    twos: u32,
    /// The powers of a random base from 0 to 15, in Montgomery form.
    table: [Uint<L>; 16],
    has_base: bool,
}

impl<const L: usize> Candidate<L> {
    fn new(number: Uint<L>) -> Option<Self> {
        let parameters = FixedMontyParams::new(Odd::new(number).into_option()?);
        let less_one = number.wrapping_sub(&Uint::ONE);
        let twos = less_one.trailing_zeros();
        let table = [Uint::ZERO; 16];
        let odd_part = less_one.wrapping_shr(twos);
        Some(Self { parameters, odd_part, twos, table, has_base: false })
    }

    fn number(&self) -> Uint<L> {
        *self.parameters.modulus().as_ref()
    }

    fn set_base(&mut self, base: FixedMontyForm<L>) {
        let mut power = FixedMontyForm::one(&self.parameters);
        for entry in &mut self.table {
            *entry = *power.as_montgomery();
            power *= &base;
        }
        self.has_base = true;
    }

    /// A number from 2 to the candidate less 2, from the stream (FIPS 186-5, B.3.1).
    fn random_base(&self, random: &mut Drbg) -> Uint<L> {
        let number = self.number();
        loop {
            let mut bytes = PrimeBytes::zeroed(L * 8);
            random.fill(bytes.as_mut_bytes());
            let base = from_bytes(&bytes);
            if base > Uint::ONE && base < number.wrapping_sub(&Uint::ONE) {
                return base;
            }
        }
    }

    /// Takes the next four bits of the odd part into the power, from the highest, in constant
    /// time: the last candidate is the key. Round 0, of base 2, doubles where others multiply.
    fn power_step(&self, mut power: FixedMontyForm<L>, step: u16, round: u8) -> FixedMontyForm<L> {
        let from_low = L as u32 * 64 / NIBBLE - 1 - u32::from(step);
        let word = self.odd_part.as_words().get(from_low as usize / 16).copied().unwrap_or(0);
        let nibble = word >> (from_low % 16 * NIBBLE) & 0xF;
        if round == 0 {
            for bit in (0..NIBBLE).rev() {
                power = power.square();
                let double = power.double();
                power.conditional_assign(&double, (nibble >> bit & 1).ct_eq(&1));
            }
            return power;
        }
        let mut factor = Uint::ZERO;
        for (index, entry) in (0_u64..).zip(&self.table) {
            factor.conditional_assign(entry, index.ct_eq(&nibble));
        }
        let factor = FixedMontyForm::from_montgomery(factor, &self.parameters);
        power.square().square().square().square() * factor
    }

    /// Whether the finished power, or one of its squares, shows the number as a probable prime.
    fn passes(&self, mut power: FixedMontyForm<L>) -> bool {
        let one = FixedMontyForm::one(&self.parameters);
        let minus_one = -one;
        if power == one {
            return true;
        }
        for _ in 1..self.twos {
            if power == minus_one {
                return true;
            }
            power = power.square();
        }
        power == minus_one
    }
}

impl<const L: usize> Drop for Candidate<L> {
    fn drop(&mut self) {
        self.parameters.zeroize();
        self.odd_part.zeroize();
        self.table.zeroize();
    }
}

/// Starts a window: random, with the top two bits and the lowest one set.
fn draw<const L: usize>(state: &mut SavedSearch, random: &mut Drbg) {
    let mut bytes = PrimeBytes::zeroed(L * 8);
    random.fill(bytes.as_mut_bytes());
    if let Some(first) = bytes.as_mut_bytes().first_mut() {
        *first |= 0xC0;
    }
    if let Some(last) = bytes.as_mut_bytes().last_mut() {
        *last |= 1;
    }
    store(&mut state.start, &from_bytes::<L>(&bytes));
    state.composite = [0; WINDOW_WORDS];
    (state.sieved, state.place, state.round, state.in_power) = (0, 0, 0, false);
}

/// Rounds with random bases (FIPS 186-5, table B.1, for the bits of the key).
const fn rounds(bits: u16) -> u8 {
    match bits {
        1024 => 7,
        2048 => 5,
        _ => 4,
    }
}

/// Whether the prime less one has no factor in common with the exponent.
fn coprime<const L: usize>(prime: Uint<L>, exponent: u32) -> bool {
    let modulus = u128::from(exponent);
    let rest = prime
        .as_words()
        .iter()
        .rev()
        .fold(0, |rest: u128, word| (rest << 64 | u128::from(*word)) % modulus);
    let (mut one, mut other) = (modulus, (rest + modulus - 1) % modulus);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one == 1
}

fn words<const L: usize>(words: &[u64; WORDS]) -> Uint<L> {
    let mut number = [0; L];
    for (to, from) in number.iter_mut().zip(words) {
        *to = *from;
    }
    Uint::from_words(number)
}

fn store<const L: usize>(words: &mut [u64; WORDS], number: &Uint<L>) {
    for (to, from) in words.iter_mut().zip(number.as_words()) {
        *to = *from;
    }
}

fn bytes(words: &[u64; WORDS], size: usize) -> PrimeBytes {
    let mut bytes = PrimeBytes::zeroed(size);
    for (chunk, word) in bytes.as_mut_bytes().rchunks_mut(8).zip(words) {
        for (to, from) in chunk.iter_mut().rev().zip(word.to_le_bytes()) {
            *to = from;
        }
    }
    bytes
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
