//! Bytes that no client should send: no decoder panics, loops, or allocates more than a small multiple of its input.

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use oxkeeper_proto::Jute;
use oxkeeper_proto::frame::{FRAME_LEN_MAX, put_frame, split_frame};
use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi};
use oxkeeper_proto::records::{ConnectRequest, DeleteRequest, ReadRequest};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::jute::Spec;
use super::table::CODECS;

/// Maximal bytes that a decoder may hold at once for each byte of its input. The most expensive input is a
/// multi of empty reads: 14 bytes each become 88, in a vector that may be twice too long and is copied once
/// as it grows.
const HELD_PER_BYTE_MAX: usize = 20;
/// Maximal bytes that a decoder may hold for any input: room for the first one to four items.
const HELD_MAX: usize = 512;
/// Maximal time of a decoder for the longest frame: some hundred times its time in an unoptimised build, and
/// a fraction of the time of a quadratic one. The best of several tries counts, because the machine may be
/// busy.
const TIME_MAX: Duration = Duration::from_secs(4);
const TRIES: usize = 5;

/// Runs every decoder of the crate over the same bytes.
fn decode_as_everything(bytes: &[u8]) {
    for codec in CODECS {
        check_cost(codec.spec_name, bytes, || (codec.accepts)(bytes));
    }
    check_cost("multi", bytes, || decode_multi(bytes).is_ok());
    check_cost("connect", bytes, || ConnectRequest::decode_with_read_only(bytes).is_ok());
    let split = measure(|| {
        let mut rest = bytes;
        while let Ok(Some((_, next))) = split_frame(rest, FRAME_LEN_MAX) {
            rest = black_box(next);
        }
    });
    assert_eq!(split.count_total, 0, "splitting frames allocates nothing");
}

fn check_cost(decoder: &str, bytes: &[u8], decode: impl Fn() -> bool) {
    let mut held = Default::default();
    let in_time = (0..TRIES).any(|_| {
        let start = Instant::now();
        held = measure(|| {
            black_box(decode());
        });
        start.elapsed() < TIME_MAX
    });
    assert!(in_time, "{decoder} takes {TIME_MAX:?}, each time");
    let max = HELD_MAX + HELD_PER_BYTE_MAX * bytes.len();
    assert!(held.bytes_max <= max as u64, "{decoder} held {} for {} bytes", held.bytes_max, bytes.len());
    assert_eq!(held.bytes_current, 0, "{decoder} leaks");
}

/// Generates well-formed frames: a record of any kind, or a multi.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let spec = Spec::protocol();
    let names: Vec<&'static str> = CODECS.iter().map(|codec| codec.spec_name).collect();
    let records = select(names).prop_flat_map(move |name| spec.records(name)).prop_map(|record| record.encode());
    let multis = (0..6usize, 0..6usize).prop_map(|(deletes, reads)| {
        let mut body = Vec::new();
        encode_multi(&[vec![delete(); deletes], vec![read(); reads]].concat(), &mut body);
        body
    });
    prop_oneof![records, multis].prop_flat_map(|body| {
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| out.extend_from_slice(&body));
        prop_oneof![Just(body), Just(frame)]
    })
}

fn delete() -> MultiOp<'static> {
    MultiOp::Delete(DeleteRequest { path: None, version: -1 })
}

fn read() -> MultiOp<'static> {
    MultiOp::GetData(ReadRequest { path: None, watch: false })
}

/// Damage to a frame.
#[derive(Clone, Debug)]
enum Damage {
    Truncate(Index),
    Flip(Index, u8),
    Overwrite(Index, i32),
    Repeat(Index),
}

fn damages() -> impl Strategy<Value = Damage> {
    let lengths = vec![-1, -2, i32::MIN, i32::MAX, 0, 1, 0xf_ffff, 0x10_0000, 0x7fff_fff0];
    prop_oneof![
        any::<Index>().prop_map(Damage::Truncate),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), select(lengths)).prop_map(|(at, length)| Damage::Overwrite(at, length)),
        any::<Index>().prop_map(Damage::Repeat),
    ]
}

fn damage(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Damage::Overwrite(at, length) => {
            let at = at.index(bytes.len());
            bytes.iter_mut().skip(at).zip(length.to_be_bytes()).for_each(|(byte, new)| *byte = new);
        }
        Damage::Repeat(at) => bytes.extend_from_within(at.index(bytes.len())..),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..300)) {
        decode_as_everything(&bytes);
    }

    /// Random bytes seldom contain a plausible length; these contain mostly plausible ones.
    #[test]
    fn small_numbers(bytes in vec(select(&[0, 0, 0, 1, 2, 5, 0x7f, 0x80, 0xff, 0xff, 0xff, 0xfe, b'/'][..]), 0..300)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn damaged(mut bytes in frames(), all in vec(damages(), 1..4)) {
        all.iter().for_each(|one| damage(&mut bytes, one));
        decode_as_everything(&bytes);
    }
}

/// Makes the longest frame of `head` and then repetitions of `item`.
fn longest(head: &[u8], item: &[u8]) -> Vec<u8> {
    [head, &item.repeat((FRAME_LEN_MAX - head.len()) / item.len())].concat()
}

#[test]
fn longest_frames() {
    for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
        decode_as_everything(&longest(&[], &[byte]));
    }
    // Vectors of null, empty, short and malformed items: with a false count, with a correct one, and after a zxid.
    let honest = (FRAME_LEN_MAX as i32 / 6).to_be_bytes();
    let heads = [i32::MAX.to_be_bytes().to_vec(), honest.to_vec(), [&[0; 8][..], &honest].concat()];
    let items = [&[0, 0, 0, 0][..], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 1, b'/'], &[0xff; 4], &[0, 0, 0, 2, 0xed, 0xa0]];
    for (head, item) in heads.iter().flat_map(|head| items.map(|item| (head, item))) {
        decode_as_everything(&longest(head, item));
    }
    // One malformed string.
    for byte in [b"\xff", b"\xed", b"\xe2"] {
        decode_as_everything(&longest(&(FRAME_LEN_MAX as i32 - 4).to_be_bytes(), byte));
    }
    longest_multis();
}

fn longest_multis() {
    let mut end = Vec::new();
    MULTI_END.encode(&mut end);
    for op in [delete(), read()] {
        let mut item = Vec::new();
        encode_multi(std::slice::from_ref(&op), &mut item);
        item.truncate(item.len() - end.len());
        // A quarter first: with that length a quadratic decoder fails within seconds.
        for len in [FRAME_LEN_MAX / 4, FRAME_LEN_MAX] {
            let count = (len - end.len()) / item.len();
            let endless = item.repeat(count);
            decode_as_everything(&endless);
            let body = [endless, end.clone()].concat();
            decode_as_everything(&body);
            assert_eq!(decode_multi(&body).expect("well-formed").len(), count);
        }
    }
}
