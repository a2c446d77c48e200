//! Self-test commands (Part 3, section 10). Tests of algorithms run at SelfTest; nothing waits.

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::alg;
use crate::crypto;
use crate::public::Parameters;
use crate::rc::{Rc, Result};

/// SHA-256 of nothing (FIPS 180-4).
const EMPTY_SHA256: [u8; 8] = [0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14];
/// AES-128 of a zero block under a zero key (FIPS 197).
const ZERO_AES: [u8; 8] = [0x66, 0xe9, 0x4b, 0xd4, 0xef, 0x8a, 0x2c, 0x3b];

impl Tpm {
    /// Known answers; on a wrong one the TPM is in failure mode.
    fn test(&mut self) -> Result<()> {
        let mut block = [0; 16];
        let mut vector = [0; 16];
        crypto::apply(&[0; 16], alg::ECB, &mut vector, &mut block, crypto::Way::Encrypt)?;
        let good = crypto::hash(alg::SHA256, &[]).starts_with(&EMPTY_SHA256)
            && block.starts_with(&ZERO_AES);
        self.v.failed = !good;
        self.v.self_tested = good;
        if good { Ok(()) } else { Err(Rc::FAILURE) }
    }
}

/// TPM2_SelfTest.
pub(crate) fn self_test(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.read(|r| r.yes_no())?;
    call.end()?;
    tpm.test()
}

/// TPM2_IncrementalSelfTest: everything is tested in one go, so that nothing is left to do.
pub(crate) fn incremental(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let algorithms = call.read(|r| {
        let count = r.u32()?;
        if count > 64 {
            return Err(Rc::SIZE);
        }
        (0..count).map(|_| r.u16()).collect::<Result<Vec<u16>>>()
    })?;
    call.end()?;
    if !algorithms.is_empty() {
        tpm.test()?;
    }
    call.out.put_u32(0);
    Ok(())
}

/// TPM2_GetTestResult.
pub(crate) fn get_test_result(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    call.out.put_u16(0);
    call.out.put_u32(if tpm.v.failed { Rc::FAILURE.0 } else { 0 });
    Ok(())
}

/// TPM2_TestParms.
pub(crate) fn test_parms(_: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.read(|r| {
        let kind = r.u16()?;
        Parameters::parse(r, kind)
    })?;
    call.end()
}
