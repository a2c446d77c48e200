//! Guests under load from third-party programs, watched for resets.

use std::time::Duration;

use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// Stressors that keep interrupts, timers, page tables and the scheduler busy at once.
const STRESSORS: &str = "--cpu 2 --timer 2 --hrtimers 1 --clock 1 --switch 2 --fault 2 --vm 1 \
                         --vm-bytes 64M --sem 1 --nanosleep 1";
/// How long the load lasts in `test`, in seconds.
const SHORT: u64 = 120;
/// How long it lasts in the long tier, for each number of VPs.
const LONG: u64 = 3600;

/// The tests of this part.
pub fn tests(environment: &Environment) -> Vec<Test> {
    let load = environment.load.clone();
    let seconds = if environment.long { LONG } else { SHORT };
    let cpus: &[u32] = if environment.long { &[2, 4] } else { &[2] };
    let soak = |cpus: &u32| {
        let (load, cpus) = (load.clone(), *cpus);
        let name = format!("soak::a_loaded_guest_with_{cpus}_vps_is_never_reset");
        test(name, move |environment| {
            let initrd = load.as_deref().map_err(|why| Stop::Skipped(why.clone()))?;
            soak(environment, initrd, cpus, seconds)
        })
    };
    cpus.iter().map(soak).collect()
}

/// cyclictest and stress-ng together: both succeed, the machine has started once, and the kernel
/// warns of nothing but the load.
fn soak(environment: &Environment, initrd: &std::path::Path, cpus: u32, seconds: u64) -> Outcome {
    let script = format!(
        "mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
        cyclictest --quiet --smp --interval=1000 --priority=80 --duration={seconds} > /tmp/cycles &
        stress-ng {STRESSORS} --timeout {seconds} 2>&1 | tail -n 3
        wait
        grep -c '^T:' /tmp/cycles
        dmesg -r | grep -E '^<[0-3]>' | grep -v 'Out of memory'
        echo end"
    );
    // Work timed by the guest's clock takes as long here; the rest is for its boot and its end.
    let limit = seconds * 2 + 300;
    // QEMU's races between CPUs that run at once are what reset a guest before. But with threads, one
    // boot of a Linux in some hundred hangs on QEMU 7.2, which is nothing for a test of minutes.
    let vm = if environment.long { Vm::with_threads(environment) } else { Vm::new(environment) };
    let vm = vm.args(["--timeout", &limit.to_string(), "-m", "1G", "-c"]);
    let vm = vm.arg(cpus.to_string()).args(["--exec", &script, "--kernel"]);
    let vm = vm.arg(&environment.kernel).args(["--initrd"]).arg(initrd);
    let run = vm.run_within(Duration::from_secs(limit + 30))?;
    ensure!(run.code == Some(0), "{run:?}");
    let text = String::from_utf8_lossy(&run.output);
    ensure!(run.counter("starts") == 1, "{} starts\n{text}", run.counter("starts"));
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines.iter().any(|line| line.contains("successful run completed")), "{text}");
    let tail = format!("{cpus}\nend\n");
    ensure!(text.ends_with(&tail), "the kernel complains, or cyclictest was cut short:\n{text}");
    Ok(())
}
