extern crate std;

use std::boxed::Box;
use std::sync::Mutex as Lock;
use std::vec::Vec;

use pc::{DeviceRegisters, Direction, Lent};
use platform_api::Width;

use super::*;

const FIRST: u16 = 0x3f8;
const LINE_STATUS: u16 = 5;
const TRANSMIT_EMPTY: u32 = 1 << 5;

/// Two ports that take a FIFO's worth of bytes a few times.
#[derive(Debug, Default)]
struct Ports {
    takes: Lock<u32>,
    /// Calls that send: the port, the bytes.
    sent: Lock<Vec<(u16, Vec<u8>)>>,
}

/// The way to them.
#[derive(Debug)]
struct Wire(&'static Ports);

impl Access for Wire {
    const MOST_LENT: usize = 0;

    fn port_read(&self, port: u16, _: Width) -> u32 {
        let is_status = port & 7 == LINE_STATUS & 7;
        if is_status && *self.0.takes.lock().unwrap() != 0 { TRANSMIT_EMPTY } else { 0 }
    }
    fn port_write(&self, _: u16, _: Width, _: u32) {
        panic!("a byte by itself");
    }
    fn port_write_bytes(&self, port: u16, bytes: &[u8]) {
        *self.0.takes.lock().unwrap() -= 1;
        assert!(bytes.len() <= SERIAL_FIFO);
        self.0.sent.lock().unwrap().push((port, bytes.to_vec()));
    }
    fn register_read(&self, _: &DeviceRegisters, _: u64, _: Width) -> u32 {
        0
    }
    fn register_write(&self, _: &DeviceRegisters, _: u64, _: Width, _: u32) {}
    fn tsc(&self) -> u64 {
        0
    }
    fn lend<R>(&self, _: &mut [u8], _: Direction, _: impl FnOnce(&Lent) -> R) -> R {
        panic!("nothing is lent")
    }
}

/// A PC whose ports take bytes so often.
fn pc(takes: u32) -> (Pc<Wire>, &'static Ports) {
    let ports = Box::leak(Box::new(Ports { takes: Lock::new(takes), ..Ports::default() }));
    // SAFETY: the fake has no registers.
    (unsafe { Pc::new(Wire(ports)) }, ports)
}

fn sent(ports: &Ports) -> Vec<(u16, Vec<u8>)> {
    core::mem::take(&mut *ports.sent.lock().unwrap())
}

fn outbox() -> Outbox {
    let outbox = Outbox::new();
    outbox.set_frequency(1_000_000);
    outbox
}

const PAUSE: u64 = 1_000_000 / PER_SECOND;

#[test]
fn a_line_leaves_at_once_in_few_calls() {
    let ((pc, ports), outbox) = (&pc(9), outbox());
    let line = b"twenty-three characters\n";
    let due: Vec<_> = line.iter().map(|byte| outbox.put(pc, 0, *byte, 5)).collect();
    assert_eq!(due[0], Some(5 + PAUSE), "the first byte asks for a time");
    assert!(due[1..].iter().all(Option::is_none));
    let (first, second) = line.split_at(SERIAL_FIFO);
    assert_eq!(sent(ports), [(FIRST, first.to_vec()), (FIRST, second.to_vec())]);
    // There is nothing left to send.
    assert_eq!(outbox.send_due(pc, || 5 + PAUSE), None);
    assert_eq!(sent(ports), []);
}

#[test]
fn a_part_of_a_line_leaves_when_it_is_due() {
    let ((pc, ports), outbox) = (&pc(9), outbox());
    assert_eq!(outbox.put(pc, 1, b'>', 100), Some(100 + PAUSE));
    assert_eq!(outbox.put(pc, 0, b'$', 101), None, "a time is known already");
    assert_eq!(outbox.send_due(pc, || 99 + PAUSE), None);
    assert_eq!(sent(ports), []);
    assert_eq!(outbox.send_due(pc, || 100 + PAUSE), None);
    assert_eq!(sent(ports), [(0x3f8, b"$".to_vec()), (0x2f8, b">".to_vec())]);
    assert_eq!(outbox.put(pc, 0, b'#', 9000), Some(9000 + PAUSE));
}

/// A CPU that sends what waits has taken the time first.
#[test]
fn the_end_of_the_vm_does_not_overtake_a_cpu_that_sends() {
    let ((pc, ports), outbox) = (&pc(0), outbox());
    outbox.put(pc, 0, b'>', 0);
    outbox.due.store(0, Ordering::Relaxed);
    assert!(!outbox.send_rest(pc), "the port takes nothing");
    *ports.takes.lock().unwrap() = 9;
    assert!(outbox.send_rest(pc));
    assert_eq!(sent(ports), [(FIRST, b">".to_vec())]);
}

#[test]
fn a_port_that_takes_nothing_keeps_the_order_and_loses_nothing() {
    let ((pc, ports), outbox) = (&pc(0), outbox());
    let bytes: Vec<u8> = (0..MOST as u8).map(|number| b'0' + number % 10).collect();
    for byte in &bytes {
        assert!(outbox.has_room(pc, 0));
        outbox.put(pc, 0, *byte, 0);
    }
    assert!(!outbox.has_room(pc, 0) && outbox.has_room(pc, 1));
    assert_eq!(outbox.send_due(pc, || PAUSE), Some(2 * PAUSE), "tried again later");
    *ports.takes.lock().unwrap() = 3;
    assert!(outbox.has_room(pc, 0));
    *ports.takes.lock().unwrap() = 99;
    assert_eq!(outbox.send_all(pc, 0), None);
    let all: Vec<u8> = sent(ports).into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(all, bytes);
}
