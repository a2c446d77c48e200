//! The commands that create objects (Part 3, sections 12.1, 12.9, 24.1).

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use tpm_crypto::drbg::Drbg;
use tpm_crypto::ecc::EccPrivateKey;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader, built};
use crate::constants::{alg, attr, st};
use crate::crypto;
use crate::keys;
use crate::object::{Object, Slot};
use crate::public::{Parameters, Public, Sensitive, Unique};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::{MAX_DATA, MAX_DIGEST, MAX_SYM_DATA, PcrSelection, Ticket};
use crate::template;

/// TPMS_SENSITIVE_CREATE.
#[derive(Debug, Default)]
pub(crate) struct SensitiveCreate {
    pub(crate) auth: Secret,
    pub(crate) data: Secret,
}

impl SensitiveCreate {
    fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let auth = Secret::auth(r.sized(MAX_DIGEST)?);
        Ok(Self { auth, data: r.sized(MAX_SYM_DATA)?.into() })
    }
}

/// The parameters of Create and CreatePrimary.
struct Creation {
    sensitive: SensitiveCreate,
    public: Public,
    outside_info: Vec<u8>,
    pcrs: PcrSelection,
}

fn parse(call: &mut Call) -> Result<Creation> {
    let sensitive = call.read(|r| r.sized_structure(SensitiveCreate::parse))?;
    let public = call.read(|r| r.sized_structure(Public::parse))?;
    let outside_info = call.sized(MAX_DATA)?;
    let pcrs = call.read(PcrSelection::parse)?;
    call.end()?;
    Ok(Creation { sensitive, public, outside_info, pcrs })
}

/// Checks that the authorization value is no longer than a digest of the name algorithm.
fn check_auth(sensitive: &SensitiveCreate, public: &Public) -> Result<()> {
    let fits = sensitive.auth.len() <= crypto::digest_size(public.name_alg);
    if fits { Ok(()) } else { Err(Rc::SIZE.param(1)) }
}

/// The generator for a primary object: its output depends on seed, template and data only, forever
/// (Part 1, section 27.6.4). Any change here changes every EK and SRK in the field.
fn primary_generator(seed: &[u8], template: &[u8], data: &[u8]) -> Drbg {
    let digest =
        crypto::hash(alg::SHA512, &[&(template.len() as u32).to_be_bytes(), template, data]);
    Drbg::new(seed, &digest, b"PRIMARY")
}

impl Tpm {
    /// Creates the sensitive area and the unique field for a checked template.
    pub(crate) fn make(
        &mut self,
        call: &mut Call,
        public: &mut Public,
        from: SensitiveCreate,
        random: &mut Drbg,
    ) -> Result<Sensitive> {
        let size = crypto::digest_size(public.name_alg);
        let mut seed = vec![0; size];
        let data_object = matches!(public.kind(), alg::KEYEDHASH | alg::SYMCIPHER);
        if data_object || public.is_parent() {
            random.fill(&mut seed);
        } else {
            seed.clear();
        }
        let private = match public.parameters {
            Parameters::KeyedHash(scheme) => {
                let hash = if scheme.is_null() { public.name_alg } else { scheme.hash };
                given_or_random(from.data, crypto::digest_size(hash), random)
            }
            Parameters::SymCipher(symmetric) => {
                given_or_random(from.data, symmetric.key_size(), random)
            }
            Parameters::Ecc { .. } => {
                let key = EccPrivateKey::generate(keys::curve_of(public)?, random)?;
                let point = key.public_key()?;
                public.unique = Unique { x: point.x().to_vec(), y: point.y().to_vec() };
                key.scalar().to_vec().into()
            }
            Parameters::Rsa { bits, exponent, .. } => {
                let mut search_seed = vec![0; 48];
                random.fill(&mut search_seed);
                let (modulus, prime) =
                    call.keys.rsa(bits, keys::exponent(exponent), search_seed.into())?;
                public.unique = Unique { x: modulus, y: Vec::new() };
                prime
            }
        };
        if data_object {
            let x = crypto::hash(public.name_alg, &[&seed, &private]);
            public.unique = Unique { x, y: Vec::new() };
        }
        Ok(Sensitive { auth: from.auth, seed: seed.into(), private })
    }

    /// A freshly seeded generator for one object.
    pub(crate) fn fresh_generator(&mut self, env: Env<'_>) -> Result<Drbg> {
        let seed = self.random_bytes(env, 48)?;
        Ok(Drbg::new(&seed, &[], b"OBJECT"))
    }

