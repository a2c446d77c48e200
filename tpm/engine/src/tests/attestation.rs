//! Attestation (Part 3, section 18): each structure is read back field by field.

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

const INDEX: u32 = 0x0150_0000;
/// PCRs 0, 1 and 16 of SHA-256.
const SELECTION: [u8; 10] = [0, 0, 0, 1, 0, 0x0b, 3, 3, 0, 1];

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

/// TPMS_ATTEST (Part 2, section 10.12.12); the kind determines the content of `attested`.
#[derive(Debug, PartialEq)]
struct Attest {
    kind: u16,
    signer: Vec<u8>,
    extra: Vec<u8>,
    clock: u64,
    resets: u32,
    restarts: u32,
    safe: u8,
    firmware: u64,
    attested: Vec<u8>,
}

impl Attest {
    fn read(bytes: &[u8]) -> Self {
        let mut r = Fields(bytes);
        assert_eq!(r.u32(), 0xff54_4347, "TPM_GENERATED_VALUE");
        Self {
            kind: r.u16(),
            signer: r.sized(),
            extra: r.sized(),
            clock: r.u64(),
            resets: r.u32(),
            restarts: r.u32(),
            safe: r.u8(),
            firmware: r.u64(),
            attested: r.0.into(),
        }
    }

    /// The structure of a response, whose signature verifies under `key`.
    fn of(client: &mut Client, key: u32, answer: &Answer) -> Self {
        let mut r = answer.fields();
        let attest = r.sized();
        if key == NULL {
            assert_eq!(r.0, [0, 0x10], "no key, no signature");
        } else {
            let digest = sha256(&[&attest]);
            client.run(cc::VERIFY_SIGNATURE, &[key], b().sized(&digest).raw(r.0)).ok();
        }
        Self::read(&attest)
    }
}

fn both() -> Vec<Auth<'static>> {
    vec![Auth::Password(b""), Auth::Password(b"")]
}

/// Qualifying data, then the scheme of the key.
fn qualified() -> Bytes {
    b().sized(b"nonce").u16(0x10)
}

fn qualified_name(client: &mut Client, handle: u32) -> Vec<u8> {
    client.run(cc::READ_PUBLIC, &[handle], b()).ok().field(2)
}

fn sealed_object(client: &mut Client) -> u32 {
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"", b"data");
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(parent)).ok();
    object
}

#[test]
fn certify_names_the_object_in_every_signature_scheme() {
    let mut client = Client::new();
    let object = sealed_object(&mut client);
    let attributes = FIXED | ORIGIN | USER | RESTRICTED | SIGN;
    let schemes = [0x14, 0x16].map(|scheme| b().u16(scheme).u16(0x0b));
    let mut templates = vec![ecc_attestation_key()];
    templates.extend(schemes.iter().map(|scheme| rsa_key(attributes, scheme)));
    for template in templates {
        let key = client.primary(ENDORSEMENT, &template).handle;
        let answer = client.auth(cc::CERTIFY, &[object, key], both(), qualified()).ok();
        let attest = Attest::of(&mut client, key, &answer);
        let names = b().sized(&client.name(object)).sized(&qualified_name(&mut client, object));
        assert_eq!((attest.kind, &attest.extra[..]), (0x8017, &b"nonce"[..]));
        assert_eq!(attest.signer, qualified_name(&mut client, key));
        assert_eq!(attest.attested, names.0);
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(key)).ok();
    }
    let answer = client.auth(cc::CERTIFY, &[object, NULL], both(), qualified()).ok();
    assert_eq!(Attest::of(&mut client, NULL, &answer).signer, NULL.to_be_bytes());
}

