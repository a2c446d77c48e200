//! Access to the vectors in `vectors.txt`, which other libraries computed.

use std::vec::Vec;

use crate::hash::HashAlgorithm;

const VECTORS: &str = include_str!("vectors.txt");

/// The numbers of the vector with this subject and parameter.
pub(crate) fn vector(subject: &str, parameter: &str) -> Vec<Vec<u8>> {
    let found = VECTORS.lines().find_map(|line| {
        let mut words = line.split(' ');
        let named = words.next() == Some(subject) && words.next() == Some(parameter);
        named.then(|| words.map(bytes).collect())
    });
    found.unwrap_or_else(|| panic!("no vector {subject} {parameter}"))
}

/// The one number of a vector.
pub(crate) fn number(subject: &str, parameter: &str) -> Vec<u8> {
    vector(subject, parameter).remove(0)
}

/// The name of a hash in the vectors.
pub(crate) fn name(hash: HashAlgorithm) -> &'static str {
    match hash {
        HashAlgorithm::Sha1 => "sha1",
        HashAlgorithm::Sha256 => "sha256",
        HashAlgorithm::Sha384 => "sha384",
        HashAlgorithm::Sha512 => "sha512",
    }
}

/// Decodes hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        digits.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
