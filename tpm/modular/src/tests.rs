//! Comparison with a library, for every length.

mod school;

use std::vec::Vec;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use proptest::prelude::*;

use super::*;

/// Numbers of `L` words with long runs of equal bits, through which carries propagate.
fn words<const L: usize>() -> impl Strategy<Value = [u64; L]> {
    let word = prop_oneof![Just(0), Just(u64::MAX), Just(1), Just(1 << 63), any::<u64>()];
    proptest::collection::vec(word, L).prop_map(|words| words.try_into().unwrap())
}

fn number(words: &[u64]) -> Number {
    Number::from_words(words, words.len() / 8)
}

fn odd<const L: usize>(mut words: [u64; L]) -> Odd<Uint<L>> {
    words[0] |= 1;
    words[L - 1] |= 1 << 63;
    Odd::new(Uint::from_words(words)).unwrap()
}

/// Compares all operations on two numbers with `Uint<L>`.
fn agree<const L: usize>(
    modulus: [u64; L],
    one: [u64; L],
    other: [u64; L],
) -> Result<(), TestCaseError> {
    let modulus = odd(modulus);
    let below = |words| Uint::<L>::from_words(words).rem(modulus.as_nz_ref());
    let (one, other) = (below(one), below(other));
    let parameters = FixedMontyParams::new(modulus);
    let theirs = |number: &Uint<L>| FixedMontyForm::new(number, &parameters);
    let mut ours = Modulus::new(&number(modulus.as_ref().as_words())).unwrap();
    let radix = ours.radix();
    let (x, y) = (number(one.as_words()), number(other.as_words()));
    let (x, y) = (ours.enter(&x, &radix), ours.enter(&y, &radix));
    let same = |name: &str, number: &Number, theirs: &FixedMontyForm<L>| {
        let mut words = [0; L];
        ours.clone().leave(number).fill_words(&mut words);
        let theirs = theirs.retrieve();
        prop_assert_eq!(&words[..], theirs.as_words(), "{}", name);
        Ok(())
    };
    same("one", &ours.one(), &FixedMontyForm::one(&parameters))?;
    same("form", &x, &theirs(&one))?;
    let mut ours = ours.clone();
    let mut product = x.clone();
    ours.multiply(&mut product, &y);
    same("product", &product, &(theirs(&one) * theirs(&other)))?;
    let mut square = x.clone();
    ours.square(&mut square);
    same("square", &square, &theirs(&one).square())?;
    let mut double = x.clone();
    ours.tighten(&mut double);
    ours.double(&mut double);
    same("double", &double, &theirs(&one).double())?;
    let (mut difference, mut less) = (x.clone(), y.clone());
    ours.tighten(&mut difference);
    ours.tighten(&mut less);
    ours.subtract(&mut difference, &less);
    same("difference", &difference, &(theirs(&one) - theirs(&other)))?;
    let mut loose = x.clone();
    loose.add(ours.number());
    loose.add(ours.number());
    let mut product = loose.clone();
    ours.multiply(&mut product, &loose);
    same("loose product", &product, &theirs(&one).square())?;
    let exponent = number(other.as_words());
    let power = theirs(&one).pow(&other);
    same("power", &ours.power(&x, &exponent), &power)?;
    let reversed = number(one.as_words());
    let both = ours.power_of_two_bases([(&x, &exponent), (&y, &reversed)]);
    same("two powers", &both, &(power * theirs(&other).pow(&one)))?;
    let mut limbs = [0; 54];
    x.fill_limbs(&mut limbs);
    prop_assert_eq!(Number::from_limbs(&limbs, L / 8), Some(x.clone()));
    if L / 4 <= MAX_BLOCKS {
        let wide = Number::product(&reversed, &exponent, L / 4);
        same("wide", &ours.enter_wide(&wide, &radix), &(theirs(&one) * theirs(&other)))?;
    }
    let mut power = ours.one();
    for step in 0..exponent.digits() {
        ours.power_step_of_two(&mut power, exponent.digit(step));
    }
    same("power of two", &power, &theirs(&Uint::from_u64(2)).pow(&other))?;
    let power = theirs(&one).pow(&Uint::<1>::from_u64(0x1_0001));
    same("public power", &ours.power_public(&x, 0x1_0001), &power)
}

