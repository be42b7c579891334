//! Bodies of multi and multiRead: they agree with the specification, and malformed ones have the same result
//! as in ZooKeeper.

use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi};
use oxkeeper_proto::records::{CreateRequest, CreateTtlRequest, MultiHeader, ReadRequest};
use oxkeeper_proto::{DecodeError, Jute, OpCode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::jute::Spec;
use super::jute::value::{Record, Value};
use super::table::AsWritten;

/// Operations in a multi: number, record, and the create flags with which the operation stays the same.
const WRITES: &[(i32, &str, &[i32])] = &[
    (1, "CreateRequest", &[0, 1, 2, 3]),
    (15, "CreateRequest", &[0, 1, 2, 3]),
    (19, "CreateRequest", &[0, 1, 2, 3, 4]),
    (21, "CreateTTLRequest", &[5, 6]),
    (2, "DeleteRequest", &[]),
    (5, "SetDataRequest", &[]),
    (13, "CheckVersionRequest", &[]),
];
/// Operations in a multiRead.
const READS: &[(i32, &str, &[i32])] = &[(4, "GetDataRequest", &[]), (8, "GetChildrenRequest", &[])];

/// Generates one operation: its number and its record.
fn operation(kinds: &'static [(i32, &'static str, &'static [i32])]) -> impl Strategy<Value = (i32, Record)> {
    let spec = Spec::protocol();
    select(kinds).prop_flat_map(move |(op, name, flags)| {
        let flags = if flags.is_empty() { Just(0).boxed() } else { select(flags).boxed() };
        (Just(op), spec.records(name), flags).prop_map(|(op, mut record, flags)| {
            if record.name.starts_with("Create") {
                *record.field("flags") = Value::Int(flags);
                if *record.field("acl") == Value::Vector(None) {
                    *record.field("acl") = Value::Vector(Some(vec![]));
                }
            }
            (op, record)
        })
    })
}

/// Encodes a body from the specification alone.
fn body(operations: &[(i32, Record)]) -> Vec<u8> {
    let header = |op: i32, done: bool| {
        let fields = [("type", Value::Int(op)), ("done", Value::Boolean(done)), ("err", Value::Int(-1))];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Record { name: "MultiHeader".to_owned(), fields }.encode()
    };
    let parts = operations.iter().flat_map(|(op, record)| [header(*op, false), record.encode()]);
    parts.chain([header(-1, true)]).flatten().collect()
}

fn shown(op: &MultiOp<'_>) -> String {
    match op {
        MultiOp::Create(_, request) => format!("{request:?}"),
        MultiOp::CreateTtl(request) => format!("{request:?}"),
        MultiOp::Delete(request) => format!("{request:?}"),
        MultiOp::SetData(request) => format!("{request:?}"),
        MultiOp::Check(request) => format!("{request:?}"),
        MultiOp::GetData(request) | MultiOp::GetChildren(request) => format!("{request:?}"),
    }
}

fn agree(operations: &[(i32, Record)]) -> Result<(), TestCaseError> {
    let bytes = body(operations);
    let decoded = decode_multi(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let numbers: Vec<i32> = decoded.iter().map(|op| op.op().wire()).collect();
    prop_assert_eq!(numbers, operations.iter().map(|(op, _)| *op).collect::<Vec<_>>());
    for (op, (_, record)) in decoded.iter().zip(operations) {
        prop_assert_eq!(shown(op), format!("{:?}", AsWritten(record)));
    }
    let mut again = Vec::new();
    encode_multi(&decoded, &mut again);
    prop_assert_eq!(&again, &bytes);
    for len in 0..bytes.len() {
        prop_assert_eq!(decode_multi(&bytes[..len]), Err(DecodeError::Truncated));
    }
    Ok(())
}

proptest! {
    #[test]
    fn writes(operations in vec(operation(WRITES), 0..5)) {
        agree(&operations)?;
    }

    #[test]
    fn reads(operations in vec(operation(READS), 0..5)) {
        agree(&operations)?;
    }

    #[test]
    fn mixed(write in operation(WRITES), reads in vec(operation(READS), 1..3)) {
        let mut operations = [&[write], &reads[..]].concat();
        for _ in 0..2 {
            let bytes = body(&operations);
            let expected = Err(DecodeError::NotAllowed("reads mixed with writes in a multi"));
            prop_assert_eq!(decode_multi(&bytes), expected);
            operations.rotate_left(1);
        }
    }
}

/// Encodes a body of one operation with this number.
fn body_of<'a>(op: i32, record: &impl Jute<'a>) -> Vec<u8> {
    let mut body = Vec::new();
    MultiHeader { op, done: false, err: 0 }.encode(&mut body);
    record.encode(&mut body);
    MULTI_END.encode(&mut body);
    body
}

fn create(flags: i32) -> CreateRequest<'static> {
    CreateRequest { path: Some("/a".into()), data: None, acl: Some(vec![]), flags }
}

