//! The files that the VM is given.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use command_line::exit::Failure;
use command_line::{Module, PlatformChoice, RunOptions};
use cpio::Archive;
use host_wire::{Config, exec, file};
use tempfile::TempDir;

use crate::kernel_line;
use crate::plain::check_readable;
use crate::vm::Stop;

/// The guest's command line if the user gives none.
const DEFAULT_COMMAND_LINE: &str = "console=ttyS0 quiet";

/// The files of one VM. Those made for this run are deleted on drop.
#[derive(Debug)]
pub struct Files {
    /// The directory of the files made for this run.
    directory: TempDir,
    /// The paravisor.
    pub image: PathBuf,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The guest's initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The name of the kernel's file, in a file.
    pub kernel_name: PathBuf,
    /// The texts of the modules, in a file, if there are modules.
    pub module_texts: Option<PathBuf>,
    /// The guest's command line.
    pub command_line: OsString,
    /// A file with the command line, unless that is empty.
    pub command_line_file: Option<PathBuf>,
    /// The configuration.
    pub config: PathBuf,
}

/// Why the files can not be prepared, by whose fault it is.
#[derive(Debug)]
pub enum Error {
    /// The guest's files, as the user named them.
    Guest(anyhow::Error),
    /// Anything else.
    Ours(anyhow::Error),
}

impl Error {
    /// The end of the run for this reason.
    pub fn stop(self) -> Stop {
        match self {
            Self::Guest(why) => Stop { failure: Failure::BadGuest, why },
            Self::Ours(why) => Stop { failure: Failure::Ours, why },
        }
    }
}

impl Files {
    /// Checks the user's files and makes the others.
    pub fn prepare(options: &RunOptions) -> Result<Self, Error> {
        check_readable(&options.kernel).context("the guest's kernel").map_err(Error::Guest)?;
        if let Some(initrd) = &options.initrd {
            check_readable(initrd).context("the guest's initrd").map_err(Error::Guest)?;
        }
        for module in &options.modules {
            check_readable(&module.file).context("a module").map_err(Error::Guest)?;
        }
        if options.modules.len() > file::MODULES.len() {
            let error = anyhow!("at most {} modules can be given", file::MODULES.len());
            return Err(Error::Guest(error));
        }
        make(options).map_err(Error::Ours)
    }

    /// The directory of the files made for this run, which its owner deletes.
    pub fn into_directory(self) -> TempDir {
        self.directory
    }
}

fn make(options: &RunOptions) -> Result<Files> {
    let image = match options.platform {
        PlatformChoice::NestedSvm => beside_us(options.image.as_deref(), "paravisor"),
        PlatformChoice::Snp => beside_us(options.image_snp.as_deref(), "paravisor-snp"),
    };
    if !options.direct {
        check_readable(&image).context("the paravisor (--image)")?;
    }
    let directory = tempfile::Builder::new().prefix("paravane-").tempdir()?;
    let config = directory.path().join("config");
    match &options.config {
        Some(file) => check_readable(file).and_then(|()| Ok(fs::copy(file, &config).map(|_| ())?)),
        None => Ok(fs::write(&config, configuration(options).to_string())?),
    }
    .context("the configuration")?;
    let initrd = match &options.exec {
        Some(command) => {
            let initrd =
                initrd_with_command(options.agent.as_deref(), command, options.initrd.as_deref())?;
            let path = directory.path().join("initrd");
            fs::write(&path, initrd).context("the guest's initrd with the command")?;
            Some(path)
        }
        None => options.initrd.clone(),
    };
    let command_line = command_line(options.append.as_deref(), options.exec.is_some());
    let mut command_line_file = None;
    if !command_line.is_empty() {
        let path = directory.path().join("command-line");
        fs::write(&path, command_line.as_bytes()).context("the guest's command line")?;
        command_line_file = Some(path);
    }
    let kernel = options.kernel.clone();
    let kernel_name = directory.path().join("kernel-name");
    fs::write(&kernel_name, kernel.as_os_str().as_bytes()).context("the name of the kernel")?;
    let module_texts = module_texts(&options.modules, directory.path())?;
    Ok(Files {
        directory,
        image,
        kernel,
        initrd,
        kernel_name,
        module_texts,
        command_line,
        command_line_file,
        config,
    })
}

/// Writes the texts of the modules to a file, each followed by a zero byte.
fn module_texts(modules: &[Module], directory: &Path) -> Result<Option<PathBuf>> {
    if modules.is_empty() {
        return Ok(None);
    }
    let texts: Vec<u8> =
        modules.iter().flat_map(|module| [module.text(), vec![0]].concat()).collect();
    let path = directory.join("module-texts");
    fs::write(&path, texts).context("the texts of the modules")?;
    Ok(Some(path))
}

/// The file that the user chose, or the one with this name beside this program.
pub fn beside_us(choice: Option<&Path>, name: &str) -> PathBuf {
    let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join(name));
    choice.map(Path::to_owned).or_else(beside).unwrap_or_else(|| PathBuf::from(name))
}

fn configuration(options: &RunOptions) -> Config {
    // A guest that restarts must not run the command again.
    let once = options.exec.is_some();
    Config {
        hyperv: !options.no_hyperv,
        log: options.log,
        end_on_crash: once,
        end_on_reset: once,
        tpm: !options.no_tpm,
    }
}

