//! What the CPU of a confidential VM offers, and this guest must gain nothing by.

use guest::{Failure, Registers, Report, attempt_bytes, cpu, ensure, ensure_eq, machine, outcome};

use crate::svm::write_msr;

const UNDEFINED: u8 = 6;
const GHCB: u32 = 0xc001_0130;
const VIRTUAL_TOM: u32 = 0xc001_0135;
/// Messages of the GHCB MSR: SEV information, a page that is to be shared, the end of the VM.
const MESSAGES: [u64; 3] = [0x002, 0x014 | 2 << 52, 0x100];

pub fn cases(report: &mut Report) {
    if !machine::is_confidential() {
        return;
    }
    report.case("vmgexit", vmgexit);
    report.case("page-instructions", page_instructions);
    report.case("virtual-tom", virtual_tom);
}

/// The host answers no message, whichever the guest leaves in the MSR.
fn vmgexit() -> Result<(), Failure> {
    let own = machine::paravisor().map_or(0, |own| own.start);
    for message in MESSAGES {
        let message = message | own;
        ensure_eq!(write_msr(GHCB, message), None, "the message");
        let mut registers = Registers::default();
        let result = attempt_bytes(&[0xf3, 0x0f, 0x01, 0xd9], &mut registers);
        ensure_eq!(outcome(result), Some(UNDEFINED), "VMGEXIT with {message:#x}");
        ensure_eq!(cpu::rdmsr(GHCB), message, "no answer to {message:#x}");
    }
    ensure_eq!(cpu::read32(own), u32::MAX, "the paravisor's memory");
    Ok(())
}

/// PVALIDATE, RMPADJUST and RMPQUERY change nothing, neither of the guest's pages nor of others.
fn page_instructions() -> Result<(), Failure> {
    const WORD: u64 = 0x40_0000;
    let own = machine::paravisor().map_or(0, |own| own.start);
    cpu::write32(WORD, 0x1234_5678);
    for (name, prefix, byte) in
        [("PVALIDATE", 0xf2, 0xff), ("RMPADJUST", 0xf3, 0xfe), ("RMPQUERY", 0xf3, 0xfd)]
    {
        for (page, rdx) in [(WORD, 0), (WORD, 0xf01), (own, 0), (own, 0xf01), (own, 1 << 16 | 1)] {
            let mut registers = Registers { rax: page, rdx, ..Registers::default() };
            let result = attempt_bytes(&[prefix, 0x0f, 0x01, byte], &mut registers);
            let refused = outcome(result).is_some() || registers.rax as u32 != 0;
            // A level may ask for its own rights.
            ensure!(refused || name == "RMPQUERY", "{name} of {page:#x} with {rdx:#x} succeeds");
        }
    }
    ensure_eq!(cpu::read32(WORD), 0x1234_5678, "the guest's memory");
    ensure_eq!(cpu::read32(own), u32::MAX, "the paravisor's memory");
    Ok(())
}

/// The top of its private memory is the guest's to move. It gives up memory of its own by that, and
/// reaches nothing of the paravisor's.
fn virtual_tom() -> Result<(), Failure> {
    let own = machine::paravisor().map_or(0, |own| own.start);
    let top = cpu::rdmsr(VIRTUAL_TOM);
    ensure!(top > own, "the top is at {top:#x}");
    ensure_eq!(write_msr(VIRTUAL_TOM, top), None, "the top");
    ensure_eq!(cpu::read32(own), u32::MAX, "the paravisor's memory");
    Ok(())
}
