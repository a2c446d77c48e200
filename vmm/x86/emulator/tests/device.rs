//! The accesses of each instruction form to a device, and the registers afterwards.
mod common;

use common::{CODE_AT, DEVICE, DONE, Event, LIMITS, Memory, Vp, exception, run};
use emulator::{Outcome, Ports, emulate, emulate_port_string};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;
const PATTERN: u64 = 0x1122_3344_5566_7788;

fn read(length: usize) -> Event {
    Event::Read(DEVICE, length)
}

fn write(bytes: &[u8]) -> Event {
    Event::Write(DEVICE, bytes.to_vec())
}

/// RBX and RDI point to the device, RAX, RCX and RDX hold a pattern.
fn set_up() -> (Vp, Memory) {
    let mut vp = Vp::long();
    vp.gprs[RAX] = PATTERN;
    vp.gprs[RCX] = PATTERN;
    vp.gprs[RDX] = PATTERN;
    vp.gprs[RBX] = DEVICE;
    vp.gprs[RDI] = DEVICE;
    vp.gprs[RSI] = 0x4000;
    vp.gprs[RSP] = 0x7000;
    let mut memory = Memory::new();
    memory.device = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_FEFF;
    (vp, memory)
}

fn done(code: &[u8]) -> (Vp, Memory) {
    let (mut vp, mut memory) = set_up();
    assert_eq!(run(&mut vp, &mut memory, code), DONE, "{code:02X?}");
    assert_eq!(vp.rip, CODE_AT + code.len() as u64);
    (vp, memory)
}

/// Code, events, RAX afterwards.
#[test]
fn moves() {
    let p = PATTERN.to_le_bytes();
    let cases: &[(&[u8], Vec<Event>, u64)] = &[
        (&[0x88, 0x03], vec![write(&p[..1])], PATTERN),
        (&[0x88, 0x23], vec![write(&[0x77])], PATTERN),
        (&[0x66, 0x89, 0x03], vec![write(&p[..2])], PATTERN),
        (&[0x89, 0x03], vec![write(&p[..4])], PATTERN),
        (&[0x48, 0x89, 0x03], vec![write(&p)], PATTERN),
        (&[0x8A, 0x03], vec![read(1)], 0x1122_3344_5566_77FF),
        (&[0x8A, 0x23], vec![read(1)], 0x1122_3344_5566_FF88),
        (&[0x66, 0x8B, 0x03], vec![read(2)], 0x1122_3344_5566_FEFF),
        (&[0x8B, 0x03], vec![read(4)], 0xFCFD_FEFF),
        (&[0x48, 0x8B, 0x03], vec![read(8)], 0xF8F9_FAFB_FCFD_FEFF),
        (&[0xC6, 0x03, 0x9A], vec![write(&[0x9A])], PATTERN),
        (&[0xC7, 0x03, 1, 2, 3, 4], vec![write(&[1, 2, 3, 4])], PATTERN),
        (
            &[0x48, 0xC7, 0x03, 1, 2, 3, 0x84],
            vec![write(&[1, 2, 3, 0x84, 255, 255, 255, 255])],
            PATTERN,
        ),
        (&[0xA1, 0, 0, 0xE0, 0xFE, 0, 0, 0, 0], vec![read(4)], 0xFCFD_FEFF),
        (&[0xA2, 0, 0, 0xE0, 0xFE, 0, 0, 0, 0], vec![write(&p[..1])], PATTERN),
        (&[0x0F, 0xB6, 0x03], vec![read(1)], 0xFF),
        (&[0x0F, 0xB7, 0x03], vec![read(2)], 0xFEFF),
        (&[0x66, 0x0F, 0xBE, 0x03], vec![read(1)], 0x1122_3344_5566_FFFF),
        (&[0x0F, 0xBF, 0x03], vec![read(2)], 0xFFFF_FEFF),
        (&[0x48, 0x63, 0x03], vec![read(4)], 0xFFFF_FFFF_FCFD_FEFF),
        (&[0x0F, 0xC3, 0x03], vec![write(&p[..4])], PATTERN),
        (&[0x0F, 0x38, 0xF0, 0x03], vec![read(4)], 0xFFFE_FDFC),
        (&[0x66, 0x0F, 0x38, 0xF1, 0x03], vec![write(&[0x77, 0x88])], PATTERN),
        // CMOVE, which is false, reads and clears the upper half all the same.
        (&[0x0F, 0x44, 0x03], vec![read(4)], 0x5566_7788),
        (&[0x0F, 0x45, 0x03], vec![read(4)], 0xFCFD_FEFF),
        (&[0x0F, 0x95, 0x03], vec![write(&[1])], PATTERN),
        (&[0x0F, 0x18, 0x03], vec![], PATTERN),
        (&[0x0F, 0xAE, 0x3B], vec![], PATTERN),
    ];
    for (code, events, rax) in cases {
        let (vp, memory) = done(code);
        assert_eq!(&memory.events, events, "{code:02X?}");
        assert_eq!(vp.gprs[RAX], *rax, "{code:02X?}");
        assert_eq!(vp.rflags, 2, "{code:02X?}");
    }
}

