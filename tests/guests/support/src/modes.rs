//! Code in the operating modes outside long mode.

use core::cell::UnsafeCell;

use crate::cpu;
use crate::paging::{LARGE, OPEN, directories};

/// Where code runs, and where it is copied to.
pub const SNIPPET: u64 = 0xe000;
const SNIPPET_ROOM: usize = 0x1000;
const PROTECTED_STUB: u64 = 7;
const REAL_STUB: u64 = 5;
const LOW_TEXT_32: u64 = 24;
/// CR0: PE, MP, ET, NE.
const PROTECTED: u32 = 0x33;
const PAGING: u32 = 1 << 31;
const PSE: u32 = 1 << 4;
const PAE: u32 = 1 << 5;
const SSE: u32 = 3 << 9;

unsafe extern "C" {
    static __low_load: u8;
    static __low_start: u8;
    static __low_end: u8;
    static mut low_request: Request;
    static low_frame: LowFrame;
    static mut low_idt: [u64; 256];
    fn protected_stubs();
    fn real_stubs();
    fn low_enter();
}

/// An operating mode. Segments start at zero in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit protected mode without paging.
    Protected32,
    /// With 4 MiB pages.
    Paged32,
    /// With PAE paging.
    Pae32,
    /// 16-bit protected mode without paging.
    Protected16,
    /// With 4 MiB pages.
    Paged16,
    /// Real mode.
    Real,
    /// Real mode with 4 GiB limits in DS, ES, FS and GS.
    BigReal,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Protected32,
        Self::Paged32,
        Self::Pae32,
        Self::Protected16,
        Self::Paged16,
        Self::Real,
        Self::BigReal,
    ];

    /// Whether the default operand size is 32 bits.
    pub fn is_32_bit(self) -> bool {
        matches!(self, Self::Protected32 | Self::Paged32 | Self::Pae32)
    }

    fn is_real(self) -> bool {
        matches!(self, Self::Real | Self::BigReal)
    }
}

/// General registers, in the order of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers32 {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
    /// ESI.
    pub esi: u32,
    /// EDI.
    pub edi: u32,
    /// EBP.
    pub ebp: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Request {
    mode: u32,
    cr0: u32,
    cr3: u32,
    cr4: u32,
    registers: Registers32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct LowFrame {
    edi: u32,
    esi: u32,
    ebp: u32,
    esp: u32,
    ebx: u32,
    edx: u32,
    ecx: u32,
    eax: u32,
    stack: [u32; 8],
    cr2: u32,
}

/// How code ended: 80h is the way of its own; everything else is an exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The vector.
    pub vector: u8,
    /// The error code, or zero.
    pub error_code: u32,
    /// Where.
    pub ip: u32,
    /// EFLAGS then.
    pub flags: u32,
    /// CR2 then.
    pub cr2: u32,
    /// The registers then.
    pub registers: Registers32,
}

#[repr(C, align(4096))]
struct LegacyTables(UnsafeCell<[u32; 2048]>);

// SAFETY: written by `prepare` only.
unsafe impl Sync for LegacyTables {}

/// A page directory with 4 MiB pages, then page-directory pointers for PAE.
static LEGACY: LegacyTables = LegacyTables(UnsafeCell::new([0; 2048]));

/// The firmware's data in the first 1,280 bytes: real-mode vectors and the BIOS data area.
static FIRMWARE: Firmware = Firmware(UnsafeCell::new([0; FIRMWARE_WORDS]));
const FIRMWARE_WORDS: usize = 0x500 / 8;

struct Firmware(UnsafeCell<[u64; FIRMWARE_WORDS]>);

// SAFETY: written by `prepare` only.
unsafe impl Sync for Firmware {}

/// The word of firmware's that lay at `address` below 500h.
pub fn firmware_word(address: usize) -> u16 {
    // SAFETY: written before the guest's own code runs.
    let words = unsafe { &*FIRMWARE.0.get() };
    (words[address / 8] >> (address % 8 * 8)) as u16
}

/// Gives a real-mode vector back to firmware.
pub fn restore_vector(vector: u8) {
    let at = usize::from(vector) * 4;
    let handler = u32::from(firmware_word(at)) | u32::from(firmware_word(at + 2)) << 16;
    write_vector(vector.into(), handler);
}

