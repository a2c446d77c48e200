//! The `paravane` command, which runs a guest below the paravisor or in Drydock.
#![forbid(unsafe_code)]

mod accel;
mod channel;
mod chip;
mod drydock;
mod files;
mod guardian;
mod image;
mod kernel_line;
mod manufacture;
mod plain;
mod qemu;
mod ram;
mod report;
mod run;
mod say;
mod signals;
mod snp;
mod state;
mod summary;
mod symbolize;
mod terminal;
mod vm;
mod vtpm;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::say::say;
use command_line::{Action, Arguments, exit};

fn main() -> ExitCode {
    match Arguments::parse().action {
        Action::Run(options) => ExitCode::from(run::run(&options)),
        Action::Drydock(options) => ExitCode::from(drydock::run(&options)),
        Action::Symbolize(options) => finish(symbolize::file(&options)),
        Action::Vtpm(options) => ExitCode::from(vtpm::run(&options)),
        Action::Image { action } => finish(image::run(&action)),
        Action::TpmCa { file } => finish(manufacture::print_authority(file.as_deref())),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "paravane", &mut script);
            finish(std::io::stdout().write_all(&script).map_err(Into::into))
        }
        Action::Guard(options) => finish(Err(guardian::become_program(&options))),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("{error:#}");
            ExitCode::from(exit::OURS)
        }
    }
}
