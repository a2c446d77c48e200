//! Files from Debian's packages, of any suite: downloaded and verified by apt, extracted, cached.
//! Nothing is installed, and the machine's own apt state is not touched.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::output;
use crate::place;
use crate::setup::Machine;
use crate::sources;

/// The cloud kernel: small, with everything that a VM needs built in.
pub const KERNEL: &str = "linux-image-cloud-amd64";

/// Marker file in a suite's folder: its package lists are complete.
const LISTS_COMPLETE: &str = "apt/complete";

/// The kernel of a suite.
pub fn kernel(suite: &str) -> Result<PathBuf> {
    fetch(suite, KERNEL, "vmlinuz", |path| path.contains("/boot/vmlinuz-"))
}

/// A module of a suite's kernel, by file name.
pub fn module(suite: &str, name: &str) -> Result<PathBuf> {
    fetch(suite, KERNEL, name, |path| {
        path.contains("/lib/modules/") && path.ends_with(&format!("/{name}"))
    })
}

/// The static busybox of the machine's own suite.
pub fn busybox(suite: &str) -> Result<PathBuf> {
    fetch(suite, "busybox-static", "busybox", |path| path.ends_with("/bin/busybox"))
}

/// memtest86+ of the machine's own suite, as a bzImage.
pub fn memtest(suite: &str) -> Result<PathBuf> {
    fetch(suite, "memtest86+", "memtest.bin", |path| path.ends_with("/boot/memtest86+x64.bin"))
}

/// The suite of this machine; on other systems than Debian, the error names the alternatives.
pub fn own_suite() -> Result<String> {
    Machine::look().suite.context(
        "this is not Debian, whose kernel and busybox make the default guest: give your own with \
         --kernel and --initrd",
    )
}

/// A file of a package: from the cache, or else from the mirror.
fn fetch(suite: &str, package: &str, name: &str, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    cached(suite, package, name, |tree, file| {
        let found = find(tree, &wanted).with_context(|| format!("{package} has no {name}"))?;
        // Rename, so that another run sees the file only when it is complete.
        fs::rename(&found, file).with_context(|| file.display().to_string())
    })
}

/// A file that `make` makes of a package's tree: from the cache, or else from the mirror.
pub fn derived(
    suite: &str,
    package: &str,
    name: &str,
    make: impl Fn(&Path) -> Result<Vec<u8>>,
) -> Result<PathBuf> {
    cached(suite, package, name, |tree, file| place::write_whole(file, &make(tree)?))
}

/// The file `name` in a suite's folder of the cache; `make` creates it from a package's tree.
fn cached(
    suite: &str,
    package: &str,
    name: &str,
    make: impl Fn(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = place::cache().join(suite);
    let file = folder.join(name);
    if file.exists() {
        return Ok(file);
    }
    let _lock = place::lock(&folder)?;
    if file.exists() {
        return Ok(file);
    }
    let work = tempfile::tempdir_in(&folder)?;
    let download = || -> Result<PathBuf> {
        let apt = Apt::new(suite, &folder)?;
        let real = apt.real_name(package)?;
        eprintln!("xtask: downloads {real} of Debian {suite}");
        apt.download(&real, work.path())
    };
    // Old lists may name packages that the mirror has dropped: fetch new lists, once.
    let had_lists = folder.join(LISTS_COMPLETE).exists();
    let archive = download().or_else(|error| {
        if !had_lists {
            return Err(error);
        }
        fs::remove_file(folder.join(LISTS_COMPLETE))?;
        download()
    })?;
    let tree = work.path().join("tree");
    output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
    // Records the version, so that a test report can name it.
    let version = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place::write_whole(&folder.join(format!("{name}.from")), version.as_bytes())?;
    make(&tree, &file)?;
    Ok(file)
}

/// The original source of a package of the machine's own suite, unpacked in `folder`.
///
/// # Errors
/// Fails also if the mirror has no sources.
pub fn source(package: &str, folder: &Path) -> Result<PathBuf> {
    let apt = Apt::with_lists(&own_suite()?, folder, "deb-src")?;
    let mut command = apt.command("apt-get");
    output(command.args(["source", "--download-only", package]).current_dir(folder))?;
    let archive = find(folder, &|path| path.contains(".orig.tar."));
    let archive = archive.with_context(|| format!("{package} has no original source"))?;
    let tree = folder.join("source");
    fs::create_dir_all(&tree)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--strip-components", "1", "-xf"]).arg(&archive).arg("-C").arg(&tree);
    output(&mut unpack)?;
    Ok(tree)
}

/// The package that a fetched file came from.
pub fn origin(file: &Path) -> String {
    let mut note = file.as_os_str().to_owned();
    note.push(".from");
    fs::read_to_string(note).unwrap_or_default()
}

fn find(folder: &Path, wanted: &impl Fn(&str) -> bool) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        // Links could lead out of the tree.
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            if let Some(found) = find(&path, wanted) {
                return Some(found);
            }
        } else if kind.is_file() && wanted(&path.to_string_lossy()) {
            return Some(path);
        }
    }
    None
}

