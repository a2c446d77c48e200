//! `cargo xtask run`: from a fresh checkout to a guest's shell.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow};

use crate::{build, debian, guest, place, setup};

/// Sets up, builds, and becomes `paravane run`.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let wishes = Wishes::read(arguments);
    setup::rust_target()?;
    if !wishes.help {
        setup::qemu()?;
    }
    build::all()?;
    let mut command = Command::new(place::paravane());
    command.arg("run");
    if !wishes.help && !wishes.kernel {
        command.arg("--kernel").arg(debian::kernel(&debian::own_suite()?)?);
    }
    if !wishes.help && wishes.needs_initrd() {
        command.arg("--initrd").arg(guest::initrd()?);
    }
    command.args(arguments);
    command.env("PARAVANE_IMAGE", place::image()).env("PARAVANE_AGENT", place::agent());
    Err(anyhow!("{}: {}", place::paravane().display(), command.exec()))
}

/// What the arguments say that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    kernel: bool,
    initrd: bool,
    exec: bool,
    help: bool,
}

impl Wishes {
    fn read(arguments: &[String]) -> Self {
        let mut wishes = Self::default();
        let mut value_follows = false;
        for argument in arguments.iter().take_while(|argument| *argument != "--") {
            if std::mem::take(&mut value_follows) {
                continue;
            }
            let (long, has_value) = match argument.split_once('=') {
                Some((name, _)) => (name, true),
                None => (argument.as_str(), false),
            };
            match long {
                "--kernel" => wishes.kernel = true,
                "--initrd" => wishes.initrd = true,
                "--exec" => wishes.exec = true,
                "--help" | "-h" => wishes.help = true,
                _ if argument.starts_with("-k") => wishes.kernel = true,
                _ if argument.starts_with("-i") => wishes.initrd = true,
                _ if argument.starts_with("-e") => wishes.exec = true,
                _ => {}
            }
            // A value may look like an option: that of --exec, say.
            let alone = ["--no-hyperv", "--direct", "--help", "-h"].contains(&long);
            let short_with_value = !argument.starts_with("--") && argument.len() > 2;
            value_follows = argument.starts_with('-') && !has_value && !alone && !short_with_value;
        }
        wishes
    }

    /// A kernel of the user's may be none of Linux: it gets an initrd only where a command needs
    /// a shell.
    fn needs_initrd(&self) -> bool {
        !self.initrd && (self.exec || !self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Wishes {
        Wishes::read(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_the_user_gives_is_not_given_again() {
        assert!(wishes("--kernel k").kernel && wishes("-kk").kernel && wishes("--kernel=k").kernel);
        assert!(!wishes("--exec --kernel").kernel, "the command is a value");
        assert!(!wishes("--no-hyperv -- --kernel k").kernel, "what follows is QEMU's");
        assert!(wishes("--no-hyperv --kernel k").kernel);
        assert!(wishes("-c4 -i i").initrd && wishes("-c 4 -i i").initrd);
    }

    #[test]
    fn an_initrd_comes_with_the_default_kernel_or_a_command() {
        assert!(wishes("-c 4").needs_initrd());
        assert!(!wishes("-k memtest").needs_initrd());
        assert!(wishes("-k mine -e true").needs_initrd());
        assert!(!wishes("-i mine -e true").needs_initrd());
    }
}
