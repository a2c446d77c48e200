//! Tests of the protocol over real sockets.

mod state_file;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use super::*;

const STARTUP: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
const GET_RANDOM_4: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7B, 0, 4];
const POWER_ON: u32 = 1;
const POWER_OFF: u32 = 2;
const SEND_COMMAND: u32 = 8;
const NV_OFF: u32 = 12;
const SESSION_END: u32 = 20;
const STOP: u32 = 21;

struct Server {
    address: SocketAddr,
    ended: mpsc::Receiver<()>,
}

impl Server {
    fn start(state: Option<&std::path::Path>) -> Self {
        let ports = Ports::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let shared = Shared::open(state).unwrap();
        let (ender, ended) = mpsc::channel();
        let address = ports.address;
        ports.accept(&shared, &ender);
        Self { address, ended }
    }

    fn command(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn platform(&self) -> TcpStream {
        let port = self.address.port() + 1;
        TcpStream::connect(SocketAddr::new(self.address.ip(), port)).unwrap()
    }

    fn signal(&self, code: u32) {
        let mut platform = self.platform();
        platform.write_all(&code.to_be_bytes()).unwrap();
        assert_eq!(number(&mut platform), 0);
    }
}

fn number(stream: &mut TcpStream) -> u32 {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).unwrap();
    u32::from_be_bytes(bytes)
}

fn message(command: &[u8]) -> Vec<u8> {
    let mut bytes = SEND_COMMAND.to_be_bytes().to_vec();
    bytes.push(0);
    bytes.extend((command.len() as u32).to_be_bytes());
    bytes.extend(command);
    bytes
}

fn send(stream: &mut TcpStream, command: &[u8]) -> Vec<u8> {
    stream.write_all(&message(command)).unwrap();
    let mut response = vec![0; number(stream) as usize];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(number(stream), 0);
    response
}

fn response_code(response: &[u8]) -> u32 {
    u32::from_be_bytes(response[6..10].try_into().unwrap())
}

/// Whether the server closes the connection without sending anything more.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset counts too: the server may close with bytes unread.
    stream.read_to_end(&mut rest).is_err() || rest.is_empty()
}

#[test]
fn a_powered_tpm_answers_and_forgets_with_its_power() {
    let server = Server::start(None);
    let mut commands = server.command();
    assert!(send(&mut commands, &STARTUP).is_empty(), "no power, no response");
    server.signal(POWER_ON);
    assert_eq!(response_code(&send(&mut commands, &GET_RANDOM_4)), 0x100, "TPM_RC_INITIALIZE");
    assert_eq!(response_code(&send(&mut commands, &STARTUP)), 0);
    let random = send(&mut commands, &GET_RANDOM_4);
    assert_eq!((response_code(&random), random.len()), (0, 16));
    server.signal(POWER_ON);
    assert_eq!(response_code(&send(&mut commands, &GET_RANDOM_4)), 0, "power was there");
    server.signal(POWER_OFF);
    server.signal(POWER_ON);
    assert_eq!(response_code(&send(&mut commands, &GET_RANDOM_4)), 0x100);
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let server = Server::start(None);
    server.signal(POWER_ON);
    let mut commands = server.command();
    for byte in message(&STARTUP) {
        commands.write_all(&[byte]).unwrap();
    }
    let mut response = vec![0; number(&mut commands) as usize];
    commands.read_exact(&mut response).unwrap();
    assert_eq!(response_code(&response), 0);
}

#[test]
fn a_malformed_message_closes_its_own_connection_only() {
    let server = Server::start(None);
    server.signal(POWER_ON);
    let mut good = server.command();
    assert_eq!(response_code(&send(&mut good, &STARTUP)), 0);
    let mut too_long = SEND_COMMAND.to_be_bytes().to_vec();
    too_long.extend([0, 0xFF, 0xFF, 0xFF, 0xFF]);
    for bytes in [&too_long[..], &99_u32.to_be_bytes(), &POWER_ON.to_be_bytes()] {
        let mut bad = server.command();
        bad.write_all(bytes).unwrap();
        assert!(is_closed(bad), "{bytes:?}");
    }
    let mut bad = server.platform();
    bad.write_all(&[0, 0, 0, 6, 0, 1, 0, 0]).unwrap();
    assert!(is_closed(bad), "too much for a hash sequence");
    let bad = server.command();
    (&bad).write_all(&message(&GET_RANDOM_4)[..11]).unwrap();
    bad.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(bad), "the message ends early");
    assert_eq!(response_code(&send(&mut good, &GET_RANDOM_4)), 0);
}

#[test]
fn a_session_ends_and_a_stop_stops() {
    let server = Server::start(None);
    let mut commands = server.command();
    commands.write_all(&SESSION_END.to_be_bytes()).unwrap();
    assert!(is_closed(commands));
    assert!(server.ended.try_recv().is_err());
    let mut platform = server.platform();
    platform.write_all(&STOP.to_be_bytes()).unwrap();
    server.ended.recv().unwrap();
}

#[test]
fn a_handshake_tells_the_version() {
    let server = Server::start(None);
    let mut commands = server.command();
    commands.write_all(&[0, 0, 0, 15, 0, 0, 0, 1]).unwrap();
    let answer = [number(&mut commands), number(&mut commands), number(&mut commands)];
    assert_eq!(answer, [1, 1, 0]);
}

#[test]
fn bytes_that_are_no_command_get_a_response() {
    let server = Server::start(None);
    server.signal(POWER_ON);
    let mut commands = server.command();
    for command in [&[][..], &[1], &[0x80, 0x01], &[0; 4096]] {
        assert_ne!(response_code(&send(&mut commands, command)), 0, "{} bytes", command.len());
    }
    server.signal(NV_OFF);
    assert_ne!(send(&mut commands, &STARTUP).len(), 0, "storage that fails is no silence");
}

#[test]
fn a_port_in_use_is_said_by_its_kind() {
    let server = Server::start(None);
    let Err(error) = Ports::bind(server.address) else { panic!("two servers have one port") };
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::AddrInUse));
    let Err(error) = Ports::bind(SocketAddr::from(([127, 0, 0, 1], 65_535))) else {
        panic!("there is no port 65536")
    };
    assert!(error.to_string().contains("65535"), "{error}");
}