/// The user's initrd, preceded by an archive with the agent and its command. `agent` is the file of
/// the agent if it is not beside this program.
///
/// The agent's archive comes first because it is not compressed, so Linux finds its end. Behind a
/// compressed archive that depends on the compression: in the kernel's LZ4 format the end is not
/// marked, and the next archive would be read as a part of it.
pub fn initrd_with_command(
    agent: Option<&Path>,
    command: &OsStr,
    users: Option<&Path>,
) -> Result<Vec<u8>> {
    let agent = beside_us(agent, "agent");
    let agent = check_readable(&agent)
        .and_then(|()| fs::read(&agent).with_context(|| agent.display().to_string()))
        .context("the program that carries --exec in the guest (--agent)")?;
    let mut archive = Archive::new();
    archive.file(exec::AGENT_PATH, 0o755, &agent);
    archive.file(exec::COMMAND_PATH, 0o600, command.as_bytes());
    // The agent's runtime opens its standard streams before the agent can mount /dev.
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    let mut initrd = archive.finish();
    if let Some(path) = users {
        let users = fs::read(path).with_context(|| path.display().to_string())?;
        cpio::append(&mut initrd, &users);
    }
    Ok(initrd)
}

/// The user's command line for the guest; to run a command, with the agent as the first process.
pub fn command_line(append: Option<&OsStr>, exec: bool) -> OsString {
    let line = append.unwrap_or(OsStr::new(DEFAULT_COMMAND_LINE));
    if exec {
        OsString::from_vec(kernel_line::with_agent(line.as_bytes()))
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use command_line::{Action, Arguments};
    use host_wire::LogLevel;

    use super::*;

    /// A folder with a kernel, an initrd, an image and an agent, and the words that name them.
    fn rig() -> (TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut words = vec!["paravane".to_owned(), "run".to_owned()];
        for name in ["kernel", "initrd", "image", "agent"] {
            let path = folder.path().join(name);
            fs::write(&path, format!("the {name}")).unwrap();
            words.extend([format!("--{name}"), path.display().to_string()]);
        }
        (folder, words)
    }

    fn prepare(words: &[String], more: &[&str]) -> Result<Files, Error> {
        let words = words.iter().map(String::as_str).chain(more.iter().copied());
        match Arguments::try_parse_from(words).unwrap().action {
            Action::Run(options) => Files::prepare(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_comes_before_the_users_initrd_and_runs_once() {
        let (_folder, words) = rig();
        let files = prepare(&words, &["-e", "echo hi"]).unwrap();
        let initrd = fs::read(files.initrd.unwrap()).unwrap();
        assert!(initrd.starts_with(b"070701") && initrd.ends_with(b"the initrd"));
        for part in [&b"paravane/command\0"[..], b"echo hi", b"paravane/agent\0", b"the agent"] {
            assert!(initrd.windows(part.len()).any(|window| window == part));
        }
        let config = Config::parse(&fs::read(&files.config).unwrap()).unwrap();
        assert!(config.end_on_crash && config.end_on_reset);
    }

    #[test]
    fn without_a_command_the_users_files_are_passed_unchanged() {
        let (folder, words) = rig();
        let files = prepare(&words, &["--no-tpm", "--no-hyperv", "--log", "info"]).unwrap();
        assert_eq!(files.initrd.as_deref(), Some(&*folder.path().join("initrd")));
        let config = Config {
            hyperv: false,
            log: LogLevel::Info,
            end_on_crash: false,
            end_on_reset: false,
            tpm: false,
        };
        assert_eq!(fs::read_to_string(&files.config).unwrap(), config.to_string());
        let name = fs::read(&files.kernel_name).unwrap();
        assert_eq!(name, files.kernel.as_os_str().as_bytes());
        assert_eq!(
            fs::read(files.command_line_file.as_ref().unwrap()).unwrap(),
            b"console=ttyS0 quiet"
        );
        assert!(files.module_texts.is_none());
        let made = files.config.clone();
        drop(files);
        assert!(!made.exists(), "nothing stays behind");
    }

    #[test]
    fn module_texts_end_with_zeros() {
        let (folder, words) = rig();
        let module = folder.path().join("kernel").display().to_string();
        let files = prepare(&words, &["--module", &module, "--module", &format!("{module},a b")]);
        let texts = fs::read(files.unwrap().module_texts.unwrap()).unwrap();
        assert_eq!(texts, format!("{module}\0{module} a b\0").as_bytes());
    }

    #[test]
    fn a_missing_file_is_reported_as_the_guests_or_ours() {
        let (folder, words) = rig();
        let missing = folder.path().join("missing").display().to_string();
        let guest = |more: &[&str]| match prepare(&words, more) {
            Err(Error::Guest(error)) => format!("{error:#}"),
            other => panic!("{other:?}"),
        };
        assert!(guest(&["--module", &missing]).contains("a module"));
        let nine = ["--module", &words[3]].repeat(9);
        assert_eq!(guest(&nine), "at most 8 modules can be given");
        fs::remove_file(folder.path().join("agent")).unwrap();
        let Err(Error::Ours(error)) = prepare(&words, &["-e", "true"]) else { panic!("no agent") };
        assert!(format!("{error:#}").contains("--agent"));
        fs::remove_file(folder.path().join("image")).unwrap();
        assert!(matches!(prepare(&words, &[]), Err(Error::Ours(_))));
        assert!(prepare(&words, &["--direct"]).is_ok(), "it takes no part there");
        fs::remove_file(folder.path().join("initrd")).unwrap();
        assert!(guest(&["--direct"]).contains("the guest's initrd"));
    }

    #[test]
    fn the_command_line_is_the_users_but_for_what_a_command_needs() {
        let line = |text: &str, exec| command_line(Some(OsStr::new(text)), exec);
        assert_eq!(command_line(None, false), "console=ttyS0 quiet");
        assert_eq!(line("", false), "");
        assert_eq!(line("a b", false), "a b");
        assert_eq!(command_line(None, true), "console=ttyS0 quiet panic=-1 rdinit=/paravane/agent");
        assert_eq!(line("a -- b", true), "a panic=-1 rdinit=/paravane/agent -- b");
    }
}
