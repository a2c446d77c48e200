//! The guest's first process: runs one command and carries its output out, or gives a shell; then
//! powers the guest off.
//!
//! It is started by Linux as PID 1 from the initial RAM disk. The command, if there is one, lies
//! beside it in a file; its output leaves through the second serial port (see `wire::exec`).
#![forbid(unsafe_code)]

mod command;
mod shell;
mod system;

use std::path::Path;

use wire::exec;

fn main() {
    system::mount_all();
    system::run_start_script();
    let command = Path::new("/").join(exec::COMMAND_PATH);
    let outcome = match std::fs::read(&command) {
        Ok(text) => command::run(&text),
        Err(_) => shell::run(),
    };
    if let Err(error) = outcome {
        system::say(&format!("paravane agent: {error}"));
    }
    system::power_off();
}
