//! Arithmetic with numbers of one word.

use crate::Number;
use crate::columns::{LIMB_BITS, LIMB_MASK};

/// The sum of two words and a carry; returns the carry as well.
#[inline(always)]
pub(crate) fn add(one: u64, other: u64, carry: u64) -> (u64, u64) {
    let (sum, carry) = one.carrying_add(other, carry != 0);
    (sum, u64::from(carry))
}

/// The difference of two words less a borrow; returns the borrow as well.
#[inline(always)]
pub(crate) fn subtract(one: u64, other: u64, borrow: u64) -> (u64, u64) {
    let (difference, borrow) = one.borrowing_sub(other, borrow != 0);
    (difference, u64::from(borrow))
}

/// A product with two addends, as its lower and upper word.
#[inline(always)]
pub(crate) fn multiply_add(one: u64, other: u64, addend: u64, carry: u64) -> (u64, u64) {
    one.carrying_mul_add(other, addend, carry)
}

/// All ones when both are the same, else zero.
#[inline(always)]
pub(crate) fn equal_mask(one: u64, other: u64) -> u64 {
    let difference = core::hint::black_box(one ^ other);
    ((difference | difference.wrapping_neg()) >> 63).wrapping_sub(1)
}

/// The inverse of an odd word, modulo a word (Newton).
pub(crate) const fn inverse(odd: u64) -> u64 {
    // Three bits are right at first; each round doubles that number.
    let mut inverse = odd;
    let mut rounds = 0;
    while rounds < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        rounds += 1;
    }
    inverse
}

/// A public odd modulus of one word, for remainders of secret numbers.
#[derive(Clone, Copy, Debug)]
pub struct SmallModulus {
    modulus: u64,
    /// Minus its inverse modulo a word.
    inverse: u64,
    /// Two to the power of 128, modulo it.
    square: u64,
}

impl SmallModulus {
    /// An odd number above 1.
    pub const fn new(modulus: u64) -> Self {
        let square = match (modulus as u128).wrapping_neg().checked_rem(modulus as u128) {
            Some(square) => square as u64,
            None => 0,
        };
        Self { modulus, inverse: inverse(modulus).wrapping_neg(), square }
    }

    /// Divides a number of two words by 2⁶⁴, modulo the modulus; its upper word is below the
    /// modulus.
    #[inline(always)]
    fn reduce(self, low: u64, high: u64) -> u64 {
        let factor = low.wrapping_mul(self.inverse);
        let (_, carry) = multiply_add(factor, self.modulus, low, 0);
        let (sum, over) = add(high, carry, 0);
        let (less, borrow) = subtract(sum, self.modulus, 0);
        let keep = ((over ^ 1) & borrow).wrapping_neg();
        sum & keep | less & !keep
    }

    /// The product of two numbers below the modulus, divided by 2⁶⁴.
    fn multiply(self, one: u64, other: u64) -> u64 {
        let (low, high) = multiply_add(one, other, 0, 0);
        self.reduce(low, high)
    }

    /// The remainder of the number with these words, from the lowest, in constant time.
    pub fn remainder(self, words: &[u64]) -> u64 {
        let (mut rest, mut factor, mut square) = (0, None, self.square);
        for word in words {
            let (low, high) = add(rest, *word, 0);
            rest = self.reduce(low, high);
        }
        // Each word has divided by 2⁶⁴: multiply by the same power of it.
        let mut count = words.len();
        while count != 0 {
            if count & 1 != 0 {
                factor = Some(factor.map_or(square, |factor| self.multiply(factor, square)));
            }
            square = self.multiply(square, square);
            count >>= 1;
        }
        self.multiply(rest, factor.unwrap_or(0))
    }
}

/// The remainder of a word modulo a public number from 2 to 2³² - 1, in constant time.
pub const fn remainder_of_word(word: u64, modulus: u32) -> u32 {
    let modulus = modulus as u64;
    let reciprocal = match u64::MAX.checked_div(modulus) {
        Some(reciprocal) => reciprocal,
        None => 0,
    };
    let quotient = ((word as u128 * reciprocal as u128) >> 64) as u64;
    // The quotient is too small by one at most, or by two if the reciprocal was rounded.
    let rest = word.wrapping_sub(quotient.wrapping_mul(modulus));
    less_if_not_below(less_if_not_below(rest, modulus), modulus) as u32
}

const fn less_if_not_below(number: u64, modulus: u64) -> u64 {
    let less = number.wrapping_sub(modulus);
    let keep = (less >> 63).wrapping_neg();
    number & keep | less & !keep
}

/// `number` divided by an odd divisor that is not longer. There must be no remainder.
pub fn divide_exactly(number: &Number, divisor: &Number) -> Number {
    let inverse = inverse(divisor.lowest());
    let mut rest = number.clone();
    let mut quotient = Number::zero(number.length());
    for (place, limb) in quotient.limbs_mut().enumerate() {
        let mut rest = rest.limbs_mut().skip(place);
        let Some(first) = rest.next() else { break };
        let digit = first.wrapping_mul(inverse) & LIMB_MASK;
        *limb = digit;
        let product = |limb: u64| (u128::from(limb) * u128::from(digit)) as i128;
        let mut divisor = divisor.limbs();
        let lowest = divisor.next().copied().unwrap_or(0);
        // The lowest limb cancels out.
        let mut carry = (i128::from(*first) - product(lowest)) >> LIMB_BITS;
        for (to, limb) in rest.zip(divisor.chain(core::iter::repeat(&0))) {
            let difference = i128::from(*to) - product(*limb) + carry;
            *to = difference as u64 & LIMB_MASK;
            carry = difference >> LIMB_BITS;
        }
    }
    quotient
}
