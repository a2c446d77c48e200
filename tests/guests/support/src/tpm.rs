//! A TPM by its command response buffer, as a driver uses it.
//!
//! Registers are those of the TCG PC Client Platform TPM Profile 1.05, section 6.5.3; commands and
//! codes those of the TPM 2.0 library specification, Part 2.

use crate::cpu;

/// Bytes of each buffer.
pub const BUFFER: usize = 4096;
/// The page of locality 0; the others follow.
pub const BASE: u64 = 0xfed4_0000;
/// Bytes from one locality's page to the next.
pub const PAGE: u64 = 0x1000;

/// Offsets of registers.
pub mod register {
    /// TPM_LOC_STATE.
    pub const LOC_STATE: u64 = 0x00;
    /// TPM_LOC_CTRL.
    pub const LOC_CTRL: u64 = 0x08;
    /// TPM_LOC_STS.
    pub const LOC_STS: u64 = 0x0c;
    /// TPM_CRB_INTF_ID.
    pub const INTF_ID: u64 = 0x30;
    /// TPM_CRB_CTRL_REQ.
    pub const REQ: u64 = 0x40;
    /// TPM_CRB_CTRL_STS.
    pub const STS: u64 = 0x44;
    /// TPM_CRB_CTRL_CANCEL.
    pub const CANCEL: u64 = 0x48;
    /// TPM_CRB_CTRL_START.
    pub const START: u64 = 0x4c;
    /// TPM_CRB_CTRL_CMD_SIZE.
    pub const CMD_SIZE: u64 = 0x58;
    /// TPM_CRB_CTRL_CMD_LADDR.
    pub const CMD_ADDR: u64 = 0x5c;
    /// TPM_CRB_CTRL_RSP_ADDR.
    pub const RSP_ADDR: u64 = 0x68;
}

/// A response.
#[derive(Clone, Copy)]
pub struct Response {
    bytes: [u8; BUFFER],
}

impl Response {
    /// Its tag.
    pub fn tag(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Its code.
    pub fn code(&self) -> u32 {
        u32::from_be_bytes([self.bytes[6], self.bytes[7], self.bytes[8], self.bytes[9]])
    }

    /// Header and all that follows, as long as the header says.
    pub fn bytes(&self) -> &[u8] {
        let length =
            u32::from_be_bytes([self.bytes[2], self.bytes[3], self.bytes[4], self.bytes[5]]);
        &self.bytes[..(length as usize).min(BUFFER)]
    }
}

/// Reads a register of a locality.
pub fn read(locality: u64, offset: u64) -> u32 {
    cpu::read32(BASE + locality * PAGE + offset)
}

/// Writes a register of a locality.
pub fn write(locality: u64, offset: u64, value: u32) {
    cpu::write32(BASE + locality * PAGE + offset, value);
}

/// Whether there is one.
pub fn is_present() -> bool {
    read(0, register::INTF_ID) != u32::MAX
}

/// The command buffer.
pub fn command_buffer() -> u64 {
    u64::from(read(0, register::CMD_ADDR)) | u64::from(read(0, register::CMD_ADDR + 4)) << 32
}

/// The response buffer.
pub fn response_buffer() -> u64 {
    u64::from(read(0, register::RSP_ADDR)) | u64::from(read(0, register::RSP_ADDR + 4)) << 32
}

/// Takes locality 0 and leaves it ready for commands.
pub fn claim() {
    write(0, register::LOC_CTRL, 1);
    write(0, register::REQ, 1);
}

/// Copies a command into its buffer.
pub fn put(command: &[u8]) {
    let buffer = command_buffer() as *mut u8;
    for (at, byte) in command.iter().enumerate() {
        // SAFETY: reserved memory that only the paravisor uses besides, and it copies it out.
        unsafe { buffer.add(at).write_volatile(*byte) };
    }
}

/// Has the command in the buffer run.
pub fn start() {
    write(0, register::START, 1);
}

/// Whether a command runs.
pub fn is_running() -> bool {
    read(0, register::START) != 0
}

/// The content of the response buffer.
pub fn response() -> Response {
    let buffer = response_buffer() as *const u8;
    let mut bytes = [0; BUFFER];
    for (at, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: as for `put`.
        *byte = unsafe { buffer.add(at).read_volatile() };
    }
    Response { bytes }
}

/// Runs a command to its end.
pub fn run(command: &[u8]) -> Response {
    put(command);
    start();
    while is_running() {
        core::hint::spin_loop();
    }
    response()
}

/// TPM2_GetRandom of 16 bytes.
pub const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16];
/// TPM2_PCR_Read of PCR 16, SHA-256.
pub const PCR_READ: [u8; 20] =
    [0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 1];
/// TPM2_PCR_Extend of PCR 16 with a SHA-256 digest of ones.
pub const PCR_EXTEND: [u8; 65] = {
    let mut command = [1; 65];
    let head = [
        0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, 16, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
        0, 0, 0, 1, 0, 0x0b,
    ];
    let mut at = 0;
    while at < head.len() {
        command[at] = head[at];
        at += 1;
    }
    command
};
/// TPM2_PCR_Reset of PCR 16.
pub const PCR_RESET: [u8; 27] =
    [0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x3d, 0, 0, 0, 16, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// TPM2_CreatePrimary of an RSA-2048 storage key under the null hierarchy, whose unique field is
/// all `salt`: another key for each.
pub const fn create_primary(salt: u8) -> [u8; 323] {
    let mut command = [salt; 323];
    let head = [
        0x80, 2, 0, 0, 1, 0x43, 0, 0, 1, 0x31, 0x40, 0, 0, 7, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0,
        0, 0, 0, 4, 0, 0, 0, 0, 1, 0x1a, 0, 1, 0, 0x0b, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 0x80, 0,
        0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0,
    ];
    let mut at = 0;
    while at < head.len() {
        command[at] = head[at];
        at += 1;
    }
    // No outside information, no creation PCRs.
    let mut at = 323 - 6;
    while at < 323 {
        command[at] = 0;
        at += 1;
    }
    command
}
/// TPM2_FlushContext of the first transient object.
pub const FLUSH: [u8; 14] = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 0];