/// Checks a product of wide numbers, its exact division, its reduction.
fn product_divides<const L: usize>(one: [u64; L], other: [u64; L]) -> Result<(), TestCaseError> {
    let (x, y) = (odd(one), Uint::from_words(other));
    let (one, other) = (number(x.as_ref().as_words()), number(&other));
    let product = Number::product(&one, &other, L / 4);
    let (low, high) = x.as_ref().widening_mul(&y);
    let mut words = std::vec![0; 2 * L];
    product.fill_words(&mut words);
    prop_assert_eq!(&words[..L], low.as_words());
    prop_assert_eq!(&words[L..], high.as_words());
    prop_assert_eq!(divide_exactly(&product, &one).resized(L / 8), other.clone());
    let mut modulus = Modulus::new(&one).unwrap();
    let reduced = modulus.reduce_wide(&product);
    prop_assert!(modulus.leave(&reduced).is(0), "a multiple of the modulus");
    let mut square = other.clone();
    modulus.tighten(&mut square);
    let reduced = modulus.reduce_wide(&Number::product(&square, &square, L / 4));
    modulus.square(&mut square);
    prop_assert_eq!(reduced, square);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn eight_words(n in words::<8>(), a in words::<8>(), b in words::<8>()) {
        agree(n, a, b)?;
        product_divides(a, b)?;
    }

    #[test]
    fn sixteen_words(n in words::<16>(), a in words::<16>(), b in words::<16>()) {
        agree(n, a, b)?;
        product_divides(a, b)?;
    }

    #[test]
    fn twenty_four_words(n in words::<24>(), a in words::<24>(), b in words::<24>()) {
        agree(n, a, b)?;
        product_divides(a, b)?;
    }

    #[test]
    fn thirty_two_words(n in words::<32>(), a in words::<32>(), b in words::<32>()) {
        agree(n, a, b)?;
    }

    #[test]
    fn forty_eight_words(n in words::<48>(), a in words::<48>(), b in words::<48>()) {
        agree(n, a, b)?;
    }

    #[test]
    fn small_remainders(n in words::<16>(), word in any::<u64>(), small in 2_u32.., odd in 1_u64..) {
        let odd = odd | 1;
        prop_assume!(odd > 1);
        let wide = n.iter().rev().fold(0_u128, |rest, word| {
            (rest << 64 | u128::from(*word)) % u128::from(odd)
        });
        prop_assert_eq!(u128::from(SmallModulus::new(odd).remainder(&n)), wide);
        prop_assert_eq!(u64::from(remainder_of_word(word, small)), word % u64::from(small));
    }

    #[test]
    fn bytes_words_and_shifts(bytes in proptest::collection::vec(any::<u8>(), 64), bits in 0_u32..512) {
        let whole = Number::from_bytes(&bytes, 1);
        let mut back = [0; 64];
        whole.fill_bytes(&mut back);
        prop_assert_eq!(&back[..], &bytes);
        let expected = Uint::<8>::from_be_slice(&bytes);
        prop_assert_eq!(whole.trailing_zeros(), expected.trailing_zeros());
        let digits: Vec<u64> = (0..whole.digits()).map(|index| whole.digit(index)).collect();
        let hex: Vec<u64> =
            bytes.iter().flat_map(|byte| [u64::from(byte >> 4), u64::from(byte & 15)]).collect();
        prop_assert_eq!(digits, hex);
        let mut shifted = [0; 8];
        whole.shifted_right(bits).fill_words(&mut shifted);
        let expected = expected.shr_vartime(bits);
        prop_assert_eq!(&shifted, expected.as_words());
    }
}

#[test]
fn the_edges_of_a_word() {
    for word in [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        for modulus in [2, 3, 5, 65_535, 65_537, u32::MAX] {
            assert_eq!(u64::from(remainder_of_word(word, modulus)), word % u64::from(modulus));
        }
    }
}

#[test]
fn an_inverse_undoes_a_product() {
    // 2⁵¹² - 569 is the largest prime below 2⁵¹².
    let mut prime = [u64::MAX; 8];
    prime[0] = u64::MAX - 568;
    let mut modulus = Modulus::new(&number(&prime)).unwrap();
    let mut base = number(&[3, 0, 7, 1, 0, 0, 0, 9]);
    let inverse = modulus.power(&base, &modulus.inverting_exponent());
    modulus.multiply(&mut base, &inverse);
    modulus.tighten(&mut base);
    assert_eq!(base, modulus.one());
}

#[test]
fn other_moduli_are_refused() {
    for words in [&[1, 0, 0, 0, 0, 0, 0, 1][..], &[2, 0, 0, 0, 0, 0, 0, 1 << 63], &[]] {
        assert!(Modulus::new(&number(words)).is_none());
    }
}
