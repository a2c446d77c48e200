//! Events of a virtual processor whose control block is a page of the test's.

extern crate std;

use std::alloc::{Layout, alloc_zeroed};

use platform_api::{Event, MemoryFault, PortAccess, Width};
use x86::{
    Register, Registers, Segment, SegmentRegister, SystemRegisters, dr6, efer, rflags, vector,
};

use crate::entry::GeneralRegisters;
use crate::events;
use crate::exits::EXIT_KINDS;
use crate::features::Features;
use crate::intercepts;
use crate::interrupts::{UNUSED_VECTOR, Waiting};
use crate::nmi::NmiMask;
use crate::vcpu::Vcpu;
use crate::vmcb::{Vmcb, control, event, save, virtual_interrupt};

/// A VP with interrupts enabled; of QEMU's software CPU or of silicon.
fn vcpu(is_software: bool) -> Vcpu {
    let layout = Layout::from_size_align(4096, 4096).unwrap();
    // SAFETY: the layout has a size.
    let page = unsafe { alloc_zeroed(layout) } as u64;
    let mut vcpu = Vcpu {
        registers: GeneralRegisters::default(),
        // SAFETY: a fresh page, which is never freed.
        vmcb: unsafe { Vmcb::new(page) },
        host_page: 0,
        features: Features {
            next_rip: !is_software,
            xsave: false,
            rdtscp: false,
            gigabyte_pages: false,
            is_software,
        },
        nmi: NmiMask::Open,
        waiting: Waiting::Nothing,
        watches_task_priority: false,
        displaced: None,
        holds_back: false,
        shut_down: false,
        speculation_control: 0,
        counts: [0; EXIT_KINDS],
    };
    vcpu.withdraw();
    vcpu.set_rflags(rflags::IF | rflags::FIXED);
    vcpu
}

fn pending(vcpu: &Vcpu) -> Option<u8> {
    let word = vcpu.vmcb.read_u32(control::VIRTUAL_INTERRUPT);
    let vector = vcpu.vmcb.read_u32(control::VIRTUAL_VECTOR) as u8;
    (word & virtual_interrupt::PENDING != 0).then_some(vector)
}

/// Whether delivery of the virtual interrupt would exit.
fn intercepted(vcpu: &Vcpu) -> bool {
    vcpu.vmcb.read_u32(control::INTERCEPT_1) & intercepts::VIRTUAL_INTERRUPT != 0
}

/// The CPU takes the virtual interrupt.
fn deliver(vcpu: &mut Vcpu) {
    let word = vcpu.vmcb.read_u32(control::VIRTUAL_INTERRUPT) & !virtual_interrupt::PENDING;
    vcpu.vmcb.write_u32(control::VIRTUAL_INTERRUPT, word);
}

#[test]
fn an_offer_is_taken_or_replaced_or_withdrawn() {
    let mut vcpu = vcpu(true);
    vcpu.offer(Some(0x41));
    assert_eq!((pending(&vcpu), intercepted(&vcpu)), (Some(0x41), false));
    assert_eq!(vcpu.taken(), None, "not yet");
    vcpu.offer(Some(0x51));
    assert_eq!(pending(&vcpu), Some(0x51));
    deliver(&mut vcpu);
    assert_eq!(vcpu.taken(), Some(0x51));
    assert_eq!(vcpu.taken(), None, "once");
    assert!(intercepted(&vcpu), "a stray one exits");
    vcpu.offer(Some(0x41));
    vcpu.offer(None);
    assert_eq!((pending(&vcpu), vcpu.taken()), (None, None));
    assert_eq!(vcpu.vmcb.read_u32(control::VIRTUAL_VECTOR), u32::from(UNUSED_VECTOR));
}

#[test]
fn a_guest_that_can_not_take_an_interrupt_gets_a_window() {
    for close in [
        (|vcpu: &mut Vcpu| vcpu.set_rflags(rflags::FIXED)) as fn(&mut Vcpu),
        |vcpu| vcpu.vmcb.write_u64(control::INTERRUPT_SHADOW, 1),
        |vcpu| vcpu.vmcb.write_u64(control::EVENT_INJECTION, event::VALID | 3 << 8 | 13),
    ] {
        let mut vcpu = vcpu(true);
        close(&mut vcpu);
        assert!(!vcpu.can_take_interrupt());
        vcpu.offer(Some(0x41));
        assert_eq!((pending(&vcpu), intercepted(&vcpu)), (Some(UNUSED_VECTOR), true));
        deliver(&mut vcpu);
        assert_eq!(vcpu.taken(), None, "the window is no interrupt");
    }
}

