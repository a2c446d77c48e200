//! The two servers under test.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::tpm::peers::{Server, connect};

/// How many times to look for two consecutive free ports.
const ATTEMPTS: usize = 20;

/// A server that a suite runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `paravane vtpm`, by the simulator protocol.
    Paravane,
    /// swtpm.
    Swtpm,
}

/// swtpm with the control channel on the next port, as the TSS requires; TPM2_Startup has run.
pub struct SwtpmWithControl {
    port: u16,
    _server: Server,
    _state: TempDir,
}

impl SwtpmWithControl {
    /// Starts it with a new state.
    pub fn start() -> Result<Self> {
        let state = tempfile::tempdir()?;
        let port = two_free_ports()?;
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", state.path().display()));
        command.arg("--server").arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"));
        command.arg("--ctrl").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(command.spawn().context("swtpm: apt-get install swtpm")?);
        // swtpm serves one connection at a time, so probe the control channel, not the command
        // port.
        drop(connect(SocketAddr::from(([127, 0, 0, 1], port + 1)))?);
        Ok(Self { port, _server: server, _state: state })
    }

    /// The port of commands.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A free port whose successor is free too.
fn two_free_ports() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if first < u16::MAX && TcpListener::bind(("127.0.0.1", first + 1)).is_ok() {
            return Ok(first);
        }
    }
    bail!("no two consecutive ports are free")
}
