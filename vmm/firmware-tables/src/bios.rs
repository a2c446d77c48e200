//! The BIOS data that a guest reads, with stubs for BIOS calls.
//!
//! There is no BIOS. A BIOS call ends the VM with a message, because its caller would wait forever
//! for an answer. The layout is that of the IBM PC/AT's ("IBM Personal System/2 and Personal
//! Computer BIOS Interface Technical Reference", section 3).

use alloc::vec::Vec;

use crate::{Blob, MachineDescription, PAGE, Range};

/// Firmware's code, behind all structures that guests search for.
pub(crate) const CODE: u64 = 0xF_E000;
/// The segment that the code runs in.
const SEGMENT: u64 = 0xF_0000;
/// The address at which a CPU starts after a reset.
const RESET_VECTOR: u64 = 0xF_FFF0;
/// The extended BIOS data area: the last page of conventional memory. It holds nothing but its
/// size.
pub(crate) const EXTENDED_DATA: Range = Range { start: 0x9_F000, length: PAGE };
/// The vectors of real mode and the BIOS data area.
const LOW: Range = Range { start: 0, length: 0x500 };
const DATA: u64 = 0x400;
const DATA_LENGTH: usize = 0x100;

/// Bytes of the code for one vector: PUSH and JMP.
const STUB: usize = 6;
const VECTORS: usize = 256;

/// Halts forever with interrupts disabled: CLI; HLT; JMP back.
const HANG: [u8; 4] = [0xFA, 0xF4, 0xEB, 0xFC];
/// Full reset through CF9h, else through the keyboard controller: CLI; MOV DX, CF9h; OUT of 2, then
/// of 6; OUT of FEh to port 64h.
const RESET: [u8; 14] =
    [0xFA, 0xBA, 0xF9, 0x0C, 0xB0, 0x02, 0xEE, 0xB0, 0x06, 0xEE, 0xB0, 0xFE, 0xE6, 0x64];
/// IRET.
const RETURN: [u8; 1] = [0xCF];
/// The model byte of a PC/AT.
const MODEL: u8 = 0xFC;

/// Builds all blobs; the data only if there is conventional memory to hold it.
pub(crate) fn build(machine: &MachineDescription<'_>) -> Vec<Blob> {
    let code = Code::new(machine.bios_call_port);
    let mut reset = Vec::from([0xEA]);
    reset.extend_from_slice(&code.reset.to_le_bytes());
    reset.extend_from_slice(&((SEGMENT >> 4) as u16).to_le_bytes());
    reset.extend_from_slice(b"01/01/26");
    reset.extend_from_slice(&[0, MODEL, 0]);
    let mut blobs = Vec::from([Blob { gpa: RESET_VECTOR, bytes: reset }]);
    if has_data(machine) {
        blobs.push(Blob { gpa: LOW.start, bytes: code.vectors() });
        blobs.push(Blob { gpa: DATA, bytes: data(machine) });
        // Its first byte is its size in KiB.
        let size = (EXTENDED_DATA.length >> 10) as u8;
        blobs.push(Blob { gpa: EXTENDED_DATA.start, bytes: Vec::from([size]) });
    }
    blobs.push(Blob { gpa: CODE, bytes: code.bytes });
    blobs
}

/// Whether conventional memory holds the data, and an extended data area at its end.
pub(crate) fn has_data(machine: &MachineDescription<'_>) -> bool {
    let holds = |wanted: &Range| {
        machine.ram.iter().any(|ram| ram.start <= wanted.start && wanted.end() <= ram.end())
    };
    holds(&LOW) && holds(&EXTENDED_DATA)
}

/// The code, with the offsets in its segment that others point to.
struct Code {
    bytes: Vec<u8>,
    stubs: u16,
    returns: u16,
    reset: u16,
}

impl Code {
    fn new(port: u16) -> Self {
        let mut code = Self { bytes: Vec::new(), stubs: 0, returns: 0, reset: 0 };
        let call = code.add(&call(port));
        code.add(&HANG);
        let primary = code.add(&interrupt(0x20, &[0xE6, 0x20], call, code.here()));
        let both = [0xE6, 0xA0, 0xE6, 0x20];
        let secondary = code.add(&interrupt(0xA0, &both, call, code.here()));
        code.returns = code.add(&RETURN);
        code.reset = code.add(&RESET);
        code.add(&HANG);
        code.stubs = code.here();
        for vector in 0..VECTORS {
            let target = match vector {
                0x08..=0x0F => primary,
                0x70..=0x77 => secondary,
                _ => call,
            };
            let [low, high] = target.wrapping_sub(code.here() + STUB as u16).to_le_bytes();
            code.add(&[0x68, vector as u8, 0, 0xE9, low, high]);
        }
        code
    }

    /// The offset of the next structure.
    fn here(&self) -> u16 {
        (CODE - SEGMENT) as u16 + self.bytes.len() as u16
    }

