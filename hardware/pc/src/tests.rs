//! A board with a model of each of the PC's devices, reached directly or by calls.

extern crate std;

use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::{HashMap, VecDeque};
use std::string::String;
use std::sync::{Mutex, MutexGuard};
use std::vec::Vec;
use std::{format, vec};

use platform_api::{HostFile, Received, Transfer, Width};

use crate::access::{Access, DeviceRegisters, Direction, Lent};
use crate::{IO_APIC_PAGE, KICK_VECTOR, LOCAL_APIC_PAGE, Pc, is_asked_for};

/// The host's files in fw_cfg: the key, the content.
type Files = HashMap<u16, Vec<u8>>;

#[derive(Default)]
struct Devices {
    files: Files,
    key: u16,
    position: usize,
    dma: u64,
    /// The DMA engine fails.
    fails: bool,
    /// How often bytes were lent.
    lent: usize,
    cmos: HashMap<u8, VecDeque<u8>>,
    cmos_index: u8,
    pci: HashMap<u32, u32>,
    pci_address: u32,
    /// What serial port 0 answers: line status, then data.
    line: VecDeque<(u8, u8)>,
    registers: HashMap<u64, u32>,
    register_writes: Vec<(u64, u32)>,
    port_writes: Vec<(u16, u32)>,
    has_report_port: bool,
    power_status: u16,
    tsc: u64,
}

/// The board. Devices see 64 lent bytes at most, as a copy, if it is reached by `CALLS`.
#[derive(Default)]
pub(crate) struct Board<const CALLS: bool = false>(Mutex<Devices>);

impl<const CALLS: bool> Board<CALLS> {
    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.0.lock().unwrap()
    }
}

impl Devices {
    /// Serves the request at `self.dma`, which lies in this process.
    fn serve(&mut self) {
        let request = self.dma as *mut [u8; 16];
        // SAFETY: the driver lends a whole request.
        let bytes = unsafe { request.read_volatile() };
        let control = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let address = u64::from_be_bytes(bytes[8..].try_into().unwrap());
        if control & 8 != 0 {
            (self.key, self.position) = ((control >> 16) as u16, 0);
        }
        if control & 2 != 0 {
            let file = self.files.get(&self.key).cloned().unwrap_or_default();
            let from = file[self.position..][..length].as_ptr();
            // SAFETY: the driver says that the engine may write there.
            unsafe { core::ptr::copy_nonoverlapping(from, address as *mut u8, length) };
        }
        self.position += length;
        // SAFETY: as for the read.
        unsafe { request.cast::<u32>().write_volatile(u32::from(self.fails).to_be()) };
    }

    fn read(&mut self, port: u16) -> u32 {
        match port {
            0xe9 if self.has_report_port => 0xe9,
            0x511 => {
                let byte = self.files.get(&self.key).and_then(|file| file.get(self.position));
                let byte = byte.copied().unwrap_or(0);
                self.position += 1;
                byte.into()
            }
            0x71 => {
                let values = self.cmos.entry(self.cmos_index).or_default();
                let next =
                    if values.len() > 1 { values.pop_front() } else { values.front().copied() };
                next.unwrap_or(0).into()
            }
            0xcfc => self.pci.get(&self.pci_address).copied().unwrap_or(u32::MAX),
            0x3fd => self.line.front().map_or(0x60, |(status, _)| u32::from(*status)),
            0x3f8 => self.line.pop_front().map_or(0, |(_, data)| data.into()),
            0x600 => self.power_status.into(),
            0x604 => 0,
            _ => u32::MAX,
        }
    }

    fn write(&mut self, port: u16, value: u32) {
        match port {
            0x510 => (self.key, self.position) = (value as u16, 0),
            0x514 => self.dma = u64::from(value.swap_bytes()) << 32,
            0x518 => {
                self.dma |= u64::from(value.swap_bytes());
                self.serve();
            }
            0x70 => self.cmos_index = value as u8,
            0xcf8 => self.pci_address = value,
            0x600 => self.power_status &= !(value as u16),
            _ => self.port_writes.push((port, value)),
        }
    }
}

impl<const CALLS: bool> Access for Board<CALLS> {
    const MOST_LENT: usize = if CALLS { 64 } else { usize::MAX };