/// Each memory operand is read once and written once, LOCK or not.
#[test]
fn read_modify_write() {
    let exchange = |new| Event::Exchange(DEVICE, 0xFCFD_FEFF, new, 4);
    let plain = |new: u32| vec![read(4), write(&new.to_le_bytes())];
    let cases: &[(&[u8], Vec<Event>)] = &[
        (&[0x81, 0x0B, 0, 1, 0, 0], plain(0xFCFD_FFFF)),
        (&[0xF0, 0x81, 0x0B, 0, 1, 0, 0], vec![read(4), exchange(0xFCFD_FFFF)]),
        (&[0x83, 0x3B, 0xFF], vec![read(4)]),
        (&[0x3B, 0x03], vec![read(4)]),
        (&[0xF7, 0x03, 1, 0, 0, 0], vec![read(4)]),
        (&[0xF7, 0x13], plain(0x0302_0100)),
        (&[0xFF, 0x03], plain(0xFCFD_FF00)),
        (&[0xD1, 0x2B], plain(0x7E7E_FF7F)),
        // XCHG locks by itself.
        (&[0x87, 0x03], vec![read(4), exchange(0x5566_7788)]),
        (&[0x0F, 0xC1, 0x03], plain(0x5264_7687)),
        // CMPXCHG that fails writes the old value back.
        (&[0x0F, 0xB1, 0x03], plain(0xFCFD_FEFF)),
        (&[0x0F, 0xBA, 0x23, 5], vec![read(4)]),
        (&[0x0F, 0xBA, 0x33, 0x25], plain(0xFCFD_FEDF)),
        (&[0xF0, 0x0F, 0xBA, 0x2B, 8], vec![read(4), exchange(0xFCFD_FFFF)]),
    ];
    for (code, events) in cases {
        assert_eq!(&done(code).1.events, events, "{code:02X?}");
    }
}

#[test]
fn exchange_gives_the_old_value() {
    let (vp, _) = done(&[0x87, 0x0B]);
    assert_eq!(vp.gprs[RCX], 0xFCFD_FEFF);
    let (vp, _) = done(&[0x86, 0x2B]);
    assert_eq!(vp.gprs[RCX], 0x1122_3344_5566_FF88);
}

#[test]
fn compare_exchange_succeeds_and_fails() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RAX] = 0xDEAD_0000_FCFD_FEFF;
    assert_eq!(run(&mut vp, &mut memory, &[0xF0, 0x0F, 0xB1, 0x0B]), DONE);
    assert_eq!(memory.events[1], Event::Exchange(DEVICE, 0xFCFD_FEFF, 0x5566_7788, 4));
    assert_eq!((vp.gprs[RAX], vp.rflags & 0x40), (0xDEAD_0000_FCFD_FEFF, 0x40));
    let (vp, _) = done(&[0xF0, 0x0F, 0xB1, 0x0B]);
    assert_eq!((vp.gprs[RAX], vp.rflags & 0x40), (0xFCFD_FEFF, 0));
}

