//! The machine as a guest, or someone at the host's end, sees it.

mod capabilities;
mod devices;
mod events;
mod exchange;
mod fake;
mod files;
mod tpm;

use std::boxed::Box;
use std::sync::atomic::Ordering;
use std::vec;

use guest_memory::{Gpa, GuestMemory};
use host_wire::Config;
use platform_api::{Event, Exit, MemoryFault, Platform, PortAccess, Received, Width};
use x86::{Attributes, Register, Registers, SegmentRegister, VpState};

use crate::files::GuestFiles;
use crate::lifecycle::Rendezvous;
use crate::machine::Machine;
use crate::mailbox::Away;
use crate::restart::CallAgain;
use crate::vp::{Activity, VirtualProcessor};
use fake::{CONFIDENTIAL, Fake, FakeVp};

const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };

/// A machine that has no VPs yet.
fn new_machine(cpus: u32) -> &'static Machine<Fake> {
    let platform = Fake::new(cpus);
    let files = GuestFiles::find(platform.host());
    Box::leak(Box::new(Machine::new(platform, Config::default(), files)))
}

/// VPs of a machine whose first one runs in 16-bit mode at address 1000h.
fn machine(cpus: u32) -> vec::Vec<VirtualProcessor<Fake>> {
    let machine = new_machine(cpus);
    let mut vps: vec::Vec<_> =
        (0..cpus).map(|index| VirtualProcessor::new(machine, index, FakeVp::default())).collect();
    let mut state = VpState::init(0);
    state.rip = 0x1000;
    state.segments[SegmentRegister::Cs as usize].base = 0;
    vps[0].power_on(&state, Activity::Running);
    vps[0].set_up_virtual_wire();
    let _ = vps[0].mailbox().drain();
    vps
}

fn one() -> VirtualProcessor<Fake> {
    machine(1).remove(0)
}

fn exit(vp: &mut VirtualProcessor<Fake>, exit: Exit) {
    vp.cpu.length = Some(2);
    vp.cpu.exits.push_back(exit);
    vp.turn();
}

fn write_msr(vp: &mut VirtualProcessor<Fake>, number: u32, value: u64) {
    vp.cpu.gpr[Register::Rcx as usize] = number.into();
    vp.cpu.gpr[Register::Rax as usize] = value & 0xffff_ffff;
    vp.cpu.gpr[Register::Rdx as usize] = value >> 32;
    exit(vp, Exit::WriteMsr);
}

fn read_msr(vp: &mut VirtualProcessor<Fake>, number: u32) -> u64 {
    vp.cpu.gpr[Register::Rcx as usize] = number.into();
    exit(vp, Exit::ReadMsr);
    vp.cpu.gpr[0] | vp.cpu.gpr[2] << 32
}

fn port(vp: &mut VirtualProcessor<Fake>, port: u16, width: Width, output: Option<u32>) -> u64 {
    if let Some(value) = output {
        vp.cpu.gpr[0] = value.into();
    }
    let is_input = output.is_none();
    let next_rip = vp.cpu.rip + 1;
    exit(vp, Exit::Port(PortAccess { port, width, is_input, is_string: false, next_rip }));
    vp.cpu.gpr[0]
}

fn memory_fault(gpa: u64, in_delivery: bool) -> MemoryFault {
    MemoryFault { gpa, is_write: false, is_fetch: false, is_walk: false, in_delivery }
}

fn x2apic_on(vp: &mut VirtualProcessor<Fake>) {
    let base = read_msr(vp, 0x1b);
    write_msr(vp, 0x1b, base | 1 << 10);
    write_msr(vp, 0x80f, 0x1ff);
}

#[test]
fn cpuid_hides_nested_virtualization_and_moves_on() {
    let mut vp = one();
    vp.cpu.gpr[0] = 0x8000_0001;
    exit(&mut vp, Exit::Cpuid);
    assert_eq!(vp.cpu.gpr[1] & 1 << 2, 0, "nested virtualization");
    assert_eq!(vp.cpu.rip, 0x1002);
    vp.cpu.gpr[0] = 0x4000_0000;
    exit(&mut vp, Exit::Cpuid);
    assert_eq!(vp.cpu.gpr[3], u64::from(u32::from_le_bytes(*b"Micr")));
}

