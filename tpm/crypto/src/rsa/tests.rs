//! Tests of RSA: fixed keys, paddings, searches in slices.

use std::format;

use proptest::prelude::*;

use super::*;
use crate::tests::vectors::{name, number};

fn random() -> Drbg {
    Drbg::new(b"a seed of the tests", b"", b"")
}

/// The key of the vectors.
fn known_key(size: RsaSize) -> RsaPrivateKey {
    let bits = format!("{}", size.bits());
    let public = RsaPublicKey::new(&number("n", &bits), DEFAULT_EXPONENT).unwrap();
    RsaPrivateKey::from_prime(&public, &number("p", &bits)).unwrap()
}

fn found(size: RsaSize, seed: &[u8], mut step: impl FnMut() -> u32) -> RsaPrivateKey {
    let mut search = RsaKeySearch::new(size, 0, seed).unwrap();
    while search.step(step()) == Progress::Searching {
        assert!(search.key().is_none());
    }
    search.key().unwrap()
}

/// The seeds and primes of this test never change: a TPM must always derive the same primary key.
#[test]
fn a_seed_gives_the_known_primes() {
    for (size, seed) in RsaSize::ALL.into_iter().zip(1..) {
        let key = found(size, &[seed; 32], || u32::MAX);
        let bits = format!("{}", size.bits());
        assert_eq!(key.public_key().modulus(), number("n", &bits));
        assert_eq!(key.prime(), number("p", &bits));
        assert_eq!(key.public_key().exponent(), DEFAULT_EXPONENT);
    }
}

#[test]
fn another_exponent_gives_a_key_that_works() {
    for exponent in [3, 17, 257, u32::MAX] {
        let mut search = RsaKeySearch::new(RsaSize::Bits1024, exponent, b"seed").unwrap();
        search.run();
        let key = search.key().unwrap();
        let sealed = key.public_key().raw(b"message").unwrap();
        let opened = key.raw(&sealed, &mut random()).unwrap();
        assert_eq!(opened.strip_prefix(&[0; 121][..]), Some(&b"message"[..]), "{exponent}");
    }
    for exponent in [1, 2, 65_536] {
        let refused = RsaKeySearch::new(RsaSize::Bits1024, exponent, b"seed");
        assert_eq!(refused.unwrap_err(), Error::Value);
    }
}

#[test]
fn a_search_stops_at_its_budget_and_its_steps_stay_short() {
    let mut search = RsaKeySearch::new(RsaSize::Bits1024, 0, b"seed").unwrap();
    let mut slices = 0;
    while search.step(1) == Progress::Searching {
        slices += 1;
    }
    assert!(slices > 5_000, "{slices} steps: one of them is long");
    let done = search.clone();
    assert_eq!(search.step(1_000), Progress::Done);
    assert_eq!(search, done, "nothing moves when it is done");
}

#[test]
fn a_saved_search_that_none_could_be_is_refused() {
    let search = RsaKeySearch::new(RsaSize::Bits2048, 0, b"seed").unwrap();
    for spoil in [
        |saved: &mut SavedSearch| saved.version = 0,
        |saved: &mut SavedSearch| saved.bits = 2047,
        |saved: &mut SavedSearch| saved.exponent = 4,
        |saved: &mut SavedSearch| saved.found = 3,
        |saved: &mut SavedSearch| saved.round = 6,
        |saved: &mut SavedSearch| saved.steps = 257,
        |saved: &mut SavedSearch| saved.base[26] = 1 << 58,
        |saved: &mut SavedSearch| saved.power[0] = u64::MAX,
        |saved: &mut SavedSearch| saved.place = u16::MAX,
        |saved: &mut SavedSearch| saved.random.version = 0,
    ] {
        let mut saved = search.save();
        spoil(&mut saved);
        assert_eq!(RsaKeySearch::restore(&saved).unwrap_err(), Error::Saved);
    }
}

#[test]
fn signatures_are_those_of_others() {
    let key = known_key(RsaSize::Bits2048);
    for hash in HashAlgorithm::ALL {
        let digest = hash.hash(b"message");
        let scheme = SignatureScheme::Rsassa(hash);
        let signature = key.sign(scheme, &digest, &mut random()).unwrap();
        assert_eq!(signature.as_bytes(), number("rsassa", name(hash)));
        key.public_key().verify(scheme, &digest, &signature).unwrap();
        let scheme = SignatureScheme::Rsapss(hash);
        key.public_key().verify(scheme, &digest, &number("pss", name(hash))).unwrap();
        let other = hash.hash(b"massage");
        let refused = key.public_key().verify(scheme, &other, &number("pss", name(hash)));
        assert_eq!(refused, Err(Error::Signature));
    }
    let longest = number("pssmax", "sha256");
    let digest = HashAlgorithm::Sha256.hash(b"message");
    let scheme = SignatureScheme::Rsapss(HashAlgorithm::Sha256);
    key.public_key().verify(scheme, &digest, &longest).unwrap();
}

