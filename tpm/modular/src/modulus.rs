//! Montgomery arithmetic.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::columns::{self, BLOCK, Columns, LIMB_BITS};
use crate::number::{BLOCK_BITS, DIGIT_BITS, MAX_BLOCKS, Number, add_multiple, add_product};
use crate::small;

/// An odd modulus whose highest bit is set, with precomputed values for multiplication.
///
/// *Loose* numbers are below four times the modulus.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Modulus {
    number: Number,
    /// Minus the inverse of the lowest limb, modulo a word.
    inverse: u64,
    /// Accumulator for products; zero between operations.
    columns: [Columns; 2 * MAX_BLOCKS],
}

/// The powers of a base from 0 to 15, in Montgomery form.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Powers([Number; 1 << DIGIT_BITS]);

impl Modulus {
    /// The modulus; none if it is even or its highest bit is not set.
    pub fn new(number: &Number) -> Option<Self> {
        let bits = (number.length() * BLOCK_BITS) as u32;
        let highest = number.shifted_right(bits.checked_sub(1)?);
        if !highest.is(1) || number.lowest() & 1 == 0 {
            return None;
        }
        let inverse = small::inverse(number.lowest()).wrapping_neg();
        let columns = [[0; BLOCK]; 2 * MAX_BLOCKS];
        Some(Self { number: number.clone(), inverse, columns })
    }

    /// The number itself.
    pub const fn number(&self) -> &Number {
        &self.number
    }

    /// Number of blocks of its numbers.
    const fn length(&self) -> usize {
        self.number.length()
    }

    /// One, in Montgomery form.
    pub fn one(&self) -> Number {
        // Since the highest bit is set, this is two to the power of the length, modulo the modulus.
        let mut one = Number::power_of_blocks(self.length());
        one.subtract(&self.number);
        for _ in 0..10 * self.length() {
            self.double(&mut one);
        }
        one
    }

    /// The radix in Montgomery form: multiplying a number by it converts the number to that form.
    pub fn radix(&mut self) -> Number {
        let bits = self.length() as u32 * BLOCK as u32 * LIMB_BITS;
        let mut power = self.one();
        for bit in (0..bits.ilog2() + 1).rev() {
            self.square(&mut power);
            if bits >> bit & 1 != 0 {
                self.double(&mut power);
            }
        }
        power
    }

    /// Doubles a number below the modulus.
    pub fn double(&self, number: &mut Number) {
        number.double();
        number.subtract_if_not_below(&self.number);
    }

    /// Reduces a loose number below the modulus.
    pub fn tighten(&self, number: &mut Number) {
        for _ in 0..3 {
            number.subtract_if_not_below(&self.number);
        }
    }

    /// `one - other` of numbers below the modulus.
    pub fn subtract(&self, one: &mut Number, other: &Number) {
        one.add(&self.number);
        one.subtract(other);
        one.subtract_if_not_below(&self.number);
    }

    /// The product of two loose numbers, divided by the radix: the Montgomery form of the product
    /// of two in Montgomery form. It is below twice the modulus.
    pub fn multiply(&mut self, one: &mut Number, other: &Number) {
        add_product(&mut self.columns, one.blocks(), other.blocks());
        self.reduce(one, 0);
    }

    /// The same of a number with itself.
    pub fn square(&mut self, number: &mut Number) {
        self.square_and_double(number, 0);
    }

    /// Squares, and doubles if the mask is all ones: the result is below four times the modulus.
    fn square_and_double(&mut self, number: &mut Number, mask: u64) {
        let mut columns = &mut self.columns[..];
        let mut blocks = number.blocks();
        while let Some((block, others)) = blocks.split_first() {
            let Some(([low, high], _)) = columns.split_first_chunk_mut::<2>() else { break };
            columns::add_square(low, high, block);
            let doubled = block.map(|limb| limb << 1);
            add_multiple(columns.get_mut(1..).unwrap_or_default(), &doubled, others);
            columns = columns.get_mut(2..).unwrap_or_default();
            blocks = others;
        }
        self.reduce(number, mask);
    }

    /// A number of twice the length, below the modulus times the radix, divided by the radix.
    pub fn reduce_wide(&mut self, wide: &Number) -> Number {
        let mut result = Number::zero(self.length());
        for (column, limb) in self.columns.iter_mut().flatten().zip(wide.limbs()) {
            *column = u128::from(*limb);
        }
        self.reduce(&mut result, 0);
        result
    }

