extern crate std;

use core::sync::atomic::AtomicU8;
use std::boxed::Box;

use guest_memory::{GpaRange, RamMap};
use platform_api::{PortAccess, Width};
use snp::exit::IoInfo;
use snp::vmsa::{EventType, VintrCtrl, Vmsa};
use x86::Register;

use super::*;
use crate::acceptance::ACCEPTED;

const BITS: u8 = 40;
const RAM_END: u64 = 4 << 20;
const RIP: u64 = 0xffff_8000_0000_1000;

#[repr(C, align(4096))]
struct Page([u8; size_of::<Vmsa>()]);

/// A VP whose save area is a page of the heap. Its RAM has been accepted: nothing here may execute an
/// instruction that only SEV-SNP has.
fn vp() -> SnpVp {
    let page = Box::leak(Box::new(Page([0; size_of::<Vmsa>()])));
    let mut ram = RamMap::new();
    ram.add(GpaRange::new(0, RAM_END).unwrap()).unwrap();
    let chunks: &[AtomicU8] = Box::leak(Box::new([const { AtomicU8::new(ACCEPTED) }; 2]));
    // SAFETY: all memory has been accepted, so it is never asked for any.
    let by = unsafe { GiveToGuest::new() };
    let acceptance = Acceptance::new(ram, GpaRange::default(), chunks, by);
    let page = page.0.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: the page is this VP's for ever.
    let area = unsafe { SaveArea::new(page) };
    let mut vp = SnpVp::with_area(area, BITS, Box::leak(Box::new(acceptance)));
    vp.area.set_rip(RIP);
    vp
}

/// The CPU stores an exit.
fn store(vp: &mut SnpVp, code: ExitCode, info_1: u64, info_2: u64) {
    vp.area.set_guest_exit_code(code);
    vp.area.set_guest_exit_info_1(info_1);
    vp.area.set_guest_exit_info_2(info_2);
    vp.area.set_guest_nrip(vp.area.rip().wrapping_add(2));
}

fn take(vp: &mut SnpVp, code: ExitCode, info_1: u64, info_2: u64) -> Option<Exit> {
    store(vp, code, info_1, info_2);
    vp.take_exit()
}

/// All bytes of the save area, which only the test changes meanwhile.
fn bytes(vp: &SnpVp) -> [u8; size_of::<Vmsa>()] {
    // SAFETY: the page is the VP's, and no reference to it is left.
    unsafe { (vp.area.address() as *const [u8; size_of::<Vmsa>()]).read_volatile() }
}

fn pending(vp: &SnpVp) -> Option<Event> {
    events::decode(vp.area.event_inj().into_bits())
}

#[test]
fn an_entry_without_an_exit_changes_nothing() {
    let mut vp = vp();
    vp.offer(Some(0x51), false);
    vp.area.set_vintr_ctrl(vp.area.vintr_ctrl().with_irq(false));
    let before = bytes(&vp);
    for _ in 0..3 {
        assert_eq!(vp.take_exit(), None);
    }
    assert_eq!(bytes(&vp), before);
    assert_eq!((vp.offered, vp.taken), (Some(0x51), None), "no exit, so nothing was taken");
    assert_eq!(vp.counts, [0; EXIT_KINDS]);
}

#[test]
fn an_exit_is_taken_once() {
    let out = IoInfo::new().with_port(0x80).with_is_8_bit(true);
    let port = Exit::Port(PortAccess {
        port: 0x80,
        width: Width::Byte,
        is_input: false,
        is_string: false,
        next_rip: RIP + 2,
    });
    for (code, info_1, info_2, expected) in [
        (ExitCode::IOIO, out.into_bits(), RIP + 2, port),
        (ExitCode::MSR, 1, 0, Exit::WriteMsr),
        (ExitCode::VMMCALL, 0, 0, Exit::Hypercall),
        (ExitCode::HLT, 0, 0, Exit::Halt),
        (ExitCode::SHUTDOWN, 0, 0, Exit::Shutdown),
        (ExitCode::INVALID, 0, 0, Exit::InvalidState),
    ] {
        let mut vp = vp();
        assert_eq!(take(&mut vp, code, info_1, info_2), Some(expected));
        let after = bytes(&vp);
        // The host enters this level again and again.
        for _ in 0..3 {
            assert_eq!(vp.take_exit(), None, "{code:?} again");
        }
        assert_eq!(bytes(&vp), after);
        assert_eq!(vp.counts.iter().sum::<u64>(), 1);
    }
}