#[test]
fn flags_of_a_create() {
    let check = |op: i32, flags: i32, expected: Result<OpCode, &'static str>| {
        let body = body_of(op, &create(flags));
        let expected = expected.map(|op| vec![MultiOp::Create(op, create(flags))]).map_err(DecodeError::NotAllowed);
        assert_eq!(decode_multi(&body), expected, "op {op} flags {flags}");
    };
    check(1, 0, Ok(OpCode::Create));
    check(15, 3, Ok(OpCode::Create2));
    check(19, 2, Ok(OpCode::CreateContainer));
    check(1, 4, Ok(OpCode::CreateContainer));
    check(15, 4, Ok(OpCode::CreateContainer));
    for op in [1, 15, 19] {
        check(op, 5, Err("ttl flags without a ttl in a multi"));
        check(op, 6, Err("ttl flags without a ttl in a multi"));
        check(op, 7, Err("create flags in a multi"));
        check(op, -1, Err("create flags in a multi"));
        let no_acl = body_of(op, &CreateRequest { acl: None, ..create(0) });
        assert_eq!(decode_multi(&no_acl), Err(DecodeError::Null("ACL in a multi")));
    }
}

#[test]
fn flags_of_a_create_ttl() {
    let request = |flags| CreateTtlRequest { path: Some("/a".into()), data: None, acl: Some(vec![]), flags, ttl: 9 };
    let check = |flags, expected: MultiOp<'_>| {
        assert_eq!(decode_multi(&body_of(21, &request(flags))), Ok(vec![expected]), "flags {flags}");
    };
    check(5, MultiOp::CreateTtl(request(5)));
    check(6, MultiOp::CreateTtl(request(6)));
    check(1, MultiOp::Create(OpCode::Create, create(1)));
    check(4, MultiOp::Create(OpCode::CreateContainer, create(4)));
    check(7, MultiOp::Create(OpCode::Create, create(7)));
    let no_acl = CreateTtlRequest { acl: None, ..request(5) };
    assert_eq!(decode_multi(&body_of(21, &no_acl)), Ok(vec![MultiOp::CreateTtl(no_acl)]));
}

#[test]
fn operations_of_no_multi() {
    let read = ReadRequest { path: Some("/a".into()), watch: true };
    let allowed = [1, 2, 4, 5, 8, 13, 15, 19, 21];
    for op in (-12..120).filter(|op| !allowed.contains(op)) {
        let expected = Err(DecodeError::NotAllowed("operation in a multi"));
        assert_eq!(decode_multi(&body_of(op, &read)), expected, "op {op}");
    }
    assert_eq!(decode_multi(&body_of(4, &read)), Ok(vec![MultiOp::GetData(read.clone())]));
}

#[test]
fn nothing_but_the_end() {
    let end = |op, done: u8| [&i32::to_be_bytes(op)[..], &[done], &[0xff; 4]].concat();
    assert_eq!(decode_multi(&end(-1, 1)), Ok(vec![]));
    // The other fields of the end mark, and the bytes after it, are ignored.
    assert_eq!(decode_multi(&[end(14, 0xff), b"more".to_vec()].concat()), Ok(vec![]));
    assert_eq!(decode_multi(&end(-1, 0)), Err(DecodeError::NotAllowed("operation in a multi")));
    assert_eq!(decode_multi(&[]), Err(DecodeError::Truncated));
}
