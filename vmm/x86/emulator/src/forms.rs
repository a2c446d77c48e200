//! Opcode tables (APM vol. 3, appendix A): the operation and operands of each opcode.

use crate::size::Size;

/// The operation of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// MOV, MOVNTI.
    Move,
    /// MOVZX, MOVSX or MOVSXD.
    MoveExtend {
        /// Size of the source.
        from: Size,
        /// Whether the sign is extended.
        signed: bool,
    },
    /// MOVBE.
    MoveSwapped,
    /// ADD to CMP.
    Arithmetic(Arithmetic),
    /// TEST.
    Test,
    /// NOT.
    Not,
    /// NEG.
    Negate,
    /// INC.
    Increment,
    /// DEC.
    Decrement,
    /// ROL to SAR.
    Shift(Shift),
    /// XCHG.
    Exchange,
    /// CMPXCHG.
    CompareExchange,
    /// CMPXCHG8B or CMPXCHG16B.
    CompareExchangePair,
    /// XADD.
    ExchangeAdd,
    /// BT to BTC.
    BitTest(BitChange),
    /// SETcc with this condition code.
    SetCondition(u8),
    /// CMOVcc with this condition code.
    MoveCondition(u8),
    /// PUSH.
    Push,
    /// POP.
    Pop,
    /// JMP, near and indirect.
    Jump,
    /// CALL, near and indirect.
    Call,
    /// A string instruction.
    String(StringOperation),
    /// A load or store of a whole or partial SSE register; a load clears the bits above.
    MoveVector {
        /// Whether memory has to be aligned to the operand's size.
        aligned: bool,
    },
    /// CLFLUSH, CLFLUSHOPT or CLWB.
    FlushLine,
    /// PREFETCH and NOP with an operand, which touch nothing.
    Hint,
    /// SMSW: a word of CR0 to memory, or an operand's size of it to a register.
    StoreMachineStatus,
}

/// The eight operations of opcodes 00–3F, in encoding order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum Arithmetic {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
}

impl Arithmetic {
    const fn from_number(number: u8) -> Self {
        match number & 7 {
            0 => Self::Add,
            1 => Self::Or,
            2 => Self::Adc,
            3 => Self::Sbb,
            4 => Self::And,
            5 => Self::Sub,
            6 => Self::Xor,
            _ => Self::Cmp,
        }
    }
}

/// Shifts and rotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum Shift {
    Rol,
    Ror,
    Rcl,
    Rcr,
    Shl,
    Shr,
    Sar,
}

/// The effect of a bit test on the bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitChange {
    /// BT: the bit stays as it was.
    Keep,
    /// BTS: one.
    Set,
    /// BTR: zero.
    Reset,
    /// BTC: the opposite.
    Complement,
}

/// String instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS")]
pub enum StringOperation {
    Move,
    Store,
    Load,
    Compare,
    Scan,
    In,
    Out,
}

/// The operands of an instruction, destination first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    None,
    RmReg,
    RegRm,
    RmImmediate,
    RmOne,
    RmCl,
    Rm,
    AccumulatorImmediate,
    AccumulatorOffset,
    OffsetAccumulator,
    OpcodeRegister,
    Immediate,
    VectorRm,
    RmVector,
}

/// The rule for the operand size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// 2, 4 or 8 bytes by mode and prefixes.
    Operand,
    /// As `Operand`, but 4 at least: 66 is ignored.
    OperandNoWord,
    /// As `Operand`, but 8 in 64-bit mode unless 66 is there; also near branches, for which Intel
    /// ignores 66 and AMD does not (APM vol. 3, CALL).
    Stack,
    /// As `Operand`, but 4 at most, for port I/O.
    OperandNoQuad,
    /// 16 with REX.W, else 8.
    Pair,
    Fixed(Size),
}

/// Size of the immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Immediate {
    None,
    Byte,
    /// As the operand, 4 bytes at most, extended with its sign.
    Operand,
}

/// The properties of an opcode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) operation: Operation,
    pub(crate) operands: Operands,
    pub(crate) width: Width,
    pub(crate) immediate: Immediate,
    /// #UD with a register in r/m.
    pub(crate) memory_only: bool,
    pub(crate) lockable: bool,
}

impl Form {
    const fn new(operation: Operation, operands: Operands, width: Width) -> Self {
        let immediate = Immediate::None;
        Self { operation, operands, width, immediate, memory_only: false, lockable: false }
    }

    const fn immediate(self, immediate: Immediate) -> Self {
        Self { immediate, ..self }
    }

    /// No source is wider than the operand size: 66 makes MOVSXD read a word (SDM vol. 2, MOVSXD).
    pub(crate) fn narrowed(self, size: Size) -> Self {
        let Operation::MoveExtend { from, signed } = self.operation else { return self };
        Self { operation: Operation::MoveExtend { from: from.min(size), signed }, ..self }
    }

