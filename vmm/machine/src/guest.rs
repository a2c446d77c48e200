//! The guest's memory and registers before its first instruction.

use alloc::vec::Vec;

use chipset::memory::ECAM_BASE;
use chipset::{BIOS_CALL_PORT, PM_BASE};
use firmware_tables::{BuildError, MachineDescription, Pci, PowerPorts, Range, SerialPort};
use guest_memory::{Gpa, GuestMemory, RamMap};
use host_wire::file;
use loader::{Entry, GuestMemory as LoaderMemory, Mode, Module, Request, TransferError};
use platform_api::{Platform, Time};
use x86::{Control, Register, Segment, SegmentRegister, VpState, cr0, cr4, efer, rflags};

use crate::error::GuestError;
use crate::files::FileSource;
use crate::machine::Machine;
use crate::tpm::Measured;
use crate::vp::VirtualProcessor;

/// Room for the ACPI tables at the top of the RAM below 4 GiB. Only the paravisor itself may lie
/// behind.
const TABLES_ROOM: u64 = 64 << 10;
/// There is one bus.
const LAST_BUS: u8 = 0;
const PCI_WINDOW: Range = Range { start: 0xc000_0000, length: 0x2000_0000 };

/// The place of the ACPI tables.
pub(crate) fn tables_place(ram: &RamMap) -> u64 {
    const FOUR_GIB: u64 = 1 << 32;
    let low = ram.ranges().iter().rfind(|range| range.end() <= FOUR_GIB);
    let top = low.map_or(0, |range| range.end() & !0xfff);
    top.saturating_sub(TABLES_ROOM)
}

/// A guest that lies in memory.
pub(crate) struct Loaded {
    /// The registers that VP 0 starts with.
    pub(crate) state: VpState,
    /// TSC ticks that it took to load and to measure its files.
    pub(crate) ticks: u64,
}

/// Guest memory as the loader writes it.
struct LoaderRam<'a, M>(&'a M);

impl<M: GuestMemory> LoaderMemory for LoaderRam<'_, M> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError> {
        self.0.write(Gpa(gpa), bytes).map_err(|_| TransferError::Memory)
    }

    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError> {
        self.0.zero(Gpa(gpa), length).map_err(|_| TransferError::Memory)
    }
}

impl<P: Platform> Machine<P> {
    /// Writes tables and files into guest memory.
    pub(crate) fn load_guest(&self) -> Result<Loaded, GuestError> {
        let firmware = self.firmware().map_err(GuestError::Tables)?;
        let memory = self.platform.memory();
        for blob in &firmware.blobs {
            memory.write(Gpa(blob.gpa), &blob.bytes).map_err(GuestError::TablesMemory)?;
        }
        let files = &self.files;
        let command_line = files.command_line(self.host())?;
        let kernel_name = files.kernel_name(self.host())?;
        let texts = files.module_texts(self.host())?;
        let banks = self.possible_banks();
        let source = |file| FileSource::new(self.platform, file, &banks);
        let mut kernel = source(files.kernel()?);
        let mut initrd = files.initrd().map(source);
        let sources = files.modules().map(source);
        let texts = texts.split(|byte| *byte == 0).chain(core::iter::repeat(&[][..]));
        let mut modules: Vec<_> = sources.zip(texts).collect();
        let request = Request {
            memory_map: &firmware.memory_map,
            command_line: &command_line,
            rsdp: firmware.rsdp,
            kernel_name: &kernel_name,
        };
        let mut ram = LoaderRam(memory);
        let given = initrd.iter_mut().map(|file| Module { file, text: &[] });
        let given = given.chain(modules.iter_mut().map(|(file, text)| Module { file, text }));
        let before = self.host().tsc();
        let loaded = loader::load(&request, &mut kernel, given.collect(), &mut ram);
        let loaded = loaded.map_err(GuestError::Load)?;
        kernel.check(file::KERNEL)?;
        initrd.as_mut().map_or(Ok(()), |initrd| initrd.check(file::INITRD))?;
        for ((module, _), name) in modules.iter_mut().zip(file::MODULES) {
            module.check(name)?;
        }
        let mut measured =
            Vec::from([Measured::Kernel(&kernel), Measured::CommandLine(&loaded.command_line)]);
        measured.extend(initrd.as_ref().map(Measured::Initrd));
        for (file, text) in &modules {
            measured.extend([Measured::ModuleText(text), Measured::Module(file)]);
        }
        self.start_tpm(&measured).map_err(GuestError::Tpm)?;
        let ticks = self.host().tsc().since(before);
        Ok(Loaded { state: start_state(&loaded.entry), ticks })
    }

