extern crate std;

use std::vec::Vec;

use snp::message::{TscInfoRequest, TscInfoResponse};
use zerocopy::FromZeros;

use super::*;

const KEY: [u8; 32] = [0x5a; 32];
const KIND: MessageType = MessageType::TSC_INFO_REQ;

/// A firmware that answers each request once. The answer has its number as the scale.
#[derive(Default)]
struct Firmware {
    sequence: u64,
}

impl Firmware {
    fn answer(&mut self, request: &[u8; PAGE], answer: &mut [u8; PAGE]) -> bool {
        let mut peer = Channel::new(&KEY, 0);
        let mut page = *request;
        let opened: Option<TscInfoRequest> = peer.open(KIND, self.sequence + 1, &mut page);
        if opened.is_none() {
            return false;
        }
        self.sequence += 2;
        peer.sequence = self.sequence - 1;
        let mut response = TscInfoResponse::new_zeroed();
        response.guest_tsc_scale = self.sequence;
        *answer = peer.seal(KIND.answer(), response.as_bytes()).unwrap();
        true
    }
}

fn ask(
    channel: &mut Channel,
    carry: impl FnMut(&[u8; PAGE], &mut [u8; PAGE]) -> bool,
) -> Result<u64, Failed> {
    let request = TscInfoRequest::new_zeroed();
    channel.ask(KIND, &request, carry).map(|answer: TscInfoResponse| answer.guest_tsc_scale)
}

#[test]
fn each_answer_belongs_to_its_request() {
    let (mut channel, mut firmware) = (Channel::new(&KEY, 0), Firmware::default());
    let mut first = [0; PAGE];
    assert_eq!(
        ask(&mut channel, |request, answer| {
            let done = firmware.answer(request, answer);
            first = *answer;
            done
        }),
        Ok(2)
    );
    assert_eq!(ask(&mut channel, |request, answer| firmware.answer(request, answer)), Ok(4));
    // An older answer, and the request itself.
    let mut channel = Channel { sequence: 4, ..Channel::new(&KEY, 0) };
    let old = |_: &[u8; PAGE], answer: &mut [u8; PAGE]| {
        *answer = first;
        true
    };
    assert_eq!(ask(&mut channel, old), Err(Failed::Undelivered));
    let echo = |request: &[u8; PAGE], answer: &mut [u8; PAGE]| {
        *answer = *request;
        true
    };
    assert_eq!(ask(&mut Channel::new(&KEY, 0), echo), Err(Failed::Undelivered));
}

#[test]
fn no_changed_bit_is_taken_for_an_answer() {
    let (mut honest, mut firmware) = ([0; PAGE], Firmware::default());
    ask(&mut Channel::new(&KEY, 0), |request, answer| {
        let done = firmware.answer(request, answer);
        honest = *answer;
        done
    })
    .unwrap();
    // The field of the tag has room for a longer one, which does not count.
    for byte in (0..TAG_SIZE).chain(0x20..HEADER_SIZE + size_of::<TscInfoResponse>()) {
        for bit in 0..8 {
            let mut channel = Channel::new(&KEY, 0);
            let changed = ask(&mut channel, |_, answer| {
                *answer = honest;
                answer[byte] ^= 1 << bit;
                true
            });
            assert_eq!(changed, Err(Failed::Undelivered), "byte {byte:#x}, bit {bit}");
        }
    }
}

/// A nonce must serve one plaintext only, whatever the host does with the message.
#[test]
fn a_lost_message_is_sent_again_as_it_was_and_then_the_key_is_given_up() {
    let mut sent = Vec::new();
    let (mut channel, mut firmware) = (Channel::new(&KEY, 0), Firmware::default());
    let late = ask(&mut channel, |request, answer| {
        sent.push(*request);
        sent.len() == 2 && firmware.answer(request, answer)
    });
    assert_eq!(late, Ok(2), "the first one was lost");
    assert!(sent.len() == 2 && sent[0] == sent[1]);
    // The firmware has answered, and the host drops that: no further number may be used.
    sent.clear();
    let dropped = ask(&mut channel, |request, answer| {
        sent.push(*request);
        firmware.answer(request, answer);
        false
    });
    assert_eq!(dropped, Err(Failed::Undelivered));
    assert!(sent.len() == MOST_TRIES as usize && sent.iter().all(|page| *page == sent[0]));
    assert_eq!(ask(&mut channel, |_, _| panic!("nothing more is sent")), Err(Failed::KeyLost));
    let mut last = Channel { sequence: u64::MAX - 1, ..Channel::new(&KEY, 0) };
    assert_eq!(ask(&mut last, |_, _| panic!("the number would wrap")), Err(Failed::KeyLost));
}

#[test]
fn a_key_is_never_shown() {
    let text = std::format!("{:?}", Channel::new(&KEY, 3));
    assert_eq!(text, "Channel { vmpck: 3, sequence: 0, is_lost: false }");
}

#[test]
fn a_policy_that_lets_the_host_in_is_found() {
    let policy = Policy::new().with_reserved_one(true).with_smt(true);
    assert!(keeps_the_host_out(policy));
    for open in [policy.with_debug(true), policy.with_migrate_ma(true)] {
        assert!(!keeps_the_host_out(open));
    }
}

#[test]
fn a_frequency_is_the_nominal_one_less_its_factor() {
    for (megahertz, factor, hertz) in [
        (2450, 0, 2_450_000_000),
        (2450, 200, 2_445_100_000),
        (2450, 100_000, 0),
        (2450, 100_001, 0),
        (2450, u32::MAX, 0),
        (u64::MAX, 0, 0),
        (0, 0, 0),
    ] {
        assert_eq!(tsc_frequency(megahertz, factor), hertz, "{megahertz} MHz, {factor}");
    }
}
