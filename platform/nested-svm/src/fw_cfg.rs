//! QEMU's fw_cfg device: the files that the host gives us (QEMU, docs/specs/fw_cfg).

use core::sync::atomic::{Ordering, compiler_fence};

use platform_api::{HostFile, Transfer, Width};

use crate::instructions;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_HIGH: u16 = 0x514;
const DMA_LOW: u16 = 0x518;

const KEY_SIGNATURE: u16 = 0x00;
const KEY_ID: u16 = 0x01;
const KEY_UUID: u16 = 0x02;
const KEY_CPU_COUNT: u16 = 0x05;
const KEY_DIRECTORY: u16 = 0x19;

const ID_HAS_DMA: u32 = 1 << 1;

/// Bits of the control word.
mod control {
    pub(super) const ERROR: u32 = 1 << 0;
    pub(super) const READ: u32 = 1 << 1;
    pub(super) const SKIP: u32 = 1 << 2;
    pub(super) const SELECT: u32 = 1 << 3;
}

/// A directory entry: size, selector, reserved, name.
const ENTRY_SIZE: usize = 64;
/// Entries that we look at; a host that lists more is cut short.
const MAX_ENTRIES: u32 = 512;

/// A request to the DMA engine, all fields big-endian.
#[repr(C, align(16))]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

/// Whether the host has the device, with DMA.
pub fn is_present() -> bool {
    select(KEY_SIGNATURE);
    let signature: [u8; 4] = core::array::from_fn(|_| data());
    select(KEY_ID);
    let id = u32::from_le_bytes(core::array::from_fn(|_| data()));
    signature == *b"QEMU" && id & ID_HAS_DMA != 0
}

/// CPUs of the VM.
pub fn cpu_count() -> u32 {
    select(KEY_CPU_COUNT);
    u32::from(u16::from_le_bytes([data(), data()]))
}

/// The UUID of QEMU's `-uuid`; all zero is none.
pub fn uuid() -> Option<[u8; 16]> {
    select(KEY_UUID);
    let uuid: [u8; 16] = core::array::from_fn(|_| data());
    (uuid != [0; 16]).then_some(uuid)
}

fn select(key: u16) {
    instructions::port_write(SELECTOR, Width::Word, key.into());
}

fn data() -> u8 {
    instructions::port_read(DATA, Width::Byte) as u8
}

/// Looks up a file by name.
pub fn find(name: &str) -> Option<HostFile> {
    select(KEY_DIRECTORY);
    let count = u32::from_be_bytes(core::array::from_fn(|_| data())).min(MAX_ENTRIES);
    let directory = HostFile { selector: KEY_DIRECTORY, length: 4 + count * ENTRY_SIZE as u32 };
    for index in 0..count {
        let mut entry = [0; ENTRY_SIZE];
        let offset = 4 + index * ENTRY_SIZE as u32;
        read(directory, offset, &mut entry).ok()?;
        let [s0, s1, s2, s3, k0, k1, _, _, found @ ..] = entry;
        let length = found.iter().position(|byte| *byte == 0).unwrap_or(found.len());
        if found.get(..length) == Some(name.as_bytes()) {
            return Some(HostFile {
                selector: u16::from_be_bytes([k0, k1]),
                length: u32::from_be_bytes([s0, s1, s2, s3]),
            });
        }
    }
    None
}

/// Reads part of a file.
pub fn read(file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
    let length = u32::try_from(to.len()).map_err(|_| Transfer::PastEnd)?;
    let address = to.as_mut_ptr() as u64;
    // SAFETY: the engine writes `length` bytes to `to`, which is ours alone for the call. Its
    // physical address is its virtual one.
    unsafe { read_to(file, offset, address, length) }
}

/// Has the engine write `length` bytes of a file to physical `address`.
///
/// # Safety
/// The destination must be memory that no Rust reference but the caller's own covers.
pub unsafe fn read_to(
    file: HostFile,
    offset: u32,
    address: u64,
    length: u32,
) -> Result<(), Transfer> {
    if offset.checked_add(length).is_none_or(|end| end > file.length) {
        return Err(Transfer::PastEnd);
    }
    let selected = u32::from(file.selector) << 16 | control::SELECT;
    // SAFETY: a skip writes nothing.
    unsafe { dma(selected | control::SKIP, offset, 0)? };
    // SAFETY: the caller vouches for the destination.
    unsafe { dma(control::READ, length, address) }
}

/// Runs one request.
///
/// # Safety
/// As for [`read_to`], if the request writes.
unsafe fn dma(control: u32, length: u32, address: u64) -> Result<(), Transfer> {
    let mut request =
        Request { control: control.to_be(), length: length.to_be(), address: address.to_be() };
    let at = &raw mut request as u64;
    // The device reads and writes the request while the port is written.
    compiler_fence(Ordering::SeqCst);
    instructions::port_write(DMA_HIGH, Width::Dword, ((at >> 32) as u32).to_be());
    instructions::port_write(DMA_LOW, Width::Dword, (at as u32).to_be());
    loop {
        // SAFETY: our own variable, which the device may still be writing.
        let left = u32::from_be(unsafe { (&raw const request.control).read_volatile() });
        compiler_fence(Ordering::SeqCst);
        match left {
            0 => return Ok(()),
            _ if left & control::ERROR != 0 => return Err(Transfer::Refused),
            _ => core::hint::spin_loop(),
        }
    }
}
