//! Judges attestation reports and IGVM files by the `sev` and `igvm` crates.
//!
//! ```text
//! verifier report REPORT CERTIFICATES ARK   one line for each check: its name, `ok` or the reason
//! verifier digest FILE.igvm                 the launch digest
//! ```
//!
//! CERTIFICATES is the table of an extended guest request, or a folder with `ark.pem`, `ask.pem` and
//! `vcek.pem`; ARK is the root that the verifier trusts.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use igvm::{IgvmFile, IgvmSerializer, IsolationType};
use igvm_defs::IgvmPlatformType;
use sev::certs::snp::{Certificate, Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::firmware::host::CertTableEntry;
use sev::parser::ByteParser;
use x509_cert::der::Encode;

/// The arc of the extensions in a VCEK (AMD 57230).
const ARC: &str = "1.3.6.1.4.1.3704.1";
/// Bytes of a report.
const REPORT_SIZE: usize = 1184;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["report", report, certificates, ark] => judge(report, certificates, ark),
        ["digest", file] => digest(file),
        _ => Err(anyhow::anyhow!("report REPORT CERTIFICATES ARK, or digest FILE")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs every check, even after one has failed.
fn judge(report: &str, certificates: &str, ark: &str) -> Result<bool> {
    let bytes = fs::read(report).context("the report")?;
    let report = <[u8; REPORT_SIZE]>::try_from(bytes.as_slice()).context("the report's size")?;
    let report = AttestationReport::from_bytes(&report).context("the report")?;
    let chain = read_chain(Path::new(certificates))?;
    let trusted = Certificate::from_pem(&fs::read(ark).context("the root")?)?;
    let mut is_good = true;
    let mut say = |name: &str, result: Result<()>| {
        is_good &= result.is_ok();
        match result {
            Ok(()) => println!("{name}: ok"),
            Err(error) => println!("{name}: {error:#}"),
        }
    };
    let is_trusted = chain.ca.ark == trusted;
    say("root", if is_trusted { Ok(()) } else { Err(anyhow::anyhow!("another is trusted")) });
    say("chain", (&chain).verify().map(drop).map_err(Into::into));
    say("signature", (&chain.vek, &report).verify().map_err(Into::into));
    say("chain and signature", (&chain, &report).verify().map_err(Into::into));
    say("tcb", check_tcb(&chain.vek, &report));
    println!("measurement {}", hex(&report.measurement));
    println!("report data {}", hex(&report.report_data));
    println!("vmpl {}", report.vmpl);
    Ok(is_good)
}

fn read_chain(from: &Path) -> Result<Chain> {
    if from.is_dir() {
        let read = |name| fs::read(from.join(name)).context(name);
        return Ok(Chain::from_pem(&read("ark.pem")?, &read("ask.pem")?, &read("vcek.pem")?)?);
    }
    let mut table = fs::read(from).context("the table of certificates")?;
    let entries = CertTableEntry::vec_bytes_to_cert_table(&mut table);
    let entries = entries.map_err(|error| anyhow::anyhow!("the table: {error}"))?;
    Ok(Chain::from_cert_table_der(entries)?)
}

/// Compares what the VCEK was issued for with what the report says, field by field.
fn check_tcb(vcek: &Certificate, report: &AttestationReport) -> Result<()> {
    let vcek: x509_cert::Certificate = vcek.clone().into();
    let extensions = vcek.tbs_certificate.extensions.unwrap_or_default();
    let extension = |place: &str| {
        let id = format!("{ARC}.{place}");
        let found = extensions.iter().find(|one| one.extn_id.to_string() == id);
        found.map(|one| one.extn_value.as_bytes().to_vec()).context(id)
    };
    let reported = &report.reported_tcb;
    for (name, place, value) in [
        ("boot loader", "3.1", reported.bootloader),
        ("TEE", "3.2", reported.tee),
        ("SNP firmware", "3.3", reported.snp),
        ("microcode", "3.8", reported.microcode),
    ] {
        ensure!(extension(place)? == value.to_der()?, "{name}: {value} is not certified");
    }
    ensure!(extension("4")? == report.chip_id, "the certificate is of another chip");
    let product = extension("2")?;
    ensure!(product.ends_with(b"Milan-B1") && report.cpuid_step == Some(1), "another product");
    let versions = [report.current_tcb, report.committed_tcb, report.launch_tcb];
    ensure!(versions.iter().all(|version| version == reported), "other versions were in force");
    Ok(())
}

/// Prints the digest that the igvm crate predicts.
fn digest(file: &str) -> Result<bool> {
    let file = fs::read(file).context("the IGVM file")?;
    let file = IgvmFile::new_from_binary(&file, Some(IsolationType::Snp))?;
    let serializer = IgvmSerializer::new(&file)?;
    let Some(found) = serializer.measurement_for(IgvmPlatformType::SEV_SNP) else {
        bail!("no digest for SEV-SNP")
    };
    println!("{}", hex(&found.digest));
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
