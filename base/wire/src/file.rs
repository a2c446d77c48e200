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
