//! Messages to the firmware, which the host carries (SNP firmware ABI 56860, "SNP_GUEST_REQUEST").
//!
//! The host can change, lose, repeat or withhold a message, and can learn nothing of it. A sequence
//! number is also the nonce, so no two messages may have the same one: a request that failed is sent
//! again as the same bytes, and when that fails, too, the key is given up.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use snp::message::{self, HEADER_SIZE, Header, MAX_PAYLOAD, MessageType, TAG_SIZE};
use snp::report::Policy;
use snp::secrets::VMPCK_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of the page of a message.
pub const PAGE: usize = HEADER_SIZE + MAX_PAYLOAD;
/// How often the same request is sent.
const MOST_TRIES: u32 = 3;

/// Whether a VM with this policy keeps its secrets from the host: the host may neither debug it nor
/// have a migration agent read it.
pub const fn keeps_the_host_out(policy: Policy) -> bool {
    !policy.debug() && !policy.migrate_ma()
}

/// The frequency in Hz of a TSC whose nominal one is `megahertz`, as GUEST_TSC_FREQ tells it, and that
/// is slower by `factor` parts in 100,000 (SNP firmware ABI 56860, "Secrets page", TSC_FACTOR). Zero
/// if that is no frequency.
pub fn tsc_frequency(megahertz: u64, factor: u32) -> u64 {
    const PARTS: u64 = 100_000;
    let rest = PARTS.checked_sub(factor.into());
    let hertz = megahertz.checked_mul(1_000_000 / PARTS).zip(rest);
    hertz.and_then(|(per_part, rest)| per_part.checked_mul(rest)).unwrap_or(0)
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The request is longer than a message can be: our mistake.
    TooLong,
    /// The host has not delivered an answer of the firmware's to this request. The key is given up.
    Undelivered,
    /// The key was given up earlier, or has no sequence numbers left.
    KeyLost,
}

/// The way to the firmware by one of the VM's keys.
pub struct Channel {
    cipher: Aes256Gcm,
    /// The number of the key.
    vmpck: u8,
    /// The sequence number of the last message, either way.
    sequence: u64,
    is_lost: bool,
}

impl core::fmt::Debug for Channel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { cipher: _, vmpck, sequence, is_lost } = self;
        write!(f, "Channel {{ vmpck: {vmpck}, sequence: {sequence}, is_lost: {is_lost} }}")
    }
}

impl Channel {
    /// A channel by a key that no message was sent with.
    pub fn new(key: &[u8; VMPCK_SIZE], vmpck: u8) -> Self {
        Self { cipher: Aes256Gcm::new(key.into()), vmpck, sequence: 0, is_lost: false }
    }

    /// Sends a request and opens the answer. `carry` has the host take the first page to the firmware
    /// and bring the second one back; it tells whether the host says that this was done.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn ask<Q: IntoBytes + Immutable, A: FromBytes + IntoBytes>(
        &mut self,
        kind: MessageType,
        request: &Q,
        mut carry: impl FnMut(&[u8; PAGE], &mut [u8; PAGE]) -> bool,
    ) -> Result<A, Failed> {
        let next = self.sequence.checked_add(2).filter(|_| !self.is_lost).ok_or(Failed::KeyLost)?;
        let sent = self.seal(kind, request.as_bytes())?;
        for _ in 0..MOST_TRIES {
            let mut answer = [0; PAGE];
            if carry(&sent, &mut answer)
                && let Some(payload) = self.open(kind.answer(), next, &mut answer)
            {
                self.sequence = next;
                return Ok(payload);
            }
        }
        self.is_lost = true;
        Err(Failed::Undelivered)
    }

    /// The page of a request.
    fn seal(&self, kind: MessageType, payload: &[u8]) -> Result<[u8; PAGE], Failed> {
        let size = u16::try_from(payload.len()).map_err(|_| Failed::TooLong)?;
        let mut header = Header::new(kind, self.sequence + 1, self.vmpck, size);
        let mut page = [0; PAGE];
        let (head, text) = page.split_at_mut(HEADER_SIZE);
        let text = text.get_mut(..payload.len()).ok_or(Failed::TooLong)?;
        text.copy_from_slice(payload);
        let nonce = message::nonce(header.sequence).into();
        let tag = self.cipher.encrypt_inout_detached(&nonce, header.authenticated(), text.into());
        let tag = tag.map_err(|_| Failed::TooLong)?;
        header.tag.iter_mut().zip(tag).for_each(|(to, byte)| *to = byte);
        head.copy_from_slice(header.as_bytes());
        Ok(page)
    }

    /// The payload of an answer, if the page is that of this kind and number.
    fn open<A: FromBytes + IntoBytes>(
        &self,
        kind: MessageType,
        sequence: u64,
        page: &mut [u8; PAGE],
    ) -> Option<A> {
        let (head, text) = page.split_at_mut(HEADER_SIZE);
        let header = Header::read_from_bytes(head).ok()?;
        let key = header.check().ok()?;
        let is_answer = header.message_type == kind
            && header.sequence == sequence
            && key == usize::from(self.vmpck)
            && usize::from(header.message_size) == size_of::<A>();
        let text = text.get_mut(..size_of::<A>()).filter(|_| is_answer)?;
        let tag = header.tag.first_chunk::<TAG_SIZE>()?;
        let nonce = message::nonce(sequence).into();
        let opened = self.cipher.decrypt_inout_detached(
            &nonce,
            header.authenticated(),
            (&mut *text).into(),
            tag.into(),
        );
        opened.ok()?;
        A::read_from_bytes(text).ok()
    }
}

#[cfg(test)]
mod tests;