#[test]
fn certify_refuses_by_the_part_that_is_wrong() {
    let mut client = Client::new();
    let object = sealed_object(&mut client);
    let key = client.primary(OWNER, &ecc_attestation_key()).handle;
    let storage = client.primary(OWNER, &ecc_srk()).handle;
    let rsassa = b().sized(b"nonce").u16(0x14).u16(0x0b);
    let other_hash = b().sized(b"nonce").u16(0x18).u16(0x0c);
    for (handles, parameters, code) in [
        ([object, storage], qualified(), rc::handle(2, rc::KEY)),
        ([object, key], rsassa, rc::param(2, rc::SCHEME)),
        ([object, key], other_hash, rc::param(2, rc::SCHEME)),
        ([object, key], b().sized(&[1; 67]).u16(0x10), rc::param(1, rc::SIZE)),
        ([0x8000_0006, key], qualified(), rc::REFERENCE_H0),
        ([object, 0x8000_0006], qualified(), rc::REFERENCE_H0 + 1),
    ] {
        assert_eq!(client.auth(cc::CERTIFY, &handles, both(), parameters).rc, code);
    }
    let bad = vec![Auth::Password(b""), Auth::Password(b"x")];
    let answer = client.auth(cc::CERTIFY, &[object, key], bad, qualified());
    assert_eq!(answer.rc, rc::session(2, rc::AUTH_FAIL));
}

#[test]
fn counts_and_version_are_clear_for_keys_of_endorsement_and_platform_only() {
    let mut client = Client::new();
    for _ in 0..2 {
        client.power_cycle();
        client.startup(0);
    }
    client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(0);
    let object = sealed_object(&mut client);
    let mut seen = vec![];
    for hierarchy in [ENDORSEMENT, PLATFORM, OWNER, NULL] {
        let key = client.primary(hierarchy, &ecc_attestation_key()).handle;
        let mut read = || {
            let answer = client.auth(cc::CERTIFY, &[object, key], both(), qualified()).ok();
            let attest = Attest::of(&mut client, key, &answer);
            (attest.resets, attest.restarts, attest.firmware)
        };
        let first = read();
        assert_eq!(read(), first, "one key shows one thing");
        seen.push(first);
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(key)).ok();
    }
    // Three resets, one restart, firmware 1.0.
    assert_eq!(seen[..2], [(3, 1, 1 << 32); 2]);
    assert!(seen[2] != seen[0] && seen[3] != seen[0] && seen[2] != seen[3], "{seen:x?}");
}

#[test]
fn certify_creation_takes_the_ticket_of_the_object() {
    let mut client = Client::new();
    let outside = b"outside";
    let sensitive = b().u16(4).u32(0).sized(&ecc_srk().0).sized(outside);
    let made = client.pw(cc::CREATE_PRIMARY, &[OWNER], sensitive.raw(&SELECTION)).ok();
    let mut r = made.fields();
    let (_, data, hash) = (r.sized(), r.sized(), r.sized());
    let ticket = r.take(2 + 4 + 2 + 64);
    assert_eq!(hash, sha256(&[&data]));
    let mut creation = Fields(&data);
    assert_eq!(creation.take(10), SELECTION);
    assert_eq!(creation.sized(), sha256(&[&[0; 96]]), "three PCRs of zeros");
    assert_eq!((creation.u8(), creation.u16()), (1, 0x10), "locality 0, a primary object");
    assert_eq!(
        (creation.sized(), creation.sized()),
        (OWNER.to_be_bytes().into(), OWNER.to_be_bytes().into())
    );
    assert_eq!((&creation.sized()[..], creation.0), (&outside[..], &[][..]));

    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let certify = |client: &mut Client, object: u32, hash: &[u8], ticket: &[u8]| {
        let parameters = b().sized(b"nonce").sized(hash).u16(0x10).raw(ticket);
        client.pw(cc::CERTIFY_CREATION, &[key, object], parameters)
    };
    let answer = certify(&mut client, made.handle, &hash, &ticket).ok();
    let attest = Attest::of(&mut client, key, &answer);
    assert_eq!(attest.kind, 0x801a);
    assert_eq!(attest.attested, b().sized(&client.name(made.handle)).sized(&hash).0);

    let mut other_hash = hash.clone();
    other_hash[0] ^= 1;
    let mut other_ticket = ticket.clone();
    other_ticket[71] ^= 1;
    let mut other_tag = ticket.clone();
    other_tag[1] = 0x22;
    for (object, hash, ticket, code) in [
        (made.handle, &other_hash, &ticket, rc::TICKET),
        (made.handle, &hash, &other_ticket, rc::TICKET),
        (key, &hash, &ticket, rc::TICKET),
        (made.handle, &hash, &other_tag, 0x97),
    ] {
        assert_eq!(certify(&mut client, object, hash, ticket).rc, rc::param(4, code));
    }
}

