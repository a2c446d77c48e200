//! The protocol of the TPM simulators, as spoken by the `mssim` TCTI of tpm2-tss.
//!
//! All numbers are big-endian. On the command port a message is a code of 32 bits; for a TPM
//! command its locality (8 bits), its size (32 bits) and its bytes follow. The answer is the size
//! and bytes of the response, then a zero of 32 bits. On the platform port a message is a code; for
//! data of a hash sequence their size and bytes follow. The answer is a zero of 32 bits. Each size
//! is checked before memory is allocated for it.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::net::sockopt::set_tcp_quickack;

use super::Port;
use super::world::Shared;

const SIGNAL_POWER_ON: u32 = 1;
const SIGNAL_POWER_OFF: u32 = 2;
const SIGNAL_PHYS_PRES_ON: u32 = 3;
const SIGNAL_PHYS_PRES_OFF: u32 = 4;
const SIGNAL_HASH_START: u32 = 5;
const SIGNAL_HASH_DATA: u32 = 6;
const SIGNAL_HASH_END: u32 = 7;
const SEND_COMMAND: u32 = 8;
const SIGNAL_CANCEL_ON: u32 = 9;
const SIGNAL_CANCEL_OFF: u32 = 10;
const SIGNAL_NV_ON: u32 = 11;
const SIGNAL_NV_OFF: u32 = 12;
const SIGNAL_KEY_CACHE_ON: u32 = 13;
const SIGNAL_KEY_CACHE_OFF: u32 = 14;
const REMOTE_HANDSHAKE: u32 = 15;
const SIGNAL_RESET: u32 = 17;
const SIGNAL_RESTART: u32 = 18;
const SESSION_END: u32 = 20;
const STOP: u32 = 21;

/// The answer to a handshake: the protocol's version, then the flags of this server.
const HANDSHAKE: [u32; 2] = [1, 1];
/// Largest number of bytes of a hash sequence in one message.
const MAX_HASH_DATA: usize = 4096;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it.
    Closed,
    /// The client asked the server to end.
    Stop,
}

/// Serves one connection to its end.
///
/// # Errors
/// A message was malformed, or the connection failed.
pub fn serve(port: Port, stream: &TcpStream, shared: &Shared) -> io::Result<End> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(Prompt { stream, in_message: false });
    let mut output = BufWriter::new(stream);
    loop {
        input.get_mut().in_message = false;
        let Some(code) = first_number(&mut input)? else { return Ok(End::Closed) };
        input.get_mut().in_message = true;
        match code {
            SESSION_END => return Ok(End::Closed),
            STOP => return Ok(End::Stop),
            _ => {}
        }
        match port {
            Port::Command => command(code, &mut input, &mut output, shared)?,
            Port::Platform => signal(code, &mut input, shared)?,
        }
        output.write_all(&0_u32.to_be_bytes())?;
        output.flush()?;
    }
}

/// A connection that acknowledges the parts of a message at once. tpm2-tss sends a command in two
/// parts and sends the second only after the first is acknowledged, which the kernel otherwise
/// delays by 40 ms.
struct Prompt<'a> {
    stream: &'a TcpStream,
    in_message: bool,
}

impl Read for Prompt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.in_message {
            // If this fails, commands are only slower.
            let _ = set_tcp_quickack(self.stream, true);
        }
        self.stream.read(buffer)
    }
}

fn command(
    code: u32,
    input: &mut impl Read,
    output: &mut impl Write,
    shared: &Shared,
) -> io::Result<()> {
    match code {
        SEND_COMMAND => {
            let [locality] = bytes(input)?;
            let command = sized(input, tpm::MAX_COMMAND)?;
            let response = shared.execute(&command, locality);
            let size = u32::try_from(response.len()).map_err(io::Error::other)?;
            output.write_all(&size.to_be_bytes())?;
            output.write_all(&response)
        }
        REMOTE_HANDSHAKE => {
            number(input)?;
            HANDSHAKE.iter().try_for_each(|word| output.write_all(&word.to_be_bytes()))
        }
        _ => Err(malformed(format!("the command port has no message {code}"))),
    }
}

fn signal(code: u32, input: &mut impl Read, shared: &Shared) -> io::Result<()> {
    match code {
        SIGNAL_POWER_ON => shared.power_on(),
        SIGNAL_POWER_OFF => shared.power_off(),
        SIGNAL_RESET | SIGNAL_RESTART => {
            shared.power_off();
            shared.power_on();
        }
        SIGNAL_PHYS_PRES_ON => shared.set_physical_presence(true),
        SIGNAL_PHYS_PRES_OFF => shared.set_physical_presence(false),
        SIGNAL_HASH_START => shared.hash_start(),
        SIGNAL_HASH_DATA => shared.hash_data(&sized(input, MAX_HASH_DATA)?),
        SIGNAL_HASH_END => shared.hash_end(),
        SIGNAL_CANCEL_ON => shared.set_cancel(true),
        SIGNAL_CANCEL_OFF => shared.set_cancel(false),
        SIGNAL_NV_ON => shared.set_nv(true),
        SIGNAL_NV_OFF => shared.set_nv(false),
        // There is no cache of keys: primary keys are derived from their seed each time.
        SIGNAL_KEY_CACHE_ON | SIGNAL_KEY_CACHE_OFF => {}
        _ => return Err(malformed(format!("the platform port has no message {code}"))),
    }
    Ok(())
}

/// The code that begins a message, or `None` at the end of the stream.
fn first_number(input: &mut impl Read) -> io::Result<Option<u32>> {
    let mut first = [0];
    loop {
        match input.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let [second, third, fourth] = bytes(input)?;
    Ok(Some(u32::from_be_bytes([first[0], second, third, fourth])))
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    bytes(input).map(u32::from_be_bytes)
}

/// Reads a size, at most `most`, and that many bytes.
fn sized(input: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let size = number(input)? as usize;
    if size > most {
        return Err(malformed(format!(
            "{size} bytes are announced, but at most {most} are allowed"
        )));
    }
    let mut bytes = vec![0; size];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn malformed(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