#[test]
fn the_guest_controls_its_own_speculation() {
    // The CPU below has IBPB and SSBD.
    let mut vp = one();
    write_msr(&mut vp, 0x48, 0b100);
    write_msr(&mut vp, 0x49, 1);
    write_msr(&mut vp, 0x49, 0);
    assert_eq!((vp.cpu.speculation_control, vp.cpu.barriers), (0b100, 1));
    assert_eq!(vp.cpu.injected, []);
    vp.cpu.gpr[Register::Rcx as usize] = 0x48;
    exit(&mut vp, Exit::ReadMsr);
    assert_eq!(vp.cpu.gpr[Register::Rax as usize], 0b100);
    for (number, value) in [(0x48, 0b001), (0x49, 0b10)] {
        vp.cpu.injected.clear();
        write_msr(&mut vp, number, value);
        assert_eq!(vp.cpu.injected, [GENERAL_PROTECTION], "{number:#x}");
    }
    vp.cpu.injected.clear();
    vp.cpu.gpr[Register::Rcx as usize] = 0x49;
    exit(&mut vp, Exit::ReadMsr);
    assert_eq!(vp.cpu.injected, [GENERAL_PROTECTION], "PRED_CMD can not be read");
    assert_eq!((vp.cpu.speculation_control, vp.cpu.barriers), (0b100, 1));
}

#[test]
fn an_unknown_msr_faults_and_the_guest_stays_where_it_is() {
    let mut vp = one();
    write_msr(&mut vp, 0xc001_0117, 0x1000);
    assert_eq!(vp.cpu.injected, [GENERAL_PROTECTION]);
    assert_eq!(vp.cpu.rip, 0x1000);
    read_msr(&mut vp, 0xc001_0114);
    assert_eq!(vp.cpu.injected.len(), 2);
}

#[test]
fn an_input_from_no_device_reads_ones_and_keeps_the_other_bits_of_rax() {
    let mut vp = one();
    for (width, expected) in [
        (Width::Byte, 0x1122_3344_5566_77ff),
        (Width::Word, 0x1122_3344_5566_ffff),
        (Width::Dword, 0xffff_ffff),
    ] {
        vp.cpu.gpr[0] = 0x1122_3344_5566_7788;
        assert_eq!(port(&mut vp, 0x510, width, None), expected);
        // No call of `Host` takes a port: that the guest reaches none of the host's is its shape.
        port(&mut vp, 0x510, width, Some(0));
    }
}

#[test]
fn bytes_that_the_guest_sends_arrive_even_if_the_host_is_slow() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    host.full.store(true, Ordering::SeqCst);
    port(&mut vp, 0x3f8, Width::Byte, Some(u32::from(b'a')));
    assert!(host.sent[0].lock().unwrap().is_empty());
    assert_eq!(port(&mut vp, 0x3fd, Width::Byte, None) & 0x40, 0, "the transmitter is busy");
    host.full.store(false, Ordering::SeqCst);
    host.tsc.fetch_add(2_000_000, Ordering::SeqCst);
    exit(&mut vp, Exit::HostInterrupt);
    assert_eq!(*host.sent[0].lock().unwrap(), b"a");
    port(&mut vp, 0x2f8, Width::Byte, Some(u32::from(b'b')));
    assert_eq!(*host.sent[1].lock().unwrap(), b"b");
}

#[test]
fn the_vp_whose_byte_waits_sends_it_later() {
    let mut vps = machine(2);
    let host = vps[0].machine.platform.host();
    let state = vps[0].cpu.state;
    vps[1].power_on(&state, Activity::Running);
    host.full.store(true, Ordering::SeqCst);
    port(&mut vps[1], 0x3f8, Width::Byte, Some(u32::from(b'a')));
    host.full.store(false, Ordering::SeqCst);
    host.tsc.fetch_add(2_000_000, Ordering::SeqCst);
    exit(&mut vps[1], Exit::HostInterrupt);
    assert_eq!(*host.sent[0].lock().unwrap(), b"a");
}