#[test]
fn the_guests_vmgexit_is_undefined_where_it_stands_once() {
    let mut vp = vp();
    assert_eq!(take(&mut vp, ExitCode::VMGEXIT, 0, 0), Some(Exit::Undefined));
    assert_eq!(vp.area.rip(), RIP - 4);
    assert_eq!(vp.take_exit(), None);
    assert_eq!(vp.area.rip(), RIP - 4, "RIP moves once");
    vp.area.set_rip(1);
    assert_eq!(take(&mut vp, ExitCode::VMGEXIT, 0, 0), Some(Exit::Undefined));
    assert_eq!(vp.area.rip(), u64::MAX - 2, "the guest's RIP may be anything");
}

#[test]
fn an_interrupted_event_is_delivered_again_once() {
    let mut vp = vp();
    let int_info =
        |kind, vector| EventInj::new().with_vector(vector).with_event_type(kind).with_valid(true);
    let fault = int_info(EventType::EXCEPTION, 14).with_has_error_code(true).with_error_code(7);
    let page_fault = Event::Exception { vector: 14, error_code: Some(7) };
    for (info, expected) in [
        (int_info(EventType::INTERRUPT, 0x51), Some(Event::Interrupt(0x51))),
        (int_info(EventType(2), 2), Some(Event::Nmi)),
        (fault, Some(page_fault)),
        // A software interrupt runs again by itself, and the other types do not exist.
        (int_info(EventType(4), 0x80), None),
        (int_info(EventType(1), 0x51), None),
        (int_info(EventType(7), 0x51), None),
        (fault.with_valid(false), None),
    ] {
        vp.area.set_event_inj(EventInj::new());
        vp.area.set_guest_exit_int_info(info);
        assert_eq!(take(&mut vp, ExitCode::CPUID, 0, 0), Some(Exit::Cpuid));
        assert_eq!(pending(&vp), expected, "{info:?}");
        // The CPU delivers it at the next entry, which brings no exit.
        vp.area.set_event_inj(EventInj::new());
        assert_eq!(vp.take_exit(), None);
        assert_eq!(pending(&vp), None, "{info:?} again");
    }
}

/// Any bits at all, as the CPU and the guest can combine them.
#[test]
fn no_event_information_leads_to_an_event_that_the_cpu_refuses() {
    for kind in 0..8 {
        for vector in 0..=u8::MAX {
            let mut vp = vp();
            let info = EventInj::new()
                .with_vector(vector)
                .with_event_type(EventType(kind))
                .with_has_error_code(true)
                .with_error_code(u32::MAX)
                .with_valid(true);
            vp.area.set_guest_exit_int_info(info);
            assert_eq!(take(&mut vp, ExitCode::CPUID, 0, 0), Some(Exit::Cpuid));
            let is_refused = match pending(&vp) {
                Some(Event::Exception { vector, .. }) => vector == 2 || vector >= 32,
                Some(Event::Interrupt(_) | Event::Nmi) | None => false,
            };
            assert!(!is_refused, "{info:?}");
        }
    }
}

#[test]
fn an_offered_interrupt_is_taken_with_the_exit_that_tells_it() {
    let mut vp = vp();
    vp.offer(Some(0x51), false);
    assert_eq!(take(&mut vp, ExitCode::CPUID, 0, 0), Some(Exit::Cpuid));
    assert_eq!(vp.taken_interrupt(), None, "V_IRQ is still set");
    vp.area.set_vintr_ctrl(vp.area.vintr_ctrl().with_irq(false));
    assert_eq!(take(&mut vp, ExitCode::CPUID, 0, 0), Some(Exit::Cpuid));
    assert_eq!((vp.taken_interrupt(), vp.taken_interrupt()), (Some(0x51), None));
    assert_eq!(take(&mut vp, ExitCode::CPUID, 0, 0), Some(Exit::Cpuid));
    assert_eq!(vp.taken_interrupt(), None, "nothing is on offer");
}

