//! Comparison with schoolbook arithmetic in words of 32 bits.

use std::format;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::words;
use crate::{BLOCK_BITS, DIGIT_BITS, MAX_BLOCKS, Modulus, Number, SmallModulus, divide_exactly};

/// A natural number in words of 32 bits, least significant first.
type Whole = Vec<u32>;

fn whole(number: &Number) -> Whole {
    let mut words = vec![0; number.length() * BLOCK_BITS / 64];
    number.fill_words(&mut words);
    words.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]).collect()
}

fn number(whole: &[u32]) -> Number {
    let words: Vec<u64> =
        whole.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
    Number::from_words(&words, whole.len() * 32 / BLOCK_BITS)
}

fn sum(one: &[u32], other: &[u32]) -> (Whole, u32) {
    let mut carry = 0;
    let digits = one.iter().zip(other).map(|(one, other)| {
        let sum = u64::from(*one) + u64::from(*other) + carry;
        carry = sum >> 32;
        sum as u32
    });
    (digits.collect(), carry as u32)
}

fn difference(one: &[u32], other: &[u32]) -> (Whole, bool) {
    let mut borrow = 0;
    let digits = one.iter().zip(other).map(|(one, other)| {
        let difference = i64::from(*one) - i64::from(*other) - borrow;
        borrow = i64::from(difference < 0);
        difference as u32
    });
    (digits.collect(), borrow != 0)
}

fn product(one: &[u32], other: &[u32]) -> Whole {
    let mut out = vec![0; one.len() + other.len()];
    for (place, digit) in one.iter().enumerate() {
        let mut carry = 0;
        for (to, other) in out[place..].iter_mut().zip(other.iter().chain([&0])) {
            let sum = u64::from(*digit) * u64::from(*other) + u64::from(*to) + carry;
            *to = sum as u32;
            carry = sum >> 32;
        }
    }
    out
}

/// The remainder, bit by bit from the most significant.
fn remainder(number: &[u32], modulus: &[u32]) -> Whole {
    let mut rest = vec![0; modulus.len() + 1];
    let wide: Whole = modulus.iter().copied().chain([0]).collect();
    for place in (0..number.len() * 32).rev() {
        (rest, _) = sum(&rest, &rest);
        rest[0] |= number[place / 32] >> (place % 32) & 1;
        let (less, below) = difference(&rest, &wide);
        if !below {
            rest = less;
        }
    }
    rest.truncate(modulus.len());
    rest
}

fn halves(words: &[u64]) -> Whole {
    words.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn sums_differences_and_order(a in words::<16>(), b in words::<16>(), small in 0_u64..1 << 58) {
        let (x, y) = (halves(&a), halves(&b));
        let (one, other) = (number(&x), number(&y));
        let (sum, carry) = sum(&x, &y);
        let mut added = one.clone();
        added.add(&other);
        prop_assert_eq!(&whole(&added), &sum);
        // The space above the blocks takes the carry.
        prop_assert_eq!(added.shifted_right(1024).is(carry.into()), true);
        let (less, below) = difference(&x, &y);
        prop_assert_eq!(one.is_below(&other), below);
        if !below {
            let mut subtracted = one.clone();
            subtracted.subtract(&other);
            prop_assert_eq!(whole(&subtracted), less);
        }
        let mut word = vec![0; x.len()];
        (word[0], word[1]) = (small as u32, (small >> 32) as u32);
        let mut added = one.clone();
        added.add_word(small);
        prop_assert_eq!(whole(&added), super::school::sum(&x, &word).0);
        prop_assert_eq!(number(&word).is(small), true);
        prop_assert_eq!(one.is(small), x == word);
        prop_assert_eq!(one == other, x == y);
    }

    #[test]
    fn products_and_quotients(a in words::<8>(), b in words::<16>()) {
        let (x, y) = (halves(&a), halves(&b));
        let (one, other) = (number(&x), number(&y));
        let all = product(&x, &y);
        for length in 1..=3 {
            // Higher blocks are dropped.
            let made = Number::product(&one, &other, length);
            prop_assert_eq!(&whole(&made)[..], &all[..length * 16]);
        }
        let mut odd = x.clone();
        odd[0] |= 1;
        let multiple = Number::product(&number(&odd), &other, 3);
        prop_assert_eq!(whole(&divide_exactly(&multiple, &number(&odd)).resized(2)), y);
    }

    #[test]
    fn remainders_of_products(n in words::<8>(), a in words::<8>(), b in words::<8>()) {
        let (mut n, a, b) = (halves(&n), halves(&a), halves(&b));
        n[0] |= 1;
        n[15] |= 1 << 31;
        let mut modulus = Modulus::new(&number(&n)).unwrap();
        let radix = modulus.radix();
        let (a, b) = (remainder(&a, &n), remainder(&b, &n));
        let mut made = modulus.enter(&number(&a), &radix);
        let other = modulus.enter(&number(&b), &radix);
        modulus.multiply(&mut made, &other);
        let all = product(&a, &b);
        prop_assert_eq!(whole(&modulus.leave(&made)), remainder(&all, &n));
        let entered = modulus.enter_wide(&number(&all), &radix);
        prop_assert_eq!(whole(&modulus.leave(&entered)), remainder(&all, &n));
        let small = u64::from(n[0]) | 1 << 40;
        let rest = remainder(&all, &[small as u32, (small >> 32) as u32]);
        let words: Vec<u64> =
            all.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
        let expected = u64::from(rest[0]) | u64::from(rest[1]) << 32;
        prop_assert_eq!(SmallModulus::new(small).remainder(&words), expected);
    }
}

