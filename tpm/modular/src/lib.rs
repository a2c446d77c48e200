//! Arithmetic modulo long odd numbers in constant time, for the RSA of the TPM.
//!
//! What is done depends on the lengths, never on a number, unless a parameter is called public.
//! Every size of key runs through the same code: a library whose lengths are types is compiled once
//! for each of the five lengths, which made a fifth of the whole TPM engine.
//!
//! A number in Montgomery form is multiplied by the *radix*, two to the power of all bits of its
//! limbs. Since these are ten more per block than the modulus has, a product of numbers below four
//! times the modulus is below twice the modulus: nothing has to be subtracted on the way.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod columns;
mod modulus;
mod number;
mod small;
#[cfg(test)]
mod tests;

/// Limbs of a block: words of 58 bits.
pub const BLOCK_LIMBS: usize = columns::BLOCK;

pub use modulus::{Modulus, Powers};
pub use number::{BLOCK_BITS, DIGIT_BITS, MAX_BLOCKS, Number};
pub use small::{SmallModulus, divide_exactly, remainder_of_word};
