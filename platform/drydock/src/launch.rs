//! The launch of a VM from an IGVM file.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use drydock_firmware::{CpuidResult, Finish, HostCpuid, Identity, Update};
use drydock_host::{Area, Host};
use drydock_igvm::{
    Directive, Error, Igvm, Page, PageKind, PageSize, ParameterArea, ParameterKind, VpContext,
};
use drydock_rmp::{GuestPage, HostError, Size, SystemPage};
use guest_memory::{Gpa, GuestMemory, PAGE_SIZE};
use host_wire::chip::Chip;
use kernel::paging::GUEST_BASE;
use platform_api::{Files, HostFile};
use snp::cpuid_page::{CpuidFunction, CpuidPage};
use snp::digest::LowerPermissions;
use snp::features::SevFeatures;
use snp::status::Status;
use snp::vmsa::{DEFAULT_VMSA_GPA, Vmsa};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::division::Division;
use crate::firmware::Launching;
use crate::{Drydock, EXTRA_PAGES, State};

/// The bytes of a page.
type Bytes = [u8; PAGE_SIZE as usize];
static ZERO: Bytes = [0; PAGE_SIZE as usize];
/// The first of the guest pages that save areas without an address in RAM have in the owners'
/// table: the last ones that an entry can name.
const FAR_AREAS: u32 = (1 << 28) - EXTRA_PAGES;

/// Why a file can not be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// The file of so many bytes does not fit into the guest's RAM.
    FileSize(u64),
    /// The host does not give the file.
    Unreadable,
    /// The file is malformed, or not for this platform.
    File(Error),
    /// It loads something where the VM has no RAM.
    OutsideRam(u64),
    /// It wants RAM that the VM does not have.
    RequiredMemory {
        /// The first address.
        gpa: u64,
        /// Bytes.
        size: u64,
    },
    /// It starts a VP that the VM does not have.
    NoSuchVp(u16),
    /// It starts no VP 0.
    NoFirstVp,
    /// It asks for features that are not there.
    Features(u64),
    /// A parameter has more bytes than its area.
    ParameterSpace(ParameterKind),
    /// The table of owners refuses: our own mistake.
    Owners(HostError),
    /// The firmware refuses.
    Firmware(Status),
    /// The firmware refuses the CPUID page at this address.
    Cpuid(u64),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSize(bytes) => write!(
                f,
                "the IGVM file of {} MiB needs a guest with more RAM than that",
                bytes.div_ceil(1 << 20)
            ),
            Self::Unreadable => f.write_str("the host does not give the IGVM file"),
            Self::File(error) => write!(f, "{error}"),
            Self::OutsideRam(gpa) => {
                write!(f, "the IGVM file loads {gpa:#x}, where the VM has no RAM: give it more")
            }
            Self::RequiredMemory { gpa, size } => {
                write!(
                    f,
                    "the IGVM file needs {size:#x} bytes of RAM at {gpa:#x}: give the VM more"
                )
            }
            Self::NoSuchVp(vp) => {
                write!(f, "the IGVM file starts VP {vp}, which the VM does not have")
            }
            Self::NoFirstVp => f.write_str("the IGVM file starts no VP 0"),
            Self::Features(features) => write!(
                f,
                "the IGVM file wants SEV_FEATURES {features:#x}, of which some are not emulated"
            ),
            Self::ParameterSpace(kind) => {
                write!(f, "the IGVM file has too little room for the parameter {kind:?}")
            }
            Self::Owners(error) => write!(f, "the launch failed: {error}"),
            Self::Firmware(status) => {
                write!(f, "the SNP firmware refuses to launch the IGVM file: {status:?}")
            }
            Self::Cpuid(gpa) => write!(f, "the SNP firmware refuses the CPUID page at {gpa:#x}"),
        }
    }
}

impl core::error::Error for LaunchError {}

impl From<Status> for LaunchError {
    fn from(status: Status) -> Self {
        Self::Firmware(status)
    }
}

impl From<HostError> for LaunchError {
    fn from(error: HostError) -> Self {
        Self::Owners(error)
    }
}

/// What a loader tells the guest in its parameter areas.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// How many VPs there are.
    pub vps: u32,
    /// The ACPI table of APICs.
    pub madt: &'a [u8],
    /// The command line, without a zero behind it.
    pub command_line: &'a [u8],
    /// The chip to launch on; none for one with random keys.
    pub chip: Option<&'a Chip>,
}

/// A VM that has been launched.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The VPs that have a save area.
    pub areas: Vec<(u32, Area)>,
    /// The launch digest.
    pub digest: [u8; 48],
}

