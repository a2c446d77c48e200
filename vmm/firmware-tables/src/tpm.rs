//! ACPI description of a TPM 2.0 with a command response buffer.
//!
//! Sources: TCG ACPI Specification 1.3 ("ACPI"), TCG PC Client Platform Physical Presence Interface
//! Specification 1.3 ("PPI").

use crate::sdt::table;
use crate::{Range, dsdt::memory, dsdt::resources};
use acpi_tables::Aml;
use acpi_tables::aml::{
    Arg, BufferData, DeRefOf, Device, Equal, Field, FieldAccessType, FieldEntry, FieldLockRule,
    FieldUpdateRule, GreaterEqual, GreaterThan, If, Index, Local, Method, Name, ONE, OpRegion,
    OpRegionSpace, Package, Path, Return, SizeOf, Store, ZERO, Zero,
};
use alloc::vec::Vec;

/// A TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// The register pages of all localities.
    pub registers: Range,
    /// The control area, inside the registers.
    pub control_area: u64,
    /// Command and response buffer, below 4 GiB.
    pub buffers: Range,
    /// The event log, in the crypto-agile format.
    pub log: Range,
    /// The page of the physical presence interface, below 4 GiB, as [`presence`] lays it out.
    pub presence: u64,
}

/// The layout of the page that the physical presence interface and the paravisor share: little
/// endian words at these offsets.
pub mod presence {
    /// The operation to perform at the next start; zero is none.
    pub const REQUEST: u64 = 0;
    /// Its parameter.
    pub const PARAMETER: u64 = 4;
    /// The operation performed last.
    pub const LAST: u64 = 8;
    /// The result of the operation: a TPM's response code, or one of the two codes below.
    pub const RESPONSE: u64 = 12;
    /// Bytes in use.
    pub const LENGTH: u64 = 16;
    /// The user has aborted the operation (PPI, table 2): one that is not known is never done.
    pub const USER_ABORT: u32 = 0xffff_fff0;
    /// The firmware has failed.
    pub const FIRMWARE_FAILURE: u32 = 0xffff_fff1;
    /// Enable, activate and clear, by its four numbers (PPI, table 2).
    pub const CLEAR: [u32; 4] = [5, 14, 21, 22];
    /// Sets the PCR banks that the parameter lists.
    pub const SET_PCR_BANKS: u32 = 23;
}

/// The identifier of the physical presence functions: 3DDDFAA6-361B-4EB4-A424-8D10089D1653 (PPI,
/// 2.1).
const FUNCTIONS: [u8; 16] = [
    0xA6, 0xFA, 0xDD, 0x3D, 0x1B, 0x36, 0xB4, 0x4E, 0xA4, 0x24, 0x8D, 0x10, 0x08, 0x9D, 0x16, 0x53,
];
/// The result of an operator is not stored in a second place.
const NO_TARGET: Zero = ZERO;
/// Numbers of operations that are asked for.
const OPERATIONS: u16 = 256;

/// The TPM2 table, revision 4 (ACPI, 7.3).
pub(crate) fn tpm2(tpm: &Tpm) -> Vec<u8> {
    const CLIENT: u16 = 0;
    /// Command response buffer, started by its register.
    const CRB: u32 = 7;
    let mut body = Vec::new();
    body.extend_from_slice(&CLIENT.to_le_bytes());
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&tpm.control_area.to_le_bytes());
    body.extend_from_slice(&CRB.to_le_bytes());
    // Parameters that the start method does not have.
    body.extend_from_slice(&[0; 12]);
    body.extend_from_slice(&(tpm.log.length as u32).to_le_bytes());
    body.extend_from_slice(&tpm.log.start.to_le_bytes());
    table(b"TPM2", 4, &body)
}

/// The device, with its physical presence interface.
pub(crate) fn device(tpm: &Tpm) -> Vec<u8> {
    let hid = Name::new("_HID".into(), &"MSFT0101");
    let status = Name::new("_STA".into(), &0x0F_u8);
    let areas = [tpm.registers, tpm.buffers];
    let areas: Vec<_> = areas.iter().map(|area| memory(area.start as u32, area.length)).collect();
    let crs = resources(&areas);
    let (start, length) = (tpm.presence as u32, presence::LENGTH as u32);
    let region = OpRegion::new("PPIR".into(), OpRegionSpace::SystemMemory, &start, &length);
    let words = [*b"PPRQ", *b"PPRM", *b"PPLO", *b"PPRS"];
    let words = words.map(|name| FieldEntry::Named(name, 32)).into();
    let (access, lock, update) =
        (FieldAccessType::DWord, FieldLockRule::NoLock, FieldUpdateRule::Preserve);
    let fields = Field::new("PPIR".into(), access, lock, update, words);
    let confirmations = confirmations();
    let confirmations = Name::new("CONF".into(), &confirmations);
    let two = Package::new(Vec::from([&ZERO as &dyn Aml, &ZERO]));
    let three = Package::new(Vec::from([&ZERO as &dyn Aml, &ZERO, &ZERO]));
    let pending = Name::new("PEND".into(), &two);
    let pending_2 = Name::new("PND2".into(), &three);
    let response = Name::new("RESP".into(), &three);
    let mut bytes = Vec::new();
    let mut children =
        Vec::from([&hid as &dyn Aml, &status, &crs, &region, &fields, &confirmations]);
    children.extend([&pending as &dyn Aml, &pending_2, &response]);
    let method = Raw(specific_method());
    children.push(&method);
    Device::new("TPM0".into(), children).to_aml_bytes(&mut bytes);
    bytes
}

