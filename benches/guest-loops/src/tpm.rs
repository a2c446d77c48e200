//! Commands to the guest's TPM (TPM 2.0 library specification, Part 3), by the kernel's driver.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::time::Instant;

const DEVICE: &str = "/dev/tpm0";
const MAX_RESPONSE: usize = 4096;
/// A password session with the empty password.
const PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// How often the short commands are sent, and those that compute with a key.
const SHORT: u32 = 200;
const LONG: u32 = 10;

/// Sends each command many times; prints the time of one.
pub fn run() -> io::Result<()> {
    let mut tpm = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    let commands = [
        ("tpm-get-random", SHORT, command(0x17B, false, &[&[0, 32]])),
        ("tpm-pcr-read", SHORT, command(0x17E, false, &[&[0, 0, 0, 1, 0, 11, 3, 1, 0, 0]])),
        (
            "tpm-pcr-extend",
            SHORT,
            command(0x182, true, &[&[0, 0, 0, 16], &PASSWORD, &[0, 0, 0, 1, 0, 11], &[7; 32]]),
        ),
    ];
    for (name, times, command) in commands {
        repeat(&mut tpm, name, times, &command)?;
    }
    let (owner, area) = ([0x40, 0, 0, 1], ecdsa_key());
    let size = (area.len() as u16).to_be_bytes();
    let create =
        command(0x131, true, &[&owner, &PASSWORD, &[0, 4, 0, 0, 0, 0], &size, &area, &[0; 6]]);
    let start = Instant::now();
    let made = send(&mut tpm, &create)?;
    println!("tpm-create-p256 {}", start.elapsed().as_secs_f64());
    let handle = made.get(10..14).unwrap_or_default();
    let ticket = [0x80, 0x24, 0x40, 0, 0, 7, 0, 0];
    let digest = [&[0, 32], &[9; 32][..]].concat();
    let sign = command(0x15D, true, &[handle, &PASSWORD, &digest, &[0, 0x10], &ticket]);
    repeat(&mut tpm, "tpm-sign-p256", LONG, &sign)?;
    send(&mut tpm, &command(0x165, false, &[handle])).map(drop)
}

/// The public area of an ECDSA key on P-256.
fn ecdsa_key() -> Vec<u8> {
    let head = [0, 0x23, 0, 0x0b, 0, 4, 0, 0x72, 0, 0, 0, 0x10];
    let parameters = [0, 0x18, 0, 0x0b, 0, 3, 0, 0x10, 0, 0, 0, 0];
    [head, parameters].concat()
}

fn command(code: u32, with_password: bool, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = 10 + body.len() as u32;
    let tag: [u8; 2] = if with_password { [0x80, 2] } else { [0x80, 1] };
    [&tag[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

fn repeat(tpm: &mut File, name: &str, times: u32, command: &[u8]) -> io::Result<()> {
    let start = Instant::now();
    for _ in 0..times {
        send(tpm, command)?;
    }
    println!("{name} {}", start.elapsed().as_secs_f64() / f64::from(times));
    Ok(())
}

fn send(tpm: &mut File, command: &[u8]) -> io::Result<Vec<u8>> {
    tpm.write_all(command)?;
    let mut response = vec![0; MAX_RESPONSE];
    let length = tpm.read(&mut response)?;
    response.truncate(length);
    match response.get(6..10) {
        Some([0, 0, 0, 0]) => Ok(response),
        code => Err(io::Error::other(format!("the TPM answers {code:02x?} to {command:02x?}"))),
    }
}
