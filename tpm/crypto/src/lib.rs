//! The cryptography under the TPM 2.0 engine.
//!
//! References: "Part 1" to "Part 4" are those of the TPM 2.0 library specification, revision 1.59.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bytes;
pub mod cipher;
pub mod drbg;
pub mod ecc;
mod error;
pub mod hash;
pub mod hmac;
pub mod kdf;
pub mod rsa;
#[cfg(test)]
mod tests;

pub use bytes::SecretBytes;
pub use error::Error;
