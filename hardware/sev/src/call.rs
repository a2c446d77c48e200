//! Calls of the host by a GHCB page (GHCB specification 56421, "Supported NAE events").
//!
//! Requests and answers are those of [`vmpl0::calls`]; this is the page in memory, with the
//! instructions that give the host its turn.

use core::arch::naked_asm;

use snp::ghcb::{Field, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE};
use vmpl0::calls::{self, Call, Failed, Quadwords};

/// A GHCB page, for the calls of one CPU.
#[derive(Debug)]
pub struct GhcbPage {
    memory: Memory,
    gpa: u64,
}

/// The page's memory, which the host can change at any time.
#[derive(Debug)]
struct Memory {
    /// The linear address of the page, where it is mapped as shared memory.
    linear: u64,
}

impl Memory {
    /// The quadword at `offset`, or one of the same page if that lies outside.
    fn word(&self, offset: usize) -> *mut u64 {
        (self.linear + (offset & 0xff8) as u64) as *mut u64
    }

    fn buffer(&self) -> u64 {
        self.linear + SHARED_BUFFER_OFFSET as u64
    }
}

impl Quadwords for Memory {
    #[inline]
    fn read(&self, offset: usize) -> u64 {
        // SAFETY: `GhcbPage::new`'s caller gave the page; `word` stays in it, aligned.
        unsafe { self.word(offset).read_volatile() }
    }

    #[inline]
    fn write(&self, offset: usize, value: u64) {
        // SAFETY: as for the read.
        unsafe { self.word(offset).write_volatile(value) };
    }
}

impl GhcbPage {
    /// Uses the page at `gpa`, which is mapped as shared memory at `linear`.
    ///
    /// # Safety
    /// The page must be shared with the host, registered as the GHCB of the CPU that makes the
    /// calls, and used for this only, for ever.
    pub const unsafe fn new(gpa: u64, linear: u64) -> Self {
        Self { memory: Memory { linear }, gpa }
    }

    /// The guest-physical address of the shared buffer, for SW_SCRATCH.
    pub const fn buffer_address(&self) -> u64 {
        self.gpa + SHARED_BUFFER_OFFSET as u64
    }

    /// Copies bytes to the shared buffer; those that do not fit are dropped.
    pub fn put_buffer(&self, bytes: &[u8]) {
        for (at, byte) in (self.memory.buffer()..).zip(bytes.iter().take(SHARED_BUFFER_SIZE)) {
            // SAFETY: within the page, which `new`'s caller gave.
            unsafe { (at as *mut u8).write_volatile(*byte) };
        }
    }

    /// Copies bytes from the shared buffer.
    pub fn get_buffer(&self, bytes: &mut [u8]) {
        for (at, byte) in (self.memory.buffer()..).zip(bytes.iter_mut().take(SHARED_BUFFER_SIZE)) {
            // SAFETY: as for `put_buffer`.
            *byte = unsafe { (at as *const u8).read_volatile() };
        }
    }

    /// Makes a call; answers the `wanted` fields, which are different ones and not SW_EXITINFO1.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Safety
    /// The request must not have the host change memory that Rust code relies on.
    pub unsafe fn call<const N: usize>(
        &self,
        call: Call,
        fields: &[(Field, u64)],
        wanted: [Field; N],
    ) -> Result<[u64; N], Failed> {
        // SAFETY: the caller vouches.
        calls::call(&self.memory, call, fields, wanted, || unsafe { crate::vmgexit() })
    }

    /// Runs level `vmpl` of this VP, unless the word at `doorbell` is not zero. Returns when this
    /// level is entered again. `clock` tells when that was.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Safety
    /// `doorbell` must be mapped; #HV must lead to [`leave_window`]. The less privileged level must
    /// not reach memory that Rust code relies on.
    pub unsafe fn run_level(
        &self,
        vmpl: u8,
        doorbell: u64,
        clock: impl Fn() -> u64,
    ) -> Result<Away, Failed> {
        let mut away = Away::default();
        calls::run_level(&self.memory, vmpl, || {
            away.left = clock();
            // SAFETY: the caller vouches.
            unsafe { sev_call_window(doorbell) };
            away.back = clock();
        })?;
        Ok(away)
    }
}

/// When this level was left and entered again, by the clock of [`GhcbPage::run_level`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// Just before it was left.
    pub left: u64,
    /// Just after it was entered.
    pub back: u64,
}

/// Sleeps until the host enters this VP, unless the word at `doorbell` is not zero.
///
/// # Safety
/// As for [`GhcbPage::run_level`].
pub unsafe fn sleep_unless(doorbell: u64) {
    // SAFETY: the caller vouches.
    unsafe { sev_sleep_window(doorbell) };
}