#[test]
fn compare_exchange_pairs() {
    let (mut vp, mut memory) = set_up();
    memory.put(0x4010, &[0x5A; 16]);
    vp.gprs[RAX] = 0x5A5A_5A5A_5A5A_5A5A;
    vp.gprs[RDX] = 0x5A5A_5A5A_5A5A_5A5A;
    vp.gprs[RBX] = 1;
    vp.gprs[RCX] = 2;
    assert_eq!(run(&mut vp, &mut memory, &[0xF0, 0x48, 0x0F, 0xC7, 0x4E, 0x10]), DONE);
    assert_eq!((memory.u64_at(0x4010), memory.u64_at(0x4018)), (1, 2));
    assert_eq!(vp.rflags & 0x40, 0x40);
    vp.rip = CODE_AT;
    assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0xC7, 0x4E, 0x10]), DONE);
    assert_eq!((vp.gprs[RAX], vp.gprs[RDX], vp.rflags & 0x40), (1, 0, 0));
    vp.rip = CODE_AT;
    let misaligned = run(&mut vp, &mut memory, &[0x48, 0x0F, 0xC7, 0x4E, 0x18]);
    assert_eq!(misaligned, exception(13, Some(0)));
}

#[test]
fn register_bit_offsets_reach_other_addresses() {
    for (offset, address, carry) in
        [(0_i64, 0x4000, 0), (-1, 0x3FFC, 1), (33, 0x4004, 0), (-64, 0x3FF8, 0)]
    {
        let (mut vp, mut memory) = set_up();
        memory.put(0x3FFC, &0x8000_0000_u32.to_le_bytes());
        vp.gprs[RCX] = offset.cast_unsigned();
        assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0xA3, 0x0E]), DONE);
        assert_eq!(memory.reads, [(address, 4)], "offset {offset}");
        assert_eq!(vp.rflags & 1, carry, "offset {offset}");
    }
    let (mut vp, mut memory) = set_up();
    vp.gprs[RCX] = 70;
    assert_eq!(run(&mut vp, &mut memory, &[0xF0, 0x48, 0x0F, 0xAB, 0x0E]), DONE);
    assert_eq!(memory.u64_at(0x4008), 1 << 6);
}

#[test]
fn vectors() {
    let low = 0xF8F9_FAFB_FCFD_FEFF_u128;
    let (_, memory) = set_up();
    let loads: &[(&[u8], usize, u128)] = &[
        (&[0x0F, 0x10, 0x0B], 16, memory.device),
        (&[0x0F, 0x28, 0x0B], 16, memory.device),
        (&[0x66, 0x0F, 0x6F, 0x0B], 16, memory.device),
        (&[0xF3, 0x0F, 0x6F, 0x0B], 16, memory.device),
        (&[0xF3, 0x0F, 0x7E, 0x0B], 8, low),
        (&[0xF2, 0x0F, 0x10, 0x0B], 8, low),
        (&[0xF3, 0x0F, 0x10, 0x0B], 4, 0xFCFD_FEFF),
        (&[0x66, 0x0F, 0x6E, 0x0B], 4, 0xFCFD_FEFF),
        (&[0x66, 0x48, 0x0F, 0x6E, 0x0B], 8, low),
        (&[0x66, 0x0F, 0x38, 0x2A, 0x0B], 16, memory.device),
    ];
    for (code, length, value) in loads {
        let (vp, memory) = done(code);
        assert_eq!((vp.xmm[1], memory.events), (*value, vec![read(*length)]), "{code:02X?}");
    }
    let stores: &[(&[u8], usize)] = &[
        (&[0x0F, 0x11, 0x0B], 16),
        (&[0x66, 0x0F, 0xE7, 0x0B], 16),
        (&[0x0F, 0x2B, 0x0B], 16),
        (&[0x66, 0x0F, 0xD6, 0x0B], 8),
        (&[0x66, 0x0F, 0x7E, 0x0B], 4),
    ];
    for (code, length) in stores {
        let (mut vp, mut memory) = set_up();
        vp.xmm[1] = 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10;
        let bytes = vp.xmm[1].to_le_bytes();
        assert_eq!(run(&mut vp, &mut memory, code), DONE);
        assert_eq!(memory.events, [write(&bytes[..*length])], "{code:02X?}");
    }
}

