//! The instructions that AMD-V lacks: VMGEXIT, PVALIDATE, RMPADJUST, RMPQUERY.
//!
//! On a CPU without SEV-SNP, VMGEXIT is a VMMCALL with a prefix, and the other three are undefined.

use drydock_rmp::{Adjustment, Changed, Fault, GuestPage, Outcome, Rights, Size};
use emulator::{Access, Exception, Paging, WalkError};
use guest_memory::GuestMemory;
use snp::exit::{ExitCode, NestedPageFault};
use snp::instruction::{Outcome as Code, PageSize, Permissions, opcode};
use x86::{ModeRegisters, Register, rflags};

use crate::cpu::Cpu;
use crate::exit::{Disposition, VcInfo};

/// Bytes of each of these instructions.
const LENGTH: u64 = 4;

/// Guest pages whose state has changed: every level's tables of them are to be computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    /// The first page.
    pub start: GuestPage,
    /// How many pages.
    pub pages: u32,
    /// Something may have been taken away: it counts as gone when every CPU has exited since.
    pub is_taken: bool,
}

/// What an instruction has done.
struct Done<T> {
    code: Code,
    result: Option<T>,
}

impl<C: ModeRegisters, M: GuestMemory> Cpu<'_, '_, C, M> {
    /// VMMCALL, or VMGEXIT.
    pub(crate) fn call(&mut self) -> Disposition {
        let (bytes, count) = self.window();
        if count == bytes.len() && [opcode::VMGEXIT, opcode::VMGEXIT_REPNE].contains(&bytes) {
            self.advance();
            return Disposition::automatic(ExitCode::VMGEXIT, 0, 0);
        }
        Disposition::vc(ExitCode::VMMCALL, 0, 0)
    }

    /// #UD, or an instruction of SEV-SNP's.
    pub(crate) fn undefined(&mut self) -> Disposition {
        let (bytes, count) = self.window();
        if count != bytes.len() {
            return Self::invalid_opcode();
        }
        match bytes {
            opcode::PVALIDATE => self.pvalidate(),
            opcode::RMPADJUST => self.rmpadjust(),
            opcode::RMPQUERY => self.rmpquery(),
            _ => Self::invalid_opcode(),
        }
    }

    fn advance(&mut self) {
        let next = self.registers.rip().wrapping_add(LENGTH);
        self.registers.set_rip(next);
    }

    /// The page at the linear address in RAX. The instructions work on the guest's own memory,
    /// whatever the C-bit of the mapping.
    fn operand(&mut self) -> Result<GuestPage, Disposition> {
        let limits = self.limits;
        let mask = self.features.addressing.mask();
        let (registers, mut memory) = self.level_memory();
        let linear = registers.gpr(Register::Rax);
        let paging = Paging::of(registers, limits);
        match paging.translate(&mut memory, linear, Access::Read) {
            Ok(gpa) => GuestPage::of(gpa & !mask).ok_or_else(Self::general_protection),
            Err(WalkError::Fault { linear, error_code }) => {
                Err(Disposition::Exception(Exception::page_fault(linear, error_code)))
            }
            Err(WalkError::NonCanonical) => Err(Self::general_protection()),
            Err(WalkError::Contended) => Err(Disposition::Resume),
        }
    }

    fn size(operand: u64) -> Option<Size> {
        match PageSize(operand) {
            PageSize::SIZE_4K => Some(Size::Small),
            PageSize::SIZE_2M => Some(Size::Large),
            _ => None,
        }
    }

    /// Turns the table's outcome into the result, or into what interrupts the instruction.
    fn settle<T>(&mut self, outcome: Outcome<T>, guest: GuestPage) -> Result<Done<T>, Disposition> {
        let gpa = guest.address() | self.features.addressing.mask();
        let fault = NestedPageFault::new()
            .with_present(true)
            .with_rmp(true)
            .with_final_translation(true)
            .with_encrypted(true);
        let automatic =
            |fault: NestedPageFault| Disposition::automatic(ExitCode::NPF, fault.into_bits(), gpa);
        match outcome {
            Ok(Ok(result)) => Ok(Done { code: Code::SUCCESS, result: Some(result) }),
            Ok(Err(code)) => Ok(Done { code, result: None }),
            // As for any access: the host's map has a reserved bit there.
            Err(Fault::NotAssigned) if self.space.map.get(guest).is_none() => {
                let info_1 = fault.with_rmp(false).with_reserved_bit(true).into_bits();
                Err(Disposition::vc(ExitCode::NPF, info_1, gpa))
            }
            Err(Fault::NotAssigned) => Err(automatic(fault)),
            Err(Fault::SizeMismatch(_)) => Err(automatic(fault.with_size_mismatch(true))),
            Err(Fault::NotValidated) => Err(Disposition::Vc(VcInfo {
                code: ExitCode::PAGE_NOT_VALIDATED,
                info_1: 0,
                info_2: gpa,
                cr2: Some(self.registers.gpr(Register::Rax)),
            })),
        }
    }

