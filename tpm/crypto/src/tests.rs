//! Tests of the primitives: known answers, round trips.

mod known_answers;
mod models;
pub(crate) mod vectors;

use std::format;
use std::vec::Vec;

use proptest::prelude::*;

use crate::cipher::{AesKey, BLOCK, Direction, Mode, cfb};
use crate::drbg::{Drbg, MAX_REQUEST, RESEED_INTERVAL, SavedDrbg};
use crate::hash::{Digest, HashAlgorithm, Hasher, SavedHasher};
use crate::hmac::{Hmac, hmac};
use crate::kdf::{kdfa, kdfe};
use crate::{Error, SecretBytes};
use vectors::{name, number, vector};

#[test]
fn hashes_have_the_known_digests_and_sizes() {
    let data: Vec<u8> = (0..200).collect();
    for hash in HashAlgorithm::ALL {
        let digest = hash.hash(&data);
        assert_eq!(digest.as_bytes(), number("hash", name(hash)), "{hash:?}");
        assert_eq!(digest.len(), hash.digest_size());
        assert_eq!(HashAlgorithm::from_id(hash.id()), Some(hash));
        assert_eq!(Digest::zero(hash).len(), hash.digest_size());
    }
    assert_eq!(HashAlgorithm::from_id(0x0012), None, "SM3 is not built");
}

#[test]
fn hmacs_are_known_for_short_and_for_long_keys() {
    for hash in HashAlgorithm::ALL {
        let known = vector("hmac", name(hash));
        assert_eq!(hmac(hash, &[b'k'; 200], &[b"da", b"ta"]).as_bytes(), known[0]);
        let rfc4231 = hmac(hash, b"Jefe", &[b"what do ya want for nothing?"]);
        assert_eq!(rfc4231.as_bytes(), known[1]);
    }
}

#[test]
fn key_derivation_is_known_over_many_blocks() {
    let z: Vec<u8> = (0..32).collect();
    for hash in HashAlgorithm::ALL {
        let mut out = [0; 100];
        kdfa(hash, b"key", b"LABEL", b"context u", b"v", &mut out);
        assert_eq!(out.to_vec(), number("kdfa", name(hash)));
        kdfe(hash, &z, b"DUPLICATE", b"party u", b"party v", &mut out);
        assert_eq!(out.to_vec(), number("kdfe", name(hash)));
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Ctr => "CTR",
        Mode::Ofb => "OFB",
        Mode::Cbc => "CBC",
        Mode::Cfb => "CFB",
        Mode::Ecb => "ECB",
    }
}

const MODES: [Mode; 5] = [Mode::Ctr, Mode::Ofb, Mode::Cbc, Mode::Cfb, Mode::Ecb];

fn start_vector() -> [u8; BLOCK] {
    core::array::from_fn(|index| index as u8 + 100)
}

#[test]
fn every_mode_gives_the_known_cipher_text_and_back() {
    for size in [16, 24, 32] {
        let key: Vec<u8> = (0..size).collect();
        let key = AesKey::new(&key).unwrap();
        for mode in MODES {
            assert_eq!(Mode::from_id(mode.id()), Some(mode));
            let plain: Vec<u8> = (0..if mode.whole_blocks() { 32 } else { 37 }).collect();
            let mut data = plain.clone();
            let mut vector = start_vector();
            key.apply(mode, Direction::Encrypt, &mut vector, &mut data).unwrap();
            assert_eq!(data, number(mode_name(mode), &format!("{size}")), "{mode:?} {size}");
            let mut back = start_vector();
            key.apply(mode, Direction::Decrypt, &mut back, &mut data).unwrap();
            assert_eq!(data, plain, "{mode:?} {size}");
            assert_eq!(back, vector, "both ways leave one vector");
        }
    }
}

