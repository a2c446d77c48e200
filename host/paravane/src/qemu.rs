//! QEMU's command line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use host_wire::file;

use crate::accel::Accel;
use crate::channel::Ends;
use crate::files::Files;
use crate::guardian;
use crate::state::State;
use crate::vm::{Stop, stop};
use command_line::RunOptions;
use command_line::exit::Failure;

const PROGRAM: &str = "qemu-system-x86_64";
/// The software CPU, with AMD-V and nested paging. QEMU 7.2 corrupts flags when several CPUs
/// contend in a CMPXCHG16B, so that feature is hidden from guests.
const TCG_CPU: &str = "EPYC,+svm,+npt,-cx16";

/// The names of the channels out of QEMU.
pub mod socket {
    /// The paravisor's report port.
    pub const REPORT: &str = "report";
    /// QEMU's own events.
    pub const MONITOR: &str = "monitor";
    /// The guest's console, when a command is run.
    pub const CONSOLE: &str = "console";
    /// The command's output.
    pub const EXEC: &str = "exec";
}

/// The path of QEMU, if it is installed.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// The path of QEMU.
///
/// # Errors
/// It is not installed.
pub fn find_or_stop() -> Result<PathBuf, Stop> {
    find()
        .context("qemu-system-x86_64 is not in PATH: install QEMU for x86")
        .map_err(stop(Failure::Qemu))
}

/// The command that starts a VM for `paravane run`.
pub fn command(
    program: &Path,
    options: &RunOptions,
    files: &Files,
    state: Option<&State>,
    accel: Accel,
    ends: &Ends,
) -> Result<Command> {
    let (memory, cpus) = (options.memory, cpus(options, accel));
    let machine = Machine { accel, software_cpu: TCG_CPU, memory, cpus };
    let mut command = machine.command(program, ends)?;
    if let Some(uuid) = &options.uuid {
        command.arg("-uuid").arg(uuid);
    }
    if options.direct {
        direct_boot(&mut command, options, files);
    } else {
        report_port(&mut command, ends)?;
        paravisor_boot(&mut command, options, files);
        if let Some(state) = state {
            state_disk(&mut command, state)?;
        }
    }
    serial_ports(&mut command, ends, options.exec.is_some())?;
    command.args(&options.qemu);
    Ok(command)
}

/// The VM that QEMU makes, without devices and software.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The accelerator.
    pub accel: Accel,
    /// The CPU model on QEMU's software CPU.
    pub software_cpu: &'static str,
    /// Bytes of RAM.
    pub memory: u64,
    /// The number of CPUs.
    pub cpus: u32,
}

impl Machine {
    /// The command that starts it, with QEMU's monitor.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn command(&self, program: &Path, ends: &Ends) -> Result<Command> {
        let Self { accel, software_cpu, memory, cpus } = *self;
        let mut command = bare(program)?;
        command.args(["-machine", "q35,smm=off"]);
        match accel {
            Accel::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
            // With a thread for each CPU, a CPU may keep running code that another has changed
            // (QEMU before 8.1), and Linux changes its code often while it boots.
            Accel::Tcg => command.args(["-accel", "tcg,thread=single", "-cpu", software_cpu]),
            Accel::TcgThreads => command.args(["-accel", "tcg,thread=multi", "-cpu", software_cpu]),
        };
        size(&mut command, memory, cpus);
        monitor(&mut command, ends)?;
        Ok(command)
    }
}

/// QEMU without any device that was not asked for.
fn bare(program: &Path) -> Result<Command> {
    let mut command = guardian::command(program).context("this program's own file")?;
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-vga", "none"]);
    Ok(command)
}

fn size(command: &mut Command, memory: u64, cpus: u32) {
    command.arg("-m").arg(format!("{}k", memory >> 10));
    command.arg("-smp").arg(cpus.to_string());
}

fn monitor(command: &mut Command, ends: &Ends) -> Result<()> {
    channel(command, ends, socket::MONITOR)?;
    command.args(["-mon", "chardev=monitor,mode=control"]);
    Ok(())
}

/// The place of the C-bit on every CPU with SEV-SNP so far, Milan to Turin.
const C_BIT: u32 = 51;
/// The plane that the devices interrupt: the paravisor's, VMPL0.
const DEVICE_PLANE: u32 = 0;

