//! ID blocks of loaders that do not measure as QEMU does.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use igvm::{IgvmDirectiveHeader as Directive, IgvmFile, IgvmRevision};
use igvm_defs::{
    IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IgvmPageDataFlags,
    IgvmPageDataType, PAGE_SIZE_4K,
};
use p384::ecdsa::signature::hazmat::PrehashSigner;
use p384::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha384};
use snp::digest::{LaunchDigest, Page};
use snp::vmsa::DEFAULT_VMSA_GPA;
use zerocopy::IntoBytes;

/// The policy of files that `paravane image build` makes.
const POLICY: u64 = 0x3_0000;
/// RAM of the VM that gets the file.
const RAM: u64 = 128 << 20;
const FAMILY: [u8; 16] = [1; 16];
const IMAGE: [u8; 16] = [2; 16];
const VERSION: u32 = 1;
const SVN: u32 = 2;

/// Puts the save areas of a file first, adds a page without bytes, and signs the digest that follows
/// by the IGVM specification.
pub fn add(path: &Path) -> anyhow::Result<()> {
    let file = IgvmFile::new_from_binary(&fs::read(path)?, None)?;
    let is_area = |directive: &Directive| matches!(directive, Directive::SnpVpContext { .. });
    let (mut directives, others): (Vec<_>, Vec<_>) =
        file.directives().iter().cloned().partition(is_area);
    directives.extend(others);
    directives.push(Directive::PageData {
        gpa: 2 << 20,
        compatibility_mask: 1,
        flags: IgvmPageDataFlags::new(),
        data_type: IgvmPageDataType::NORMAL,
        data: vec![],
    });
    let block = sign(measure(&directives)?)?;
    directives.push(block);
    let (platforms, first) = (file.platforms().to_vec(), file.initializations().to_vec());
    let mut bytes = vec![];
    IgvmFile::new(IgvmRevision::V1, platforms, first, directives)?.serialize(&mut bytes)?;
    Ok(fs::write(path, bytes)?)
}

/// The digest of the directives in their order, in which a page without bytes is a normal one.
fn measure(directives: &[Directive]) -> anyhow::Result<LaunchDigest> {
    let mut digest = LaunchDigest::EMPTY;
    let mut sizes = HashMap::new();
    for directive in directives {
        match directive {
            Directive::PageData { gpa, data_type, data, .. } => {
                let bytes = whole(data)?;
                let page = match *data_type {
                    IgvmPageDataType::SECRETS => Page::Secrets,
                    IgvmPageDataType::CPUID_DATA => Page::Cpuid,
                    _ => Page::Normal(&bytes),
                };
                digest.add(page, *gpa);
            }
            Directive::ParameterArea { number_of_bytes, parameter_area_index, .. } => {
                sizes.insert(*parameter_area_index, *number_of_bytes);
            }
            Directive::ParameterInsert(insert) => {
                let size = sizes.get(&insert.parameter_area_index).context("no such area")?;
                for page in 0..size / PAGE_SIZE_4K {
                    digest.add(Page::Unmeasured, insert.gpa + page * PAGE_SIZE_4K);
                }
            }
            Directive::SnpVpContext { gpa, vmsa, .. } => {
                let gpa = if *gpa < RAM { *gpa } else { DEFAULT_VMSA_GPA };
                let bytes = whole(vmsa.as_bytes())?;
                digest.add(Page::Vmsa(&bytes), gpa);
            }
            _ => {}
        }
    }
    Ok(digest)
}

/// A page with these bytes, followed by zeroes.
fn whole(bytes: &[u8]) -> anyhow::Result<Box<[u8; 4096]>> {
    let mut page = Box::new([0; 4096]);
    page.get_mut(..bytes.len()).context("more than a page")?.copy_from_slice(bytes);
    Ok(page)
}

/// The ID block of a digest, signed by a key of the test's.
fn sign(LaunchDigest(ld): LaunchDigest) -> anyhow::Result<Directive> {
    let mut block = [&ld[..], &FAMILY, &IMAGE].concat();
    block.extend([VERSION, SVN].map(u32::to_le_bytes).concat());
    block.extend(POLICY.to_le_bytes());
    let key = SigningKey::from_slice(&[7; 48])?;
    let signature: Signature = key.sign_prehash(&Sha384::digest(&block))?;
    let (r, s) = signature.split_bytes();
    let point = key.verifying_key().to_sec1_point(false);
    let (x, y) = (point.x().context("no point")?, point.y().context("no point")?);
    let signature = |r: &[u8], s: &[u8]| {
        Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE { r_comp: little(r), s_comp: little(s) })
    };
    let public = |curve, x: &[u8], y: &[u8]| {
        let (qx, qy) = (little(x), little(y));
        Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY { curve, reserved: 0, qx, qy })
    };
    Ok(Directive::SnpIdBlock {
        compatibility_mask: 1,
        author_key_enabled: 0,
        reserved: [0; 3],
        ld,
        family_id: FAMILY,
        image_id: IMAGE,
        version: VERSION,
        guest_svn: SVN,
        id_key_algorithm: 1,
        author_key_algorithm: 0,
        id_key_signature: signature(&r, &s),
        id_public_key: public(2, x, y),
        author_key_signature: signature(&[], &[]),
        author_public_key: public(0, &[], &[]),
    })
}

/// A number in the firmware's order of bytes.
fn little(big: &[u8]) -> [u8; 72] {
    let mut bytes = [0; 72];
    bytes.iter_mut().zip(big.iter().rev()).for_each(|(to, from)| *to = *from);
    bytes
}
