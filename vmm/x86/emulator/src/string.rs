//! String instructions, with and without REP.

use crate::access::Span;
use crate::alu;
use x86::{Register, Registers, SegmentRegister, rflags};

use crate::decode::{Instruction, Place, Repeat};
use crate::forms::{Arithmetic, StringOperation};
use crate::machine::{Machine, Progress, Stop};
use crate::memory::{PhysicalMemory, Ports};
use crate::paging::Access;
use crate::size::Size;

const COUNT: Place = Place::Register(Register::Rcx);
const SOURCE: Place = Place::Register(Register::Rsi);
const DESTINATION: Place = Place::Register(Register::Rdi);

impl<C: Registers, M: PhysicalMemory> Machine<'_, C, M> {
    pub(crate) fn string(
        &mut self,
        i: &Instruction,
        operation: StringOperation,
    ) -> Result<Progress, Stop> {
        match operation {
            StringOperation::Move => self.repeat(i, Self::move_one),
            StringOperation::Store => self.repeat(i, Self::store_one),
            StringOperation::Load => self.repeat(i, Self::load_one),
            StringOperation::Compare => self.repeat(i, Self::compare_one),
            StringOperation::Scan => self.repeat(i, Self::scan_one),
            StringOperation::In | StringOperation::Out => Err(Stop::Unsupported),
        }
    }

    pub(crate) fn input_string(
        &mut self,
        i: &Instruction,
        ports: &mut impl Ports,
    ) -> Result<Progress, Stop> {
        self.repeat(i, |machine, i| {
            // Reading a port may change its device, so the destination is checked first.
            let span = machine.destination(i, Access::Write)?;
            let port = machine.cpu.gpr(Register::Rdx) as u16;
            let value = ports.read_port(port, i.size.bytes());
            machine.write(&span, u128::from(value))?;
            machine.advance(i, DESTINATION);
            Ok(true)
        })
    }

    pub(crate) fn output_string(
        &mut self,
        i: &Instruction,
        ports: &mut impl Ports,
    ) -> Result<Progress, Stop> {
        self.repeat(i, |machine, i| {
            let value = machine.source_value(i)?;
            let port = machine.cpu.gpr(Register::Rdx) as u16;
            ports.write_port(port, i.size.bytes(), value as u32);
            machine.advance(i, SOURCE);
            Ok(true)
        })
    }

    /// Runs `step` as often as REP, the count register and the limits allow.
    ///
    /// Registers are updated after each iteration, so that a fault in the next one leaves them
    /// correct. `step` returns whether REPE or REPNE continues.
    fn repeat(
        &mut self,
        i: &Instruction,
        mut step: impl FnMut(&mut Self, &Instruction) -> Result<bool, Stop>,
    ) -> Result<Progress, Stop> {
        if i.repeat == Repeat::None {
            step(self, i)?;
            return Ok(Progress::Next);
        }
        // A single-step trap comes after each iteration (APM vol. 2, 13.1.4).
        let single = self.cpu.rflags() & rflags::TF != 0;
        let bound = if single { 1 } else { self.limits.iterations.max(1) };
        for _ in 0..bound {
            let count = self.register(COUNT, i.address_size);
            if count == 0 {
                return Ok(Progress::Next);
            }
            let goes_on = step(self, i)?;
            self.set_register(COUNT, i.address_size, count - 1);
            if !goes_on || count == 1 {
                return Ok(Progress::Next);
            }
        }
        Ok(Progress::Unfinished)
    }

    /// Moves an index register by the operand's size, in the direction of RFLAGS.DF.
    fn advance(&mut self, i: &Instruction, index: Place) {
        let step = u64::from(i.size.bytes());
        let old = self.register(index, i.address_size);
        let down = self.cpu.rflags() & rflags::DF != 0;
        let new = if down { old.wrapping_sub(step) } else { old.wrapping_add(step) };
        self.set_register(index, i.address_size, new);
    }

    fn source(&mut self, i: &Instruction) -> Result<Span, Stop> {
        let segment = i.segment.unwrap_or(SegmentRegister::Ds);
        let offset = self.register(SOURCE, i.address_size);
        self.resolve(segment, offset, i.size, Access::Read)
    }

    fn source_value(&mut self, i: &Instruction) -> Result<u64, Stop> {
        let span = self.source(i)?;
        Ok(self.read(&span)? as u64)
    }

    /// ES:RDI, which no prefix overrides.
    fn destination(&mut self, i: &Instruction, access: Access) -> Result<Span, Stop> {
        let offset = self.register(DESTINATION, i.address_size);
        self.resolve(SegmentRegister::Es, offset, i.size, access)
    }

    fn move_one(&mut self, i: &Instruction) -> Result<bool, Stop> {
        let source = self.source(i)?;
        let destination = self.destination(i, Access::Write)?;
        let value = self.read(&source)?;
        self.write(&destination, value)?;
        self.advance(i, SOURCE);
        self.advance(i, DESTINATION);
        Ok(true)
    }

    fn store_one(&mut self, i: &Instruction) -> Result<bool, Stop> {
        let destination = self.destination(i, Access::Write)?;
        let value = self.register(Place::Register(Register::Rax), i.size);
        self.write(&destination, u128::from(value))?;
        self.advance(i, DESTINATION);
        Ok(true)
    }

    fn load_one(&mut self, i: &Instruction) -> Result<bool, Stop> {
        let value = self.source_value(i)?;
        self.set_register(Place::Register(Register::Rax), i.size, value);
        self.advance(i, SOURCE);
        Ok(true)
    }

    fn compare_one(&mut self, i: &Instruction) -> Result<bool, Stop> {
        let source = self.source(i)?;
        let destination = self.destination(i, Access::Read)?;
        let a = self.read(&source)? as u64;
        let b = self.read(&destination)? as u64;
        self.advance(i, SOURCE);
        self.advance(i, DESTINATION);
        Ok(self.compare(i, i.size, a, b))
    }

    fn scan_one(&mut self, i: &Instruction) -> Result<bool, Stop> {
        let destination = self.destination(i, Access::Read)?;
        let a = self.register(Place::Register(Register::Rax), i.size);
        let b = self.read(&destination)? as u64;
        self.advance(i, DESTINATION);
        Ok(self.compare(i, i.size, a, b))
    }

    /// Sets the flags of `a - b`; returns whether the prefix continues.
    fn compare(&mut self, i: &Instruction, size: Size, a: u64, b: u64) -> bool {
        self.set_status(alu::arithmetic(Arithmetic::Cmp, size, a, b, 0).1);
        match i.repeat {
            Repeat::WhileEqual => a == b,
            Repeat::WhileNotEqual => a != b,
            Repeat::None => false,
        }
    }
}
