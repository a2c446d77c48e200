//! A guest that calls the missing BIOS, or resets by each method.

use crate::console::{Console, PROMPT};
use crate::machine::Vm;
use crate::{Environment, Outcome, Test, ensure, test};

/// The exit code of a guest that cannot continue.
const GUEST_FAILED: i32 = 71;
/// Linux's reset methods (Documentation/admin-guide/kernel-parameters.txt, `reboot=`): BIOS, EFI,
/// keyboard controller, triple fault, ACPI, PCI, PCI where it is known to be safe.
const WAYS: [&str; 7] = ["b", "e", "k", "t", "a", "p", "q"];

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test("bios::a_call_ends_the_vm_with_a_line", call),
        test("bios::its_reset_vector_resets", |environment| {
            let (mut console, _folder) = Console::start_vm(guest(environment, "jump"))?;
            for _ in 0..2 {
                console.wait_for("jumps")?;
            }
            Ok(())
        }),
    ];
    for way in WAYS {
        tests.push(test(format!("bios::reboot_{way}_resets"), move |all| reboot(all, way)));
    }
    tests
}

fn guest(environment: &Environment, line: &str) -> Vm {
    let vm = Vm::new(environment).args(["-m", "128M", "-a", line, "--kernel"]);
    vm.arg(environment.guests.join("bios"))
}

/// A function, then an interrupt controller's vector without an interrupt, then an exception's.
fn call(environment: &Environment) -> Outcome {
    for (line, told) in [("int=16", "INT 10h"), ("int=13", "INT 0Dh"), ("int=6", "INT 06h")] {
        let run = guest(environment, line).run()?;
        ensure!(run.code == Some(GUEST_FAILED), "{run:?}");
        ensure!(run.errors.contains(told) && run.errors.contains("AX=0E41h"), "{run:?}");
        ensure!(run.errors.contains("there is no BIOS"), "{run:?}");
    }
    Ok(())
}

fn starts(summary: &serde_json::Value) -> u64 {
    summary["counters"]["starts"].as_u64().unwrap_or_default()
}

fn reboot(environment: &Environment, way: &str) -> Outcome {
    let line = format!("console=ttyS0 quiet reboot={way}");
    let (mut console, _folder) = Console::start(environment, &["-c", "2", "--append", &line])?;
    console.wait_for(PROMPT)?;
    console.say("reboot -f\n")?;
    console.wait_for(PROMPT)?;
    console.say("poweroff -f\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off" && starts(&summary) == 2, "{summary}");
    Ok(())
}