    fn port_read(&self, port: u16, width: Width) -> u32 {
        self.devices().read(port) & width.mask()
    }
    fn port_write(&self, port: u16, width: Width, value: u32) {
        assert_eq!(value & !width.mask(), 0);
        self.devices().write(port, value);
    }
    fn register_read(&self, registers: &DeviceRegisters, offset: u64, width: Width) -> u32 {
        let Some(address) = registers.address(offset, width) else { return width.mask() };
        if (IO_APIC_PAGE..LOCAL_APIC_PAGE + 0x1000).contains(&address) {
            return self.devices().registers.get(&address).copied().unwrap_or(0);
        }
        // SAFETY: other registers are memory of the test.
        unsafe {
            match width {
                Width::Byte => u32::from((address as *const u8).read_volatile()),
                Width::Word => u32::from((address as *const u16).read_volatile()),
                Width::Dword => (address as *const u32).read_volatile(),
            }
        }
    }
    fn register_write(&self, registers: &DeviceRegisters, offset: u64, width: Width, value: u32) {
        let Some(address) = registers.address(offset, width) else { return };
        if (IO_APIC_PAGE..LOCAL_APIC_PAGE + 0x1000).contains(&address) {
            let mut devices = self.devices();
            devices.registers.insert(address, value);
            return devices.register_writes.push((address, value));
        }
        // SAFETY: as above.
        unsafe {
            match width {
                Width::Byte => (address as *mut u8).write_volatile(value as u8),
                Width::Word => (address as *mut u16).write_volatile(value as u16),
                Width::Dword => (address as *mut u32).write_volatile(value),
            }
        }
    }
    fn tsc(&self) -> u64 {
        self.devices().tsc
    }
    fn lend<R>(
        &self,
        bytes: &mut [u8],
        direction: Direction,
        transfer: impl FnOnce(&Lent) -> R,
    ) -> R {
        self.devices().lent += 1;
        assert!(bytes.len() <= Self::MOST_LENT);
        let mut copy = [0_u64; 8];
        let pointer = copy.as_mut_ptr().cast::<u8>();
        if !CALLS {
            let pointer = NonNull::from_mut(bytes).cast::<u8>();
            // SAFETY: the caller lends the bytes.
            let lent = unsafe { Lent::new(pointer, bytes.len(), pointer.as_ptr() as u64) };
            return transfer(&lent);
        }
        if direction == Direction::Both {
            // SAFETY: the copy is long enough.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer, bytes.len()) };
        }
        // SAFETY: the copy lives as long.
        let lent =
            unsafe { Lent::new(NonNull::new(pointer).unwrap(), bytes.len(), pointer as u64) };
        let result = transfer(&lent);
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(pointer, bytes.as_mut_ptr(), bytes.len()) };
        result
    }
}

fn pc<const CALLS: bool>() -> &'static Pc<Board<CALLS>> {
    // SAFETY: the board has its APICs where they are expected.
    Box::leak(Box::new(unsafe { Pc::new(Board::default()) }))
}

impl<const CALLS: bool> Pc<Board<CALLS>> {
    fn set(&self, change: impl FnOnce(&mut Devices)) {
        change(&mut self.access.devices());
    }
}

/// Gives the board two files, `opt/first` with 300 bytes as key 32 and `opt/second` as key 33.
fn give_files(devices: &mut Devices) {
    let entry = |length: u32, key: u16, name: &str| {
        let mut entry = vec![];
        entry.extend(length.to_be_bytes());
        entry.extend(key.to_be_bytes());
        entry.extend([0; 2]);
        entry.extend(name.bytes());
        entry.resize(64, 0);
        entry
    };
    let first: Vec<u8> = (0..300).map(|index| index as u8).collect();
    let directory =
        [2_u32.to_be_bytes().to_vec(), entry(300, 32, "opt/first"), entry(5, 33, "opt/second")];
    devices.files = HashMap::from([
        (0x00, b"QEMU".to_vec()),
        (0x01, vec![3, 0, 0, 0]),
        (0x02, (1..=16).collect()),
        (0x05, vec![4, 0]),
        (0x19, directory.concat()),
        (32, first),
        (33, b"hello".to_vec()),
    ]);
}

fn files_are_read<const CALLS: bool>() {
    let pc = pc::<CALLS>();
    assert!(!pc.has_fw_cfg(), "an empty bus");
    pc.set(give_files);
    assert!(pc.has_fw_cfg());
    assert_eq!((pc.cpu_count(), pc.uuid().map(|uuid| uuid[15])), (4, Some(16)));
    assert_eq!(pc.find_file("opt/third"), None);
    assert_eq!(pc.find_file("opt/secon"), None);
    assert_eq!(pc.find_file("opt/second"), Some(HostFile { selector: 33, length: 5 }));
    let file = pc.find_file("opt/first").unwrap();
    let mut bytes = [0; 200];
    assert_eq!(pc.read_file(file, 50, &mut bytes), Ok(()));
    assert!((50..).zip(bytes).all(|(at, byte)| byte == at as u8), "{bytes:?}");
    assert_eq!(pc.read_file(file, 101, &mut bytes), Err(Transfer::PastEnd));
    assert_eq!(pc.read_file(file, u32::MAX, &mut bytes), Err(Transfer::PastEnd));
    assert_eq!(pc.read_file(file, 300, &mut []), Ok(()));
    pc.set(|devices| devices.fails = true);
    assert_eq!(pc.read_file(file, 0, &mut bytes), Err(Transfer::Refused));
}

