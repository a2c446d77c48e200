//! The decoder against iced-x86: iced decodes every accepted instruction to the same.

use emulator::{Base, CodeSize, DecodeError, Instruction, Operation, Place, decode};
use iced_x86::{Code, Decoder, DecoderOptions, OpKind, Register as R};
use proptest::prelude::*;
use x86::{Register, SegmentRegister};

fn bits(code_size: CodeSize) -> u32 {
    match code_size {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    }
}

fn gpr(register: R) -> Option<Register> {
    (register != R::None && register.is_gpr())
        .then(|| Register::from_number(register.full_register().number() as u8))
}

fn segment(register: R) -> SegmentRegister {
    match register {
        R::ES => SegmentRegister::Es,
        R::CS => SegmentRegister::Cs,
        R::SS => SegmentRegister::Ss,
        R::DS => SegmentRegister::Ds,
        R::FS => SegmentRegister::Fs,
        _ => SegmentRegister::Gs,
    }
}

fn place(ours: Place, theirs: &iced_x86::Instruction, operand: u32) -> Result<(), String> {
    let register = theirs.op_register(operand);
    let same = match (ours, theirs.op_kind(operand)) {
        (Place::Memory, OpKind::Memory) => true,
        (Place::Immediate, kind) => kind != OpKind::Register && kind != OpKind::Memory,
        (Place::Register(number), OpKind::Register) => {
            gpr(register) == Some(number) && !matches!(register, R::AH | R::CH | R::DH | R::BH)
        }
        (Place::HighByte(number), OpKind::Register) => {
            register == [R::AH, R::CH, R::DH, R::BH][number as usize]
        }
        (Place::Vector(number), OpKind::Register) => {
            register.is_xmm() && register.number() == usize::from(number)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("operand {operand}: {ours:?} is {register:?}")) }
}

fn memory(
    ours: &Instruction,
    theirs: &iced_x86::Instruction,
    mode: CodeSize,
) -> Result<(), String> {
    let Some(operand) = ours.memory else {
        return Ok(());
    };
    let segment_matters = mode != CodeSize::Bits64
        || matches!(operand.segment, SegmentRegister::Fs | SegmentRegister::Gs);
    if segment_matters && segment(theirs.memory_segment()) != operand.segment {
        return Err("segment".into());
    }
    let relative = theirs.memory_base() == R::RIP || theirs.memory_base() == R::EIP;
    let base = match operand.base {
        Some(Base::NextRip) => relative,
        Some(Base::Register(register)) => gpr(theirs.memory_base()) == Some(register),
        None => theirs.memory_base() == R::None,
    };
    let index = gpr(theirs.memory_index()) == operand.index;
    let scale = operand.index.is_none() || theirs.memory_index_scale() == 1 << operand.scale;
    let mut displacement = operand.displacement;
    if operand.base == Some(Base::NextRip) {
        displacement = displacement.wrapping_add(theirs.next_ip());
    }
    let mask = ours.address_size.mask();
    let displaced = theirs.memory_displacement64() & mask == displacement & mask;
    // iced gives no size for hints, and for the address that CLFLUSH takes 1 byte as we do.
    let sized = matches!(ours.operation, Operation::Hint | Operation::FlushLine)
        || theirs.memory_size().size() == usize::from(accessed(ours).bytes());
    if base && index && scale && displaced && sized {
        Ok(())
    } else {
        Err(format!("{base} {index} {scale} {displaced} {sized} {:?}", theirs.memory_size()))
    }
}

fn accessed(i: &Instruction) -> emulator::Size {
    match i.operation {
        Operation::MoveExtend { from, .. } => from,
        Operation::StoreMachineStatus => emulator::Size::Word,
        _ => i.size,
    }
}

/// Codes that exist only to be undefined, or only on other CPUs.
fn may_be_undefined(code: Code) -> bool {
    matches!(
        code,
        Code::INVALID
            | Code::Ud0
            | Code::Ud0_r16_rm16
            | Code::Ud0_r32_rm32
            | Code::Ud0_r64_rm64
            | Code::Ud1_r16_rm16
            | Code::Ud1_r32_rm32
            | Code::Ud1_r64_rm64
            | Code::Ud2
            | Code::Xabort_imm8
            | Code::Xbegin_rel16
            | Code::Xbegin_rel32
    )
}

fn compare(bytes: &[u8], mode: CodeSize) -> Result<bool, String> {
    let mut decoder =
        Decoder::with_ip(bits(mode), bytes, 0x1000, DecoderOptions::AMD | DecoderOptions::MOV_TR);
    let theirs = decoder.decode();
    let ours = match decode(bytes, mode) {
        Ok(ours) => ours,
        Err(DecodeError::Undefined) if may_be_undefined(theirs.code()) => return Ok(false),
        Err(DecodeError::Undefined) => return Err(format!("undefined, but {:?}", theirs.code())),
        Err(_) => return Ok(false),
    };
    if theirs.is_invalid() {
        return Err(format!("iced knows no {ours:?}"));
    }
    if theirs.len() != usize::from(ours.length) {
        return Err(format!("length {} is {}", ours.length, theirs.len()));
    }
    memory(&ours, &theirs, mode)?;
    if ours.destination != Place::None && ours.operation != Operation::Hint {
        place(ours.destination, &theirs, 0)?;
        if ours.source != Place::None {
            place(ours.source, &theirs, 1)?;
        }
    }
    let class = format!("{:?}", theirs.mnemonic());
    if mnemonic_fits(&ours, &class) { Ok(true) } else { Err(format!("{ours:?} is {class}")) }
}

