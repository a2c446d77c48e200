//! A disk whose device sees encrypted data only.
//!
//! The data are encrypted by AES-256-XTS, with the number of the block as tweak, as in dm-crypt's
//! `aes-xts-plain64` with `iv_large_sectors`. They are encrypted and decrypted between the
//! requester's memory and slots in the pool, so a device never reaches plain data, and the
//! requester never sees encrypted ones.
//!
//! XTS hides the data and does not authenticate them. Somebody who holds the disk sees which blocks
//! change and can bring an older content of a block back; a block that is changed otherwise
//! decrypts to noise. So that unused blocks do not show, the device does not learn of a
//! [`Operation::Deallocate`], and zeroes are written as any other data.

mod cipher;
mod pool;
mod work;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;

use block::{
    BlockDevice, Completion, DataMemory, DataRange, Event, Failure, Operation, PoolRange,
    Properties, Request, Tag,
};
use device_model::Instant;
use zeroize::Zeroizing;

use crate::answers::Answers;
use cipher::Cipher;
pub use cipher::{XtsKey, XtsKeyError};
use pool::{SLOT, Slots};
use work::{Piece, Work};

/// The most requests under way.
const MOST_REQUESTS: usize = 256;
/// Bytes that are encrypted or decrypted in one call of `poll`, but for one slot more. Without AES
/// instructions, 64 KiB take 3 ms.
const STEP: u64 = 64 << 10;

/// Why a device can not be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptError {
    /// The size of its blocks is none that the contract allows.
    BlockBytes,
    /// The pool has no room for a slot.
    NoPool,
}

/// An encrypted device.
pub struct Crypt<D, M: DataMemory> {
    device: D,
    cipher: Cipher,
    block_bytes: u64,
    slots: Slots<M>,
    works: BTreeMap<Tag, Work>,
    /// Requests with pieces that are not begun, the oldest first.
    ready: VecDeque<Tag>,
    /// By the tag that the device knows.
    pieces: BTreeMap<Tag, Piece>,
    /// A piece for which the device has had no room yet.
    held: Option<Request>,
    next: u64,
    answers: Answers,
    /// The last call may have left something to do.
    unfinished: bool,
    /// Bytes that were encrypted or decrypted in this call.
    spent: u64,
    /// Plain data of a piece, and those that they are compared with.
    plain: Zeroizing<Box<[u8]>>,
    other: Zeroizing<Box<[u8]>>,
}

impl<D: BlockDevice, M: DataMemory> Crypt<D, M> {
    /// Encrypts a device. `slots` bounds the pieces under way, of 32 KiB each; there may be fewer.
    ///
    /// # Errors
    /// [`CryptError`] says why the device can not be encrypted.
    pub fn new(device: D, memory: M, key: &XtsKey, slots: usize) -> Result<Self, CryptError> {
        let block_bytes = device.properties().block_bytes;
        if !block_bytes.is_power_of_two() || !(512..=4096).contains(&block_bytes) {
            return Err(CryptError::BlockBytes);
        }
        let slots = Slots::new(memory, slots);
        if slots.is_empty() {
            return Err(CryptError::NoPool);
        }
        let buffer = || Zeroizing::new(vec![0; SLOT as usize].into_boxed_slice());
        Ok(Self {
            device,
            cipher: Cipher::new(key, block_bytes),
            block_bytes: block_bytes.into(),
            slots,
            works: BTreeMap::new(),
            ready: VecDeque::new(),
            pieces: BTreeMap::new(),
            held: None,
            next: 0,
            answers: Answers::default(),
            unfinished: false,
            spent: 0,
            plain: buffer(),
            other: buffer(),
        })
    }

    fn tag(&mut self) -> Tag {
        self.next = self.next.wrapping_add(1);
        Tag(self.next)
    }

    /// Completes a request if nothing of it is left.
    fn settle(&mut self, tag: Tag) {
        let Some(work) = self.works.get(&tag).filter(|work| work.is_done()) else { return };
        self.answers.push(Completion { tag: work.request.tag, result: work.verdict.result() });
        self.works.remove(&tag);
        self.ready.retain(|ready| *ready != tag);
    }

    /// Hands one piece to the device. Answers whether the device took it.
    fn begin(&mut self, now: Instant) -> bool {
        let Some(request) = self.held.take().or_else(|| self.prepare()) else { return false };
        let tag = request.tag;
        if let Err(request) = self.device.submit(now, request) {
            self.held = Some(request);
            return false;
        }
        if let Some(piece) = self.pieces.get(&tag)
            && let Some(work) = self.works.get_mut(&piece.work)
        {
            work.took(piece);
            if !work.has_more() {
                self.ready.retain(|ready| *ready != piece.work);
            }
        }
        true
    }

    /// The next piece, with its data encrypted, if there is one and a slot for it.
    fn prepare(&mut self) -> Option<Request> {
        let id = *self.ready.front()?;
        let work = self.works.get(&id)?;
        let slot = if work.needs_slots() { Some(self.slots.take()?) } else { None };
        let piece = work.next(id, self.block_bytes, slot);
        let operation = match work.request.operation {
            Operation::Compare => Operation::Read,
            Operation::WriteZeroes { force_unit_access, .. } => {
                Operation::Write { force_unit_access }
            }
            operation => operation,
        };
        let data = self.data(&piece);
        if let (Some(data), true) = (data, operation.writes()) {
            self.encrypt(&piece, data);
        }
        let tag = self.tag();
        self.pieces.insert(tag, piece);
        let data = data.map(Into::into).unwrap_or_default();
        Some(Request { tag, operation, extent: piece.extent, data })
    }

