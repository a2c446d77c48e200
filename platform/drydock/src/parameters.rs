//! The parameters that a launch writes for the guest.

use alloc::vec::Vec;

use drydock_firmware::Update;
use drydock_rmp::GuestPage;
use guest_memory::{Gpa, GuestMemory, PAGE_SIZE};
use igvm_file::{Directive, MemoryRange, ParameterArea, ParameterKind, ZERO_PAGE, device_tree};

use crate::division::RAM_LIMIT;
use crate::launch::{DEVICES, Launch, Parameters};
use crate::launch_error::LaunchError;

impl Launch<'_, '_> {
    /// Loads a parameter area, with the parameters in it.
    pub(crate) fn insert(&mut self, gpa: u64, number: u32) -> Result<(), LaunchError> {
        let file = self.file;
        let found = file.directives().find_map(|directive| {
            let Directive::ParameterArea(area) = directive else { return None };
            (area.index == number).then_some(area)
        });
        let Some(ParameterArea { size, data, .. }) = found else { return Ok(()) };
        let mut contents = data.unwrap_or_default().chunks(PAGE_SIZE as usize);
        for page in 0..size / PAGE_SIZE {
            let mut bytes = ZERO_PAGE;
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
        // The area's pages are in the guest's memory, as they were just loaded, and consecutive in
        // the pool, as they are there.
        let system = GuestPage::of(gpa).and_then(|page| self.state.space.map.usual(page));
        let system = system.ok_or(LaunchError::OutsideRam(gpa))?;
        let at = self.state.space.pool + u64::from(system.0) * PAGE_SIZE + offset;
        let mut place = Place { launch: self, at, left: size.saturating_sub(offset) };
        let fits = match kind {
            ParameterKind::VpCount => place.put(&place.launch.parameters.vps.to_le_bytes()),
            // No bit of the environment applies: memory is private from the start.
            ParameterKind::EnvironmentInfo => place.put(&0_u32.to_le_bytes()),
            ParameterKind::MemoryMap => place.put_memory_map(),
            ParameterKind::Madt => place.put(place.launch.parameters.madt),
            ParameterKind::MmioRanges => place.put_mmio_ranges(),
            ParameterKind::DeviceTree => {
                let memory = place.memory_map();
                let Parameters { vps, command_line, .. } = place.launch.parameters;
                place.put(&device_tree(vps, &memory, command_line))
            }
            ParameterKind::CommandLine => {
                place.put(place.launch.parameters.command_line) && place.put(&[0])
            }
        };
        if fits { Ok(()) } else { Err(LaunchError::ParameterSpace(kind)) }
    }
}

/// A place in a parameter area.
struct Place<'a, 'b, 'c> {
    launch: &'a Launch<'b, 'c>,
    /// In the memory of the machine that emulates.
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
        let _ = self.launch.drydock.home.memory().write(Gpa(self.at), bytes);
        self.at += length;
        self.left -= length;
        true
    }

    /// Writes the two ranges of devices: what a PC has below 4 GiB, and none above.
    fn put_mmio_ranges(&mut self) -> bool {
        let (start, end) = (RAM_LIMIT / PAGE_SIZE, DEVICES.start / PAGE_SIZE);
        [start, end - start, 0, 0].into_iter().all(|word| self.put(&word.to_le_bytes()))
    }

    /// The guest's memory in the order of addresses.
    fn memory_map(&self) -> Vec<MemoryRange> {
        let memory = self.launch.drydock.division.guest_bytes();
        let hole = home::LEGACY_HOLE;
        let near = [
            (0, hole.start(), memory_type::MEMORY),
            (hole.start(), hole.end(), memory_type::RESERVED),
            (hole.end(), memory, memory_type::MEMORY),
        ];
        // What a file needs above the RAM is its own.
        let far = self.launch.state.space.map.ranges().skip(1).map(|range| {
            let address = |page| GuestPage(page).address();
            (address(range.start), address(range.end), memory_type::RESERVED)
        });
        let range = |(start, end, kind)| MemoryRange { start, size: end - start, kind };
        near.into_iter().chain(far).map(range).collect()
    }

    /// Writes the memory map, with the empty entry that ends it.
    fn put_memory_map(&mut self) -> bool {
        let end = MemoryRange { start: 0, size: 0, kind: memory_type::MEMORY };
        self.memory_map().into_iter().chain([end]).all(|MemoryRange { start, size, kind }| {
            self.put(&(start / PAGE_SIZE).to_le_bytes())
                && self.put(&(size / PAGE_SIZE).to_le_bytes())
                && self.put(&u64::from(kind).to_le_bytes())
        })
    }
}