/// A launch on its way.
struct Launch<'a, 'b> {
    drydock: &'a Drydock,
    state: &'a mut State,
    file: Igvm<'b>,
    parameters: Parameters<'a>,
    firmware: Launching,
    host_cpuid: &'a dyn HostCpuid,
}

/// Where an IGVM file is put for its launch: in memory that the host sees, too, which no guest uses
/// yet.
const FILE_PLACE: u64 = 1 << 20;

impl Drydock {
    /// Launches the VM in the IGVM file `file`, before any VP runs.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub fn launch(
        &self,
        file: HostFile,
        parameters: Parameters<'_>,
        host: &Host<&'static Self>,
    ) -> Result<Launched, LaunchError> {
        let memory = self.home.memory();
        let length = u64::from(file.length);
        let large = LaunchError::FileSize(length);
        if FILE_PLACE + length > self.division.guest_bytes() {
            return Err(large);
        }
        let range = memory.ram_range(Gpa(FILE_PLACE), length).map_err(|_| large)?;
        match self.home.host().load_file(file, 0, range) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Err(LaunchError::Unreadable),
        }
        let start = (GUEST_BASE + FILE_PLACE) as *const u8;
        // SAFETY: the bytes are mapped, and nothing writes them while the slice lives: no guest
        // runs, and the launch writes to system pages only, which lie elsewhere.
        let bytes = unsafe { core::slice::from_raw_parts(start, file.length as usize) };
        let launched = self.launch_bytes(bytes, parameters, host);
        // All of it is RAM, as it was loaded there.
        let _ = memory.zero(Gpa(FILE_PLACE), length);
        launched
    }

    fn launch_bytes(
        &self,
        file: &[u8],
        parameters: Parameters<'_>,
        host: &Host<&'static Self>,
    ) -> Result<Launched, LaunchError> {
        let file = Igvm::parse(file).map_err(LaunchError::File)?;
        let mut state = self.state.lock();
        let host_cpuid = FirstVp(host);
        let fms = host.cpuid(1, 0, 0)[0];
        let secure_tsc = wants_secure_tsc(&file);
        let source = self.home.host();
        let chip = parameters.chip;
        let firmware = Launching::start(chip, file.policy(), fms, secure_tsc, source)?;
        let mut launch = Launch {
            drydock: self,
            state: &mut state,
            file,
            parameters,
            firmware,
            host_cpuid: &host_cpuid,
        };
        let cpuid_page = page_of(host.cpuid_page());
        for directive in file.directives() {
            launch.load(&directive, &cpuid_page)?;
        }
        // Save areas are measured last, as KVM does it.
        let mut areas = Vec::new();
        for directive in file.directives() {
            if let Directive::VpContext(context) = directive {
                let number = areas.len() as u32;
                areas.push((context.vp_index.into(), launch.save_area(&context, number)?));
            }
        }
        launch.finish()?;
        let digest = launch.firmware.guest.measurement();
        let firmware = launch.firmware.finish();
        *self.firmware.lock() = Some(firmware);
        if areas.iter().all(|(vp, _)| *vp != 0) {
            return Err(LaunchError::NoFirstVp);
        }
        Ok(Launched { areas, digest })
    }
}

/// CPUID of the emulated machine's first VP, which the firmware compares with.
struct FirstVp<'a>(&'a Host<&'static Drydock>);

impl HostCpuid for FirstVp<'_> {
    fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult {
        let [eax, ebx, ecx, edx] = self.0.cpuid(function, subfunction, 0);
        CpuidResult { eax, ebx, ecx, edx }
    }
}

/// Whether a VP of the file has Secure TSC.
fn wants_secure_tsc(file: &Igvm<'_>) -> bool {
    file.directives().any(|directive| {
        let Directive::VpContext(context) = directive else { return false };
        Vmsa::ref_from_bytes(context.vmsa).is_ok_and(|vmsa| vmsa.sev_features.secure_tsc())
    })
}

fn page_of(functions: impl Iterator<Item = CpuidFunction>) -> Box<CpuidPage> {
    let mut page = Box::new(CpuidPage::new_zeroed());
    for (place, function) in page.functions.iter_mut().zip(functions) {
        *place = function;
        page.count += 1;
    }
    page
}

impl Launch<'_, '_> {
    fn load(&mut self, directive: &Directive<'_>, cpuid: &CpuidPage) -> Result<(), LaunchError> {
        match directive {
            Directive::Page(page) => self.page(page, cpuid),
            Directive::ParameterInsert { gpa, area } => self.insert(*gpa, *area),
            Directive::RequiredMemory { gpa, size } => {
                let missing = LaunchError::RequiredMemory { gpa: *gpa, size: *size };
                let end = gpa.checked_add(*size).ok_or(missing)?;
                let has = end <= self.drydock.division.guest_bytes();
                if has { Ok(()) } else { Err(missing) }
            }
            // Parameters are written as their area is inserted; VPs come last.
            Directive::ParameterArea(_)
            | Directive::Parameter { .. }
            | Directive::VpContext(_)
            | Directive::Identity(_) => Ok(()),
        }
    }

