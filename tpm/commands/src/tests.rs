//! The bytes of each command, read field by field.

use super::*;

/// A reader of a command's bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields behind the header of a command.
    fn of(command: &'a [u8], tag: u16, code: u32) -> Self {
        let mut fields = Self(command);
        assert_eq!(fields.number(2), u64::from(tag));
        assert_eq!(fields.number(4), command.len() as u64, "commandSize");
        assert_eq!(fields.number(4), u64::from(code));
        fields
    }

    /// The same fields for a command whose handles are authorized by empty passwords.
    fn authorized(command: &'a [u8], code: u32, handles: &[u32]) -> Self {
        let mut fields = Self::of(command, SESSIONS, code);
        for handle in handles {
            assert_eq!(fields.number(4), u64::from(*handle));
        }
        assert_eq!(fields.number(4), 9, "the size of the authorizations");
        assert_eq!(fields.take(9), [0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        fields
    }

    fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(size);
        self.0 = rest;
        taken
    }

    fn number(&mut self, size: usize) -> u64 {
        self.take(size).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn sized(&mut self) -> &'a [u8] {
        let size = self.number(2) as usize;
        self.take(size)
    }

    fn end(&self) {
        assert!(self.0.is_empty(), "bytes that nobody reads: {:x?}", self.0);
    }
}

#[test]
fn commands_are_those_of_the_specification() {
    assert_eq!(startup()[..], [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]);
    let authorization = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
    let expected = [&[0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x26, 0x40, 0, 0, 12][..], &authorization];
    assert_eq!(clear()[..], expected.concat());
    let extended = extend(9, &[(11, &[7; 32])]);
    assert_eq!(extended[..14], [0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, 9]);
    assert_eq!(extended[27..33], [0, 0, 0, 1, 0, 11]);
}

#[test]
fn commands_without_authorization_have_their_parameters_alone() {
    assert_eq!(shutdown()[..], [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0]);
    let command = flush(0x8000_0001);
    let mut fields = Fields::of(&command, NO_SESSIONS, 0x165);
    assert_eq!(fields.number(4), 0x8000_0001);
    fields.end();
    let command = pcr_banks();
    let mut fields = Fields::of(&command, NO_SESSIONS, 0x17a);
    assert_eq!([fields.number(4), fields.number(4), fields.number(4)], [5, 0, 1]);
    fields.end();
}

#[test]
fn a_primary_key_is_made_from_its_template() {
    for template in [&endorsement::RSA_TEMPLATE[..], &endorsement::ECC_TEMPLATE] {
        let command = create_primary(RH_ENDORSEMENT, template);
        let mut fields = Fields::authorized(&command, 0x131, &[0x4000_000b]);
        assert_eq!(fields.sized(), [0; 4], "no value, no data");
        assert_eq!(fields.sized(), template);
        assert_eq!((fields.sized(), fields.number(4)), (&[][..], 0), "no information, no PCRs");
        fields.end();
    }
}

#[test]
fn an_index_is_defined_and_written_by_the_platform() {
    let index = endorsement::ECC_CERTIFICATE;
    let command = nv_define(index, endorsement::CERTIFICATE_ATTRIBUTES, 700);
    let mut fields = Fields::authorized(&command, 0x12a, &[0x4000_000c]);
    assert_eq!(fields.sized(), [], "no value");
    let mut public = Fields(fields.sized());
    fields.end();
    assert_eq!((public.number(4), public.number(2)), (index.into(), 0x0b));
    assert_eq!(public.number(4), 0x4207_2001, "the attributes of certificates");
    assert_eq!((public.sized(), public.number(2)), (&[][..], 700));
    public.end();
    let command = nv_write(index, 512, b"certificate");
    let mut fields = Fields::authorized(&command, 0x137, &[0x4000_000c, index]);
    assert_eq!((fields.sized(), fields.number(2)), (&b"certificate"[..], 512));
    fields.end();
}

#[test]
fn the_platform_sets_its_value_banks_and_pcrs() {
    let command = set_platform_auth(b"value");
    let mut fields = Fields::authorized(&command, 0x129, &[0x4000_000c]);
    assert_eq!(fields.sized(), b"value");
    fields.end();
    let command = allocate(&NEW_BANKS);
    let mut fields = Fields::authorized(&command, 0x12b, &[0x4000_000c]);
    assert_eq!(fields.number(4), 3);
    for (algorithm, on) in NEW_BANKS {
        assert_eq!((fields.number(2), fields.number(1)), (algorithm.into(), 3));
        assert_eq!(fields.number(3), if on { 0xff_ffff } else { 0 });
    }
    fields.end();
    let command = extend(16, &[(4, &[1; 20]), (11, &[2; 32])]);
    let mut fields = Fields::authorized(&command, 0x182, &[16]);
    assert_eq!((fields.number(4), fields.number(2)), (2, 4));
    assert_eq!((fields.take(20), fields.number(2)), (&[1; 20][..], 11));
    assert_eq!(fields.take(32), [2; 32]);
    fields.end();
}

#[test]
fn handle_and_public_area_come_out_of_a_whole_response_only() {
    // Header, handle, size of the parameters, a public area of five bytes, one byte more.
    let head = [0x80, 2, 0, 0, 0, 26, 0, 0, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 8, 0, 5];
    let response = [&head[..], &[1, 2, 3, 4, 5, 9]].concat();
    assert_eq!(primary(&response), Some((0x8000_0001, &[1, 2, 3, 4, 5][..])));
    for length in 0..response.len() - 1 {
        assert_eq!(primary(&response[..length]), None, "{length} bytes");
    }
}

#[test]
fn only_banks_with_pcrs_are_active_and_a_short_answer_is_none() {
    let header = [0x80, 1, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let banks = [0, 0, 0, 2, 0, 4, 3, 0, 0, 0, 0, 11, 3, 0xff, 0xff, 0xff];
    let response = [&header[..], &banks].concat();
    assert_eq!(active_banks(&response), Some(Vec::from([11])));
    for length in 0..response.len() {
        assert_eq!(active_banks(&response[..length]), None);
    }
    assert_eq!(code(&response), 0);
    assert_eq!(code(&response[..9]), u32::MAX);
}

#[test]
fn a_response_succeeds_by_its_code() {
    let response = |code: u32| [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
    assert_eq!(succeeded(&response(0)), Ok(()));
    assert_eq!(succeeded(&response(0x1c4)), Err(0x1c4));
    assert_eq!(succeeded(&[]), Err(u32::MAX));
}