    /// Sets `result` to the columns divided by the radix, doubled if the mask is all ones.
    fn reduce(&mut self, result: &mut Number, mask: u64) {
        let length = self.number.length();
        let mut carry = 0;
        if let Some((first, others)) = self.number.blocks().split_first() {
            for place in 0..length {
                let columns = self.columns.get_mut(place..).unwrap_or_default();
                let Some(([low, high], _)) = columns.split_first_chunk_mut::<2>() else { break };
                let factors;
                (factors, carry) = columns::cancel(low, high, first, self.inverse, carry);
                *low = [0; BLOCK];
                add_multiple(columns.get_mut(1..).unwrap_or_default(), &factors, others);
            }
        }
        if let Some(upper) = self.columns.get_mut(length..2 * length) {
            result.fill_from_columns(upper, carry, mask);
            upper.fill([0; BLOCK]);
        }
    }

    /// The powers of a base in Montgomery form.
    pub fn powers(&mut self, base: &Number) -> Powers {
        let mut power = self.one();
        Powers(core::array::from_fn(|_| {
            let current = power.clone();
            self.multiply(&mut power, base);
            current
        }))
    }

    /// Continues a power with the next lower digit of the exponent.
    pub fn power_step(&mut self, power: &mut Number, powers: &Powers, digit: u64) {
        for _ in 0..DIGIT_BITS {
            self.square(power);
        }
        self.multiply_power(power, powers, digit);
    }

    fn multiply_power(&mut self, power: &mut Number, powers: &Powers, digit: u64) {
        let mut factor = Number::zero(self.length());
        for (index, entry) in (0_u64..).zip(&powers.0) {
            factor.assign_if(entry, small::equal_mask(index, digit));
        }
        self.multiply(power, &factor);
    }

    /// The same for the base 2, which needs no table of powers.
    pub fn power_step_of_two(&mut self, power: &mut Number, digit: u64) {
        for bit in (0..DIGIT_BITS).rev() {
            self.square_and_double(power, small::equal_mask(digit >> bit & 1, 1));
        }
    }

    /// The power of a base in Montgomery form, for an exponent as long as the modulus.
    pub fn power(&mut self, base: &Number, exponent: &Number) -> Number {
        let powers = self.powers(base);
        let mut power = self.one();
        for step in 0..exponent.digits() {
            self.power_step(&mut power, &powers, exponent.digit(step));
        }
        power
    }

    /// The product of two such powers, which share their squarings.
    pub fn power_of_two_bases(&mut self, pairs: [(&Number, &Number); 2]) -> Number {
        let [(one, one_exponent), (other, other_exponent)] = pairs;
        let (one, other) = (self.powers(one), self.powers(other));
        let mut power = self.one();
        for step in 0..one_exponent.digits() {
            self.power_step(&mut power, &one, one_exponent.digit(step));
            self.multiply_power(&mut power, &other, other_exponent.digit(step));
        }
        power
    }

    /// The power of a base in Montgomery form for a public exponent that is not zero.
    pub fn power_public(&mut self, base: &Number, exponent: u32) -> Number {
        let mut power = base.clone();
        for bit in (0..exponent.checked_ilog2().unwrap_or(0)).rev() {
            self.square(&mut power);
            if exponent >> bit & 1 != 0 {
                self.multiply(&mut power, base);
            }
        }
        power
    }

    /// The exponent that gives the inverse, if the modulus is a prime: the modulus less two
    /// (Fermat).
    pub fn inverting_exponent(&self) -> Number {
        let mut exponent = self.number.clone();
        let mut two = Number::zero(self.length());
        two.add_word(2);
        exponent.subtract(&two);
        exponent
    }

    /// A number below the radix, in Montgomery form. `radix` is [`radix`](Self::radix).
    pub fn enter(&mut self, number: &Number, radix: &Number) -> Number {
        let mut formed = number.clone();
        self.multiply(&mut formed, radix);
        formed
    }

    /// A number of twice the length, below the modulus times the radix, in Montgomery form.
    pub fn enter_wide(&mut self, wide: &Number, radix: &Number) -> Number {
        let mut formed = self.reduce_wide(wide);
        self.multiply(&mut formed, radix);
        self.multiply(&mut formed, radix);
        formed
    }

    /// Converts a loose number from Montgomery form; the result is below the modulus.
    pub fn leave(&mut self, number: &Number) -> Number {
        let mut one = Number::zero(self.length());
        one.add_word(1);
        self.multiply(&mut one, number);
        self.tighten(&mut one);
        one
    }
}