    /// Puts the code into EAX and the flags, and goes on behind the instruction.
    fn complete(&mut self, code: Code, carry: bool) {
        self.registers.set_gpr(Register::Rax, u64::from(code.0));
        let mut flags = self.registers.rflags() & !rflags::STATUS & !rflags::RF;
        if code == Code::SUCCESS {
            flags |= rflags::ZF;
        }
        if (code.0 & 0xff).count_ones().is_multiple_of(2) {
            flags |= rflags::PF;
        }
        if carry {
            flags |= rflags::CF;
        }
        self.registers.set_rflags(flags);
        self.advance();
    }

    /// PVALIDATE (AMD64 APM vol. 3; vol. 2, section 15.36.6).
    fn pvalidate(&mut self) -> Disposition {
        if self.registers.cpl() != 0 || self.features.vmpl != 0 {
            return Self::general_protection();
        }
        let validate = self.registers.gpr(Register::Rdx) & 1 != 0;
        // The operand is ECX; RMPADJUST has all of RCX.
        let Some(size) = Self::size(self.registers.gpr(Register::Rcx) & 0xffff_ffff) else {
            self.complete(Code::FAIL_INPUT, false);
            return Disposition::Resume;
        };
        let guest = match self.operand() {
            Ok(guest) => guest,
            Err(other) => return other,
        };
        let outcome = self.space.rmp.pvalidate(&self.space.map, guest, size, validate);
        let done = match self.settle(outcome, guest) {
            Ok(done) => done,
            Err(other) => return other,
        };
        let changed = done.result.is_some_and(|Changed(changed)| changed);
        self.complete(done.code, done.code == Code::SUCCESS && !changed);
        if !changed {
            return Disposition::Resume;
        }
        Disposition::Remap(Remap { start: guest, pages: size.pages(), is_taken: !validate })
    }

    /// RMPADJUST (AMD64 APM vol. 3; vol. 2, section 15.36.7).
    fn rmpadjust(&mut self) -> Disposition {
        if self.registers.cpl() != 0 {
            return Self::general_protection();
        }
        let operand = Permissions::from_bits(self.registers.gpr(Register::Rdx));
        let rights = rights(operand);
        let valid = operand.vmpl() < drydock_rmp::LEVELS as u8
            && !operand.supervisor_shadow_stack()
            // Rights to execute that differ for user and supervisor can not be told to AMD-V.
            && operand.user_execute() == operand.supervisor_execute();
        let size = Self::size(self.registers.gpr(Register::Rcx));
        let Some(size) = size.filter(|_| valid) else {
            self.complete(Code::FAIL_INPUT, false);
            return Disposition::Resume;
        };
        let guest = match self.operand() {
            Ok(guest) => guest,
            Err(other) => return other,
        };
        let change = Adjustment {
            current: self.features.vmpl,
            target: operand.vmpl(),
            rights,
            vmsa: operand.vmsa(),
        };
        let outcome = self.space.rmp.rmpadjust(&self.space.map, guest, size, change);
        let done = match self.settle(outcome, guest) {
            Ok(done) => done,
            Err(other) => return other,
        };
        self.complete(done.code, false);
        if done.code != Code::SUCCESS {
            return Disposition::Resume;
        }
        Disposition::Remap(Remap { start: guest, pages: size.pages(), is_taken: true })
    }

    /// RMPQUERY (AMD64 APM vol. 3; vol. 2, section 15.36.7).
    fn rmpquery(&mut self) -> Disposition {
        if self.registers.cpl() != 0 {
            return Self::general_protection();
        }
        let target = Permissions::from_bits(self.registers.gpr(Register::Rdx)).vmpl();
        if target >= drydock_rmp::LEVELS as u8 {
            self.complete(Code::FAIL_INPUT, false);
            return Disposition::Resume;
        }
        let guest = match self.operand() {
            Ok(guest) => guest,
            Err(other) => return other,
        };
        let current = self.features.vmpl;
        let outcome = self.space.rmp.rmpquery(&self.space.map, guest, current, target);
        let done = match self.settle(outcome, guest) {
            Ok(done) => done,
            Err(other) => return other,
        };
        if let Some(query) = done.result {
            let answer = Permissions::new()
                .with_vmpl(target)
                .with_read(query.rights.read())
                .with_write(query.rights.write())
                .with_user_execute(query.rights.user_execute())
                .with_supervisor_execute(query.rights.supervisor_execute())
                .with_vmsa(query.vmsa);
            self.registers.set_gpr(Register::Rdx, answer.into_bits());
            let size = match query.size {
                Size::Small => PageSize::SIZE_4K,
                Size::Large => PageSize::SIZE_2M,
            };
            self.registers.set_gpr(Register::Rcx, size.0);
        }
        self.complete(done.code, false);
        Disposition::Resume
    }
}

const fn rights(operand: Permissions) -> Rights {
    Rights::new()
        .with_read(operand.read())
        .with_write(operand.write())
        .with_user_execute(operand.user_execute())
        .with_supervisor_execute(operand.supervisor_execute())
}