    /// Adds code; returns its offset.
    fn add(&mut self, bytes: &[u8]) -> u16 {
        let at = self.here();
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// The table of real-mode vectors (APM vol. 2, 8.6.1). Debug exceptions, NMIs, breakpoints and
    /// overflows return, as they always did.
    fn vectors(&self) -> Vec<u8> {
        let handler = |vector: u16| match vector {
            1..=4 => self.returns,
            _ => self.stubs + vector * STUB as u16,
        };
        let segment = ((SEGMENT >> 4) as u16).to_le_bytes();
        let entry = |vector| handler(vector).to_le_bytes().into_iter().chain(segment);
        (0..VECTORS as u16).flat_map(entry).collect()
    }
}

/// Reports to the paravisor the vector, which the stub has pushed, and above it AX.
///
/// SHL EAX, 16; POP AX; MOV DX, port; OUT DX, EAX.
fn call(port: u16) -> [u8; 10] {
    let [low, high] = port.to_le_bytes();
    [0x66, 0xC1, 0xE0, 16, 0x58, 0xBA, low, high, 0x66, 0xEF]
}

/// The handler of an interrupt controller's vectors: an interrupt that is in service is ended, by
/// `end` with AL = 20h, and forgotten. Without one it was an exception, or INT: as for [`call`].
///
/// PUSH AX; MOV AL, 0Bh; OUT port, AL; IN AL, port: the in-service register (Intel 8259A, OCW3);
/// TEST AL, AL; JNZ over POP AX and JMP `call`; MOV AL, 20h; `end`; POP AX; ADD SP, 2; IRET.
fn interrupt(port: u8, end: &[u8], call: u16, here: u16) -> Vec<u8> {
    const UP_TO_JUMP: u16 = 15;
    let mut code = Vec::from([0x50, 0xB0, 0x0B, 0xE6, port, 0xE4, port, 0x84, 0xC0, 0x75, 4, 0x58]);
    let [low, high] = call.wrapping_sub(here + UP_TO_JUMP).to_le_bytes();
    code.extend_from_slice(&[0xE9, low, high]);
    code.extend_from_slice(&[0xB0, 0x20]);
    code.extend_from_slice(end);
    code.extend_from_slice(&[0x58, 0x83, 0xC4, 2]);
    code.extend_from_slice(&RETURN);
    code
}

/// The BIOS data area.
fn data(machine: &MachineDescription<'_>) -> Vec<u8> {
    /// A coprocessor is there.
    const COPROCESSOR: u16 = 1 << 1;
    const SERIAL_SHIFT: u32 = 9;
    let mut data = alloc::vec![0; DATA_LENGTH];
    let mut put = |at: u64, value: u16| {
        let place = data.iter_mut().skip((at - DATA) as usize);
        place.zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    };
    for (at, serial) in (DATA..).step_by(2).zip(machine.serial_ports) {
        put(at, serial.port);
    }
    put(0x40E, (EXTENDED_DATA.start >> 4) as u16);
    put(0x410, COPROCESSOR | (machine.serial_ports.len() as u16) << SERIAL_SHIFT);
    put(0x413, (EXTENDED_DATA.start >> 10) as u16);
    // The keyboard's buffer is empty: head, tail, start, end.
    for (at, value) in [(0x41A, 0x1E), (0x41C, 0x1E), (0x480, 0x1E), (0x482, 0x3E)] {
        put(at, value);
    }
    // The shape of a text screen, for guests that divide by it: mode 3, 80 columns, 4,000 bytes a
    // page, registers at 3D4h, 25 rows of 16 lines.
    for (at, value) in [(0x449, 3), (0x44A, 80), (0x44C, 4000), (0x463, 0x3D4), (0x484, 24)] {
        put(at, value);
    }
    put(0x485, 16);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_lands_on_code() {
        let code = Code::new(0x610);
        let base = (CODE - SEGMENT) as usize;
        let at = |offset: usize| &code.bytes[offset - base..];
        // The first bytes of the call and of each controller's handler.
        let starts =
            |offset: usize| [&[0x66, 0xC1][..], &[0x50, 0xB0]].map(|b| at(offset).starts_with(b));
        for vector in 0..VECTORS {
            let stub = usize::from(code.stubs) + vector * STUB;
            assert_eq!(at(stub)[..4], [0x68, vector as u8, 0, 0xE9]);
            let jump = i16::from_le_bytes([at(stub)[4], at(stub)[5]]);
            let is_line = matches!(vector, 0x08..=0x0F | 0x70..=0x77);
            let target = (stub + STUB) as i32 + i32::from(jump);
            assert_eq!(starts(target as usize), [!is_line, is_line], "{vector:#x}");
        }
        // The exception's way out of the handlers.
        for start in [0x20_u8, 0xA0] {
            let head = [0x50, 0xB0, 0x0B, 0xE6, start];
            let found = code.bytes.windows(5).position(|bytes| bytes == head).unwrap() + base;
            let jump = i16::from_le_bytes([at(found)[13], at(found)[14]]);
            assert_eq!(starts((found as i32 + 15 + i32::from(jump)) as usize), [true, false]);
            // JNZ skips POP and JMP.
            assert_eq!(at(found + 11 + 4)[..2], [0xB0, 0x20]);
        }
        assert!(at(usize::from(code.reset)).starts_with(&RESET));
        assert_eq!(at(usize::from(code.returns))[0], 0xCF);
    }
}
