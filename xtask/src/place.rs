//! Paths of the checkout, of build results and of downloads.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The target that images are built for.
pub const BARE_METAL: &str = "x86_64-unknown-none";
/// The target that the guest's agent is built for.
pub const GUEST: &str = "x86_64-unknown-linux-gnu";

/// The checkout's root.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The paravisor, unstripped.
pub fn image() -> PathBuf {
    target().join(BARE_METAL).join("image/paravisor")
}

/// The paravisor for SEV-SNP, unstripped.
pub fn image_snp() -> PathBuf {
    target().join(BARE_METAL).join("image/paravisor-snp")
}

/// Drydock, unstripped.
pub fn drydock() -> PathBuf {
    target().join(BARE_METAL).join("image/drydock")
}

/// The measured stub that starts Linux in an IGVM file.
pub fn linux_start() -> PathBuf {
    target().join(BARE_METAL).join("image/linux-start")
}

/// The folder of our own test guests.
pub fn test_guests() -> PathBuf {
    target().join(BARE_METAL).join("release")
}

/// The guest's agent.
pub fn agent() -> PathBuf {
    target().join(GUEST).join("agent/agent")
}

/// Loops that are measured in a guest.
pub fn guest_loops() -> PathBuf {
    target().join(GUEST).join("agent/guest-loops")
}

/// The `paravane` command.
pub fn paravane() -> PathBuf {
    target().join("debug/paravane")
}

/// The `paravane` command, built for release.
pub fn paravane_release() -> PathBuf {
    target().join("release/paravane")
}

/// The target folder of the verifier of reports, which has a workspace of its own.
pub fn verifier_target() -> PathBuf {
    target().join("verifier")
}

/// The verifier of reports.
pub fn verifier() -> PathBuf {
    verifier_target().join("debug/verifier")
}

/// The folder in which tests have programs keep their data.
pub fn test_data() -> PathBuf {
    target().join("test-data")
}

/// The folder for downloads, shared by all checkouts of this user.
pub fn cache() -> PathBuf {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    user.unwrap_or_else(target).join("paravane")
}

/// Locks `folder` against other runs of this program until the result is dropped.
pub fn lock(folder: &Path) -> Result<File> {
    let explain = || folder.display().to_string();
    fs::create_dir_all(folder).with_context(explain)?;
    let file = File::create(folder.join("lock")).with_context(explain)?;
    if file.try_lock().is_err() {
        eprintln!("xtask: waits for another run that uses {}", folder.display());
        file.lock().with_context(explain)?;
    }
    Ok(file)
}

/// Writes a file atomically, and only if its content changes.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        if fs::read(path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let file = tempfile::NamedTempFile::new_in(folder)?;
        fs::write(file.path(), content)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| path.display().to_string())
}