#[test]
fn writes_of_cr8_exit_while_they_must() {
    let watched = |vcpu: &Vcpu| vcpu.vmcb.read_u16(control::INTERCEPT_CR_WRITES) & 1 << 8 != 0;
    for is_software in [true, false] {
        let mut vcpu = vcpu(is_software);
        assert!(!watched(&vcpu));
        vcpu.request_window();
        assert_eq!(watched(&vcpu), is_software, "that CPU would abort");
        vcpu.withdraw();
        assert!(!watched(&vcpu));
        vcpu.watch_task_priority(true);
        vcpu.offer(Some(0x41));
        assert!(watched(&vcpu));
        vcpu.watch_task_priority(false);
        assert!(!watched(&vcpu));
    }
}

#[test]
fn an_injected_interrupt_is_delivered_once() {
    let mut silicon = vcpu(false);
    silicon.inject(Event::Interrupt(0x30));
    let injection = silicon.vmcb.read_u64(control::EVENT_INJECTION);
    assert_eq!(events::decode(injection), Some(Event::Interrupt(0x30)));
    let mut software = vcpu(true);
    software.inject(Event::Interrupt(0x30));
    assert_eq!(software.vmcb.read_u64(control::EVENT_INJECTION), 0, "it would come twice");
    assert_eq!(pending(&software), Some(0x30));
    software.offer(Some(0x41));
    assert_eq!(pending(&software), Some(0x30), "the injected one goes first");
    assert!(software.has_event() && !software.can_take_interrupt());
    deliver(&mut software);
    assert_eq!(software.taken(), None, "it was acknowledged before");
    software.offer(Some(0x41));
    assert_eq!(pending(&software), Some(0x41));
}

#[test]
fn a_delivery_that_was_cut_short_is_repeated_unless_it_comes_by_itself() {
    let mut vcpu = vcpu(true);
    let page_fault = Event::Exception { vector: vector::PF, error_code: Some(2) };
    assert_eq!(vcpu.put_back(events::encode(&page_fault)), events::encode(&page_fault));
    // A software interrupt runs again.
    assert_eq!(vcpu.put_back(event::VALID | 4 << 8 | 0x80), 0);
    vcpu.offer(Some(0x41));
    assert_eq!(vcpu.put_back(events::encode(&Event::Interrupt(0x41))), 0, "V_IRQ is still set");
    deliver(&mut vcpu);
    assert_ne!(vcpu.put_back(events::encode(&Event::Interrupt(0x41))), 0);
}

#[test]
fn an_nmi_is_masked_until_the_step_behind_its_iret() {
    let mut vcpu = vcpu(true);
    assert!(vcpu.can_take_nmi());
    vcpu.inject(Event::Nmi);
    let iret = |vcpu: &Vcpu| vcpu.vmcb.read_u32(control::INTERCEPT_1) & intercepts::IRET != 0;
    assert!(vcpu.nmi_is_masked() && iret(&vcpu));
    vcpu.vmcb.write_u64(control::EVENT_INJECTION, 0);
    vcpu.step_over_iret();
    assert!(vcpu.nmi_is_masked() && !iret(&vcpu), "the IRET has not completed");
    assert_ne!(vcpu.rflags() & rflags::TF, 0);
    vcpu.set_dr6(dr6::RESET | dr6::BS);
    assert_eq!(vcpu.exception(vector::DB), None, "our own step");
    assert!(vcpu.can_take_nmi());
    assert_eq!(vcpu.debug_registers().0, dr6::RESET, "the guest sees nothing of it");
    let guest = Event::Exception { vector: vector::DB, error_code: None };
    assert_eq!(vcpu.exception(vector::DB), Some(guest), "the next one is the guest's");
}

#[test]
fn a_guest_that_steps_itself_gets_its_own_debug_exception() {
    let mut vcpu = vcpu(true);
    vcpu.inject(Event::Nmi);
    vcpu.vmcb.write_u64(control::EVENT_INJECTION, 0);
    vcpu.set_rflags(rflags::FIXED | rflags::TF);
    vcpu.step_over_iret();
    vcpu.set_dr6(dr6::RESET | dr6::BS);
    assert!(vcpu.exception(vector::DB).is_some() && !vcpu.nmi_is_masked());
    assert_ne!(vcpu.debug_registers().0 & dr6::BS, 0);
}