#[test]
fn a_machine_check_is_passed_to_the_guest() {
    let mut vp = one();
    vp.cpu.state.control.cr4 = 1 << 6;
    exit(&mut vp, Exit::Exception { vector: 18, error_code: None });
    assert_eq!(vp.cpu.injected, [Event::Exception { vector: 18, error_code: None }]);
    vp.cpu.state.control.cr4 = 0;
    exit(&mut vp, Exit::Exception { vector: 18, error_code: None });
    assert_eq!(vp.machine.lifecycle.wanted(), Some(Rendezvous::TripleFault));
}

#[test]
fn typed_bytes_reach_the_guest_without_loss() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    host.typed[0].lock().unwrap().extend(b"abc".map(Received::Byte));
    exit(&mut vp, Exit::HostInterrupt);
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(port(&mut vp, 0x3f8, Width::Byte, None) as u8);
        host.tsc.fetch_add(2_000_000, Ordering::SeqCst);
        exit(&mut vp, Exit::HostInterrupt);
    }
    assert_eq!(seen, b"abc", "one at a time, as the FIFO is off");
}

#[test]
fn a_deadline_wakes_a_halted_vp() {
    let mut vp = one();
    x2apic_on(&mut vp);
    write_msr(&mut vp, 0x832, 1 << 18 | 0x41);
    let tsc = read_msr(&mut vp, 0x10);
    write_msr(&mut vp, 0x6e0, tsc + 5_000_000);
    vp.cpu.rflags = 0x202;
    exit(&mut vp, Exit::Halt);
    assert_eq!(vp.activity, Activity::Halted);
    let entries = vp.cpu.entries;
    vp.turn();
    assert_eq!(vp.cpu.entries, entries, "asleep");
    vp.turn();
    assert_eq!(vp.activity, Activity::Running);
    assert_eq!(vp.cpu.offered, Some(0x41));
    let now = vp.machine.platform.host().tsc.load(Ordering::SeqCst);
    assert!((5_000_000..5_100_000).contains(&now), "{now}");
}

#[test]
fn an_interrupt_taken_without_an_exit_is_in_service_until_its_end() {
    let mut vp = one();
    x2apic_on(&mut vp);
    write_msr(&mut vp, 0x83f, 0x51);
    vp.turn();
    assert_eq!(vp.cpu.offered, Some(0x51));
    vp.cpu.taken = Some(0x51);
    assert_eq!(read_msr(&mut vp, 0x812), 1 << (0x51 - 0x40), "ISR");
    write_msr(&mut vp, 0x83f, 0x42);
    vp.turn();
    assert_eq!(vp.cpu.offered, None, "a lower class waits");
    write_msr(&mut vp, 0x80b, 0);
    vp.turn();
    assert_eq!(vp.cpu.offered, Some(0x42));
}

#[test]
fn an_interrupt_below_the_task_priority_waits_where_the_cpu_does_not_compare() {
    let mut vp = one();
    x2apic_on(&mut vp);
    vp.machine.platform.compares_task_priority.store(false, Ordering::SeqCst);
    vp.cpu.cr8 = 9;
    write_msr(&mut vp, 0x83f, 0x51);
    vp.turn();
    assert_eq!(vp.cpu.offered, None);
    assert!(vp.cpu.watched);
    // MOV CR8, R9 in the page where the guest runs; the tables map it to itself.
    let memory = vp.machine.platform.memory();
    memory.write(Gpa(0x1000), &[0x45, 0x0f, 0x22, 0xc1]).unwrap();
    for (table, next) in [(0x2000, 0x3003), (0x3000, 0x83)] {
        memory.write_u64(Gpa(table), next).unwrap();
    }
    let control = x86::Control { cr0: 1 << 31, cr3: 0x2000, cr4: 0, efer: 1 << 10 };
    vp.cpu.state.control = control;
    vp.cpu.state.segments[SegmentRegister::Cs as usize].attributes = Attributes::from_bits(0xa9b);
    (vp.cpu.rip, vp.cpu.gpr[9]) = (0x1000, 3);
    exit(&mut vp, Exit::TaskPriority { is_done: false });
    assert_eq!((vp.cpu.rip, vp.cpu.cr8), (0x1004, 3));
    vp.turn();
    assert_eq!((vp.cpu.offered, vp.cpu.watched), (Some(0x51), false));
}

