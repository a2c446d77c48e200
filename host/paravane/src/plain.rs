//! Safe opening of files that the user names: plain files only, never through a link.
//!
//! The type of a file is checked before it is opened, because opening a FIFO can block and opening
//! a device can have side effects. A file that will be written is locked. The lock is on the file
//! itself, so all names of one file (hard links, bind mounts) share it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// The name as shown to the user.
pub fn named(path: &Path) -> String {
    path.display().to_string()
}

/// Whether the name exists, even as a dangling link.
pub fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| named(path)),
    }
}

/// Makes a file that only its owner can access, whole or not at all. A file of that name that
/// another process has made meanwhile is left as it is.
pub fn make(path: &Path, content: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Temporary files have the mode 0600.
    let write = || -> Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(File::open(folder)?.sync_all()?),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error.into()),
        }
    };
    write().with_context(|| format!("{} can not be made", path.display()))
}

/// Opens a plain file, but not through a link; for writing too if `write`.
pub fn open(path: &Path, write: bool) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let metadata = fs::symlink_metadata(path).with_context(|| named(path))?;
    if metadata.is_symlink() {
        bail!("{} is a symbolic link: give the file itself", path.display());
    }
    if !metadata.is_file() {
        bail!("{} is no file", path.display());
    }
    if write && metadata.permissions().readonly() {
        bail!("{} is read-only", path.display());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).with_context(|| named(path))?;
    // The name may have been replaced between the check and the opening.
    if !file.metadata().with_context(|| named(path))?.is_file() {
        bail!("{} is no file", path.display());
    }
    Ok(file)
}

/// Checks that a plain file, or a link to one, can be read. A FIFO or device is refused unopened.
pub fn check_readable(path: &Path) -> Result<()> {
    if !fs::metadata(path).with_context(|| named(path))?.is_file() {
        bail!("{} is no file", path.display());
    }
    File::open(path).map(drop).with_context(|| named(path))
}

/// Opens and locks a plain file for writing. `taken` begins the error message if another process
/// has the lock.
pub fn open_locked(path: &Path, taken: &str) -> Result<File> {
    let file = open(path, true)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("{taken} {}", path.display()),
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| named(path)),
    }
    // Another file may have taken the name before the lock was ours; whoever opens that one has a
    // lock of their own.
    let (ours, named_now) = (file.metadata(), fs::symlink_metadata(path));
    let identity = |facts: fs::Metadata| (facts.dev(), facts.ino());
    match (ours.map(identity), named_now.map(identity)) {
        (Ok(ours), Ok(now)) if ours == now => Ok(file),
        _ => bail!("{} was replaced while it was opened", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::tempdir;

    use super::*;

    fn line<T>(result: Result<T>) -> String {
        format!("{:#}", result.err().expect("it is refused"))
    }

    #[test]
    fn a_file_is_made_once_and_only_for_its_owner() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(!exists(&path).unwrap());
        make(&path, b"first").unwrap();
        make(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first", "what is there stays");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(line(make(&folder.path().join("no/file"), b"")).contains("can not be made"));
    }

    #[test]
    fn a_dangling_link_exists_and_is_refused() {
        let folder = tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("nowhere", &link).unwrap();
        assert!(exists(&link).unwrap());
        assert!(line(open(&link, false)).contains("is a symbolic link"));
        assert!(check_readable(&link).is_err());
    }

    #[test]
    fn only_plain_files_are_opened_without_blocking() {
        let folder = tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [folder.path(), &fifo, Path::new("/dev/null")] {
            assert!(line(open(path, false)).ends_with("is no file"), "{}", path.display());
            assert!(line(check_readable(path)).ends_with("is no file"), "{}", path.display());
        }
        let file = folder.path().join("file");
        assert!(line(open(&file, false)).contains("file"), "the name is told");
        fs::write(&file, "x").unwrap();
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        check_readable(&link).unwrap();
    }

    #[test]
    fn all_names_of_a_file_share_its_lock() {
        let folder = tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| folder.path().join(name));
        fs::write(&file, "x").unwrap();
        fs::hard_link(&file, &other).unwrap();
        let first = open_locked(&file, "somebody has").unwrap();
        assert!(line(open_locked(&other, "somebody has")).starts_with("somebody has "));
        assert!(open(&other, false).is_ok(), "reading asks for no lock");
        drop(first);
        open_locked(&other, "somebody has").unwrap();
    }
}
