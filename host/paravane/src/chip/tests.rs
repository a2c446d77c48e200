//! Tests of the emulated chip and of the file in which it is kept.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use der::asn1::{Ia5String, Uint};
use der::{Decode, Encode};
use rsa::pkcs8::DecodePublicKey;
use rsa::pss::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use sha2::Sha384;
use tempfile::tempdir;
use tpm_crypto::drbg::Drbg;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::*;

/// A chip with keys of the real size, which take seconds.
static MADE: LazyLock<Certified> = LazyLock::new(|| Certified::make().unwrap());

/// A chip with shorter keys.
fn small(seed: u8) -> Certified {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let mut random = Drbg::new(&[seed; 48], &[], &[]);
    let (chip, chain) = chain::make_from(&mut random, 1024, now).unwrap();
    Certified { chip, chain }
}

fn parse(bytes: &[u8]) -> Certificate {
    Certificate::from_der(bytes).unwrap()
}

fn chain() -> [Certificate; 3] {
    let Chain { ark, ask, vcek } = &MADE.chain;
    [ark, ask, vcek].map(|bytes| parse(bytes))
}

fn key_info(certificate: &Certificate) -> Vec<u8> {
    certificate.tbs_certificate().subject_public_key_info().to_der().unwrap()
}

/// The value of an extension, by its number below AMD's arc or its whole number.
fn extension<'a>(certificate: &'a Certificate, number: &str) -> &'a [u8] {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let found = extensions.iter().find(|extension| {
        let id = extension.extn_id.to_string();
        id == number || id == format!("1.3.6.1.4.1.3704.1.{number}")
    });
    found.unwrap_or_else(|| panic!("no {number}")).extn_value.as_bytes()
}

#[test]
fn each_key_certifies_the_next_by_pss_with_sha_384_and_a_salt_of_48_bytes() {
    let [ark, ask, vcek] = chain();
    // RFC 4055, 3.1: hash, mask generation, salt length; the trailer is the default.
    let hash = "300d06096086480165030402020500";
    let mask = format!("301a06092a864886f70d010108{hash}");
    let parameters = format!("a00f{hash}a11c{mask}a203020130");
    for (issuer, subject) in [(&ark, &ark), (&ark, &ask), (&ask, &vcek)] {
        let algorithm = subject.signature_algorithm();
        assert_eq!(algorithm.oid.to_string(), "1.2.840.113549.1.1.10", "RSASSA-PSS");
        let value: Vec<u8> = algorithm.parameters.as_ref().unwrap().value().to_vec();
        let text: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, parameters);
        assert_eq!(subject.tbs_certificate().signature(), algorithm);
        let key = rsa::PublicKey::from_public_key_der(&key_info(issuer)).unwrap();
        assert_eq!((key.size(), key.e().to_be_bytes().last_chunk()), (512, Some(&[0, 1, 0, 1])));
        let signature = Signature::try_from(subject.signature().raw_bytes()).unwrap();
        let signed = subject.tbs_certificate().to_der().unwrap();
        VerifyingKey::<Sha384>::new(key).verify(&signed, &signature).unwrap();
        assert_eq!(subject.tbs_certificate().issuer(), issuer.tbs_certificate().subject());
    }
}

#[test]
fn names_have_amds_form_and_say_that_they_are_a_test() {
    for (certificate, name) in chain().iter().zip(["ARK-Milan", "SEV-Milan", "SEV-VCEK"]) {
        let subject = certificate.tbs_certificate().subject().to_string();
        assert_eq!(
            subject,
            format!("CN={name},O=Paravane,ST=XX,L=Drydock,C=XX,OU=Test chain that proves nothing")
        );
        let attributes = certificate.tbs_certificate().subject().iter();
        let kinds: Vec<String> = attributes.map(|attribute| attribute.oid.to_string()).collect();
        assert_eq!(kinds, ["2.5.4.11", "2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.10", "2.5.4.3"]);
        let validity = certificate.tbs_certificate().validity();
        let days = validity.not_after.to_unix_duration() - validity.not_before.to_unix_duration();
        assert_eq!(days.as_secs() / 86400, 25 * 365 + 1);
    }
}