#[test]
fn a_child_is_created_with_the_names_of_its_parent() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk());
    let sensitive = b().sized(&b().u16(0).sized(b"data").0).sized(&sealed().0).u16(0).u32(0);
    client.env.locality = 3;
    let made = client.pw(cc::CREATE, &[parent.handle], sensitive).ok();
    let mut r = made.fields();
    r.sized();
    r.sized();
    let data = r.sized();
    let mut creation = Fields(&data);
    assert_eq!((creation.u32(), creation.sized()), (0, sha256(&[])), "no PCRs");
    assert_eq!((creation.u8(), creation.u16()), (1 << 3, 0x0b));
    assert_eq!(creation.sized(), client.name(parent.handle));
    assert_eq!(creation.sized(), qualified_name(&mut client, parent.handle));
}

#[test]
fn a_quote_digests_the_pcrs_in_ascending_order() {
    let mut client = Client::new();
    client.pw(cc::PCR_EXTEND, &[1], b().u32(1).u16(0x0b).raw(&[7; 32])).ok();
    let one = sha256(&[&[0; 32], &[7; 32]]);
    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let quote = qualified().raw(&SELECTION);
    let answer = client.pw(cc::QUOTE, &[key], quote).ok();
    let attest = Attest::of(&mut client, key, &answer);
    let digest = sha256(&[&[0; 32], &one, &[0; 32]]);
    assert_eq!(attest.attested, b().raw(&SELECTION).sized(&digest).0);

    // Two banks one after the other; a bank that the TPM does not have counts for nothing.
    let banks = b().u32(3).raw(&[0, 0x0b, 3, 2, 0, 0]).raw(&[0, 0x0d, 3, 1, 0, 0]);
    let quote = qualified().raw(&banks.clone().raw(&[0, 4, 3, 1, 0, 0]).0);
    let answer = client.pw(cc::QUOTE, &[NULL], quote).ok();
    let attest = Attest::of(&mut client, NULL, &answer);
    let shown = b().u32(3).raw(&[0, 0x0b, 3, 2, 0, 0]).raw(&[0, 0x0d, 3, 0, 0, 0]);
    let shown = shown.raw(&[0, 4, 3, 1, 0, 0]);
    assert_eq!(attest.attested, shown.sized(&sha256(&[&one, &[0; 20]])).0);
}

#[test]
fn get_time_shows_the_time_of_read_clock() {
    let mut client = Client::new();
    client.env.now = 12_345;
    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let answer = client.auth(cc::GET_TIME, &[ENDORSEMENT, key], both(), qualified()).ok();
    let attest = Attest::of(&mut client, key, &answer);
    let clock = client.run(cc::READ_CLOCK, &[], b()).ok().body;
    assert_eq!((attest.kind, attest.clock, attest.safe), (0x8019, 12_345, 1));
    assert_eq!(attest.attested, b().raw(&clock).u64(1 << 32).0);

    client.pw(cc::HIERARCHY_CHANGE_AUTH, &[ENDORSEMENT], b().sized(b"e")).ok();
    let answer = client.auth(cc::GET_TIME, &[ENDORSEMENT, key], both(), qualified());
    assert_eq!(answer.rc, rc::session(1, rc::BAD_AUTH), "the privacy administrator's value");
    assert_eq!(
        client.auth(cc::GET_TIME, &[OWNER, key], both(), qualified()).rc,
        rc::handle(1, rc::VALUE)
    );
}

