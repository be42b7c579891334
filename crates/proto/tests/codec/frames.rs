//! Frames: `split_frame` separates the bodies that `put_frame` joins, regardless of how the bytes arrive.

use oxkeeper_proto::frame::{FRAME_LEN_MAX, FrameLengthError, put_frame, split_frame};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn joined_and_taken_apart(bodies in vec(vec(any::<u8>(), 0..50), 0..8), cut in 0..400usize) {
        let mut stream = Vec::new();
        bodies.iter().for_each(|body| put_frame(&mut stream, |out| out.extend_from_slice(body)));
        // Every prefix of the stream yields the complete frames, in order, and leaves the rest.
        let mut input = &stream[..cut.min(stream.len())];
        let mut split = Vec::new();
        while let Some((body, rest)) = split_frame(input, FRAME_LEN_MAX).expect("legal lengths") {
            split.push(body.to_vec());
            input = rest;
        }
        prop_assert!(bodies.starts_with(&split));
        let taken: usize = split.iter().map(|body| 4 + body.len()).sum();
        prop_assert_eq!(taken + input.len(), cut.min(stream.len()));
        prop_assert!(bodies.get(split.len()).is_none_or(|next| input.len() < 4 + next.len()));
    }

    #[test]
    fn length_limit(len: i32, limit in 0..2_000_000usize) {
        let expected = usize::try_from(len).is_ok_and(|len| len <= limit);
        prop_assert_eq!(split_frame(&len.to_be_bytes(), limit).is_ok(), expected);
    }
}

#[test]
fn length_at_the_limit() {
    let check = |prefix: [u8; 4], expected| assert_eq!(split_frame(&prefix, FRAME_LEN_MAX), expected, "{prefix:x?}");
    let refused = |len| Err(FrameLengthError { len, max: FRAME_LEN_MAX });
    check([0, 0, 0, 0], Ok(Some((&[], &[]))));
    check([0, 0xf, 0xff, 0xff], Ok(None));
    check([0, 0x10, 0, 0], refused(0x10_0000));
    check([0x7f, 0xff, 0xff, 0xff], refused(i32::MAX));
    check([0xff, 0xff, 0xff, 0xff], refused(-1));
    check([0x80, 0, 0, 0], refused(i32::MIN));
}
