//! Arithmetic modulo long odd numbers in constant time, for the RSA of the TPM.
//!
//! The instructions that run depend on the lengths, never on a number, unless a parameter is called
//! public. All key sizes share the same code: a library with a type for each length would be
//! compiled five times, which was a fifth of the whole TPM engine.
//!
//! A number in Montgomery form is multiplied by the *radix*, two to the power of all bits of its
//! limbs. These are ten more per block than the modulus has, so the product of numbers below four
//! times the modulus is below twice the modulus, and needs no subtraction.
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

/// Number of limbs in a block; a limb has 58 bits.
pub const BLOCK_LIMBS: usize = columns::BLOCK;

pub use modulus::{Modulus, Powers};
pub use number::{BLOCK_BITS, DIGIT_BITS, MAX_BLOCKS, Number};
pub use small::{SmallModulus, divide_exactly, remainder_of_word};
