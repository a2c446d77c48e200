//! The image's code, function by function.

use std::fs;
use std::path::Path;

use addr2line::{Loader, demangle_auto};
use anyhow::{Context, Result, anyhow};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind};

/// A piece of code with a name.
#[derive(Debug)]
pub struct Function {
    /// Its name, as people read it.
    pub name: String,
    /// Where it starts.
    pub address: u64,
    /// Its code.
    pub code: Vec<u8>,
}

impl Function {
    /// Its instructions.
    pub fn instructions(&self) -> impl Iterator<Item = Instruction> {
        Decoder::with_ip(64, &self.code, self.address, DecoderOptions::NONE).into_iter()
    }
}

/// The disassembled image.
pub struct Image {
    /// Its functions by address.
    pub functions: Vec<Function>,
    /// Lines and inlined functions.
    pub lines: Loader,
    /// Number of bytes that are loaded from the file.
    pub loaded: u64,
}

impl Image {
    /// Reads an unstripped ELF file.
    pub fn read(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let bytes = fs::read(path).with_context(name)?;
        let file = object::File::parse(bytes.as_slice()).with_context(name)?;
        let mut functions = vec![];
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let data = section.data().with_context(name)?;
            let end = section.address() + section.size();
            let mut starts: Vec<(u64, String)> = file
                .symbols()
                .filter(|symbol| symbol.section_index() == Some(section.index()))
                .filter_map(|symbol| Some((symbol.address(), readable(symbol.name().ok()?))))
                .collect();
            starts.sort();
            starts.dedup_by_key(|(address, _)| *address);
            let ends = starts.iter().skip(1).map(|(address, _)| *address).chain([end]);
            for ((address, name), end) in starts.iter().zip(ends) {
                let range =
                    (address - section.address()) as usize..(end - section.address()) as usize;
                let code = data.get(range).unwrap_or_default().to_vec();
                functions.push(Function { name: name.clone(), address: *address, code });
            }
        }
        let loaded = file.segments().map(|segment| segment.file_range().1).sum();
        let lines = Loader::new(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Self { functions, lines, loaded })
    }

    /// The source files of an instruction, from the innermost inlined function outwards.
    pub fn files(&self, address: u64) -> Vec<String> {
        let mut files = vec![];
        if let Ok(mut frames) = self.lines.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                files.extend(frame.location.and_then(|place| place.file).map(str::to_owned));
            }
        }
        files
    }
}

fn readable(symbol: &str) -> String {
    demangle_auto(symbol.into(), None).into_owned()
}
