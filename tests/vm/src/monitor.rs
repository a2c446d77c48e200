//! Commands at QEMU's monitor, as the guest sees them.

use crate::console::{Console, PROMPT};
use crate::machine::Vm;
use crate::{Environment, Outcome, Test, ensure, test};

/// Ctrl-A C switches between the console and the monitor.
const SWITCH: &str = "\x01c";
const MONITOR: &str = "(qemu)";

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("monitor::a_break_reaches_the_magic_sysrq_key", sysrq),
        test("monitor::the_power_button_reaches_the_guest", power_button),
        test("monitor::an_nmi_reaches_every_vp_that_asks_for_it", nmi),
    ]
}

/// Types a command at the monitor.
pub fn command(console: &mut Console, text: &str) -> Outcome {
    console.say(SWITCH)?;
    console.wait_for(MONITOR)?;
    console.say(&format!("{text}\n"))?;
    console.wait_for(MONITOR)?;
    console.say(SWITCH)?;
    Ok(())
}

/// Ctrl-A B sends a break; the letter behind it is the request.
fn sysrq(environment: &Environment) -> Outcome {
    let line = "console=ttyS0 sysrq_always_enabled";
    let (mut console, _folder) = Console::start(environment, &["--append", line])?;
    console.wait_for(PROMPT)?;
    console.say("\x01bh")?;
    console.wait_for("sysrq: HELP")?;
    console.say("\x01bo")?;
    console.wait_for("sysrq: Power Off")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    Ok(())
}

/// Two presses are two interrupts, to a guest that sleeps.
fn power_button(environment: &Environment) -> Outcome {
    let vm = Vm::new(environment).args(["-m", "128M", "--kernel"]);
    let (mut console, _folder) = Console::start_vm(vm.arg(environment.guests.join("button")))?;
    console.wait_for("waits for the button")?;
    for presses in ["pressed 1", "pressed 2"] {
        command(&mut console, "system_powerdown")?;
        // The guest reports only when asked: otherwise the monitor's output would mix with its
        // letters.
        console.say("?")?;
        console.wait_for(presses)?;
    }
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    Ok(())
}

/// The guest enables the host's NMIs for all of its VPs, and sleeps when they arrive.
fn nmi(environment: &Environment) -> Outcome {
    let line = "console=ttyS0 quiet apic_extnmi=all";
    let arguments = ["--cpus", "2", "--append", line];
    let (mut console, _folder) = Console::start(environment, &arguments)?;
    console.wait_for(PROMPT)?;
    command(&mut console, "nmi")?;
    let look = "until awk '/NMI:/ { exit !($2 > 0 && $3 > 0) }' /proc/interrupts; do :; done; echo ca\"\"me\n";
    console.say(look)?;
    console.wait_for("came")?;
    console.say("exit\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    Ok(())
}
