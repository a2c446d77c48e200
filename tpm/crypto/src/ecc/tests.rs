//! Tests of the curves: known answers, round trips of the schemes.

use std::format;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::hash::HashAlgorithm;
use crate::tests::vectors::{name, number, vector};

fn random() -> Drbg {
    Drbg::new(b"a seed of the tests", b"", b"")
}

fn title(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "P256",
        Curve::P384 => "P384",
    }
}

/// The key of the vectors: bytes that count from 1.
fn known_key(curve: Curve) -> EccPrivateKey {
    let d: Vec<u8> = (1..).take(curve.field_size()).collect();
    EccPrivateKey::new(curve, &d).unwrap()
}

#[test]
fn public_keys_and_shared_points_are_known() {
    for curve in Curve::ALL {
        let key = known_key(curve);
        let public = key.public_key().unwrap();
        let known = vector(title(curve), "pub");
        assert_eq!((public.x(), public.y()), (&known[0][..], &known[1][..]));
        let seven = public.multiply(&[7]).unwrap();
        let known = vector(title(curve), "pub7");
        assert_eq!((seven.x(), seven.y()), (&known[0][..], &known[1][..]));
        assert_eq!(key.ecdh(&seven).unwrap().x(), number(title(curve), "ecdh"));
    }
}

#[test]
fn extra_random_bits_give_the_known_key() {
    for curve in Curve::ALL {
        let c: Vec<u8> = (7..).take(curve.extra_size()).collect();
        let key = EccPrivateKey::from_extra_bits(curve, &c).unwrap();
        assert_eq!(key.scalar(), number(title(curve), "extra"));
        let zeros = std::vec![0; curve.extra_size()];
        let least = EccPrivateKey::from_extra_bits(curve, &zeros).unwrap();
        assert_eq!(least.scalar().last(), Some(&1), "never zero");
        assert_eq!(EccPrivateKey::from_extra_bits(curve, &c[1..]), Err(Error::Size));
        assert_eq!(curve.id(), Curve::from_id(curve.id()).unwrap().id());
    }
    assert_eq!(Curve::from_id(0x0005), None, "P-521 is not built");
}

#[test]
fn signatures_of_others_verify_for_every_length_of_digest() {
    for curve in Curve::ALL {
        let public = known_key(curve).public_key().unwrap();
        for hash in HashAlgorithm::ALL {
            let known = vector(title(curve), name(hash));
            let digest = hash.hash(b"message");
            ecdsa_verify(&public, &digest, &known[0], &known[1]).unwrap();
            let other = hash.hash(b"massage");
            let refused = ecdsa_verify(&public, &other, &known[0], &known[1]);
            assert_eq!(refused, Err(Error::Signature));
        }
    }
}

#[test]
fn parameters_are_those_of_the_generator() {
    for curve in Curve::ALL {
        let parameters = curve.parameters();
        let generator = EccPoint::new(curve, parameters.gx, parameters.gy).unwrap();
        assert_eq!(generator, EccPoint::generator(curve));
        let refused = generator.multiply(parameters.n);
        assert_eq!(refused, Err(Error::NoResult), "the order leads to infinity");
        assert_eq!(generator.multiply(&[1]).unwrap(), generator);
        let a_and_3 = parameters.a.last().unwrap().wrapping_add(3);
        assert_eq!(Some(&a_and_3), parameters.p.last(), "a is -3");
        assert_eq!(parameters.b.len(), curve.field_size());
    }
}

#[test]
fn what_is_no_point_and_no_scalar_is_refused() {
    for curve in Curve::ALL {
        let parameters = curve.parameters();
        let refused = EccPoint::new(curve, parameters.gx, parameters.gx);
        assert_eq!(refused, Err(Error::Point));
        assert_eq!(EccPoint::new(curve, &[], &[]), Err(Error::Point));
        assert_eq!(EccPoint::new(curve, parameters.p, parameters.gy), Err(Error::Point));
        let long = [1; MAX_FIELD + 1];
        assert_eq!(EccPoint::new(curve, &long, parameters.gy), Err(Error::Size));
        assert_eq!(EccPrivateKey::new(curve, &[0; 4]), Err(Error::Value));
        assert_eq!(EccPrivateKey::new(curve, parameters.n), Err(Error::Value));
        assert_eq!(EccPrivateKey::new(curve, &long), Err(Error::Size));
        assert_eq!(curve.reduce(&[0; MAX_EXTRA + 1]), Err(Error::Size));
    }
    let [one, other] = Curve::ALL.map(EccPoint::generator);
    assert_eq!(one.add(&other), Err(Error::Point));
    assert_eq!(known_key(Curve::P256).ecdh(&other), Err(Error::Point));
}