/// A save area that is stored between the exit of the IRET and its step has the guest's own flags.
#[test]
fn a_step_that_has_not_happened_leaves_no_trace() {
    for own in [0, rflags::TF] {
        let mut vcpu = vcpu(true);
        let iret = |vcpu: &Vcpu| vcpu.vmcb.read_u32(control::INTERCEPT_1) & intercepts::IRET != 0;
        vcpu.inject(Event::Nmi);
        vcpu.set_rflags(rflags::FIXED | own);
        vcpu.undo_step();
        assert!(vcpu.nmi_is_masked() && iret(&vcpu), "no step to take back");
        vcpu.step_over_iret();
        vcpu.undo_step();
        assert_eq!(vcpu.rflags(), rflags::FIXED | own);
        assert!(vcpu.nmi_is_masked() && iret(&vcpu), "the IRET is still to come");
        vcpu.step_over_iret();
        vcpu.set_dr6(dr6::RESET | dr6::BS);
        assert_eq!(
            vcpu.exception(vector::DB).is_some(),
            own != 0,
            "the step is ours, if not its own"
        );
    }
}

#[test]
fn an_iret_that_switches_tasks_is_not_stepped() {
    let mut vcpu = vcpu(true);
    vcpu.inject(Event::Nmi);
    vcpu.set_rflags(rflags::FIXED | rflags::NT);
    vcpu.step_over_iret();
    assert_eq!((vcpu.rflags() & rflags::TF, vcpu.nmi_is_masked()), (0, false));
    // In long mode, NT switches no task.
    vcpu.inject(Event::Nmi);
    vcpu.vmcb.write_u64(save::EFER, efer::LMA);
    vcpu.step_over_iret();
    assert_ne!(vcpu.rflags() & rflags::TF, 0);
}

#[test]
fn events_that_meet_combine() {
    let exception = |vector| Event::Exception { vector, error_code: Some(0) };
    let mut vcpu = vcpu(true);
    vcpu.inject(exception(vector::PF));
    vcpu.inject(exception(vector::GP));
    let injection = vcpu.vmcb.read_u64(control::EVENT_INJECTION);
    assert_eq!(events::decode(injection), Some(events::DOUBLE_FAULT));
    assert!(!vcpu.take_shutdown());
    vcpu.inject(exception(vector::PF));
    assert!(vcpu.take_shutdown() && !vcpu.take_shutdown(), "a triple fault, told once");
}

#[test]
fn an_interrupt_that_an_exception_displaced_comes_behind_it() {
    let mut vcpu = vcpu(false);
    vcpu.inject(Event::Interrupt(0x30));
    vcpu.inject(Event::Exception { vector: vector::PF, error_code: Some(0) });
    let injection = vcpu.vmcb.read_u64(control::EVENT_INJECTION);
    assert!(matches!(events::decode(injection), Some(Event::Exception { .. })));
    vcpu.deliver_displaced();
    assert_eq!(vcpu.vmcb.read_u64(control::EVENT_INJECTION), injection, "one at a time");
    vcpu.vmcb.write_u64(control::EVENT_INJECTION, 0);
    vcpu.set_rflags(rflags::FIXED);
    vcpu.deliver_displaced();
    assert!(vcpu.has_event(), "it waits for interrupts to be enabled");
    vcpu.set_rflags(rflags::FIXED | rflags::IF);
    vcpu.deliver_displaced();
    let injection = vcpu.vmcb.read_u64(control::EVENT_INJECTION);
    assert_eq!(events::decode(injection), Some(Event::Interrupt(0x30)));
}

#[test]
fn exit_information_is_taken_apart_as_the_manual_has_it() {
    let mut vcpu = vcpu(false);
    // OUT DX, AX with DX = 3F8h (section 15.10.2).
    vcpu.vmcb.write_u64(control::EXIT_INFO_1, 0x3f8 << 16 | 1 << 5);
    vcpu.vmcb.write_u64(control::EXIT_INFO_2, 0x1002);
    let out = PortAccess {
        port: 0x3f8,
        width: Width::Word,
        is_input: false,
        is_string: false,
        next_rip: 0x1002,
    };
    assert_eq!(vcpu.port_access(), out);
    vcpu.vmcb.write_u64(control::EXIT_INFO_1, 0x60 << 16 | 1 << 4 | 1 << 2 | 1);
    let insb =
        PortAccess { port: 0x60, width: Width::Byte, is_input: true, is_string: true, ..out };
    assert_eq!(vcpu.port_access(), insb);
    // A write by the guest's own walk, while an event was delivered (section 15.25.6).
    vcpu.vmcb.write_u64(control::EXIT_INFO_1, 1 << 33 | 0b10);
    vcpu.vmcb.write_u64(control::EXIT_INFO_2, 0xfee0_0300);
    vcpu.vmcb.write_u64(control::EXIT_INTERRUPT_INFO, event::VALID);
    let walk = MemoryFault {
        gpa: 0xfee0_0300,
        is_write: true,
        is_fetch: false,
        is_walk: true,
        in_delivery: true,
    };
    assert_eq!(vcpu.memory_fault(), walk);
}

