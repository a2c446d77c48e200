//! The file in which a chip is kept with its certificates.
//!
//! It is a PEM text (RFC 7468): the chip's secrets, then VCEK, ASK and ARK, which other tools find in
//! it. A digest of all of them stands behind the secrets, so that a damaged file is noticed however
//! it came about.

use anyhow::{Context, Result, bail, ensure};
use der::pem::{self, LineEnding};
use host_wire::chip::{self, Chip};
use sha2::{Digest, Sha256};

use super::chain::Chain;

/// The most bytes of a file. A file has about 8 KiB.
pub(super) const MOST: u64 = 64 << 10;
const SECRETS: &str = "PARAVANE DRYDOCK CHIP";
const CERTIFICATE: &str = "CERTIFICATE";
const END: &str = "-----END ";
const DIGEST: usize = 32;

/// The text of a file.
pub(super) fn encode(chip: &Chip, chain: &Chain) -> Result<String> {
    let Chain { ark, ask, vcek } = chain;
    let chip = chip.to_bytes();
    let secrets = [&chip[..], &digest(&chip, chain)].concat();
    let mut text = String::new();
    for (label, bytes) in
        [(SECRETS, &secrets), (CERTIFICATE, vcek), (CERTIFICATE, ask), (CERTIFICATE, ark)]
    {
        let part = pem::encode_string(label, LineEnding::LF, bytes);
        text += &part.map_err(|error| anyhow::anyhow!("the text of a chip: {error}"))?;
    }
    Ok(text)
}

/// Reads the text of a file.
pub(super) fn decode(text: &str) -> Result<(Chip, Chain)> {
    let mut rest = text;
    let secrets = part(&mut rest, SECRETS)?;
    let vcek = part(&mut rest, CERTIFICATE)?;
    let ask = part(&mut rest, CERTIFICATE)?;
    let ark = part(&mut rest, CERTIFICATE)?;
    ensure!(rest.is_empty(), "something follows the last certificate");
    let chain = Chain { ark, ask, vcek };
    let (bytes, found) = secrets.split_first_chunk::<{ chip::SIZE }>().context("no chip in it")?;
    ensure!(found == digest(bytes, &chain), "its digest is wrong");
    Ok((Chip::from_bytes(bytes), chain))
}

/// Takes the next part from a text.
fn part(rest: &mut &str, label: &str) -> Result<Vec<u8>> {
    let Some(end) = rest.find(END) else { bail!("a part is missing") };
    let line = rest.get(end..).unwrap_or_default();
    let length = end + line.find('\n').map_or(line.len(), |place| place + 1);
    let (part, behind) = rest.split_at_checked(length).unwrap_or((*rest, ""));
    *rest = behind;
    match pem::decode_vec(part.as_bytes()) {
        Ok((found, bytes)) if found == label => Ok(bytes),
        Ok((found, _)) => bail!("`{label}` is wanted, not `{found}`"),
        Err(error) => bail!("a part is no PEM: {error}"),
    }
}

fn digest(chip: &[u8; chip::SIZE], chain: &Chain) -> [u8; DIGEST] {
    let Chain { ark, ask, vcek } = chain;
    let mut hash = Sha256::new_with_prefix(chip);
    [vcek, ask, ark].into_iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}
