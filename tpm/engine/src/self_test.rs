//! The self-test commands (Part 3, section 10).

use alloc::vec;
use alloc::vec::Vec;

use tpm_crypto::ecc::{Curve, EccPrivateKey};
use tpm_crypto::rsa::{DEFAULT_EXPONENT, RsaPublicKey, RsaSize};

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::alg;
use crate::crypto;
use crate::properties::ALGORITHMS;
use crate::public::Parameters;
use crate::rc::{Rc, Result};

/// The first bytes of a known answer.
type Answer = [u8; 8];

/// Hashes of the empty string (FIPS 180-4).
const EMPTY: [(u16, Answer); 4] = [
    (alg::SHA1, [0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d]),
    (alg::SHA256, [0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14]),
    (alg::SHA384, [0x38, 0xb0, 0x60, 0xa7, 0x51, 0xac, 0x96, 0x38]),
    (alg::SHA512, [0xcf, 0x83, 0xe1, 0x35, 0x7e, 0xef, 0xb8, 0xbd]),
];
/// HMAC-SHA-256 of the empty string with an empty key (FIPS 198-1).
const EMPTY_HMAC: Answer = [0xb6, 0x13, 0x67, 0x9a, 0x08, 0x14, 0xd9, 0xec];
/// AES-128 of a zero block under a zero key (FIPS 197).
const ZERO_AES: Answer = [0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b];
/// The x coordinate of the public key whose private key is [`PRIVATE_BYTE`] in every byte.
const POINTS: [(Curve, Answer); 2] = [
    (Curve::P256, [0x1e, 0x18, 0x53, 0x2f, 0xd4, 0x75, 0x4c, 0x02]),
    (Curve::P384, [0xb0, 0x1b, 0xfc, 0x4a, 0x2d, 0x7f, 0xe2, 0x09]),
];
const PRIVATE_BYTE: u8 = 7;
/// 3 to the power of 65537, modulo 2,048 bits that are all set.
const POWER: Answer = [0xe9, 0x5e, 0xbb, 0xc3, 0x5d, 0xfe, 0xdd, 0xe3];

impl Tpm {
    /// Checks all known answers; on a wrong one the TPM enters failure mode.
    fn test(&mut self) -> Result<()> {
        // An error of the arithmetic is a failure, too.
        let good = symmetric().and_then(|good| Ok(good && asymmetric()?)).unwrap_or(false);
        self.v.failed = !good;
        self.v.self_tested = good;
        if good { Ok(()) } else { Err(Rc::FAILURE) }
    }
}

fn symmetric() -> Result<bool> {
    let mut block = [0; 16];
    crypto::apply(&[0; 16], alg::ECB, &mut [0; 16], &mut block, crypto::Way::Encrypt)?;
    let hashes = EMPTY.iter().all(|(alg, answer)| crypto::hash(*alg, &[]).starts_with(answer));
    let hmac = crypto::hmac(alg::SHA256, &[], &[]).starts_with(&EMPTY_HMAC);
    Ok(hashes && hmac && block.starts_with(&ZERO_AES))
}

fn asymmetric() -> Result<bool> {
    for (curve, answer) in POINTS {
        let private = vec![PRIVATE_BYTE; curve.field_size()];
        let public = EccPrivateKey::new(curve, &private)?.public_key()?;
        if !public.x().starts_with(&answer) {
            return Ok(false);
        }
    }
    let mut message = vec![0; RsaSize::Bits2048.modulus_size()];
    if let Some(last) = message.last_mut() {
        *last = 3;
    }
    let modulus = vec![u8::MAX; message.len()];
    let power = RsaPublicKey::new(&modulus, DEFAULT_EXPONENT)?.raw(&message)?;
    Ok(power.as_bytes().starts_with(&POWER))
}

/// TPM2_SelfTest.
pub(crate) fn self_test(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let full = call.read(|r| r.yes_no())?;
    call.end()?;
    if full || !tpm.v.self_tested { tpm.test() } else { Ok(()) }
}

/// TPM2_IncrementalSelfTest: tests all algorithms at once, so toDoList has all of them or none.
pub(crate) fn incremental(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let algorithms = call.read(|r| {
        let count = r.u32()?;
        if count > 64 {
            return Err(Rc::SIZE);
        }
        (0..count).map(|_| r.u16()).collect::<Result<Vec<u16>>>()
    })?;
    call.end()?;
    let is_built = |alg: &u16| ALGORITHMS.iter().any(|(built, _)| built == alg);
    if !algorithms.iter().all(is_built) {
        return Err(Rc::VALUE.param(1));
    }
    if !algorithms.is_empty() && !tpm.v.self_tested {
        tpm.test()?;
    }
    let to_do = if tpm.v.self_tested { &[] } else { ALGORITHMS };
    call.out.put_u32(to_do.len() as u32);
    for (alg, _) in to_do {
        call.out.put_u16(*alg);
    }
    Ok(())
}

/// TPM2_GetTestResult.
pub(crate) fn get_test_result(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let result = match (tpm.v.failed, tpm.v.self_tested) {
        (true, _) => Rc::FAILURE.0,
        (false, false) => Rc::NEEDS_TEST.0,
        (false, true) => 0,
    };
    call.out.put_u16(0).put_u32(result);
    Ok(())
}

/// TPM2_TestParms.
pub(crate) fn test_parms(_: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.read(|r| {
        let kind = r.u16()?;
        Parameters::parse(r, kind)
    })?;
    call.end()
}
