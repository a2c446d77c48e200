//! A disk in the paravisor's own memory.
//!
//! Requests complete in the order in which they were submitted, so a flush has nothing to do. The
//! work is done in [`BlockDevice::poll`], a bounded part of it in each call: a long request keeps
//! no CPU. The host can not read the content, which ends with the VM.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use block::{
    BlockDevice, Completion, DataMemory, Event, Failure, Operation, Properties, Request, Tag,
};
use device_model::Instant;

/// Bytes that are copied in one go.
const STEP: usize = 64 << 10;
/// The most of these in one call of `poll`: 1 MiB, less than a millisecond.
const STEPS: usize = 16;
/// The most requests under way on one CPU's way to the disk.
const MOST_REQUESTS: usize = 256;
/// Bytes in a word of the content.
const WORD: u64 = 8;

/// Why there can be no such content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// A block must have 512, 1,024, 2,048 or 4,096 bytes.
    BlockBytes,
    /// The heap has no room for so many blocks.
    NoMemory,
}

/// The bytes of a RAM disk, which the ways of several CPUs share.
///
/// Its words are atomic, so nobody waits for another CPU (rule 1). A word that one CPU reads while
/// another writes it is the old or the new one. Two CPUs that use the same block at once may
/// therefore find a mixture of old and new words, as on a disk that is written during a read.
pub struct Content {
    words: Vec<AtomicU64>,
    block_bytes: u32,
    blocks: u64,
}

impl Content {
    /// `blocks` blocks of zeroes.
    pub fn new(block_bytes: u32, blocks: u64) -> Result<Arc<Self>, ContentError> {
        if !block_bytes.is_power_of_two() || !(512..=4096).contains(&block_bytes) {
            return Err(ContentError::BlockBytes);
        }
        let count = blocks.checked_mul(u64::from(block_bytes) / WORD);
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or(ContentError::NoMemory)?;
        let mut words = Vec::new();
        words.try_reserve_exact(count).map_err(|_| ContentError::NoMemory)?;
        words.resize_with(count, AtomicU64::default);
        Ok(Arc::new(Self { words, block_bytes, blocks }))
    }

    /// The words from byte `offset` on, which is a multiple of a word.
    fn from(&self, offset: u64) -> &[AtomicU64] {
        let first = usize::try_from(offset / WORD).unwrap_or(usize::MAX);
        self.words.get(first..).unwrap_or_default()
    }

    fn read(&self, offset: u64, to: &mut [u8]) {
        let (to, _) = to.as_chunks_mut();
        for (word, to) in self.from(offset).iter().zip(to) {
            // Acquires what the CPU that wrote the word released with it: a completed write is
            // seen by each request that is submitted after it, on any CPU.
            *to = word.load(Ordering::Acquire).to_le_bytes();
        }
    }

    fn write(&self, offset: u64, from: &[u8]) {
        let (from, _) = from.as_chunks();
        for (word, from) in self.from(offset).iter().zip(from) {
            word.store(u64::from_le_bytes(*from), Ordering::Release);
        }
    }

    /// Which of the bytes is the first that differs from the disk's at `offset`.
    fn differs(&self, offset: u64, from: &[u8]) -> Option<u64> {
        let (chunks, _) = from.as_chunks::<8>();
        let mut words = (0..).step_by(8).zip(self.from(offset).iter().zip(chunks));
        words.find_map(|(at, (word, bytes))| {
            let differs = word.load(Ordering::Acquire) ^ u64::from_le_bytes(*bytes);
            (differs != 0).then(|| at + u64::from(differs.trailing_zeros()) / 8)
        })
    }
}

/// A request that has come, and how far it is.
#[derive(Debug)]
struct Work {
    request: Request,
    refused: Option<Failure>,
    cancelled: bool,
    /// In bytes.
    done: u64,
}

/// One CPU's way to a disk in memory.
pub struct RamDisk<M> {
    content: Arc<Content>,
    memory: M,
    queue: VecDeque<Work>,
    buffer: Box<[u8]>,
}

impl<M: DataMemory> RamDisk<M> {
    /// A way to `content`, for requests whose data lie in `memory`.
    pub fn new(content: Arc<Content>, memory: M) -> Self {
        let buffer = vec![0; STEP].into_boxed_slice();
        Self { content, memory, queue: VecDeque::new(), buffer }
    }
}

impl<M: DataMemory> BlockDevice for RamDisk<M> {
    fn properties(&self) -> Properties {
        Properties {
            block_bytes: self.content.block_bytes,
            blocks: self.content.blocks,
            optimal_blocks: 1,
            most_blocks: u32::MAX,
            read_only: false,
            volatile_cache: false,
            // Nothing of what the guest gave up stays in memory, but the memory stays the disk's.
            deallocates: true,
            deallocated_read_zero: true,
        }
    }

    fn submit(&mut self, _: Instant, request: Request) -> Result<(), Request> {
        if self.queue.len() >= MOST_REQUESTS {
            return Err(request);
        }
        let refused = request.refused(&self.properties());
        self.queue.push_back(Work { request, refused, cancelled: false, done: 0 });
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Option<Completion> {
        for _ in 0..STEPS {
            let work = self.queue.front_mut()?;
            if let Some(result) = work.advance(&self.content, &self.memory, &mut self.buffer) {
                let tag = work.request.tag;
                self.queue.pop_front();
                return Some(Completion { tag, result });
            }
        }
        None
    }

    fn cancel(&mut self, _: Instant, tag: Tag) {
        if let Some(work) = self.queue.iter_mut().find(|work| work.request.tag == tag) {
            work.cancelled = true;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        // Work is left: as soon as possible.
        (!self.queue.is_empty()).then_some(Instant::START)
    }

    fn event(&mut self) -> Option<Event> {
        None
    }
}

impl Work {
    /// Does a step, at most as long as the buffer. Answers the result if it was the last one.
    fn advance(
        &mut self,
        content: &Content,
        memory: &impl DataMemory,
        buffer: &mut [u8],
    ) -> Option<Result<(), Failure>> {
        if let Some(failure) = self.refused {
            return Some(Err(failure));
        }
        if self.cancelled {
            return Some(Err(Failure::Cancelled));
        }
        // The extent lies on the disk, so its bytes can be counted.
        let bytes = u64::from(content.block_bytes);
        let left = self.request.extent.blocks * bytes - self.done;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let at = self.request.extent.first * bytes + self.done;
        if let Err(failure) = self.step(content, memory, at, &mut buffer[..length]) {
            return Some(Err(failure));
        }
        self.done += length as u64;
        (length as u64 == left).then_some(Ok(()))
    }

    /// Does a step, of the bytes at `at` on the disk.
    fn step(
        &self,
        content: &Content,
        memory: &impl DataMemory,
        at: u64,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let data = &self.request.data;
        match self.request.operation {
            Operation::Read => {
                content.read(at, buffer);
                memory.write_list(data, self.done, buffer);
            }
            Operation::Write { .. } => {
                memory.read_list(data, self.done, buffer);
                content.write(at, buffer);
            }
            Operation::Compare => {
                memory.read_list(data, self.done, buffer);
                if let Some(offset) = content.differs(at, buffer) {
                    let offset = Some(self.done + offset);
                    return Err(Failure::Miscompare { offset });
                }
            }
            Operation::WriteZeroes { .. } | Operation::Deallocate => {
                buffer.fill(0);
                content.write(at, buffer);
            }
            Operation::Verify | Operation::Flush => {}
        }
        Ok(())
    }
}