    const fn lockable(self) -> Self {
        Self { lockable: true, ..self }
    }

    const fn with_width(self, width: Width) -> Self {
        Self { width, ..self }
    }

    const fn memory_only(self) -> Self {
        Self { memory_only: true, ..self }
    }
}

/// The reason why an opcode has no form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoForm {
    Undefined,
    Unsupported,
}

/// Mandatory prefix of SSE instructions; F2 and F3 win over 66 (APM vol. 3, 1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mandatory {
    None,
    P66,
    PF2,
    PF3,
}

const fn byte_or_operand(opcode: u8) -> Width {
    if opcode & 1 == 0 { Width::Fixed(Size::Byte) } else { Width::Operand }
}

/// Whether a one-byte opcode is extended by ModRM.reg.
pub(crate) const fn is_group(opcode: u8) -> bool {
    matches!(opcode, 0x80..=0x83 | 0x8F | 0xC0 | 0xC1 | 0xC6 | 0xC7 | 0xD0..=0xD3 | 0xF6 | 0xF7 | 0xFE | 0xFF)
}

/// Whether a two-byte opcode (after 0F) is extended by ModRM.reg.
pub(crate) const fn is_group_0f(opcode: u8) -> bool {
    matches!(opcode, 0x01 | 0x0D | 0x18 | 0xAE | 0xBA | 0xC7)
}

/// The form of one-byte `opcode`; `reg` is ModRM.reg if [`is_group`] says so.
pub(crate) fn one_byte(opcode: u8, reg: u8, long: bool) -> Result<Form, NoForm> {
    let width = byte_or_operand(opcode);
    let string = |operation| Form::new(Operation::String(operation), Operands::None, width);
    let port = if opcode & 1 == 0 { width } else { Width::OperandNoQuad };
    Ok(match opcode {
        0x00..=0x3F if opcode & 7 < 6 => arithmetic(opcode),
        0x50..=0x57 => Form::new(Operation::Push, Operands::OpcodeRegister, Width::Stack),
        0x58..=0x5F => Form::new(Operation::Pop, Operands::OpcodeRegister, Width::Stack),
        0x63 if long => {
            let extend = Operation::MoveExtend { from: Size::Doubleword, signed: true };
            Form::new(extend, Operands::RegRm, Width::Operand)
        }
        0x68 => Form::new(Operation::Push, Operands::Immediate, Width::Stack)
            .immediate(Immediate::Operand),
        0x6A => {
            Form::new(Operation::Push, Operands::Immediate, Width::Stack).immediate(Immediate::Byte)
        }
        0x6C | 0x6D => string(StringOperation::In).with_width(port),
        0x6E | 0x6F => string(StringOperation::Out).with_width(port),
        0x82 if long => return Err(NoForm::Undefined),
        0x84 | 0x85 => Form::new(Operation::Test, Operands::RmReg, width),
        0x86 | 0x87 => Form::new(Operation::Exchange, Operands::RmReg, width).lockable(),
        0x88 | 0x89 => Form::new(Operation::Move, Operands::RmReg, width),
        0x8A | 0x8B => Form::new(Operation::Move, Operands::RegRm, width),
        0xA0 | 0xA1 => Form::new(Operation::Move, Operands::AccumulatorOffset, width),
        0xA2 | 0xA3 => Form::new(Operation::Move, Operands::OffsetAccumulator, width),
        0xA4 | 0xA5 => string(StringOperation::Move),
        0xA6 | 0xA7 => string(StringOperation::Compare),
        0xA8 | 0xA9 => Form::new(Operation::Test, Operands::AccumulatorImmediate, width)
            .immediate(Immediate::Operand),
        0xAA | 0xAB => string(StringOperation::Store),
        0xAC | 0xAD => string(StringOperation::Load),
        0xAE | 0xAF => string(StringOperation::Scan),
        _ if is_group(opcode) => return group(opcode, reg),
        _ if is_undefined(opcode, long) => return Err(NoForm::Undefined),
        _ => return Err(NoForm::Unsupported),
    })
}

const fn is_undefined(opcode: u8, long: bool) -> bool {
    let legacy_only = matches!(
        opcode,
        0x06 | 0x07
            | 0x0E
            | 0x16
            | 0x17
            | 0x1E
            | 0x1F
            | 0x27
            | 0x2F
            | 0x37
            | 0x3F
            | 0x60
            | 0x61
            | 0x9A
            | 0xCE
            | 0xD4..=0xD6 | 0xEA
    );
    long && legacy_only
}