#[test]
fn a_session_is_exclusive_until_another_command_comes_between() {
    let mut client = Client::new();
    let mut session = client.session(0);
    let digest = |client: &mut Client, session: u32| {
        let handles = [ENDORSEMENT, NULL, session];
        client.auth(cc::GET_SESSION_AUDIT_DIGEST, &handles, both(), qualified())
    };
    assert_eq!(digest(&mut client, session.handle).rc, rc::handle(3, rc::TYPE), "audits nothing");
    let audited = |client: &mut Client, session: &mut Session, attributes: u8| {
        client.auth(cc::GET_RANDOM, &[], vec![Auth::Session(session, b"", attributes)], b().u16(4))
    };
    audited(&mut client, &mut session, 0x81).ok();
    // A command without sessions that leaves state alone does not come between.
    client.run(cc::READ_CLOCK, &[], b()).ok();
    audited(&mut client, &mut session, 0x83).ok();
    let answer = digest(&mut client, session.handle).ok();
    let attest = Attest::of(&mut client, NULL, &answer);
    assert_eq!((attest.kind, attest.attested[0]), (0x8016, 1), "exclusive");
    let answer = digest(&mut client, session.handle).ok();
    assert_eq!(Attest::of(&mut client, NULL, &answer).attested[0], 0, "the report came between");
    assert_eq!(audited(&mut client, &mut session, 0x83).rc, rc::EXCLUSIVE);
    // auditReset begins a new digest, and the session is exclusive again.
    let random = audited(&mut client, &mut session, 0x85).ok().body;
    let code = cc::GET_RANDOM.to_be_bytes();
    let (cp, rp) = (sha256(&[&code, &[0, 4]]), sha256(&[&[0; 4], &code, &random]));
    let answer = digest(&mut client, session.handle).ok();
    let expected = b().u8(1).sized(&sha256(&[&[0; 32], &cp, &rp])).0;
    assert_eq!(Attest::of(&mut client, NULL, &answer).attested, expected);
    // An old audit session ends the exclusiveness of a new one, and is not exclusive itself.
    let mut other = client.session(0);
    audited(&mut client, &mut other, 0x81).ok();
    audited(&mut client, &mut session, 0x81).ok();
    assert_eq!(audited(&mut client, &mut other, 0x83).rc, rc::EXCLUSIVE);
    assert_eq!(audited(&mut client, &mut session, 0x83).rc, rc::EXCLUSIVE);
}

#[test]
fn a_signed_report_of_the_command_audit_begins_a_new_digest() {
    let mut client = Client::new();
    let codes = [cc::SET_COMMAND_CODE_AUDIT_STATUS, cc::READ_CLOCK];
    let list = b().u32(1).u32(cc::READ_CLOCK).u32(0);
    client.pw(cc::SET_COMMAND_CODE_AUDIT_STATUS, &[OWNER], b().u16(0x10).raw(&list.0)).ok();
    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let report = |client: &mut Client, key: u32| {
        let handles = [ENDORSEMENT, key];
        let answer = client.auth(cc::GET_COMMAND_AUDIT_DIGEST, &handles, both(), qualified()).ok();
        let attest = Attest::of(client, key, &answer);
        assert_eq!(attest.kind, 0x8015);
        let mut r = Fields(&attest.attested);
        let (counter, alg, digest, commands) = (r.u64(), r.u16(), r.sized(), r.sized());
        assert_eq!(alg, 0x0b);
        assert_eq!(commands, sha256(&[&codes.map(u32::to_be_bytes).concat()]));
        (counter, digest)
    };
    let (counter, first) = report(&mut client, key);
    assert_eq!((counter, first.len()), (1, 32), "SetCommandCodeAuditStatus audits itself");
    assert_eq!(report(&mut client, key), (1, vec![]));
    let clock = client.run(cc::READ_CLOCK, &[], b()).ok().body;
    let code = cc::READ_CLOCK.to_be_bytes();
    let digest = sha256(&[&[0; 32], &sha256(&[&code]), &sha256(&[&[0; 4], &code, &clock])]);
    assert_eq!(report(&mut client, NULL), (2, digest.clone()));
    assert_eq!(report(&mut client, key), (2, digest), "an unsigned report takes nothing");
    assert_eq!(report(&mut client, key), (2, vec![]));
}

