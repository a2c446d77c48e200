//! The GHCB, and what the guest asks its host for.

use core::fmt::{Arguments, Write};
use core::mem::offset_of;

use snp::exit::{ExitCode, IoInfo};
use snp::ghcb::{Field, Ghcb, PROTOCOL_VERSION, SHARED_BUFFER_OFFSET};
use snp::instruction::PageSize;
use snp::msr_protocol::{Answer, Request};
use snp::page_state::Operation;
use zerocopy::{FromZeros, IntoBytes};

use crate::memory::SHARED;

/// A page for the host.
#[repr(C, align(4096))]
struct Page([u8; 4096]);
static mut GHCB: Page = Page([0; 4096]);
/// The first serial port.
const SERIAL: u16 = 0x3f8;
/// PM1 control, with the value that powers off (SLP_EN; SLP_TYP of S5 is 0).
const PM1_CONTROL: u16 = 0x604;
const POWER_OFF: u64 = 1 << 13;

/// The address of the GHCB.
pub fn address() -> u64 {
    (&raw const GHCB) as u64
}

/// Shares the page at `address` with the host, which the guest then finds at [`SHARED`] above.
///
/// # Safety
/// Nothing uses the page.
pub unsafe fn share(address: u64) {
    // SAFETY: the caller vouches.
    unsafe {
        sev_guest::pvalidate(address, PageSize::SIZE_4K, false);
        let operation = Operation::SHARED;
        let _ = sev_guest::request(Request::PageState { gfn: address >> 12, operation });
    }
}

/// Shares the GHCB, and registers it.
///
/// # Safety
/// Once.
pub(crate) unsafe fn register() {
    // SAFETY: the page is for this.
    unsafe {
        share(address());
        let gfn = address() >> 12;
        if sev_guest::request(Request::RegisterGhcb { gfn }) != Ok(Answer::RegisterGhcb { gfn }) {
            sev_guest::terminate(snp::msr_protocol::Termination::GENERAL);
        }
        sev_guest::set_ghcb(address());
    }
}

/// An answer of the host's.
#[derive(Clone, Debug)]
pub struct Reply(Ghcb);

impl Reply {
    /// A field, or zero without it.
    pub fn get(&self, field: Field) -> u64 {
        self.0.get(field).unwrap_or(0)
    }

    /// SW_EXITINFO1's low half and SW_EXITINFO2.
    pub fn status(&self) -> (u32, u64) {
        (self.get(Field::SW_EXITINFO1) as u32, self.get(Field::SW_EXITINFO2))
    }
}

/// Makes a request, with more fields and bytes in the shared buffer.
pub fn request(
    code: ExitCode,
    info_1: u64,
    info_2: u64,
    fields: &[(Field, u64)],
    buffer: &[u8],
) -> Reply {
    let mut page = Ghcb::new_zeroed();
    page.protocol_version = PROTOCOL_VERSION;
    page.set(Field::SW_EXITCODE, code.0);
    page.set(Field::SW_EXITINFO1, info_1);
    page.set(Field::SW_EXITINFO2, info_2);
    for (field, value) in fields {
        page.set(*field, *value);
    }
    for (to, from) in page.shared_buffer.iter_mut().zip(buffer) {
        *to = *from;
    }
    exchange(&mut page);
    Reply(page)
}

/// Writes an MSR of the host's; its status.
pub fn wrmsr(number: u32, value: u64) -> (u32, u64) {
    let fields =
        [(Field::RCX, number.into()), (Field::RAX, value & 0xffff_ffff), (Field::RDX, value >> 32)];
    request(ExitCode::MSR, 1, 0, &fields, &[]).status()
}

/// Makes a request without a buffer and without a look at the answer.
pub fn repeat(code: ExitCode, info_1: u64) {
    let fields =
        [(Field::SW_EXITCODE, code.0), (Field::SW_EXITINFO1, info_1), (Field::SW_EXITINFO2, 0)];
    let mut valid = [0u64; 2];
    let page = (address() + SHARED) as *mut u8;
    // SAFETY: the page is mapped there; only the host writes it, during VMGEXIT.
    unsafe {
        for (field, value) in fields {
            page.add(field.offset()).cast::<u64>().write_volatile(value);
            valid[field.valid_bit() / 64] |= 1 << (field.valid_bit() % 64);
        }
        page.add(offset_of!(Ghcb, valid_bitmap)).cast::<[u64; 2]>().write_volatile(valid);
        sev_guest::vmgexit();
    }
}

/// Writes the page, exits, reads it back.
fn exchange(page: &mut Ghcb) {
    let shared = (address() + SHARED) as *mut [u8; 8];
    // SAFETY: the page is mapped there; only the host writes it, during VMGEXIT.
    unsafe {
        for (index, word) in page.as_bytes().as_chunks().0.iter().enumerate() {
            shared.add(index).write_volatile(*word);
        }
        sev_guest::set_ghcb(address());
        sev_guest::vmgexit();
        for (index, word) in page.as_mut_bytes().as_chunks_mut().0.iter_mut().enumerate() {
            *word = shared.add(index).read_volatile();
        }
    }
}

/// Text for the console.
struct Console {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Prints to the first serial port, by one OUTS.
pub fn print(text: Arguments<'_>) {
    let mut console = Console { bytes: [0; 512], length: 0 };
    let _ = console.write_fmt(text);
    let info = IoInfo::new().with_port(SERIAL).with_is_8_bit(true).with_is_string(true);
    let scratch = address() + SHARED_BUFFER_OFFSET as u64;
    let bytes = console.bytes.get(..console.length).unwrap_or_default();
    let fields = [(Field::SW_SCRATCH, scratch)];
    request(ExitCode::IOIO, info.into_bits(), bytes.len() as u64, &fields, bytes);
}

/// Powers the VM off.
pub fn power_off() -> ! {
    let info = IoInfo::new().with_port(PM1_CONTROL).with_is_16_bit(true);
    loop {
        request(ExitCode::IOIO, info.into_bits(), 0, &[(Field::RAX, POWER_OFF)], &[]);
    }
}
