//! Files that were damaged.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::build;
use crate::Igvm;

#[test]
fn every_truncation_is_an_error() {
    let file = build::file(build::all_directives());
    for length in 0..file.len() {
        assert!(Igvm::parse(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn every_truncation_that_states_its_size_is_an_error() {
    let file = build::file(build::all_directives());
    for length in 24..file.len() {
        let mut cut = file[..length].to_vec();
        cut[16..20].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        let headers_end = 24 + u32::from_le_bytes(cut[12..16].try_into().unwrap()) as usize;
        if headers_end <= length {
            build::sign(&mut cut);
        }
        assert!(Igvm::parse(&cut).is_err(), "{length} bytes");
    }
}

/// Goes through the directives of a file, if it is accepted.
fn visit(file: &[u8]) {
    if let Ok(igvm) = Igvm::parse(file) {
        let headers = file.len() / 8;
        assert!(igvm.directives().count() <= headers);
    }
}

proptest! {
    #[test]
    fn a_damaged_file_with_a_right_checksum_causes_no_panic(
        changes in prop::collection::vec((0_usize..2048, any::<u8>()), 1..8),
    ) {
        let mut file = build::file(build::all_directives());
        let sizes: [u8; 12] = file[8..20].try_into().unwrap();
        let headers_end = 24 + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
        for (place, value) in changes {
            file[place % headers_end] = value;
        }
        // Keep the sections in place, so that the damage reaches the headers behind them.
        file[..4].copy_from_slice(b"IGVM");
        file[4..8].copy_from_slice(&1_u32.to_le_bytes());
        file[8..20].copy_from_slice(&sizes);
        build::sign(&mut file);
        visit(&file);
    }

    #[test]
    fn random_headers_cause_no_panic(
        headers in prop::collection::vec(
            (0x300_u32..0x316, prop::collection::vec(any::<u8>(), 0..32)), 0..12),
    ) {
        let mut all: Vec<(u32, Vec<u8>)> = Vec::new();
        all.push(super::refused::snp_platform());
        all.push(super::refused::snp_policy());
        all.extend(headers);
        visit(&build::raw(&all, &[0; 4096]));
    }
}
