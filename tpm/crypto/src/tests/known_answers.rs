//! Known answers: examples of standards, folds over many lengths that other libraries computed.
//!
//! The numbers from RFC 4231, RFC 5903, RFC 6979, FIPS 197 and SP 800-38A were verified with
//! Python's `hmac` and `cryptography` before they were entered here.

use std::format;
use std::vec::Vec;

use super::MODES;
use super::vectors::{bytes, name, number, vector};
use crate::cipher::{AesKey, BLOCK, Direction, Mode};
use crate::drbg::Drbg;
use crate::ecc::{Curve, EccPoint, EccPrivateKey, ecdsa_verify};
use crate::hash::{HashAlgorithm, Hasher};
use crate::hmac::hmac;
use crate::kdf::{kdfa, kdfe};
use crate::rsa::{
    DEFAULT_EXPONENT, EncryptionScheme, RsaPrivateKey, RsaPublicKey, SignatureScheme,
};

/// The input bytes of the folds.
fn data() -> Vec<u8> {
    (0..400_u32).map(|index| (index % 251) as u8).collect()
}

/// The digest of the outputs of `part` for all lengths.
fn fold(hash: HashAlgorithm, lengths: usize, part: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut hasher = Hasher::new(hash);
    (0..lengths).for_each(|length| hasher.update(&part(length)));
    hasher.finish().to_vec()
}

#[test]
fn every_length_of_data_key_and_output_gives_the_known_bytes() {
    let data = data();
    for hash in HashAlgorithm::ALL {
        let derived = |length: usize, by_z: bool| {
            let mut out = std::vec![0; length];
            if by_z {
                kdfe(hash, &data[..48], b"IDENTITY", &data[..length], b"v", &mut out);
            } else {
                kdfa(hash, &data[..32], b"STORAGE", &data[..length], b"v", &mut out);
            }
            out
        };
        let folds = [
            fold(hash, 301, |length| hash.hash(&data[..length]).to_vec()),
            fold(hash, 201, |length| hmac(hash, &data[..length], &[b"message"]).to_vec()),
            fold(hash, 150, |length| derived(length, false)),
            fold(hash, 150, |length| derived(length, true)),
        ];
        assert_eq!(folds.to_vec(), vector("lengths", name(hash)), "{hash:?}");
    }
}

#[test]
fn every_mode_encrypts_every_length_as_others_do() {
    let data = data();
    let mut start = [0xff; BLOCK];
    start[BLOCK - 1] = 0xfe;
    for size in [16_u8, 24, 32] {
        let key: Vec<u8> = (0..size).collect();
        let key = AesKey::new(&key).unwrap();
        let encrypted = |mode: Mode, length: usize| {
            if mode.whole_blocks() && !length.is_multiple_of(BLOCK) {
                return Vec::new();
            }
            let (mut vector, mut text) = (start, data[..length].to_vec());
            key.apply(mode, Direction::Encrypt, &mut vector, &mut text).unwrap();
            text
        };
        let folds: Vec<Vec<u8>> = MODES
            .iter()
            .map(|mode| fold(HashAlgorithm::Sha256, 81, |length| encrypted(*mode, length)))
            .collect();
        assert_eq!(folds, vector("modes", &format!("{size}")), "{size}");
    }
}

#[test]
fn hmac_gives_the_digests_of_rfc_4231() {
    // Key, data, and the first bytes for SHA-256, SHA-384 and SHA-512.
    let large = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let fourth: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], [&str; 3]); 5] = [
        (&[0x0b; 20], b"Hi There", ["b0344c61d8db3853", "afd03944d8489562", "87aa7cdea5ef619d"]),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            ["5bdcc146bf60754e", "af45d2e376484031", "164b7a7bfcf819e2"],
        ),
        (&[0xaa; 20], &[0xdd; 50], ["773ea91e36800e46", "88062608d3e6ad8a", "fa73b0089d56a284"]),
        (&fourth, &[0xcd; 50], ["82558a389a443c0e", "3e8a69b7783c2585", "b0ba465637458c69"]),
        (&[0xaa; 131], large, ["60e431591ee0b67f", "4ece084485813e90", "80b24263c7c1a3eb"]),
    ];
    for (key, data, known) in cases {
        for (hash, known) in HashAlgorithm::ALL[1..].iter().zip(known) {
            let made = hmac(*hash, key, &[data]);
            assert!(made.starts_with(&bytes(known)), "{hash:?} of {data:x?}");
        }
    }
}

