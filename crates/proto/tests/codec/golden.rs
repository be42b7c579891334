//! Frames recorded from Apache ZooKeeper: each decodes to the expected value and encodes to the same bytes.
//!
//! A line of a file consists of a name, a direction, operation/record, and the frame in hex; see `../golden/`.

use std::fs;
use std::path::Path;

use oxkeeper_proto::frame::{FRAME_LEN_MAX, split_frame};
use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi};
use oxkeeper_proto::op::{STATE_SYNC_CONNECTED, XID_NOTIFICATION, XID_PING};
use oxkeeper_proto::records::*;
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader};

use super::table::codec;

/// The files, each of which holds at least one frame.
const FILES: &[&str] = &["auth", "create", "handshake", "malformed", "multi", "read", "watch", "write"];

/// One line of a file.
#[derive(Debug)]
struct Line {
    name: String,
    to_server: bool,
    op: String,
    record: String,
    body: Vec<u8>,
}

fn lines(file: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file).with_extension("txt");
    let text = fs::read_to_string(&path).expect("a recorded file");
    let lines: Vec<Line> = text.lines().filter(|line| !line.starts_with('#')).map(line).collect();
    assert!(!lines.is_empty(), "{file} holds no frame");
    lines
}

fn line(text: &str) -> Line {
    let columns: Vec<&str> = text.split('\t').collect();
    let [name, direction, what, hex] = columns[..] else { panic!("not four columns: {text}") };
    assert!(["c2s", "s2c"].contains(&direction), "{text}");
    let (op, record) = what.split_once('/').expect("operation/record");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    let frame: Vec<u8> = hex.as_bytes().chunks(2).map(byte).collect();
    let (body, rest) = split_frame(&frame, FRAME_LEN_MAX).expect("a legal length").expect("a whole frame");
    assert_eq!(rest, b"", "{text}");
    let to_server = direction == "c2s";
    Line { name: name.to_owned(), to_server, op: op.to_owned(), record: record.to_owned(), body: body.to_vec() }
}

/// Returns the line with this name and direction.
fn find<'a>(lines: &'a [Line], name: &str, to_server: bool) -> &'a Line {
    let found = lines.iter().find(|line| line.name == name && line.to_server == to_server);
    found.unwrap_or_else(|| panic!("no frame {name:?}"))
}

/// Decodes the frame after its reply header as one record.
fn reply<'a, T: Jute<'a>>(lines: &'a [Line], name: &str) -> T {
    let mut reader = Reader::new(&find(lines, name, false).body);
    ReplyHeader::decode(&mut reader).expect("a header");
    T::decode(&mut reader).expect("a body")
}

#[test]
fn every_frame_encodes_to_the_same_bytes() {
    for file in FILES {
        let lines = lines(file);
        for (position, line) in lines.iter().enumerate() {
            match (line.op.as_str(), line.to_server) {
                ("connect", true) => connect_request(line, &lines[position..]),
                ("connect", false) => connect_response(line),
                (_, true) => request(line, &lines[position..]),
                (_, false) => answer(line, &lines[..position]),
            }
        }
    }
}

fn connect_request(line: &Line, rest: &[Line]) {
    let (request, read_only) = ConnectRequest::decode_with_read_only(&line.body).expect(&line.name);
    let response_len = find(rest, &line.name, false).body.len();
    assert_eq!(response_len, if read_only.is_some() { 37 } else { 36 }, "{line:?}");
    let mut again = Vec::new();
    request.encode(&mut again);
    read_only.iter().for_each(|byte| byte.encode(&mut again));
    assert_eq!(again, line.body, "{line:?}");
}

fn connect_response(line: &Line) {
    let mut reader = Reader::new(&line.body);
    let response = ConnectResponse::decode(&mut reader).expect(&line.name);
    assert_eq!(response.passwd.map(<[u8]>::len), Some(PASSWORD_LEN), "{line:?}");
    assert_eq!(response.session_id == 0, response.timeout_ms == 0, "{line:?}");
    let mut again = Vec::new();
    response.encode(&mut again);
    again.extend_from_slice(reader.rest());
    assert_eq!(again, line.body, "{line:?}");
    assert!(reader.rest().is_empty() || reader.rest() == [0], "{line:?}");
}

fn request(line: &Line, rest: &[Line]) {
    let mut reader = Reader::new(&line.body);
    let header = RequestHeader::decode(&mut reader).expect(&line.name);
    let op = OpCode::from_wire(header.op);
    match op {
        Some(op) => assert_eq!(format!("{op:?}").to_lowercase(), line.op.to_lowercase(), "{line:?}"),
        None => assert_eq!(format!("unknown{}", header.op), line.op, "{line:?}"),
    }
    let body = reader.rest();
    match (line.record.as_str(), op) {
        ("malformed", Some(op)) => malformed(op, body, line, refused(line, rest)),
        ("malformed", None) | ("-", _) => assert_eq!(body, b"", "{line:?}"),
        ("MultiRequest", _) => multi_request(line, body, refused(line, rest)),
        (record, _) => same_bytes(line, record, body),
    }
}