#[test]
fn ark_and_ask_may_certify_and_the_chip_may_not() {
    let [ark, ask, vcek] = chain();
    for (certificate, length) in [(&ark, None), (&ask, Some(0))] {
        let constraints = BasicConstraints::from_der(extension(certificate, "2.5.29.19")).unwrap();
        assert_eq!((constraints.ca, constraints.path_len_constraint), (true, length));
        let usage = KeyUsage::from_der(extension(certificate, "2.5.29.15")).unwrap();
        assert!(usage.key_cert_sign());
    }
    // A key identifier behind its tag and length; the authority's has a tag within a sequence.
    assert_eq!(extension(&ask, "2.5.29.35")[4..], extension(&ark, "2.5.29.14")[2..]);
    let ids: Vec<_> = vcek.tbs_certificate().extensions().unwrap().iter().collect();
    assert_eq!(ids.len(), 11, "AMD's own only: some verifiers know no others");
    assert!(ids.iter().all(|one| one.extn_id.to_string().starts_with("1.3.6.1.4.1.3704.1.")));
}

#[test]
fn the_chips_certificate_names_the_chip_and_its_tcb() {
    let [_, _, vcek] = chain();
    let number = |place: &str| Uint::from_der(extension(&vcek, place)).unwrap().as_bytes().to_vec();
    assert_eq!(number("1"), [0]);
    assert_eq!(Ia5String::from_der(extension(&vcek, "2")).unwrap().as_str(), "Milan-B1");
    let places = ["3.1", "3.2", "3.4", "3.5", "3.6", "3.7", "3.3", "3.8"];
    let tcb: Vec<u8> = places.into_iter().flat_map(number).collect();
    assert_eq!(tcb, MADE.chip.tcb);
    assert_eq!(tcb, [4, 0, 0, 0, 0, 0, 24, 219]);
    assert_eq!(extension(&vcek, "4"), MADE.chip.id);
    let key = p384::ecdsa::SigningKey::from_slice(&MADE.chip.signing_key).unwrap();
    let info = vcek.tbs_certificate().subject_public_key_info();
    assert_eq!(info.subject_public_key.raw_bytes(), key.verifying_key().to_sec1_bytes().as_ref());
    let parameters = info.algorithm.parameters.as_ref().unwrap();
    assert_eq!(parameters.to_der().unwrap(), [6, 5, 0x2b, 0x81, 4, 0, 0x22], "secp384r1");
}

#[test]
fn two_chips_have_nothing_secret_in_common() {
    let (one, other) = (small(1), small(2));
    assert!(one.chip.secret != other.chip.secret && one.chip.id != other.chip.id);
    assert!(one.chip.signing_key != other.chip.signing_key && one.chip.tcb == other.chip.tcb);
    assert!(one.chain.ark != other.chain.ark && one.chip.secret != [0; 32]);
    // A verifier that looks for a tag of DER in front of the number finds none.
    let ids = (1..=8).map(|seed| small(seed).chip.id);
    assert!(ids.into_iter().all(|id| id[0] >= 0x80));
}

#[test]
fn the_table_leads_to_each_certificate() {
    let made = small(1);
    let table = made.table().unwrap();
    let Chain { ark, ask, vcek } = &made.chain;
    let number = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
    let mut end = 4 * 24;
    for (index, (first, certificate)) in
        [(0x63, vcek), (0x4a, ask), (0xc0, ark)].into_iter().enumerate()
    {
        let entry = 24 * index;
        let (offset, length) = (number(entry + 16), number(entry + 20));
        assert_eq!((table[entry], offset), (first, end));
        assert_eq!(&table[offset..offset + length], certificate);
        end += length;
    }
    assert!(table[72..96] == [0; 24] && table.len() == end);
}

/// Makes a chip in a folder; the number of chips that were made.
fn kept(folder: &Path, seed: u8) -> (Result<Certified>, u32) {
    let made = AtomicU32::new(0);
    let kept = Certified::kept(folder, || {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(small(seed))
    });
    (kept, made.into_inner())
}

#[test]
fn a_chip_is_made_once_and_only_for_its_owner() {
    let above = tempdir().unwrap();
    let folder = above.path().join("some/where");
    let (first, made) = kept(&folder, 1);
    assert_eq!((first.unwrap(), made), (small(1), 1));
    let (second, made) = kept(&folder, 2);
    assert_eq!((second.unwrap(), made), (small(1), 0));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(NAME))), (0o700, 0o600));
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!(names, 2, "the file and its lock");
}

