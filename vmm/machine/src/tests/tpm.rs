//! The TPM behind its registers, with a service that a test holds back or lets fail.

use std::sync::atomic::Ordering;
use std::vec::Vec;

use firmware_tables::presence;
use guest_memory::{Gpa, GuestMemory};
use platform_api::{Exit, Platform};
use tpm_crb::registers::{
    CTRL_CANCEL, CTRL_REQ, CTRL_START, CTRL_STS, LOC_CTRL, LOC_STATE, LOC_STS, Status,
};

use super::fake::{Fake, Work};
use super::{exit, machine};
use crate::mailbox::Order;
use crate::tpm::TpmError;
use crate::vp::VirtualProcessor;

const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16];
/// TPM2_PCR_Reset of PCR 17 with an empty password.
const PCR_RESET_17: [u8; 27] =
    [0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x3d, 0, 0, 0, 17, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
const MILLISECOND: u64 = 1_000_000;

/// A VP whose machine has a TPM that has been started.
fn started() -> VirtualProcessor<Fake> {
    let vp = with_service();
    vp.machine.start_tpm(&[]).unwrap();
    vp.machine.starts.store(1, Ordering::Relaxed);
    vp
}

fn with_service() -> VirtualProcessor<Fake> {
    let vp = machine(1).remove(0);
    let machine = vp.machine;
    *machine.platform.service.0.lock().unwrap() =
        Work { work: Some(std::boxed::Box::new(move || machine.serve())), ..Work::default() };
    vp
}

fn service(vp: &VirtualProcessor<Fake>) -> std::sync::MutexGuard<'static, Work> {
    vp.machine.platform.service.0.lock().unwrap()
}

/// Writes a register as the VP does.
fn write(vp: &mut VirtualProcessor<Fake>, offset: u16, value: u32) {
    let tpm = vp.machine.tpm.as_ref().unwrap();
    if tpm.write(offset, &value.to_le_bytes(), vp.machine.platform.memory()) {
        vp.take_on_service();
    }
}

