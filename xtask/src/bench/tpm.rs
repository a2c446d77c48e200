//! The guest's TPM compared with swtpm: behind QEMU's TPM of the same kind, then both as servers.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::loops::{Figures, Loops, measure};
use super::median;
use crate::tpm;
use crate::tpm::peers::Server;

/// Commands that the program in the guest measures.
const COMMANDS: usize = 5;
/// How long, in steps of 20 ms, swtpm may take to create its socket.
const PATIENCE: usize = 250;
/// Runs of each command between the servers.
const SERVED: usize = 1_000;

/// Prints the median time of each command, and the ratio of ours to swtpm's.
pub fn run(loops: &Loops, runs: usize) -> Result<Value> {
    let (mut direct, mut below) = (Figures::new(), Figures::new());
    for _ in 0..runs {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("socket");
        let _server = swtpm(folder.path(), &socket)?;
        let chardev = format!("socket,id=tpm,path={}", socket.display());
        let device = ["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"];
        let more = [&["--direct", "--", "-chardev", &chardev], &device[..]].concat();
        measure(loops, "tpm", &more, COMMANDS, &mut direct)?;
        measure(loops, "tpm", &[], COMMANDS, &mut below)?;
    }
    println!(
        "\n{:30} {:>10} {:>10} {:>7}",
        "TPM in a guest, one command", "swtpm", "ours", "ratio"
    );
    let mut value = Map::new();
    for (name, times) in &direct {
        let others = below.get(name).map(Vec::as_slice).unwrap_or_default();
        let (first, second) = (median(times), median(others));
        let ratio = second / first;
        println!("{name:30} {:>7.0} µs {:>7.0} µs {ratio:>7.2}", first * 1e6, second * 1e6);
        value.insert(name.clone(), json!({ "swtpm": times, "ours": others, "ratio": ratio }));
    }
    println!("  ours computes on the emulated CPU, swtpm as a process beside QEMU");
    println!("\nTPM as a server:");
    Ok(json!({ "guest": value, "server": tpm::bench(SERVED)? }))
}

/// Starts swtpm with the interface that QEMU needs.
fn swtpm(state: &Path, socket: &Path) -> Result<Server> {
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--terminate", "--ctrl"]);
    command.arg(format!("type=unixio,path={}", socket.display()));
    command.arg("--tpmstate").arg(format!("dir={}", state.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().context("swtpm: apt-get install swtpm")?);
    for _ in 0..PATIENCE {
        if socket.exists() {
            return Ok(server);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("swtpm makes no socket")
}
