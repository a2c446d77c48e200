//! Options of `paravane image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::values;

/// The subcommands of `paravane image`.
#[derive(Debug, Subcommand)]
pub enum ImageAction {
    /// Build an IGVM file: one that starts Linux directly, as an enlightened SEV-SNP guest, or any
    /// program that starts in 32-bit mode
    #[command(after_help = "Example: paravane image build --linux vmlinuz --initrd initrd.img \
        --append console=ttyS0 linux.igvm")]
    Build(BuildOptions),
    /// Print the launch digest that the firmware computes for an IGVM file
    #[command(after_help = "Example: paravane image measure --explain linux.igvm")]
    Measure(MeasureOptions),
}

/// Options of `image build`.
#[derive(Debug, Args)]
pub struct BuildOptions {
    /// The kernel, a bzImage with support for SEV-SNP guests (Linux 5.19 and later)
    #[arg(long, value_name = "FILE", required_unless_present = "elf")]
    pub linux: Option<PathBuf>,
    /// The paravisor's image for SEV-SNP (`paravisor-snp`). It starts the kernel as a guest that
    /// need not know of SEV-SNP
    #[arg(long, value_name = "FILE", requires = "linux")]
    pub paravisor: Option<PathBuf>,
    /// In place of Linux: an ELF file, entered in 32-bit mode without paging
    #[arg(long, value_name = "FILE", conflicts_with_all = ["linux", "initrd", "append"])]
    pub elf: Option<PathBuf>,
    /// SEV_FEATURES of the first VP (AMD64 APM vol. 2, table B-4), beside SNPActive
    #[arg(long, value_name = "NUMBER", default_value = "0x1", value_parser = values::number)]
    pub features: u64,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// The guest policy (SNP firmware ABI, section 4.3), a number
    #[arg(long, value_name = "NUMBER", default_value = "0x30000", value_parser = values::number)]
    pub policy: u64,
    /// The measured stub that starts the kernel [default: `linux-start` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_LINUX_START")]
    pub stub: Option<PathBuf>,
    /// The file to write
    pub output: PathBuf,
}

/// Options of `image measure`.
#[derive(Debug, Args)]
pub struct MeasureOptions {
    /// The IGVM file
    pub file: PathBuf,
    /// Print each page with the digest after it
    #[arg(long)]
    pub explain: bool,
    /// The guest's RAM: a save area beyond it is measured where KVM puts it
    #[arg(short, long, value_name = "SIZE", default_value = "512M", value_parser = values::memory)]
    pub memory: u64,
}
