//! What other projects' software expects of the machine around it.
#![no_std]
#![no_main]

use core::arch::asm;

use snp::exit::{ExitCode, IoInfo};
use snp::ghcb::{Field, SHARED_BUFFER_OFFSET};
use snp_guest::Report;
use snp_guest::ghcb::{self, request};
use snp_guest::memory::{SHARED, read};

snp_guest::main!(cases);

/// CR4.OSFXSR and CR4.OSXSAVE.
const OSXSAVE: u64 = 1 << 9 | 1 << 18;
/// fw_cfg's selector, data and DMA registers.
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_LOW: u16 = 0x518;
/// The port that keeps what was written.
const ECHO: u16 = 0xe0;

fn cases(report: &mut Report) {
    xsave(report);
    configuration(report);
    let echo = IoInfo::new().with_port(ECHO).with_is_32_bit(true);
    output(echo, 0x1234_5678);
    report.is("ports.echo", input(echo), 0x1234_5678);
}

fn output(info: IoInfo, value: u64) {
    request(ExitCode::IOIO, info.into_bits(), 0, &[(Field::RAX, value)], &[]);
}

fn input(info: IoInfo) -> u64 {
    request(ExitCode::IOIO, info.with_is_in(true).into_bits(), 0, &[], &[]).get(Field::RAX)
}

/// An area for XSAVE: the legacy part, and the header behind it.
#[repr(C, align(64))]
struct Area([u64; 72]);

/// XCR0.
fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; CR4.OSXSAVE is set.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// XSAVE's components x87 and SSE, across exits to the host.
fn xsave(report: &mut Report) {
    // SAFETY: CPUID says that there is XSAVE; the guest uses no FPU but here.
    unsafe {
        asm!("mov {old}, cr4", "or {old}, {bit}", "mov cr4, {old}",
            old = out(reg) _, bit = in(reg) OSXSAVE, options(nostack));
    }
    report.is("xsave.xcr0-after-power-on", xgetbv(), 1);
    // SAFETY: as above.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") 3, in("edx") 0, options(nostack)) };
    ghcb::print(format_args!("an exit\n"));
    report.is("xsave.xcr0-survives-an-exit", xgetbv(), 3);
    let (mut area, mut found) = (Area([0; 72]), 0_u64);
    // XMM1 lies at 176 in the area.
    // SAFETY: the area has room and is aligned.
    unsafe {
        asm!("movq xmm1, {value}", "xsaveopt [{area}]", "pxor xmm1, xmm1", "xrstor [{area}]",
            "movq {found}, xmm1", value = in(reg) 0x5a5a_1234_u64, area = in(reg) &raw mut area,
            found = out(reg) found, in("eax") 3, in("edx") 0, options(nostack));
    }
    report.is("xsave.what-is-saved-is-restored", found, 0x5a5a_1234);
    report.is("xsave.area-has-the-register", area.0[176 / 8], 0x5a5a_1234);
}

/// The item `key`'s first eight bytes, by the data register.
fn item(key: u16) -> u64 {
    output(IoInfo::new().with_port(SELECTOR).with_is_16_bit(true), key.into());
    let data = IoInfo::new().with_port(DATA).with_is_8_bit(true);
    (0..8).fold(0, |all, index| all | input(data) << (8 * index))
}

fn configuration(report: &mut Report) {
    report.is("fw_cfg.signature", item(0), u64::from(u32::from_le_bytes(*b"QEMU")));
    report.is("fw_cfg.features", item(1), 3);
    report.is("fw_cfg.ram-size", item(3), 128 << 20);
    report.is("fw_cfg.processors", item(5), 1);
    // A DMA command in the shared buffer: select the directory, read its first 4 bytes behind it.
    // The host copies the buffer back to where it is.
    let command = ghcb::address() + SHARED_BUFFER_OFFSET as u64 + 0x400;
    let mut bytes = [0; 0x410];
    bytes[0x400..0x404].copy_from_slice(&(0x19_u32 << 16 | 1 << 3 | 1 << 1).to_be_bytes());
    bytes[0x404..0x408].copy_from_slice(&4_u32.to_be_bytes());
    bytes[0x408..0x410].copy_from_slice(&(command + 0x10).to_be_bytes());
    let info = IoInfo::new().with_port(DMA_LOW).with_is_32_bit(true);
    let low = u64::from((command as u32).swap_bytes());
    request(ExitCode::IOIO, info.into_bits(), 0, &[(Field::RAX, low)], &bytes);
    // SAFETY: the page is mapped there.
    let (status, files) = unsafe { (read(command + SHARED), read(command + SHARED + 0x10)) };
    report.is("fw_cfg.dma-is-done", status as u32, 0);
    // The memory map and the three files of ACPI.
    report.is("fw_cfg.directory", (files as u32).swap_bytes(), 4);
}
