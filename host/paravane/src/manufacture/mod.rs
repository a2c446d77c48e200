//! Manufacture of a TPM with certified endorsement keys, before its first VM.
//!
//! This corresponds to a TPM vendor's plant. The engine runs here and makes its seeds and keys; a
//! CA certifies the endorsement keys; the certificates go into the NV indices that the TCG EK
//! Credential Profile 2.5 names. The result is the engine's records, which are then stored for a
//! VM.

mod authority;
mod certificate;
mod disk;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::rand::{GetRandomFlags, getrandom};
use tpm::{Change, CommitError, Environment, Tpm};
use tpm_commands::{self as commands, Command, endorsement};
use zeroize::Zeroize;

pub use authority::Authority;
use certificate::PublicKey;
pub use disk::seal;

/// Largest number of bytes in one TPM2_NV_Write.
const NV_CHUNK: usize = 1024;

/// The records of a TPM, by key. They are secret.
pub type Records = BTreeMap<u32, Vec<u8>>;

/// Makes a TPM whose endorsement keys `authority` certifies.
///
/// # Errors
/// The kernel gives no random numbers, or the engine refused a command, which is a bug.
pub fn manufacture(authority: &Authority) -> Result<Records> {
    let mut plant = Plant { records: Records::new(), start: Instant::now() };
    let made = Tpm::manufacture(&mut plant);
    let tpm = made.map_err(|error| anyhow::anyhow!("no TPM can be made: {error:?}"))?;
    let mut line = Line { tpm, plant };
    line.run(&commands::startup())?;
    for (template, index, kind) in [
        (&endorsement::RSA_TEMPLATE[..], endorsement::RSA_CERTIFICATE, PublicKey::rsa as Parse),
        (&endorsement::ECC_TEMPLATE[..], endorsement::ECC_CERTIFICATE, PublicKey::ecc as Parse),
    ] {
        line.certify(authority, template, index, kind)?;
    }
    line.run(&commands::allocate(&commands::NEW_BANKS))?;
    line.run(&commands::shutdown())?;
    Ok(std::mem::take(&mut line.plant.records))
}

/// Prints the certificate of the authority in a file, or of the test authority.
///
/// # Errors
/// The file can not be used, or standard output can not be written.
pub fn print_authority(file: Option<&Path>) -> Result<()> {
    let authority = file.map_or_else(|| Ok(Authority::test()), Authority::read)?;
    Ok(io::stdout().write_all(authority.certificate_pem()?.as_bytes())?)
}

/// A decoder of public areas.
type Parse = fn(&[u8]) -> Option<PublicKey>;

/// The TPM during its manufacture.
struct Line {
    tpm: Tpm,
    plant: Plant,
}

impl Line {
    fn run(&mut self, command: &Command) -> Result<Vec<u8>> {
        let response = self.tpm.execute(command, 0, &mut self.plant);
        match commands::succeeded(&response) {
            Ok(()) => Ok(response),
            Err(code) => bail!("the TPM refused a command of its manufacture with {code:#x}"),
        }
    }

    /// Makes an endorsement key, certifies it, and stores the certificate in its index. The key
    /// itself is not stored: the TPM derives it from its seed whenever it is needed.
    fn certify(
        &mut self,
        authority: &Authority,
        template: &[u8],
        index: u32,
        parse: Parse,
    ) -> Result<()> {
        let response = self.run(&commands::create_primary(commands::RH_ENDORSEMENT, template))?;
        let (handle, public) = commands::primary(&response).context("an endorsement key")?;
        let key = parse(public).context("the endorsement key's public area")?;
        let certificate = authority.certify(&key)?;
        self.run(&commands::flush(handle))?;
        let size = u16::try_from(certificate.len()).context("the certificate is too long")?;
        ensure!(size <= 2048, "the certificate of the endorsement key has {size} bytes, 2048 fit");
        self.run(&commands::nv_define(index, endorsement::CERTIFICATE_ATTRIBUTES, size))?;
        for (offset, part) in (0..).step_by(NV_CHUNK).zip(certificate.chunks(NV_CHUNK)) {
            self.run(&commands::nv_write(index, offset, part))?;
        }
        Ok(())
    }
}

/// The engine's environment during manufacture.
struct Plant {
    records: Records,
    start: Instant,
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.records.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Environment for Plant {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        fill_random(out).is_ok()
    }

    fn now_ms(&mut self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        for change in changes {
            let old = match &change.data {
                Some(data) => self.records.insert(change.key, data.clone()),
                None => self.records.remove(&change.key),
            };
            old.unwrap_or_default().zeroize();
        }
        Ok(())
    }
}

/// Fills `out` with random bytes from this machine's kernel.
pub fn fill_random(mut out: &mut [u8]) -> Result<()> {
    while !out.is_empty() {
        match getrandom(&mut *out, GetRandomFlags::empty()) {
            Ok(count) => out = out.get_mut(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("the kernel gives no random numbers"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::{Decode, Encode};
    use x509_cert::Certificate;

    const READ_PUBLIC: [u8; 10] = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x69];

    fn read(tpm: &mut Tpm, plant: &mut Plant, index: u32, size: u16, offset: u16) -> Vec<u8> {
        let mut command = vec![0x80, 2, 0, 0, 0, 35, 0, 0, 1, 0x4e];
        for handle in [index, index] {
            command.extend(handle.to_be_bytes());
        }
        command.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        command.extend(size.to_be_bytes());
        command.extend(offset.to_be_bytes());
        let response = tpm.execute(&command, 0, plant);
        assert_eq!(commands::code(&response), 0);
        response[16..16 + usize::from(size)].to_vec()
    }

    #[test]
    fn both_certificates_lie_in_nv_and_the_authority_has_signed_them() {
        let authority = Authority::test();
        let records = manufacture(&authority).unwrap();
        let mut plant = Plant { records: Records::new(), start: Instant::now() };
        let found = records.iter().map(|(key, data)| (*key, &data[..]));
        let mut tpm = Tpm::open(found, &mut plant).unwrap();
        assert_eq!(commands::code(&tpm.execute(&commands::startup(), 0, &mut plant)), 0);
        for index in [endorsement::RSA_CERTIFICATE, endorsement::ECC_CERTIFICATE] {
            let mut command = READ_PUBLIC.to_vec();
            command.extend(index.to_be_bytes());
            let response = tpm.execute(&command, 0, &mut plant);
            assert_eq!(commands::code(&response), 0, "{index:#x}");
            let size = u16::from_be_bytes([response[24], response[25]]);
            let mut bytes = vec![];
            for offset in (0..size).step_by(512) {
                bytes.extend(read(&mut tpm, &mut plant, index, 512.min(size - offset), offset));
            }
            let certificate = Certificate::from_der(&bytes).unwrap();
            assert_eq!(certificate.to_der().unwrap(), bytes);
            authority.verify(&certificate).unwrap();
        }
    }

    #[test]
    fn two_tpms_have_nothing_in_common() {
        let authority = Authority::test();
        let [first, second] = [0, 1].map(|_| manufacture(&authority).unwrap());
        assert!(first.keys().eq(second.keys()));
        assert!(first.iter().zip(&second).all(|((_, a), (_, b))| a != b));
    }
}