#[test]
fn the_length_of_an_instruction_is_told_where_the_cpu_tells_it() {
    for (next, length) in [(0x1002, Some(2)), (0x100f, Some(15)), (0x1000, None), (0x1010, None)] {
        let mut silicon = vcpu(false);
        silicon.set_rip(0x1000);
        silicon.vmcb.write_u64(control::NEXT_RIP, next);
        assert_eq!(silicon.instruction_length(), length, "{next:#x}");
    }
    let mut software = vcpu(true);
    software.vmcb.write_u64(control::NEXT_RIP, 2);
    assert_eq!(software.instruction_length(), None);
}

#[test]
fn registers_lie_where_the_cpu_has_them() {
    let mut vcpu = vcpu(false);
    for number in 0..16 {
        vcpu.set_gpr(Register::from_number(number), 100 + u64::from(number));
    }
    assert_eq!(vcpu.vmcb.read_u64(save::RAX), 100);
    assert_eq!(vcpu.vmcb.read_u64(save::RSP), 104);
    assert_eq!((vcpu.gpr(Register::Rbx), vcpu.gpr(Register::R15)), (103, 115));
    vcpu.set_efer(efer::LMA);
    assert_eq!(vcpu.vmcb.read_u64(save::EFER), efer::LMA | efer::SVME);
    assert_eq!(vcpu.efer(), efer::LMA, "the guest has no SVM");
    vcpu.vmcb.write_u64(control::INTERRUPT_SHADOW, 1);
    assert!(vcpu.interrupt_shadow());
    vcpu.set_rip(5);
    assert!(!vcpu.interrupt_shadow(), "a new RIP ends the shadow");
    vcpu.set_cr8(0x1f);
    assert_eq!(vcpu.cr8(), 0xf);
    for (place, register) in SegmentRegister::ALL.into_iter().enumerate() {
        let segment = Segment { selector: place as u16, base: 7, ..Segment::default() };
        vcpu.vmcb.set_segment(register, &segment);
    }
    for (place, register) in SegmentRegister::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(vcpu.segment(register).selector), place);
    }
    // LDTR, GDTR and TR at 470h, 460h and 490h (table B-2).
    let selectors = [0x470, 0x460, 0x490].map(|offset| vcpu.vmcb.read_u16(offset));
    let order = [SegmentRegister::Ldtr, SegmentRegister::Gdtr, SegmentRegister::Tr];
    assert_eq!(selectors, order.map(|register| register as u16));
}

#[test]
fn an_event_that_software_has_cut_short_comes_once_or_its_instruction_runs_again() {
    let page_fault = Event::Exception { vector: vector::PF, error_code: Some(2) };
    let doorbell = Event::Exception { vector: vector::HV, error_code: None };
    for (event, comes) in
        [(Event::Interrupt(0x41), true), (Event::Nmi, true), (doorbell, true), (page_fault, false)]
    {
        let mut vcpu = vcpu(false);
        vcpu.vmcb.write_u64(control::EVENT_INJECTION, events::encode(&event));
        vcpu.displace();
        assert_eq!(vcpu.vmcb.read_u64(control::EVENT_INJECTION), 0, "{event:?} is not on its way");
        assert_eq!(vcpu.has_event(), comes, "{event:?}");
        vcpu.displace();
        vcpu.deliver_displaced();
        let injection = vcpu.vmcb.read_u64(control::EVENT_INJECTION);
        assert_eq!(injection, 0, "{event:?} does not cut the handler's first instruction off");
        vcpu.deliver_displaced();
        let injection = vcpu.vmcb.read_u64(control::EVENT_INJECTION);
        assert_eq!(events::decode(injection), comes.then_some(event));
        vcpu.vmcb.write_u64(control::EVENT_INJECTION, 0);
        vcpu.deliver_displaced();
        assert_eq!(vcpu.vmcb.read_u64(control::EVENT_INJECTION), 0, "{event:?} comes once");
    }
}
