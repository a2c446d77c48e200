//! The errors of cryptographic operations.

use core::fmt;

/// The reason why a cryptographic operation failed. The engine maps each variant to a response code
/// (Part 2, 6.6), and adds the parameter or handle at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A number is out of range, such as a message not below the modulus (TPM_RC_VALUE).
    Value,
    /// A buffer has a length that the operation cannot take (TPM_RC_SIZE).
    Size,
    /// The scheme does not fit the key or its hash (TPM_RC_SCHEME).
    Scheme,
    /// The point is not on its curve, or is the point at infinity (TPM_RC_ECC_POINT).
    Point,
    /// The key, or its parts, do not belong together (TPM_RC_BINDING).
    Binding,
    /// The signature does not verify (TPM_RC_SIGNATURE).
    Signature,
    /// A computation found no result, or its check found a fault (TPM_RC_NO_RESULT).
    NoResult,
    /// The random generator must be reseeded first (TPM_RC_FAILURE).
    Exhausted,
    /// A saved state has another version or is inconsistent.
    Saved,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a number is out of range",
            Self::Size => "a buffer has the wrong length",
            Self::Scheme => "the scheme does not fit the key",
            Self::Point => "the point is not on its curve",
            Self::Binding => "the parts of the key do not belong together",
            Self::Signature => "the signature does not verify",
            Self::NoResult => "the computation has no result",
            Self::Exhausted => "the random generator must be reseeded",
            Self::Saved => "the saved state cannot be used",
        })
    }
}

impl core::error::Error for Error {}