fn mnemonic_fits(ours: &Instruction, theirs: &str) -> bool {
    use emulator::{Arithmetic, BitChange, StringOperation};
    match ours.operation {
        Operation::Move => theirs == "Mov" || theirs == "Movnti",
        Operation::MoveExtend { signed: true, .. } => theirs.starts_with("Movsx"),
        Operation::MoveExtend { signed: false, .. } => theirs == "Movzx",
        Operation::MoveSwapped => theirs == "Movbe",
        Operation::Arithmetic(operation) => {
            let _: Arithmetic = operation;
            theirs == format!("{operation:?}")
        }
        Operation::Test => theirs == "Test",
        Operation::Not => theirs == "Not",
        Operation::Negate => theirs == "Neg",
        Operation::Increment => theirs == "Inc",
        Operation::Decrement => theirs == "Dec",
        Operation::Shift(shift) => {
            theirs == format!("{shift:?}") || (theirs == "Sal" && format!("{shift:?}") == "Shl")
        }
        Operation::Exchange => theirs == "Xchg",
        Operation::CompareExchange => theirs == "Cmpxchg",
        Operation::CompareExchangePair => theirs == "Cmpxchg8b" || theirs == "Cmpxchg16b",
        Operation::ExchangeAdd => theirs == "Xadd",
        Operation::BitTest(change) => {
            let name = match change {
                BitChange::Keep => "Bt",
                BitChange::Set => "Bts",
                BitChange::Reset => "Btr",
                BitChange::Complement => "Btc",
            };
            theirs == name
        }
        Operation::SetCondition(code) => theirs == format!("Set{}", condition(code)),
        Operation::MoveCondition(code) => theirs == format!("Cmov{}", condition(code)),
        Operation::Push => theirs.starts_with("Push"),
        Operation::Pop => theirs.starts_with("Pop"),
        Operation::Jump => theirs == "Jmp",
        Operation::Call => theirs == "Call",
        Operation::String(operation) => {
            let stem = match operation {
                StringOperation::Move => "Movs",
                StringOperation::Store => "Stos",
                StringOperation::Load => "Lods",
                StringOperation::Compare => "Cmps",
                StringOperation::Scan => "Scas",
                StringOperation::In => "Ins",
                StringOperation::Out => "Outs",
            };
            theirs.starts_with(stem)
        }
        Operation::MoveVector { .. } => theirs.starts_with("Mov") || theirs == "Lddqu",
        Operation::StoreMachineStatus => theirs == "Smsw",
        Operation::FlushLine => theirs.starts_with("Cl"),
        Operation::Hint => {
            theirs.starts_with("Prefetch") || theirs == "Nop" || theirs == "Reservednop"
        }
    }
}

fn condition(code: u8) -> &'static str {
    ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"]
        [usize::from(code)]
}

const MODES: [CodeSize; 3] = [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64];
const PREFIXES: [&[u8]; 14] = [
    &[],
    &[0x66],
    &[0x67],
    &[0xF0],
    &[0xF2],
    &[0xF3],
    &[0x2E],
    &[0x65],
    &[0x41],
    &[0x4A],
    &[0x66, 0x67],
    &[0x66, 0x48],
    &[0xF3, 0x44],
    &[0x64, 0x3E],
];

/// Every opcode with every ModRM and SIB corner, in every mode.
#[test]
fn all_opcodes_agree_with_iced() {
    let mut accepted = 0_u64;
    let tail = [0x85, 0x7F, 0x80, 0x01, 0xFE, 0x55, 0xAA, 0x12, 0x34, 0x56];
    for mode in MODES {
        for prefix in PREFIXES {
            for map in [&[][..], &[0x0F], &[0x0F, 0x38]] {
                for opcode in 0..=255_u8 {
                    for modrm in 0..=255_u8 {
                        let bytes = [prefix, map, &[opcode, modrm], &tail[..]].concat();
                        match compare(&bytes, mode) {
                            Ok(known) => accepted += u64::from(known),
                            Err(why) => panic!("{mode:?} {bytes:02X?}: {why}"),
                        }
                    }
                }
            }
        }
    }
    assert!(accepted > 400_000, "{accepted} forms were accepted");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_agree_with_iced(bytes in proptest::collection::vec(any::<u8>(), 0..20), mode in 0..3_usize) {
        if let Err(why) = compare(&bytes, MODES[mode]) {
            prop_assert!(false, "{:02X?}: {}", bytes, why);
        }
    }

    /// Every prefix of an accepted instruction is incomplete, never another instruction.
    #[test]
    fn a_cut_instruction_is_incomplete(bytes in proptest::collection::vec(any::<u8>(), 15), mode in 0..3_usize) {
        if let Ok(whole) = decode(&bytes, MODES[mode]) {
            for cut in 0..usize::from(whole.length) {
                prop_assert_eq!(decode(&bytes[..cut], MODES[mode]), Err(DecodeError::Incomplete));
            }
        }
    }
}

#[test]
fn fifteen_bytes_are_the_limit() {
    let fits = [&[0x66; 13][..], &[0x89, 0x03]].concat();
    assert_eq!(decode(&fits, CodeSize::Bits64).map(|i| i.length), Ok(15));
    let long = [&[0x66; 14][..], &[0x89, 0x03]].concat();
    assert_eq!(decode(&long, CodeSize::Bits64), Err(DecodeError::TooLong));
}
