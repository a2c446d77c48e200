//! The machine's fallbacks for capabilities that a platform lacks.

use std::sync::atomic::Ordering;

use device_model::HostTsc;
use guest_memory::{Gpa, GuestMemory};
use platform_api::{
    Confidential, Event, Exit, Level, PageStateError, Permissions, Platform, SharedPage,
};

use super::devices::{start_pic, type_byte};
use super::fake::CONFIDENTIAL;
use super::{exit, one, read_msr, write_msr, x2apic_on};

const TSC: u32 = 0x10;
const REFERENCE_COUNT: u32 = 0x4000_0020;

/// Where the CPU has no window, the 8259's vector is offered like any other, and the pair learns
/// that it was taken. Elsewhere it is acknowledged when the guest can take it.
#[test]
fn an_8259_interrupt_waits_for_a_guest_that_can_not_take_it() {
    let mut vp = one();
    start_pic(&mut vp);
    vp.cpu.rflags = 0;
    type_byte(&mut vp);
    vp.turn();
    assert_eq!(vp.cpu.injected, [], "the guest has interrupts disabled");
    assert_eq!(vp.cpu.windows != 0, !CONFIDENTIAL);
    assert_eq!(vp.cpu.offered, CONFIDENTIAL.then_some(0x24));
    let lines = vp.machine.chipset.lines();
    let waits = || lines.next_pic_vector();
    assert_eq!(waits(), Some(0x24), "not acknowledged");
    vp.cpu.rflags = 0x200;
    if CONFIDENTIAL {
        (vp.cpu.taken, vp.cpu.offered) = (vp.cpu.offered, None);
        exit(&mut vp, Exit::HostInterrupt);
    } else {
        exit(&mut vp, Exit::InterruptWindow);
    }
    vp.turn();
    let injected: &[Event] = if CONFIDENTIAL { &[] } else { &[Event::Interrupt(0x24)] };
    assert_eq!((&*vp.cpu.injected, vp.cpu.offered), (injected, None));
    assert_eq!(waits(), None, "in service");
    let entries = vp.cpu.entries;
    vp.turn();
    assert_eq!(vp.cpu.entries, entries + 1, "nothing is left to look for");
}

/// The guest's TSC starts at zero with the machine where it has an offset. Where it has none, the
/// guest reads the host's, and every clock that is computed from it is right all the same.
#[test]
fn the_guest_s_clocks_agree_with_its_tsc() {
    let mut vp = one();
    let host = vp.machine.platform.host();
    host.tsc.store(5_000_000_000, Ordering::SeqCst);
    vp.machine.restart_clocks();
    vp.use_machine_tsc();
    host.tsc.store(7_000_000_000, Ordering::SeqCst);
    let tsc = read_msr(&mut vp, TSC);
    assert_eq!(tsc, if CONFIDENTIAL { 7_000_000_000 } else { 2_000_000_000 });
    // In units of 100 ns, rounded down.
    assert!(read_msr(&mut vp, REFERENCE_COUNT).abs_diff(20_000_000) <= 1);
    assert_eq!(vp.machine.uptime(HostTsc(7_000_000_000)).as_secs(), 2);
    write_msr(&mut vp, TSC, 1000);
    let expected = if CONFIDENTIAL { 7_000_000_000 } else { 1000 };
    assert_eq!(read_msr(&mut vp, TSC), expected, "a write has no effect without an offset");
    assert_eq!(vp.cpu.injected, []);
}

/// An exit behind a write of CR8 can not be restarted: the new value is there already.
#[test]
fn a_completed_write_of_cr8_releases_the_interrupt_held_back() {
    let mut vp = one();
    x2apic_on(&mut vp);
    vp.machine.platform.compares_task_priority.store(false, Ordering::SeqCst);
    vp.cpu.cr8 = 9;
    write_msr(&mut vp, 0x83f, 0x51);
    vp.turn();
    assert_eq!((vp.cpu.offered, vp.cpu.watched), (None, true));
    (vp.cpu.cr8, vp.cpu.rip) = (3, 0x1004);
    exit(&mut vp, Exit::TaskPriority { is_done: true });
    assert_eq!(vp.cpu.rip, 0x1004, "the CPU has moved on by itself");
    vp.turn();
    assert_eq!((vp.cpu.offered, vp.cpu.watched), (Some(0x51), false));
}

/// The contract that a confidential platform keeps.
#[test]
fn a_page_is_accepted_once_and_shared_memory_is_separate() {
    let platform = super::new_machine(1).platform;
    assert_eq!(platform.confidential().is_some(), CONFIDENTIAL);
    let Some(confidential) = platform.confidential() else { return };
    let memory = platform.memory();
    let page = memory.ram_range(Gpa(0x5000), 0x1000).unwrap();
    let none = Permissions::default();
    let refused = confidential.set_permissions(Level(1), page, none);
    assert_eq!(refused, Err(PageStateError::Refused), "nobody has accepted it");
    assert_eq!(confidential.accept(page), Ok(()));
    assert_eq!(confidential.accept(page), Err(PageStateError::NoChange));
    assert_eq!(confidential.set_permissions(Level(1), page, none), Ok(()));
    let own = confidential.set_permissions(Level(0), page, none);
    assert_eq!(own, Err(PageStateError::Refused), "our own level keeps its permissions");
    let mut shared = confidential.shared_page().unwrap();
    shared.write(4090, b"0123456789");
    let mut bytes = [0xff; 8];
    shared.read(4092, &mut bytes);
    assert_eq!(bytes, *b"2345\xff\xff\xff\xff", "no byte behind the page's end");
    assert_ne!(shared.host_address(), 0);
    let (mut report, data) = ([0; 64], [7; 64]);
    assert_eq!(confidential.report(&data, &mut report), Ok(64));
    assert_eq!(report, data);
    assert_ne!(confidential.derived_key(1), confidential.derived_key(2));
}