/// Copies the low part into place and fills its tables.
pub(crate) fn prepare() {
    for (word, at) in (0..FIRMWARE_WORDS).map(|word| (word, word as u64 * 8)) {
        // SAFETY: nobody else has the table; all memory is mapped to itself, address zero, too.
        unsafe {
            let value: u64;
            core::arch::asm!("mov {value}, [{at}]", at = in(reg) at, value = out(reg) value,
                options(nostack, preserves_flags, readonly));
            (*FIRMWARE.0.get())[word] = value;
        }
    }
    let (from, to) = (&raw const __low_load, &raw const __low_start);
    let length = (&raw const __low_end) as usize - to as usize;
    // SAFETY: low memory is free, because the loader's data there has been copied; the linker gives
    // the bounds.
    unsafe { core::ptr::copy(from, to.cast_mut(), length) };
    let idt = (&raw mut low_idt).cast::<u64>();
    for vector in 0..256 {
        let stub = protected_stubs as *const () as u64 + vector * PROTECTED_STUB;
        let gate = stub & 0xffff | LOW_TEXT_32 << 16 | 0x8e00 << 32 | (stub >> 16) << 48;
        let real = real_stubs as *const () as u64 + vector * REAL_STUB;
        // SAFETY: both tables have 256 entries; the real-mode one is at address zero.
        unsafe { idt.add(vector as usize).write(gate) };
        cpu::write32(0x400, 0);
        write_vector(vector, real as u32);
    }
    let tables = LEGACY.0.get() as u64;
    for index in 0..1024 {
        cpu::write32(tables + index * 4, (index << 22 | OPEN | LARGE) as u32);
    }
    for index in 0..4 {
        cpu::write64(tables + 4096 + index * 8, (directories() + index * 4096) | 1);
    }
}

/// Writes an entry of the real-mode vector table; address zero is no Rust address.
fn write_vector(vector: u64, handler: u32) {
    // SAFETY: the table at address zero belongs to nobody else.
    unsafe {
        core::arch::asm!("mov [{at}], {value:e}", at = in(reg) vector * 4,
            value = in(reg) handler, options(nostack, preserves_flags));
    }
}

impl Mode {
    fn request(self, registers: Registers32) -> Request {
        let tables = LEGACY.0.get() as u32;
        let (cr0, cr3, cr4) = match self {
            Self::Paged32 | Self::Paged16 => (PROTECTED | PAGING, tables, PSE | SSE),
            Self::Pae32 => (PROTECTED | PAGING, tables + 4096, PAE | SSE),
            _ => (PROTECTED, 0, SSE),
        };
        let mode = match self {
            Self::Protected32 | Self::Paged32 | Self::Pae32 => 0,
            Self::Protected16 | Self::Paged16 => 1,
            Self::Real => 2,
            Self::BigReal => 3,
        };
        Request { mode, cr0, cr3, cr4, registers }
    }
}

/// Runs `code` in `mode`, with interrupts off; INT 80h is appended to it. On the first processor
/// only, or on one at a time.
pub fn run(mode: Mode, code: &[u8], registers: Registers32) -> End {
    assert!(code.len() + 2 <= SNIPPET_ROOM);
    for (at, byte) in (SNIPPET..).zip(code.iter().chain(&[0xcd, 0x80])) {
        // SAFETY: the page is kept for this.
        unsafe { (at as *mut u8).write_volatile(*byte) };
    }
    // SAFETY: the low part is in place; it saves and restores all that Rust relies on.
    let frame = unsafe {
        (&raw mut low_request).write_volatile(mode.request(registers));
        core::arch::asm!("call {}", sym low_enter, clobber_abi("C"));
        (&raw const low_frame).read_volatile()
    };
    // The task register's descriptor is busy now, and the tables are those from before.
    decode(mode, &frame)
}

fn decode(mode: Mode, frame: &LowFrame) -> End {
    let LowFrame { edi, esi, ebp, ebx, edx, ecx, eax, stack, cr2, .. } = *frame;
    let registers = Registers32 { eax, ebx, ecx, edx, esi, edi, ebp };
    if mode.is_real() {
        // Words: vector, IP, CS, FLAGS.
        let (low, high) = (stack[0], stack[1]);
        let (vector, ip, flags) = (low as u8, low >> 16, high >> 16);
        return End { vector, error_code: 0, ip, flags, cr2: 0, registers };
    }
    let vector = stack[0] as u8;
    let has_code = matches!(vector, 8 | 10..=14 | 17);
    let at = usize::from(has_code);
    let error_code = if has_code { stack[1] } else { 0 };
    End { vector, error_code, ip: stack[1 + at], flags: stack[3 + at], cr2, registers }
}
