//! Parsers for the values of options.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use host_wire::LogLevel;

/// Largest number of VPs that the paravisor supports.
const MAX_CPUS: u32 = 64;

/// A size in bytes, given as a number with K, M or G; without a letter it counts MiB.
pub fn memory(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 10),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), 20),
        Some(b'g' | b'G') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 20),
    };
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes != 0).ok_or_else(|| "give a size such as 512M or 2G".to_owned())
}

/// A number of 64 bits, decimal or with 0x hexadecimal.
pub fn number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "give a number, such as 196608 or 0x30000".to_owned())
}

/// A number of CPUs.
pub fn cpus(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_CPUS).contains(number));
    number.ok_or_else(|| format!("a VM has 1 to {MAX_CPUS} CPUs"))
}

/// A time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "give a number of seconds, more than 0 and less than 1.8e19".to_owned())
}

/// A log level, given by its name.
pub fn log_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::of_name(text).ok_or_else(|| "give error, warn, info or debug".to_owned())
}

/// A UUID in its usual form (RFC 9562, section 4). The two that mean "no UUID" in SMBIOS (3.7,
/// 7.2.1) are refused.
pub fn uuid(text: &str) -> Result<String, String> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if groups != [8, 4, 4, 4, 12] || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("give 32 hexadecimal digits as 8-4-4-4-12".to_owned());
    }
    if ["0", "f"].iter().any(|digit| digits.eq_ignore_ascii_case(&digit.repeat(32))) {
        return Err("this one says that a machine has none".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// The address of `--socket`: `ADDRESS:PORT`, or just a port on the loopback address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port));
    let address = port.or_else(|_| text.parse());
    let address = address.map_err(|_| "give ADDRESS:PORT, as in 127.0.0.1:2321".to_owned())?;
    if address.port() == u16::MAX {
        return Err(format!("the next port is used as well, and {} is the last", u16::MAX));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_letters() {
        for (text, bytes) in [("1", 1 << 20), ("8k", 8 << 10), ("512M", 512 << 20), ("3G", 3 << 30)]
        {
            assert_eq!(memory(text), Ok(bytes));
        }
        assert_eq!(memory("17179869183G"), Ok(17_179_869_183 << 30));
        for text in [
            "17179869184G",
            "18446744073709551616",
            "0K",
            "",
            "M",
            "0",
            "-1M",
            "1T",
            "1.5G",
            "99999999999999G",
            "é",
        ] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_cpus_and_seconds_are_bounded() {
        assert_eq!((cpus("1"), cpus("64")), (Ok(1), Ok(64)));
        for text in ["0", "65", "-1", "x", "", "4294967297", "18446744073709551617"] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("1e19"), Ok(Duration::from_secs(10_000_000_000_000_000_000)));
        assert_eq!(seconds("1e-9"), Ok(Duration::from_nanos(1)));
        for text in ["0", "-1", "nan", "inf", "-inf", "x", "", "1e20", "1e-300", "1e999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_uuid_has_its_form_and_is_some_machines() {
        let good = "00112233-4455-6677-8899-AABBCCDDEEFF";
        assert_eq!(uuid(good), Ok(good.to_ascii_lowercase()));
        for text in [
            "",
            "x",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeefg",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-FFFF-ffff-ffff-ffffffffffff",
            "é0112233-4455-6677-8899-aabbccddeef",
        ] {
            assert!(uuid(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_may_be_a_port() {
        assert_eq!(address("2321").unwrap(), SocketAddr::from(([127, 0, 0, 1], 2321)));
        assert_eq!(address("0.0.0.0:0").unwrap(), SocketAddr::from(([0, 0, 0, 0], 0)));
        assert_eq!(address("[::1]:65534").unwrap().port(), 65_534);
        for text in ["localhost", "65535", "127.0.0.1:65535", "65536", "-1", "", "1:2:3"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
