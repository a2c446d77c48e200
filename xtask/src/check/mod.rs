//! `cargo xtask check`: the rules that no compiler enforces.

mod budgets;
mod image;
mod instructions;
mod layers;
mod lengths;
mod licences;
mod metadata;
mod ratio;
mod unsafety;
mod words;

use std::process::ExitCode;

use anyhow::Result;

use crate::build::{cargo, succeed};
use crate::{build, place, setup};

pub use budgets::Budgets;

/// Packages that are built for bare metal only.
pub fn bare_metal_packages() -> Result<Vec<String>> {
    let packages = metadata::read()?.packages.into_iter();
    Ok(packages.filter(metadata::Package::is_bare_metal).map(|package| package.name).collect())
}

/// Violations that a check has found, one line each.
type Findings = Vec<String>;

/// Runs every check, even after one has failed.
pub fn run() -> Result<ExitCode> {
    setup::rust_target()?;
    setup::rust_component("fmt", "rustfmt")?;
    setup::rust_component("clippy", "clippy")?;
    let metadata = metadata::read()?;
    let mut failed = 0;
    let mut say = |name: &str, result: Result<Findings>| {
        let findings = result.unwrap_or_else(|error| vec![format!("{error:#}")]);
        println!("{} {name}", if findings.is_empty() { "ok    " } else { "FAILED" });
        for finding in &findings {
            println!("       {finding}");
        }
        failed += usize::from(!findings.is_empty());
    };
    say("format", format().map(|()| vec![]));
    say("layers", Ok(layers::check(&metadata)));
    say("unsafe", unsafety::check(&metadata));
    say("lengths", lengths::check(&place::root()));
    say("names", words::check(&place::root()));
    say("tests to code", ratio::check(&metadata));
    say("licences and bans", licences::check(&metadata));
    say("lints on the host", clippy_host(&metadata).map(|()| vec![]));
    say("lints of the images", clippy_bare_metal(&metadata).map(|()| vec![]));
    match build::image().and_then(|()| image::Image::read(&place::image())) {
        Ok(image) => {
            say("host instructions", instructions::check(&image, "images/paravisor"));
            say("budgets", budgets::check(&image, &metadata));
        }
        Err(error) => say("image", Err(error)),
    }
    let others = [
        ("drydock", build::drydock as fn() -> Result<()>, place::drydock()),
        ("linux-start", build::linux_start, place::linux_start()),
        ("paravisor-snp", build::image_snp, place::image_snp()),
    ];
    for (name, build, path) in others {
        match build().and_then(|()| image::Image::read(&path)) {
            Ok(image) => {
                let folder = format!("images/{name}");
                say(&format!("host instructions of {name}"), instructions::check(&image, &folder));
                say(&format!("size of {name}"), budgets::check_size(&image, name));
            }
            Err(error) => say(name, Err(error)),
        }
    }
    if failed == 0 {
        println!("all checks passed");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{failed} checks failed");
    Ok(ExitCode::FAILURE)
}

/// The workspace's format, and that of the package beside it.
fn format() -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    succeed(cargo().args(["fmt", "--check", "--manifest-path", "tests/verifier/Cargo.toml"]))
}

fn clippy_host(metadata: &metadata::Metadata) -> Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    for package in metadata.packages.iter().filter(|package| package.is_bare_metal()) {
        command.args(["--exclude", &package.name]);
    }
    succeed(command.args(["--", "-D", "warnings"]))
}

fn clippy_bare_metal(metadata: &metadata::Metadata) -> Result<()> {
    // Two invocations, so that features do not mix: the guests have no allocator.
    for folder in ["images", "tests/guests"] {
        let mut command = cargo();
        command.args(["clippy", "--quiet", "--target", place::BARE_METAL]);
        for package in metadata.packages.iter().filter(|package| package.folder.starts_with(folder))
        {
            command.args(["-p", &package.name]);
        }
        succeed(command.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
