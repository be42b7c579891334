//! Every record: the hand-written codec and the specification agree in both directions.

use std::collections::BTreeSet;

use oxkeeper_proto::records::{GetChildrenResponse, RECORD_NAMES};
use oxkeeper_proto::{DecodeError, Jute};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::jute::Spec;
use super::jute::value::Record;
use super::table::{AsWritten, CODECS, Codec};

/// Number of random values for each record.
const CASES: u32 = 200;

#[test]
fn none_is_missing() {
    let spec = Spec::protocol();
    let described: BTreeSet<&str> = spec.names().collect();
    let tested: BTreeSet<&str> = CODECS.iter().map(|codec| codec.spec_name).collect();
    assert_eq!(described, tested, "records of jute-specs, and those the table maps to a type");
    let written: BTreeSet<&str> = RECORD_NAMES.iter().copied().collect();
    let mapped: BTreeSet<&str> = CODECS.iter().map(|codec| codec.type_name).collect();
    assert_eq!(written, mapped, "records of the codec, and those the table maps from a specification");
}

#[test]
fn codec_and_specification_agree() {
    // The module `connect` tests the optional byte at the end of the connect records.
    let spec = Spec::protocol().without("readOnly");
    for codec in CODECS {
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let values = spec.records(codec.spec_name);
        let result = runner.run(&values, |value| agree(&spec, codec, &value));
        result.unwrap_or_else(|failure| panic!("{}: {failure}", codec.spec_name));
    }
}

fn agree(spec: &Spec, codec: &Codec, value: &Record) -> Result<(), TestCaseError> {
    let bytes = value.encode();
    let again = (codec.recode)(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&again.shown, &format!("{:?}", AsWritten(value)));
    prop_assert_eq!(again.rest, b"");
    prop_assert_eq!(&again.bytes, &bytes);
    let decoded = spec.decode(codec.spec_name, &again.bytes);
    prop_assert_eq!(decoded.as_ref(), Some(value));
    // Bytes after a record are ignored, and a truncated record is never accepted.
    let longer = [&bytes[..], b"more"].concat();
    prop_assert_eq!((codec.recode)(&longer).map(|again| again.rest), Ok(&b"more"[..]));
    for len in 0..bytes.len() {
        prop_assert_eq!((codec.recode)(&bytes[..len]).map(|again| again.shown), Err(DecodeError::Truncated));
    }
    Ok(())
}

#[test]
fn lengths_and_counts() {
    fn check(hex: [u8; 8], expected: Result<Option<Vec<&str>>, DecodeError>) {
        let decoded = GetChildrenResponse::from_bytes(&hex).map(|response| response.children);
        let expected = expected.map(|names| names.map(|names| names.into_iter().map(Into::into).collect()));
        assert_eq!(decoded, expected, "{hex:?}");
    }
    check([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], Ok(None));
    check([0xff, 0xff, 0xff, 0xfb, 0, 0, 0, 0], Ok(Some(vec![])));
    check([0x80, 0x00, 0x00, 0x00, 0, 0, 0, 0], Ok(Some(vec![])));
    check([0x00, 0x00, 0x00, 0x01, 0, 0, 0, 0], Ok(Some(vec![""])));
    check([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], Err(DecodeError::Null("ustring in a vector")));
    check([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe], Err(DecodeError::NegativeLength));
    check([0, 0, 0, 1, 0x80, 0, 0, 0], Err(DecodeError::NegativeLength));
    check([0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff], Err(DecodeError::Truncated));
    check([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], Err(DecodeError::Truncated));
}
