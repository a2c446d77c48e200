//! A sieve that removes the multiples of small primes from a window of candidates.

use tpm_modular::{SmallModulus, remainder_of_word};

/// All small primes are below this.
const LIMIT: usize = 1 << 16;
/// Number of primes in a group: their product fits a word.
const GROUP: usize = 4;
/// Number of groups: they have all odd primes below [`LIMIT`] but the last one.
pub(super) const GROUPS: usize = 1_635;
/// The first prime of each group, and the distances to the following ones.
static PRIMES: [(u16, [u8; GROUP - 1]); GROUPS] = small_primes();

/// Number of odd numbers in a window.
pub(super) const WINDOW: usize = 4_096;
/// Number of words in a window's bitmap.
pub(super) const WINDOW_WORDS: usize = WINDOW / 64;

const fn small_primes() -> [(u16, [u8; GROUP - 1]); GROUPS] {
    let mut composite = [false; LIMIT / 2];
    let mut primes = [(0, [0; GROUP - 1]); GROUPS];
    let (mut found, mut last) = (0, 0);
    let mut half = 1;
    while half < LIMIT / 2 && found < GROUPS * GROUP {
        if !composite[half] {
            let prime = 2 * half + 1;
            if found % GROUP == 0 {
                primes[found / GROUP].0 = prime as u16;
            } else {
                primes[found / GROUP].1[found % GROUP - 1] = (prime - last) as u8;
            }
            last = prime;
            found += 1;
            let mut multiple = (prime * prime) / 2;
            while multiple < LIMIT / 2 {
                composite[multiple] = true;
                multiple += prime;
            }
        }
        half += 1;
    }
    assert!(found == GROUPS * GROUP, "too few primes below the limit");
    primes
}

/// The primes of a group, in ascending order.
pub(super) fn group(index: usize) -> Option<[u16; GROUP]> {
    let (first, [second, third, fourth]) = *PRIMES.get(index)?;
    let second = first + u16::from(second);
    let third = second + u16::from(third);
    Some([first, second, third, third + u16::from(fourth)])
}

/// Marks the odd numbers from `start` on that a prime of the group divides. `start` is given as
/// words, the lowest first; it is divided only once, by the product of the primes.
pub(super) fn mark(composite: &mut [u64], start: &[u64], primes: [u16; GROUP]) {
    let product = primes.iter().map(|prime| u64::from(*prime)).product();
    let rest = SmallModulus::new(product).remainder(start);
    for prime in primes.map(u32::from) {
        // start + 2·first ≡ 0: if the distance to the next multiple is odd, take the one after it.
        let rest = remainder_of_word(rest, prime);
        let distance = (prime - rest) * u32::from(rest != 0);
        let first = (distance + (distance & 1) * prime) / 2;
        for index in (first as usize..WINDOW).step_by(prime as usize) {
            if let Some(word) = composite.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }
}

/// The first unmarked candidate at `from` or later.
pub(super) fn next_candidate(composite: &[u64], from: usize) -> Option<usize> {
    (from..WINDOW)
        .find(|index| composite.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 0))
}
