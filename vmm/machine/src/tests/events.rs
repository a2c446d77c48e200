//! Events at their corners: NMIs, interrupt shadows, deadlines, instructions that change meanwhile.

use std::sync::atomic::Ordering;

use guest_memory::{Gpa, GuestMemory};
use platform_api::{Event, Exit, Platform};
use x86::{Attributes, Register, SegmentRegister, VpState};

use super::fake::FakeVp;
use super::{exit, machine, memory_fault, new_machine, one, write_msr, x2apic_on};
use crate::lifecycle::{Lifecycle, Rendezvous};
use crate::mailbox::Order;
use crate::vp::{Activity, VirtualProcessor};

#[test]
fn mail_posted_before_a_vp_is_made_waits_for_it() {
    // A guest may run on the first VP while the CPUs of the others are still on their way.
    let machine = new_machine(2);
    let mut first = VirtualProcessor::new(machine, 0, FakeVp::default());
    first.power_on(&VpState::init(0), Activity::Running);
    x2apic_on(&mut first);
    for icr in [0x4500, 0x4610] {
        write_msr(&mut first, 0x830, 1 << 32 | icr);
    }
    let mut second = VirtualProcessor::new(machine, 1, FakeVp::default());
    second.turn();
    assert_eq!(second.activity, Activity::Running, "INIT and SIPI were lost");
    machine.ask_for_rendezvous(Rendezvous::PowerOff);
    let second = VirtualProcessor::new(machine, 1, FakeVp::default());
    assert!(second.mailbox().drain().has(Order::Rendezvous), "the VM would never end");
}

#[test]
fn init_drops_an_earlier_nmi() {
    let mut vps = machine(2);
    x2apic_on(&mut vps[0]);
    for icr in [0x4500, 0x4608] {
        write_msr(&mut vps[0], 0x830, 1 << 32 | icr);
    }
    vps[1].turn();
    for icr in [0x4400, 0x4500, 0x4608] {
        write_msr(&mut vps[0], 0x830, 1 << 32 | icr);
    }
    vps[1].turn();
    assert_eq!((vps[1].activity, vps[1].cpu.injected.len()), (Activity::Running, 0));
}

#[test]
fn an_nmi_comes_right_after_the_event_that_goes_first() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    vp.cpu.busy = true;
    let _ = vp.mailbox().post_nmi();
    vp.turn();
    assert_eq!(*host.kicks.lock().unwrap(), [0], "kicks itself");
    assert_eq!(vp.cpu.injected, []);
    vp.cpu.busy = false;
    vp.turn();
    assert_eq!(vp.cpu.injected, [Event::Nmi]);
}

#[test]
fn an_nmi_that_meets_an_interrupt_shadow_comes_right_behind_it() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    vp.cpu.shadow = true;
    let _ = vp.mailbox().post_nmi();
    vp.turn();
    assert_eq!(*host.kicks.lock().unwrap(), [0], "kicks itself");
    vp.cpu.shadow = false;
    vp.turn();
    assert_eq!(vp.cpu.injected, [Event::Nmi]);
}

#[test]
fn a_second_nmi_is_taken_after_the_first_and_a_third_is_lost() {
    let mut vp = one();
    for _ in 0..3 {
        let _ = vp.mailbox().post_nmi();
    }
    vp.turn();
    vp.turn();
    assert_eq!(vp.cpu.injected, [Event::Nmi], "one at a time");
    for _ in 0..2 {
        let _ = vp.mailbox().post_nmi();
    }
    vp.turn();
    for _ in 0..2 {
        vp.cpu.in_nmi = false;
        vp.turn();
        assert_eq!(vp.cpu.injected, [Event::Nmi, Event::Nmi]);
    }
    assert!(vp.machine.platform.host().kicks.lock().unwrap().is_empty(), "no kick while masked");
}

#[test]
fn a_masked_nmi_does_not_wake_a_vp_that_halted_in_its_handler() {
    let mut vps = machine(2);
    let state = vps[0].cpu.state;
    vps[1].power_on(&state, Activity::Running);
    let vp = &mut vps[0];
    let _ = vp.mailbox().post_nmi();
    exit(vp, Exit::Halt);
    assert_eq!((vp.cpu.injected.len(), vp.activity), (1, Activity::Halted));
    let _ = vp.mailbox().post_nmi();
    let entries = vp.cpu.entries;
    vp.turn();
    vp.turn();
    assert_eq!((vp.cpu.entries, vp.activity), (entries, Activity::Halted));
}

#[test]
fn init_keeps_the_cpus_signature_and_drops_the_interrupt_that_cr8_held_back() {
    let mut vps = machine(2);
    x2apic_on(&mut vps[0]);
    let state = vps[0].cpu.state;
    vps[1].power_on(&state, Activity::Running);
    vps[1].machine.platform.compares_task_priority.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        vps[1].cpu.cr8 = 15;
        write_msr(&mut vps[1], 0x1b, 0xfee0_0800);
        x2apic_on(&mut vps[1]);
        write_msr(&mut vps[1], 0x83f, 0x51);
        vps[1].turn();
        assert!(vps[1].cpu.watched, "held back by CR8");
        for icr in [0x4500, 0x4608] {
            write_msr(&mut vps[0], 0x830, 1 << 32 | icr);
        }
        vps[1].turn();
        vps[1].cpu.watched = false;
    }
    vps[0].cpu.gpr[0] = 1;
    exit(&mut vps[0], Exit::Cpuid);
    assert_eq!(vps[1].cpu.state.gpr[Register::Rdx as usize], vps[0].cpu.gpr[0]);
}