#[test]
fn files_are_read_by_instructions() {
    files_are_read::<false>();
}

#[test]
fn files_are_read_by_calls_in_pieces() {
    files_are_read::<true>();
    let pc = pc::<true>();
    pc.set(give_files);
    let file = pc.find_file("opt/first").unwrap();
    pc.set(|devices| devices.lent = 0);
    let mut bytes = [0xee; 130];
    assert_eq!(pc.read_file(file, 0, &mut bytes), Ok(()));
    assert_eq!(
        pc.access.devices().lent,
        1 + 3 * 2,
        "a skip, then three pieces with a request each"
    );
    assert_eq!(bytes[129], 129);
}

#[test]
fn an_old_fw_cfg_without_dma_and_an_empty_uuid_count_as_none() {
    let pc = pc::<false>();
    pc.set(give_files);
    pc.set(|devices| {
        devices.files.insert(0x01, vec![1, 0, 0, 0]);
        devices.files.insert(0x02, vec![0; 16]);
    });
    assert!(!pc.has_fw_cfg());
    assert_eq!(pc.uuid(), None);
}

#[test]
fn lent_memory_is_read_within_its_bounds() {
    let mut words = [0x0403_0201_u32, 0x0807_0605];
    let pointer = NonNull::from_mut(&mut words).cast::<u8>();
    // SAFETY: seven bytes of the array, which lives as long.
    let lent = unsafe { Lent::new(pointer, 7, 0x5000) };
    assert_eq!(lent.read_u32(0), 0x0403_0201);
    for outside in [1, 4, 7, usize::MAX] {
        assert_eq!(lent.read_u32(outside), u32::MAX, "{outside}");
    }
}

#[test]
fn registers_have_addresses_within_their_bounds() {
    // SAFETY: nobody accesses them.
    let registers = unsafe { DeviceRegisters::new(0x1000, 6) };
    let cases = [
        (0, Width::Dword, Some(0x1000)),
        (4, Width::Word, Some(0x1004)),
        (5, Width::Byte, Some(0x1005)),
        (4, Width::Dword, None),
        (6, Width::Byte, None),
        (1, Width::Word, None),
        (u64::MAX, Width::Byte, None),
        (u64::MAX - 3, Width::Dword, None),
    ];
    for (offset, width, address) in cases {
        assert_eq!(registers.address(offset, width), address, "{offset} {width:?}");
    }
}

#[test]
fn a_break_comes_with_its_zero_or_alone() {
    let pc = pc::<false>();
    // Data ready 1, break 10h, transmitter empty 20h.
    pc.set(|devices| devices.line = VecDeque::from([(0x61, b'a'), (0x71, 0), (0x61, 0)]));
    let all: Vec<_> = core::iter::from_fn(|| pc.receive(0)).collect();
    assert_eq!(all, [Received::Byte(b'a'), Received::Break, Received::Byte(0)]);
    pc.set(|devices| devices.line.push_back((0x70, 0)));
    assert_eq!(pc.receive(0), Some(Received::Break), "the FIFO had no room for the zero");
    pc.set(|devices| devices.line = VecDeque::from([(0x40, 0)]));
    assert!(!pc.is_ready(0), "the transmitter is busy");
    assert_eq!(pc.receive(1), None, "there is no second port");
    assert!(pc.is_ready(1), "a missing port swallows everything");
    assert_eq!((pc.receive(2), pc.is_ready(2)), (None, true));
}

#[test]
fn an_interrupt_of_a_serial_port_is_an_event_once() {
    let pc = pc::<false>();
    assert!(pc.take_serial_event(), "bytes may have come before the start");
    assert!(!pc.take_serial_event());
    pc.interrupt(0x42);
    assert!(pc.take_serial_event());
    pc.interrupt(KICK_VECTOR);
    assert!(!pc.take_serial_event());
    let ended = pc.access.devices().register_writes.clone();
    assert_eq!(ended, [(LOCAL_APIC_PAGE + 0xb0, 0); 2], "both were ended");
    pc.interrupt(0xff);
    assert_eq!(pc.access.devices().register_writes.len(), 2, "a spurious one is not");
}

/// A host can name an exception or a system call where an interrupt is due.
#[test]
fn no_exception_and_no_system_call_is_an_interrupt_that_was_asked_for() {
    assert!((0..32).chain([0x80]).all(|vector| !is_asked_for(vector)));
    assert_eq!((0..=u8::MAX).filter(|vector| is_asked_for(*vector)).count(), 5);
    assert!([KICK_VECTOR, 0x42, 0x43].into_iter().all(is_asked_for));
}

