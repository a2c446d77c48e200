//! The choice of the accelerator: KVM where it offers nested AMD-V, else QEMU's software CPU.

use std::fs::{self, OpenOptions};

use command_line::AccelChoice;

/// The accelerator of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// KVM.
    Kvm,
    /// QEMU's software CPU, with one thread for all CPUs.
    Tcg,
    /// QEMU's software CPU with a thread for each CPU.
    TcgThreads,
}

impl Accel {
    /// The name in the JSON file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::TcgThreads => "tcg-threads",
        }
    }
}

/// The facts about this machine that decide whether KVM will do.
struct Machine {
    has_svm: bool,
    kvm_opens: bool,
    nested: Option<String>,
}

impl Machine {
    fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        Self {
            has_svm: flags.split_whitespace().any(|flag| flag == "svm"),
            kvm_opens: OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok(),
            nested: fs::read_to_string("/sys/module/kvm_amd/parameters/nested").ok(),
        }
    }

    /// Why KVM will not do, or `None`. `/dev/kvm` alone does not mean that nesting works.
    fn obstacle(&self) -> Option<&'static str> {
        if !self.has_svm {
            return Some("the CPU shows no AMD-V (svm)");
        }
        if !self.kvm_opens {
            return Some("/dev/kvm can not be opened");
        }
        match self.nested.as_deref().map(str::trim) {
            Some("1" | "Y") => None,
            Some(_) => Some("nesting is off (kvm_amd's parameter `nested`)"),
            None => Some("KVM's part for AMD is not loaded"),
        }
    }
}

/// Chooses an accelerator and gives the reason as a text for the user.
pub fn choose(choice: AccelChoice) -> (Accel, String) {
    decide(choice, Machine::look().obstacle())
}

fn decide(choice: AccelChoice, obstacle: Option<&str>) -> (Accel, String) {
    match (choice, obstacle) {
        (AccelChoice::Auto, None) => (Accel::Kvm, "KVM, as it offers nested AMD-V".to_owned()),
        (AccelChoice::Auto, Some(why)) => (Accel::Tcg, format!("QEMU's software CPU (TCG): {why}")),
        (AccelChoice::Kvm, None) => (Accel::Kvm, "KVM, as asked".to_owned()),
        (AccelChoice::Kvm, Some(why)) => {
            (Accel::Kvm, format!("KVM, as asked, although it will probably fail: {why}"))
        }
        (AccelChoice::Tcg, _) => (Accel::Tcg, "QEMU's software CPU (TCG), as asked".to_owned()),
        (AccelChoice::TcgThreads, _) => {
            let why = "QEMU's software CPU (TCG) with a thread for each CPU, as asked";
            (Accel::TcgThreads, why.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_needs_all_three_signs() {
        for (has_svm, kvm_opens, nested, good) in [
            (true, true, Some("1\n"), true),
            (true, true, Some("Y\n"), true),
            (true, true, Some("0\n"), false),
            (true, true, None, false),
            (true, false, Some("1\n"), false),
            (false, true, Some("1\n"), false),
        ] {
            let machine = Machine { has_svm, kvm_opens, nested: nested.map(str::to_owned) };
            assert_eq!(machine.obstacle().is_none(), good);
        }
    }

    #[test]
    fn each_obstacle_is_named() {
        let machine = |has_svm, kvm_opens, nested: Option<&str>| {
            let nested = nested.map(str::to_owned);
            Machine { has_svm, kvm_opens, nested }.obstacle().unwrap()
        };
        assert!(machine(false, false, None).contains("svm"));
        assert!(machine(true, false, None).contains("/dev/kvm"));
        assert!(machine(true, true, None).contains("not loaded"));
        assert!(machine(true, true, Some("N\n")).contains("nested"));
    }

    #[test]
    fn a_wish_is_kept_and_auto_follows_the_machine() {
        assert_eq!(decide(AccelChoice::Auto, None).0, Accel::Kvm);
        assert_eq!(decide(AccelChoice::Auto, Some("no")).0, Accel::Tcg);
        assert_eq!(decide(AccelChoice::Tcg, None).0, Accel::Tcg);
        assert_eq!(decide(AccelChoice::TcgThreads, None).0, Accel::TcgThreads);
        assert_eq!(decide(AccelChoice::Kvm, None).0, Accel::Kvm);
        let (accel, why) = decide(AccelChoice::Auto, Some("no svm"));
        assert!(accel == Accel::Tcg && why.contains("no svm"), "the reason is told");
        let (accel, why) = decide(AccelChoice::Kvm, Some("no svm"));
        assert!(accel == Accel::Kvm && why.contains("no svm"));
    }
}
