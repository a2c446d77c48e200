//! Commands, good and bad ones.

use guest::tpm::{self, create_primary, read, register, write};
use guest::{Apic, Failure, Report, cpu, ensure, ensure_eq, println, smp};

const RC_SUCCESS: u32 = 0;
const RC_BAD_TAG: u32 = 0x1e;
const RC_SIZE: u32 = 0x95;
const RC_COMMAND_SIZE: u32 = 0x142;
const RC_COMMAND_CODE: u32 = 0x143;
/// TPM_RC_INSUFFICIENT of parameter 1.
const RC_INSUFFICIENT_1: u32 = 0x1da;
const RC_CANCELED: u32 = 0x909;
const RSP_COMMAND: u16 = 0x00c4;
const FATAL: u32 = 1;

pub fn cases(report: &mut Report) {
    report.case("random-numbers-differ", random);
    report.case("pcr", pcr);
    report.case("sizes-that-lie", sizes);
    report.case("unknown", unknown);
    report.case("cancel", cancel);
    report.case("relinquished-while-it-runs", relinquished);
    report.case("the-command-is-copied", copied);
    if smp::count() > 1 {
        report.case("another-processor", other_processor);
    }
}

fn random() -> Result<(), Failure> {
    let [first, second] = [0, 1].map(|_| tpm::run(&tpm::GET_RANDOM));
    for response in [&first, &second] {
        ensure_eq!(response.code(), RC_SUCCESS, "the code");
        ensure_eq!(response.bytes().len(), 28, "the length");
    }
    ensure!(first.bytes()[12..] != second.bytes()[12..], "the same number twice");
    Ok(())
}

fn pcr() -> Result<(), Failure> {
    ensure_eq!(tpm::run(&tpm::PCR_EXTEND).code(), RC_SUCCESS, "the code of an extend");
    let response = tpm::run(&tpm::PCR_READ);
    ensure_eq!(response.code(), RC_SUCCESS, "the code of a read");
    let digest = &response.bytes()[response.bytes().len() - 32..];
    ensure!(digest.iter().any(|byte| *byte != 0), "nothing was extended");
    Ok(())
}

fn sizes() -> Result<(), Failure> {
    for size in [0, 9, 11, 13, 4095, 4096, 4097, 0x8000_0000, u32::MAX] {
        let mut command = tpm::GET_RANDOM;
        command[2..6].copy_from_slice(&u32::to_be_bytes(size));
        let response = tpm::run(&command);
        // The buffer has as many bytes as a size up to its own says: half a parameter is missing,
        // or bytes are left over.
        let wanted = match size {
            11 => RC_INSUFFICIENT_1,
            13..=4096 => RC_SIZE,
            _ => RC_COMMAND_SIZE,
        };
        ensure_eq!(response.code(), wanted, "the code for {size}");
        ensure_eq!(response.bytes().len(), 10, "the length for {size}");
    }
    ensure_eq!(tpm::run(&tpm::GET_RANDOM).code(), RC_SUCCESS, "the code afterwards");
    Ok(())
}

fn unknown() -> Result<(), Failure> {
    let mut command = tpm::GET_RANDOM;
    command[0] = 0;
    let response = tpm::run(&command);
    ensure_eq!((response.tag(), response.code()), (RSP_COMMAND, RC_BAD_TAG), "a bad tag's answer");
    command = tpm::GET_RANDOM;
    command[9] = 0xff;
    ensure_eq!(tpm::run(&command).code(), RC_COMMAND_CODE, "a bad code's answer");
    Ok(())
}

fn cancel() -> Result<(), Failure> {
    tpm::put(&create_primary(1));
    tpm::start();
    ensure!(tpm::is_running(), "an RSA key takes longer than a slice");
    write(0, register::CANCEL, 1);
    while tpm::is_running() {}
    write(0, register::CANCEL, 0);
    ensure_eq!(tpm::response().code(), RC_CANCELED, "the code");
    ensure_eq!(tpm::run(&tpm::GET_RANDOM).code(), RC_SUCCESS, "the code afterwards");
    Ok(())
}

fn relinquished() -> Result<(), Failure> {
    let before = tpm::run(&tpm::GET_RANDOM);
    tpm::put(&create_primary(2));
    tpm::start();
    write(0, register::LOC_CTRL, 1 << 1);
    while tpm::is_running() {}
    let after = tpm::response();
    ensure!(after.bytes() == before.bytes(), "a response came that nobody may see");
    tpm::claim();
    ensure_eq!(tpm::run(&tpm::GET_RANDOM).code(), RC_SUCCESS, "the code afterwards");
    Ok(())
}

fn copied() -> Result<(), Failure> {
    tpm::put(&create_primary(3));
    tpm::start();
    tpm::put(&[0xff; 323]);
    while tpm::is_running() {}
    ensure_eq!(tpm::response().code(), RC_SUCCESS, "the code of what was started");
    ensure_eq!(tpm::run(&tpm::FLUSH).code(), RC_SUCCESS, "the code of the flush");
    Ok(())
}

/// Another processor starts commands and reads registers, while this one's command runs.
fn other_processor() -> Result<(), Failure> {
    tpm::put(&create_primary(4));
    tpm::start();
    let meddle = || {
        for _ in 0..100 {
            tpm::start();
            write(0, register::REQ, 1);
            read(0, register::STS);
        }
    };
    ensure!(smp::run(Apic::current(), 1, meddle), "processor 1 did not come");
    while tpm::is_running() {}
    ensure_eq!(tpm::response().code(), RC_SUCCESS, "the code");
    ensure_eq!(tpm::run(&tpm::FLUSH).code(), RC_SUCCESS, "the code of the flush");
    // Started by another one, and the first looks for the response.
    tpm::put(&tpm::GET_RANDOM);
    ensure!(smp::run(Apic::current(), 1, tpm::start), "processor 1 did not come again");
    while tpm::is_running() {}
    ensure_eq!(tpm::response().code(), RC_SUCCESS, "the code of the other's command");
    Ok(())
}

/// Makes keys until the TPM fails, asleep most of the time; tells whether the machine lives on.
pub fn make_keys_for_ever(report: &mut Report) {
    tpm::claim();
    // A machine check that hits the guest itself is ignored: this test is about the service.
    guest::set_handler(18, Some(|_| {}));
    guest::set_handler(0x40, Some(|_| Apic::current().end()));
    let apic = Apic::Page.switch_on();
    apic.write(Apic::TIMER, Apic::PERIODIC | 0x40);
    apic.write(Apic::DIVIDE, 0b1011);
    apic.write(Apic::INITIAL, 20_000_000);
    println!("makes keys");
    let mut salt = 0_u8;
    while read(0, register::STS) & FATAL == 0 {
        tpm::put(&create_primary(salt));
        salt = salt.wrapping_add(1);
        tpm::start();
        cpu::enable_interrupts();
        while tpm::is_running() {
            cpu::wait_for_interrupt();
        }
        cpu::disable_interrupts();
        if read(0, register::STS) & FATAL == 0 {
            tpm::run(&tpm::FLUSH);
        }
    }
    apic.write(Apic::INITIAL, 0);
    report.case("lives-without-its-tpm", || {
        tpm::start();
        ensure!(!tpm::is_running(), "a TPM that has failed runs a command");
        Ok(())
    });
}
