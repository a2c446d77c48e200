//! Inputs from the host: configuration, kernels, memory maps, report lines.

use guest_memory::{GpaRange, RamMap};
use loader::{GuestMemory, MapEntry, Module, RangeKind, Request, Source, TransferError, load};

use crate::input::Input;

/// The configuration parser; every accepted configuration can be written and read back.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = host_wire::Config::parse(bytes) {
        assert_eq!(host_wire::Config::parse(config.to_string().as_bytes()), Ok(config));
    }
}

/// The parser of report lines.
pub fn report(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let _ = host_wire::report::parse(line);
    }
}

/// A file in memory.
struct File<'a>(&'a [u8]);

impl Source for File<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        let start = usize::try_from(offset).map_err(|_| TransferError::Host)?;
        let part = self.0.get(start..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(TransferError::Host)?);
        Ok(())
    }

    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.len()));
        check(gpa, length);
        Ok(())
    }
}

/// RAM that only notes whether an access stays inside.
struct Ram;

/// RAM of the fuzzed machine, below and above the hole of a PC.
const LOW: GpaRange = GpaRange::new(0, 0xa_0000).unwrap();
const HIGH: GpaRange = GpaRange::new(0x10_0000, 0x800_0000).unwrap();

fn check(gpa: u64, length: u64) {
    let range = GpaRange::from_length(gpa, length).expect("no wrap");
    assert!(LOW.contains(&range) || HIGH.contains(&range), "{range} is not RAM");
}

impl GuestMemory for Ram {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError> {
        check(gpa, bytes.len() as u64);
        Ok(())
    }

    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError> {
        check(gpa, length);
        Ok(())
    }
}

/// Heads that lead the fuzzer into each kind of kernel.
const HEADS: [&[u8]; 4] = [b"", b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", b""];

/// The kernel loader: nothing outside RAM is written, whatever the file says.
pub fn kernel(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.u8();
    let initrd_length = usize::from(input.u16());
    let mut file = input.rest().to_vec();
    let head = HEADS[usize::from(kind & 3)];
    if file.len() >= head.len() {
        file[..head.len()].copy_from_slice(head);
    }
    if kind & 3 == 3 && file.len() > 0x206 {
        file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        file[0x202..0x206].copy_from_slice(b"HdrS");
    }
    let entry = |range: GpaRange| MapEntry {
        start: range.start(),
        length: range.length(),
        kind: RangeKind::Ram,
    };
    let map = [entry(LOW), entry(HIGH)];
    let request = Request {
        memory_map: &map,
        command_line: b"console=ttyS0",
        rsdp: 0xf_0000,
        kernel_name: b"kernel",
    };
    let initrd = vec![0; initrd_length];
    let mut files = [File(&initrd), File(&initrd)];
    // A bit of the kind says whether there is a second module.
    let count = 1 + usize::from(kind >> 2 & 1);
    let modules: Vec<Module<'_>> =
        files.iter_mut().take(count).map(|file| Module { file, text: b"module" }).collect();
    let _ = load(&request, &mut File(&file), modules, &mut Ram);
}

/// The map of the guest's RAM: removed addresses are gone, the others stay.
pub fn memory_map(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut map = RamMap::new();
    while !input.is_empty() {
        let remove = input.u8() & 1 != 0;
        let Some(range) = GpaRange::from_length(input.u64(), input.u32().into()) else { continue };
        if remove {
            if map.remove(range).is_ok() && !range.is_empty() {
                assert!(!map.contains(range.start(), 1));
            }
        } else if map.add(range).is_ok() {
            assert!(map.contains(range.start(), range.length()) || range.is_empty());
        }
        assert!(map.ranges().is_sorted_by_key(GpaRange::start));
    }
}
