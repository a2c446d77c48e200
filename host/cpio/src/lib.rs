//! A writer of cpio archives in the `newc` format of initial RAM disks.
//!
//! Linux unpacks several archives that follow one another, compressed or not, if each starts at a
//! multiple of four bytes; it skips zeros between them. See its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive under construction. Paths are relative to the root, without a leading slash.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory and its parents.
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
        }
    }

    /// Adds a file with these permission bits, and its parent directories.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, FILE | permissions, (0, 0), content);
    }

    /// Adds a symbolic link and its parent directories.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device that only root may use, and its parent directories.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// Ends the archive and returns its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..end)
                && self.directories.insert(parent.to_owned())
            {
                self.entry(parent, DIRECTORY | 0o755, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // Neither Linux nor the length field takes a member of 4 GiB or more.
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let fields = [
            self.inodes,
            mode,
            0,
            0,
            links,
            0,
            length,
            0,
            0,
            device.0,
            device.1,
            path.len() as u32 + 1,
            0,
        ];
        self.inodes += 1;
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        align(&mut self.bytes);
        self.bytes.extend_from_slice(content.get(..length as usize).unwrap_or_default());
        align(&mut self.bytes);
    }
}

/// Appends `archive` to `initrd`, which may hold archives in any format.
pub fn append(initrd: &mut Vec<u8>, archive: &[u8]) {
    align(initrd);
    initrd.extend_from_slice(archive);
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes an archive: path, mode and content of each entry.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = vec![];
        loop {
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * index..14 + 8 * index]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[..6], MAGIC.as_bytes());
            let (mode, length, name) = (field(1), field(6) as usize, field(11) as usize);
            let path = String::from_utf8(bytes[110..110 + name - 1].to_vec()).unwrap();
            assert_eq!(bytes[110 + name - 1], 0);
            let start = (110 + name).next_multiple_of(4);
            if path == TRAILER {
                assert_eq!(bytes.len(), start);
                return entries;
            }
            entries.push((path, mode, bytes[start..start + length].to_vec()));
            bytes = &bytes[(start + length).next_multiple_of(4)..];
        }
    }

    #[test]
    fn entries_come_back_with_the_directories_they_need_once() {
        let mut archive = Archive::new();
        archive.file("a/b/file", 0o755, b"12345");
        archive.link("a/link", "b/file");
        archive.directory("a");
        archive.device("dev/null", 1, 3);
        let entries = read(&archive.finish());
        let paths: Vec<&str> = entries.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/file", "a/link", "dev", "dev/null"]);
        assert_eq!(entries[2].1, 0o100_755);
        assert_eq!(entries[2].2, b"12345");
        assert_eq!(entries[3].2, b"b/file");
        assert_eq!(entries[5].1, 0o020_600);
    }

    #[test]
    fn every_entry_has_the_header_that_linux_reads() {
        let mut archive = Archive::new();
        archive.directory("d");
        archive.device("n", 5, 1);
        archive.file("f", 0o600, b"abc");
        let bytes = archive.finish();
        let header = |start: usize| {
            let text = std::str::from_utf8(&bytes[start..start + 110]).unwrap();
            assert_eq!(&text[..6], "070701");
            let field =
                |index: usize| u32::from_str_radix(&text[6 + 8 * index..][..8], 16).unwrap();
            (0..13).map(field).collect::<Vec<u32>>()
        };
        // Inode, mode, user, group, links, time, size, device, device of a node, name, checksum.
        assert_eq!(header(0), [0, 0o040_755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(header(112), [1, 0o020_600, 0, 0, 1, 0, 0, 0, 0, 5, 1, 2, 0]);
        assert_eq!(header(224), [2, 0o100_600, 0, 0, 1, 0, 3, 0, 0, 0, 0, 2, 0]);
        assert_eq!(&bytes[336..340], b"abc\0");
    }

    #[test]
    fn an_appended_archive_starts_at_a_multiple_of_four() {
        for length in 0..9 {
            let mut initrd = vec![0x1f; length];
            append(&mut initrd, b"0707");
            assert_eq!(initrd.len(), length.next_multiple_of(4) + 4);
            assert!(initrd.ends_with(b"0707"));
        }
    }
}