#[test]
fn aes_gives_the_blocks_of_fips_197() {
    let plain: Vec<u8> = (0..16).map(|byte| byte << 4 | byte).collect();
    for (size, known) in [
        (16, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (24, "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (32, "8ea2b7ca516745bfeafc49904b496089"),
    ] {
        let key: Vec<u8> = (0..size).collect();
        let mut block = plain.clone();
        let key = AesKey::new(&key).unwrap();
        key.apply(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &mut block).unwrap();
        assert_eq!(block, bytes(known));
        key.apply(Mode::Ecb, Direction::Decrypt, &mut [0; BLOCK], &mut block).unwrap();
        assert_eq!(block, plain);
    }
}

/// A message with both parts of its signature.
type Signed = (&'static [u8], &'static str, &'static str);

/// RFC 6979, A.2.5 and A.2.6: the private key with its signatures.
const RFC_6979: [(Curve, HashAlgorithm, &str, &[Signed]); 2] = [
    (
        Curve::P256,
        HashAlgorithm::Sha256,
        "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        &[
            (
                b"sample",
                "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
                "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            ),
            (
                b"test",
                "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
                "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
            ),
        ],
    ),
    (
        Curve::P384,
        HashAlgorithm::Sha384,
        "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8\
         96d5724e4c70a825f872c9ea60d2edf5",
        &[(
            b"sample",
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c\
             81a648152e44acf96e36dd1e80fabe46",
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94f\
             a329c145786e679e7b82c71a38628ac8",
        )],
    ),
];

#[test]
fn ecdsa_verifies_the_signatures_of_rfc_6979() {
    for (curve, hash, key, signatures) in RFC_6979 {
        let public = EccPrivateKey::new(curve, &bytes(key)).unwrap().public_key().unwrap();
        for (message, r, s) in signatures {
            let (r, mut s) = (bytes(r), bytes(s));
            ecdsa_verify(&public, &hash.hash(message), &r, &s).unwrap();
            assert!(ecdsa_verify(&public, &hash.hash(b"other"), &r, &s).is_err());
            s[0] ^= 1;
            assert!(ecdsa_verify(&public, &hash.hash(message), &r, &s).is_err());
        }
    }
}

#[test]
fn ecdh_shares_the_secret_of_rfc_5903() {
    let key = |digits| EccPrivateKey::new(Curve::P256, &bytes(digits)).unwrap();
    let one = key("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433");
    let other = key("c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53");
    let public = one.public_key().unwrap();
    let x = "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180";
    let y = "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3";
    assert_eq!((public.x(), public.y()), (&bytes(x)[..], &bytes(y)[..]));
    let known = bytes("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
    assert_eq!(other.ecdh(&public).unwrap().x(), known);
    assert_eq!(one.ecdh(&other.public_key().unwrap()).unwrap().x(), known);
}

#[test]
fn multiples_of_the_generators_are_known() {
    // The x coordinates of 2G, 3G and 112233445566778899G, of NIST's examples for P-256.
    let known = [
        (
            Curve::P256,
            [
                "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
                "5ecbe4d1a6330a44c8f7ef951d4bf165e6c6b721efada985fb41661bc6e7fd6c",
                "339150844ec15234807fe862a86be77977dbfb3ae3d96f4c22795513aeaab82f",
            ],
        ),
        (
            Curve::P384,
            [
                "08d999057ba3d2d969260045c55b97f089025959a6f434d651d207d19fb96e9e\
                 4fe0e86ebe0e64f85b96a9c75295df61",
                "077a41d4606ffa1464793c7e5fdc7d98cb9d3910202dcd06bea4f240d3566da6\
                 b408bbae5026580d02d7e5c70500c831",
                "a499efe48839bc3abcd1c5cedbdd51904f9514db44f4686db918983b0c9dc3ae\
                 e05a88b72433e9515f91a329f5f4fa60",
            ],
        ),
    ];
    for (curve, points) in known {
        let generator = EccPoint::generator(curve);
        for (scalar, x) in [2, 3, 112_233_445_566_778_899_u64].into_iter().zip(points) {
            let scalar = scalar.to_be_bytes();
            assert_eq!(generator.multiply(&scalar).unwrap().x(), bytes(x));
            let key = EccPrivateKey::new(curve, &scalar).unwrap();
            assert_eq!(key.public_key().unwrap().x(), bytes(x));
        }
    }
}

#[test]
fn rsa_keys_of_every_size_agree_with_others() {
    for bits in ["1024", "3072"] {
        let public = RsaPublicKey::new(&number("n", bits), DEFAULT_EXPONENT).unwrap();
        let key = RsaPrivateKey::from_prime(&public, &number("p", bits)).unwrap();
        let known = vector("size", bits);
        let (hash, mut random) = (HashAlgorithm::Sha256, Drbg::new(b"seed", b"", b""));
        let digest = hash.hash(b"message");
        let made = key.sign(SignatureScheme::Rsassa(hash), &digest, &mut random).unwrap();
        assert_eq!(made.as_bytes(), known[0]);
        public.verify(SignatureScheme::Rsapss(hash), &digest, &known[1]).unwrap();
        assert!(public.verify(SignatureScheme::Rsapss(hash), &digest, &known[0]).is_err());
        assert!(public.verify(SignatureScheme::Rsassa(hash), &digest, &known[1]).is_err());
        let oaep = EncryptionScheme::Oaep { hash, label: b"DUPLICATE\0" };
        for (scheme, sent) in [(oaep, &known[2]), (EncryptionScheme::Rsaes, &known[3])] {
            assert_eq!(&*key.decrypt(scheme, sent, &mut random).unwrap(), b"secret");
        }
    }
}
