//! A peer to compare with: QEMU with KVM, nested in a guest of the same QEMU.

use std::fs;

use anyhow::{Context, Result};
use cpio::Archive;
use serde_json::{Value, json};

use super::{Guest, command, costs, finish, median};
use crate::{debian, place, userspace};

/// QEMU as a guest's program.
const QEMU: userspace::Flavour =
    userspace::Flavour { name: "qemu", packages: &["qemu-system-x86"] };
/// Modules of the guest's kernel, each after the modules that it depends on.
const MODULES: [&str; 3] = ["irqbypass.ko", "kvm.ko", "kvm-amd.ko"];
/// The agent's message when it is ready.
const SIGN: &str = "powers the guest off";

/// Compares the time of a CPUID exit, and a boot with a direct one that takes `direct` seconds.
pub fn run(guest: &Guest, direct: f64, runs: usize) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let outer = Guest { kernel: guest.kernel.clone(), initrd: folder.path().join("initrd") };
    fs::write(&outer.initrd, initrd(guest)?)?;
    let (mut ours, mut theirs, mut boots) = (vec![], vec![], vec![]);
    for _ in 0..runs {
        ours.push(own_cpuid()?);
        let text = outer.exec(&script(), &["--direct", "--memory", "2G"])?;
        theirs.push(cpuid(&text)?);
        let seconds = text.lines().find_map(|line| line.strip_prefix("boot "));
        boots.push(seconds.context("the peer did not boot")?.trim().parse::<f64>()?);
    }
    let ratio = median(&ours) / median(&theirs);
    println!("\n{:30} {:>10} {:>10} {:>7}", "against nested KVM", "KVM", "ours", "ratio");
    let (kvm, own) = (median(&theirs), median(&ours));
    println!("{:30} {kvm:>10} {own:>10} {ratio:>7.2}", "ticks of a CPUID exit");
    let times = median(&boots) / direct;
    println!(
        "{:30} {:>8.2} s; {times:.2} times a direct one",
        "its boot to userspace",
        median(&boots)
    );
    Ok(json!({ "cpuid-ticks": { "kvm": theirs, "ours": ours, "ratio": ratio },
        "boot": { "kvm": boots, "times-direct": times } }))
}

fn own_cpuid() -> Result<f64> {
    let mut command = command();
    command.args(["--memory", "128M", "--kernel"]).arg(place::test_guests().join("cost"));
    cpuid(&finish(&mut command)?)
}

fn cpuid(text: &str) -> Result<f64> {
    let found = costs::counts(text).into_iter().find(|(name, _)| name == "cpuid");
    Ok(found.with_context(|| format!("no count of CPUID in\n{text}"))?.1 as f64)
}

/// The outer guest's files: QEMU, KVM's modules, and what to run in it.
fn initrd(guest: &Guest) -> Result<Vec<u8>> {
    let suite = debian::own_suite()?;
    let mut initrd = fs::read(userspace::initrd(&suite, QEMU)?)?;
    let mut archive = Archive::new();
    for module in MODULES {
        archive.file(&format!("kvm/{module}"), 0o644, &fs::read(debian::module(&suite, module)?)?);
    }
    archive.file("kvm/cost", 0o644, &fs::read(place::test_guests().join("cost"))?);
    archive.file("kvm/kernel", 0o644, &fs::read(&guest.kernel)?);
    archive.file("kvm/initrd", 0o644, &fs::read(&guest.initrd)?);
    cpio::append(&mut initrd, &archive.finish());
    Ok(initrd)
}

/// The script that the outer guest runs. Outer and inner guest share one clock.
fn script() -> String {
    let insert: String =
        MODULES.iter().map(|module| format!("insmod /kvm/{module} &&\n")).collect();
    format!(
        "{insert} test -e /dev/kvm || exit 3
        run() {{ timeout 60 qemu-system-x86_64 -M q35,accel=kvm -cpu host -display none -monitor none \
            -no-reboot -serial stdio -m 512M \"$@\" < /dev/null; }}
        run -kernel /kvm/cost
        start=$(cut -d' ' -f1 /proc/uptime)
        # Nothing else would end the peer: its guest waits at its shell.
        run -kernel /kvm/kernel -initrd /kvm/initrd -append 'console=ttyS0 quiet' | {{
            grep -m1 -q '{SIGN}' && cut -d' ' -f1 /proc/uptime > /tmp/end
            pkill qemu
        }}
        echo boot $(echo \"$start $(cat /tmp/end)\" | awk '{{ print $2 - $1 }}')"
    )
}