#[test]
fn the_vector_leaves_as_the_specification_says() {
    let key = AesKey::new(&[7; 16]).unwrap();
    let run = |mode, data: &mut [u8]| {
        let mut vector = [0xFF; BLOCK];
        key.apply(mode, Direction::Encrypt, &mut vector, data).unwrap();
        vector
    };
    let mut data = [1; 18];
    assert_eq!(run(Mode::Ctr, &mut data)[15], 1, "the counter wraps over all its bytes");
    let mut data = [1; 18];
    let vector = run(Mode::Cfb, &mut data);
    assert_eq!((&vector[..2], &vector[2..]), (&data[16..], &[0; 14][..]));
    let mut data = [1; 32];
    assert_eq!(run(Mode::Cbc, &mut data), data[16..]);
    assert_eq!(run(Mode::Ecb, &mut data), [0xFF; BLOCK]);
    let mut zeros = [0; 16];
    assert_eq!(run(Mode::Ofb, &mut zeros), zeros, "the key stream itself");
}

#[test]
fn a_wrong_length_is_refused_and_changes_nothing() {
    assert_eq!(AesKey::new(&[0; 17]).unwrap_err(), Error::Size);
    assert_eq!(cfb(Direction::Encrypt, &[0; 31], &[0; BLOCK], &mut []), Err(Error::Size));
    let key = AesKey::new(&[0; 32]).unwrap();
    for mode in [Mode::Cbc, Mode::Ecb] {
        let (mut vector, mut data) = ([5; BLOCK], [6; 17]);
        let refused = key.apply(mode, Direction::Encrypt, &mut vector, &mut data);
        assert_eq!((refused, vector, data), (Err(Error::Size), [5; BLOCK], [6; 17]));
    }
    assert_eq!(Digest::new(&[0; 65]).unwrap_err(), Error::Size);
    assert_eq!(SecretBytes::<4>::new(&[0; 5]).unwrap_err(), Error::Size);
}

fn cavp(subject: &str) -> Vec<u8> {
    number("drbg", subject)
}

#[test]
fn the_generator_gives_the_bits_of_cavp() {
    let mut drbg = Drbg::new(&cavp("entropy"), &cavp("nonce"), &cavp("personalization"));
    drbg.reseed(&cavp("reseed"), &[]);
    let mut out = [0; 128];
    drbg.generate(&[], &mut out).unwrap();
    drbg.generate(&[], &mut out).unwrap();
    assert_eq!(out.to_vec(), cavp("bits"));
}

#[test]
fn the_generator_refuses_what_the_standard_forbids() {
    let mut drbg = Drbg::new(b"entropy", b"nonce", b"");
    let before = drbg.clone();
    let mut long = std::vec![0; MAX_REQUEST + 1];
    assert_eq!(drbg.generate(&[], &mut long), Err(Error::Size));
    assert_eq!(drbg, before);
    let mut saved = drbg.save();
    saved.reseed_counter = RESEED_INTERVAL + 1;
    let mut old = Drbg::restore(&saved).unwrap();
    assert_eq!(old.generate(&[], &mut [0; 4]), Err(Error::Exhausted));
    let mut bytes = [0; 4];
    old.fill(&mut bytes);
    assert_ne!(bytes, [0; 4], "filling moves on by itself");
    for spoil in [
        |saved: &mut SavedDrbg| saved.version += 1,
        |saved: &mut SavedDrbg| saved.reseed_counter = 0,
        |saved: &mut SavedDrbg| saved.reseed_counter = RESEED_INTERVAL + 2,
    ] {
        let mut saved = drbg.save();
        spoil(&mut saved);
        assert_eq!(Drbg::restore(&saved).unwrap_err(), Error::Saved);
    }
}

#[test]
fn additional_input_and_entropy_change_what_follows() {
    let first = |change: fn(&mut Drbg, &mut [u8; 16])| {
        let (mut drbg, mut out) = (Drbg::new(b"e", b"n", b"p"), [0; 16]);
        change(&mut drbg, &mut out);
        out
    };
    let outputs = [
        first(|drbg, out| drbg.fill(out)),
        first(|drbg, out| drbg.generate(b"more", out).unwrap()),
        first(|drbg, out| {
            drbg.reseed(b"fresh", b"");
            drbg.fill(out);
        }),
    ];
    assert!(outputs[0] != outputs[1] && outputs[1] != outputs[2] && outputs[0] != outputs[2]);
}