/// The arguments for a confidential VM that KVM launches from the IGVM file `igvm`, in the form of
/// the QEMU that knows planes (`igvm-cfg` is upstream since 10.1, `device-plane` is not).
fn confidential_arguments(memory: u64, igvm: &Path) -> Vec<OsString> {
    let mut file = OsString::from("igvm-cfg,id=igvm0,file=");
    file.push(escape(igvm));
    let machine = format!(
        "q35,smm=off,accel=kvm,kernel-irqchip=split,memory-backend=mem0,igvm-cfg=igvm0,\
         confidential-guest-support=cgs0,device-plane={DEVICE_PLANE}"
    );
    let ram = format!(
        "memory-backend-memfd,id=mem0,size={}k,share=true,prealloc=false,reserve=false",
        memory >> 10
    );
    let guest = format!("sev-snp-guest,id=cgs0,cbitpos={C_BIT},reduced-phys-bits=1");
    let pairs = [("-machine", machine.into()), ("-cpu", "host".into()), ("-object", ram.into())];
    let objects = [("-object", file), ("-object", guest.into())];
    let words = pairs.into_iter().chain(objects);
    words.flat_map(|(option, value)| [OsString::from(option), value]).collect()
}

/// The command that starts the paravisor at VMPL0 of a confidential VM on KVM. The host hands in the
/// guest's files `given` by their names.
///
/// # Errors
/// When the kernel refuses.
pub fn confidential<'a>(
    program: &Path,
    options: &RunOptions,
    igvm: &Path,
    given: impl Iterator<Item = (&'a str, &'a Path)>,
    ends: &Ends,
) -> Result<Command> {
    let mut command = bare(program)?;
    command.args(confidential_arguments(options.memory, igvm));
    size(&mut command, options.memory, options.cpus);
    monitor(&mut command, ends)?;
    report_port(&mut command, ends)?;
    for (name, path) in given {
        give_file(&mut command, name, path);
    }
    serial_ports(&mut command, ends, options.exec.is_some())?;
    command.args(&options.qemu);
    Ok(command)
}

