//! The paddings of PKCS #1 (RFC 8017), with the TPM's parameters.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::ModulusBytes;
use crate::Error;
use crate::drbg::Drbg;
use crate::hash::{Digest, HashAlgorithm};
use crate::kdf::mask;

/// The least number of padding bytes of RSAES and RSASSA.
const LEAST_PADDING: usize = 8;
const PSS_TRAILER: u8 = 0xBC;
const DIGEST_INFO_SHA1: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14];

/// The DER of a DigestInfo up to its digest, for the SHA-2 hash with this last arc and digest size.
const fn digest_info_sha2(arc: u8, size: u8) -> [u8; 19] {
    let all = 17 + size;
    [
        0x30, all, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc,
        0x05, 0x00, 0x04, size,
    ]
}

const fn digest_info(hash: HashAlgorithm) -> &'static [u8] {
    match hash {
        HashAlgorithm::Sha1 => &DIGEST_INFO_SHA1,
        HashAlgorithm::Sha256 => &const { digest_info_sha2(1, 32) },
        HashAlgorithm::Sha384 => &const { digest_info_sha2(2, 48) },
        HashAlgorithm::Sha512 => &const { digest_info_sha2(3, 64) },
    }
}

/// EMSA-PKCS1-v1_5 (9.2), into a buffer as long as the modulus.
pub(super) fn rsassa_encode(
    hash: HashAlgorithm,
    digest: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    let info = digest_info(hash);
    let room = out.len().checked_sub(info.len() + digest.len() + 3).ok_or(Error::Size)?;
    if digest.len() != hash.digest_size() || room < LEAST_PADDING {
        return Err(Error::Size);
    }
    let ones = core::iter::repeat_n(0xFF, room);
    let start = [0, 1].into_iter().chain(ones).chain([0]);
    put(out, start.chain(info.iter().copied()).chain(digest.iter().copied()));
    Ok(())
}

/// EMSA-PSS-ENCODE (9.1.1), into a buffer as long as the modulus, which has whole bytes.
pub(super) fn pss_encode(
    hash: HashAlgorithm,
    digest: &[u8],
    out: &mut [u8],
    random: &mut Drbg,
) -> Result<(), Error> {
    let size = hash.digest_size();
    let data_size = out.len().checked_sub(size + 1).ok_or(Error::Size)?;
    let salt_size = size.min(data_size.checked_sub(1).ok_or(Error::Size)?);
    if digest.len() != size {
        return Err(Error::Size);
    }
    let (data, rest) = out.split_at_mut_checked(data_size).ok_or(Error::Size)?;
    let (before, salt) = data.split_at_mut_checked(data_size - salt_size).ok_or(Error::Size)?;
    random.fill(salt);
    put(before, core::iter::repeat_n(0, data_size - salt_size - 1).chain([1]));
    let hashed = hash.hash_parts(&[&[0; 8], digest, salt]);
    mask(hash, &hashed, data);
    put(rest, hashed.iter().copied().chain([PSS_TRAILER]));
    clear_top_bit(out);
    Ok(())
}

/// EMSA-PSS-VERIFY (9.1.2), for a salt of any length.
pub(super) fn pss_verify(
    hash: HashAlgorithm,
    digest: &[u8],
    mut encoded: ModulusBytes,
) -> Result<(), Error> {
    let size = hash.digest_size();
    let data_size = encoded.len().checked_sub(size + 1).ok_or(Error::Signature)?;
    let top_bit = encoded.first().is_none_or(|byte| byte & 0x80 != 0);
    if digest.len() != size || top_bit || encoded.last() != Some(&PSS_TRAILER) {
        return Err(Error::Signature);
    }
    let (data, rest) =
        encoded.as_mut_bytes().split_at_mut_checked(data_size).ok_or(Error::Signature)?;
    let hashed = rest.get(..size).ok_or(Error::Signature)?;
    mask(hash, hashed, data);
    clear_top_bit(data);
    let one = data.iter().position(|byte| *byte != 0).ok_or(Error::Signature)?;
    let salt = match data.get(one..).and_then(<[u8]>::split_first) {
        Some((1, salt)) => salt,
        _ => return Err(Error::Signature),
    };
    let expected = hash.hash_parts(&[&[0; 8], digest, salt]);
    if bool::from(expected.as_bytes().ct_eq(hashed)) { Ok(()) } else { Err(Error::Signature) }
}