#[test]
fn vectors_obey_control_registers_and_alignment() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RBX] += 8;
    assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0x29, 0x0B]), exception(13, Some(0)));
    assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0x11, 0x0B]), DONE);
    vp.rip = CODE_AT;
    vp.cr0 |= 8;
    assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0x11, 0x0B]), exception(7, None));
    vp.cr4 = 0;
    assert_eq!(run(&mut vp, &mut memory, &[0x0F, 0x11, 0x0B]), exception(6, None));
}

#[test]
fn undefined_instructions() {
    let codes: &[&[u8]] = &[
        &[0xF0, 0x89, 0x03],
        &[0xF0, 0x01, 0xC3],
        &[0xF0, 0x3B, 0x03],
        &[0xF0, 0xA4],
        &[0xC7, 0x0B, 0, 0, 0, 0],
        &[0x0F, 0x0B],
        &[0x06],
        &[0xFE, 0x13],
        &[0x0F, 0xBA, 0x03, 1],
        &[0x0F, 0xC3, 0xC0],
    ];
    for code in codes {
        let (mut vp, mut memory) = set_up();
        let before = vp.clone();
        assert_eq!(run(&mut vp, &mut memory, code), exception(6, None), "{code:02X?}");
        assert_eq!(vp, before);
    }
}

#[test]
fn unknown_instructions_are_reported_with_their_bytes() {
    let (mut vp, mut memory) = set_up();
    let before = vp.clone();
    // VADDPS with memory.
    let code = [0xC5, 0xF4, 0x58, 0x03];
    let Outcome::Unsupported { bytes, length } = run(&mut vp, &mut memory, &code) else {
        panic!("is known");
    };
    assert_eq!((&bytes[..4], length), (&code[..], 15));
    assert_eq!(vp, before);
}

#[test]
fn single_step_and_resume_flags() {
    let (mut vp, mut memory) = set_up();
    vp.rflags |= 1 << 8 | 1 << 16;
    assert_eq!(run(&mut vp, &mut memory, &[0x8B, 0x03]), Outcome::Done { trap: true });
    assert_eq!(vp.rflags, 2 | 1 << 8);
}

#[test]
fn repeated_moves_are_bounded_and_resumable() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RCX] = 20;
    let code = [0xF3, 0x66, 0xA5];
    assert_eq!(run(&mut vp, &mut memory, &code), Outcome::Repeat { trap: false });
    assert_eq!((vp.rip, vp.gprs[RCX], memory.events.len()), (CODE_AT, 4, 16));
    assert_eq!((vp.gprs[RSI], vp.gprs[RDI]), (0x4020, DEVICE + 32));
    assert_eq!(emulate(&mut vp, &mut memory, LIMITS), DONE);
    assert_eq!((vp.rip, vp.gprs[RCX], memory.events.len()), (CODE_AT + 3, 0, 20));
    vp.rip = CODE_AT;
    assert_eq!(emulate(&mut vp, &mut memory, LIMITS), DONE, "count zero does nothing");
    assert_eq!(memory.events.len(), 20);
}

#[test]
fn single_step_stops_after_each_iteration() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RCX] = 2;
    vp.rflags |= 1 << 8;
    assert_eq!(run(&mut vp, &mut memory, &[0xF3, 0xAA]), Outcome::Repeat { trap: true });
    assert_eq!(memory.events.len(), 1);
    assert_eq!(emulate(&mut vp, &mut memory, LIMITS), Outcome::Done { trap: true });
}