/// Returns whether the server's answer says that the body of this request is malformed.
fn refused(line: &Line, rest: &[Line]) -> bool {
    let header = ReplyHeader::from_bytes(&find(rest, &line.name, false).body).expect(&line.name);
    header.err == ErrorCode::Marshalling.wire()
}

/// Checks a body that may be malformed: the decoder must refuse it if ZooKeeper did.
fn malformed(op: OpCode, body: &[u8], line: &Line, refused: bool) {
    let accepted = if let OpCode::Multi | OpCode::MultiRead = op {
        let reads = |op: &MultiOp<'_>| matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_));
        decode_multi(body).is_ok_and(|ops| ops.iter().all(reads) == (op == OpCode::MultiRead))
    } else {
        let record = match line.op.as_str() {
            "create" => "CreateRequest",
            "exists" => "ExistsRequest",
            "getData" => "GetDataRequest",
            "setData" => "SetDataRequest",
            "setWatches" => "SetWatches",
            "check" => "CheckVersionRequest",
            other => panic!("which record is a malformed {other}?"),
        };
        (codec(record).accepts)(body)
    };
    assert_eq!(accepted, !refused, "{line:?}");
}

fn multi_request(line: &Line, body: &[u8], refused: bool) {
    if refused {
        // A read in a multi is well-formed; the operation is refused.
        let allowed = decode_multi(body).is_ok_and(|ops| ops.iter().all(|op| op.op() != OpCode::GetData));
        return assert!(!allowed, "{line:?}");
    }
    let ops = decode_multi(body).expect(&line.name);
    let mut again = Vec::new();
    encode_multi(&ops, &mut again);
    if line.name == "container flags under create" {
        assert_eq!(ops[0].op(), OpCode::CreateContainer, "{line:?}");
        again[..4].copy_from_slice(&OpCode::Create.wire().to_be_bytes());
    }
    assert_eq!(again, body, "{line:?}");
}

fn answer(line: &Line, before: &[Line]) {
    let mut reader = Reader::new(&line.body);
    let header = ReplyHeader::decode(&mut reader).expect(&line.name);
    assert_eq!(header.err != 0, line.record == "error", "{line:?}");
    if line.op != "notification" {
        let asked = before.iter().rfind(|asked| asked.to_server && asked.name == line.name).expect(&line.name);
        let asked = RequestHeader::from_bytes(&asked.body).expect(&line.name);
        // ZooKeeper: the reply to a ping has xid -2, whatever the xid of the ping.
        let expected = if line.op == "ping" { XID_PING } else { asked.xid };
        assert_eq!(header.xid, expected, "{line:?}");
    } else {
        assert_eq!(header.xid, XID_NOTIFICATION, "{line:?}");
        let event = WatcherEvent::from_bytes(reader.rest()).expect(&line.name);
        assert_eq!(event.state, STATE_SYNC_CONNECTED, "{line:?}");
    }
    let mut again = Vec::new();
    header.encode(&mut again);
    assert_eq!(again, line.body[..16], "{line:?}");
    answer_body(line, &header, reader.rest());
}

fn answer_body(line: &Line, header: &ReplyHeader, body: &[u8]) {
    match line.record.as_str() {
        "-" => assert_eq!(body, b"", "{line:?}"),
        "error" => {
            assert!(ErrorCode::from_wire(header.err).is_some(), "{line:?}");
            // ZooKeeper: for a multiRead with a write in it, the end mark of its empty results follows the error.
            let leftover = if line.op == "multiRead" { encoded(&MULTI_END) } else { Vec::new() };
            assert_eq!(body, leftover, "{line:?}");
        }
        "MultiResponse" => multi_response(line, body),
        record if line.name == "sync with U+1F600" => {
            // ZooKeeper: it writes two surrogates, which no reader takes for a character. We write UTF-8 instead.
            let shown = (codec(record).recode)(body).expect(&line.name).shown;
            assert_eq!(shown, "PathRecord { path: Some(\"/\u{fffd}\u{fffd}\") }");
        }
        record => same_bytes(line, record, body),
    }
}

fn same_bytes(line: &Line, record: &str, body: &[u8]) {
    let again = (codec(record).recode)(body).expect(&line.name);
    assert_eq!(again.bytes, body, "{line:?}");
}