/// Opcodes 00–3F with the low three bits below six.
fn arithmetic(opcode: u8) -> Form {
    let operation = Arithmetic::from_number(opcode >> 3);
    let width = byte_or_operand(opcode);
    let of = |operands| Form::new(Operation::Arithmetic(operation), operands, width);
    match opcode & 7 {
        0 | 1 if operation == Arithmetic::Cmp => of(Operands::RmReg),
        0 | 1 => of(Operands::RmReg).lockable(),
        2 | 3 => of(Operands::RegRm),
        _ => of(Operands::AccumulatorImmediate).immediate(Immediate::Operand),
    }
}

/// Opcodes that ModRM.reg extends.
fn group(opcode: u8, reg: u8) -> Result<Form, NoForm> {
    let width = byte_or_operand(opcode);
    Ok(match (opcode, reg) {
        (0x80..=0x83, _) => {
            let operation = Arithmetic::from_number(reg);
            let size = if opcode == 0x81 { Immediate::Operand } else { Immediate::Byte };
            let form = Form::new(Operation::Arithmetic(operation), Operands::RmImmediate, width)
                .immediate(size);
            if operation == Arithmetic::Cmp { form } else { form.lockable() }
        }
        (0x8F, 0) => Form::new(Operation::Pop, Operands::Rm, Width::Stack),
        // 8F with another reg is AMD's XOP.
        (0x8F, _) => return Err(NoForm::Unsupported),
        (0xC0 | 0xC1 | 0xD0..=0xD3, _) => shift(opcode, reg, width),
        (0xC6 | 0xC7, 0) => {
            Form::new(Operation::Move, Operands::RmImmediate, width).immediate(Immediate::Operand)
        }
        (0xF6 | 0xF7, 0 | 1) => {
            Form::new(Operation::Test, Operands::RmImmediate, width).immediate(Immediate::Operand)
        }
        (0xF6 | 0xF7, 2) => Form::new(Operation::Not, Operands::Rm, width).lockable(),
        (0xF6 | 0xF7, 3) => Form::new(Operation::Negate, Operands::Rm, width).lockable(),
        // MUL, IMUL, DIV, IDIV.
        (0xF6 | 0xF7, _) => return Err(NoForm::Unsupported),
        (0xFE | 0xFF, 0) => Form::new(Operation::Increment, Operands::Rm, width).lockable(),
        (0xFE | 0xFF, 1) => Form::new(Operation::Decrement, Operands::Rm, width).lockable(),
        (0xFF, 2) => Form::new(Operation::Call, Operands::Rm, Width::Stack),
        (0xFF, 4) => Form::new(Operation::Jump, Operands::Rm, Width::Stack),
        (0xFF, 6) => Form::new(Operation::Push, Operands::Rm, Width::Stack),
        // Far CALL and JMP.
        (0xFF, 3 | 5) => return Err(NoForm::Unsupported),
        _ => return Err(NoForm::Undefined),
    })
}

fn shift(opcode: u8, reg: u8, width: Width) -> Form {
    let operation = match reg & 7 {
        0 => Shift::Rol,
        1 => Shift::Ror,
        2 => Shift::Rcl,
        3 => Shift::Rcr,
        5 => Shift::Shr,
        7 => Shift::Sar,
        // 6 is an alias of SHL (APM vol. 3, SAL).
        _ => Shift::Shl,
    };
    let of = |operands| Form::new(Operation::Shift(operation), operands, width);
    match opcode {
        0xC0 | 0xC1 => of(Operands::RmImmediate).immediate(Immediate::Byte),
        0xD0 | 0xD1 => of(Operands::RmOne),
        _ => of(Operands::RmCl),
    }
}

/// The form of two-byte opcode 0F `opcode`; `reg` is ModRM.reg if [`is_group_0f`] says so.
pub(crate) fn two_byte(opcode: u8, reg: u8, mandatory: Mandatory) -> Result<Form, NoForm> {
    let width = byte_or_operand(opcode);
    let extend = |signed| {
        let from = if opcode & 1 == 0 { Size::Byte } else { Size::Word };
        Form::new(Operation::MoveExtend { from, signed }, Operands::RegRm, Width::Operand)
    };
    Ok(match opcode {
        // UD2, UD1, UD0.
        0x0B | 0xB9 | 0xFF => return Err(NoForm::Undefined),
        0x1F => Form::new(Operation::Hint, Operands::Rm, Width::Operand),
        0x40..=0x4F => {
            Form::new(Operation::MoveCondition(opcode & 15), Operands::RegRm, Width::Operand)
        }
        0x90..=0x9F => {
            Form::new(Operation::SetCondition(opcode & 15), Operands::Rm, Width::Fixed(Size::Byte))
        }
        0xA3 | 0xAB | 0xB3 | 0xBB => bit_test(opcode >> 3, Operands::RmReg),
        0xB0 | 0xB1 => Form::new(Operation::CompareExchange, Operands::RmReg, width).lockable(),
        0xB6 | 0xB7 => extend(false),
        0xBE | 0xBF => extend(true),
        0xC0 | 0xC1 => Form::new(Operation::ExchangeAdd, Operands::RmReg, width).lockable(),
        0xC3 if mandatory == Mandatory::None => {
            Form::new(Operation::Move, Operands::RmReg, Width::OperandNoWord).memory_only()
        }
        _ if is_group_0f(opcode) => return group_0f(opcode, reg, mandatory),
        _ => return vector(opcode, mandatory),
    })
}

