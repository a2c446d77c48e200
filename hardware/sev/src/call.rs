//! Calls of the host by a GHCB page (GHCB specification 56421, "Supported NAE events").
//!
//! The host can write to the page at any time. A field is read once, and its value is the host's
//! word.

use core::arch::naked_asm;
use core::mem::offset_of;

use snp::exit::ExitCode;
use snp::ghcb::{Field, Ghcb, PROTOCOL_VERSION, SHARED_BUFFER_SIZE, Status, USAGE_STANDARD};

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The host refuses the request; SW_EXITINFO2 says why.
    Refused(u64),
    /// The host answers outside of the protocol.
    Strange,
}

/// A request: its code, SW_EXITINFO1 and SW_EXITINFO2.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// SW_EXITCODE.
    pub code: ExitCode,
    /// SW_EXITINFO1.
    pub info_1: u64,
    /// SW_EXITINFO2.
    pub info_2: u64,
}

/// A GHCB page, for the calls of one CPU.
#[derive(Debug)]
pub struct GhcbPage {
    /// The linear address of the page, where it is mapped as shared memory.
    linear: u64,
    gpa: u64,
}

impl GhcbPage {
    /// Uses the page at `gpa`, which is mapped as shared memory at `linear`.
    ///
    /// # Safety
    /// The page must be shared with the host, registered as the GHCB of the CPU that makes the
    /// calls, and used for this only, for ever.
    pub const unsafe fn new(gpa: u64, linear: u64) -> Self {
        Self { linear, gpa }
    }

    /// The guest-physical address of the shared buffer, for SW_SCRATCH.
    pub const fn buffer_address(&self) -> u64 {
        self.gpa + snp::ghcb::SHARED_BUFFER_OFFSET as u64
    }

    fn word(&self, offset: usize) -> *mut u64 {
        (self.linear + offset as u64) as *mut u64
    }

    fn put(&self, offset: usize, value: u64) {
        // SAFETY: `new`'s caller gave the page; the offset is one of its quadwords.
        unsafe { self.word(offset).write_volatile(value) };
    }

    /// A field of the answer, or zero if the host has not marked it as valid.
    pub fn get(&self, field: Field) -> u64 {
        let bit = field.valid_bit();
        let bitmap = offset_of!(Ghcb, valid_bitmap) + bit / 64 * 8;
        // SAFETY: as for `put`.
        let is_valid = unsafe { self.word(bitmap).read_volatile() } >> (bit % 64) & 1 != 0;
        // SAFETY: as for `put`.
        if is_valid { unsafe { self.word(field.offset()).read_volatile() } } else { 0 }
    }

    /// Copies bytes to the shared buffer; those that do not fit are dropped.
    pub fn put_buffer(&self, bytes: &[u8]) {
        let buffer = self.linear + snp::ghcb::SHARED_BUFFER_OFFSET as u64;
        for (at, byte) in (buffer..).zip(bytes.iter().take(SHARED_BUFFER_SIZE)) {
            // SAFETY: within the page.
            unsafe { (at as *mut u8).write_volatile(*byte) };
        }
    }

    /// Copies bytes from the shared buffer.
    pub fn get_buffer(&self, bytes: &mut [u8]) {
        let buffer = self.linear + snp::ghcb::SHARED_BUFFER_OFFSET as u64;
        for (at, byte) in (buffer..).zip(bytes.iter_mut().take(SHARED_BUFFER_SIZE)) {
            // SAFETY: within the page.
            *byte = unsafe { (at as *const u8).read_volatile() };
        }
    }

    /// Writes the request.
    fn prepare(&self, call: Call, fields: &[(Field, u64)]) {
        let Call { code, info_1, info_2 } = call;
        let own = [
            (Field::SW_EXITCODE, code.0),
            (Field::SW_EXITINFO1, info_1),
            (Field::SW_EXITINFO2, info_2),
        ];
        let mut valid = [0_u64; 2];
        for (field, value) in own.iter().chain(fields) {
            self.put(field.offset(), *value);
            let bit = field.valid_bit();
            if let Some(word) = valid.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let bitmap = offset_of!(Ghcb, valid_bitmap);
        let [low, high] = valid;
        self.put(bitmap, low);
        self.put(bitmap + 8, high);
        // The version stands in bytes 2 and 3 of the word, behind ten reserved bytes, the usage
        // in bytes 4 to 7.
        let form = u64::from(PROTOCOL_VERSION) << 16 | u64::from(USAGE_STANDARD) << 32;
        self.put(offset_of!(Ghcb, protocol_version) - 2, form);
    }

    /// Makes a call; answers SW_EXITINFO2.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Safety
    /// The request must not have the host change memory that Rust code relies on.
    pub unsafe fn call(&self, call: Call, fields: &[(Field, u64)]) -> Result<u64, Failed> {
        self.prepare(call, fields);
        // SAFETY: the caller vouches.
        unsafe { crate::vmgexit() };
        self.result()
    }

    fn result(&self) -> Result<u64, Failed> {
        let information = self.get(Field::SW_EXITINFO2);
        match Status(self.get(Field::SW_EXITINFO1) as u32) {
            Status::SUCCESS => Ok(information),
            Status::EXCEPTION | Status::MALFORMED => Err(Failed::Refused(information)),
            _ => Err(Failed::Strange),
        }
    }

    /// Runs level `vmpl` of this VP, unless the word at `doorbell` is not zero. Returns when this
    /// level is entered again.
    ///
    /// # Errors
    /// [`Failed`].
    ///
    /// # Safety
    /// `doorbell` must be mapped; #HV must lead to [`leave_window`]. The less privileged level must
    /// not reach memory that Rust code relies on.
    pub unsafe fn run_level(&self, vmpl: u8, doorbell: u64) -> Result<(), Failed> {
        let call = Call { code: ExitCode::RUN_VMPL, info_1: vmpl.into(), info_2: 0 };
        self.prepare(call, &[]);
        // SAFETY: the caller vouches.
        unsafe { sev_call_window(doorbell) };
        if self.get(Field::SW_EXITCODE) == ExitCode::RUN_VMPL.0 {
            // The window was left: the request still stands there, unseen.
            return Ok(());
        }
        self.result().map(|_| ())
    }
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