/// EME-PKCS1-v1_5 (7.2.1), into a buffer as long as the modulus.
pub(super) fn rsaes_encode(message: &[u8], out: &mut [u8], random: &mut Drbg) -> Result<(), Error> {
    let room = out.len().checked_sub(message.len().saturating_add(3)).ok_or(Error::Size)?;
    if room < LEAST_PADDING {
        return Err(Error::Size);
    }
    let (start, rest) = out.split_at_mut_checked(2 + room).ok_or(Error::Size)?;
    put(start, [0, 2]);
    for byte in start.iter_mut().skip(2) {
        while *byte == 0 {
            random.fill(core::slice::from_mut(byte));
        }
    }
    put(rest, [0].into_iter().chain(message.iter().copied()));
    Ok(())
}

/// Decodes EME-PKCS1-v1_5 (7.2.2).
pub(super) fn rsaes_decode(padded: &[u8]) -> Result<ModulusBytes, Error> {
    let (start, rest) = padded.split_at_checked(2).ok_or(Error::Value)?;
    let (end, found) = first_of(rest, 0);
    let enough = !Choice::from(u8::from(end < LEAST_PADDING));
    tail(rest, end, start.ct_eq(&[0, 2]) & found & enough)
}

/// EME-OAEP (7.1.1), into a buffer as long as the modulus.
pub(super) fn oaep_encode(
    hash: HashAlgorithm,
    label: &[u8],
    message: &[u8],
    out: &mut [u8],
    random: &mut Drbg,
) -> Result<(), Error> {
    let size = hash.digest_size();
    let used = message.len().saturating_add(2 * size + 2);
    let zeros = out.len().checked_sub(used).ok_or(Error::Size)?;
    let (seed, data) = out.split_at_mut_checked(1 + size).ok_or(Error::Size)?;
    let (_, seed) = seed.split_first_mut().ok_or(Error::Size)?;
    random.fill(seed);
    let label = hash.hash(label);
    let start = label.iter().copied().chain(core::iter::repeat_n(0, zeros)).chain([1]);
    put(data, start.chain(message.iter().copied()));
    mask(hash, seed, data);
    mask(hash, data, seed);
    Ok(())
}

/// Decodes EME-OAEP (7.1.2). Neither time nor error reveals what is wrong (Manger's attack).
pub(super) fn oaep_decode(
    hash: HashAlgorithm,
    label: &[u8],
    mut padded: ModulusBytes,
) -> Result<ModulusBytes, Error> {
    let size = hash.digest_size();
    let (start, data) = padded.as_mut_bytes().split_at_mut_checked(1 + size).ok_or(Error::Value)?;
    let (first, seed) = start.split_first_mut().ok_or(Error::Value)?;
    mask(hash, data, seed);
    mask(hash, seed, data);
    let (found_label, rest) = data.split_at_checked(size).ok_or(Error::Value)?;
    let label: Digest = hash.hash(label);
    let (end, found) = first_not_zero(rest);
    let one = rest.get(end).copied().unwrap_or(0).ct_eq(&1);
    tail(rest, end, first.ct_eq(&0) & label.as_bytes().ct_eq(found_label) & found & one)
}

/// The bytes after the separator at `end`, if the padding was right.
fn tail(bytes: &[u8], end: usize, well: Choice) -> Result<ModulusBytes, Error> {
    if !bool::from(well) {
        return Err(Error::Value);
    }
    ModulusBytes::new(bytes.get(end + 1..).ok_or(Error::Value)?)
}

/// The position of the first `wanted` byte, found without branches; and whether there is one.
fn first_of(bytes: &[u8], wanted: u8) -> (usize, Choice) {
    first(bytes, |byte| byte.ct_eq(&wanted))
}

/// The same for the first byte that is not zero.
fn first_not_zero(bytes: &[u8]) -> (usize, Choice) {
    first(bytes, |byte| !byte.ct_eq(&0))
}

fn first(bytes: &[u8], matches: impl Fn(&u8) -> Choice) -> (usize, Choice) {
    let mut found = Choice::from(0);
    let mut place = 0_u64;
    for (index, byte) in (0_u64..).zip(bytes) {
        let now = matches(byte) & !found;
        place.conditional_assign(&index, now);
        found |= now;
    }
    (usize::try_from(place).unwrap_or(bytes.len()), found)
}

fn clear_top_bit(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        *first &= 0x7F;
    }
}

fn put(out: &mut [u8], bytes: impl IntoIterator<Item = u8>) {
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = from;
    }
}
