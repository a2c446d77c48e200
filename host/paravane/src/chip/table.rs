//! The table of certificates that the guest gets (GHCB specification 56421, "SNP Extended Guest
//! Request").

use anyhow::{Context, Result};
use snp::certificates::{CertificateEntry, CertificateKind};
use zerocopy::IntoBytes;

use super::chain::Chain;

/// The table with the certificates behind it.
pub(super) fn table(chain: &Chain) -> Result<Vec<u8>> {
    let Chain { ark, ask, vcek } = chain;
    let parts =
        [(CertificateKind::VCEK, vcek), (CertificateKind::ASK, ask), (CertificateKind::ARK, ark)];
    let (mut entries, mut data) = (vec![], vec![]);
    // The last entry ends the table.
    let start = (parts.len() + 1) * size_of::<CertificateEntry>();
    for (kind, certificate) in parts {
        let number = |number| u32::try_from(number).context("the certificates are too long");
        let (offset, length) = (number(start + data.len())?, number(certificate.len())?);
        entries.push(CertificateEntry { kind, offset, length });
        data.extend(certificate);
    }
    entries.push(CertificateEntry::END);
    Ok([entries.as_bytes(), &data].concat())
}
