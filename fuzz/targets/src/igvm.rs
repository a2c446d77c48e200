//! IGVM files, read and measured.

use igvm_file::{Directive, Igvm};

use crate::input::Input;

/// Bytes of the fixed header of version 1.
const FIXED: usize = 24;

/// Types of directives with the words of their bodies.
const HEADERS: [(u32, u8); 10] = [
    (0x301, 4),
    (0x302, 6),
    (0x302, 6),
    (0x303, 4),
    (0x304, 5),
    (0x305, 6),
    (0x307, 2),
    (0x309, 2),
    (0x30c, 2),
    (0x30e, 2),
];

/// A file as it is.
pub fn igvm_file(bytes: &[u8]) {
    visit(bytes);
}

/// Variable headers behind a correct fixed header, a platform and a policy.
pub fn igvm_headers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut headers = vec![];
    push(&mut headers, 0x1, &[1, 0x0001_0200, 0, 0].map(u32::to_le_bytes).concat());
    push(&mut headers, 0x101, &[0x3_0000, 0, 1, 0].map(u32::to_le_bytes).concat());
    for _ in 0..input.u8() & 3 {
        let (header_type, words) = HEADERS[usize::from(input.u8()) % HEADERS.len()];
        let mut words: Vec<u32> = (0..words).map(|_| word(&mut input)).collect();
        // The compatibility mask of those that have one.
        if let 0x302..=0x305 = header_type
            && input.u8() & 7 != 0
        {
            words[2] = 1;
        }
        let body: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        push(&mut headers, header_type, &body);
    }
    // One header of any type and length.
    if input.u8() & 7 == 0 {
        let header_type = 0x300 + u32::from(input.u8() & 0x1f);
        push(&mut headers, header_type, input.rest());
    }
    visit(&file(&headers));
}

/// A word of a header: often zero, a mask, a page's address, or where data could be.
fn word(input: &mut Input<'_>) -> u32 {
    match input.u8() & 7 {
        0..=3 => 0,
        4 => u32::from(input.u8()) << 12,
        5 => u32::from(input.u8()) << 3,
        _ => input.u32(),
    }
}

fn push(headers: &mut Vec<u8>, header_type: u32, body: &[u8]) {
    headers.extend(header_type.to_le_bytes());
    headers.extend((body.len() as u32).to_le_bytes());
    headers.extend(body);
    headers.resize(headers.len().next_multiple_of(8), 0);
}

/// A file with a page of data.
fn file(headers: &[u8]) -> Vec<u8> {
    let mut file = b"IGVM".to_vec();
    let total = FIXED + headers.len() + 4096;
    for word in [1, FIXED, headers.len(), total, 0] {
        file.extend((word as u32).to_le_bytes());
    }
    file.extend(headers);
    let checksum = crc32fast::hash(&file);
    file[FIXED - 4..FIXED].copy_from_slice(&checksum.to_le_bytes());
    file.resize(total, 0xa5);
    file
}

/// Every directive of an accepted file keeps its promises.
fn visit(bytes: &[u8]) {
    let Ok(file) = Igvm::parse(bytes) else { return };
    for directive in file.directives() {
        match directive {
            Directive::Page(page) => {
                assert!(page.gpa.is_multiple_of(page.size.bytes()));
                assert!(page.data.is_none_or(|data| data.len() as u64 == page.size.bytes()));
            }
            Directive::ParameterArea(area) => {
                assert!(area.data.is_none_or(|data| data.len() as u64 == area.size));
            }
            _ => {}
        }
    }
    let memory = file.memory(1 << 20);
    file.measured(file.manner(&memory), &memory, &mut |gpa, _| assert!(gpa.is_multiple_of(4096)));
}
