//! A check that the host intercepts the instructions which the guest must not execute by itself.
//!
//! A host is free to intercept most of them or not, and keeps the host contract only if it does. So
//! before the guest of a VP has any memory, its level executes each of them once, in 32-bit mode
//! without paging, in a page of ours that it has a right to for that time. An instruction that does
//! not exit is followed by one that shuts the VP down.

use platform_api::{Exit, PortAccess, Width};
use x86::{Attributes, Control, Register, Segment, SegmentRegister, VpState, cr0, msr, rflags};

/// Bytes for each instruction in the page.
const SLOT: usize = 16;
/// UD2: without an interrupt table, the VP shuts down by it.
const UNDEFINED: [u8; 2] = [0x0f, 0x0b];
/// A port that no device has.
const PORT: u8 = 0xed;

/// An instruction that must exit.
#[derive(Clone, Copy, Debug)]
struct Probed {
    /// Its mnemonic, for the user.
    name: &'static str,
    bytes: &'static [u8],
    /// ECX.
    count: u32,
    /// What the guest must leave for.
    exit: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Exactly(Exit),
    /// IN from [`PORT`].
    Input,
    /// OUT to [`PORT`].
    Output,
}

const fn probed(name: &'static str, bytes: &'static [u8], exit: Exit) -> Probed {
    Probed { name, bytes, count: 0, exit: Expected::Exactly(exit) }
}

const fn port(name: &'static str, bytes: &'static [u8], exit: Expected) -> Probed {
    Probed { name, bytes, count: 0, exit }
}

const fn read_msr(number: u32) -> Probed {
    Probed { count: number, ..probed("RDMSR", &[0x0f, 0x32], Exit::ReadMsr) }
}

const fn write_msr(number: u32) -> Probed {
    Probed { count: number, ..probed("WRMSR", &[0x0f, 0x30], Exit::WriteMsr) }
}

/// The first MSR of the Hyper-V interface (Hypervisor Top-Level Functional Specification, "Guest
/// OS Identity MSR").
const HYPERV_FIRST: u32 = 0x4000_0000;

/// The instructions that the host contract lists (docs/host-contract.md, "Intercepts"). XSETBV is
/// none of them: XCR0 lies in the guest's save area, so it may execute that by itself.
const PROBED: [Probed; 21] = [
    probed("CPUID", &[0x0f, 0xa2], Exit::Cpuid),
    port("IN", &[0xe4, PORT], Expected::Input),
    port("OUT", &[0xe6, PORT], Expected::Output),
    read_msr(msr::APIC_BASE),
    write_msr(msr::APIC_BASE),
    read_msr(msr::X2APIC + 2),
    write_msr(msr::X2APIC + 0x0b),
    read_msr(HYPERV_FIRST),
    write_msr(HYPERV_FIRST),
    probed("HLT", &[0xf4], Exit::Halt),
    probed("VMMCALL", &[0x0f, 0x01, 0xd9], Exit::Hypercall),
    probed("INVD", &[0x0f, 0x08], Exit::CacheFlush),
    probed("WBINVD", &[0x0f, 0x09], Exit::CacheFlush),
    probed("VMRUN", &[0x0f, 0x01, 0xd8], Exit::Undefined),
    probed("VMLOAD", &[0x0f, 0x01, 0xda], Exit::Undefined),
    probed("VMSAVE", &[0x0f, 0x01, 0xdb], Exit::Undefined),
    probed("STGI", &[0x0f, 0x01, 0xdc], Exit::Undefined),
    probed("CLGI", &[0x0f, 0x01, 0xdd], Exit::Undefined),
    probed("SKINIT", &[0x0f, 0x01, 0xde], Exit::Undefined),
    probed("INVLPGA", &[0x0f, 0x01, 0xdf], Exit::Undefined),
    probed("VMGEXIT", &[0xf3, 0x0f, 0x01, 0xd9], Exit::Undefined),
];

/// An instruction that the host lets the guest execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotIntercepted {
    /// Its mnemonic.
    pub(crate) name: &'static str,
    /// What the guest left for in its place.
    pub(crate) exit: Exit,
}

/// The instructions with their places in the page.
fn all() -> impl Iterator<Item = (usize, Probed)> {
    (0..).step_by(SLOT).zip(PROBED)
}

/// Fills a page with the instructions.
pub(crate) fn fill(page: &mut [u8]) {
    for (place, probed) in all() {
        let code = probed.bytes.iter().chain(&UNDEFINED);
        let slot = page.get_mut(place..).unwrap_or_default();
        slot.iter_mut().zip(code).for_each(|(to, from)| *to = *from);
    }
}

