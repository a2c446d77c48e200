//! The content of the certificates of an emulated chip (AMD 57230, "VCEK certificate and KDS
//! interface specification").
//!
//! They have the form of AMD's own for Milan: the same attributes in the names and the same
//! extensions, in the same order. Verifiers tell the keys apart by their common names, so these are
//! AMD's; all else in the names says that the chain proves nothing. No revocation list is named,
//! because nobody serves one.

use std::str::FromStr;

use der::asn1::{Ia5String, ObjectIdentifier, OctetString, Uint};
use der::{Encode, Result};
use host_wire::chip::Chip;
use spki::SubjectPublicKeyInfoRef;
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;

/// The part of the names that all three have in common, behind the common name.
const PLACE: &str = "O=Paravane,ST=XX,L=Drydock,C=XX,OU=Test chain that proves nothing";
/// The chip: the CPU's signature in Drydock is 00A00F11h.
pub(super) const PRODUCT: &str = "Milan-B1";
/// The arc of the extensions.
const ARC: &str = "1.3.6.1.4.1.3704.1";
/// The version of this set of extensions.
const STRUCT_VERSION: u8 = 0;

/// Whose certificate it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// ARK: the root.
    Ark,
    /// ASK: what certifies chips.
    Ask,
    /// VCEK: the key of this chip.
    Vcek(&'a Chip),
}

impl Subject<'_> {
    /// The name of its key.
    pub(super) fn name(self) -> Result<Name> {
        let common = match self {
            Self::Ark => "ARK-Milan",
            Self::Ask => "SEV-Milan",
            Self::Vcek(_) => "SEV-VCEK",
        };
        Name::from_str(&format!("CN={common},{PLACE}"))
    }

    fn issuer(self) -> Result<Name> {
        match self {
            Self::Ark | Self::Ask => Subject::Ark.name(),
            Self::Vcek(_) => Subject::Ask.name(),
        }
    }

    /// The serial number: AMD's.
    pub(super) const fn serial(self) -> &'static [u8] {
        match self {
            Self::Ark => &[1, 0, 0],
            Self::Ask => &[1, 0, 1],
            Self::Vcek(_) => &[0],
        }
    }
}

/// The profile of a certificate, for the builder.
pub(super) struct Profile<'a> {
    subject: Subject<'a>,
    name: Name,
    issuer: Name,
}

impl<'a> Profile<'a> {
    /// The profile of a subject.
    pub(super) fn new(subject: Subject<'a>) -> Result<Self> {
        Ok(Self { subject, name: subject.name()?, issuer: subject.issuer()? })
    }
}

impl BuilderProfile for Profile<'_> {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.name.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let name = tbs.subject();
        let identifier = SubjectKeyIdentifier::try_from(key)?;
        let identifier = (&identifier).to_extension(name, &[])?;
        let constraints = |path_len_constraint| {
            (&BasicConstraints { ca: true, path_len_constraint }).to_extension(name, &[])
        };
        match self.subject {
            Subject::Ark => {
                let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
                Ok(vec![(&usage).to_extension(name, &[])?, identifier, constraints(None)?])
            }
            Subject::Ask => {
                let issuer = SubjectKeyIdentifier::try_from(issuer_key)?;
                let authority =
                    AuthorityKeyIdentifier { key_identifier: Some(issuer.0), ..Default::default() };
                let usage = KeyUsage(KeyUsages::KeyCertSign.into());
                Ok(vec![
                    identifier,
                    (&authority).to_extension(name, &[])?,
                    constraints(Some(0))?,
                    (&usage).to_extension(name, &[])?,
                ])
            }
            Subject::Vcek(chip) => Ok(chip_extensions(chip)?),
        }
    }
}

/// The extensions of a VCEK: which chip it is, and for which TCB version the key was certified.
/// Each value is DER, but for the chip's own number, which KDS gives as it is.
fn chip_extensions(chip: &Chip) -> Result<Vec<Extension>> {
    let [boot_loader, tee, spl_4, spl_5, spl_6, spl_7, snp, microcode] = chip.tcb;
    let number = |value: u8| Uint::new(&[value])?.to_der();
    let mut extensions = vec![];
    for (place, value) in [
        ("1", number(STRUCT_VERSION)?),
        ("2", Ia5String::new(PRODUCT)?.to_der()?),
        ("3.1", number(boot_loader)?),
        ("3.2", number(tee)?),
        ("3.4", number(spl_4)?),
        ("3.5", number(spl_5)?),
        ("3.6", number(spl_6)?),
        ("3.7", number(spl_7)?),
        ("3.3", number(snp)?),
        ("3.8", number(microcode)?),
        ("4", chip.id.to_vec()),
    ] {
        extensions.push(Extension {
            extn_id: ObjectIdentifier::new(&format!("{ARC}.{place}"))?,
            critical: false,
            extn_value: OctetString::new(value)?,
        });
    }
    Ok(extensions)
}