    /// The part of its slot that the piece needs.
    fn data(&self, piece: &Piece) -> Option<DataRange> {
        let length = piece.extent.blocks * self.block_bytes;
        piece.slot.and_then(|slot| slot.part(0, length)).map(DataRange::Pool)
    }

    /// Encrypts the requester's data, which are read once, or zeroes.
    fn encrypt(&mut self, piece: &Piece, data: DataRange) {
        let Some(work) = self.works.get(&piece.work) else { return };
        let plain = &mut self.plain[..data.length() as usize];
        if work.request.operation.has_data() {
            self.slots.memory.read_list(&work.request.data, piece.offset, plain);
        } else {
            plain.fill(0);
        }
        self.cipher.encrypt(piece.extent.first, plain);
        self.spent += data.length();
        self.slots.memory.write(data, 0, plain);
    }

    /// Takes one completion of the device. Answers whether there was one.
    fn end(&mut self, now: Instant) -> bool {
        let Some(done) = self.device.poll(now) else { return false };
        let Some(piece) = self.pieces.remove(&done.tag) else { return true };
        let result = match done.result {
            Ok(()) => self.decrypt(&piece),
            // It was not asked to compare.
            Err(Failure::Miscompare { .. }) => Err(Failure::Device),
            Err(failure) => Err(failure),
        };
        self.release(piece.slot);
        if let Some(work) = self.works.get_mut(&piece.work) {
            work.under_way = work.under_way.saturating_sub(1);
            if let Err(failure) = result {
                self.fail(piece.work, failure);
            }
        }
        self.settle(piece.work);
        true
    }

    /// Gives what a piece has read to the requester, or compares it.
    fn decrypt(&mut self, piece: &Piece) -> Result<(), Failure> {
        let Some(work) = self.works.get(&piece.work) else { return Ok(()) };
        let operation = work.request.operation;
        let Some(from) = self.data(piece).filter(|_| !operation.writes()) else { return Ok(()) };
        let length = from.length() as usize;
        let (plain, other) = (&mut self.plain[..length], &mut self.other[..length]);
        let memory = &self.slots.memory;
        memory.read(from, 0, plain);
        self.cipher.decrypt(piece.extent.first, plain);
        self.spent += from.length();
        if operation == Operation::Read {
            memory.write_list(&work.request.data, piece.offset, plain);
            return Ok(());
        }
        memory.read_list(&work.request.data, piece.offset, other);
        match plain.iter().zip(other).position(|(plain, other)| plain != other) {
            Some(at) => Err(Failure::Miscompare { offset: Some(piece.offset + at as u64) }),
            None => Ok(()),
        }
    }

    /// No more pieces of the request begin.
    fn fail(&mut self, tag: Tag, failure: Failure) {
        if let Some(work) = self.works.get_mut(&tag) {
            work.verdict.fail(failure);
        }
        let pieces = &self.pieces;
        let of_it = |held: &mut Request| pieces.get(&held.tag).is_some_and(|held| held.work == tag);
        if let Some(held) = self.held.take_if(of_it)
            && let Some(piece) = self.pieces.remove(&held.tag)
        {
            self.release(piece.slot);
        }
        self.ready.retain(|ready| *ready != tag);
    }

    fn release(&mut self, slot: Option<PoolRange>) {
        if let Some(slot) = slot {
            self.slots.put(slot);
        }
    }
}

impl<D: BlockDevice, M: DataMemory> BlockDevice for Crypt<D, M> {
    fn properties(&self) -> Properties {
        let disk = self.device.properties();
        Properties { deallocates: false, deallocated_read_zero: false, ..disk }
    }

    fn submit(&mut self, _: Instant, request: Request) -> Result<(), Request> {
        if let Some(failure) = request.refused(&self.properties()) {
            return self.answers.refuse(request, failure);
        }
        if self.works.len() + self.answers.len() >= MOST_REQUESTS {
            return Err(request);
        }
        if request.operation == Operation::Deallocate {
            self.answers.push(Completion { tag: request.tag, result: Ok(()) });
            return Ok(());
        }
        let tag = self.tag();
        self.works.insert(tag, Work::new(request));
        self.ready.push_back(tag);
        // It may have no blocks.
        self.settle(tag);
        self.unfinished = true;
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Option<Completion> {
        self.spent = 0;
        while self.spent < STEP {
            if let Some(done) = self.answers.take() {
                return Some(done);
            }
            // A device that took a piece must be asked afterwards.
            self.unfinished = self.end(now) | self.begin(now);
            if !self.unfinished {
                return None;
            }
        }
        self.answers.take()
    }

    fn cancel(&mut self, now: Instant, tag: Tag) {
        let found = self.works.iter().find(|(_, work)| work.request.tag == tag);
        let Some((tag, more)) = found.map(|(tag, work)| (*tag, work.has_more())) else { return };
        if more {
            self.fail(tag, Failure::Cancelled);
        }
        for (piece, _) in self.pieces.iter().filter(|(_, piece)| piece.work == tag) {
            self.device.cancel(now, *piece);
        }
        self.settle(tag);
        self.unfinished = true;
    }

    fn deadline(&self) -> Option<Instant> {
        let below = self.device.deadline();
        self.answers.deadline(if self.unfinished { Some(Instant::START) } else { below })
    }

    fn event(&mut self) -> Option<Event> {
        self.device.event()
    }
}