fn bit_test(number: u8, operands: Operands) -> Form {
    let change = match number & 3 {
        0 => BitChange::Keep,
        1 => BitChange::Set,
        2 => BitChange::Reset,
        _ => BitChange::Complement,
    };
    let form = Form::new(Operation::BitTest(change), operands, Width::Operand);
    if change == BitChange::Keep { form } else { form.lockable() }
}

/// Opcodes after 0F that ModRM.reg extends.
fn group_0f(opcode: u8, reg: u8, mandatory: Mandatory) -> Result<Form, NoForm> {
    let hint = Form::new(Operation::Hint, Operands::Rm, Width::Fixed(Size::Byte));
    // With a register in r/m these are fences and the like, which never exit.
    let flush = Form::new(Operation::FlushLine, Operands::Rm, Width::Fixed(Size::Byte));
    Ok(match (opcode, reg, mandatory) {
        (0x01, 4, _) => Form::new(Operation::StoreMachineStatus, Operands::Rm, Width::Operand),
        (0x0D, _, _) => hint,
        (0x18, 0..=3, _) => hint,
        (0xAE, 7, Mandatory::None | Mandatory::P66) | (0xAE, 6, Mandatory::P66) => flush,
        (0xBA, 4..=7, _) => bit_test(reg, Operands::RmImmediate).immediate(Immediate::Byte),
        (0xBA, _, _) => return Err(NoForm::Undefined),
        (0xC7, 1, _) => Form::new(Operation::CompareExchangePair, Operands::Rm, Width::Pair)
            .memory_only()
            .lockable(),
        _ => return Err(NoForm::Unsupported),
    })
}

/// SSE loads and stores.
fn vector(opcode: u8, mandatory: Mandatory) -> Result<Form, NoForm> {
    use Mandatory::{None, P66, PF2, PF3};
    let load = |aligned, size| {
        Form::new(Operation::MoveVector { aligned }, Operands::VectorRm, Width::Fixed(size))
    };
    let store = |aligned, size| {
        Form::new(Operation::MoveVector { aligned }, Operands::RmVector, Width::Fixed(size))
    };
    Ok(match (opcode, mandatory) {
        (0x10, None | P66) => load(false, Size::Octword),
        (0x10, PF2) => load(false, Size::Quadword),
        (0x10, PF3) => load(false, Size::Doubleword),
        (0x11, None | P66) => store(false, Size::Octword),
        (0x11, PF2) => store(false, Size::Quadword),
        (0x11, PF3) => store(false, Size::Doubleword),
        (0x28, None | P66) | (0x6F, P66) => load(true, Size::Octword),
        (0x29 | 0x2B, None | P66) | (0x7F | 0xE7, P66) => store(true, Size::Octword),
        (0x6F, PF3) | (0xF0, PF2) => load(false, Size::Octword),
        (0x7F, PF3) => store(false, Size::Octword),
        (0x6E, P66) => load(false, Size::Quadword).with_width(Width::OperandNoWord),
        (0x7E, P66) => store(false, Size::Quadword).with_width(Width::OperandNoWord),
        (0x7E, PF3) => load(false, Size::Quadword),
        (0xD6, P66) => store(false, Size::Quadword),
        _ => return Err(NoForm::Unsupported),
    })
}

/// The form of three-byte opcode 0F 38 `opcode`.
pub(crate) const fn three_byte(opcode: u8, mandatory: Mandatory) -> Result<Form, NoForm> {
    let swap = Operation::MoveSwapped;
    Ok(match (opcode, mandatory) {
        (0x2A, Mandatory::P66) => Form::new(
            Operation::MoveVector { aligned: true },
            Operands::VectorRm,
            Width::Fixed(Size::Octword),
        )
        .memory_only(),
        (0xF0, Mandatory::None | Mandatory::P66) => {
            Form::new(swap, Operands::RegRm, Width::Operand).memory_only()
        }
        (0xF1, Mandatory::None | Mandatory::P66) => {
            Form::new(swap, Operands::RmReg, Width::Operand).memory_only()
        }
        _ => return Err(NoForm::Unsupported),
    })
}
