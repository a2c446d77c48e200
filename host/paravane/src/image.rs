//! `paravane image`: IGVM files.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use command_line::{BuildOptions, ImageAction, MeasureOptions};
use host_wire::Config;
use igvm_image::{Linux, Paravisor, build_linux, build_paravisor, build_program, measure};

use crate::files::beside_us;

/// Builds or measures a file.
pub fn run(action: &ImageAction) -> Result<()> {
    match action {
        ImageAction::Build(options) => build(options),
        ImageAction::Measure(options) => print_digest(options),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

fn build(options: &BuildOptions) -> Result<()> {
    let file = match (&options.elf, &options.linux) {
        (Some(elf), _) => build_program(&read(elf)?, options.policy, options.features)?,
        (None, Some(linux)) => match &options.paravisor {
            Some(image) => build_with_paravisor(options, image, linux)?,
            None => build_with_linux(options, linux)?,
        },
        (None, None) => bail!("neither --linux nor --elf says what to start"),
    };
    fs::write(&options.output, file).with_context(|| options.output.display().to_string())
}

fn build_with_linux(options: &BuildOptions, linux: &Path) -> Result<Vec<u8>> {
    let stub = beside_us(options.stub.as_deref(), "linux-start");
    let initrd = options.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
    let (stub, kernel) = (read(&stub)?, read(linux)?);
    build_linux(&Linux {
        stub: &stub,
        kernel: &kernel,
        initrd: &initrd,
        command_line: options.append.as_bytes(),
        policy: options.policy,
        features: options.features,
    })
}

fn build_with_paravisor(options: &BuildOptions, image: &Path, linux: &Path) -> Result<Vec<u8>> {
    let config = Config { tpm: false, ..Config::default() }.to_string();
    let name = linux.file_name().unwrap_or_default().as_encoded_bytes();
    let initrd = options.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
    let (image, kernel) = (read(image)?, read(linux)?);
    build_paravisor(&Paravisor {
        image: &image,
        config: config.as_bytes(),
        files: [&kernel, name, &initrd, options.append.as_bytes()],
        policy: options.policy,
        features: options.features,
    })
}

fn print_digest(options: &MeasureOptions) -> Result<()> {
    let rows = measure(&read(&options.file)?, options.memory)?;
    let mut out = std::io::stdout().lock();
    if options.explain {
        for row in &rows {
            writeln!(out, "{:#014x} {:10} {}", row.gpa, row.kind, Hex(&row.digest))?;
        }
    }
    let last = rows.last().context("the file has no pages")?;
    writeln!(out, "{}", Hex(&last.digest))?;
    Ok(())
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
