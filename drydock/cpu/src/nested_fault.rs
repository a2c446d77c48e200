//! Nested page faults: the host's, #VC, or none at all.

use drydock_rmp::{GuestPage, Rights};
use emulator::{Access, Exception, Limits, Paging, WalkError};
use guest_memory::GuestMemory;
use snp::exit::{ExitCode, NestedPageFault};
use x86::ModeRegisters;

use crate::addressing::Kind;
use crate::cpu::{Cpu, code_linear};
use crate::exit::{Disposition, RawExit, VcInfo};
use crate::instruction::Remap;
use crate::memory::Refusal;
use crate::mode::Mode;

/// #PF: a reserved bit is set in a table (AMD64 APM vol. 2, section 8.4.2).
const RESERVED: u32 = 1 << 3;

impl<C: ModeRegisters, M: GuestMemory> Cpu<'_, '_, C, M> {
    /// Decides what a nested page fault of the emulating CPU's is (AMD64 APM vol. 2, section
    /// 15.36.10).
    pub(crate) fn nested_fault(&mut self, exit: RawExit) -> Disposition {
        let fault = NestedPageFault::from_bits(exit.info_1);
        let kind = match (fault.table_walk(), fault.fetch()) {
            (true, _) => Kind::Walk,
            (false, true) => Kind::Fetch,
            (false, false) => Kind::Data,
        };
        let mode = Mode::of(self.registers);
        let addressing = self.features.addressing;
        if addressing.virtual_tom.is_some() && exit.info_2 & addressing.mask() != 0 {
            return self.c_bit_fault(kind, fault, exit);
        }
        let place = addressing.place(exit.info_2, kind, mode);
        let data = addressing.place(exit.info_2, Kind::Data, mode);
        let needed = Rights::new()
            .with_read(true)
            .with_write(fault.write())
            .with_user_execute(fault.fetch())
            .with_supervisor_execute(fault.fetch());
        let fault = fault.with_encrypted(place.is_private);
        let host = |fault: NestedPageFault| {
            Disposition::automatic(ExitCode::NPF, fault.into_bits(), exit.info_2)
        };
        match self.space.find(place, self.features.vmpl, needed) {
            // The C-bit counts for data alone: the page is reached at this address, too.
            Ok(_) if place.is_private && !data.is_private => Disposition::Alias { gpa: place.gpa },
            // Another CPU has changed the page meanwhile.
            Ok(_) => self.again(place.gpa),
            Err(Refusal::NotValidated) => Disposition::Vc(VcInfo {
                code: ExitCode::PAGE_NOT_VALIDATED,
                info_1: fault.with_rmp(true).into_bits(),
                info_2: exit.info_2,
                cr2: self.fault_address(kind, exit.info_2),
            }),
            // The host's map has nothing there, and says so by a reserved bit.
            Err(Refusal::NoMemory) => Disposition::vc(
                ExitCode::NPF,
                fault.with_present(true).with_reserved_bit(true).into_bits(),
                exit.info_2,
            ),
            Err(Refusal::Rights) => host(fault.with_present(true).with_rmp(true).with_vmpl(true)),
            Err(Refusal::IsPrivate | Refusal::NotAssigned) => {
                host(fault.with_present(true).with_rmp(true))
            }
        }
    }

    /// The guest uses a virtual top of memory, and its tables have set the C-bit, which is reserved
    /// then: #PF (AMD64 APM vol. 2, section 15.36.8). The CPU that emulates knows no such rule, and
    /// its walk has ended at an address of no memory. An access whose linear address can not be
    /// found, as that of a descriptor table, is left to the host.
    fn c_bit_fault(&mut self, kind: Kind, fault: NestedPageFault, exit: RawExit) -> Disposition {
        let access = match (kind, fault.write()) {
            (Kind::Fetch, _) => Access::Execute,
            (_, true) => Access::Write,
            (_, false) => Access::Read,
        };
        let limits = self.limits;
        let own = Limits { physical_address_bits: self.features.addressing.c_bit, ..limits };
        let code = code_linear(self.registers);
        let (registers, mut memory) = self.level_memory();
        let operands = emulator::operand_addresses(registers, &mut memory, limits);
        let paging = Paging::of(registers, own);
        // A walk for the instruction itself comes before those for its operands. A walk tells no kind
        // of access: its write is that of a table's bits.
        let walks = (kind == Kind::Walk).then_some((code, Access::Execute));
        let fetched = (kind == Kind::Fetch).then_some((code, access));
        let accessed = operands.into_iter().flatten().map(|linear| (linear, access));
        for (linear, access) in walks.into_iter().chain(fetched).chain(accessed) {
            if let Err(WalkError::Fault { linear, error_code }) =
                paging.translate(&mut memory, linear, access)
                && error_code & RESERVED != 0
            {
                return Disposition::Exception(Exception::page_fault(linear, error_code));
            }
        }
        Disposition::automatic(ExitCode::NPF, fault.into_bits(), exit.info_2)
    }

    /// The linear address of an access that faulted at guest-physical `address`, as far as the
    /// instruction tells: AMD-V reports none.
    fn fault_address(&mut self, kind: Kind, address: u64) -> Option<u64> {
        const IN_PAGE: u64 = 0xfff;
        if kind == Kind::Fetch {
            return Some(code_linear(self.registers));
        }
        let limits = self.limits;
        let (registers, mut memory) = self.level_memory();
        let candidates = emulator::operand_addresses(registers, &mut memory, limits);
        let paging = Paging::of(registers, limits);
        let found = candidates.into_iter().flatten().find(|linear| {
            let translated = paging.translate(&mut memory, *linear, Access::Read);
            translated.is_ok_and(|gpa| gpa & !IN_PAGE == address & !IN_PAGE)
        });
        found.map(|linear| linear & !IN_PAGE | address & IN_PAGE)
    }

    fn again(&self, gpa: u64) -> Disposition {
        match GuestPage::of(gpa) {
            Some(start) => Disposition::Remap(Remap { start, pages: 1, is_taken: false }),
            None => Disposition::Resume,
        }
    }
}