// Between the look at the doorbell page and the instruction that leaves, an #HV must not be lost:
// its handler moves RIP behind the instruction.
#[unsafe(naked)]
unsafe extern "C" fn sev_call_window(doorbell: u64) {
    naked_asm!(
        ".globl sev_call_window_start",
        "sev_call_window_start:",
        "cmp word ptr [rdi], 0",
        "jne 2f",
        "rep vmmcall",
        "2:",
        ".globl sev_call_window_end",
        "sev_call_window_end:",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn sev_sleep_window(doorbell: u64) {
    naked_asm!(
        ".globl sev_sleep_window_start",
        "sev_sleep_window_start:",
        "cmp word ptr [rdi], 0",
        "jne 2f",
        "hlt",
        "2:",
        ".globl sev_sleep_window_end",
        "sev_sleep_window_end:",
        "ret",
    )
}

unsafe extern "C" {
    static sev_call_window_start: u8;
    static sev_call_window_end: u8;
    static sev_sleep_window_start: u8;
    static sev_sleep_window_end: u8;
}

/// Where code goes on that was at `rip` when #HV came: behind the instruction that leaves, if it
/// was about to execute that.
pub fn leave_window(rip: u64) -> u64 {
    let windows = [
        ((&raw const sev_call_window_start) as u64, (&raw const sev_call_window_end) as u64),
        ((&raw const sev_sleep_window_start) as u64, (&raw const sev_sleep_window_end) as u64),
    ];
    let window = windows.iter().find(|(start, end)| (*start..*end).contains(&rip));
    window.map_or(rip, |(_, end)| *end)
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use alloc::boxed::Box;

    use snp::exit::ExitCode;
    use snp::ghcb::{Ghcb, InputError};
    use zerocopy::FromZeros;

    use super::*;

    const GPA: u64 = 0x7654_3000;
    const CALL: Call = Call { code: ExitCode::MMIO_READ, info_1: 0xfee0_0020, info_2: 4 };

    /// A page of the heap, which the host of the test reaches by its address.
    fn page() -> GhcbPage {
        let page = Box::leak(Box::new(Ghcb::new_zeroed()));
        // SAFETY: the page is used by one test alone, as a GHCB, for ever; nothing else refers to it.
        unsafe { GhcbPage::new(GPA, core::ptr::from_mut(page).expose_provenance() as u64) }
    }

    /// The host's turn, on a copy of the page.
    fn host(page: &GhcbPage, act: impl FnOnce(&mut Ghcb)) {
        let at = page.memory.linear as *mut Ghcb;
        // SAFETY: `page` made it, and no reference to it is left.
        unsafe {
            let mut copy = at.read_volatile();
            act(&mut copy);
            at.write_volatile(copy);
        }
    }

    #[test]
    fn a_request_stands_in_the_page_where_a_host_looks() {
        let page = page();
        let fields = [(Field::SW_SCRATCH, page.buffer_address())];
        let result = calls::call(&page.memory, CALL, &fields, [Field::RAX], || {
            host(&page, |ghcb| {
                assert_eq!(ghcb.get(Field::SW_EXITCODE), Some(0x8000_0001));
                assert_eq!(ghcb.get(Field::SW_EXITINFO1), Some(0xfee0_0020));
                assert_eq!(ghcb.get(Field::SW_EXITINFO2), Some(4));
                assert_eq!(ghcb.get(Field::SW_SCRATCH), Some(GPA + 0x800));
                assert_eq!(ghcb.get(Field::RAX), None);
                assert_eq!((ghcb.protocol_version, ghcb.usage), (2, 0));
                ghcb.invalidate_all();
                ghcb.set(Field::SW_EXITINFO1, 0);
                ghcb.set(Field::RAX, 0x77);
            });
        });
        assert_eq!(result, Ok([0x77]));
    }

    #[test]
    fn no_field_of_an_older_call_is_valid_in_the_next_one() {
        let page = page();
        let success = |ghcb: &mut Ghcb| {
            ghcb.invalidate_all();
            ghcb.set(Field::SW_EXITINFO1, 0);
        };
        let fields = [(Field::RAX, 0x1234), (Field::RCX, 1)];
        let first = calls::call(&page.memory, CALL, &fields, [], || host(&page, success));
        assert_eq!(first, Ok([]));
        let second = calls::call(&page.memory, CALL, &[], [Field::RAX], || {
            host(&page, |ghcb| {
                assert_eq!((ghcb.get(Field::RAX), ghcb.get(Field::RCX)), (None, None));
                success(ghcb);
            });
        });
        assert_eq!(second, Err(Failed::Missing(Field::RAX)), "the value is still in the page");
    }

    #[test]
    fn a_level_is_run_or_the_window_was_left() {
        let page = page();
        assert_eq!(calls::run_level(&page.memory, 1, || {}), Ok(()), "the window was left");
        let refused = calls::run_level(&page.memory, 1, || {
            host(&page, |ghcb| {
                ghcb.invalidate_all();
                ghcb.set(Field::SW_EXITINFO1, 2);
                ghcb.set(Field::SW_EXITINFO2, 5);
            });
        });
        assert_eq!(refused, Err(Failed::Malformed(InputError::INVALID_INPUT)));
    }

    #[test]
    fn the_shared_buffer_takes_what_fits() {
        let page = page();
        page.put_buffer(&[0xa5; 4096]);
        host(&page, |ghcb| {
            assert!(ghcb.shared_buffer.iter().all(|byte| *byte == 0xa5));
            assert_eq!((ghcb.protocol_version, ghcb.usage), (0, 0), "behind the buffer");
            ghcb.shared_buffer[..4].copy_from_slice(&[1, 2, 3, 4]);
        });
        let mut bytes = [0; 4096];
        page.get_buffer(&mut bytes);
        assert_eq!(bytes[..5], [1, 2, 3, 4, 0xa5]);
        assert!(bytes[SHARED_BUFFER_SIZE..].iter().all(|byte| *byte == 0), "behind the buffer");
    }

    #[test]
    fn code_leaves_a_window_only_from_within() {
        let within = [sev_call_window as *const () as u64, sev_sleep_window as *const () as u64];
        for start in within {
            let end = leave_window(start);
            // CMP, JNE and the instruction that leaves.
            assert!((start + 4..start + 16).contains(&end), "{:#x}", end - start);
            assert!((start..end).all(|rip| leave_window(rip) == end));
            for outside in [start - 1, end, end + 1, 0, u64::MAX] {
                let is_window =
                    within.iter().any(|other| (*other..leave_window(*other)).contains(&outside));
                assert!(is_window || leave_window(outside) == outside, "{outside:#x}");
            }
        }
    }
}
