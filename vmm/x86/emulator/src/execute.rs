//! Execution of decoded instructions.

use crate::access::Span;
use crate::alu;
use x86::{Register, Registers, cr0, cr4, rflags};

use crate::decode::{Instruction, Place};
use crate::exception::Exception;
use crate::forms::{Arithmetic, BitChange, Operation};
use crate::machine::{Machine, Progress, Stop};
use crate::memory::PhysicalMemory;
use crate::paging::Access;
use crate::size::Size;

/// A destination that is ready to be changed.
#[derive(Clone, Copy)]
enum Target {
    Span(Span),
    Place(Place),
}

impl<C: Registers, M: PhysicalMemory> Machine<'_, C, M> {
    /// Executes `i`; registers change only when nothing can stop it any more.
    pub(crate) fn execute(&mut self, i: &Instruction) -> Result<Progress, Stop> {
        match i.operation {
            Operation::Move => self.store(i, i.source, i.size)?,
            Operation::MoveExtend { from, signed } => self.move_extend(i, from, signed)?,
            Operation::MoveSwapped => self.move_swapped(i)?,
            Operation::Arithmetic(operation) => self.arithmetic(i, operation)?,
            Operation::Test => self.test(i)?,
            Operation::Not => {
                self.modify(i, |old, flags| (!old & i.size.mask(), flags))?;
            }
            Operation::Negate => {
                self.modify(i, |old, _| alu::negate(i.size, old))?;
            }
            Operation::Increment => {
                self.modify(i, |old, flags| alu::increment(i.size, old, flags))?;
            }
            Operation::Decrement => {
                self.modify(i, |old, flags| alu::decrement(i.size, old, flags))?;
            }
            Operation::Shift(operation) => {
                let count = self.shift_count(i);
                self.modify(i, |old, flags| alu::shift(operation, i.size, old, count, flags))?;
            }
            Operation::Exchange => self.exchange(i)?,
            Operation::CompareExchange => self.compare_exchange(i)?,
            Operation::CompareExchangePair => self.compare_exchange_pair(i)?,
            Operation::ExchangeAdd => self.exchange_add(i)?,
            Operation::BitTest(change) => self.bit_test(i, change)?,
            Operation::SetCondition(code) => {
                let holds = alu::condition(code, self.cpu.rflags());
                self.store_value(i, u64::from(holds))?;
            }
            Operation::MoveCondition(code) => self.move_condition(i, code)?,
            Operation::Push => self.push_operand(i)?,
            Operation::Pop => self.pop_operand(i)?,
            Operation::Jump => return self.jump(i),
            Operation::Call => return self.call(i),
            Operation::String(operation) => return self.string(i, operation),
            Operation::MoveVector { aligned } => self.move_vector(i, aligned)?,
            Operation::FlushLine => {
                self.operand(i, Size::Byte, Access::Read)?;
            }
            Operation::Hint => {}
            Operation::StoreMachineStatus => self.store_machine_status(i)?,
        }
        Ok(Progress::Next)
    }

    /// The instruction's memory operand, translated.
    fn operand(&mut self, i: &Instruction, size: Size, access: Access) -> Result<Span, Stop> {
        let memory = i.memory.ok_or(Stop::Unsupported)?;
        let offset = self.effective_address(i, &memory);
        self.resolve(memory.segment, offset, size, access)
    }

    pub(crate) fn register(&self, place: Place, size: Size) -> u64 {
        match place {
            Place::Register(register) => self.cpu.gpr(register) & size.mask(),
            Place::HighByte(register) => (self.cpu.gpr(register) >> 8) & 0xFF,
            _ => 0,
        }
    }

    /// Writes a register as an instruction does: 32 bits clear the upper half, fewer keep it.
    pub(crate) fn set_register(&mut self, place: Place, size: Size, value: u64) {
        match place {
            Place::Register(register) => {
                let kept = match size {
                    Size::Byte | Size::Word => self.cpu.gpr(register) & !size.mask(),
                    _ => 0,
                };
                self.cpu.set_gpr(register, kept | (value & size.mask()));
            }
            Place::HighByte(register) => {
                let kept = self.cpu.gpr(register) & !0xFF00;
                self.cpu.set_gpr(register, kept | ((value & 0xFF) << 8));
            }
            _ => {}
        }
    }

    /// Value of a source operand.
    pub(crate) fn load(&mut self, i: &Instruction, place: Place, size: Size) -> Result<u64, Stop> {
        match place {
            Place::Memory => {
                let span = self.operand(i, size, Access::Read)?;
                Ok(self.read(&span)? as u64)
            }
            Place::Immediate => Ok(i.immediate & size.mask()),
            place => Ok(self.register(place, size)),
        }
    }

    fn store(&mut self, i: &Instruction, source: Place, size: Size) -> Result<(), Stop> {
        let value = self.load(i, source, size)?;
        self.store_value(i, value)
    }

    /// Writes the destination without reading it.
    pub(crate) fn store_value(&mut self, i: &Instruction, value: u64) -> Result<(), Stop> {
        if i.destination == Place::Memory {
            let span = self.operand(i, i.size, Access::Write)?;
            self.write(&span, u128::from(value & i.size.mask()))?;
        } else {
            self.set_register(i.destination, i.size, value);
        }
        Ok(())
    }

    /// The destination, checked for a write.
    fn target(&mut self, i: &Instruction) -> Result<Target, Stop> {
        Ok(match i.destination {
            Place::Memory => Target::Span(self.operand(i, i.size, Access::Write)?),
            place => Target::Place(place),
        })
    }

    /// Replaces a target's value; returns the old one.
    fn replace(
        &mut self,
        i: &Instruction,
        target: Target,
        lock: bool,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, Stop> {
        match target {
            Target::Span(span) => {
                let old = self.update(&span, lock, |old| u128::from(change(old as u64)))?;
                Ok(old as u64)
            }
            Target::Place(place) => {
                let old = self.register(place, i.size);
                self.set_register(place, i.size, change(old));
                Ok(old)
            }
        }
    }

    /// Reads, changes and writes the destination; `change` returns the new value and the status
    /// flags.
    fn modify(
        &mut self,
        i: &Instruction,
        change: impl Fn(u64, u64) -> (u64, u64),
    ) -> Result<(), Stop> {
        let flags = self.cpu.rflags() & rflags::STATUS;
        let target = self.target(i)?;
        let old = self.replace(i, target, i.lock, |old| change(old, flags).0)?;
        self.set_status(change(old, flags).1);
        Ok(())
    }

    pub(crate) fn set_status(&mut self, flags: u64) {
        let kept = self.cpu.rflags() & !rflags::STATUS;
        self.cpu.set_rflags(kept | (flags & rflags::STATUS));
    }

    fn move_extend(&mut self, i: &Instruction, from: Size, signed: bool) -> Result<(), Stop> {
        let value = self.load(i, i.source, from)?;
        self.store_value(i, if signed { from.sign_extend(value) } else { value })
    }

    fn move_swapped(&mut self, i: &Instruction) -> Result<(), Stop> {
        let value = self.load(i, i.source, i.size)?;
        let unused = 64 - i.size.bits().min(64);
        self.store_value(i, value.swap_bytes() >> unused)
    }

    fn arithmetic(&mut self, i: &Instruction, operation: Arithmetic) -> Result<(), Stop> {
        if operation == Arithmetic::Cmp {
            let a = self.load(i, i.destination, i.size)?;
            let b = self.load(i, i.source, i.size)?;
            self.set_status(alu::arithmetic(operation, i.size, a, b, 0).1);
            return Ok(());
        }
        let b = self.load(i, i.source, i.size)?;
        self.modify(i, |a, flags| alu::arithmetic(operation, i.size, a, b, flags))
    }

    fn test(&mut self, i: &Instruction) -> Result<(), Stop> {
        let a = self.load(i, i.destination, i.size)?;
        let b = self.load(i, i.source, i.size)?;
        self.set_status(alu::arithmetic(Arithmetic::And, i.size, a, b, 0).1);
        Ok(())
    }

    fn shift_count(&self, i: &Instruction) -> u8 {
        match i.source {
            Place::Immediate => i.immediate as u8,
            Place::None => 1,
            place => self.register(place, Size::Byte) as u8,
        }
    }

    /// XCHG with memory is atomic without LOCK too (APM vol. 3, XCHG).
    fn exchange(&mut self, i: &Instruction) -> Result<(), Stop> {
        let new = self.register(i.source, i.size);
        let target = self.target(i)?;
        let old = self.replace(i, target, true, |_| new)?;
        self.set_register(i.source, i.size, old);
        Ok(())
    }

    /// CMPXCHG writes its destination in any case (APM vol. 3, CMPXCHG).
    fn compare_exchange(&mut self, i: &Instruction) -> Result<(), Stop> {
        let accumulator = Place::Register(Register::Rax);
        let expected = self.register(accumulator, i.size);
        let new = self.register(i.source, i.size);
        let target = self.target(i)?;
        let old = self.replace(i, target, i.lock, |old| if old == expected { new } else { old })?;
        if old != expected {
            self.set_register(accumulator, i.size, old);
        }
        self.set_status(alu::arithmetic(Arithmetic::Cmp, i.size, expected, old, 0).1);
        Ok(())
    }

    /// CMPXCHG8B and CMPXCHG16B, which take both halves from register pairs.
    fn compare_exchange_pair(&mut self, i: &Instruction) -> Result<(), Stop> {
        let half = if i.size == Size::Octword { Size::Quadword } else { Size::Doubleword };
        let pair = |machine: &Self, high, low| {
            let high = machine.register(Place::Register(high), half);
            let low = machine.register(Place::Register(low), half);
            (u128::from(high) << half.bits()) | u128::from(low)
        };
        let expected = pair(self, Register::Rdx, Register::Rax);
        let new = pair(self, Register::Rcx, Register::Rbx);
        let span = self.operand(i, i.size, Access::Write)?;
        if i.size == Size::Octword && !span.is_aligned() {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        let old = self.update(&span, i.lock, |old| if old == expected { new } else { old })?;
        let mut flags = self.cpu.rflags() & !rflags::ZF;
        if old == expected {
            flags |= rflags::ZF;
        } else {
            self.set_register(Place::Register(Register::Rax), half, old as u64);
            let high = (old >> half.bits()) as u64;
            self.set_register(Place::Register(Register::Rdx), half, high);
        }
        self.cpu.set_rflags(flags);
        Ok(())
    }

    fn exchange_add(&mut self, i: &Instruction) -> Result<(), Stop> {
        let b = self.register(i.source, i.size);
        let sum = |a| alu::arithmetic(Arithmetic::Add, i.size, a, b, 0);
        let target = self.target(i)?;
        let old = self.replace(i, target, i.lock, |old| sum(old).0)?;
        // With two registers the sum goes last, so that XADD AX, AX doubles AX.
        self.set_register(i.source, i.size, old);
        if let Target::Place(place) = target {
            self.set_register(place, i.size, sum(old).0);
        }
        self.set_status(sum(old).1);
        Ok(())
    }

    /// A register's bit offset is signed and reaches beyond the operand (APM vol. 3, BT).
    fn bit_test(&mut self, i: &Instruction, change: BitChange) -> Result<(), Stop> {
        let offset = match i.source {
            Place::Immediate => i.immediate,
            place => i.size.sign_extend(self.register(place, i.size)),
        };
        let bit = 1_u64 << (offset & u64::from(i.size.bits() - 1) & 63);
        let target = self.bit_target(i, change, offset)?;
        let apply = |old| match change {
            BitChange::Keep => old,
            BitChange::Set => old | bit,
            BitChange::Reset => old & !bit,
            BitChange::Complement => old ^ bit,
        };
        let old = match (change, target) {
            (BitChange::Keep, Target::Span(span)) => self.read(&span)? as u64,
            (BitChange::Keep, Target::Place(place)) => self.register(place, i.size),
            _ => self.replace(i, target, i.lock, apply)?,
        };
        let carry = if old & bit != 0 { rflags::CF } else { 0 };
        let flags = self.cpu.rflags() & !rflags::CF;
        self.cpu.set_rflags(flags | carry);
        Ok(())
    }

    fn bit_target(
        &mut self,
        i: &Instruction,
        change: BitChange,
        offset: u64,
    ) -> Result<Target, Stop> {
        let Place::Memory = i.destination else { return Ok(Target::Place(i.destination)) };
        let memory = i.memory.ok_or(Stop::Unsupported)?;
        let mut at = self.effective_address(i, &memory);
        if i.source != Place::Immediate {
            let units = offset.cast_signed() >> (i.size.log2() + 3);
            let bytes = units.cast_unsigned() << i.size.log2();
            at = at.wrapping_add(bytes) & i.address_size.mask();
        }
        let access = if change == BitChange::Keep { Access::Read } else { Access::Write };
        Ok(Target::Span(self.resolve(memory.segment, at, i.size, access)?))
    }

    /// CMOVcc reads its source even if the condition is false, and a 32-bit destination loses its
    /// upper half then (APM vol. 3, CMOVcc).
    fn move_condition(&mut self, i: &Instruction, code: u8) -> Result<(), Stop> {
        let value = self.load(i, i.source, i.size)?;
        let holds = alu::condition(code, self.cpu.rflags());
        let kept = self.register(i.destination, i.size);
        self.set_register(i.destination, i.size, if holds { value } else { kept });
        Ok(())
    }

    /// SMSW writes one word to memory, whatever the operand size (APM vol. 3, SMSW).
    fn store_machine_status(&mut self, i: &Instruction) -> Result<(), Stop> {
        if self.cpu.cr4() & cr4::UMIP != 0 && self.cpu.cpl() != 0 {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        let status = self.cpu.cr0();
        if i.destination == Place::Memory {
            let span = self.operand(i, Size::Word, Access::Write)?;
            return Ok(self.write(&span, u128::from(status & Size::Word.mask()))?);
        }
        self.set_register(i.destination, i.size, status);
        Ok(())
    }

    fn move_vector(&mut self, i: &Instruction, aligned: bool) -> Result<(), Stop> {
        if self.cpu.cr0() & cr0::EM != 0 || self.cpu.cr4() & cr4::OSFXSR == 0 {
            return Err(Exception::INVALID_OPCODE.into());
        }
        if self.cpu.cr0() & cr0::TS != 0 {
            return Err(Exception::DEVICE_NOT_AVAILABLE.into());
        }
        let access = if i.destination == Place::Memory { Access::Write } else { Access::Read };
        let span = self.operand(i, i.size, access)?;
        if aligned && !span.is_aligned() {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        match (i.destination, i.source) {
            (Place::Memory, Place::Vector(number)) => {
                self.write(&span, self.cpu.xmm(number & 15))?;
            }
            (Place::Vector(number), _) => {
                let value = self.read(&span)?;
                self.cpu.set_xmm(number & 15, value);
            }
            _ => return Err(Stop::Unsupported),
        }
        Ok(())
    }
}
