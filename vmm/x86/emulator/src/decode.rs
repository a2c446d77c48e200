//! Instruction decoder for the forms that access memory.
//!
//! A pure function of bytes and mode. It decodes no input wrongly; the worst result is
//! `Unsupported`.

use x86::{Register, SegmentRegister};

use crate::fetch::LONGEST;
use crate::forms::{
    self, Form, Immediate, Mandatory, NoForm, Operands, Operation, StringOperation, Width,
};
use crate::size::{CodeSize, Size};

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None.
    None,
    /// A general-purpose register, or its low part.
    Register(Register),
    /// Bits 15–8 of a general-purpose register: AH, CH, DH or BH.
    HighByte(Register),
    /// SSE register, 0 to 15.
    Vector(u8),
    /// The instruction's memory operand.
    Memory,
    /// The instruction's immediate.
    Immediate,
}

/// Base of a memory operand's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A general-purpose register.
    Register(Register),
    /// Address of the next instruction.
    NextRip,
}

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOperand {
    /// Segment, with any override.
    pub segment: SegmentRegister,
    /// Base.
    pub base: Option<Base>,
    /// Index.
    pub index: Option<Register>,
    /// Logarithm of the index's factor, 0 to 3.
    pub scale: u8,
    /// Displacement, extended with its sign.
    pub displacement: u64,
}

/// REP prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// None.
    None,
    /// F3: REP or REPE.
    WhileEqual,
    /// F2: REPNE.
    WhileNotEqual,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub operation: Operation,
    /// Its length in bytes, 1 to 15.
    pub length: u8,
    /// Size of its operands.
    pub size: Size,
    /// Size of addresses and of the count register.
    pub address_size: Size,
    /// First operand.
    pub destination: Place,
    /// Second operand.
    pub source: Place,
    /// Memory operand, except those of string instructions and of the stack.
    pub memory: Option<MemoryOperand>,
    /// Immediate, extended with its sign.
    pub immediate: u64,
    /// LOCK prefix.
    pub lock: bool,
    /// REP prefix.
    pub repeat: Repeat,
    /// Segment override.
    pub segment: Option<SegmentRegister>,
}

/// The reason why bytes can not be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They end too early.
    Incomplete,
    /// The instruction is longer than 15 bytes: #GP(0).
    TooLong,
    /// They are no instruction: #UD.
    Undefined,
    /// They may be a valid instruction, but not one that the emulator knows.
    Unsupported,
}

impl From<NoForm> for DecodeError {
    fn from(no_form: NoForm) -> Self {
        match no_form {
            NoForm::Undefined => Self::Undefined,
            NoForm::Unsupported => Self::Unsupported,
        }
    }
}

/// Decodes the instruction that `bytes` begin with.
///
/// # Errors
/// [`DecodeError`]; after `Incomplete`, more bytes give another answer.
pub fn decode(bytes: &[u8], code_size: CodeSize) -> Result<Instruction, DecodeError> {
    let mut decoder = Decoder { bytes, position: 0, code_size, prefixes: Prefixes::NONE };
    let opcode = decoder.prefixes()?;
    let (form, number) = decoder.form(opcode)?;
    decoder.operands(form, number)
}

#[derive(Clone, Copy)]
struct Prefixes {
    operand_size: bool,
    address_size: bool,
    lock: bool,
    repeat: Repeat,
    segment: Option<SegmentRegister>,
    rex: Option<u8>,
}

impl Prefixes {
    const NONE: Self = Self {
        operand_size: false,
        address_size: false,
        lock: false,
        repeat: Repeat::None,
        segment: None,
        rex: None,
    };
    const REX_W: u8 = 8;
    const REX_R: u8 = 4;
    const REX_X: u8 = 2;
    const REX_B: u8 = 1;

    fn rex(&self, bit: u8) -> bool {
        self.rex.unwrap_or(0) & bit != 0
    }

    /// The number of a register whose fourth bit is in REX.
    fn extend(&self, number: u8, bit: u8) -> u8 {
        (number & 7) | if self.rex(bit) { 8 } else { 0 }
    }

    const fn mandatory(&self) -> Mandatory {
        match self.repeat {
            Repeat::WhileEqual => Mandatory::PF3,
            Repeat::WhileNotEqual => Mandatory::PF2,
            Repeat::None if self.operand_size => Mandatory::P66,
            Repeat::None => Mandatory::None,
        }
    }
}