/// Has each instruction of the page at guest-physical `page` executed: `execute` runs the guest's
/// level from a state on, until it leaves for something other than an interrupt of the host's.
///
/// # Errors
/// [`NotIntercepted`] for the first instruction that did not exit.
pub(crate) fn probe(
    page: u64,
    mut execute: impl FnMut(&VpState) -> Exit,
) -> Result<(), NotIntercepted> {
    for (place, probed) in all() {
        let exit = execute(&state(page + place as u64, probed.count));
        if !is_expected(probed.exit, exit) {
            return Err(NotIntercepted { name: probed.name, exit });
        }
    }
    Ok(())
}

fn is_expected(expected: Expected, exit: Exit) -> bool {
    let is_port = |is_input| {
        matches!(exit, Exit::Port(PortAccess { port, width: Width::Byte, is_input: is, .. })
            if port == PORT.into() && is == is_input)
    };
    match expected {
        Expected::Exactly(expected) => exit == expected,
        Expected::Input => is_port(true),
        Expected::Output => is_port(false),
    }
}

/// 32-bit mode with flat segments, at privilege level 0.
fn state(rip: u64, count: u32) -> VpState {
    const CODE: u16 = 0xc9b;
    const DATA: u16 = 0xc93;
    let segment = |attributes| Segment {
        selector: 8,
        attributes: Attributes::from_bits(attributes),
        limit: u32::MAX,
        base: 0,
    };
    let mut state = VpState { rip, rflags: rflags::FIXED, ..VpState::init(0) };
    for register in [SegmentRegister::Ss, SegmentRegister::Ds, SegmentRegister::Es] {
        state.segments[register as usize] = segment(DATA);
    }
    state.segments[SegmentRegister::Cs as usize] = segment(CODE);
    // No exception has a gate.
    state.segments[SegmentRegister::Idtr as usize] = Segment::default();
    state.gpr = [0; 16];
    state.gpr[Register::Rcx as usize] = count.into();
    state.control = Control { cr0: cr0::PE | cr0::ET | cr0::NE, ..Control::default() };
    state
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    const PAGE: u64 = 0x90_0000;

    fn port_exit(is_input: bool) -> Exit {
        let port = PORT.into();
        let width = Width::Byte;
        Exit::Port(PortAccess { port, width, is_input, is_string: false, next_rip: 0 })
    }

    /// The exit of the instruction that a CPU finds at the state's place, under a host that
    /// intercepts all but `let_through`.
    fn execute(page: &[u8], state: &VpState, let_through: Option<&str>) -> Exit {
        let code = &page[(state.rip - PAGE) as usize..];
        let mut found: Vec<_> = all().filter(|(_, one)| code.starts_with(one.bytes)).collect();
        found.retain(|(_, one)| u64::from(one.count) == state.gpr[Register::Rcx as usize]);
        assert_eq!(found.len(), 1, "{:x?}", &code[..4]);
        let (_, one) = found[0];
        if let_through == Some(one.name) {
            assert_eq!(code[one.bytes.len()..][..2], UNDEFINED);
            return Exit::Shutdown;
        }
        match one.exit {
            Expected::Exactly(exit) => exit,
            Expected::Input => port_exit(true),
            Expected::Output => port_exit(false),
        }
    }

    #[test]
    fn a_host_that_lets_any_instruction_through_is_found_out() {
        let mut page = vec![0; 4096];
        fill(&mut page);
        assert_eq!(probe(PAGE, |state| execute(&page, state, None)), Ok(()));
        for (_, one) in all() {
            let found = probe(PAGE, |state| execute(&page, state, Some(one.name)));
            assert_eq!(found, Err(NotIntercepted { name: one.name, exit: Exit::Shutdown }));
        }
        // Another exit than the instruction's is none of it.
        let found = probe(PAGE, |_| Exit::Halt);
        assert_eq!(found, Err(NotIntercepted { name: "CPUID", exit: Exit::Halt }));
        let found = probe(PAGE, |state| match execute(&page, state, None) {
            Exit::Port(_) => port_exit(false),
            exit => exit,
        });
        assert_eq!(found, Err(NotIntercepted { name: "IN", exit: port_exit(false) }));
    }

    #[test]
    fn every_instruction_has_room_in_the_page() {
        let (last, _) = all().last().unwrap();
        assert!(last + SLOT <= 4096);
        assert!(all().all(|(_, one)| one.bytes.len() + UNDEFINED.len() <= SLOT));
    }
}