#[test]
fn halt_between_sti_and_an_interrupt_is_not_slept_on() {
    let mut vp = one();
    vp.machine.platform.memory().write(Gpa(0x1000), &[0xf4]).unwrap();
    vp.cpu.rflags = 0x202;
    vp.cpu.length = None;
    vp.cpu.shadow = true;
    vp.cpu.exits.push_back(Exit::HostInterrupt);
    vp.turn();
    assert_eq!((vp.activity, vp.cpu.rip), (Activity::Halted, 0x1001));
}

#[test]
fn a_program_can_not_have_its_vp_halted_behind_an_interrupt_shadow() {
    let mut vp = one();
    vp.machine.platform.memory().write(Gpa(0x1000), &[0xf4]).unwrap();
    (vp.cpu.rflags, vp.cpu.length, vp.cpu.shadow, vp.cpu.cpl) = (0x202, None, true, 3);
    vp.cpu.exits.push_back(Exit::HostInterrupt);
    vp.turn();
    assert_eq!((vp.activity, vp.cpu.rip), (Activity::Running, 0x1000), "HLT is for level 0");
}

#[test]
fn an_instruction_that_another_vp_has_changed_makes_no_access_that_the_cpu_has_not_checked() {
    const IO_APIC: u64 = 0xfec0_0000;
    let mut vp = one();
    let memory = vp.machine.platform.memory();
    // MOV [RAX], ECX, where the fault was of a read; the tables map the first 2 MiB only.
    memory.write(Gpa(0x1000), &[0x89, 0x08]).unwrap();
    for (table, next) in [(0x2000, 0x3003), (0x3000, 0x83)] {
        memory.write_u64(Gpa(table), next).unwrap();
    }
    vp.cpu.state.control = x86::Control { cr0: 1 << 31, cr3: 0x2000, cr4: 0, efer: 1 << 10 };
    vp.cpu.state.segments[SegmentRegister::Cs as usize].attributes = Attributes::from_bits(0xa9b);
    (vp.cpu.gpr[0], vp.cpu.gpr[1]) = (IO_APIC, 0x20);
    // The page of the code is known from here on.
    let _ = vp.task_priority_operand();
    exit(&mut vp, Exit::Memory(memory_fault(IO_APIC, false)));
    assert_eq!(vp.machine.chipset.lines().read_ioapic(0), 0, "the IOAPIC was not written");
    let page_fault = |event: &Event| matches!(event, Event::Exception { vector: 14, .. });
    assert!(vp.cpu.injected.iter().any(page_fault), "{:?}", vp.cpu.injected);
}

#[test]
fn page_tables_in_a_devices_registers_change_nothing_there() {
    const IO_APIC: u64 = 0xfec0_0000;
    for paging in [0, 1 << 5] {
        let mut vp = one();
        let memory = vp.machine.platform.memory();
        memory.write(Gpa(0x1000), &[0x8a, 0x07]).unwrap();
        vp.machine.chipset.lines().write_ioapic(0, 1, |_, _| {});
        vp.cpu.state.control =
            x86::Control { cr0: 1 << 31 | 1, cr3: IO_APIC, cr4: paging, efer: 0 };
        exit(&mut vp, Exit::Memory(memory_fault(IO_APIC, false)));
        assert_eq!(vp.machine.chipset.lines().read_ioapic(0), 1, "CR4 {paging:#x}");
    }
}

#[test]
fn a_deadline_at_the_end_of_time_never_comes() {
    let mut vp = one();
    x2apic_on(&mut vp);
    let host = vp.machine.platform.host();
    host.tsc.store(50_000_000, Ordering::SeqCst);
    write_msr(&mut vp, 0x832, 1 << 18 | 0x41);
    for (offset, deadline) in [(0, u64::MAX), (1 << 40, u64::MAX), (0, u64::MAX - 10_000_000)] {
        write_msr(&mut vp, 0x10, offset);
        write_msr(&mut vp, 0x6e0, deadline);
        for _ in 0..3 {
            vp.turn();
        }
        let timer = host.timer.lock().unwrap().map_or(u64::MAX, |at| at.0);
        let now = host.tsc.load(Ordering::SeqCst);
        assert!(timer > now + 1_000_000_000, "{deadline:#x}: the host's timer is set for {timer}");
        assert_eq!(vp.cpu.offered, None);
    }
    // A deadline in the past comes at once.
    host.tsc.fetch_add(10, Ordering::SeqCst);
    write_msr(&mut vp, 0x6e0, 1);
    vp.turn();
    exit(&mut vp, Exit::HostInterrupt);
    vp.turn();
    assert_eq!(vp.cpu.offered, Some(0x41));
}

#[test]
fn the_first_reason_stands_until_the_next_round() {
    let lifecycle = Lifecycle::default();
    assert_eq!(lifecycle.wanted(), None);
    assert!(lifecycle.ask(Rendezvous::Reset));
    assert!(!lifecycle.ask(Rendezvous::PowerOff));
    assert_eq!(lifecycle.wanted(), Some(Rendezvous::Reset));
    lifecycle.wait_for(0, || panic!("nobody to wait for"));
    lifecycle.open();
    assert_eq!(lifecycle.wanted(), None);
    assert!(lifecycle.ask(Rendezvous::PowerOff));
}