/// apt with lists and sources of its own.
pub struct Apt {
    suite: String,
    folder: PathBuf,
}

impl Apt {
    /// Fetches the suite's lists, if they are not there.
    pub fn new(suite: &str, folder: &Path) -> Result<Self> {
        Self::with_lists(suite, folder, "deb")
    }

    /// Fetches lists of one type: packages (`deb`) or sources (`deb-src`).
    fn with_lists(suite: &str, folder: &Path, kind: &str) -> Result<Self> {
        let own = own_suite()?;
        let apt = Self { suite: suite.to_owned(), folder: folder.join("apt") };
        let done = folder.join(LISTS_COMPLETE);
        if done.exists() {
            return Ok(apt);
        }
        for part in ["lists/partial", "archives/partial", "parts"] {
            fs::create_dir_all(apt.folder.join(part))?;
        }
        fs::write(apt.folder.join("status"), "")?;
        eprintln!("xtask: fetches the package lists of Debian {suite}");
        let mut lines = sources::derive(&own, suite)?;
        for line in &mut lines {
            *line = line.replacen("deb", kind, 1);
        }
        loop {
            fs::write(apt.folder.join("sources.list"), lines.join("\n") + "\n")?;
            match output(apt.command("apt-get").arg("update")) {
                Ok(_) => break,
                // A suite's security updates end before the mirror drops the suite.
                Err(_) if lines.len() > 1 => drop(lines.pop()),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("the mirror does not give Debian {suite}"));
                }
            }
        }
        fs::write(done, "")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.folder.join(name).into_os_string();
        for (option, value) in [
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", at("parts")),
            ("Dir::Etc::preferencesparts", at("parts")),
            ("Dir::Etc::preferences", at("none")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache::archives", at("archives")),
            ("Dir::Cache::pkgcache", OsString::new()),
            ("Dir::Cache::srcpkgcache", OsString::new()),
            ("APT::Architecture", "amd64".into()),
            ("APT::Architectures", "amd64".into()),
            ("APT::Sandbox::User", "root".into()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::Retries", "2".into()),
        ] {
            let mut word = OsString::from(format!("{option}="));
            word.push(value);
            command.arg("-o").arg(word);
        }
        command
    }

    /// Resolves a metapackage, such as that of the newest kernel, to the package that it depends
    /// on.
    fn real_name(&self, package: &str) -> Result<String> {
        if package != KERNEL {
            return Ok(package.to_owned());
        }
        let text = output(self.command("apt-cache").args(["depends", package]))?;
        let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let name = name.filter(|name| name.starts_with("linux-image-"));
        Ok(name.with_context(|| format!("Debian {} has no {package}", self.suite))?.to_owned())
    }

    fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        output(command.arg("download").arg(package).current_dir(folder))?;
        let packages: Vec<PathBuf> =
            fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        match packages.iter().find(|path| path.extension().is_some_and(|kind| kind == "deb")) {
            Some(archive) => Ok(archive.clone()),
            None => bail!("apt-get download gave no {package}"),
        }
    }

    /// Downloads packages with their dependencies.
    pub fn download_all(&self, packages: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
        let mut command = self.command("apt-get");
        let archives = folder.join("archives");
        fs::create_dir_all(archives.join("partial"))?;
        let mut word = OsString::from("Dir::Cache::archives=");
        word.push(&archives);
        command.arg("-o").arg(word);
        command.args(["install", "--download-only", "--no-install-recommends", "-q", "-y"]);
        output(command.args(packages))?;
        let files = fs::read_dir(archives)?.flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect();
        files.sort();
        Ok(files)
    }
}