#[test]
fn cipher_texts_of_others_are_decrypted() {
    let key = known_key(RsaSize::Bits2048);
    for hash in HashAlgorithm::ALL {
        let sealed = number("oaep", name(hash));
        let scheme = EncryptionScheme::Oaep { hash, label: b"DUPLICATE\0" };
        assert_eq!(&*key.decrypt(scheme, &sealed, &mut random()).unwrap(), b"secret");
        let scheme = EncryptionScheme::Oaep { hash, label: b"" };
        let refused = key.decrypt(scheme, &sealed, &mut random());
        assert_eq!(refused, Err(Error::Value));
    }
    let opened = key.decrypt(EncryptionScheme::Rsaes, &number("rsaes", "x"), &mut random());
    assert_eq!(&*opened.unwrap(), b"secret");
}

#[test]
fn paddings_take_what_fits_and_no_more() {
    let key = known_key(RsaSize::Bits1024);
    let hash = HashAlgorithm::Sha256;
    let oaep = EncryptionScheme::Oaep { hash, label: b"label\0" };
    for (scheme, most) in [(EncryptionScheme::Rsaes, 117), (oaep, 62)] {
        for size in [0, 1, most] {
            let message = std::vec![7; size];
            let sealed = key.public_key().encrypt(scheme, &message, &mut random()).unwrap();
            let opened = key.decrypt(scheme, &sealed, &mut random()).unwrap();
            assert_eq!(opened.as_bytes(), message);
        }
        let long = std::vec![7; most + 1];
        let refused = key.public_key().encrypt(scheme, &long, &mut random());
        assert_eq!(refused, Err(Error::Size));
    }
    let small = EncryptionScheme::Oaep { hash: HashAlgorithm::Sha512, label: b"" };
    let refused = key.public_key().encrypt(small, b"", &mut random());
    assert_eq!(refused, Err(Error::Size), "two digests of 64 bytes fill 1024 bits");
}

#[test]
fn a_salt_is_as_long_as_there_is_room() {
    let key = known_key(RsaSize::Bits1024);
    let hash = HashAlgorithm::Sha512;
    let digest = hash.hash(b"message");
    let scheme = SignatureScheme::Rsapss(hash);
    let signature = key.sign(scheme, &digest, &mut random()).unwrap();
    key.public_key().verify(scheme, &digest, &signature).unwrap();
}

