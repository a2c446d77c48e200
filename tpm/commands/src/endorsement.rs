//! Templates of endorsement keys, with the indices of their certificates (TCG EK Credential Profile
//! 2.5).

/// Template L-1: RSA 2048; its certificate is in [`RSA_CERTIFICATE`] (B.3.3).
pub const RSA_TEMPLATE: [u8; 314] = template([0, 1], [0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0]);
/// Template L-2: ECC NIST P-256; its certificate is in [`ECC_CERTIFICATE`] (B.3.4).
pub const ECC_TEMPLATE: [u8; 122] = {
    let rest = [0, 0x10, 0, 3, 0, 0x10, 0, 32];
    let mut made: [u8; 122] = template([0, 0x23], rest);
    // The size of the second coordinate.
    made[HEAD + 8 + 32 + 1] = 32;
    made
};
/// NV index of the RSA key's certificate (2.2.1.4).
pub const RSA_CERTIFICATE: u32 = 0x01c0_0002;
/// NV index of the ECC key's certificate.
pub const ECC_CERTIFICATE: u32 = 0x01c0_000a;
/// Attributes of these indices (2.2.1.5, 2.2.1.6): PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD,
/// AUTHREAD, NO_DA, PLATFORMCREATE.
pub const CERTIFICATE_ATTRIBUTES: u32 =
    1 << 0 | 1 << 13 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 25 | 1 << 30;

/// Size of type, name algorithm, attributes, policy and symmetric algorithm.
const HEAD: usize = 2 + 2 + 4 + 2 + POLICY.len() + 6;
/// PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256 (B.6.2).
const POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// A TPMT_PUBLIC of `kind`: `rest` follows the symmetric algorithm, then zeros.
const fn template<const LENGTH: usize, const REST: usize>(
    kind: [u8; 2],
    rest: [u8; REST],
) -> [u8; LENGTH] {
    let mut made = [0; LENGTH];
    // fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
    let head = [kind[0], kind[1], 0, 0x0b, 0, 3, 0, 0xb2, 0, 32];
    // AES, 128 bits, CFB.
    let symmetric = [0, 6, 0, 0x80, 0, 0x43];
    let mut at = 0;
    while at < HEAD {
        made[at] = if at < 10 {
            head[at]
        } else if at < 42 {
            POLICY[at - 10]
        } else {
            symmetric[at - 42]
        };
        at += 1;
    }
    let mut next = 0;
    while next < REST {
        made[HEAD + next] = rest[next];
        next += 1;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_their_lengths_inside() {
        assert_eq!(HEAD, 48);
        assert_eq!(RSA_TEMPLATE[48..58], [0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(RSA_TEMPLATE.len(), 58 + 256);
        assert_eq!(ECC_TEMPLATE[48..56], [0, 0x10, 0, 3, 0, 0x10, 0, 32]);
        assert_eq!(ECC_TEMPLATE[88..90], [0, 32]);
        assert_eq!(ECC_TEMPLATE.len(), 56 + 32 + 2 + 32);
    }
}
