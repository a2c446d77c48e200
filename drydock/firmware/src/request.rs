//! The messages of a running guest.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use snp::message::{
    self, HEADER_SIZE, Header, KeyRequest, KeyResponse, MAX_PAYLOAD, MESSAGE_VERSION, MessageType,
    ReportRequest, ReportResponse, TAG_SIZE, TscInfoRequest, TscInfoResponse,
};
use snp::status::Status;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::guest::Guest;
use crate::platform::Platform;
use crate::{key, report};

impl Guest {
    /// SNP_GUEST_REQUEST: answers a message.
    ///
    /// A sequence number is used once: the message after this one must have a number higher by two.
    /// A message that is refused changes neither numbers nor `response`.
    pub fn request(
        &mut self,
        platform: &Platform,
        request: &[u8; 4096],
        response: &mut [u8; 4096],
    ) -> Result<(), Status> {
        self.require_running()?;
        let (header, _) = Header::read_from_prefix(request).map_err(|_| Status::INVALID_LENGTH)?;
        let index = header.check().map_err(|_| Status::INVALID_PARAM)?;
        let numbers = self.messages.get_mut(index).ok_or(Status::INVALID_PARAM)?;
        let answered = numbers.checked_add(2).ok_or(Status::AEAD_OFLOW)?;
        if header.sequence != *numbers + 1 {
            return Err(Status::INVALID_PARAM);
        }
        let cipher = Cipher::new(self.entropy.vmpck.get(index).ok_or(Status::INVALID_PARAM)?);
        let mut payload = [0; MAX_PAYLOAD];
        let length = usize::from(header.message_size);
        payload.copy_from_slice(&request[HEADER_SIZE..]);
        let text = payload.get_mut(..length).ok_or(Status::INVALID_LENGTH)?;
        cipher.open(&header, text)?;

        let mut answer = [0; MAX_PAYLOAD];
        let size = self.answer(platform, &header, text, &mut answer)?;
        let answer = answer.get_mut(..size).ok_or(Status::INVALID_LENGTH)?;
        let mut header = Header::new(
            header.message_type.answer(),
            answered,
            header.vmpck,
            u16::try_from(size).map_err(|_| Status::INVALID_LENGTH)?,
        );
        cipher.seal(&mut header, answer)?;
        response.fill(0);
        response[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        response[HEADER_SIZE..][..size].copy_from_slice(answer);
        if let Some(numbers) = self.messages.get_mut(index) {
            *numbers = answered;
        }
        Ok(())
    }

    /// Writes the payload of the answer. Gives its size.
    fn answer(
        &self,
        platform: &Platform,
        header: &Header,
        payload: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, Status> {
        if header.message_version != MESSAGE_VERSION {
            return Err(Status::INVALID_PARAM);
        }
        // A key belongs to the level of its number.
        let level = u32::from(header.vmpck);
        match header.message_type {
            MessageType::REPORT_REQ => {
                let request: ReportRequest = read(payload)?;
                write(&self.report_response(platform, level, &request), answer)
            }
            MessageType::KEY_REQ => {
                let request: KeyRequest = read(payload)?;
                write(&self.key_response(platform, level, &request), answer)
            }
            MessageType::TSC_INFO_REQ => {
                let _: TscInfoRequest = read(payload)?;
                write(&self.tsc_response(), answer)
            }
            _ => Err(Status::INVALID_PARAM),
        }
    }

    fn report_response(
        &self,
        platform: &Platform,
        level: u32,
        request: &ReportRequest,
    ) -> ReportResponse {
        let mut response = ReportResponse::new_zeroed();
        match report::make(self, platform, level, request) {
            Ok(report) => {
                response.report_size = size_of_val(&report) as u32;
                response.report = report;
            }
            Err(status) => response.status = status.0,
        }
        response
    }

    fn key_response(&self, platform: &Platform, level: u32, request: &KeyRequest) -> KeyResponse {
        let mut response = KeyResponse::new_zeroed();
        match key::derive(self, platform, level, request) {
            Ok(key) => response.key = key,
            Err(status) => response.status = status.0,
        }
        response
    }

    fn tsc_response(&self) -> TscInfoResponse {
        let mut response = TscInfoResponse::new_zeroed();
        match self.start.tsc {
            Some(tsc) => {
                response.guest_tsc_scale = tsc.scale;
                response.guest_tsc_offset = tsc.offset;
                response.tsc_factor = tsc.factor;
            }
            None => response.status = Status::INVALID_PARAM.0,
        }
        response
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(payload: &[u8]) -> Result<T, Status> {
    T::read_from_bytes(payload).map_err(|_| Status::INVALID_LENGTH)
}

fn write<T: IntoBytes + Immutable>(value: &T, to: &mut [u8]) -> Result<usize, Status> {
    value.write_to_prefix(to).map_err(|_| Status::INVALID_LENGTH)?;
    Ok(size_of::<T>())
}

/// The encryption of messages with one key.
struct Cipher(Aes256Gcm);

impl Cipher {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    fn open(&self, header: &Header, text: &mut [u8]) -> Result<(), Status> {
        let (tag, rest) = header.tag.split_at(TAG_SIZE);
        let tag = tag.try_into().map_err(|_| Status::BAD_MEASUREMENT)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Status::INVALID_PARAM);
        }
        let nonce = message::nonce(header.sequence).into();
        self.0
            .decrypt_inout_detached(&nonce, header.authenticated(), text.into(), tag)
            .map_err(|_| Status::BAD_MEASUREMENT)
    }

    fn seal(&self, header: &mut Header, text: &mut [u8]) -> Result<(), Status> {
        let nonce = message::nonce(header.sequence).into();
        let tag = self
            .0
            .encrypt_inout_detached(&nonce, header.authenticated(), text.into())
            .map_err(|_| Status::INVALID_LENGTH)?;
        header.tag[..TAG_SIZE].copy_from_slice(&tag);
        Ok(())
    }
}