/// ModRM with the addressing that follows it.
struct RegisterOrMemory {
    reg: u8,
    rm: u8,
    memory: Option<MemoryOperand>,
}

struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
    code_size: CodeSize,
    prefixes: Prefixes,
}

impl Decoder<'_> {
    fn peek(&self) -> Result<u8, DecodeError> {
        if self.position >= LONGEST {
            return Err(DecodeError::TooLong);
        }
        self.bytes.get(self.position).copied().ok_or(DecodeError::Incomplete)
    }

    fn next(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.position += 1;
        Ok(byte)
    }

    fn is_long(&self) -> bool {
        self.code_size == CodeSize::Bits64
    }

    /// Consumes all prefixes; returns the opcode after them (APM vol. 3, 1.2).
    fn prefixes(&mut self) -> Result<u8, DecodeError> {
        loop {
            let byte = self.next()?;
            let p = &mut self.prefixes;
            // A REX that is not the last prefix is ignored (APM vol. 3, 1.2.7).
            let rex = p.rex.take();
            match byte {
                0x26 => p.override_segment(SegmentRegister::Es, self.code_size),
                0x2E => p.override_segment(SegmentRegister::Cs, self.code_size),
                0x36 => p.override_segment(SegmentRegister::Ss, self.code_size),
                0x3E => p.override_segment(SegmentRegister::Ds, self.code_size),
                0x64 => p.segment = Some(SegmentRegister::Fs),
                0x65 => p.segment = Some(SegmentRegister::Gs),
                0x66 => p.operand_size = true,
                0x67 => p.address_size = true,
                0xF0 => p.lock = true,
                0xF2 => p.repeat = Repeat::WhileNotEqual,
                0xF3 => p.repeat = Repeat::WhileEqual,
                0x40..=0x4F if self.code_size == CodeSize::Bits64 => p.rex = Some(byte),
                _ => {
                    p.rex = rex;
                    return Ok(byte);
                }
            }
        }
    }

    /// The opcode's form, with the opcode's low bits for a register in it.
    fn form(&mut self, opcode: u8) -> Result<(Form, u8), DecodeError> {
        let mandatory = self.prefixes.mandatory();
        if opcode != 0x0F {
            let reg = self.group_reg(forms::is_group(opcode))?;
            return match forms::one_byte(opcode, reg, self.is_long()) {
                // INC and DEC with the register in the opcode touch no memory; so do 40–4F.
                Ok(form) => Ok((form, opcode & 7)),
                Err(no_form) => Err(no_form.into()),
            };
        }
        let second = self.next()?;
        if second == 0x38 {
            return Ok((forms::three_byte(self.next()?, mandatory)?, 0));
        }
        let reg = self.group_reg(forms::is_group_0f(second))?;
        Ok((forms::two_byte(second, reg, mandatory)?, 0))
    }

    fn group_reg(&self, is_group: bool) -> Result<u8, DecodeError> {
        if is_group { Ok((self.peek()? >> 3) & 7) } else { Ok(0) }
    }

    fn size(&self, width: Width) -> Size {
        let p = &self.prefixes;
        let plain = match (self.code_size, p.operand_size) {
            (CodeSize::Bits64, _) if p.rex(Prefixes::REX_W) => Size::Quadword,
            (CodeSize::Bits16, false) | (CodeSize::Bits32 | CodeSize::Bits64, true) => Size::Word,
            _ => Size::Doubleword,
        };
        match width {
            Width::Fixed(size) => size,
            Width::Operand => plain,
            Width::OperandNoWord => plain.max(Size::Doubleword),
            Width::OperandNoQuad => plain.min(Size::Doubleword),
            Width::Stack if self.is_long() && plain != Size::Word => Size::Quadword,
            Width::Stack => plain,
            Width::Pair if p.rex(Prefixes::REX_W) => Size::Octword,
            Width::Pair => Size::Quadword,
        }
    }

    fn address_size(&self) -> Size {
        match (self.code_size, self.prefixes.address_size) {
            (CodeSize::Bits64, false) => Size::Quadword,
            (CodeSize::Bits64, true) | (CodeSize::Bits32, false) | (CodeSize::Bits16, true) => {
                Size::Doubleword
            }
            (CodeSize::Bits32, true) | (CodeSize::Bits16, false) => Size::Word,
        }
    }

    fn operands(&mut self, form: Form, number: u8) -> Result<Instruction, DecodeError> {
        let size = self.size(form.width);
        let form = form.narrowed(size);
        let rm = if has_modrm(form.operands) { Some(self.modrm()?) } else { None };
        let mut memory = rm.as_ref().and_then(|rm| rm.memory);
        let (destination, source) = match form.operands {
            Operands::OffsetAccumulator | Operands::AccumulatorOffset => {
                memory = Some(self.offset_operand()?);
                self.places(form, size, None, number)
            }
            _ => self.places(form, size, rm.as_ref(), number),
        };
        let immediate = self.immediate(form.immediate, size)?;
        let instruction = Instruction {
            operation: form.operation,
            length: self.position as u8,
            size,
            address_size: self.address_size(),
            destination,
            source,
            memory,
            immediate,
            lock: self.prefixes.lock,
            repeat: self.prefixes.repeat,
            segment: self.prefixes.segment,
        };
        check(form, &instruction).map(|()| instruction)
    }

    /// Destination and source of a form.
    fn places(
        &self,
        form: Form,
        size: Size,
        rm: Option<&RegisterOrMemory>,
        number: u8,
    ) -> (Place, Place) {
        let accumulator = Place::Register(Register::Rax);
        let (reg_number, rm_number, in_memory) =
            rm.map_or((0, 0, false), |rm| (rm.reg, rm.rm, rm.memory.is_some()));
        let rm_size = match form.operation {
            Operation::MoveExtend { from, .. } => from,
            _ => size,
        };
        let reg = self.register(self.prefixes.extend(reg_number, Prefixes::REX_R), size);
        let rm = if in_memory {
            Place::Memory
        } else {
            self.register(self.prefixes.extend(rm_number, Prefixes::REX_B), rm_size)
        };
        let vector = Place::Vector(self.prefixes.extend(reg_number, Prefixes::REX_R));
        match form.operands {
            Operands::None => (Place::None, Place::None),
            Operands::RmReg => (rm, reg),
            Operands::RegRm => (reg, rm),
            Operands::RmImmediate => (rm, Place::Immediate),
            Operands::RmOne | Operands::Rm => (rm, Place::None),
            Operands::RmCl => (rm, Place::Register(Register::Rcx)),
            Operands::AccumulatorImmediate => (accumulator, Place::Immediate),
            Operands::AccumulatorOffset => (accumulator, Place::Memory),
            Operands::OffsetAccumulator => (Place::Memory, accumulator),
            Operands::OpcodeRegister => {
                let number = self.prefixes.extend(number, Prefixes::REX_B);
                (Place::Register(Register::from_number(number)), Place::None)
            }
            Operands::Immediate => (Place::Immediate, Place::None),
            Operands::VectorRm => (vector, rm),
            Operands::RmVector => (rm, vector),
        }
    }

    /// A register operand; without REX, byte registers 4 to 7 are AH, CH, DH and BH.
    fn register(&self, number: u8, size: Size) -> Place {
        if size == Size::Byte && self.prefixes.rex.is_none() && number & 4 != 0 {
            Place::HighByte(Register::from_number(number & 3))
        } else {
            Place::Register(Register::from_number(number))
        }
    }

    fn modrm(&mut self) -> Result<RegisterOrMemory, DecodeError> {
        let byte = self.next()?;
        let (mode, reg, rm) = (byte >> 6, (byte >> 3) & 7, byte & 7);
        let memory = match (mode, self.address_size()) {
            (3, _) => None,
            (_, Size::Word) => Some(self.address_16(mode, rm)?),
            _ => Some(self.address_32(mode, rm)?),
        };
        Ok(RegisterOrMemory { reg, rm, memory })
    }

    /// 16-bit addressing (APM vol. 3, table A-35).
    fn address_16(&mut self, mode: u8, rm: u8) -> Result<MemoryOperand, DecodeError> {
        use Register::{Rbp, Rbx, Rdi, Rsi};
        let (base, index) = match rm {
            0 => (Some(Rbx), Some(Rsi)),
            1 => (Some(Rbx), Some(Rdi)),
            2 => (Some(Rbp), Some(Rsi)),
            3 => (Some(Rbp), Some(Rdi)),
            4 => (Some(Rsi), None),
            5 => (Some(Rdi), None),
            6 if mode == 0 => (None, None),
            6 => (Some(Rbp), None),
            _ => (Some(Rbx), None),
        };
        let displacement = match mode {
            1 => self.little_endian(Size::Byte)?,
            2 => self.little_endian(Size::Word)?,
            _ if base.is_none() => self.little_endian(Size::Word)?,
            _ => 0,
        };
        Ok(self.memory_operand(base.map(Base::Register), index, 0, displacement))
    }

    /// 32-bit and 64-bit addressing, with SIB (APM vol. 3, 1.4).
    fn address_32(&mut self, mode: u8, rm: u8) -> Result<MemoryOperand, DecodeError> {
        let (mut base_number, mut index, mut scale) = (rm, None, 0);
        if rm == 4 {
            let sib = self.next()?;
            let number = self.prefixes.extend(sib >> 3, Prefixes::REX_X);
            index = (number != 4).then(|| Register::from_number(number));
            scale = sib >> 6;
            base_number = sib & 7;
        }
        let base = if mode == 0 && base_number == 5 {
            // Without SIB, 64-bit mode makes this RIP-relative.
            (self.is_long() && rm == 5).then_some(Base::NextRip)
        } else {
            let number = self.prefixes.extend(base_number, Prefixes::REX_B);
            Some(Base::Register(Register::from_number(number)))
        };
        let displacement = match mode {
            1 => self.little_endian(Size::Byte)?,
            2 => self.little_endian(Size::Doubleword)?,
            _ if base_number == 5 => self.little_endian(Size::Doubleword)?,
            _ => 0,
        };
        Ok(self.memory_operand(base, index, scale, displacement))
    }

    /// The address in the instruction itself (MOV A0–A3); it is not sign-extended.
    fn offset_operand(&mut self) -> Result<MemoryOperand, DecodeError> {
        let size = self.address_size();
        let offset = self.little_endian(size)? & size.mask();
        Ok(self.memory_operand(None, None, 0, offset))
    }

    fn memory_operand(
        &self,
        base: Option<Base>,
        index: Option<Register>,
        scale: u8,
        displacement: u64,
    ) -> MemoryOperand {
        let on_stack = matches!(base, Some(Base::Register(Register::Rsp | Register::Rbp)));
        let default = if on_stack { SegmentRegister::Ss } else { SegmentRegister::Ds };
        let segment = self.prefixes.segment.unwrap_or(default);
        MemoryOperand { segment, base, index, scale, displacement }
    }

    fn immediate(&mut self, immediate: Immediate, size: Size) -> Result<u64, DecodeError> {
        match immediate {
            Immediate::None => Ok(0),
            Immediate::Byte => self.little_endian(Size::Byte),
            Immediate::Operand => self.little_endian(size.min(Size::Doubleword)),
        }
    }

    /// The next bytes as a number with its sign extended.
    fn little_endian(&mut self, size: Size) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..size.bits()).step_by(8) {
            value |= u64::from(self.next()?) << (shift & 63);
        }
        Ok(size.sign_extend(value))
    }
}