#[test]
fn a_press_of_the_power_button_is_told_once_and_its_line_falls() {
    let pc = pc::<false>();
    assert!(!pc.take_power_press());
    pc.set(|devices| devices.power_status = 1 << 8 | 1 << 0);
    pc.interrupt(0x43);
    assert!(pc.take_power_press());
    assert_eq!(pc.access.devices().power_status, 0);
    assert!(!pc.take_power_press());
    pc.interrupt(0x43);
    assert!(!pc.take_power_press(), "another event than the button");
    pc.end(7);
    let writes = pc.access.devices().port_writes.clone();
    assert_eq!(writes, [(0xf4, 7), (0x604, 1 << 13)], "the exit device, then ACPI's way");
}

#[test]
fn the_wall_clock_waits_for_an_update_and_reads_twice() {
    let pc = pc::<false>();
    let fixed = [(0x02, 0x59), (0x04, 0x23), (0x07, 0x28), (0x08, 2), (0x09, 0x00), (0x32, 0x20)];
    pc.set(|devices| {
        devices.cmos = fixed.map(|(index, value)| (index, VecDeque::from([value]))).into();
        devices.cmos.insert(0x0a, VecDeque::from([0x80, 0x80, 0]));
        // The seconds change between the first two looks.
        devices.cmos.insert(0x00, VecDeque::from([0x58, 0x59, 0x59]));
    });
    assert_eq!(pc.wall_clock(), 951_782_399);
}

#[test]
fn cpus_are_kicked_by_the_ids_of_their_apics() {
    let pc = pc::<false>();
    pc.set(|devices| {
        devices.registers.insert(LOCAL_APIC_PAGE + 0x20, 5 << 24);
    });
    pc.enable_apic(Some(3));
    pc.set(|devices| devices.register_writes.clear());
    pc.kick(3);
    pc.kick(64);
    let command = [(LOCAL_APIC_PAGE + 0x310, 5 << 24), (LOCAL_APIC_PAGE + 0x300, 0x41)];
    assert_eq!(pc.access.devices().register_writes, command);
    pc.set(|devices| devices.register_writes.clear());
    let waited = Mutex::new(vec![]);
    pc.start_others(0x8000, |time| waited.lock().unwrap().push(time));
    let sent: Vec<u32> = pc
        .access
        .devices()
        .register_writes
        .iter()
        .filter(|(address, _)| *address == LOCAL_APIC_PAGE + 0x300)
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(sent, [0xc_4500, 0xc_4608], "INIT, then SIPI with the page");
    assert_eq!(*waited.lock().unwrap(), [10_000]);
}

#[test]
fn a_deadline_becomes_a_count_of_the_apic_s_timer() {
    let pc = pc::<false>();
    pc.set_timer_ratio(1_000_000_000, 2_000_000_000);
    pc.set(|devices| devices.tsc = 1_000);
    for (deadline, count) in
        [(None, 0), (Some(3_000), 1_000), (Some(500), 1), (Some(u64::MAX), u32::MAX)]
    {
        pc.set_deadline(deadline);
        let set = pc.access.devices().register_writes.last().copied();
        assert_eq!(set, Some((LOCAL_APIC_PAGE + 0x380, count)), "{deadline:?}");
    }
}

#[test]
fn the_firmware_area_opens_on_both_machines() {
    for (identity, first) in [(0x1237_8086, 0x59_u32), (0x29c0_8086, 0x90)] {
        let pc = pc::<false>();
        pc.set(|devices| {
            devices.pci.insert(1 << 31, identity);
        });
        assert_eq!(pc.open_firmware_area(), Ok(()));
        let writes = pc.access.devices().port_writes.clone();
        let expected: Vec<(u16, u32)> =
            (first..first + 7).map(|register| (0xcfc + (register & 3) as u16, 0x33)).collect();
        assert_eq!(writes, expected);
    }
    let error = pc::<false>().open_firmware_area().unwrap_err();
    assert!(format!("{error}").contains("0xffffffff"));
}

#[test]
fn lines_go_to_the_report_port_or_else_to_the_console() {
    for (has_report_port, port) in [(true, 0xe9), (false, 0x3f8)] {
        let pc = pc::<false>();
        pc.set(|devices| devices.has_report_port = has_report_port);
        pc.report_line(format_args!("exits {}", 5));
        pc.write_report("!");
        let devices = pc.access.devices();
        assert!(devices.port_writes.iter().all(|(at, _)| *at == port));
        let text: String =
            devices.port_writes.iter().map(|(_, byte)| char::from(*byte as u8)).collect();
        assert_eq!(text, "exits 5\n!");
    }
}
