//! The guest's first process, which runs a command or a shell.
//!
//! Linux starts it as PID 1 from the initial RAM disk. If the RAM disk has a file with a command,
//! the agent runs it and sends its output through the second serial port (see `host_wire::exec`);
//! otherwise it runs a shell on the console. Then it powers the guest off.
#![forbid(unsafe_code)]

mod command;
mod shell;
mod system;

use std::path::Path;

use host_wire::exec;

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