fn read(vp: &VirtualProcessor<Fake>, offset: u16) -> u32 {
    let mut bytes = [0; 4];
    vp.machine.tpm.as_ref().unwrap().read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn is_running(vp: &VirtualProcessor<Fake>) -> bool {
    read(vp, CTRL_START) != 0
}

/// Has a command start.
fn start(vp: &mut VirtualProcessor<Fake>, command: &[u8]) {
    let buffer = vp.machine.tpm.as_ref().unwrap().area.buffers().command;
    vp.machine.platform.memory().write(Gpa(buffer), command).unwrap();
    write(vp, LOC_CTRL, 1);
    write(vp, CTRL_REQ, 1);
    write(vp, CTRL_START, 1);
}

fn response(vp: &VirtualProcessor<Fake>) -> Vec<u8> {
    let buffer = vp.machine.tpm.as_ref().unwrap().area.buffers().response;
    let mut header = [0; 10];
    vp.machine.platform.memory().read(Gpa(buffer), &mut header).unwrap();
    header.to_vec()
}

/// Another register access, as wide as `bytes`.
fn write_bytes(vp: &VirtualProcessor<Fake>, offset: u16, bytes: &[u8]) -> bool {
    vp.machine.tpm.as_ref().unwrap().write(offset, bytes, vp.machine.platform.memory())
}

/// A word of the physical presence interface.
fn word(vp: &VirtualProcessor<Fake>, offset: u64) -> u32 {
    let gpa = Gpa(vp.machine.tpm.as_ref().unwrap().area.presence() + offset);
    let mut bytes = [0; 4];
    vp.machine.platform.memory().read(gpa, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

fn request(vp: &VirtualProcessor<Fake>, operation: u32, parameter: u32) {
    let page = vp.machine.tpm.as_ref().unwrap().area.presence();
    for (offset, value) in [(presence::REQUEST, operation), (presence::PARAMETER, parameter)] {
        vp.machine.platform.memory().write(Gpa(page + offset), &value.to_le_bytes()).unwrap();
    }
}

/// The banks in the log's first event.
fn logged_banks(vp: &VirtualProcessor<Fake>) -> u8 {
    let log = vp.machine.tpm.as_ref().unwrap().area.log();
    let mut bytes = [0; 64];
    vp.machine.platform.memory().read(Gpa(log.start), &mut bytes).unwrap();
    assert_eq!(&bytes[32..47], b"Spec ID Event03");
    bytes[56]
}

#[test]
fn a_short_command_is_done_when_its_start_returns() {
    let mut vp = started();
    start(&mut vp, &GET_RANDOM);
    assert!(!is_running(&vp) && !vp.serving);
    assert_eq!(response(&vp), [0x80, 1, 0, 0, 0, 28, 0, 0, 0, 0]);
}

#[test]
fn a_command_started_while_mail_waits_is_done_without_another_interrupt() {
    let mut vp = started();
    let host = vp.machine.platform.host();
    exit(&mut vp, Exit::Cpuid);
    let _ = vp.mailbox().post(Order::ExtInt);
    start(&mut vp, &GET_RANDOM);
    assert!(is_running(&vp), "the mail goes first");
    // The guest polls, and nothing but our own timer ever interrupts it.
    exit(&mut vp, Exit::Cpuid);
    let due = host.timer.lock().unwrap().expect("a timer for the service's turn").0;
    let now = host.tsc.fetch_max(due, Ordering::SeqCst);
    assert!(due <= now + MILLISECOND, "{due}, {now} now");
    exit(&mut vp, Exit::HostInterrupt);
    assert!(!is_running(&vp) && !vp.serving);
}

#[test]
fn a_cancel_that_stands_cancels_the_next_command_too() {
    let mut vp = started();
    start(&mut vp, &GET_RANDOM);
    write(&mut vp, CTRL_CANCEL, 1);
    service(&vp).held_back = 1;
    start(&mut vp, &GET_RANDOM);
    let canceled = || vp.machine.tpm.as_ref().unwrap().is_canceled();
    assert!(canceled(), "PTP 6.5.3.8: a cancel is cleared by the guest alone");
    exit(&mut vp, Exit::HostInterrupt);
}

#[test]
fn the_guest_has_locality_0_and_no_other() {
    let mut vp = started();
    let page = |locality: u16| locality * tpm_crb::registers::PAGE;
    for locality in 1..=5 {
        for control in [1, 4, 8] {
            write(&mut vp, page(locality) + LOC_CTRL, control);
        }
        assert_eq!(read(&vp, page(locality) + LOC_STS), u32::MAX, "nobody answers there");
    }
    assert_eq!(read(&vp, LOC_STATE) >> 1 & 0b1111, 0, "no locality is active");
    // An access that begins in page 0 ends with it.
    assert!(!write_bytes(&vp, page(1) - 4, &[0xff; 16]));
    let mut bytes = [0; 8];
    vp.machine.tpm.as_ref().unwrap().read(page(1) - 4, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    start(&mut vp, &PCR_RESET_17);
    assert_eq!(response(&vp)[6..], [0, 0, 9, 7], "TPM_RC_LOCALITY");
}

#[test]
fn the_service_and_a_busy_guest_take_turns_of_a_millisecond() {
    let mut vp = started();
    let host = vp.machine.platform.host();
    service(&vp).held_back = 3;
    start(&mut vp, &GET_RANDOM);
    assert!(is_running(&vp) && vp.serving);
    for _ in 0..2 {
        let before = service(&vp).held_back;
        // The guest's turn: an interrupt of another kind changes nothing.
        exit(&mut vp, Exit::HostInterrupt);
        assert_eq!(service(&vp).held_back, before);
        assert_eq!(host.timer.lock().unwrap().unwrap(), vp.next_slice);
        host.tsc.fetch_add(MILLISECOND, Ordering::SeqCst);
        exit(&mut vp, Exit::HostInterrupt);
    }
    assert!(is_running(&vp), "put aside three times");
    host.tsc.fetch_add(MILLISECOND, Ordering::SeqCst);
    exit(&mut vp, Exit::HostInterrupt);
    assert!(!is_running(&vp) && !vp.serving);
}

#[test]
fn an_idle_guest_leaves_its_cpu_to_the_service() {
    let mut vp = started();
    service(&vp).held_back = 2;
    start(&mut vp, &GET_RANDOM);
    vp.cpu.rflags = 0x200;
    exit(&mut vp, Exit::Halt);
    vp.turn();
    assert_eq!(service(&vp).held_back, 0);
    vp.turn();
    assert!(!is_running(&vp));
}

#[test]
fn a_timer_that_fires_while_an_idle_guest_is_served_wakes_it() {
    let mut vp = started();
    let host = vp.machine.platform.host();
    // The guest's one-shot timer, due in a millisecond.
    for (register, value) in [(0x3e0, 0xb), (0x320, 0x40), (0x380, 1_000_000)] {
        let now = vp.machine.now();
        let effect = vp.apic.write_xapic(register, value, now, device_model::GuestTsc(0));
        vp.apply(effect);
    }
    service(&vp).held_back = 1;
    start(&mut vp, &GET_RANDOM);
    assert!(vp.serving);
    vp.cpu.rflags = 0x200;
    exit(&mut vp, Exit::Halt);
    let machine = vp.machine;
    service(&vp).work = Some(std::boxed::Box::new(move || {
        machine.serve();
        host.tsc.fetch_add(2 * MILLISECOND, Ordering::SeqCst);
    }));
    vp.turn();
    let entries = vp.cpu.entries;
    vp.turn();
    assert_eq!((host.idled.load(Ordering::SeqCst), vp.cpu.entries), (0, entries + 1));
    assert_eq!(vp.cpu.offered, Some(0x40));
}

#[test]
fn a_service_that_fails_is_a_fatal_error_of_the_tpm_and_not_of_the_machine() {
    let mut vp = started();
    service(&vp).work = None;
    start(&mut vp, &GET_RANDOM);
    assert!(!is_running(&vp) && !vp.serving);
    assert_eq!(read(&vp, CTRL_STS) & Status::FATAL.bits(), 1);
    write(&mut vp, CTRL_START, 1);
    assert!(!is_running(&vp));
}

#[test]
fn a_reset_drops_the_command_that_runs() {
    let mut vp = started();
    service(&vp).held_back = 5;
    start(&mut vp, &GET_RANDOM);
    write(&mut vp, CTRL_CANCEL, 1);
    vp.machine.reset_tpm();
    assert!(!is_running(&vp) && read(&vp, CTRL_STS) & Status::IDLE.bits() != 0);
    assert_eq!(response(&vp), [0; 10]);
    vp.machine.start_tpm(&[]).unwrap();
    start(&mut vp, &GET_RANDOM);
    assert_eq!(response(&vp)[6..], [0; 4]);
}

#[test]
fn a_request_of_the_guest_is_performed_once_at_the_next_start() {
    let vp = started();
    assert_eq!(logged_banks(&vp), 1);
    request(&vp, presence::SET_PCR_BANKS, 0b110);
    vp.machine.reset_tpm();
    vp.machine.start_tpm(&[]).unwrap();
    assert_eq!(logged_banks(&vp), 2);
    assert_eq!(
        [presence::REQUEST, presence::LAST, presence::RESPONSE].map(|at| word(&vp, at)),
        [0, presence::SET_PCR_BANKS, 0]
    );
    request(&vp, 99, 0);
    vp.machine.reset_tpm();
    vp.machine.start_tpm(&[]).unwrap();
    assert_eq!((word(&vp, presence::REQUEST), word(&vp, presence::LAST)), (0, 99));
    assert_eq!(word(&vp, presence::RESPONSE), presence::USER_ABORT);
}

#[test]
fn without_entropy_nothing_starts() {
    let vp = with_service();
    vp.machine.platform.host().full.store(true, Ordering::SeqCst);
    assert_eq!(vp.machine.start_tpm(&[]), Err(TpmError::Entropy));
}

/// The next VM, with a copy of this one's disk.
fn next(vp: &VirtualProcessor<Fake>) -> VirtualProcessor<Fake> {
    let old = vp.machine.platform.host();
    let next = with_service();
    let new = next.machine.platform.host();
    *new.state_disk.lock().unwrap() = old.state_disk.lock().unwrap().clone();
    new.draws.store(old.draws.load(Ordering::SeqCst), Ordering::SeqCst);
    next
}

/// The interface's words: the request that waits, the last one, its result.
fn told(vp: &VirtualProcessor<Fake>) -> [u32; 3] {
    [presence::REQUEST, presence::LAST, presence::RESPONSE].map(|at| word(vp, at))
}

/// A VM that was powered off with a request.
fn powered_off() -> VirtualProcessor<Fake> {
    let vp = with_service();
    let new = std::vec![0; (state_store::DISK_SECTORS * 512) as usize];
    *vp.machine.platform.host().state_disk.lock().unwrap() = Some(new);
    vp.machine.start_tpm(&[]).unwrap();
    request(&vp, presence::SET_PCR_BANKS, 0b110);
    vp.machine.power_off_tpm();
    vp
}

#[test]
fn a_request_made_before_power_off_is_performed_in_the_next_vm() {
    let second = next(&powered_off());
    second.machine.start_tpm(&[]).unwrap();
    assert_eq!(logged_banks(&second), 2);
    assert_eq!(told(&second), [0, presence::SET_PCR_BANKS, 0]);
    // This one does not end well, and a request that it has had is lost.
    request(&second, presence::CLEAR[0], 0);
    let third = next(&second);
    third.machine.start_tpm(&[]).unwrap();
    assert_eq!(told(&third), [0, presence::SET_PCR_BANKS, 0]);
}

/// The result that the next VM reports; the request waits no longer.
fn code_after(vp: &VirtualProcessor<Fake>) -> u32 {
    let next = next(vp);
    next.machine.start_tpm(&[]).unwrap();
    let [waits, last, code] = told(&next);
    assert_eq!([waits, last], [0, presence::SET_PCR_BANKS]);
    code
}

#[test]
fn a_request_on_which_a_start_fails_is_not_repeated() {
    let off = powered_off();
    let mut codes = std::vec![];
    for tasks in 0.. {
        let second = next(&off);
        service(&second).lives_for = Some(tasks);
        let fails = second.machine.start_tpm(&[]).is_err();
        codes.push(code_after(&second));
        if !fails {
            break;
        }
    }
    codes.dedup();
    // Done by the third VM, tried by the second one, done by it.
    assert_eq!(codes, [0, presence::FIRMWARE_FAILURE, 0]);
}

#[test]
fn a_request_that_the_next_vm_will_repeat_is_skipped() {
    let off = powered_off();
    let mut outcomes = std::vec![];
    for writes in 0.. {
        let second = next(&off);
        *second.machine.platform.host().disk_writes.lock().unwrap() = Some(writes);
        let banks = second.machine.start_tpm(&[]).map_or(1, |()| logged_banks(&second));
        outcomes.push((banks, code_after(&second)));
        if outcomes.ends_with(&[(2, 0)]) {
            break;
        }
    }
    outcomes.dedup();
    // Put off; tried in vain; done with an answer that was lost; done.
    let failure = presence::FIRMWARE_FAILURE;
    assert_eq!(outcomes, [(1, 0), (1, failure), (2, failure), (2, 0)]);
}

#[test]
fn a_power_off_does_not_wait_for_a_command_or_a_failed_service() {
    let mut vp = started();
    service(&vp).held_back = 2;
    start(&mut vp, &GET_RANDOM);
    assert!(vp.serving);
    vp.machine.power_off_tpm();
    assert_eq!(response(&vp), [0; 10], "its response is dropped");
    service(&vp).work = None;
    vp.machine.power_off_tpm();
}