#[test]
fn a_write_of_cr8_in_another_form_runs_without_intercept_or_offer() {
    let mut vp = one();
    x2apic_on(&mut vp);
    vp.machine.platform.compares_task_priority.store(false, Ordering::SeqCst);
    write_msr(&mut vp, 0x83f, 0x51);
    vp.turn();
    assert_eq!(vp.cpu.offered, Some(0x51));
    // No page table leads to the code: the form can not be known.
    exit(&mut vp, Exit::TaskPriority { is_done: false });
    vp.turn();
    assert_eq!((vp.cpu.offered, vp.cpu.watched), (None, false));
    exit(&mut vp, Exit::HostInterrupt);
    vp.turn();
    assert_eq!(vp.cpu.offered, Some(0x51), "offered again after another exit");
}

#[test]
fn an_ipi_kicks_only_a_vp_that_is_away() {
    let mut vps = machine(2);
    x2apic_on(&mut vps[0]);
    let host = vps[0].machine.platform.host();
    write_msr(&mut vps[0], 0x830, 1 << 32 | 0x4500);
    write_msr(&mut vps[0], 0x830, 1 << 32 | 0x4608);
    assert!(host.kicks.lock().unwrap().is_empty());
    vps[1].turn();
    assert_eq!(vps[1].activity, Activity::Running);
    assert_eq!(vps[1].cpu.state.segments[SegmentRegister::Cs as usize].base, 0x8000);
    assert!(vps[1].mailbox().leave(Away::Guest));
    write_msr(&mut vps[0], 0x830, 1 << 32 | 0x4400);
    assert_eq!(*host.kicks.lock().unwrap(), [1]);
    vps[1].turn();
    assert_eq!(vps[1].cpu.injected, [Event::Nmi]);
}

#[test]
fn a_guest_with_interrupts_disabled_is_no_longer_kicked_and_loses_no_vector() {
    let mut vp = one();
    x2apic_on(&mut vp);
    write_msr(&mut vp, 0x80f, 0x1ff);
    vp.cpu.rflags = 0;
    let mailbox = vp.mailbox();
    for vector in 0x40..0x46 {
        vp.cpu.posts.push_back((mailbox, vector));
        vp.turn();
    }
    // Where the guest can not be made to exit when it opens, each vector kicks.
    let kicked = if CONFIDENTIAL { [true; 6] } else { [true, true, true, false, false, false] };
    assert_eq!(vp.cpu.kicked, kicked);
    assert_eq!(vp.cpu.windows == 0, CONFIDENTIAL, "the guest exits as soon as it opens");
    vp.cpu.rflags = 0x200;
    exit(&mut vp, Exit::InterruptWindow);
    for vector in (0x40..0x46).rev() {
        vp.turn();
        assert_eq!(vp.cpu.offered, Some(vector));
        vp.cpu.taken = Some(vector);
        exit(&mut vp, Exit::HostInterrupt);
        write_msr(&mut vp, 0x80b, 0);
    }
    vp.cpu.posts.push_back((mailbox, 0x50));
    vp.turn();
    assert_eq!(vp.cpu.kicked.last(), Some(&true), "open again");
}

#[test]
fn a_second_startup_ipi_changes_nothing() {
    let mut vps = machine(2);
    for icr in [0x4500, 0x4608] {
        write_msr(&mut vps[0], 0x1b, 0xfee0_0d00);
        write_msr(&mut vps[0], 0x830, 1 << 32 | icr);
    }
    vps[1].turn();
    vps[1].cpu.rip = 0x77;
    write_msr(&mut vps[0], 0x830, 1 << 32 | 0x4609);
    vps[1].turn();
    assert_eq!(vps[1].cpu.rip, 0x77);
}

