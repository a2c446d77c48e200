//! A Debian user space made of packages, as a guest's initial file system.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cpio::Archive;

use crate::build::output;
use crate::debian::{self, Apt};
use crate::place;

/// A user space for one purpose.
#[derive(Clone, Copy, Debug)]
pub struct Flavour<'a> {
    /// The name of its file.
    pub name: &'a str,
    /// The requested packages; their dependencies are added.
    pub packages: &'a [&'a str],
}

/// Starts a kernel from a running one.
pub const KEXEC: Flavour<'static> = Flavour { name: "kexec", packages: &["kexec-tools"] };

/// Loads a machine, and measures the latency of its timers.
pub const LOAD: Flavour<'static> = Flavour { name: "load", packages: &["stress-ng", "rt-tests"] };

/// Uses a TPM: its tools, disk encryption, OpenSSL's provider.
pub const TPM: Flavour<'static> = Flavour {
    name: "tpm",
    packages: &[
        "tpm2-tools",
        "libtss2-tcti-device0",
        "cryptsetup-bin",
        "systemd",
        "libtss2-rc0",
        "openssl",
        "tpm2-openssl",
    ],
};

/// Kernel modules that a guest may need for a TPM, encrypted disks, or attestation reports.
const MODULES: [&str; 10] = [
    "arch/x86/crypto/",
    "crypto/",
    "drivers/block/loop.ko",
    "drivers/char/hw_random/rng-core.ko",
    "drivers/char/tpm/",
    "drivers/md/dm-",
    "drivers/virt/coco/",
    "fs/configfs/",
    "lib/",
    "security/keys/",
];

/// The name of the archive of [`MODULES`] in the cache. It changes with them, because caches live on.
const MODULES_NAME: &str = "modules-2";

/// Folders that are links since Debian merged them into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Folders that an unattended guest does not need.
const LEFT_OUT: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/zoneinfo",
    "usr/share/info",
    "usr/share/bash-completion",
];

/// The user space of a suite: from the cache, or else built from downloaded packages.
pub fn initrd(suite: &str, flavour: Flavour<'_>) -> Result<PathBuf> {
    let folder = place::cache().join(suite);
    let file = folder.join(format!("userspace-{}", flavour.name));
    let note = folder.join(format!("userspace-{}.packages", flavour.name));
    let wanted = flavour.packages.join(" ");
    let is_current = || file.exists() && fs::read_to_string(&note).is_ok_and(|old| old == wanted);
    if is_current() {
        return Ok(file);
    }
    let busybox = debian::busybox(suite)?;
    let _lock = place::lock(&folder)?;
    if is_current() {
        return Ok(file);
    }
    let work = tempfile::tempdir_in(&folder)?;
    eprintln!("xtask: downloads {wanted} of Debian {suite} with all they need");
    let packages = Apt::new(suite, &folder)?.download_all(flavour.packages, work.path())?;
    let tree = work.path().join("tree");
    unpack(&packages, &tree)?;
    let mut archive = Archive::new();
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        archive.directory(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    add(&mut archive, &tree, Path::new(""))?;
    add_busybox(&mut archive, &tree, &busybox)?;
    place::write_whole(&file, &archive.finish())?;
    place::write_whole(&note, wanted.as_bytes())?;
    Ok(file)
}

/// The [`MODULES`] of a suite's kernel, as an archive to append to an initrd. It has no list of
/// their dependencies: the guest's `depmod` makes one.
pub fn modules(suite: &str) -> Result<PathBuf> {
    debian::derived(suite, debian::KERNEL, MODULES_NAME, |tree| {
        let mut archive = Archive::new();
        for top in ["lib", "usr/lib"] {
            let versions = fs::read_dir(tree.join(top).join("modules"));
            for version in versions.into_iter().flatten() {
                let folder = version?.path().join("kernel");
                add_modules(&mut archive, tree, &folder, &folder)?;
            }
        }
        Ok(archive.finish())
    })
}

/// Adds the wanted modules of a folder of the tree.
fn add_modules(archive: &mut Archive, tree: &Path, kernel: &Path, folder: &Path) -> Result<()> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(kernel)?.to_string_lossy().into_owned();
        // Older suites keep their modules in /lib, which is a link in a merged user space.
        let below = path.strip_prefix(tree)?.to_string_lossy().into_owned();
        let place = if below.starts_with("usr/") { below } else { format!("usr/{below}") };
        if path.is_dir() {
            let open = name.clone() + "/";
            if MODULES.iter().any(|wanted| open.starts_with(wanted) || wanted.starts_with(&open)) {
                add_modules(archive, tree, kernel, &path)?;
            }
        } else if MODULES.iter().any(|wanted| name.starts_with(wanted)) {
            archive.file(&place, 0o644, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// Extracts the files of all packages into one tree. No script of a package runs.
fn unpack(packages: &[PathBuf], tree: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }
    for package in packages {
        let mut reader = Command::new("dpkg-deb");
        let mut reader =
            reader.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
        let mut tar = Command::new("tar");
        tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"]).arg(tree);
        if let Some(pipe) = reader.stdout.take() {
            tar.stdin(pipe);
        }
        output(&mut tar)?;
        if !reader.wait()?.success() {
            bail!("{} cannot be unpacked", package.display());
        }
    }
    Ok(())
}

/// Adds a folder of the tree recursively, in a fixed order.
fn add(archive: &mut Archive, tree: &Path, relative: &Path) -> Result<()> {
    let folder = tree.join(relative);
    let mut names: Vec<_> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    for name in names {
        let relative = relative.join(name);
        let path = tree.join(&relative);
        let text = relative.to_str().context("a file name that is not UTF-8")?;
        let about = path.symlink_metadata()?;
        if LEFT_OUT.contains(&text) {
            continue;
        }
        if about.is_dir() {
            archive.directory(text);
            add(archive, tree, &relative)?;
        } else if about.is_symlink() {
            archive.link(text, &fs::read_link(&path)?.to_string_lossy());
        } else if about.is_file() {
            archive.file(text, about.mode() & 0o7777, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// Adds busybox, and those of its applets that no package provides.
fn add_busybox(archive: &mut Archive, tree: &Path, busybox: &Path) -> Result<()> {
    archive.file("usr/bin/busybox", 0o755, &fs::read(busybox)?);
    let applets = output(Command::new(busybox).arg("--list"))?;
    let has = |applet: &str| {
        let places = ["usr/bin", "usr/sbin"].map(|folder| tree.join(folder).join(applet));
        places.iter().any(|path| path.symlink_metadata().is_ok())
    };
    for applet in applets.lines().filter(|applet| !has(applet) && *applet != "busybox") {
        archive.link(&format!("usr/bin/{applet}"), "busybox");
    }
    Ok(())
}
