extern crate std;

use core::ptr::NonNull;
use std::sync::Mutex;
use std::vec::Vec;

use host_wire::file;
use pc::{DeviceRegisters, Direction, Lent};
use platform_api::Width;

use super::*;

/// QEMU's fw_cfg device (QEMU, docs/specs/fw_cfg), with files that the host lists from key 32 on.
struct FirmwareDevice {
    /// Names with their contents.
    files: Vec<(&'static str, Vec<u8>)>,
    /// The selected key, and the place in its file.
    at: Mutex<(u16, usize)>,
}

impl FirmwareDevice {
    fn content(&self, key: u16) -> Vec<u8> {
        match key {
            0 => b"QEMU".to_vec(),
            1 => std::vec![3, 0, 0, 0],
            0x19 => self.directory(),
            _ => self.files[usize::from(key) - 32].1.clone(),
        }
    }

    fn directory(&self) -> Vec<u8> {
        let mut all = (self.files.len() as u32).to_be_bytes().to_vec();
        for (key, (name, content)) in (32_u16..).zip(&self.files) {
            let mut entry = (content.len() as u32).to_be_bytes().to_vec();
            entry.extend(key.to_be_bytes());
            entry.extend([0; 2]);
            entry.extend(name.bytes());
            entry.resize(64, 0);
            all.extend(entry);
        }
        all
    }

    /// Serves the request at `address`, which lies in this process.
    fn serve(&self, address: u64) {
        let request = address as *mut [u8; 16];
        // SAFETY: the driver lends a whole request.
        let bytes = unsafe { request.read_volatile() };
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (control, length) = (word(0), word(4) as usize);
        let mut at = self.at.lock().unwrap();
        if control & 8 != 0 {
            *at = ((control >> 16) as u16, 0);
        }
        if control & 2 != 0 {
            let target = u64::from(word(8)) << 32 | u64::from(word(12));
            // Behind its end a file has zeroes.
            let rest = self.content(at.0).into_iter().skip(at.1);
            for (place, byte) in (target..).zip(rest.chain(core::iter::repeat(0)).take(length)) {
                // SAFETY: the driver lends so many bytes.
                unsafe { (place as *mut u8).write_volatile(byte) };
            }
        }
        at.1 += length;
        // SAFETY: as for the read.
        unsafe { request.cast::<u32>().write_volatile(0) };
    }
}

/// The way to the device, with the upper half of the address of a request.
struct Wire(FirmwareDevice, Mutex<u64>);

impl Access for Wire {
    const MOST_LENT: usize = usize::MAX;

    fn port_read(&self, _: u16, _: Width) -> u32 {
        let mut at = self.0.at.lock().unwrap();
        at.1 += 1;
        self.0.content(at.0).get(at.1 - 1).copied().unwrap_or(0).into()
    }
    fn port_write(&self, port: u16, _: Width, value: u32) {
        let half = u64::from(value.swap_bytes());
        match port {
            0x510 => *self.0.at.lock().unwrap() = (value as u16, 0),
            0x514 => *self.1.lock().unwrap() = half << 32,
            _ => self.0.serve(*self.1.lock().unwrap() | half),
        }
    }
    fn register_read(&self, _: &DeviceRegisters, _: u64, _: Width) -> u32 {
        0
    }
    fn register_write(&self, _: &DeviceRegisters, _: u64, _: Width, _: u32) {}
    fn tsc(&self) -> u64 {
        0
    }
    fn lend<R>(&self, bytes: &mut [u8], _: Direction, transfer: impl FnOnce(&Lent) -> R) -> R {
        let pointer = NonNull::from_mut(bytes).cast::<u8>();
        // SAFETY: the caller lends the bytes.
        transfer(&unsafe { Lent::new(pointer, bytes.len(), pointer.as_ptr() as u64) })
    }
}

fn pc(files: &[(&'static str, &[u8])]) -> Pc<Wire> {
    let files = files.iter().map(|(name, content)| (*name, content.to_vec())).collect();
    let device = FirmwareDevice { files, at: Mutex::new((0, 0)) };
    // SAFETY: the fake has no registers.
    unsafe { Pc::new(Wire(device, Mutex::new(0))) }
}

/// A kernel of six bytes and an initrd of two are measured; the other files are empty.
fn measured() -> MeasuredFiles {
    let file = |length, byte| FileDigest { length, sha256: [byte; 32] };
    let files = [file(6, 1), FileDigest::default(), file(2, 3), FileDigest::default()];
    MeasuredFiles::new(Measured { files, config: b"log=info\n" })
}

#[test]
fn a_file_has_its_measured_length_and_the_hosts_bytes() {
    // The initrd is longer than the measured one, and the kernel shorter.
    let pc = pc(&[(file::INITRD, b"long"), ("other", b"x"), (file::KERNEL, b"kern")]);
    let files = measured();
    let found = [file::KERNEL, file::INITRD].map(|name| files.find(&pc, name).unwrap().unwrap());
    assert_eq!(found.map(|file| file.length), [6, 2]);
    assert_eq!(found.map(|file| files.digest(file)), [Some([1; 32]), Some([3; 32])]);
    let mut bytes = [9; 4];
    assert_eq!(files.read(&pc, found[0], 2, &mut bytes), Ok(()));
    assert_eq!(bytes, *b"rn\0\0");
    assert_eq!(files.read(&pc, found[1], 0, &mut bytes[..2]), Ok(()));
    assert_eq!(bytes[..2], *b"lo");
    assert_eq!(files.read(&pc, found[1], 1, &mut bytes[..2]), Err(Transfer::PastEnd));
}

#[test]
fn a_file_that_was_not_measured_is_not_there_and_a_measured_one_must_be() {
    let offered = [(file::COMMAND_LINE, &b"init=/bin/sh"[..]), (file::MODULES[0], b"m")];
    let (pc, files) = (pc(&offered), measured());
    for name in [file::COMMAND_LINE, file::KERNEL_NAME, file::MODULES[0]] {
        assert_eq!(files.find(&pc, name), Ok(None), "{name}");
    }
    assert_eq!(files.find(&pc, file::KERNEL), Err(Missing));
}

#[test]
fn the_configuration_is_the_measured_one() {
    let (pc, files) = (pc(&[(file::CONFIG, b"log=debug\n")]), measured());
    let config = files.find(&pc, file::CONFIG).unwrap().unwrap();
    assert_eq!((config.length, files.digest(config)), (9, None));
    let mut bytes = [0; 9];
    assert_eq!(files.read(&pc, config, 0, &mut bytes), Ok(()));
    assert_eq!(bytes, *b"log=info\n");
    for offset in [1, 10, u32::MAX] {
        assert_eq!(files.read(&pc, config, offset, &mut bytes), Err(Transfer::PastEnd));
    }
}