/// Adds the report port and the device that ends QEMU with a status.
///
/// # Errors
/// When the kernel refuses.
pub fn report_port(command: &mut Command, ends: &Ends) -> Result<()> {
    channel(command, ends, socket::REPORT)?;
    command.args(["-device", "isa-debugcon,iobase=0xe9,chardev=report"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    Ok(())
}

/// Adds both serial ports: for a command, its console and its output go to this program. Otherwise
/// the console is the user's terminal.
///
/// # Errors
/// When the kernel refuses.
pub fn serial_ports(command: &mut Command, ends: &Ends, has_command: bool) -> Result<()> {
    if has_command {
        channel(command, ends, socket::CONSOLE)?;
        channel(command, ends, socket::EXEC)?;
        command.args(["-serial", "chardev:console", "-serial", "chardev:exec"]);
        command.stdin(Stdio::null());
        // QEMU's own messages must not mix with the command's output.
        command.stdout(Stdio::null());
    } else {
        command.args(["-chardev", "stdio,id=console,mux=on,signal=off"]);
        command.args(["-mon", "chardev=console,mode=readline"]);
        command.args(["-serial", "chardev:console", "-serial", "null"]);
    }
    command.stderr(Stdio::piped());
    Ok(())
}

/// The number of CPUs of the VM. With several software CPUs, the paravisor leaves the first one
/// idle, because it can not run a guest safely while others do; so the VM gets one CPU more.
pub fn cpus(options: &RunOptions, accel: Accel) -> u32 {
    if options.direct { options.cpus } else { with_spare(options.cpus, accel) }
}

/// The number of CPUs of a VM that runs `vps` VPs.
pub fn with_spare(vps: u32, accel: Accel) -> u32 {
    vps + u32::from(accel != Accel::Kvm && vps > 1)
}

fn paravisor_boot(command: &mut Command, options: &RunOptions, files: &Files) {
    command.arg("-kernel").arg(&files.image);
    let mut give = |name: &str, path: &Path| give_file(command, name, path);
    give(file::CONFIG, &files.config);
    give(file::KERNEL, &files.kernel);
    give(file::KERNEL_NAME, &files.kernel_name);
    for (name, module) in file::MODULES.into_iter().zip(&options.modules) {
        give(name, &module.file);
    }
    if let Some(texts) = &files.module_texts {
        give(file::MODULE_TEXTS, texts);
    }
    if let Some(initrd) = &files.initrd {
        give(file::INITRD, initrd);
    }
    if let Some(line) = &files.command_line_file {
        give(file::COMMAND_LINE, line);
    }
}

/// Hands a file in through fw_cfg.
pub fn give_file(command: &mut Command, name: &str, path: &Path) {
    let mut value = OsString::from(format!("name={name},file="));
    value.push(escape(path));
    command.arg("-fw_cfg").arg(value);
}

/// Adds the disk of the paravisor's state, which the paravisor finds by its serial number, and the
/// state's key. A flush of the disk flushes the file. Format and protocol are fixed, so QEMU
/// guesses neither from the file's content or name. Errors are reported to the paravisor and do not
/// stop the VM.
fn state_disk(command: &mut Command, state: &State) -> Result<()> {
    let (file, key) = state.pass()?;
    let mut value = OsString::from(
        "driver=raw,node-name=paravane-state,cache.direct=off,cache.no-flush=off,\
         file.driver=file,file.filename=",
    );
    value.push(file);
    command.arg("-blockdev").arg(value);
    command.args([
        "-device",
        "virtio-blk-pci,drive=paravane-state,serial=paravane-state,disable-legacy=on,\
         num-queues=1,write-cache=on,werror=report,rerror=report",
    ]);
    give_file(command, file::STATE_KEY, &key);
    Ok(())
}

fn direct_boot(command: &mut Command, options: &RunOptions, files: &Files) {
    command.arg("-kernel").arg(&files.kernel).arg("-append").arg(&files.command_line);
    let modules = options.modules.iter().map(|module| OsString::from_vec(module.text()));
    if modules.len() > 0 {
        // Modules take the place of the initrd; QEMU splits them at commas.
        let initrd = files.initrd.iter().map(|path| path.clone().into_os_string());
        let all: Vec<_> = initrd.chain(modules).map(|text| escape(Path::new(&text))).collect();
        command.arg("-initrd").arg(all.join(OsStr::new(",")));
    } else if let Some(initrd) = &files.initrd {
        command.arg("-initrd").arg(initrd);
    }
}

fn channel(command: &mut Command, ends: &Ends, name: &str) -> Result<()> {
    let number = ends.pass(name)?;
    command.arg("-chardev").arg(format!("socket,id={name},fd={number}"));
    Ok(())
}

/// Doubles commas, at which QEMU would split an option.
fn escape(path: &Path) -> OsString {
    let mut bytes = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use command_line::{Action, Arguments};

    use super::*;

    fn options(words: &[&str]) -> RunOptions {
        let words = ["paravane", "run"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().action {
            Action::Run(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    /// The arguments for QEMU of a guest whose kernel has a comma in its name.
    fn boot(more: &[&str]) -> (Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["k,1", "initrd", "module", "image"] {
            fs::write(path(name), name).unwrap();
        }
        let (kernel, image, initrd) = (path("k,1"), path("image"), path("initrd"));
        let module = format!("{},x=1,2", path("module"));
        let words = ["-k", &kernel, "--image", &image, "-i", &initrd, "--module", &module];
        let options = options(&[&words, more].concat());
        let files = Files::prepare(&options).unwrap();
        let mut command = Command::new("qemu");
        if options.direct {
            direct_boot(&mut command, &options, &files);
        } else {
            paravisor_boot(&mut command, &options, &files);
        }
        let words = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        (words, folder.path().display().to_string())
    }

    #[test]
    fn the_paravisor_gets_the_guests_files_by_their_names() {
        let (words, folder) = boot(&["-a", "quiet"]);
        assert_eq!(words[..2], ["-kernel".to_owned(), format!("{folder}/image")]);
        let given: Vec<_> = words[2..].chunks(2).map(|pair| pair[1].as_str()).collect();
        assert!(words[2..].chunks(2).all(|pair| pair[0] == "-fw_cfg"));
        for file in ["kernel,file={}/k,,1", "module-0,file={}/module", "initrd,file={}/initrd"] {
            let file = format!("name=opt/org.paravane/{}", file.replace("{}", &folder));
            assert!(given.contains(&file.as_str()), "{file} in {given:?}");
        }
        for name in ["config", "kernel-name", "module-texts", "cmdline"] {
            let start = format!("name=opt/org.paravane/{name},file=");
            assert!(given.iter().any(|file| file.starts_with(&start)), "{name} in {given:?}");
        }
        let (words, _) = boot(&["-a", ""]);
        assert!(!words.iter().any(|word| word.contains("cmdline")), "an empty one is no file");
    }

    #[test]
    fn without_the_paravisor_qemu_loads_the_guest_itself() {
        let (words, folder) = boot(&["--direct", "-a", "a, b"]);
        let files = format!("{folder}/initrd,{folder}/module x=1,,2");
        assert_eq!(
            words,
            ["-kernel", &format!("{folder}/k,1"), "-append", "a, b", "-initrd", &files]
        );
    }

    /// The form that the QEMU of KVM's patches for planes takes. No machine that we have runs it.
    #[test]
    fn a_confidential_vm_on_kvm_has_planes_and_an_igvm_file() {
        let words = confidential_arguments(512 << 20, Path::new("/a,b.igvm"));
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let machine = "q35,smm=off,accel=kvm,kernel-irqchip=split,memory-backend=mem0,\
                       igvm-cfg=igvm0,confidential-guest-support=cgs0,device-plane=0";
        let ram =
            "memory-backend-memfd,id=mem0,size=524288k,share=true,prealloc=false,reserve=false";
        let objects = [
            ram,
            "igvm-cfg,id=igvm0,file=/a,,b.igvm",
            "sev-snp-guest,id=cgs0,cbitpos=51,reduced-phys-bits=1",
        ];
        let expected = [["-machine", machine], ["-cpu", "host"]].into_iter();
        let expected = expected.chain(objects.map(|object| ["-object", object]));
        assert!(words.iter().copied().eq(expected.flatten()), "{words:?}");
    }

    #[test]
    fn several_software_cpus_get_one_more() {
        for (words, accel, cpus) in [
            (&["-k", "k"][..], Accel::Tcg, 1),
            (&["-k", "k", "-c", "4"], Accel::Tcg, 5),
            (&["-k", "k", "-c", "4"], Accel::TcgThreads, 5),
            (&["-k", "k", "-c", "4"], Accel::Kvm, 4),
            (&["-k", "k", "-c", "4", "--direct"], Accel::Tcg, 4),
        ] {
            assert_eq!(super::cpus(&options(words), accel), cpus, "{words:?} {accel:?}");
        }
    }

    #[test]
    fn commas_are_doubled() {
        assert_eq!(escape(Path::new("a,b/c,,d")), "a,,b/c,,,,d");
    }

    #[test]
    fn a_state_goes_to_qemu_as_open_files() {
        let folder = tempfile::tempdir().unwrap();
        let [file, key] = ["a,b", "a,b.key"].map(|name| folder.path().join(name));
        let state = State::prepare(&file, None, None).unwrap();
        let mut command = Command::new("qemu");
        state_disk(&mut command, &state).unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.len(), 6);
        assert!(words[1].starts_with("driver=raw,"), "{words:?}");
        assert!(words[3].contains(",serial=paravane-state,disable-legacy=on,"));
        let (_, disk) = words[1].split_once(",file.driver=file,file.filename=").unwrap();
        let key_file = words[5].strip_prefix("name=opt/org.paravane/state-key,file=").unwrap();
        // Replacing the named files has no effect.
        let bytes = std::fs::read(&key).unwrap();
        std::fs::rename(&file, folder.path().join("moved")).unwrap();
        std::fs::write(&file, "other").unwrap();
        std::fs::remove_file(&key).unwrap();
        assert_eq!(std::fs::read(disk).unwrap().len(), 1 << 20);
        assert_eq!(std::fs::read(key_file).unwrap(), bytes);
        let line = words.join(" ").into_bytes();
        assert!(!line.windows(8).any(|part| part == &bytes[..8]), "the key itself is not there");
    }
}