    /// TPMS_CREATION_DATA, its digest and its ticket.
    fn creation(
        &self,
        call: &Call,
        object: (&[u8], u16, u32),
        parent: (u16, &[u8], &[u8]),
        pcrs: &PcrSelection,
        outside_info: &[u8],
    ) -> (Vec<u8>, Vec<u8>, Ticket) {
        let (name, name_alg, hierarchy) = object;
        let (parent_alg, parent_name, parent_qualified) = parent;
        let pcrs = pcrs.implemented(&self.v.pcrs.allocated);
        let data = built(|out| {
            pcrs.put(out);
            out.put_sized(&self.v.pcrs.digest(name_alg, &pcrs));
            out.put_u8(locality_bits(call.locality)).put_u16(parent_alg);
            out.put_sized(parent_name).put_sized(parent_qualified).put_sized(outside_info);
        });
        let digest = crypto::hash(name_alg, &[&data]);
        let ticket = self.creation_ticket(hierarchy, name, &digest);
        (data, digest, ticket)
    }

    /// The ticket that proves that this TPM created an object.
    pub(crate) fn creation_ticket(&self, hierarchy: u32, name: &[u8], digest: &[u8]) -> Ticket {
        let tag = st::CREATION.to_be_bytes();
        let hmac = crypto::hmac(alg::SHA512, self.proof(hierarchy), &[&tag, name, digest]);
        Ticket { tag: st::CREATION, hierarchy, digest: hmac }
    }
}

/// TPMA_LOCALITY of a locality.
pub(crate) const fn locality_bits(locality: u8) -> u8 {
    if locality < 5 { 1 << locality } else { locality }
}

fn given_or_random(given: Secret, size: usize, random: &mut Drbg) -> Secret {
    if !given.is_empty() {
        return given;
    }
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes.into()
}

/// TPM2_CreatePrimary.
pub(crate) fn create_primary(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let Creation { sensitive, mut public, outside_info, pcrs } = parse(call)?;
    let hierarchy = call.handle(0);
    template::check(&public, None, false).map_err(|rc| rc.param(2))?;
    template::check_creation(&public, &sensitive.data).map_err(|rc| rc.param(2))?;
    check_auth(&sensitive, &public)?;
    tpm.check_object_memory()?;
    let mut random = primary_generator(tpm.seed(hierarchy), &public.bytes(), &sensitive.data);
    let sensitive = tpm.make(call, &mut public, sensitive, &mut random)?;
    let parent_name = hierarchy.to_be_bytes();
    let object = Object::new(public, Some(sensitive), &parent_name, hierarchy);
    let (data, digest, ticket) = tpm.creation(
        call,
        (&object.name, object.public.name_alg, hierarchy),
        (alg::NULL, &parent_name, &parent_name),
        &pcrs,
        &outside_info,
    );
    let out = &mut call.out;
    out.put_sized(&object.public.bytes()).put_sized(&data).put_sized(&digest);
    ticket.put(out);
    out.put_sized(&object.name);
    call.out_handle = Some(tpm.add_slot(Slot::Object(Arc::new(object)))?);
    Ok(())
}

/// TPM2_Create.
pub(crate) fn create(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let Creation { sensitive, mut public, outside_info, pcrs } = parse(call)?;
    let parent = tpm.storage_parent(call.handle(0), 1)?;
    template::check(&public, Some(&parent), false).map_err(|rc| rc.param(2))?;
    template::check_creation(&public, &sensitive.data).map_err(|rc| rc.param(2))?;
    check_auth(&sensitive, &public)?;
    let mut random = tpm.fresh_generator(&mut *env)?;
    let sensitive = tpm.make(call, &mut public, sensitive, &mut random)?;
    let private = tpm.private(&mut *env, &parent, &public, &sensitive)?;
    let (data, digest, ticket) = tpm.creation(
        call,
        (&public.name(), public.name_alg, parent.hierarchy),
        (parent.public.name_alg, &parent.name, &parent.qualified_name),
        &pcrs,
        &outside_info,
    );
    let out = &mut call.out;
    out.put_sized(&private).put_sized(&public.bytes()).put_sized(&data).put_sized(&digest);
    ticket.put(out);
    Ok(())
}