#[test]
fn strings_go_down_and_truncate_addresses() {
    let (mut vp, mut memory) = set_up();
    vp.rflags |= 1 << 10;
    vp.gprs[RDI] = 0xFFFF_FFFF_0000_4000;
    vp.gprs[RCX] = 0xFFFF_FFFF_0000_0002;
    assert_eq!(run(&mut vp, &mut memory, &[0x67, 0xF3, 0xAB]), DONE);
    assert_eq!((vp.gprs[RDI], vp.gprs[RCX]), (0x3FF8, 0));
    assert_eq!(memory.u64_at(0x3FFC), 0x5566_7788_5566_7788);
}

#[test]
fn compare_and_scan_stop_at_the_condition() {
    let (mut vp, mut memory) = set_up();
    memory.put(0x4000, b"abcdef");
    memory.put(0x5000, b"abcxef");
    vp.gprs[RDI] = 0x5000;
    vp.gprs[RCX] = 6;
    assert_eq!(run(&mut vp, &mut memory, &[0xF3, 0xA6]), DONE);
    assert_eq!((vp.gprs[RCX], vp.gprs[RSI], vp.rflags & 0x41), (2, 0x4004, 1));
    (vp.rip, vp.gprs[RCX], vp.gprs[RDI]) = (CODE_AT, 6, 0x5000);
    vp.gprs[RAX] = u64::from(b'e');
    assert_eq!(run(&mut vp, &mut memory, &[0xF2, 0xAE]), DONE);
    assert_eq!((vp.gprs[RCX], vp.gprs[RDI], vp.rflags & 0x40), (1, 0x5005, 0x40));
}

#[test]
fn load_string_from_the_device() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RSI] = DEVICE;
    assert_eq!(run(&mut vp, &mut memory, &[0xAD]), DONE);
    assert_eq!((vp.gprs[RAX], vp.gprs[RSI]), (0xFCFD_FEFF, DEVICE + 4));
}

#[test]
fn push_pop_call_and_jump() {
    let (vp, memory) = done(&[0xFF, 0x33]);
    assert_eq!((vp.gprs[RSP], memory.u64_at(0x6FF8)), (0x6FF8, 0xF8F9_FAFB_FCFD_FEFF));

    let (mut vp, mut memory) = set_up();
    memory.put(0x7000, &PATTERN.to_le_bytes());
    assert_eq!(run(&mut vp, &mut memory, &[0x8F, 0x03]), DONE);
    assert_eq!((&memory.events[..], vp.gprs[RSP]), (&[write(&PATTERN.to_le_bytes())][..], 0x7008));

    // POP [RSP] stores where RSP points afterwards.
    vp.rip = CODE_AT;
    memory.put(0x7008, &7_u64.to_le_bytes());
    assert_eq!(run(&mut vp, &mut memory, &[0x8F, 0x04, 0x24]), DONE);
    assert_eq!((memory.u64_at(0x7010), vp.gprs[RSP]), (7, 0x7010));

    for (modrm, rsp) in [(0x23, 0x7000), (0x13, 0x6FF8)] {
        let (mut vp, mut memory) = set_up();
        memory.device = 0x1234;
        assert_eq!(run(&mut vp, &mut memory, &[0xFF, modrm]), DONE);
        assert_eq!((vp.rip, vp.gprs[RSP], memory.events), (0x1234, rsp, vec![read(8)]));
        assert_eq!(memory.ram[0x6FF8] == 2, modrm == 0x13);
    }
}

#[test]
fn contended_locks_are_retried_without_a_second_read() {
    let (mut vp, mut memory) = set_up();
    memory.contention = 3;
    assert_eq!(run(&mut vp, &mut memory, &[0xF0, 0xFF, 0x06]), DONE);
    assert_eq!((memory.u64_at(0x4000), memory.reads.len()), (3 * (1 << 9) + 1, 1));
    memory.contention = u32::MAX;
    vp.rip = CODE_AT;
    let outcome = run(&mut vp, &mut memory, &[0xF0, 0xFF, 0x06]);
    assert_eq!((outcome, vp.rip), (Outcome::Repeat { trap: false }, CODE_AT));
}

