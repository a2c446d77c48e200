//! The values of `run --module`: modules of a Multiboot or PVH kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// One module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The module's file.
    pub file: PathBuf,
    /// The arguments that the kernel gets with the module's name.
    pub arguments: OsString,
}

impl Module {
    /// Parses an option's value.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new()
            .try_map(|value| Self::parse(&value).ok_or("give FILE, or FILE,ARGS"))
    }

    /// Splits at the first comma that is not doubled: the file's name, then the arguments.
    fn parse(value: &OsStr) -> Option<Self> {
        let (mut file, mut rest) = (vec![], value.as_bytes());
        let arguments = loop {
            match rest {
                [b',', b',', behind @ ..] => {
                    file.push(b',');
                    rest = behind;
                }
                [b',', behind @ ..] => break behind,
                [byte, behind @ ..] => {
                    file.push(*byte);
                    rest = behind;
                }
                [] => break rest,
            }
        };
        let file = PathBuf::from(OsString::from_vec(file));
        let arguments = OsStr::from_bytes(arguments).to_owned();
        (!file.as_os_str().is_empty()).then_some(Self { file, arguments })
    }

    /// The module's text for the kernel, the same as from QEMU: the file's name, then the
    /// arguments.
    pub fn text(&self) -> Vec<u8> {
        let name = self.file.as_os_str().as_bytes();
        match self.arguments.as_bytes() {
            [] => name.to_vec(),
            arguments => [name, b" ", arguments].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_a_single_comma() {
        let parse = |text: &str| {
            let module = Module::parse(OsStr::new(text))?;
            let text = String::from_utf8(module.text()).unwrap();
            Some((module.file.into_os_string().into_string().unwrap(), text))
        };
        let owned = |file: &str, text: &str| Some((file.to_owned(), text.to_owned()));
        assert_eq!(parse("a/b.bin"), owned("a/b.bin", "a/b.bin"));
        assert_eq!(parse("b.bin,x=1,2 y"), owned("b.bin", "b.bin x=1,2 y"));
        assert_eq!(parse("a,,b,c"), owned("a,b", "a,b c"));
        assert_eq!(parse("a,"), owned("a", "a"));
        assert_eq!((parse(""), parse(",a")), (None, None));
    }
}
