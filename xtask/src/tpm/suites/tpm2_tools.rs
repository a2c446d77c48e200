//! The integration tests of tpm2-tools: each script starts a simulator with its resource manager.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};

use super::outcome::Outcomes;
use super::server::Kind;
use super::{Run, fetch};
use crate::{debian, place};

/// Seconds for one test.
const TIMEOUT: &str = "300";
/// Tests that run at the same time: they mostly wait for the processes that they have started.
const AT_ONCE: usize = 4;
/// Programs that the scripts call, with the packages that contain them.
const PROGRAMS: [(&str, &str); 7] = [
    ("swtpm", "swtpm"),
    ("tpm2", "tpm2-tools"),
    ("tpm2-abrmd", "tpm2-abrmd libtss2-tcti-tabrmd0"),
    ("dbus-run-session", "dbus"),
    ("xxd", "xxd"),
    ("expect", "expect"),
    ("ss", "iproute2"),
];

/// One script's name, status and reason.
type Ended = (String, Option<i32>, String);

/// Fetches the scripts from the given source tree, or else from Debian's source package.
pub fn prepare(folder: &Path, given: Option<&Path>) -> Result<Run> {
    let source = match given {
        Some(given) => fs::canonicalize(given).with_context(|| given.display().to_string())?,
        None => {
            let fill = || debian::source("tpm2-tools", folder).map(drop);
            fetch::once(folder, fill).context("give the source of tpm2-tools by --tpm2-tools")?;
            folder.join("source")
        }
    };
    let scripts = source.join("test/integration");
    if !scripts.join("helpers.sh").exists() {
        bail!("{} has no helpers.sh", scripts.display());
    }
    for (program, package) in PROGRAMS {
        let is_there = |folder: PathBuf| folder.join(program).exists();
        if !env::split_paths(&path_of([])?).any(is_there) {
            bail!("needs {program}: apt-get install {package}");
        }
    }
    Ok(Box::new(move |kind| run(&source, kind)))
}

fn run(source: &Path, kind: Kind) -> Result<Outcomes> {
    let mut names = vec![];
    for entry in fs::read_dir(source.join("test/integration/tests"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".sh").map(str::to_owned));
    }
    let waiting = Mutex::new(names);
    let next = || waiting.lock().map_or(None, |mut names| names.pop());
    let work = || -> Result<Vec<Ended>> {
        let mut ended = vec![];
        while let Some(name) = next() {
            ended.push(run_one(source, &name, kind).with_context(|| name)?);
        }
        Ok(ended)
    };
    let ended = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut all = vec![];
        for worker in workers {
            let ended = worker.join().map_err(|_| anyhow::anyhow!("a test's thread panicked"))?;
            all.extend(ended?);
        }
        anyhow::Ok(all)
    })?;
    Ok(Outcomes::of_statuses(ended))
}

/// Runs one script in its own folder, with copies of the files that it reads, because it deletes
/// some.
fn run_one(source: &Path, name: &str, kind: Kind) -> Result<Ended> {
    let work = tempfile::tempdir()?;
    let folder = work.path();
    let scripts = source.join("test/integration");
    let script = format!("{name}.sh");
    fs::copy(scripts.join("helpers.sh"), folder.join("helpers.sh"))?;
    fs::copy(scripts.join("tests").join(&script), folder.join(&script))?;
    write_simulator(folder)?;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", TIMEOUT, "dbus-run-session", "bash", &script]);
    command.current_dir(folder).stdin(Stdio::null());
    let simulator = if kind == Kind::Paravane { "tpm_server" } else { "swtpm" };
    command.env("TPM2_SIM", simulator).env("TPM2_ABRMD", "tpm2-abrmd").env("TMPDIR", folder);
    for variable in ["abs_srcdir", "srcdir", "abs_builddir"] {
        command.env(variable, source);
    }
    command.env("PATH", path_of([folder.join("bin"), folder.to_owned()])?);
    let output = command.output().context("timeout")?;
    Ok((name.to_owned(), output.status.code(), reason(&output)))
}

/// Writes the program that the scripts start as the simulator, `tpm_server -port N`, whose process
/// has this name too; adds Python under its short name.
fn write_simulator(folder: &Path) -> Result<()> {
    let bin = folder.join("bin");
    fs::create_dir(&bin)?;
    let named = folder.join("named");
    fs::create_dir(&named)?;
    symlink(place::paravane_release(), named.join("tpm_server"))?;
    let text = "#!/bin/sh\nexec \"${0%/*}/../named/tpm_server\" vtpm --socket \"127.0.0.1:$2\"\n";
    for (name, text) in [("tpm_server", text), ("python", "#!/bin/sh\nexec python3 \"$@\"\n")] {
        place::write_whole(&bin.join(name), text.as_bytes())?;
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The search path, with `first` in front, then Debian's programs before others of the same name.
fn path_of<const N: usize>(first: [PathBuf; N]) -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    let folders = first.into_iter().chain(debian).chain(env::split_paths(&path));
    Ok(env::join_paths(folders.collect::<Vec<_>>())?)
}

/// The line in which the script's handler names the failure, or else the last error line.
fn reason(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let handled = out.lines().rev().find(|line| line.contains(" failed: "));
    let errors = String::from_utf8_lossy(&output.stderr);
    let complaint = errors.lines().rev().find(|line| line.contains("ERROR"));
    let line = handled.or(complaint).unwrap_or("no reason given");
    line.chars().take(160).collect()
}
