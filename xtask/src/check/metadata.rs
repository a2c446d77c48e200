//! The workspace as `cargo metadata` describes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build::{cargo, output};
use crate::place;

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the checkout's root.
    pub folder: PathBuf,
    /// The root files of its library and programs.
    pub crate_roots: Vec<PathBuf>,
    /// Names of its normal and build dependencies, without those of its tests.
    pub needs: Vec<String>,
}

impl Package {
    /// Whether it is built for bare metal only.
    pub fn is_bare_metal(&self) -> bool {
        self.folder.starts_with("images") || self.folder.starts_with("tests/guests")
    }
}

/// A package from outside the workspace.
#[derive(Debug)]
pub struct Foreign {
    /// Name and version.
    pub name: String,
    /// Its licence expression.
    pub licence: String,
}

/// The workspace with its external dependencies.
#[derive(Debug)]
pub struct Metadata {
    /// The workspace's packages.
    pub packages: Vec<Package>,
    /// The external packages.
    pub foreign: Vec<Foreign>,
}

/// Runs `cargo metadata`.
pub fn read() -> Result<Metadata> {
    let text = output(cargo().args(["metadata", "--format-version", "1"]))?;
    let value: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let mut metadata = Metadata { packages: vec![], foreign: vec![] };
    for package in list(&value, "packages") {
        let name = string(package, "name");
        if package.get("source").is_some_and(Value::is_string) {
            let name = format!("{name} {}", string(package, "version"));
            metadata.foreign.push(Foreign { name, licence: string(package, "license") });
        } else {
            metadata.packages.push(own(name, package));
        }
    }
    Ok(metadata)
}

fn own(name: String, package: &Value) -> Package {
    let manifest = PathBuf::from(string(package, "manifest_path"));
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let folder = folder.strip_prefix(place::root()).unwrap_or(folder).to_owned();
    let is_product =
        |target: &&Value| list(target, "kind").iter().any(|kind| kind == "lib" || kind == "bin");
    let targets = list(package, "targets").iter();
    let crate_roots =
        targets.filter(is_product).map(|target| string(target, "src_path").into()).collect();
    let needed = |dependency: &&Value| dependency.get("kind").is_none_or(|kind| kind != "dev");
    let dependencies = list(package, "dependencies").iter();
    let needs = dependencies.filter(needed).map(|needed| string(needed, "name")).collect();
    Package { name, folder, crate_roots, needs }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
