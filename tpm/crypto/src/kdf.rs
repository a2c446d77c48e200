//! The key derivation functions of the TPM.

use crate::hash::{HashAlgorithm, Hasher};
use crate::hmac::Hmac;

/// KDFa (Part 1, 11.4.10.2): SP 800-108 in counter mode over HMAC, which fills `out`.
///
/// `label` is given without its NUL, which the function adds. The number of bits is eight times the
/// length of `out`.
pub fn kdfa(
    algorithm: HashAlgorithm,
    key: &[u8],
    label: &[u8],
    context_u: &[u8],
    context_v: &[u8],
    out: &mut [u8],
) {
    let bits = bits_of(out);
    let keyed = Hmac::new(algorithm, key);
    for (chunk, counter) in out.chunks_mut(algorithm.digest_size()).zip(1_u32..) {
        let mut hmac = keyed.clone();
        hmac.update(&counter.to_be_bytes());
        for part in [label, &[0], context_u, context_v, &bits.to_be_bytes()] {
            hmac.update(part);
        }
        fill(chunk, &hmac.finish());
    }
}

/// KDFe (Part 1, 11.4.10.3): SP 800-56A's concatenation over a hash, which fills `out` from the
/// shared secret `z`, an x coordinate.
///
/// `usage` is given without its NUL, which the function adds. `party_u` and `party_v` are the x
/// coordinates of the ephemeral and of the static public key.
pub fn kdfe(
    algorithm: HashAlgorithm,
    z: &[u8],
    usage: &[u8],
    party_u: &[u8],
    party_v: &[u8],
    out: &mut [u8],
) {
    for (chunk, counter) in out.chunks_mut(algorithm.digest_size()).zip(1_u32..) {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&counter.to_be_bytes());
        for part in [z, usage, &[0], party_u, party_v] {
            hasher.update(part);
        }
        fill(chunk, &hasher.finish());
    }
}

/// MGF1 (RFC 8017, B.2.1) from `seed`, XORed into `out`.
pub(crate) fn mask(algorithm: HashAlgorithm, seed: &[u8], out: &mut [u8]) {
    for (chunk, counter) in out.chunks_mut(algorithm.digest_size()).zip(0_u32..) {
        let digest = algorithm.hash_parts(&[seed, &counter.to_be_bytes()]);
        for (to, from) in chunk.iter_mut().zip(digest.iter()) {
            *to ^= *from;
        }
    }
}

fn bits_of(out: &[u8]) -> u32 {
    u32::try_from(out.len()).unwrap_or(u32::MAX).saturating_mul(8)
}

fn fill(chunk: &mut [u8], from: &[u8]) {
    for (to, from) in chunk.iter_mut().zip(from) {
        *to = *from;
    }
}