impl Tpm {
    /// The storage parent in a handle; TYPE if the object cannot have children.
    pub(crate) fn storage_parent(&self, handle: u32, number: usize) -> Result<Arc<Object>> {
        let parent = self.object(handle).map_err(|_| Rc::TYPE.handle(number))?;
        let fits = parent.public.is_storage_parent() && parent.sensitive.is_some();
        if fits { Ok(parent) } else { Err(Rc::TYPE.handle(number)) }
    }
}

/// TPM2_CreateLoaded.
pub(crate) fn create_loaded(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let sensitive = call.read(|r| r.sized_structure(SensitiveCreate::parse))?;
    let template_bytes = call.sized(1024)?;
    call.end()?;
    let handle = call.handle(0);
    let parent = tpm.object(handle).ok();
    let derived = parent.as_ref().is_some_and(|parent| parent.public.is_derivation_parent());
    let fits = match &parent {
        Some(parent) => {
            (derived || parent.public.is_storage_parent()) && parent.sensitive.is_some()
        }
        // A sequence has a transient handle, but is not an object.
        None => crate::constants::rh::kind(handle) == crate::constants::rh::HT_PERMANENT,
    };
    if !fits {
        return Err(Rc::TYPE.handle(1));
    }
    let in_param = |rc: Rc| rc.param(2);
    let parsed = if derived { derived_template } else { whole_template }(&template_bytes);
    let (mut public, context) = parsed.map_err(in_param)?;
    tpm.check_object_memory()?;
    template::check(&public, parent.as_deref(), false).map_err(in_param)?;
    check_auth(&sensitive, &public)?;
    let (mut random, from) = match &parent {
        Some(key) if derived => {
            // Label and context in the sensitive data replace those in the template.
            let given = Vec::from(&sensitive.data[..]);
            let context = if given.is_empty() { context } else { given };
            let random = derived_generator(key, &public, &context)?;
            (random, SensitiveCreate { auth: sensitive.auth, data: Secret::default() })
        }
        _ => {
            template::check_creation(&public, &sensitive.data).map_err(in_param)?;
            let random = match &parent {
                Some(_) => tpm.fresh_generator(&mut *env)?,
                None => primary_generator(tpm.seed(handle), &public.bytes(), &sensitive.data),
            };
            (random, sensitive)
        }
    };
    let sensitive = tpm.make(call, &mut public, from, &mut random)?;
    let private = match &parent {
        Some(parent) if !derived => tpm.private(&mut *env, parent, &public, &sensitive)?,
        _ => Vec::new(),
    };
    let object = match &parent {
        Some(parent) => {
            let mut object =
                Object::new(public, Some(sensitive), &parent.qualified_name, parent.hierarchy);
            object.st_clear |= parent.st_clear;
            object
        }
        None => Object::new(public, Some(sensitive), &handle.to_be_bytes(), handle),
    };
    let out = &mut call.out;
    out.put_sized(&private).put_sized(&object.public.bytes()).put_sized(&object.name);
    call.out_handle = Some(tpm.add_slot(Slot::Object(Arc::new(object)))?);
    Ok(())
}

/// The generator for an object derived from a parent, a label and a context.
fn derived_generator(key: &Object, public: &Public, context: &[u8]) -> Result<Drbg> {
    if public.kind() == alg::RSA {
        return Err(Rc::TYPE.param(2));
    }
    if public.is(attr::SENSITIVE_DATA_ORIGIN) {
        return Err(Rc::ATTRIBUTES.param(2));
    }
    let hash = key.public.scheme().hash;
    let secret =
        crypto::kdfa(hash, &key.secret()?.private, "DERIVE", &key.name, context, MAX_DIGEST);
    Ok(Drbg::new(&secret, &public.bytes(), b"DERIVED"))
}

/// TPMT_TEMPLATE for all other parents: a public area.
fn whole_template(bytes: &[u8]) -> Result<(Public, Vec<u8>)> {
    let mut reader = Reader::new(bytes);
    let public = Public::parse(&mut reader)?;
    if reader.is_empty() { Ok((public, Vec::new())) } else { Err(Rc::SIZE) }
}

/// TPMT_TEMPLATE for a derivation parent, with TPMS_DERIVE as its unique field.
fn derived_template(bytes: &[u8]) -> Result<(Public, Vec<u8>)> {
    let mut reader = Reader::new(bytes);
    let (public, _) = Public::head(&mut reader)?;
    let (label, context) = (reader.sized(32)?, reader.sized(32)?);
    if !reader.is_empty() {
        return Err(Rc::SIZE);
    }
    let derive = built(|out| {
        out.put_sized(&label).put_sized(&context);
    });
    Ok((public, derive))
}
