//! Localities and states of the interface (TCG PC Client Platform TPM Profile 1.05, 6.5.3).

use guest::tpm::{self, read, register, write};
use guest::{Failure, Report, cpu, ensure, ensure_eq};

const REQUEST: u32 = 1 << 0;
const RELINQUISH: u32 = 1 << 1;
const SEIZE: u32 = 1 << 2;
const RESET_ESTABLISHMENT: u32 = 1 << 3;
const GRANTED: u32 = 1 << 0;
const IDLE: u32 = 1 << 1;
const READY: u32 = 1 << 0;
const GO_IDLE: u32 = 1 << 1;

pub fn cases(report: &mut Report) {
    report.case("identity", identity);
    report.case("no-locality-no-control", no_locality);
    report.case("locality-0-alone", locality_0_alone);
    report.case("idle-and-ready", idle_and_ready);
    report.case("wide-and-narrow", widths);
    report.case("behind-the-last-page", behind);
}

/// Without a TPM no device answers there.
pub fn absent() -> Result<(), Failure> {
    ensure!(!tpm::is_present(), "there is a TPM");
    for offset in [register::LOC_STATE, register::START, register::CMD_ADDR] {
        write(0, offset, 1);
        ensure_eq!(read(0, offset), u32::MAX, "nothing's register");
    }
    Ok(())
}

fn identity() -> Result<(), Failure> {
    ensure!(tpm::is_present(), "no TPM");
    let identity = read(0, register::INTF_ID);
    ensure_eq!(identity & 0xf, 1, "the interface type: CRB");
    ensure_eq!(identity >> 17 & 3, 1, "the selected interface: CRB");
    for buffer in [tpm::command_buffer(), tpm::response_buffer()] {
        ensure_eq!(buffer & 0xfff, 0, "where a buffer starts in its page");
        let found = guest::machine::map().iter().find(|r| r.start <= buffer && buffer < r.end);
        let kind = found.map_or(0, |range| range.kind);
        ensure_eq!(kind, guest::machine::RESERVED, "what the memory map says of {buffer:#x}");
    }
    Ok(())
}

fn no_locality() -> Result<(), Failure> {
    ensure_eq!(read(0, register::LOC_STATE) & 0b10, 0, "an active locality");
    write(0, register::REQ, READY);
    ensure_eq!(read(0, register::STS) & IDLE, IDLE, "idle");
    write(0, register::START, 1);
    ensure_eq!(read(0, register::START), 0, "a command that nobody may start");
    Ok(())
}

/// Localities 1 to 4 never answer, neither before nor after locality 0 is active, and their PCRs
/// cannot be changed.
fn locality_0_alone() -> Result<(), Failure> {
    const RC_LOCALITY: u32 = 0x907;
    for taken in [false, true] {
        for locality in 1..=4 {
            for control in [REQUEST, SEIZE, RESET_ESTABLISHMENT] {
                write(locality, register::LOC_CTRL, control);
            }
            ensure_eq!(read(locality, register::LOC_STS), u32::MAX, "locality {locality}");
            write(locality, register::REQ, READY);
            write(locality, register::START, 1);
        }
        let state = 0x80 | 1 | if taken { 1 << 1 } else { 0 };
        ensure_eq!(read(0, register::LOC_STATE), state, "the state");
        write(0, register::LOC_CTRL, REQUEST);
        ensure_eq!(read(0, register::LOC_STS), GRANTED, "locality 0");
    }
    tpm::claim();
    for pcr in 17..=22 {
        let (mut reset, mut extend) = (tpm::PCR_RESET, tpm::PCR_EXTEND);
        for command in [&mut reset[..], &mut extend[..]] {
            command[13] = pcr;
            ensure_eq!(tpm::run(command).code(), RC_LOCALITY, "the code for PCR {pcr}");
        }
    }
    write(0, register::REQ, GO_IDLE);
    write(0, register::LOC_CTRL, RELINQUISH);
    ensure_eq!(read(0, register::LOC_STATE) & 0b10, 0, "nobody is left");
    Ok(())
}

fn idle_and_ready() -> Result<(), Failure> {
    write(0, register::LOC_CTRL, REQUEST);
    write(0, register::REQ, READY);
    ensure_eq!(read(0, register::STS) & IDLE, 0, "ready");
    ensure_eq!(read(0, register::REQ), 0, "done at once");
    write(0, register::REQ, GO_IDLE);
    ensure_eq!(read(0, register::STS) & IDLE, IDLE, "idle again");
    write(0, register::START, 1);
    ensure_eq!(read(0, register::START), 0, "no command starts from there");
    write(0, register::LOC_CTRL, RELINQUISH);
    Ok(())
}

fn widths() -> Result<(), Failure> {
    let address = tpm::BASE + register::CMD_ADDR;
    let low = cpu::read32(address);
    // SAFETY: reads a register.
    let byte = unsafe { ((address + 1) as *const u8).read_volatile() };
    ensure_eq!(u32::from(byte), low >> 8 & 0xff, "one byte");
    let wide = cpu::read64(tpm::BASE + register::RSP_ADDR);
    ensure_eq!(wide, tpm::response_buffer(), "eight bytes");
    Ok(())
}

fn behind() -> Result<(), Failure> {
    let behind = tpm::BASE + 5 * tpm::PAGE;
    ensure_eq!(cpu::read32(behind), u32::MAX, "behind locality 4");
    cpu::write32(behind, 1);
    Ok(())
}
