//! The measured stub that starts Linux as an enlightened SEV-SNP guest.
//!
//! It accepts the VM's memory, describes the machine by ACPI tables of its own, loads the kernel
//! that was launched with it, and enters that. Host and loader give the memory map and the number of
//! VPs, which nobody has measured: both are checked, and neither can name a page that was launched.
#![no_std]
#![no_main]

extern crate alloc;

mod accept;
mod describe;
mod end;
mod files;
mod memory_map;

use alloc::vec::Vec;

use guest_memory::{Gpa, GuestMemory, MappedMemory};
use host_wire::linux_start as layout;
use loader::{Module, Request};
use spin::Mutex;
use talc::TalcLock;
use talc::source::Manual;

use end::Reason;

core::arch::global_asm!(include_str!("enter.s"));

unsafe extern "C" {
    fn enter_linux(entry: u64, parameters: u64) -> !;
    static __stub_end: u8;
}

/// Bytes of heap: tables, the head of the kernel.
const HEAP_SIZE: usize = 512 << 10;
static mut HEAP_MEMORY: [u8; HEAP_SIZE] = [0; HEAP_SIZE];
#[global_allocator]
static HEAP: TalcLock<Mutex<()>, Manual> = TalcLock::new(Manual);

/// Called by the entry code in long mode, once.
///
/// # Safety
/// By the entry code only.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_main() -> ! {
    // SAFETY: the array is used for nothing else.
    let claimed = unsafe { HEAP.lock().claim((&raw mut HEAP_MEMORY).cast(), HEAP_SIZE) };
    let in_place = (&raw const __stub_end) as u64 <= layout::STUB_END;
    if claimed.is_none() || !in_place {
        end::with(Reason::OwnMemory)
    }
    let (entry, parameters) = prepare().unwrap_or_else(|reason| end::with(reason));
    // SAFETY: a kernel has been loaded there, and the VM is its from now on.
    unsafe { enter_linux(entry, parameters) }
}

/// Makes all ready; answers where Linux is to be entered, and where its parameters are.
fn prepare() -> Result<(u64, u64), Reason> {
    let fixed = memory_map::fixed_ram();
    // SAFETY: the pages between were launched, and are mapped. Nothing in them is used by
    // reference but the stub's own memory, which the range leaves out.
    let launched = unsafe { MappedMemory::new(fixed, 0) };
    let info = files::info(&launched)?;
    let ram = memory_map::read(&launched, &info)?;
    accept::all(&ram, &info)?;
    // SAFETY: all of it is validated now, mapped for ever, and not the stub's own.
    let memory = unsafe { MappedMemory::new(memory_map::usable(&ram)?, 0) };
    let described = describe::machine(&launched, &ram, &info)?;
    describe::write(&memory, &described)?;
    let command_line = files::read(&memory, info.command_line)?;
    let mut kernel = files::InMemory::new(&memory, info.kernel);
    let mut initrd = files::InMemory::new(&memory, info.initrd);
    let request = Request {
        memory_map: &described.loading_map,
        command_line: &command_line,
        rsdp: described.rsdp,
        kernel_name: &[],
    };
    let modules: Vec<Module<'_>> = match info.initrd.length {
        0 => Vec::new(),
        _ => Vec::from([Module { file: &mut initrd, text: &[] }]),
    };
    let mut target = files::Target(&memory);
    let loaded =
        loader::load(&request, &mut kernel, modules, &mut target).map_err(|_| Reason::Kernel)?;
    describe::finish(&memory, loaded.entry.rsi, &described)?;
    Ok((loaded.entry.rip, loaded.entry.rsi))
}

/// Writes bytes, all of which are RAM, as the caller has made sure.
fn put(memory: &MappedMemory, at: u64, bytes: &[u8]) -> Result<(), Reason> {
    memory.write(Gpa(at), bytes).map_err(|_| Reason::OwnMemory)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end::with(Reason::Panic)
}
