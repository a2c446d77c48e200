//! `--exec` with every kind of initrd or command line that Linux accepts.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use cpio::Archive;

use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// Compressors whose formats Linux unpacks: name, program, arguments.
const PACKERS: [(&str, &str, &[&str]); 7] = [
    ("gzip", "gzip", &["-1c"]),
    ("bzip2", "bzip2", &["-1c"]),
    ("lzma", "xz", &["--format=lzma", "-1c"]),
    ("xz", "xz", &["--check=crc32", "-1c"]),
    ("lzo", "lzop", &["-1c"]),
    ("zstd", "zstd", &["-1cq"]),
    ("lz4", "lz4", &["-l", "-1cq"]),
];

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = PACKERS
        .iter()
        .map(|(name, ..)| {
            test(format!("initrd::packed_by_{name}"), move |environment| alone(environment, name))
        })
        .collect();
    tests.extend([
        test("initrd::packed_in_every_way_one_after_the_other", together),
        test("initrd::a_users_own_agent_files_do_not_get_in_the_way_of_others", |environment| {
            let folder = tempfile::tempdir()?;
            let mut bytes = fs::read(&environment.initrd)?;
            let mut archive = Archive::new();
            archive.file("paravane/other", 0o644, b"theirs\n");
            archive.file("dev/own", 0o644, b"theirs\n");
            cpio::append(&mut bytes, &archive.finish());
            runs(environment, folder.path(), &bytes, "cat /paravane/other", "theirs\n")
        }),
        test("initrd::command_lines_are_read_as_linux_reads_them", lines),
    ]);
    tests
}

/// Packs bytes, or says that the program is missing.
fn pack(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let (_, program, arguments) =
        PACKERS.iter().find(|(known, ..)| *known == name).ok_or("no such packer")?;
    let child = Command::new(program)
        .args(*arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Err(Stop::Skipped(format!("{program} is missing"))) };
    let mut input = child.stdin.take().ok_or("no pipe")?;
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output()?;
    let written = writer.join().map_err(|_| "the writer panicked")?;
    ensure!(written.is_ok() && output.status.success(), "{program}: {:?}", output.status);
    Ok(output.stdout)
}

fn runs(
    environment: &Environment,
    folder: &Path,
    initrd: &[u8],
    command: &str,
    output: &str,
) -> Outcome {
    let path = folder.join("initrd");
    fs::write(&path, initrd)?;
    let vm = Vm::new(environment).args(["--timeout", "90", "--kernel"]).arg(&environment.kernel);
    let run = vm.args(["--exec", command, "--initrd"]).arg(&path).run()?;
    ensure!(run.code == Some(0) && run.output == output.as_bytes(), "{run:?}");
    Ok(())
}

/// The default initrd, packed.
fn alone(environment: &Environment, name: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let packed = pack(name, &fs::read(&environment.initrd)?)?;
    runs(environment, folder.path(), &packed, "echo packed", "packed\n")
}

/// Concatenated archives, in an order that Linux accepts: LZ4 has no end mark, so it is last.
fn together(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut bytes = fs::read(&environment.initrd)?;
    let mut wanted = String::new();
    for (name, ..) in PACKERS {
        let mut archive = Archive::new();
        archive.file(&format!("parts/{name}"), 0o644, format!("{name}\n").as_bytes());
        match pack(name, &archive.finish()) {
            Ok(packed) => cpio::append(&mut bytes, &packed),
            Err(Stop::Skipped(_)) => continue,
            Err(stop) => return Err(stop),
        }
        wanted += name;
        wanted.push('\n');
    }
    let command = PACKERS.map(|(name, ..)| format!("cat /parts/{name} 2>/dev/null")).join(";");
    runs(environment, folder.path(), &bytes, &format!("{command}; true"), &wanted)
}

/// White space, quotes, the end of the kernel's part, and other options that name a first process.
fn lines(environment: &Environment) -> Outcome {
    for line in [
        "",
        "console=ttyS0\tquiet\t--\tfirst",
        "quiet\n--\nrdinit=/bin/false",
        "quiet \"--\" rdinit=/bin/false",
        "rdinit=/bin/false quiet rdinit=\"/bin/fal se\" -- x",
        "quiet x=\"a -- b\" rdinit=/bin/false",
        "quiet x=\"a b rdinit=/bin/false",
        "quiet rdinit=\"/bin/false",
        "\"rdinit=/bin/false\" quiet",
        "quiet init=/bin/false panic=5 --",
    ] {
        let run = Vm::exec(environment, "echo on").args(["--append", line]).run()?;
        ensure!(run.code == Some(0) && run.output == b"on\n", "{line:?}: {run:?}");
    }
    Ok(())
}
