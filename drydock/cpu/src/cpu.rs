//! The decision what an exit of AMD-V is on an SEV-SNP CPU.

use emulator::{Access, CodeSize, Exception, Limits, Opcode, Paging, PhysicalMemory};
use guest_memory::{GuestMemory, PAGE_SIZE};
use snp::exit::ExitCode;
use snp::features::SevFeatures;
use x86::{ModeRegisters, Registers, SegmentRegister, vector};

use crate::addressing::Addressing;
use crate::exit::{Disposition, RawExit, VcInfo};
use crate::memory::{LevelMemory, Space};
use crate::mode::Mode;

/// INVALID as QEMU's software CPU stores it.
const INVALID_32: u64 = u32::MAX as u64;

/// What a level of a VP runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// SEV_FEATURES of its save area.
    pub sev: SevFeatures,
    /// Its level.
    pub vmpl: u8,
    /// How it tells private from shared memory.
    pub addressing: Addressing,
    /// The GHCB MSR: the control block's, not the save area's.
    pub ghcb_msr: u64,
    /// The frequency of the TSC in MHz, for Secure TSC.
    pub tsc_mhz: u64,
}

/// An SEV-SNP CPU that has just left its guest.
#[derive(Debug)]
pub struct Cpu<'a, 'b, C, M> {
    /// The registers.
    pub registers: &'a mut C,
    /// What the level runs with.
    pub features: &'a mut Features,
    /// Who owns which page.
    pub space: &'a mut Space<'b>,
    /// The memory of the machine that emulates.
    pub memory: &'a M,
    /// What the emulator must know of the CPU.
    pub limits: Limits,
}

impl<'b, C: ModeRegisters, M: GuestMemory> Cpu<'_, 'b, C, M> {
    /// Decides what `exit` is, and does what the CPU does by itself.
    pub fn exit(&mut self, exit: RawExit) -> Disposition {
        let code = ExitCode(match exit.code {
            // QEMU's software CPU stores the code in 32 bits.
            INVALID_32 => ExitCode::INVALID.0,
            code => code,
        });
        match code {
            ExitCode::VMMCALL => self.call(),
            ExitCode::MSR => self.msr(exit.info_1 != 0),
            ExitCode::NPF => self.nested_fault(exit),
            ExitCode::CR0_SEL_WRITE => self.write_cr0(),
            ExitCode::HLT => {
                // The instruction has completed when the host gets the exit.
                match self.skip(emulator::Opcode::HLT) {
                    Some(done) => done,
                    None => Disposition::automatic(code, exit.info_1, exit.info_2),
                }
            }
            ExitCode::INTR
            | ExitCode::NMI
            | ExitCode::SMI
            | ExitCode::INIT
            | ExitCode::VINTR
            | ExitCode::SHUTDOWN
            | ExitCode::PAUSE
            | ExitCode::BUSLOCK
            | ExitCode::IDLE_HLT
            | ExitCode::EFER_WRITE_TRAP
            | ExitCode::INVALID
            | ExitCode::BUSY
            | ExitCode::IDLE_REQUIRED
            | ExitCode::INVALID_PMC => Disposition::automatic(code, exit.info_1, exit.info_2),
            _ if code == ExitCode::exception(vector::MC)
                || code == ExitCode::cr_write_trap((code.0 & 0xf) as u8) =>
            {
                Disposition::automatic(code, exit.info_1, exit.info_2)
            }
            _ if code == ExitCode::exception(vector::UD) => self.undefined(),
            _ if code == ExitCode::cr_write(4) => self.write_cr4(),
            _ if code == ExitCode::cr_write(8) => self.write_cr8(),
            _ => Disposition::vc(code, exit.info_1, exit.info_2),
        }
    }

    /// Memory as this level reaches it.
    pub fn level_memory(&mut self) -> (&mut C, LevelMemory<'_, 'b, M>) {
        let mode = Mode::of(self.registers);
        let Features { vmpl, addressing, .. } = *self.features;
        (self.registers, LevelMemory::new(self.space, self.memory, vmpl, addressing, mode))
    }

    /// Moves RIP behind the instruction, which is `opcode`. What follows instead if the guest has
    /// changed its code.
    pub(crate) fn skip(&mut self, opcode: emulator::Opcode) -> Option<Disposition> {
        let limits = self.limits;
        let (registers, mut memory) = self.level_memory();
        match emulator::instruction_length(registers, &mut memory, limits, opcode) {
            Ok(length) => {
                let next = registers.rip().wrapping_add(length.into());
                registers.set_rip(next);
                None
            }
            Err(emulator::LengthError::Changed | emulator::LengthError::Bus(_)) => {
                Some(Disposition::Resume)
            }
            Err(emulator::LengthError::Exception(exception)) => {
                Some(Disposition::Exception(exception))
            }
        }
    }

    /// Where the instruction that exited ends, for the codes whose instruction has a fixed opcode:
    /// GUEST_NRIP (AMD64 APM vol. 2, section 15.36.9).
    pub fn next_rip(&mut self, info: &VcInfo) -> u64 {
        let opcode = match info.code {
            ExitCode::CPUID => Opcode::CPUID,
            ExitCode::MSR if info.info_1 == 0 => Opcode::RDMSR,
            ExitCode::MSR => Opcode::WRMSR,
            ExitCode::HLT => Opcode::HLT,
            ExitCode::INVD => Opcode::INVD,
            ExitCode::WBINVD => Opcode::WBINVD,
            ExitCode::XSETBV => Opcode::XSETBV,
            ExitCode::VMMCALL => Opcode::VMMCALL,
            // The CPU tells.
            ExitCode::IOIO => return info.info_2,
            _ => return 0,
        };
        let limits = self.limits;
        let (registers, mut memory) = self.level_memory();
        let length = emulator::instruction_length(registers, &mut memory, limits, opcode);
        length.map_or(0, |length| registers.rip().wrapping_add(length.into()))
    }

    /// Up to four bytes from RIP on, as far as they can be fetched, and how many they are.
    pub(crate) fn window(&mut self) -> ([u8; 4], usize) {
        let limits = self.limits;
        let (registers, mut memory) = self.level_memory();
        let linear = code_linear(registers);
        let paging = Paging::of(registers, limits);
        let mut bytes = [0; 4];
        let mut count = 0;
        // An instruction may lie in two pages, so what is left of a page is fetched at once.
        while let Some(left) = bytes.get_mut(count..).filter(|left| !left.is_empty()) {
            let at = linear.wrapping_add(count as u64);
            let Ok(gpa) = paging.translate(&mut memory, at, Access::Execute) else { break };
            let in_page = left.len().min((PAGE_SIZE - at % PAGE_SIZE) as usize);
            let Some(part) = left.get_mut(..in_page) else { break };
            if memory.fetch(gpa, part).is_err() {
                break;
            }
            count += in_page;
        }
        (bytes, count)
    }

    /// #GP(0).
    pub(crate) const fn general_protection() -> Disposition {
        Disposition::Exception(Exception::GENERAL_PROTECTION)
    }

    pub(crate) const fn invalid_opcode() -> Disposition {
        Disposition::Exception(Exception::INVALID_OPCODE)
    }
}

/// The linear address of CS:RIP.
pub(crate) fn code_linear(registers: &impl Registers) -> u64 {
    let rip = registers.rip();
    if CodeSize::of(registers) == CodeSize::Bits64 {
        return rip;
    }
    registers.segment(SegmentRegister::Cs).base.wrapping_add(rip) & 0xffff_ffff
}
