//! Where a disk's registers may be, and who gets the queue's pages.

extern crate std;

use super::*;

fn range(start: u64, end: u64) -> GpaRange {
    GpaRange::new(start, end).unwrap()
}

fn ram() -> RamMap {
    let mut ram = RamMap::new();
    ram.add(range(0, 0xa_0000)).unwrap();
    ram.add(range(0x10_0000, 0x1f00_0000)).unwrap();
    ram.add(range(1 << 32, 5 << 30)).unwrap();
    ram
}

#[test]
fn registers_are_neither_memory_nor_anybody_elses() {
    for (start, pages, fine) in [
        (0xfe00_0000, 4, true),
        (0x70_0000_4000, 4, true),
        (0x2000_0000, 1, true),
        ((1 << 40) - 0x1000, 1, true),
        (0x10_0000, 1, false),
        (0xc_0000, 1, false),
        (0x1eff_f000, 2, false),
        (0x1fff_f000, 1, false),
        (0x1_0000_0000, 1, false),
        (0xffff_f000, 2, false),
        (0xfee0_0000, 1, false),
        (0xfebf_f000, 2, false),
        ((1 << 40) - 0x1000, 2, false),
        (1 << 46, 1, false),
    ] {
        let pages = GpaRange::from_length(start, pages * PAGE_SIZE).unwrap();
        let own = range(0x1f00_0000, 0x2000_0000);
        assert_eq!(may_map(pages, &ram(), own, 1 << 40), fine, "{pages}");
    }
}

/// The pages are one run; whoever asks for more than there are gets none.
#[test]
fn the_queues_pages_are_given_out_once() {
    #[repr(align(4096))]
    struct Pages([u8; QUEUE_PAGES * 4096]);
    let pages = std::boxed::Box::leak(std::boxed::Box::new(Pages([0xff; QUEUE_PAGES * 4096])));
    let start = pages.0.as_ptr() as u64;
    let take = |count| QueuePages::dma_alloc(count, BufferDirection::Both).0;
    assert_eq!(take(1), 0, "there are none before the start");
    QUEUE_START.store(start, Ordering::Release);
    assert_eq!((take(3), take(1), take(1), take(1)), (0, start, start + PAGE_SIZE, 0));
    assert!(pages.0.iter().all(|byte| *byte == 0), "given out empty");
    for _ in 0..2 {
        // SAFETY: as they were taken.
        let status = unsafe { QueuePages::dma_dealloc(start, NonNull::dangling(), 1) };
        assert_eq!(status, 0);
    }
    assert_eq!(take(2), start);
}
