//! The launch of a VM from an IGVM file.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use drydock_cpu::Space;
use drydock_firmware::{CpuidResult, Finish, HostCpuid, Identity, Update};
use drydock_host::{Area, Host};
use drydock_rmp::{Backing, GUEST_PAGES, GuestPage, PAGES_IN_LARGE, Size, SystemPage};
use guest_memory::{Gpa, GuestMemory, PAGE_SIZE};
use host_wire::chip::Chip;
use igvm_file::{Directive, Igvm, Manner, Memory, Page, PageSize, VpContext, ZERO_PAGE};
use kernel::paging::GUEST_BASE;
use platform_api::{Files, HostFile};
use snp::cpuid_page::{CpuidFunction, CpuidPage};
use snp::digest::{LowerPermissions, Page as Measured};
use snp::features::SevFeatures;
use snp::vmsa::Vmsa;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::division::RAM_LIMIT;
use crate::firmware::Launching;
use crate::launch_error::LaunchError;
use crate::{Drydock, EXTRA_PAGES, State};

/// The bytes of a page.
type Bytes = [u8; PAGE_SIZE as usize];
/// The first of the guest pages that save areas without an address in RAM have in the owners'
/// table: the last ones that an entry can name.
const FAR_AREAS: u32 = GUEST_PAGES - EXTRA_PAGES;
/// Where a PC has its APICs.
pub(crate) const DEVICES: Range<u64> = 0xfec0_0000..0xff00_0000;

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
pub(crate) struct Launch<'a, 'b> {
    pub(crate) drydock: &'a Drydock,
    pub(crate) state: &'a mut State,
    pub(crate) file: Igvm<'b>,
    memory: Memory,
    manner: Manner,
    /// Some of it lies in shared memory.
    has_shared: bool,
    pub(crate) parameters: Parameters<'a>,
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
        let (launched, has_shared) = launched?;
        if has_shared {
            self.reveal();
        }
        Ok(launched)
    }

    /// Moves what the file has loaded into shared memory to where the guest and the host see it. So
    /// far it lies in the system page that the guest's page would have as a private one: the file was
    /// where shared memory is.
    fn reveal(&self) {
        let state = self.state.lock();
        let Space { map, pool, .. } = &state.space;
        for page in map.ranges().flatten().map(GuestPage) {
            if !state.space.view().is_shared(page) {
                continue;
            }
            let (Some(system), Some(to)) = (map.usual(page), map.shared_at(page)) else { continue };
            let from = Gpa(pool + u64::from(system.0) * PAGE_SIZE);
            let mut bytes = Box::new(ZERO_PAGE);
            let memory = self.home.memory();
            // Both places are RAM of the home, as the division has made sure.
            let _ = memory.read(from, bytes.as_mut_slice());
            let _ = memory.write(Gpa(to), bytes.as_slice());
            let _ = memory.zero(from, PAGE_SIZE);
        }
    }

    /// Launches the VM in `file`. Tells whether it has shared memory, too.
    fn launch_bytes(
        &self,
        file: &[u8],
        parameters: Parameters<'_>,
        host: &Host<&'static Self>,
    ) -> Result<(Launched, bool), LaunchError> {
        let file = Igvm::parse(file).map_err(LaunchError::File)?;
        let mut state = self.state.lock();
        let host_cpuid = FirstVp(host);
        let fms = host.cpuid(1, 0, 0)[0];
        let secure_tsc = wants_secure_tsc(&file);
        let source = self.home.host();
        let chip = parameters.chip;
        let firmware = Launching::start(chip, file.policy(), fms, secure_tsc, source)?;
        let memory = file.memory(self.division.guest_bytes());
        let manner = file.manner(&memory);
        let mut launch = Launch {
            drydock: self,
            state: &mut state,
            file,
            memory,
            manner,
            has_shared: false,
            parameters,
            firmware,
            host_cpuid: &host_cpuid,
        };
        launch.make_room()?;
        let cpuid_page = page_of(host.cpuid_page());
        let mut areas = Vec::new();
        let has_areas_last = launch.manner.has_areas_last;
        for directive in file.directives() {
            launch.load(&directive, &cpuid_page)?;
            if !has_areas_last {
                launch.add_area(&directive, &mut areas)?;
            }
        }
        if has_areas_last {
            for directive in file.directives() {
                launch.add_area(&directive, &mut areas)?;
            }
        }
        launch.finish()?;
        let has_shared = launch.has_shared;
        let digest = launch.firmware.guest.measurement();
        let firmware = launch.firmware.finish();
        *self.firmware.lock() = Some(firmware);
        if areas.iter().all(|(vp, _)| *vp != 0) {
            return Err(LaunchError::NoFirstVp);
        }
        Ok((Launched { areas, digest }, has_shared))
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
    /// Gives the guest memory above its RAM, where the file needs some: a firmware at 4 GiB, or a
    /// kernel at 512 GiB. It is private, and not validated.
    fn make_room(&mut self) -> Result<(), LaunchError> {
        for range in self.file.footprint() {
            if range.start < RAM_LIMIT {
                continue;
            }
            if range.start < DEVICES.end && DEVICES.start < range.end {
                return Err(LaunchError::Device(range.start.max(DEVICES.start)));
            }
            let too_far = LaunchError::TooFar(range.start);
            let pages =
                u32::try_from((range.end - range.start) / PAGE_SIZE).map_err(|_| too_far)?;
            let first = GuestPage::of(range.start).ok_or(too_far)?;
            if first.0.checked_add(pages).is_none_or(|end| end > FAR_AREAS)
                || !self.state.space.map.add(first, pages)
            {
                return Err(too_far);
            }
            self.assign(first, pages)?;
        }
        Ok(())
    }

    /// Assigns the usual system pages to pages that the map has just got.
    fn assign(&mut self, first: GuestPage, pages: u32) -> Result<(), LaunchError> {
        let end = first.0 + pages;
        let mut next = first.0;
        while next < end {
            let is_large = Size::Large.fits(next) && end - next >= PAGES_IN_LARGE;
            let size = if is_large { Size::Large } else { Size::Small };
            let space = &mut self.state.space;
            for page in next..next + size.pages() {
                let page = GuestPage(page);
                space.map.set(page, space.map.usual(page).map(Backing::Private));
            }
            if let Some(system) = space.map.usual(GuestPage(next)) {
                space.rmp.assign(system, GuestPage(next), size, false)?;
            }
            next += size.pages();
        }
        Ok(())
    }

    fn load(&mut self, directive: &Directive<'_>, cpuid: &CpuidPage) -> Result<(), LaunchError> {
        match directive {
            Directive::Page(page) => self.page(page, cpuid),
            Directive::ParameterInsert { gpa, area } => self.insert(*gpa, *area),
            Directive::ErrorRange { gpa, size } => {
                let mut pages = (0..size / PAGE_SIZE).map(|number| gpa + number * PAGE_SIZE);
                pages.try_for_each(|page| self.share(page, &ZERO_PAGE))
            }
            Directive::RequiredMemory { gpa, size } => {
                let missing = LaunchError::RequiredMemory { gpa: *gpa, size: *size };
                let map = &self.state.space.map;
                let has = |gpa| GuestPage::of(gpa).and_then(|page| map.usual(page)).is_some();
                let mut pages = (0..size / PAGE_SIZE).map(|number| gpa + number * PAGE_SIZE);
                if pages.all(has) { Ok(()) } else { Err(missing) }
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
            let mut own = Box::new(ZERO_PAGE);
            match self.manner.page(page.kind, bytes) {
                None => {
                    self.share(gpa, bytes.unwrap_or(&ZERO_PAGE))?;
                    continue;
                }
                // A page directive never has a save area.
                Some(Measured::Normal(bytes) | Measured::Vmsa(bytes)) => {
                    self.update(gpa, Update::Normal(bytes))?;
                    self.place(gpa, bytes)?;
                    continue;
                }
                Some(Measured::Zero) => self.update(gpa, Update::Zero(&mut own))?,
                Some(Measured::Unmeasured) => {
                    *own = *bytes.unwrap_or(&ZERO_PAGE);
                    self.update(gpa, Update::Unmeasured)?;
                }
                Some(Measured::Secrets) => self.update(gpa, Update::Secrets(&mut own))?,
                Some(Measured::Cpuid) => {
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
    pub(crate) fn update(&mut self, gpa: u64, update: Update<'_>) -> Result<(), LaunchError> {
        let Launching { platform, guest } = &mut self.firmware;
        let none = LowerPermissions::default();
        Ok(guest.launch_update(platform, update, gpa, none)?)
    }

    /// Puts a page into the VM.
    pub(crate) fn place(&mut self, gpa: u64, bytes: &Bytes) -> Result<(), LaunchError> {
        let outside = LaunchError::OutsideRam(gpa);
        let guest = GuestPage::of(gpa).ok_or(outside)?;
        let system = self.state.space.map.usual(guest).ok_or(outside)?;
        self.split(system)?;
        self.write(system, bytes);
        Ok(self.state.space.rmp.launch(system, false)?)
    }

    /// Puts a page into memory that the host sees, too. The firmware does not hear of it.
    fn share(&mut self, gpa: u64, bytes: &Bytes) -> Result<(), LaunchError> {
        let outside = LaunchError::OutsideRam(gpa);
        let guest = GuestPage::of(gpa).ok_or(outside)?;
        let system = self.state.space.map.usual(guest).ok_or(outside)?;
        self.drydock.make_shared(self.state, guest).map_err(|_| outside)?;
        self.write(system, bytes);
        self.has_shared = true;
        Ok(())
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

    /// Loads the save area of a directive that has one.
    fn add_area(
        &mut self,
        directive: &Directive<'_>,
        areas: &mut Vec<(u32, Area)>,
    ) -> Result<(), LaunchError> {
        if let Directive::VpContext(context) = directive {
            let number = areas.len() as u32;
            areas.push((context.vp_index.into(), self.save_area(context, number)?));
        }
        Ok(())
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
        let measured = self.memory.save_area_at(gpa);
        let map = &self.state.space.map;
        let in_memory = GuestPage::of(gpa).and_then(|page| Some((page, map.usual(page)?)));
        let (guest, system) = match in_memory {
            Some(found) => found,
            None if number < EXTRA_PAGES => {
                let system = SystemPage(self.drydock.division.first_extra().0 + number);
                let guest = GuestPage(FAR_AREAS + number);
                self.state.space.rmp.assign(system, guest, Size::Small, true)?;
                (guest, system)
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