#[test]
fn instruction_bytes_are_fetched_once() {
    let (mut vp, mut memory) = set_up();
    vp.rip = 0x8FFE;
    assert_eq!(run(&mut vp, &mut memory, &[0xC7, 0x03, 1, 2, 3, 4]), DONE);
    assert_eq!(memory.fetches, [(0x8FFE, 2), (0x9000, 13)]);
    // Code that ends with its page leaves the next page alone.
    memory.fetches.clear();
    vp.rip = 0x8FFE;
    assert_eq!(run(&mut vp, &mut memory, &[0x8B, 0x03]), DONE);
    assert_eq!(memory.fetches, [(0x8FFE, 2)]);
}

#[test]
fn bus_errors_end_the_instruction() {
    let (mut vp, mut memory) = set_up();
    vp.gprs[RBX] = 0x5000_0000;
    let before = vp.clone();
    let outcome = run(&mut vp, &mut memory, &[0x8B, 0x03]);
    assert_eq!(outcome, Outcome::Bus(emulator::BusError { gpa: 0x5000_0000 }));
    assert_eq!(vp, before);
}

#[derive(Default)]
struct Log(Vec<(u16, u8, Option<u32>)>);

impl Ports for Log {
    fn read_port(&mut self, port: u16, size: u8) -> u32 {
        self.0.push((port, size, None));
        0xA1B2_C3D4
    }
    fn write_port(&mut self, port: u16, size: u8, value: u32) {
        self.0.push((port, size, Some(value)));
    }
}

#[test]
fn port_strings() {
    let (mut vp, mut memory) = set_up();
    let mut ports = Log::default();
    vp.gprs[RDX] = 0xFFFF_01F0;
    vp.gprs[RCX] = 2;
    vp.gprs[RDI] = 0x5000;
    memory.put(CODE_AT, &[0xF3, 0x66, 0x6D]);
    assert_eq!(emulate_port_string(&mut vp, &mut memory, &mut ports, LIMITS), DONE);
    assert_eq!((memory.u64_at(0x5000), vp.gprs[RDI]), (0xC3D4_C3D4, 0x5004));
    assert_eq!(ports.0, [(0x1F0, 2, None); 2]);
    (vp.rip, vp.gprs[RSI]) = (CODE_AT, 0x5000);
    memory.put(CODE_AT, &[0x6F]);
    assert_eq!(emulate_port_string(&mut vp, &mut memory, &mut ports, LIMITS), DONE);
    assert_eq!(ports.0[2], (0x1F0, 4, Some(0xC3D4_C3D4)));
    assert_eq!(vp.gprs[RSI], 0x5004);
}

/// A port's read has effects, so a destination that faults must be found before it.
#[test]
fn a_faulting_input_reads_no_port() {
    let mut vp = Vp::protected();
    let mut memory = Memory::new();
    let mut ports = Log::default();
    vp.segments[0].limit = 0xFFF;
    vp.gprs[RDI] = 0x1000;
    memory.put(CODE_AT, &[0x6C]);
    let outcome = emulate_port_string(&mut vp, &mut memory, &mut ports, LIMITS);
    assert_eq!(outcome, exception(13, Some(0)));
    assert!(ports.0.is_empty());
}

/// Mode and operand size change nothing about what SMSW writes to memory.
#[test]
fn smsw_writes_a_word_to_memory() {
    for code in [&[0x0F, 0x01, 0x23][..], &[0x66, 0x0F, 0x01, 0x23], &[0x48, 0x0F, 0x01, 0x23]] {
        let (vp, memory) = done(code);
        assert_eq!(memory.events, [write(&vp.cr0.to_le_bytes()[..2])], "{code:02X?}");
    }
}

#[test]
fn smsw_is_refused_to_users_under_umip() {
    let (mut vp, mut memory) = set_up();
    (vp.cpl, vp.cr4) = (3, vp.cr4 | 1 << 11);
    let outcome = run(&mut vp, &mut memory, &[0x0F, 0x01, 0x23]);
    assert_eq!(outcome, exception(13, Some(0)));
    assert_eq!(memory.events, []);
}