#[test]
fn a_signature_with_parts_out_of_range_is_refused() {
    for curve in Curve::ALL {
        let public = known_key(curve).public_key().unwrap();
        let digest = HashAlgorithm::Sha256.hash(b"message");
        let n = curve.parameters().n;
        let long = [1; MAX_FIELD + 1];
        for (r, s) in [(&[0][..], &[1][..]), (&[1], &[0]), (n, &[1]), (&[1], n), (&long, &[1])] {
            assert_eq!(ecdsa_verify(&public, &digest, r, s), Err(Error::Signature));
            let schnorr = ecschnorr_verify(&public, HashAlgorithm::Sha256, &digest, r, s);
            assert_eq!(schnorr, Err(Error::Signature));
        }
    }
}

#[test]
fn ecdaa_answers_to_its_commitment() {
    for curve in Curve::ALL {
        let (key, mut random) = (known_key(curve), random());
        let commit = EccPrivateKey::generate(curve, &mut random).unwrap();
        let hash = HashAlgorithm::Sha256;
        let digest = hash.hash(b"message");
        let signature = ecdaa_sign(&key, commit.scalar(), hash, &digest, &mut random).unwrap();
        // s·G = commit·G + T·Q.
        let t = curve.reduce(&hash.hash_parts(&[&signature.r, &digest])).unwrap();
        let left = EccPoint::generator(curve).multiply(&signature.s).unwrap();
        let challenged = key.public_key().unwrap().multiply(&t).unwrap();
        assert_eq!(left, commit.public_key().unwrap().add(&challenged).unwrap());
        let refused = ecdaa_sign(&key, &[0], hash, &digest, &mut random);
        assert_eq!(refused, Err(Error::Value));
    }
}

#[test]
fn no_key_is_shown() {
    let key = known_key(Curve::P256);
    assert_eq!(format!("{key:?}"), "EccPrivateKey(P256)");
    assert_eq!(format!("{:?}", key.public_key().unwrap()), "EccPoint(P256)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        seed in any::<[u8; 8]>(),
        message in any::<[u8; 8]>(),
        which in 0_usize..8,
        bit in 0_usize..256,
    ) {
        let (curve, hash) = (Curve::ALL[which % 2], HashAlgorithm::ALL[which / 2]);
        let mut random = Drbg::new(&seed, b"", b"");
        let key = EccPrivateKey::generate(curve, &mut random).unwrap();
        let public = key.public_key().unwrap();
        let digest = hash.hash(&message);
        let mut changed = digest.as_bytes().to_vec();
        changed[bit / 8 % digest.len().min(curve.field_size())] ^= 1 << (bit % 8);

        let made = ecdsa_sign(&key, &digest, &mut random).unwrap();
        prop_assert!(ecdsa_verify(&public, &digest, &made.r, &made.s).is_ok());
        prop_assert!(ecdsa_verify(&public, &changed, &made.r, &made.s).is_err());
        prop_assert!(ecdsa_verify(&public, &digest, &made.s, &made.r).is_err());

        let made = ecschnorr_sign(&key, hash, &digest, &mut random).unwrap();
        prop_assert!(ecschnorr_verify(&public, hash, &digest, &made.r, &made.s).is_ok());
        prop_assert!(ecschnorr_verify(&public, hash, &changed, &made.r, &made.s).is_err());
    }

    #[test]
    fn both_sides_share_one_point(seed in any::<[u8; 8]>(), which in 0_usize..2) {
        let curve = Curve::ALL[which];
        let mut random = Drbg::new(&seed, b"", b"");
        let one = EccPrivateKey::generate(curve, &mut random).unwrap();
        let other = EccPrivateKey::generate(curve, &mut random).unwrap();
        let (mine, theirs) = (one.public_key().unwrap(), other.public_key().unwrap());
        prop_assert_eq!(one.ecdh(&theirs).unwrap(), other.ecdh(&mine).unwrap());
        let sum = mine.add(&mine).unwrap();
        prop_assert_eq!(sum, mine.multiply(&[2]).unwrap());
    }
}