#[test]
fn a_padding_that_is_wrong_is_refused_in_one_way() {
    let key = known_key(RsaSize::Bits1024);
    let mut good = [9; 128];
    good[..2].copy_from_slice(&[0, 2]);
    good[50] = 0;
    let opened = |padded: &[u8; 128]| {
        let sealed = key.public_key().raw(padded).unwrap();
        key.decrypt(EncryptionScheme::Rsaes, &sealed, &mut random())
    };
    assert_eq!(opened(&good).unwrap().as_bytes(), &[9; 77]);
    for (place, byte) in [(0, 1), (1, 1), (5, 0), (50, 9)] {
        let mut bad = good;
        bad[place] = byte;
        assert_eq!(opened(&bad), Err(Error::Value), "byte {place}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let key = known_key(RsaSize::Bits1024);
    let public = key.public_key();
    assert_eq!(public.raw(public.modulus()), Err(Error::Value));
    assert_eq!(key.raw(public.modulus(), &mut random()), Err(Error::Value));
    let mut long = std::vec![0; 3];
    long.extend([0x12; 128]);
    assert_eq!(public.raw(&long), public.raw(&long[3..]), "zeros before it do not count");
    long[0] = 1;
    assert_eq!(public.raw(&long), Err(Error::Value));
    let refused = key.decrypt(EncryptionScheme::Null, &[1; 127], &mut random());
    assert_eq!(refused, Err(Error::Size));
    let short = key.sign(SignatureScheme::Rsassa(HashAlgorithm::Sha256), &[1; 31], &mut random());
    assert_eq!(short, Err(Error::Size));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (one, other) = (known_key(RsaSize::Bits2048), known_key(RsaSize::Bits1024));
    let public = one.public_key();
    let mut prime = one.prime().to_vec();
    prime[100] ^= 1;
    let refused = |prime: &[u8]| RsaPrivateKey::from_prime(public, prime).unwrap_err();
    assert_eq!(refused(&prime), Error::Binding);
    assert_eq!(refused(other.prime()), Error::Size);
    for number in [0, 1] {
        let mut prime = [0; 128];
        prime[127] = number;
        assert_eq!(refused(&prime), Error::Binding);
    }
    let mut even = public.modulus().to_vec();
    even[255] ^= 1;
    assert_eq!(RsaPublicKey::new(&even, 3).unwrap_err(), Error::Value);
    assert_eq!(RsaPublicKey::new(&even[1..], 3).unwrap_err(), Error::Size);
    assert_eq!(RsaPublicKey::new(public.modulus(), 4).unwrap_err(), Error::Value);
    even[0] = 0;
    assert_eq!(RsaPublicKey::new(&even, 3).unwrap_err(), Error::Value);
}

#[test]
fn no_key_is_shown() {
    let key = known_key(RsaSize::Bits1024);
    assert_eq!(format!("{key:?}"), "RsaPrivateKey(1024 bits)");
    let search = RsaKeySearch::new(RsaSize::Bits1024, 0, b"seed").unwrap();
    assert_eq!(format!("{search:?}"), "RsaKeySearch(1024 bits, 0 primes found)");
    assert_eq!(format!("{:?}", search.save()), "SavedSearch(1024 bits, 0 primes found)");
}

#[test]
fn small_primes_are_all_there_and_mark_their_multiples() {
    let groups: std::vec::Vec<_> = (0..).map_while(sieve::group).collect();
    assert_eq!(groups.len(), sieve::GROUPS);
    assert_eq!((groups[0], groups[1]), ([3, 5, 7, 11], [13, 17, 19, 23]));
    let primes = groups.iter().flatten();
    let is_prime = |odd: &u16| (3..256).step_by(2).all(|d| odd == &d || !odd.is_multiple_of(d));
    assert!(
        primes.eq((3..=65_519).step_by(2).filter(is_prime).collect::<std::vec::Vec<_>>().iter())
    );
    let start = [0xDEAD_BEEF_1234_5671_u64, 0x1234_5678_9ABC_DEF0, 0x17];
    let low = u128::from(start[1]) << 64 | u128::from(start[0]);
    for group in [groups[0], groups[1], groups[77], groups[sieve::GROUPS - 1]] {
        let mut composite = [0; sieve::WINDOW_WORDS];
        sieve::mark(&mut composite, &start, group);
        for index in 0..sieve::WINDOW {
            let divides = group.into_iter().any(|prime| {
                let p = u128::from(prime);
                let shift = (u128::MAX % p + 1) % p;
                (u128::from(start[2]) * shift + (low + 2 * index as u128) % p).is_multiple_of(p)
            });
            let marked = composite[index / 64] >> (index % 64) & 1 == 1;
            assert_eq!(marked, divides, "{group:?} at {index}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_slices_and_saves_give_one_key(
        seed in any::<[u8; 16]>(),
        slices in proptest::collection::vec(prop_oneof![1_u32..50, 1_u32..9_000], 1..20),
    ) {
        let whole = found(RsaSize::Bits1024, &seed, || u32::MAX);
        let mut sizes = slices.iter().cycle();
        let mut search = RsaKeySearch::new(RsaSize::Bits1024, 0, &seed).unwrap();
        while search.step(*sizes.next().unwrap()) == Progress::Searching {
            let bytes = postcard::to_allocvec(&search.save()).unwrap();
            let saved: SavedSearch = postcard::from_bytes(&bytes).unwrap();
            search = RsaKeySearch::restore(&saved).unwrap();
        }
        let sliced = search.key().unwrap();
        prop_assert_eq!(whole.public_key(), sliced.public_key());
        prop_assert_eq!(whole.prime(), sliced.prime());
    }

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        message in any::<[u8; 8]>(),
        which in 0_usize..3,
        place in 1_usize..128,
    ) {
        let key = known_key(RsaSize::ALL[which]);
        let hash = HashAlgorithm::Sha256;
        let digest = hash.hash(&message);
        for scheme in [SignatureScheme::Rsassa(hash), SignatureScheme::Rsapss(hash)] {
            let mut signature = key.sign(scheme, &digest, &mut random()).unwrap();
            let public = key.public_key();
            prop_assert!(public.verify(scheme, &digest, &signature).is_ok());
            prop_assert!(public.verify(scheme, &digest[1..], &signature).is_err());
            prop_assert!(public.verify(scheme, &digest, &signature[1..]).is_err());
            signature.as_mut_bytes()[place] ^= 4;
            prop_assert!(public.verify(scheme, &digest, &signature).is_err());
        }
    }

    #[test]
    fn what_is_encrypted_comes_back(
        message in proptest::collection::vec(any::<u8>(), 0..60),
        which in 0_usize..3,
    ) {
        let key = known_key(RsaSize::ALL[which]);
        for scheme in [
            EncryptionScheme::Rsaes,
            EncryptionScheme::Oaep { hash: HashAlgorithm::Sha1, label: b"x\0" },
        ] {
            let sealed = key.public_key().encrypt(scheme, &message, &mut random()).unwrap();
            let opened = key.decrypt(scheme, &sealed, &mut random()).unwrap();
            prop_assert_eq!(opened.as_bytes(), &message[..]);
            let again = key.decrypt(scheme, &key.public_key().raw(&message).unwrap(), &mut random());
            prop_assert!(again.is_err());
        }
    }
}
