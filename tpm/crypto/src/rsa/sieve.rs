//! The sieve that takes the multiples of small primes out of a window of candidates.

/// Small primes are below this.
const LIMIT: usize = 1 << 15;
/// How many odd primes are below [`LIMIT`].
pub(super) const SMALL_PRIMES: usize = 3_511;
/// The odd primes below [`LIMIT`].
pub(super) static PRIMES: [u16; SMALL_PRIMES] = small_primes();

/// Odd numbers in a window.
pub(super) const WINDOW: usize = 4_096;
/// Words of a window's bitmap.
pub(super) const WINDOW_WORDS: usize = WINDOW / 64;

const fn small_primes() -> [u16; SMALL_PRIMES] {
    let mut composite = [false; LIMIT / 2];
    let mut primes = [0; SMALL_PRIMES];
    let mut found = 0;
    let mut half = 1;
    while half < LIMIT / 2 {
        if !composite[half] {
            let prime = 2 * half + 1;
            primes[found] = prime as u16;
            found += 1;
            let mut multiple = (prime * prime) / 2;
            while multiple < LIMIT / 2 {
                composite[multiple] = true;
                multiple += prime;
            }
        }
        half += 1;
    }
    assert!(found == SMALL_PRIMES, "the number of primes is another");
    primes
}

/// Marks those of the odd numbers `start`, `start + 2`, … that `prime` divides. `start` is given
/// as words, the lowest first.
pub(super) fn mark(composite: &mut [u64; WINDOW_WORDS], start: &[u64], prime: u16) {
    let prime = u64::from(prime);
    let rest = start.iter().rev().fold(0, |rest, word| {
        let upper = (rest << 32 | word >> 32) % prime;
        (upper << 32 | word & 0xFFFF_FFFF) % prime
    });
    // start + 2·first ≡ 0: the distance to the next multiple, made even by one more prime.
    let distance = (prime - rest) % prime;
    let first = if distance.is_multiple_of(2) { distance } else { distance + prime } / 2;
    let (first, step) = (first as usize, prime as usize);
    for index in (first..WINDOW).step_by(step) {
        if let Some(word) = composite.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }
}

/// The next candidate that is not marked, at `from` or after.
pub(super) fn next_candidate(composite: &[u64; WINDOW_WORDS], from: usize) -> Option<usize> {
    (from..WINDOW)
        .find(|index| composite.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 0))
}
