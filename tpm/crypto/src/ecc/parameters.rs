//! The numbers that define the curves (SP 800-186, 3.2.1).

/// A curve y² = x³ + ax + b over a prime field, in big-endian numbers, for TPM2_ECC_Parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurveParameters {
    /// The prime of the field.
    pub p: &'static [u8],
    /// The coefficient a.
    pub a: &'static [u8],
    /// The coefficient b.
    pub b: &'static [u8],
    /// The generator's x coordinate.
    pub gx: &'static [u8],
    /// The generator's y coordinate.
    pub gy: &'static [u8],
    /// The order of the generator.
    pub n: &'static [u8],
    /// The cofactor.
    pub h: &'static [u8],
}

/// The bytes of a number in hexadecimal.
const fn hex<const N: usize>(digits: &str) -> [u8; N] {
    const fn digit(character: u8) -> u8 {
        match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => panic!("not a hexadecimal digit"),
        }
    }
    let digits = digits.as_bytes();
    assert!(digits.len() == 2 * N, "the number has the wrong length");
    let mut bytes = [0; N];
    let mut index = 0;
    while index < N {
        bytes[index] = digit(digits[2 * index]) << 4 | digit(digits[2 * index + 1]);
        index += 1;
    }
    bytes
}

pub(super) const P256: CurveParameters = CurveParameters {
    p: &const { hex::<32>("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff") },
    a: &const { hex::<32>("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc") },
    b: &const { hex::<32>("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b") },
    gx: &const { hex::<32>("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296") },
    gy: &const { hex::<32>("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5") },
    n: &const { hex::<32>("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") },
    h: &[1],
};

pub(super) const P384: CurveParameters = CurveParameters {
    p: &const {
        hex::<48>(
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe\
         ffffffff0000000000000000ffffffff",
        )
    },
    a: &const {
        hex::<48>(
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe\
         ffffffff0000000000000000fffffffc",
        )
    },
    b: &const {
        hex::<48>(
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a\
         c656398d8a2ed19d2a85c8edd3ec2aef",
        )
    },
    gx: &const {
        hex::<48>(
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38\
         5502f25dbf55296c3a545e3872760ab7",
        )
    },
    gy: &const {
        hex::<48>(
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0\
         0a60b1ce1d7e819d7a431d7c90ea0e5f",
        )
    },
    n: &const {
        hex::<48>(
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf\
         581a0db248b0a77aecec196accc52973",
        )
    },
    h: &[1],
};