    /// Loads a page of 4 KiB, or 512 of them.
    fn page(&mut self, page: &Page<'_>, cpuid: &CpuidPage) -> Result<(), LaunchError> {
        let count = match page.size {
            PageSize::Size4K => 1,
            PageSize::Size2M => Size::Large.pages(),
        };
        let mut contents =
            page.data.map(|data| data.as_chunks::<{ PAGE_SIZE as usize }>().0.iter());
        for index in 0..u64::from(count) {
            let gpa = page.gpa + index * PAGE_SIZE;
            let bytes = contents.as_mut().and_then(Iterator::next);
            // The firmware changes pages of some kinds.
            let mut own = Box::new(ZERO);
            match (page.kind, bytes) {
                (PageKind::Normal, Some(bytes)) => {
                    self.update(gpa, Update::Normal(bytes))?;
                    self.place(gpa, bytes)?;
                    continue;
                }
                (PageKind::Normal, None) => self.update(gpa, Update::Zero(&mut own))?,
                (PageKind::Unmeasured, bytes) => {
                    *own = *bytes.unwrap_or(&ZERO);
                    self.update(gpa, Update::Unmeasured)?;
                }
                (PageKind::Secrets, _) => self.update(gpa, Update::Secrets(&mut own))?,
                (PageKind::Cpuid, _) => {
                    own.copy_from_slice(cpuid.as_bytes());
                    let host = self.host_cpuid;
                    let checked = self.update(gpa, Update::Cpuid(&mut own, host));
                    checked.map_err(|_| LaunchError::Cpuid(gpa))?;
                }
            }
            self.place(gpa, &own)?;
        }
        Ok(())
    }

    /// Has the firmware add a page.
    fn update(&mut self, gpa: u64, update: Update<'_>) -> Result<(), LaunchError> {
        let Launching { platform, guest } = &mut self.firmware;
        let none = LowerPermissions::default();
        Ok(guest.launch_update(platform, update, gpa, none)?)
    }

    /// Puts a page into the VM.
    fn place(&mut self, gpa: u64, bytes: &Bytes) -> Result<(), LaunchError> {
        let outside = LaunchError::OutsideRam(gpa);
        let guest = GuestPage::of(gpa).ok_or(outside)?;
        if guest.0 >= self.drydock.division.guest_pages() {
            return Err(outside);
        }
        let system = Division::usual(guest);
        self.split(system)?;
        self.write(system, bytes);
        Ok(self.state.space.rmp.launch(system, false)?)
    }

    /// Splits the entry that stands for `system`, if it is a large one.
    fn split(&mut self, system: SystemPage) -> Result<(), LaunchError> {
        let rmp = &mut self.state.space.rmp;
        match rmp.entry(system) {
            Some((head, entry)) if entry.is_large() => Ok(rmp.split(head)?),
            Some(_) | None => Ok(()),
        }
    }

    /// SNP_LAUNCH_FINISH.
    fn finish(&mut self) -> Result<(), LaunchError> {
        let policy = self.file.policy();
        let found = self.file.directives().find_map(|directive| {
            let Directive::Identity(identity) = directive else { return None };
            Some((identity.block(policy), identity.authentication(), identity.author_key_enabled))
        });
        let identity = found.as_ref().map(|(block, authentication, author_key_enabled)| Identity {
            block,
            authentication,
            author_key_enabled: *author_key_enabled,
        });
        let finish = Finish { identity, host_data: [0; 32] };
        Ok(self.firmware.guest.launch_finish(&finish)?)
    }

    fn write(&self, system: SystemPage, bytes: &Bytes) {
        let at = self.state.space.pool + u64::from(system.0) * PAGE_SIZE;
        // System pages are RAM of the home, as the division has made sure.
        let _ = self.drydock.home.memory().write(Gpa(at), bytes);
    }

    /// Loads a parameter area, with the parameters in it.
    fn insert(&mut self, gpa: u64, number: u32) -> Result<(), LaunchError> {
        let file = self.file;
        let found = file.directives().find_map(|directive| {
            let Directive::ParameterArea(area) = directive else { return None };
            (area.index == number).then_some(area)
        });
        let Some(ParameterArea { size, data, .. }) = found else { return Ok(()) };
        let mut contents = data.unwrap_or_default().chunks(PAGE_SIZE as usize);
        for page in 0..size / PAGE_SIZE {
            let mut bytes = ZERO;
            for (to, from) in bytes.iter_mut().zip(contents.next().unwrap_or_default()) {
                *to = *from;
            }
            self.update(gpa + page * PAGE_SIZE, Update::Unmeasured)?;
            self.place(gpa + page * PAGE_SIZE, &bytes)?;
        }
        for directive in file.directives() {
            if let Directive::Parameter { kind, area, offset } = directive
                && area == number
            {
                self.parameter(kind, gpa, offset.into(), size)?;
            }
        }
        Ok(())
    }