#[test]
fn two_runs_at_once_get_the_same_chip() {
    let folder = tempdir().unwrap();
    let damaged = tempdir().unwrap();
    fs::write(damaged.path().join(NAME), "x").unwrap();
    for folder in [folder.path(), damaged.path()] {
        let results: Vec<_> = thread::scope(|scope| {
            let runs: Vec<_> =
                (1..=4).map(|seed| scope.spawn(move || kept(folder, seed))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert_eq!(results.iter().map(|(_, made)| made).sum::<u32>(), 1);
        let chips: Vec<_> = results.into_iter().map(|(chip, _)| chip.unwrap()).collect();
        assert!(chips.iter().all(|chip| *chip == chips[0]));
    }
}

#[test]
fn a_damaged_file_is_replaced_whatever_is_wrong_with_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join(NAME);
    let text = file::encode(&small(1).chip, &small(1).chain).unwrap();
    let other = file::encode(&small(2).chip, &small(2).chain).unwrap();
    let half = text.find("-----BEGIN CERT").unwrap();
    let behind = other.find("-----BEGIN CERT").unwrap();
    let mut flipped = text.clone().into_bytes();
    flipped[60] = if flipped[60] == b'A' { b'B' } else { b'A' };
    let swapped = text.replacen("PARAVANE DRYDOCK CHIP", "CERTIFICATE", 2);
    for damaged in [
        b"".to_vec(),
        b"\0\xff\xfe".repeat(100_000),
        flipped,
        text[..half].into(),
        text[..text.len() - 30].into(),
        (text.clone() + "x").into(),
        (text[..half].to_owned() + &other[behind..]).into(),
        swapped.into(),
    ] {
        fs::write(&path, &damaged).unwrap();
        let (chip, made) = kept(folder.path(), 3);
        assert_eq!((chip.unwrap(), made), (small(3), 1), "{}", String::from_utf8_lossy(&damaged));
        assert_eq!(kept(folder.path(), 4).1, 0, "the new one stays");
    }
    fs::write(&path, text).unwrap();
    assert_eq!(kept(folder.path(), 3).0.unwrap(), small(1));
}

#[test]
fn what_is_no_file_of_ours_is_named_and_left_as_it_is() {
    let folder = tempdir().unwrap();
    let path = folder.path().join(NAME);
    let line = |folder: &Path| {
        let (chip, made) = kept(folder, 1);
        assert_eq!(made, 0);
        let line = format!("{:#}", chip.unwrap_err());
        assert!(!line.contains('\n'), "{line}");
        line
    };
    fs::create_dir(&path).unwrap();
    assert!(line(folder.path()).ends_with("drydock-chip.pem is no file"));
    fs::remove_dir(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    assert!(line(folder.path()).contains("drydock-chip.pem is a symbolic link"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(folder.path().join(LOCK)).unwrap();
    assert!(line(folder.path()).contains("drydock-chip.lock"));
    // A file in place of the folder.
    fs::write(&path, "x").unwrap();
    assert!(line(&path).contains("drydock-chip.pem"));
}

#[test]
fn a_chip_in_a_folder_that_can_not_be_written_is_read() {
    let folder = tempdir().unwrap();
    kept(folder.path(), 1).0.unwrap();
    fs::remove_file(folder.path().join(LOCK)).unwrap();
    // Even a user who may write everywhere can not make the lock then.
    fs::create_dir(folder.path().join(LOCK)).unwrap();
    assert_eq!(kept(folder.path(), 2).0.unwrap(), small(1));
}

#[test]
fn certificates_are_written_as_verifiers_look_for_them() {
    let above = tempdir().unwrap();
    let folder = above.path().join("certs");
    let made = small(1);
    for _ in 0..2 {
        made.write_certificates(&folder).unwrap();
    }
    let Chain { ark, ask, vcek } = &made.chain;
    for (name, expected) in [("ark.pem", ark), ("ask.pem", ask), ("vcek.pem", vcek)] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with('\n'));
        assert_eq!(pem::decode_vec(text.as_bytes()).unwrap(), ("CERTIFICATE", expected.clone()));
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    let error = made.write_certificates(&folder.join("ark.pem")).unwrap_err();
    assert!(format!("{error:#}").contains("ark.pem"));
}
