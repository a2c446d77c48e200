//! The modem lines of the serial ports.

use crate::console::{Console, PROMPT};
use crate::machine::Vm;
use crate::{Environment, Outcome, Test, ensure, test};

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("serial::a_console_with_flow_control_reaches_the_shell", flow_control),
        test("serial::a_port_that_watches_the_modem_opens_and_sends", |environment| {
            let script = "for port in 0 1; do
                    stty -F /dev/ttyS$port crtscts -clocal && exec 3<>/dev/ttyS$port && echo open
                    exec 3>&-
                    sed -n \"s/^$port: .*irq:. /lines: /p\" /proc/tty/driver/serial
                done";
            let text = Vm::exec(environment, script).run()?.text()?;
            ensure!(text.matches("open\n").count() == 2, "{text}");
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with("lines: ")).collect();
            let ready = |line: &&&str| ["CTS", "DSR", "CD"].iter().all(|name| line.contains(name));
            ensure!(lines.len() == 2 && lines.iter().filter(ready).count() == 2, "{text}");
            Ok(())
        }),
    ]
}

fn flow_control(environment: &Environment) -> Outcome {
    let (mut console, _folder) =
        Console::start(environment, &["--append", "console=ttyS0,115200n8r quiet"])?;
    console.wait_for(PROMPT)?;
    console.say("stty -F /dev/ttyS0 crtscts -clocal; echo hel\"\"lo >/dev/ttyS0\n")?;
    console.wait_for("hello\r\n")?;
    console.say("exit\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    Ok(())
}