#[test]
fn unclaimed_memory_reads_ones_and_ignores_writes() {
    let mut vp = one();
    let own = vp.machine.platform.own_range().start();
    // MOV AL, [BX]; MOV [BX], AL; with DS at our own range.
    vp.machine.platform.memory().write(Gpa(0x1000), &[0x8a, 0x07, 0x88, 0x07]).unwrap();
    vp.cpu.state.segments[SegmentRegister::Ds as usize].base = own;
    let fault = memory_fault(own, false);
    exit(&mut vp, Exit::Memory(fault));
    assert_eq!((vp.cpu.gpr[0] & 0xff, vp.cpu.rip), (0xff, 0x1002));
    exit(&mut vp, Exit::Memory(fault));
    assert_eq!((vp.cpu.injected.len(), vp.cpu.rip), (0, 0x1004));
}

#[test]
fn a_delivery_through_absent_memory_is_a_fault_and_no_loop() {
    let mut vp = one();
    let own = vp.machine.platform.own_range().start();
    exit(&mut vp, Exit::Memory(memory_fault(own, true)));
    assert_eq!(vp.cpu.injected, [GENERAL_PROTECTION]);
}

#[test]
#[should_panic(expected = "exit 21")]
fn invalid_control_registers_end_the_guest_and_are_no_crash() {
    let mut vp = one();
    exit(&mut vp, Exit::InvalidState);
    vp.turn();
}

#[test]
fn a_vp_that_does_not_arrive_at_a_rendezvous_is_kicked_again() {
    let vps = machine(2);
    let machine = vps[0].machine;
    let host = machine.platform.host();
    let mut rounds = 0;
    let mut again = CallAgain::new(machine);
    machine.ask_for_rendezvous(Rendezvous::Reset);
    machine.lifecycle.wait_for(1, || {
        again.call(machine, 1..2);
        host.tsc.fetch_add(5_000_000, Ordering::SeqCst);
        rounds += 1;
        if rounds == 5 {
            // It parks, and leaves again at once, as the next round is open.
            let mut opened = false;
            machine.lifecycle.park(|_| {
                assert!(!std::mem::replace(&mut opened, true));
                machine.lifecycle.advance_round();
            });
        }
    });
    assert_eq!(*host.kicks.lock().unwrap(), [1, 1], "twice in 20 ms");
}

#[test]
fn a_guest_can_not_fill_the_log() {
    let vp = one();
    let lines = (0..100_000).filter(|_| vp.machine.may_log()).count();
    assert_eq!(lines, 200);
}

#[test]
fn instructions_of_nested_virtualization_are_undefined() {
    let mut vp = one();
    exit(&mut vp, Exit::Undefined);
    assert_eq!(vp.cpu.injected, [Event::Exception { vector: 6, error_code: None }]);
    assert_eq!(vp.cpu.rip(), 0x1000);
}

#[test]
#[should_panic(expected = "exit 1")]
fn soft_off_ends_the_vm() {
    let mut vp = one();
    port(&mut vp, 0x604, Width::Word, Some(1 << 13));
    vp.turn();
}

#[test]
#[should_panic(expected = "exit 22")]
fn a_guest_that_halts_for_good_ends_the_vm() {
    let mut vp = one();
    exit(&mut vp, Exit::Halt);
    for _ in 0..3 {
        vp.turn();
    }
}

#[test]
fn a_guest_that_halts_with_interrupts_on_sleeps() {
    let mut vp = one();
    vp.cpu.rflags = 0x202;
    exit(&mut vp, Exit::Halt);
    for _ in 0..3 {
        vp.turn();
    }
    assert_eq!(vp.activity, Activity::Halted);
}

#[test]
#[should_panic(expected = "exit 21")]
fn a_guest_that_shuts_down_at_once_ends_the_vm() {
    let mut vp = one();
    exit(&mut vp, Exit::Shutdown);
    vp.turn();
}
