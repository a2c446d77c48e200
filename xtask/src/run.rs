//! `cargo xtask run`: from a fresh checkout to a guest's shell.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use command_line::{PlatformChoice, RunOptions};

use crate::{build, debian, guest, place, setup};

/// Options that only this program has.
const PACKAGES: &str = "packages";
const DRYDOCK: &str = "drydock";
/// The value of `--drydock` that asks for the default guest or the guest of `--kernel`.
const LINUX: &str = "linux";
/// Switches of `paravane drydock` that `paravane run` does not have.
const SWITCHES: [(&str, &str); 2] = [
    ("trace", "With --drydock: log every exit of the guest with its answer"),
    ("end-on-reset", "With --drydock: end at a reset of the guest"),
];

/// The user's options. They are those of `paravane run`, but the kernel is optional.
#[derive(Debug, PartialEq, Eq)]
pub struct Wishes {
    drydock: Option<OsString>,
    is_confidential: bool,
    kernel: bool,
    initrd: bool,
    exec: bool,
    memory: bool,
    packages: Vec<String>,
    given: Vec<OsString>,
}

impl FromArgMatches for Wishes {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let has = |id| matches.contains_id(id);
        let switches = SWITCHES.iter().filter(|(name, _)| matches.get_flag(name));
        let switches = switches.map(|(name, _)| OsString::from(format!("--{name}")));
        // What follows `--` is QEMU's, so these come first.
        let given = switches.chain(command_line::given(matches)).collect();
        let given_by_user = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        let packages = matches.get_many(PACKAGES).into_iter().flatten().cloned().collect();
        Ok(Self {
            drydock: matches.get_one(DRYDOCK).cloned(),
            is_confidential: matches.get_one("platform") == Some(&PlatformChoice::Snp),
            kernel: has("kernel"),
            initrd: has("initrd"),
            exec: has("exec"),
            memory: given_by_user("memory"),
            packages,
            given,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Wishes {
    fn augment_args(command: clap::Command) -> clap::Command {
        let packages = Arg::new(PACKAGES).long(PACKAGES).value_name("NAMES").value_delimiter(',');
        let packages = packages
            .conflicts_with("initrd")
            .help("Debian packages for the guest, with their dependencies: tpm2-tools,openssl");
        let drydock = Arg::new(DRYDOCK).long(DRYDOCK).value_name("linux|FILE.igvm");
        let drydock = drydock
            .value_parser(clap::value_parser!(OsString))
            .help("Run the guest in Drydock by `paravane drydock`: Linux, or an IGVM file");
        let switches = SWITCHES.map(|(name, help)| {
            let switch = Arg::new(name).long(name).help(help);
            switch.action(ArgAction::SetTrue).requires(DRYDOCK)
        });
        let command = RunOptions::augment_args(command).arg(packages).arg(drydock).args(switches);
        command.mut_arg("kernel", |kernel| {
            kernel.required(false).help(
                "The guest's kernel: bzImage, ELF with a PVH note, or Multiboot [default: \
                 Debian's]",
            )
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl Wishes {
    /// A kernel that the user gives may not be Linux: it gets an initrd only if a command needs a
    /// shell.
    const fn needs_initrd(&self) -> bool {
        !self.initrd && (self.exec || !self.kernel)
    }
}

/// Sets up, builds, and replaces this process with `paravane run` or `paravane drydock`.
pub fn run(wishes: &Wishes) -> Result<ExitCode> {
    setup::rust_target()?;
    setup::qemu()?;
    let mut command = Command::new(place::paravane());
    command.env("PARAVANE_AGENT", place::agent());
    if let Some(guest) = &wishes.drydock {
        build::all_for_drydock()?;
        command.env("PARAVANE_DRYDOCK", place::drydock());
        command.env("PARAVANE_LINUX_START", place::linux_start());
        command.arg("drydock");
        if guest != LINUX {
            command.arg(guest).args(&wishes.given);
            return Err(anyhow!("{}: {}", place::paravane().display(), command.exec()));
        }
    } else if wishes.is_confidential {
        build::all_for_drydock()?;
        command.env("PARAVANE_DRYDOCK", place::drydock());
        command.env("PARAVANE_IMAGE_SNP", place::image_snp());
        command.arg("run");
    } else {
        build::all()?;
        command.env("PARAVANE_IMAGE", place::image());
        command.arg("run");
    }
    give_guest(&mut command, wishes)?;
    command.args(&wishes.given);
    Err(anyhow!("{}: {}", place::paravane().display(), command.exec()))
}

/// Adds a kernel and an initrd where the user gave none.
fn give_guest(command: &mut Command, wishes: &Wishes) -> Result<()> {
    if !wishes.kernel {
        command.arg("--kernel").arg(debian::kernel(&debian::own_suite()?)?);
    }
    if !wishes.packages.is_empty() {
        command.arg("--initrd").arg(guest::initrd_with(&wishes.packages)?);
        if !wishes.memory {
            // While Linux unpacks, the archive and the unpacked files are in memory together.
            command.args(["--memory", "1G"]);
        }
    } else if wishes.needs_initrd() {
        command.arg("--initrd").arg(guest::initrd()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Wishes {
        let command = Wishes::augment_args(clap::Command::new("run"));
        let words = ["run"].into_iter().chain(text.split(' '));
        let matches = command.try_get_matches_from(words).unwrap();
        Wishes::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn options_of_the_user_are_recognised_in_every_form() {
        assert!(wishes("--kernel k").kernel && wishes("-kk").kernel && wishes("--kernel=k").kernel);
        assert!(!wishes("--exec --kernel").kernel, "the command is a value");
        assert!(!wishes("--no-hyperv -- --kernel k").kernel, "what follows is QEMU's");
        for switch in ["--no-hyperv", "--no-tpm", "--direct", "-c4", "-c 4"] {
            let wishes = wishes(&format!("{switch} --kernel k -i i"));
            assert!(wishes.kernel && wishes.initrd, "{switch}");
            assert!(wishes.given.contains(&"--kernel=k".into()), "{switch}");
        }
    }

    #[test]
    fn packages_are_not_passed_on_to_paravane() {
        let wishes = wishes("--packages tpm2-tools,openssl -m 2G");
        assert_eq!(wishes.packages, ["tpm2-tools", "openssl"]);
        assert_eq!((wishes.memory, wishes.given), (true, vec!["--memory=2G".into()]));
    }

    #[test]
    fn drydock_takes_linux_or_a_file_and_has_switches_of_its_own() {
        let wishes = wishes("--drydock linux --trace -c 4 --end-on-reset -- -smp 3");
        assert_eq!(wishes.drydock.as_deref(), Some("linux".as_ref()));
        let given = ["--trace", "--end-on-reset", "--cpus=4", "--", "-smp", "3"];
        assert_eq!(wishes.given, given.map(OsString::from));
        assert!(self::wishes("-c 4").drydock.is_none());
        let command = Wishes::augment_args(clap::Command::new("run"));
        assert!(command.try_get_matches_from(["run", "--trace"]).is_err(), "without Drydock");
    }

    #[test]
    fn an_initrd_comes_with_the_default_kernel_or_a_command() {
        assert!(wishes("-c 4").needs_initrd());
        assert!(!wishes("-k memtest").needs_initrd());
        assert!(wishes("-k mine -e true").needs_initrd());
        assert!(!wishes("-i mine -e true").needs_initrd());
    }
}
