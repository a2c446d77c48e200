//! Names of the files that the host hands in through fw_cfg.

/// The configuration: see [`crate::config`].
pub const CONFIG: &str = "opt/org.paravane/config";
/// The guest's kernel image.
pub const KERNEL: &str = "opt/org.paravane/kernel";
/// The guest's initial RAM disk; may be missing.
pub const INITRD: &str = "opt/org.paravane/initrd";
/// The guest's command line, without a terminating zero; may be missing.
pub const COMMAND_LINE: &str = "opt/org.paravane/cmdline";
/// The key of the paravisor's own state: 32 bytes; there where the state's disk is.
pub const STATE_KEY: &str = "opt/org.paravane/state-key";
/// The name of the kernel's file, as the user gave it; may be missing.
pub const KERNEL_NAME: &str = "opt/org.paravane/kernel-name";
/// More files for a kernel whose boot protocol has modules; files after the first missing one are
/// ignored.
pub const MODULES: [&str; 8] = [
    "opt/org.paravane/module-0",
    "opt/org.paravane/module-1",
    "opt/org.paravane/module-2",
    "opt/org.paravane/module-3",
    "opt/org.paravane/module-4",
    "opt/org.paravane/module-5",
    "opt/org.paravane/module-6",
    "opt/org.paravane/module-7",
];
/// The texts that the kernel finds with its modules, in their order, each with a zero behind it.
pub const MODULE_TEXTS: &str = "opt/org.paravane/module-texts";

/// The configuration of Drydock: see [`crate::drydock`].
pub const DRYDOCK: &str = "opt/org.paravane/drydock";
/// The secrets of the chip that Drydock emulates: see [`crate::chip`]; may be missing.
pub const CHIP: &str = "opt/org.paravane/chip";
/// The certificates of that chip, in the form that a guest gets them (GHCB specification 56421, "SNP
/// Extended Guest Request"); may be missing.
pub const CERTIFICATES: &str = "opt/org.paravane/certificates";
/// The IGVM file that Drydock launches.
pub const IGVM: &str = "opt/org.paravane/igvm";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// QEMU leaves names below `opt/` with an owner's domain to users, and keeps 55 bytes of each
    /// (docs/specs/fw_cfg).
    #[test]
    fn qemu_takes_every_name_as_it_is() {
        let single = [
            CONFIG,
            KERNEL,
            INITRD,
            COMMAND_LINE,
            STATE_KEY,
            KERNEL_NAME,
            MODULE_TEXTS,
            DRYDOCK,
            IGVM,
            CHIP,
            CERTIFICATES,
        ];
        let all: BTreeSet<&str> = single.into_iter().chain(MODULES).collect();
        assert_eq!(all.len(), single.len() + MODULES.len(), "no two are the same");
        for name in all {
            assert!(name.starts_with("opt/org.paravane/"), "{name}");
            assert!(name.len() <= 55 && name.is_ascii(), "{name}");
        }
        for (number, name) in MODULES.iter().enumerate() {
            assert!(name.ends_with(&std::format!("module-{number}")), "{name}");
        }
    }
}
