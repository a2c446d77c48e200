//! Instructions that use the stack or jump through memory.

use x86::{Register, Registers, SegmentRegister};

use crate::decode::{Base, Instruction, Place};
use crate::exception::Exception;
use crate::machine::{Machine, Progress, Stop};
use crate::memory::PhysicalMemory;
use crate::paging::Access;
use crate::size::{CodeSize, Size};

const STACK_POINTER: Place = Place::Register(Register::Rsp);

impl<C: Registers, M: PhysicalMemory> Machine<'_, C, M> {
    /// Size of the stack pointer (APM vol. 2, 4.7.3).
    fn stack_size(&self) -> Size {
        if self.code_size == CodeSize::Bits64 {
            Size::Quadword
        } else if self.cpu.segment(SegmentRegister::Ss).attributes.is_big() {
            Size::Doubleword
        } else {
            Size::Word
        }
    }

    fn push(&mut self, size: Size, value: u64) -> Result<(), Stop> {
        let stack_size = self.stack_size();
        let pointer = self.register(STACK_POINTER, stack_size);
        let below = pointer.wrapping_sub(u64::from(size.bytes())) & stack_size.mask();
        let span = self.resolve(SegmentRegister::Ss, below, size, Access::Write)?;
        self.write(&span, u128::from(value & size.mask()))?;
        self.move_stack_pointer(stack_size, below);
        Ok(())
    }

    /// A 16-bit stack keeps the upper bits of ESP.
    fn move_stack_pointer(&mut self, stack_size: Size, value: u64) {
        self.set_register(STACK_POINTER, stack_size, value);
    }

    pub(crate) fn push_operand(&mut self, i: &Instruction) -> Result<(), Stop> {
        let value = self.load(i, i.destination, i.size)?;
        self.push(i.size, value)
    }

    /// POP's own address is computed with RSP already raised (APM vol. 3, POP).
    pub(crate) fn pop_operand(&mut self, i: &Instruction) -> Result<(), Stop> {
        let stack_size = self.stack_size();
        let pointer = self.register(STACK_POINTER, stack_size);
        let above = pointer.wrapping_add(u64::from(i.size.bytes())) & stack_size.mask();
        let stack = self.resolve(SegmentRegister::Ss, pointer, i.size, Access::Read)?;
        let Some(memory) = i.memory else {
            let value = self.read(&stack)? as u64;
            self.move_stack_pointer(stack_size, above);
            self.set_register(i.destination, i.size, value);
            return Ok(());
        };
        let mut offset = self.effective_address(i, &memory);
        if memory.base == Some(Base::Register(Register::Rsp)) {
            offset = offset.wrapping_add(u64::from(i.size.bytes())) & i.address_size.mask();
        }
        let target = self.resolve(memory.segment, offset, i.size, Access::Write)?;
        let value = self.read(&stack)?;
        self.write(&target, value)?;
        self.move_stack_pointer(stack_size, above);
        Ok(())
    }

    /// A branch target, checked before it is taken.
    fn branch_target(&mut self, i: &Instruction) -> Result<u64, Stop> {
        let target = self.load(i, i.destination, i.size)?;
        let inside = if self.code_size == CodeSize::Bits64 {
            self.paging.is_canonical(target)
        } else {
            target <= u64::from(self.cpu.segment(SegmentRegister::Cs).limit)
        };
        if inside { Ok(target) } else { Err(Exception::GENERAL_PROTECTION.into()) }
    }

    pub(crate) fn jump(&mut self, i: &Instruction) -> Result<Progress, Stop> {
        let target = self.branch_target(i)?;
        self.cpu.set_rip(target);
        Ok(Progress::Jumped)
    }

    pub(crate) fn call(&mut self, i: &Instruction) -> Result<Progress, Stop> {
        let target = self.branch_target(i)?;
        let next = self.next_rip(i);
        self.push(i.size, next)?;
        self.cpu.set_rip(target);
        Ok(Progress::Jumped)
    }
}
