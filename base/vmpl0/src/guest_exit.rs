//! The exits of the guest's level, as the CPU stores them in the guest's save area (AMD64 APM
//! volume 2, section 15.36.9).
//!
//! The host can not write to the save area. But it enters VMPL0 whenever it likes, and chooses what is
//! intercepted: any code of the CPU's can stand there, or none.

use platform_api::{Exit, MemoryFault, PortAccess, Width};
use snp::exit::{ExitCode, IoInfo, NestedPageFault};
use snp::vmsa::EventInj;
use x86::vector;

/// GUEST_EXITCODE while no exit has been stored since the last one was taken: a code that no CPU
/// stores.
pub const NO_EXIT: ExitCode = ExitCode(0xffff_ffff_ffff_0000);
/// MOV to CR8.
const WRITE_CR8: ExitCode = ExitCode::cr_write(8);
/// The codes of the exceptions of vectors 0 to 31.
const EXCEPTION: u64 = ExitCode::exception(0).0;
const EXCEPTION_LAST: u64 = ExitCode::exception(31).0;
/// Bytes of the longest instruction.
const LONGEST: u64 = 15;

/// One exit: the fields of the save area that tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestExit {
    /// GUEST_EXITCODE.
    pub code: ExitCode,
    /// GUEST_EXITINFO1.
    pub info_1: u64,
    /// GUEST_EXITINFO2.
    pub info_2: u64,
    /// GUEST_EXITINTINFO: the event whose delivery the exit cut short.
    pub int_info: EventInj,
    /// GUEST_NRIP: where the instruction that exited ends, if the CPU tells.
    pub nrip: u64,
    /// RIP.
    pub rip: u64,
}

impl GuestExit {
    /// The length of the instruction that exited, where the CPU tells it.
    #[inline]
    pub fn length(&self) -> Option<u8> {
        if self.code == ExitCode::HLT {
            // The instruction has completed when level 0 is entered.
            return Some(0);
        }
        let length = self.nrip.wrapping_sub(self.rip);
        (1..=LONGEST).contains(&length).then_some(length as u8)
    }

    /// The address of a page that the CPU did not let the guest use.
    #[inline]
    pub fn refused_page(&self) -> Option<u64> {
        let is_refusal = matches!(self.code, ExitCode::NPF | ExitCode::PAGE_NOT_VALIDATED);
        is_refusal.then_some(self.info_2)
    }

    /// The address that CR2 is to have for an intercepted page fault, which does not set it (AMD64 APM
    /// volume 2, section 15.12.15).
    #[inline]
    pub fn fault_address(&self) -> Option<u64> {
        (self.code == ExitCode::exception(vector::PF)).then_some(self.info_2)
    }

    /// Where RIP is to stand for an intercepted INT3 or INTO, whose exceptions come behind the
    /// instruction (AMD64 APM volume 2, sections 15.7.1 and 15.12).
    #[inline]
    pub fn rip_of_trap(&self) -> Option<u64> {
        let codes = [vector::BP, vector::OF].map(ExitCode::exception);
        (codes.contains(&self.code) && self.length().is_some()).then_some(self.nrip)
    }

    /// What the machine is to do.
    #[inline]
    pub fn decode(&self) -> Exit {
        match self.code {
            ExitCode::CPUID => Exit::Cpuid,
            ExitCode::MSR if self.info_1 == 0 => Exit::ReadMsr,
            ExitCode::MSR => Exit::WriteMsr,
            ExitCode::HLT => Exit::Halt,
            // The host interrupted the guest, and ran this level for an event of ours.
            ExitCode::INTR | ExitCode::NMI | ExitCode::SMI | ExitCode::INIT | ExitCode::VINTR => {
                Exit::HostInterrupt
            }
            ExitCode::IOIO => self.port_access(),
            ExitCode::NPF | ExitCode::PAGE_NOT_VALIDATED => self.memory_fault(),
            ExitCode(code @ EXCEPTION..=EXCEPTION_LAST) => self.exception((code - EXCEPTION) as u8),
            ExitCode::RDPMC => Exit::Refused,
            WRITE_CR8 => Exit::TaskPriority { is_done: false },
            ExitCode::VMMCALL => Exit::Hypercall,
            ExitCode::XSETBV => Exit::Xsetbv,
            ExitCode::INVD | ExitCode::WBINVD => Exit::CacheFlush,
            ExitCode::ICEBP => Exit::Int1,
            ExitCode::INVLPGA
            | ExitCode::VMRUN
            | ExitCode::VMLOAD
            | ExitCode::VMSAVE
            | ExitCode::STGI
            | ExitCode::CLGI
            | ExitCode::SKINIT
            | ExitCode::MONITOR
            | ExitCode::MWAIT
            | ExitCode::MWAIT_CONDITIONAL
            | ExitCode::RDPRU
            // The guest has no such instruction.
            | ExitCode::VMGEXIT => Exit::Undefined,
            ExitCode::INVALID => Exit::InvalidState,
            ExitCode::SHUTDOWN => Exit::Shutdown,
            other => Exit::Failed(other.0),
        }
    }

    fn port_access(&self) -> Exit {
        let info = IoInfo::from_bits(self.info_1);
        let width = match (info.is_8_bit(), info.is_16_bit()) {
            (true, _) => Width::Byte,
            (false, true) => Width::Word,
            (false, false) => Width::Dword,
        };
        Exit::Port(PortAccess {
            port: info.port(),
            width,
            is_input: info.is_in(),
            is_string: info.is_string(),
            next_rip: self.info_2,
        })
    }

    fn memory_fault(&self) -> Exit {
        let fault = NestedPageFault::from_bits(self.info_1);
        Exit::Memory(MemoryFault {
            gpa: self.info_2,
            is_write: fault.write(),
            is_fetch: fault.fetch(),
            is_walk: fault.table_walk(),
            in_delivery: self.int_info.valid(),
        })
    }

    fn exception(&self, vector: u8) -> Exit {
        let error_code = vector::has_error_code(vector).then_some(self.info_1 as u32);
        Exit::Exception { vector, error_code }
    }
}

#[cfg(test)]
mod tests;