#[test]
fn a_length_is_the_cpus_or_none() {
    let mut vp = vp();
    for (nrip, expected) in [(RIP + 2, Some(2)), (0, None), (RIP, None), (RIP + 16, None)] {
        store(&mut vp, ExitCode::CPUID, 0, 0);
        vp.area.set_guest_nrip(nrip);
        assert_eq!(vp.take_exit(), Some(Exit::Cpuid));
        assert_eq!(vp.instruction_length(), expected, "{nrip:#x}");
    }
}

#[test]
fn a_page_that_the_host_takes_away_is_tried_once_more() {
    let mut vp = vp();
    let mut refused = |gpa| take(&mut vp, ExitCode::NPF, 1 << 31, gpa);
    assert_eq!(refused(0x5000), Some(Exit::HostInterrupt), "another CPU may have accepted it");
    assert_eq!(refused(0x6000), Some(Exit::HostInterrupt), "another page");
    assert_eq!(refused(0x6fff), Some(Exit::Shutdown), "it is gone");
    // No memory lies there: a device, if any.
    for gpa in [RAM_END, 0xfee0_0020, u64::MAX] {
        assert!(matches!(refused(gpa), Some(Exit::Memory(fault)) if fault.gpa == gpa));
    }
    assert_eq!(refused(0x6000), Some(Exit::HostInterrupt), "an exit of another kind came between");
}

#[test]
fn an_intercepted_page_fault_has_its_address_in_cr2() {
    let mut vp = vp();
    let cr2 = core::mem::offset_of!(Vmsa, cr2);
    let found = |vp: &SnpVp| u64::from_le_bytes(bytes(vp)[cr2..cr2 + 8].try_into().unwrap());
    let fault = Exit::Exception { vector: 14, error_code: Some(2) };
    assert_eq!(take(&mut vp, ExitCode::exception(14), 2, 0x1234), Some(fault));
    assert_eq!(found(&vp), 0x1234);
    let debug = Exit::Exception { vector: 1, error_code: None };
    assert_eq!(take(&mut vp, ExitCode::exception(1), 0, 0x5678), Some(debug));
    assert_eq!(found(&vp), 0x1234, "of a page fault alone");
}

#[test]
fn an_intercepted_breakpoint_comes_behind_its_instruction_once() {
    let mut vp = vp();
    let breakpoint = Exit::Exception { vector: 3, error_code: None };
    assert_eq!(take(&mut vp, ExitCode::exception(3), 0, 0), Some(breakpoint));
    assert_eq!((vp.take_exit(), vp.area.rip()), (None, RIP + 2));
}

/// The host chooses the intercepts, so such a code is no bug of ours, and nothing may panic.
#[test]
fn a_code_that_nothing_asked_for_shuts_the_guest_down() {
    let mut vp = vp();
    for code in [0, 0x6e, 0x74, 0x77, 0x8f, 0x405, 0x8000_0001, 0x1_0000_0078, ExitCode::BUSY.0] {
        let before = vp.area.gpr(Register::Rax);
        assert_eq!(take(&mut vp, ExitCode(code), 0, 0), Some(Exit::Shutdown), "{code:#x}");
        assert_eq!((vp.area.rip(), vp.area.gpr(Register::Rax)), (RIP, before));
        assert_eq!(vp.take_exit(), None);
    }
}

#[test]
fn entries_that_bring_nothing_come_to_an_end() {
    let mut vp = vp();
    for _ in 0..MOST_EMPTY_ENTRIES {
        assert_eq!(vp.count_empty_entry(), None);
    }
    assert_eq!(vp.count_empty_entry(), Some(Exit::InvalidState));
    assert_eq!(vp.count_empty_entry(), None, "after a reset the count begins again");
}

#[test]
fn a_reset_leaves_no_exit_and_no_event() {
    let mut vp = vp();
    store(&mut vp, ExitCode::CPUID, 0, 0);
    vp.inject(Event::Nmi);
    vp.offer(Some(0x51), false);
    vp.retried = Some(5);
    vp.reset(&VpState::init(0), false);
    assert_eq!(vp.take_exit(), None);
    assert_eq!((pending(&vp), vp.offered, vp.retried), (None, None, None));
    let expected = VintrCtrl::new().with_nmi_enable(true).with_busy(true);
    assert_eq!(vp.area.vintr_ctrl(), expected, "no host can run it");
    assert_eq!((vp.area.vmpl(), vp.area.virtual_tom()), (GUEST_LEVEL, 1 << BITS));
}