/// Checks each result after its header, up to the end mark.
fn multi_response(line: &Line, body: &[u8]) {
    let mut reader = Reader::new(body);
    let mut again = Vec::new();
    loop {
        let header = MultiHeader::decode(&mut reader).expect(&line.name);
        header.encode(&mut again);
        if header.done {
            assert_eq!(header, MULTI_END, "{line:?}");
            break;
        }
        let Some(record) = result_record(header.op, line) else { continue };
        let result = (codec(record).recode)(reader.rest()).expect(&line.name);
        again.extend_from_slice(&result.bytes);
        reader = Reader::new(result.rest);
    }
    assert_eq!(again, body, "{line:?}");
}

fn result_record(op: i32, line: &Line) -> Option<&'static str> {
    match op {
        1 => Some("CreateResponse"),
        15 => Some("Create2Response"),
        2 | 13 => None,
        5 => Some("SetDataResponse"),
        4 => Some("GetDataResponse"),
        8 => Some("GetChildrenResponse"),
        -1 => Some("ErrorResponse"),
        op => panic!("result {op}: {line:?}"),
    }
}

fn encoded<'a>(record: &impl Jute<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[test]
fn handshake_fields() {
    let lines = lines("handshake");
    let (request, read_only) = {
        let line = find(&lines, "new session, with readOnly (Java, C, Kazoo)", true);
        ConnectRequest::decode_with_read_only(&line.body).expect("well-formed")
    };
    assert_eq!((request.timeout_ms, request.session_id, read_only), (30_000, 0, Some(false)));
    assert_eq!(request.passwd, Some(&[0; PASSWORD_LEN][..]));
    let old = find(&lines, "new session, without readOnly (Go, Node)", true);
    assert_eq!(ConnectRequest::decode_with_read_only(&old.body).expect("well-formed").1, None);
    let granted = find(&lines, "resume, with readOnly", false);
    let granted = ConnectResponse::from_bytes(&granted.body).expect("well-formed");
    assert_eq!(granted.timeout_ms, 8_000);
    let refused = find(&lines, "resume after close is refused", false);
    let refused = ConnectResponse::from_bytes(&refused.body).expect("well-formed");
    let nothing =
        ConnectResponse { protocol_version: 0, timeout_ms: 0, session_id: 0, passwd: Some(&[0; PASSWORD_LEN]) };
    assert_eq!(refused, nothing);
}

#[test]
fn create_fields() {
    let lines = lines("create");
    let created: Create2Response<'_> = reply(&lines, "ephemeral create2 shows its owner");
    let session = ConnectResponse::from_bytes(&find(&lines, "session", false).body).expect("well-formed").session_id;
    assert_eq!(created.path.as_deref(), Some("/a/eph2"));
    assert_eq!((created.stat.czxid, created.stat.mzxid, created.stat.pzxid), (7, 7, 7));
    assert_eq!((created.stat.ephemeral_owner, created.stat.data_length), (session, 0));
    let unicode: CreateResponse<'_> = reply(&lines, "non-ASCII path");
    assert_eq!(unicode.path.as_deref(), Some("/a/grüß-日本"));
    let request = &find(&lines, "several ACL entries", true).body[8..];
    let request = CreateRequest::from_bytes(request).expect("well-formed");
    let entry = |perms, scheme: &'static str, id: &'static str| {
        let id = Id { scheme: Some(scheme.into()), id: Some(id.into()) };
        Acl { perms, id }
    };
    assert_eq!(request.acl, Some(vec![entry(1, "ip", "127.0.0.1/8"), entry(31, "world", "anyone")]));
    let ttl = &find(&lines, "createTTL", true).body[8..];
    let ttl = CreateTtlRequest::from_bytes(ttl).expect("well-formed");
    assert_eq!((ttl.data, ttl.flags, ttl.ttl), (Some(&b"t"[..]), 5, 600_000));
}

#[test]
fn write_and_watch_fields() {
    let lines_of_write = lines("write");
    let set: StatResponse = reply(&lines_of_write, "setData version 1");
    assert_eq!((set.stat.czxid, set.stat.mzxid, set.stat.version, set.stat.data_length), (2, 4, 2, 3));
    let request = &find(&lines_of_write, "setData null", true).body[8..];
    let request = SetDataRequest::from_bytes(request).expect("well-formed");
    assert_eq!((request.data, request.version), (None, -1));
    let lines_of_watch = lines("watch");
    let event: WatcherEvent<'_> = reply(&lines_of_watch, "recursive: descendant deleted");
    assert_eq!((event.event_type, event.path.as_deref()), (2, Some("/q/c")));
    let set = &find(&lines_of_watch, "setWatches2", true).body[8..];
    let set = SetWatches2::from_bytes(set).expect("well-formed");
    assert_eq!(set.relative_zxid, 0x100_0000_0000);
    assert_eq!(set.persistent_watches, Some(vec![Some("/p".into())]));
    assert_eq!(set.persistent_recursive_watches, Some(vec![Some("/q".into())]));
}