#[test]
fn lengths_are_cut_and_filled_with_zeros() {
    let long: Vec<u64> = (1..=16).collect();
    assert_eq!(whole(&Number::from_words(&long, 1)), halves(&long[..8]));
    assert_eq!(whole(&Number::from_words(&long[..3], 1))[6..], [0; 10]);
    assert_eq!(Number::zero(MAX_BLOCKS + 1).length(), MAX_BLOCKS);
    let two = Number::from_words(&long[..8], 2);
    assert_eq!(two.resized(1), Number::from_words(&long[..8], 1));
    assert_eq!(two.resized(1).resized(2), two);
    assert!(two != two.resized(3), "another length is another number");
    let bytes: Vec<u8> = (0..70).collect();
    assert_eq!(Number::from_bytes(&bytes, 1), Number::from_bytes(&bytes[6..], 1));
    let mut short = [9; 3];
    Number::from_bytes(&bytes[..64], 1).fill_bytes(&mut short);
    assert_eq!(short, [61, 62, 63], "the lowest bytes");
    let mut wide = [9; 66];
    Number::from_bytes(&bytes[..64], 1).fill_bytes(&mut wide);
    assert_eq!((&wide[..2], &wide[2..]), (&[0, 0][..], &bytes[..64]));
}

#[test]
fn limbs_have_fifty_eight_bits() {
    let mut limbs = [0; 9];
    let ones = Number::from_words(&[u64::MAX; 8], 1);
    ones.fill_limbs(&mut limbs);
    assert_eq!(limbs[..8], [(1 << 58) - 1; 8]);
    assert_eq!(limbs[8], (1 << 48) - 1, "512 bits less eight limbs");
    assert_eq!(Number::from_limbs(&limbs, 1), Some(ones));
    for place in 0..9 {
        let mut spoilt = limbs;
        spoilt[place] |= 1 << 58;
        assert_eq!(Number::from_limbs(&spoilt, 1), None, "limb {place}");
    }
}

#[test]
fn the_edges_of_shifts_and_digits() {
    let number = Number::from_words(&[0, 0, 0, 0, 0, 0, 0, 1 << 63], 1);
    assert_eq!(number.trailing_zeros(), 511);
    assert!(number.shifted_right(511).is(1) && number.shifted_right(512).is(0));
    assert_eq!(number.shifted_right(0), number);
    assert_eq!(number.digits() * DIGIT_BITS, 512);
    assert_eq!((number.digit(0), number.digit(1), number.digit(127)), (8, 0, 0));
    assert_eq!(number.digit(128), 0, "there are no more");
    assert_eq!(Number::from_words(&[58], 1).trailing_zeros(), 1);
}

#[test]
fn exponents_of_zero_and_one() {
    let mut modulus = Modulus::new(&Number::from_words(&[u64::MAX; 8], 1)).unwrap();
    let (zero, mut one) = (Number::zero(1), Number::zero(1));
    one.add_word(1);
    let radix = modulus.radix();
    let base = modulus.enter(&Number::from_words(&[77], 1), &radix);
    let leave = |modulus: &mut Modulus, number: &Number| whole(&modulus.leave(number))[0];
    let power = modulus.power(&base, &zero);
    assert_eq!(leave(&mut modulus, &power), 1);
    let power = modulus.power(&base, &one);
    assert_eq!(leave(&mut modulus, &power), 77);
    for (exponent, expected) in [(1, 77), (2, 77 * 77), (3, 77 * 77 * 77)] {
        let power = modulus.power_public(&base, exponent);
        assert_eq!(leave(&mut modulus, &power), expected);
    }
    let power = modulus.power(&modulus.clone().enter(&zero, &radix), &one);
    assert_eq!(leave(&mut modulus, &power), 0);
    assert_eq!(SmallModulus::new(3).remainder(&[]), 0);
}

#[test]
fn no_number_is_shown() {
    let number = Number::from_words(&[0xdead_beef], 2);
    assert_eq!(format!("{number:?}"), "Number(1024 bits)");
}