#[test]
fn nv_certify_shows_at_most_one_buffer() {
    let mut client = Client::new();
    let public = b().u32(INDEX).u16(0x0b).u32(1 << 1 | 1 << 17).u16(0).u16(2048);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().u16(0).sized(&public.0)).ok();
    client.pw(cc::NV_WRITE, &[OWNER, INDEX], b().sized(&[1; 8]).u16(0)).ok();
    for (size, code) in [(1024, 0), (1025, rc::param(3, rc::VALUE)), (2049, rc::NV_RANGE)] {
        let parameters = qualified().u16(size).u16(0);
        let answer = client.auth(cc::NV_CERTIFY, &[NULL, OWNER, INDEX], both(), parameters);
        assert_eq!(answer.rc, code, "{size}");
    }
}

#[test]
fn another_audit_algorithm_starts_with_the_command_that_sets_it() {
    let mut client = Client::new();
    let parameters = b().u16(0x0c).u32(0).u32(0);
    client.pw(cc::SET_COMMAND_CODE_AUDIT_STATUS, &[OWNER], parameters.clone()).ok();
    let sha384 = |parts: &[&[u8]]| HashAlgorithm::Sha384.hash(&parts.concat()).to_vec();
    let code = cc::SET_COMMAND_CODE_AUDIT_STATUS.to_be_bytes();
    let cp = sha384(&[&code, &OWNER.to_be_bytes(), &parameters.0]);
    let rp = sha384(&[&[0; 4], &code]);
    let handles = [ENDORSEMENT, NULL];
    let answer = client.auth(cc::GET_COMMAND_AUDIT_DIGEST, &handles, both(), qualified()).ok();
    let attest = Attest::of(&mut client, NULL, &answer);
    let expected = b().u64(1).u16(0x0c).sized(&sha384(&[&[0; 48], &cp, &rp])).0;
    assert_eq!(attest.attested[..expected.len()], expected);
}

#[test]
fn nv_certify_shows_a_range_or_the_digest_of_all() {
    let mut client = Client::new();
    let attributes = 1 << 1 | 1 << 17 | 1 << 31;
    let public = b().u32(INDEX).u16(0x0b).u32(attributes).u16(0).u16(8);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().u16(0).sized(&public.0)).ok();
    let key = client.primary(OWNER, &ecc_attestation_key()).handle;
    let certify = |client: &mut Client, auth: u32, size: u16, offset: u16| {
        let parameters = qualified().u16(size).u16(offset);
        client.auth(cc::NV_CERTIFY, &[key, auth, INDEX], both(), parameters)
    };
    assert_eq!(certify(&mut client, OWNER, 4, 2).rc, rc::NV_UNINITIALIZED);
    client.pw(cc::NV_WRITE, &[OWNER, INDEX], b().sized(b"contents").u16(0)).ok();
    let name = client.name(INDEX);
    let answer = certify(&mut client, OWNER, 4, 2).ok();
    let attest = Attest::of(&mut client, key, &answer);
    assert_eq!(attest.kind, 0x8014);
    assert_eq!(attest.attested, b().sized(&name).u16(2).sized(b"nten").0);
    let answer = certify(&mut client, OWNER, 0, 0).ok();
    let attest = Attest::of(&mut client, key, &answer);
    assert_eq!(attest.kind, 0x801c);
    assert_eq!(attest.attested, b().sized(&name).sized(&sha256(&[b"contents"])).0);
    assert_eq!(certify(&mut client, PLATFORM, 4, 2).rc, rc::NV_AUTHORIZATION);
    client.pw(cc::NV_READ_LOCK, &[OWNER, INDEX], b()).ok();
    assert_eq!(certify(&mut client, OWNER, 4, 2).rc, rc::NV_LOCKED);
}
