//! The MSRs that an SEV-SNP CPU has for itself.

use emulator::Opcode;
use guest_memory::GuestMemory;
use snp::exit::ExitCode;
use snp::features::{SevStatus, msr as sev};
use x86::{ModeRegisters, Register, cr0, efer, msr};

use crate::cpu::Cpu;
use crate::exit::Disposition;

/// Bits of EFER that a guest may set: the CPU has them all.
const EFER_BITS: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE | efer::SVME | efer::FFXSR;

impl<C: ModeRegisters, M: GuestMemory> Cpu<'_, '_, C, M> {
    /// RDMSR or WRMSR of a register that the host's map intercepts, or that is the CPU's own.
    pub(crate) fn msr(&mut self, is_write: bool) -> Disposition {
        let number = self.registers.gpr(Register::Rcx) as u32;
        let result = if is_write { self.write_msr(number) } else { self.read_msr(number) };
        match result {
            Some(Ok(())) => {
                let opcode = if is_write { Opcode::WRMSR } else { Opcode::RDMSR };
                self.skip(opcode).unwrap_or(Disposition::Resume)
            }
            Some(Err(())) => Self::general_protection(),
            None => Disposition::vc(ExitCode::MSR, u64::from(is_write), 0),
        }
    }

    /// The register's value into EDX:EAX; none for one that is not the CPU's.
    fn read_msr(&mut self, number: u32) -> Option<Result<(), ()>> {
        let value = match number {
            sev::GHCB => self.features.ghcb_msr,
            // It can not be intercepted (AMD64 APM vol. 2, section 15.34.10).
            sev::SEV_STATUS => SevStatus::of_features(self.features.sev).0,
            sev::VIRTUAL_TOM => self.features.addressing.virtual_tom.unwrap_or(0),
            sev::GUEST_TSC_FREQ if self.features.sev.secure_tsc() => self.features.tsc_mhz,
            msr::EFER => self.registers.efer(),
            msr::PAT => self.registers.pat(),
            _ => return None,
        };
        self.registers.set_gpr(Register::Rax, value & 0xffff_ffff);
        self.registers.set_gpr(Register::Rdx, value >> 32);
        Some(Ok(()))
    }

    fn write_msr(&mut self, number: u32) -> Option<Result<(), ()>> {
        let low = self.registers.gpr(Register::Rax) & 0xffff_ffff;
        let value = self.registers.gpr(Register::Rdx) << 32 | low;
        Some(match number {
            sev::GHCB => {
                self.features.ghcb_msr = value;
                Ok(())
            }
            sev::SEV_STATUS | sev::GUEST_TSC_FREQ => Err(()),
            sev::VIRTUAL_TOM if self.features.sev.vtom() => {
                self.features.addressing.virtual_tom = Some(value & !0x1f_ffff);
                Ok(())
            }
            sev::VIRTUAL_TOM => Err(()),
            msr::EFER => self.write_efer(value),
            msr::PAT => self.write_pat(value),
            _ => return None,
        })
    }

    /// EFER (AMD64 APM vol. 2, section 3.1.7).
    fn write_efer(&mut self, value: u64) -> Result<(), ()> {
        let old = self.registers.efer();
        let paging = self.registers.cr0() & cr0::PG != 0;
        if value & !EFER_BITS != 0 || paging && (value ^ old) & efer::LME != 0 {
            return Err(());
        }
        // LMA is read-only.
        self.registers.set_efer(value & !efer::LMA | old & efer::LMA);
        Ok(())
    }

    /// The page-attribute table (AMD64 APM vol. 2, section 7.8.1).
    fn write_pat(&mut self, value: u64) -> Result<(), ()> {
        let fine = value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7));
        if fine {
            self.registers.set_pat(value);
        }
        if fine { Ok(()) } else { Err(()) }
    }
}