#[test]
fn nothing_secret_is_shown() {
    let digest = HashAlgorithm::Sha1.hash(b"");
    let drbg = Drbg::new(&[0xAB; 32], b"", b"");
    let shown = [
        format!("{digest:?}"),
        format!("{:?}", Hasher::new(HashAlgorithm::Sha256)),
        format!("{:?}", Hmac::new(HashAlgorithm::Sha1, b"key").save()),
        format!("{:?}", AesKey::new(&[9; 16]).unwrap()),
        format!("{:?} {:?}", drbg, drbg.save()),
        format!("{:?}", SecretBytes::<4>::new(&[171; 4]).unwrap()),
    ];
    for text in shown {
        assert!(!text.contains('[') || text.contains("SavedHasher"), "{text}");
        assert!(!text.contains("171") && !text.contains("da39"), "{text}");
    }
}

proptest! {
    #[test]
    fn a_hash_goes_on_from_a_saved_state(
        data in proptest::collection::vec(any::<u8>(), 0..400),
        cut in 0_usize..400,
        which in 0_usize..4,
    ) {
        let hash = HashAlgorithm::ALL[which];
        let (head, tail) = data.split_at(cut.min(data.len()));
        let mut hasher = Hasher::new(hash);
        hasher.update(head);
        let saved = hasher.save();
        let copied = SavedHasher::new(saved.algorithm(), saved.as_bytes()).unwrap();
        let mut resumed = Hasher::restore(&copied).unwrap();
        resumed.update(tail);
        prop_assert_eq!(resumed.finish(), hash.hash(&data));

        let mut keyed = Hmac::new(hash, b"key");
        keyed.update(head);
        let mut resumed = Hmac::restore(&keyed.save()).unwrap();
        resumed.update(tail);
        prop_assert_eq!(resumed.finish(), hmac(hash, b"key", &[&data]));
    }

    #[test]
    fn no_bytes_as_a_mid_state_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..220),
        which in 0_usize..4,
    ) {
        if let Ok(saved) = SavedHasher::new(HashAlgorithm::ALL[which], &bytes)
            && let Ok(mut hasher) = Hasher::restore(&saved)
        {
            hasher.update(b"data");
            prop_assert_eq!(hasher.finish().len(), HashAlgorithm::ALL[which].digest_size());
        }
    }

    #[test]
    fn whole_blocks_may_come_in_parts(
        blocks in 1_usize..6,
        cut in 0_usize..6,
        which in 0_usize..5,
        decrypt in any::<bool>(),
    ) {
        let mode = MODES[which];
        let direction = if decrypt { Direction::Decrypt } else { Direction::Encrypt };
        let key = AesKey::new(&[3; 24]).unwrap();
        let mut whole: Vec<u8> = (0..blocks * BLOCK).map(|index| index as u8).collect();
        let mut parts = whole.clone();
        let (mut one, mut two) = (start_vector(), start_vector());
        key.apply(mode, direction, &mut one, &mut whole).unwrap();
        let (head, tail) = parts.split_at_mut(cut.min(blocks) * BLOCK);
        key.apply(mode, direction, &mut two, head).unwrap();
        key.apply(mode, direction, &mut two, tail).unwrap();
        prop_assert_eq!((whole, one), (parts, two));
    }

    #[test]
    fn a_generator_goes_on_from_a_saved_state(seed in any::<[u8; 32]>(), size in 0_usize..200) {
        let mut drbg = Drbg::new(&seed, b"", b"");
        drbg.fill(&mut [0; 7]);
        let mut restored = Drbg::restore(&drbg.save()).unwrap();
        let (mut one, mut two) = (std::vec![0; size], std::vec![0; size]);
        drbg.fill(&mut one);
        restored.fill(&mut two);
        prop_assert_eq!(one, two);
    }
}