    fn firmware(&self) -> Result<firmware_tables::Firmware, BuildError> {
        let own = self.platform.own_range();
        let own = Range { start: own.start(), length: own.length() };
        let ram: Vec<Range> = self
            .ram()
            .ranges()
            .iter()
            .map(|range| Range { start: range.start(), length: range.length() })
            .collect();
        let apic_ids: Vec<u32> = (0..self.vps()).collect();
        let area = self.tpm.as_ref().map(|tpm| tpm.area.range());
        let reserved: Vec<Range> = area.into_iter().chain([own]).collect();
        let serial = [SerialPort { port: 0x3f8, irq: 4 }, SerialPort { port: 0x2f8, irq: 3 }];
        firmware_tables::build(&MachineDescription {
            ram: &ram,
            reserved: &reserved,
            tables: tables_place(self.ram()),
            apic_ids: &apic_ids,
            io_apic_id: 0,
            serial_ports: &serial,
            power: PowerPorts {
                event: PM_BASE,
                control: PM_BASE + acpi_pm::registers::PM1_CONTROL,
                timer: PM_BASE + acpi_pm::registers::PM_TIMER,
                sleep_type_off: acpi_pm::registers::SLP_TYP_S5,
            },
            bios_call_port: BIOS_CALL_PORT,
            pci: Pci {
                ecam: ECAM_BASE as u32,
                last_bus: LAST_BUS,
                window: PCI_WINDOW,
                high_window: None,
                routes: &[],
            },
            tpm: self.tpm.as_ref().map(|tpm| tpm.area.description()),
            uuid: self.identity.uuid,
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

/// The registers that an entry asks for.
fn start_state(entry: &Entry) -> VpState {
    const PROTECTED: u64 = cr0::PE | cr0::ET;
    let mut state = VpState { rip: entry.rip, rflags: rflags::FIXED, ..VpState::init(0) };
    state.gpr = [0; 16];
    for (register, value) in
        [(Register::Rax, entry.rax), (Register::Rbx, entry.rbx), (Register::Rsi, entry.rsi)]
    {
        if let Some(slot) = state.gpr.get_mut(register as usize) {
            *slot = value;
        }
    }
    state.control = match entry.mode {
        Mode::Protected32 => Control { cr0: PROTECTED, ..Control::default() },
        Mode::Long64 { page_tables } => Control {
            cr0: PROTECTED | cr0::PG,
            cr3: page_tables,
            cr4: cr4::PAE,
            efer: efer::LME | efer::LMA,
        },
    };
    for (index, slot) in state.segments.iter_mut().enumerate() {
        const CS: usize = SegmentRegister::Cs as usize;
        const TR: usize = SegmentRegister::Tr as usize;
        const GDTR: usize = SegmentRegister::Gdtr as usize;
        match index {
            CS => *slot = entry.code,
            0..=5 => *slot = entry.data,
            TR => *slot = entry.task,
            GDTR => {
                *slot = Segment {
                    base: entry.gdt,
                    limit: u32::from(entry.gdt_limit),
                    ..Segment::default()
                };
            }
            _ => {}
        }
    }
    state
}

impl<P: Platform> VirtualProcessor<P> {
    /// Sets the boot processor's local APIC up as firmware does: on, LINT0 for the 8259 pair, LINT1
    /// for NMIs (Intel MP Specification 1.4, section 3.6.2.1, virtual wire mode).
    pub(crate) fn set_up_virtual_wire(&mut self) {
        const SPURIOUS: u16 = 0xf0;
        const LINT0: u16 = 0x350;
        const LINT1: u16 = 0x360;
        const ENABLE: u32 = 0x1ff;
        const EXT_INT: u32 = 0x700;
        const NMI: u32 = 0x400;
        let now = self.machine.now();
        for (offset, value) in [(SPURIOUS, ENABLE), (LINT0, EXT_INT), (LINT1, NMI)] {
            let effect = self.apic.write_xapic(offset, value, now, device_model::GuestTsc(0));
            self.apply(effect);
        }
    }
}