    /// Writes a parameter to the area at `gpa`, which has `size` bytes.
    fn parameter(
        &mut self,
        kind: ParameterKind,
        gpa: u64,
        offset: u64,
        size: u64,
    ) -> Result<(), LaunchError> {
        let mut place = Place { launch: self, at: gpa + offset, left: size.saturating_sub(offset) };
        let fits = match kind {
            ParameterKind::VpCount => place.put(&place.launch.parameters.vps.to_le_bytes()),
            // No bit of the environment applies: memory is private from the start.
            ParameterKind::EnvironmentInfo => place.put(&0_u32.to_le_bytes()),
            ParameterKind::MemoryMap => place.put_memory_map(),
            ParameterKind::Madt => place.put(place.launch.parameters.madt),
            ParameterKind::CommandLine => {
                place.put(place.launch.parameters.command_line) && place.put(&[0])
            }
        };
        if fits { Ok(()) } else { Err(LaunchError::ParameterSpace(kind)) }
    }

    /// Loads a save area.
    fn save_area(&mut self, context: &VpContext<'_>, number: u32) -> Result<Area, LaunchError> {
        let VpContext { gpa, vp_index, vmsa } = *context;
        if u32::from(vp_index) >= self.parameters.vps {
            return Err(LaunchError::NoSuchVp(vp_index));
        }
        let features = Vmsa::ref_from_bytes(vmsa).map(|vmsa| vmsa.sev_features);
        let features = features.unwrap_or(SevFeatures::new());
        if features.into_bits() & !drydock_cpu::EMULATED.into_bits() != 0 || !features.snp_active()
        {
            return Err(LaunchError::Features(features.into_bits()));
        }
        let in_ram = GuestPage::of(gpa).filter(|page| page.0 < self.drydock.division.guest_pages());
        let (guest, system, measured) = match in_ram {
            Some(guest) => (guest, Division::usual(guest), gpa),
            None if number < EXTRA_PAGES => {
                let system = SystemPage(self.drydock.division.guest_pages() + number);
                let guest = GuestPage(FAR_AREAS + number);
                self.state.space.rmp.assign(system, guest, Size::Small, true)?;
                (guest, system, DEFAULT_VMSA_GPA)
            }
            None => return Err(LaunchError::NoSuchVp(vp_index)),
        };
        self.split(system)?;
        self.update(measured, Update::Vmsa(vmsa))?;
        self.write(system, vmsa);
        self.state.space.rmp.launch(system, true)?;
        Ok(Area { guest, page: system, features, serial: 0 })
    }
}

/// A place in a parameter area.
struct Place<'a, 'b, 'c> {
    launch: &'a Launch<'b, 'c>,
    at: u64,
    left: u64,
}

/// Entry types of the memory map (IGVM specification, IGVM_VHS_MEMORY_MAP_ENTRY).
mod memory_type {
    pub(super) const MEMORY: u16 = 0;
    pub(super) const RESERVED: u16 = 1;
}

impl Place<'_, '_, '_> {
    /// Writes bytes; false without room for them.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let length = bytes.len() as u64;
        if length > self.left {
            return false;
        }
        // The area's pages are in the guest's RAM, as they were just loaded, and consecutive in the
        // pool, as the guest's RAM is.
        let at = self.launch.state.space.pool + self.at;
        let _ = self.launch.drydock.home.memory().write(Gpa(at), bytes);
        self.at += length;
        self.left -= length;
        true
    }

    /// Writes the memory map, with the empty entry that ends it.
    fn put_memory_map(&mut self) -> bool {
        let pages = u64::from(self.launch.drydock.division.guest_pages());
        let hole = home::LEGACY_HOLE;
        let (hole_start, hole_end) = (hole.start() / PAGE_SIZE, hole.end() / PAGE_SIZE);
        let entries = [
            (0, hole_start, memory_type::MEMORY),
            (hole_start, hole_end, memory_type::RESERVED),
            (hole_end, pages, memory_type::MEMORY),
            (0, 0, 0),
        ];
        entries.into_iter().all(|(start, end, kind)| {
            self.put(&u64::to_le_bytes(start))
                && self.put(&u64::to_le_bytes(end - start))
                && self.put(&u64::from(kind).to_le_bytes())
        })
    }
}
