//! `paravane vtpm` and swtpm as processes, each behind one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use tempfile::TempDir;

use crate::{build, place};

const POWER_ON: u32 = 1;
const SEND_COMMAND: u32 = 8;
const CANCEL_OFF: u32 = 10;
/// Longest response.
const MAX_RESPONSE: usize = 4096;
/// How long, in steps of 20 ms, a server may take to listen.
const PATIENCE: usize = 250;
/// Longest time for one command.
const TIMEOUT: Duration = Duration::from_secs(60);
const TPM_RC_RETRY: u32 = 0x922;
const MAX_RETRIES: usize = 100;
const STARTUP: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// A TPM that answers commands.
pub trait Peer {
    /// Sends a command and returns its response.
    fn send(&mut self, command: &[u8]) -> Result<Vec<u8>>;
}

/// Both servers, started up.
pub struct Peers {
    /// Ours.
    pub ours: Simulator,
    /// swtpm.
    pub theirs: Swtpm,
}

impl Peers {
    /// Starts both for a comparison, with new states in memory where possible; ours in the debug
    /// build.
    pub fn to_compare() -> Result<Self> {
        build::paravane()?;
        Self::start(Simulator::start(&place::paravane())?)
    }

    /// Starts both for a measurement, with new states in files; ours optimized. They share one CPU
    /// with the client, because the time to wake another CPU depends on the scheduler's placement.
    pub fn to_measure() -> Result<Self> {
        build::paravane_release()?;
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one)?;
        Self::start(Simulator::start_with_state(&place::paravane_release())?)
    }

    fn start(ours: Simulator) -> Result<Self> {
        let mut peers = Self { ours, theirs: Swtpm::start()? };
        start_up(&mut peers.ours)?;
        start_up(&mut peers.theirs)?;
        Ok(peers)
    }

    /// Flushes an object that only one of them has created, or to which they gave different
    /// handles, so that later commands mean the same to both.
    pub fn realign(&mut self, command: &[u8], ours: &[u8], theirs: &[u8]) -> Result<()> {
        let makes_a_handle = command.get(6..10).is_some_and(|code| MAKERS.contains(&code));
        let handle = |response: &[u8]| response.get(10..14).map(Vec::from);
        let of = |response| handle(response).filter(|_| makes_a_handle && code(response) == 0);
        let (ours, theirs) = (of(ours), of(theirs));
        if ours == theirs {
            return Ok(());
        }
        let flush = |handle: &[u8]| [&FLUSH, handle].concat();
        ours.map(|handle| self.ours.send(&flush(&handle))).transpose()?;
        theirs.map(|handle| self.theirs.send(&flush(&handle))).transpose()?;
        Ok(())
    }
}

/// Codes of the generated commands that create a handle: CreatePrimary, StartAuthSession.
const MAKERS: [&[u8]; 2] = [&[0, 0, 0x01, 0x31], &[0, 0, 0x01, 0x76]];
/// TPM2_FlushContext without its handle.
const FLUSH: [u8; 10] = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65];

/// Sends TPM2_Startup.
pub fn start_up(peer: &mut impl Peer) -> Result<()> {
    match code(&peer.send(&STARTUP)?) {
        0 => Ok(()),
        code => bail!("a TPM fails to start up: {code:#x}"),
    }
}

/// Reads the response code of a response.
pub fn code(response: &[u8]) -> u32 {
    response
        .get(6..10)
        .map_or(u32::MAX, |code| code.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// A process that ends with its owner.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `paravane vtpm`, by the simulator protocol.
pub struct Simulator {
    stream: TcpStream,
    /// The platform's signals.
    signals: TcpStream,
    _server: Server,
    _state: Option<TempDir>,
}

impl Simulator {
    /// Starts it on any port, with a new state in memory.
    pub fn start(program: &Path) -> Result<Self> {
        Self::start_in(program, None)
    }

    /// Starts it on any port, with a new state in a file.
    pub fn start_with_state(program: &Path) -> Result<Self> {
        Self::start_in(program, Some(state_folder()?))
    }

    fn start_in(program: &Path, state: Option<TempDir>) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["vtpm", "--socket", "127.0.0.1:0"]).stdout(Stdio::piped());
        if let Some(folder) = &state {
            command.arg("--state").arg(folder.path().join("tpm"));
        }
        let mut server = Server(command.spawn().context("paravane vtpm")?);
        let out = server.0.stdout.take().context("paravane vtpm has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.split([' ', ';']).find_map(|word| word.parse::<SocketAddr>().ok());
        let address = address.with_context(|| format!("paravane vtpm says {line:?}"))?;
        let platform = SocketAddr::new(address.ip(), address.port() + 1);
        let signals = connect(platform)?;
        let mut simulator =
            Self { stream: connect(address)?, signals, _server: server, _state: state };
        simulator.signal(POWER_ON)?;
        Ok(simulator)
    }

    /// Sends a message that does not involve the TPM, to time the socket alone.
    pub fn idle(&mut self) -> Result<()> {
        self.signal(CANCEL_OFF)
    }

    fn signal(&mut self, code: u32) -> Result<()> {
        self.signals.write_all(&code.to_be_bytes())?;
        Ok(self.signals.read_exact(&mut [0; 4])?)
    }

    /// The port of commands.
    pub fn port(&self) -> Result<u16> {
        Ok(self.stream.peer_addr()?.port())
    }
}

impl Peer for Simulator {
    fn send(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let mut message = SEND_COMMAND.to_be_bytes().to_vec();
        message.push(0);
        message.extend((command.len() as u32).to_be_bytes());
        message.extend(command);
        self.stream.write_all(&message)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        if size > MAX_RESPONSE {
            bail!("paravane vtpm answers {size} bytes");
        }
        let mut response = vec![0; size + 4];
        self.stream.read_exact(&mut response)?;
        response.truncate(size);
        Ok(response)
    }
}

/// swtpm, whose server port takes commands as they are.
pub struct Swtpm {
    stream: TcpStream,
    _server: Server,
    _state: TempDir,
}

impl Swtpm {
    fn start() -> Result<Self> {
        let state = state_folder()?;
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init", "--tpmstate"]);
        command.arg(format!("dir={}", state.path().display()));
        command.arg("--server").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", free.port()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(command.spawn().context("swtpm: apt-get install swtpm")?);
        Ok(Self { stream: connect(free)?, _server: server, _state: state })
    }
}

impl Peer for Swtpm {
    /// Repeats a command while swtpm answers that it must run a self-test first.
    fn send(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..MAX_RETRIES {
            let response = self.send_once(command)?;
            if code(&response) != TPM_RC_RETRY {
                return Ok(response);
            }
        }
        bail!("swtpm says TPM_RC_RETRY forever")
    }
}

impl Swtpm {
    fn send_once(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(command)?;
        let mut header = [0; 10];
        self.stream.read_exact(&mut header).context("swtpm does not answer")?;
        let size = header[2..6].iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        if !(header.len()..=MAX_RESPONSE).contains(&size) {
            bail!("swtpm answers {size} bytes");
        }
        let mut response = header.to_vec();
        response.resize(size, 0);
        self.stream.read_exact(&mut response[header.len()..])?;
        Ok(response)
    }
}

/// A folder for a state, in memory if the system provides that. The disk's speed is not part of the
/// measurement, and only our engine writes its state before the response.
fn state_folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

/// Connects as soon as the server listens.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    for _ in 0..PATIENCE {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            return Ok(stream);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("nothing listens on {address}")
}