impl Prefixes {
    /// 64-bit mode ignores these overrides (APM vol. 3, 1.2.4).
    fn override_segment(&mut self, segment: SegmentRegister, code_size: CodeSize) {
        if code_size != CodeSize::Bits64 {
            self.segment = Some(segment);
        }
    }
}

const fn has_modrm(operands: Operands) -> bool {
    !matches!(
        operands,
        Operands::None
            | Operands::AccumulatorImmediate
            | Operands::AccumulatorOffset
            | Operands::OffsetAccumulator
            | Operands::OpcodeRegister
            | Operands::Immediate
    )
}

/// Combinations that are undefined, and those without any memory operand to emulate.
fn check(form: Form, i: &Instruction) -> Result<(), DecodeError> {
    let writes_memory = i.destination == Place::Memory;
    if i.lock && !(form.lockable && writes_memory) {
        return Err(DecodeError::Undefined);
    }
    if form.memory_only && i.memory.is_none() {
        return Err(DecodeError::Undefined);
    }
    match form.operation {
        Operation::MoveVector { .. } | Operation::FlushLine if i.memory.is_none() => {
            Err(DecodeError::Unsupported)
        }
        Operation::String(StringOperation::In | StringOperation::Out) => Ok(()),
        _ => Ok(()),
    }
}