/// For each operation: whether the user must confirm it (PPI, 2.1.8). 4 is "allowed without a user
/// present", since a party that can call the guest's ACPI owns the VM; 0 is "not implemented".
fn confirmations() -> BufferData {
    const ALLOWED: u8 = 4;
    let known = |operation: u32| {
        operation == 0
            || presence::CLEAR.contains(&operation)
            || operation == presence::SET_PCR_BANKS
    };
    BufferData::new(
        (0..OPERATIONS.into()).map(|number| if known(number) { ALLOWED } else { 0 }).collect(),
    )
}

/// Bytes that are AML already.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

fn aml(of: &dyn Aml) -> Raw {
    let mut bytes = Vec::new();
    of.to_aml_bytes(&mut bytes);
    Raw(bytes)
}

fn all(parts: &[&dyn Aml]) -> Raw {
    Raw(parts.iter().flat_map(|part| aml(*part).0).collect())
}

/// `If (condition) { body }`.
fn when(condition: &dyn Aml, body: &Raw) -> Raw {
    aml(&If::new(condition, Vec::from([body as &dyn Aml])))
}

/// `If (Arg2 == number) { body }`.
fn function(number: u8, body: &Raw) -> Raw {
    when(&Equal::new(&Arg(2), &number), body)
}

fn give(value: &dyn Aml) -> Raw {
    aml(&Return::new(value))
}

/// _DSM (PPI, 2.1): function 0 lists the functions, others follow in order.
fn specific_method() -> Vec<u8> {
    const VERSION: &str = "1.3";
    const REBOOT: u8 = 2;
    const NO_LANGUAGE: u8 = 3;
    let functions = BufferData::new(Vec::from([0xFF, 0x01]));
    let none = BufferData::new(Vec::from([0]));
    let pending = all(&[
        // The second revision of the function returns the parameter, too.
        &when(&Equal::new(&Arg(1), &2_u8), &filled("PND2", &["PPRQ", "PPRM"])),
        &filled("PEND", &["PPRQ"]),
    ]);
    let response = filled("RESP", &["PPLO", "PPRS"]);
    let confirmation = all(&[&operation(&ZERO), &give(&Local(1))]);
    let body = all(&[
        &function(0, &give(&functions)),
        &function(1, &give(&VERSION)),
        &function(2, &submit(&aml(&Store::new(&Path::new("PPRM"), &ZERO)))),
        &function(3, &pending),
        &function(4, &give(&REBOOT)),
        &function(5, &response),
        &function(6, &give(&NO_LANGUAGE)),
        &function(7, &submit(&parameter())),
        &function(8, &confirmation),
    ]);
    let identifier = BufferData::new(FUNCTIONS.into());
    let ours = when(&Equal::new(&Arg(0), &identifier), &body);
    let unknown = give(&none);
    let children = Vec::from([&ours as &dyn Aml, &unknown]);
    aml(&Method::new("_DSM".into(), 4, true, children)).0
}

/// Returns the package `name`, after copying the fields into its elements from the second on.
fn filled(name: &str, fields: &[&str]) -> Raw {
    let package = Path::new(name);
    let mut parts = Vec::new();
    for (place, field) in (1_u8..).zip(fields) {
        let element = Index::new(&NO_TARGET, &package, &place);
        parts.extend(aml(&Store::new(&element, &Path::new(field))).0);
    }
    parts.extend(give(&package).0);
    Raw(parts)
}

/// Keeps `Arg3[1]`, or zero if there is none.
fn parameter() -> Raw {
    let word = Path::new("PPRM");
    let second = aml(&DeRefOf::new(&Index::new(&NO_TARGET, &Arg(3), &ONE)));
    let is_there = aml(&GreaterThan::new(&SizeOf::new(&Arg(3)), &ONE));
    all(&[&Store::new(&word, &ZERO), &when(&is_there, &aml(&Store::new(&word, &second)))])
}

/// `Local0 = Arg3[0]`, `Local1` its confirmation, or `refusal` for an operation without a number
/// that is known.
fn operation(refusal: &dyn Aml) -> Raw {
    let first = aml(&DeRefOf::new(&Index::new(&NO_TARGET, &Arg(3), &ZERO)));
    let beyond = when(&GreaterEqual::new(&Local(0), &OPERATIONS), &give(refusal));
    let confirmation = aml(&DeRefOf::new(&Index::new(&NO_TARGET, &Path::new("CONF"), &Local(0))));
    all(&[&Store::new(&Local(0), &first), &beyond, &Store::new(&Local(1), &confirmation)])
}

/// Notes an operation for the next start: 0 if it is noted, 1 if it is not implemented.
fn submit(keep_parameter: &Raw) -> Raw {
    let unknown = when(&Equal::new(&Local(1), &ZERO), &give(&ONE));
    all(&[
        &operation(&ONE),
        &unknown,
        &Store::new(&Path::new("PPRQ"), &Local(0)),
        keep_parameter,
        &give(&ZERO),
    ])
}
