//! QEMU's fw_cfg device: the files that the host gives us (QEMU, docs/specs/fw_cfg).

use core::sync::atomic::{Ordering, compiler_fence};

use platform_api::{HostFile, Transfer, Width};

use crate::{Access, Direction, Pc};

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

/// A request to the DMA engine: control, length, address, all big-endian.
#[repr(align(16))]
struct Request([u8; 16]);

impl<A: Access> Pc<A> {
    /// Whether the host has the device, with DMA.
    pub fn has_fw_cfg(&self) -> bool {
        self.select(KEY_SIGNATURE);
        let signature: [u8; 4] = core::array::from_fn(|_| self.data());
        self.select(KEY_ID);
        let id = u32::from_le_bytes(core::array::from_fn(|_| self.data()));
        signature == *b"QEMU" && id & ID_HAS_DMA != 0
    }

    /// CPUs of the VM.
    pub fn cpu_count(&self) -> u32 {
        self.select(KEY_CPU_COUNT);
        u32::from(u16::from_le_bytes([self.data(), self.data()]))
    }

    /// The UUID of QEMU's `-uuid`; all zero is none.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        self.select(KEY_UUID);
        let uuid: [u8; 16] = core::array::from_fn(|_| self.data());
        (uuid != [0; 16]).then_some(uuid)
    }

    fn select(&self, key: u16) {
        self.access.port_write(SELECTOR, Width::Word, key.into());
    }

    fn data(&self) -> u8 {
        self.access.port_read(DATA, Width::Byte) as u8
    }

    /// Looks up a file by name.
    pub fn find_file(&self, name: &str) -> Option<HostFile> {
        self.select(KEY_DIRECTORY);
        let count = u32::from_be_bytes(core::array::from_fn(|_| self.data())).min(MAX_ENTRIES);
        let directory = HostFile { selector: KEY_DIRECTORY, length: 4 + count * ENTRY_SIZE as u32 };
        for index in 0..count {
            let mut entry = [0; ENTRY_SIZE];
            let offset = 4 + index * ENTRY_SIZE as u32;
            self.read_file(directory, offset, &mut entry).ok()?;
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
    ///
    /// # Errors
    /// [`Transfer`]; the content of `to` is then of no meaning.
    pub fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
        let length = u32::try_from(to.len()).map_err(|_| Transfer::PastEnd)?;
        self.seek(file, offset, length)?;
        for part in to.chunks_mut(A::MOST_LENT) {
            let length = part.len() as u32;
            self.access.lend(part, Direction::FromDevice, |lent| {
                // SAFETY: the engine writes to what is lent to it.
                unsafe { self.dma(control::READ, length, lent.address) }
            })?;
        }
        Ok(())
    }

    /// Has the engine write `length` bytes of a file to physical `address`, where devices reach
    /// that.
    ///
    /// # Errors
    /// [`Transfer`]; the destination may be written in part.
    ///
    /// # Safety
    /// The destination must be memory that no Rust reference covers.
    pub unsafe fn load_file(
        &self,
        file: HostFile,
        offset: u32,
        address: u64,
        length: u32,
    ) -> Result<(), Transfer> {
        self.seek(file, offset, length)?;
        // SAFETY: the caller vouches for the destination.
        unsafe { self.dma(control::READ, length, address) }
    }

    /// Selects a file, and skips its first `offset` bytes. `length` bytes behind them must be
    /// there.
    fn seek(&self, file: HostFile, offset: u32, length: u32) -> Result<(), Transfer> {
        if offset.checked_add(length).is_none_or(|end| end > file.length) {
            return Err(Transfer::PastEnd);
        }
        let selected = u32::from(file.selector) << 16 | control::SELECT;
        // SAFETY: a skip writes nothing.
        unsafe { self.dma(selected | control::SKIP, offset, 0) }
    }

    /// Runs one request.
    ///
    /// # Safety
    /// As for [`Pc::load_file`], if the request writes.
    unsafe fn dma(&self, control: u32, length: u32, address: u64) -> Result<(), Transfer> {
        let mut request = Request([0; 16]);
        let fields = [u64::from(control) << 32 | u64::from(length), address];
        let (words, _) = request.0.as_chunks_mut::<8>();
        for (word, field) in words.iter_mut().zip(fields) {
            *word = field.to_be_bytes();
        }
        self.access.lend(&mut request.0, Direction::Both, |lent| {
            // The device reads and writes the request while the port is written.
            compiler_fence(Ordering::SeqCst);
            // The device forgets the upper half with each request.
            let high = (lent.address >> 32) as u32;
            if high != 0 {
                self.access.port_write(DMA_HIGH, Width::Dword, high.to_be());
            }
            self.access.port_write(DMA_LOW, Width::Dword, (lent.address as u32).to_be());
            loop {
                let left = u32::from_be(lent.read_u32(0));
                compiler_fence(Ordering::SeqCst);
                match left {
                    0 => return Ok(()),
                    _ if left & control::ERROR != 0 => return Err(Transfer::Refused),
                    _ => core::hint::spin_loop(),
                }
            }
        })
    }
}
