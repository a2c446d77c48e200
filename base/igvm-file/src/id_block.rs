//! The ID block of a file, in the form that the firmware takes.

use igvm_defs::{
    IGVM_VHS_SNP_ID_BLOCK, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE,
};
use snp::report::{
    Curve, IdAuthentication, IdBlock, Integer, Policy, PublicKey, Signature, SignatureAlgorithm,
};
use zerocopy::FromZeros;

use crate::directive::Masks;
use crate::error::{Error, Fault};
use crate::variable_header::RawHeader;

/// The identity that a VM is launched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ID block without its policy, which is the file's.
    block: IdBlock,
    id_key_algorithm: SignatureAlgorithm,
    author_key_algorithm: SignatureAlgorithm,
    id_block_signature: Signature,
    id_key: PublicKey,
    id_key_signature: Signature,
    author_key: PublicKey,
    /// The ID key is certified by the author key.
    pub author_key_enabled: bool,
}

impl Identity {
    /// The ID block for a VM with a policy.
    pub fn block(&self, policy: Policy) -> IdBlock {
        IdBlock { policy, ..self.block }
    }

    /// Keys and signatures.
    pub fn authentication(&self) -> IdAuthentication {
        let mut authentication = IdAuthentication::new_zeroed();
        authentication.id_key_algorithm = self.id_key_algorithm;
        authentication.author_key_algorithm = self.author_key_algorithm;
        authentication.id_block_signature = self.id_block_signature;
        authentication.id_key = self.id_key;
        authentication.id_key_signature = self.id_key_signature;
        authentication.author_key = self.author_key;
        authentication
    }
}

/// Reads an ID block. Gives none if it is for other platforms only.
pub(crate) fn read(header: &RawHeader<'_>, masks: Masks) -> Result<Option<Identity>, Error> {
    let body: IGVM_VHS_SNP_ID_BLOCK = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    if body.reserved != [0; 3] {
        return Err(header.error(Fault::Reserved));
    }
    if body.author_key_enabled > 1 {
        return Err(header.error(Fault::AuthorKeyFlag(body.author_key_enabled)));
    }
    Ok(Some(Identity {
        block: IdBlock {
            launch_digest: body.ld,
            family_id: body.family_id,
            image_id: body.image_id,
            version: body.version,
            guest_svn: body.guest_svn,
            policy: Policy::new(),
        },
        id_key_algorithm: SignatureAlgorithm(body.id_key_algorithm),
        author_key_algorithm: SignatureAlgorithm(body.author_key_algorithm),
        id_block_signature: signature(&body.id_key_signature),
        id_key: public_key(header, &body.id_public_key)?,
        id_key_signature: signature(&body.author_key_signature),
        author_key: public_key(header, &body.author_public_key)?,
        author_key_enabled: body.author_key_enabled == 1,
    }))
}

fn signature(from: &IGVM_VHS_SNP_ID_BLOCK_SIGNATURE) -> Signature {
    Signature { r: Integer(from.r_comp), s: Integer(from.s_comp), reserved: [0; 368] }
}

fn public_key(
    header: &RawHeader<'_>,
    from: &IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
) -> Result<PublicKey, Error> {
    if from.reserved != 0 {
        return Err(header.error(Fault::Reserved));
    }
    let (x, y) = (Integer(from.qx), Integer(from.qy));
    Ok(PublicKey { curve: Curve(from.curve), x, y, reserved: [0; 880] })
}
