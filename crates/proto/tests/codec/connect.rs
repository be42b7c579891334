//! The connect records with and without their optional last byte.

use oxkeeper_proto::Jute;
use oxkeeper_proto::records::{ConnectRequest, ConnectResponse};
use proptest::prelude::*;

use super::jute::Spec;
use super::jute::value::{Record, Value};
use super::table::AsWritten;

/// Returns the record without its `readOnly`, and the value of that.
fn split(mut record: Record) -> (Record, bool) {
    let last = record.fields.pop();
    let Some((name, Value::Boolean(read_only))) = last else { panic!("the last field is not a boolean: {last:?}") };
    assert_eq!(name, "readOnly");
    (record, read_only)
}

proptest! {
    #[test]
    fn request(record in Spec::protocol().records("ConnectRequest")) {
        let bytes = record.encode();
        let (old, read_only) = split(record);
        let old_bytes = &bytes[..bytes.len() - 1];
        prop_assert_eq!(&old.encode(), old_bytes);
        let (request, byte) = ConnectRequest::decode_with_read_only(&bytes).expect("well-formed");
        prop_assert_eq!(byte, Some(read_only));
        prop_assert_eq!(format!("{request:?}"), format!("{:?}", AsWritten(&old)));
        prop_assert_eq!(ConnectRequest::decode_with_read_only(old_bytes), Ok((request.clone(), None)));
        let mut again = Vec::new();
        request.encode(&mut again);
        prop_assert_eq!(&again, old_bytes);
        read_only.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn response(record in Spec::protocol().records("ConnectResponse")) {
        let bytes = record.encode();
        let (_, read_only) = split(record);
        let response = ConnectResponse::from_bytes(&bytes).expect("well-formed");
        let mut again = Vec::new();
        response.encode(&mut again);
        read_only.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }
}
