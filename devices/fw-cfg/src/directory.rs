//! The directory of files (SPEC, "File Directory").

/// Bytes of an entry.
pub const DIRECTORY_ENTRY: usize = 64;
/// The longest name of a file, a zero follows it.
pub const MOST_NAME: usize = 55;

/// The start of the directory: the number of files.
pub const fn directory_head(files: u32) -> [u8; 4] {
    files.to_be_bytes()
}

/// An entry: length, key, two bytes that are reserved, and the name with zeros behind it, of which
/// [`MOST_NAME`] bytes are kept.
pub fn directory_entry(length: u32, key: u16, name: &str) -> [u8; DIRECTORY_ENTRY] {
    let mut entry = [0; DIRECTORY_ENTRY];
    let numbers = length.to_be_bytes().into_iter().chain(key.to_be_bytes()).chain([0, 0]);
    let bytes = numbers.chain(name.bytes().take(MOST_NAME));
    entry.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    entry
}
