//! Encodes requests once, patches them for each use, and checks their replies.
//!
//! Every path has the same length, so a request is a copy of its template with two fields written over: the xid and the
//! seven digits of the znode's number.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use oxkeeper_client::calls::open_acl;
use oxkeeper_proto::frame::put_frame;
use oxkeeper_proto::op::{CreateMode, EventType, XID_NOTIFICATION};
use oxkeeper_proto::records::{
    CreateRequest, CreateResponse, DeleteRequest, GetDataResponse, ReadRequest, ReplyHeader, RequestHeader,
    SetDataRequest, Stat, StatResponse, WatcherEvent,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader};

/// Parent of every znode of the bench.
pub(super) const ROOT: &str = "/bench";
/// Numbers below this name znodes that stay; numbers above are those of create-delete.
pub(super) const ZNODES_MAX: u32 = 5_000_000;
const DIGITS: usize = 7;
/// Offset of the xid in a request frame.
const XID_AT: usize = 4;
/// The byte that fills all data.
const FILLER: u8 = b'x';

/// Returns the path of a znode.
pub(super) fn path(number: u32) -> String {
    format!("{ROOT}/{number:07}")
}

/// Returns the data of every znode.
pub(super) fn data(size: usize) -> Vec<u8> {
    vec![FILLER; size]
}

/// An operation; it determines which reply is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// getData.
    Get,
    /// getData that leaves a watch.
    GetWatching,
    /// exists that leaves a watch, whether or not the znode is there.
    ExistsWatching,
    /// setData, any version.
    Set,
    /// create.
    Create,
    /// create, or find it there.
    Ensure,
    /// delete, any version.
    Delete,
}

/// The name of the operation in the protocol.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Get | Op::GetWatching => "getData",
            Op::ExistsWatching => "exists",
            Op::Set => "setData",
            Op::Create | Op::Ensure => "create",
            Op::Delete => "delete",
        })
    }
}

/// Names the error of a reply: `NoNode (-101)`.
pub(super) fn error_name(code: i32) -> String {
    format!("{} ({code})", oxkeeper_client::Error::from_wire(code))
}

/// Whether a reply says that its request succeeded.
pub(super) fn succeeded(frame: &[u8]) -> bool {
    ReplyHeader::decode(&mut Reader::new(frame)).is_ok_and(|header| header.err == 0)
}

struct Template {
    frame: Vec<u8>,
    digits_at: usize,
}

impl Template {
    fn new<'a>(op: OpCode, record: &impl Jute<'a>) -> Template {
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            RequestHeader { xid: 0, op: op.wire() }.encode(out);
            record.encode(out);
        });
        let example = path(0);
        let start = frame.windows(example.len()).position(|window| window == example.as_bytes());
        let digits_at = start.expect("the record holds the path") + ROOT.len() + 1;
        Template { frame, digits_at }
    }

    fn put(&self, out: &mut Vec<u8>, xid: i32, number: u32) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        frame[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        let mut rest = number;
        for digit in frame[self.digits_at..self.digits_at + DIGITS].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

/// Every request the bench sends, for one size of data.
pub(super) struct Requests {
    data: Vec<u8>,
    get: Template,
    get_watching: Template,
    exists_watching: Template,
    set: Template,
    create: Template,
    delete: Template,
}

impl Requests {
    /// Encodes the requests for `size` bytes of data.
    pub(super) fn new(size: usize) -> Requests {
        let data = data(size);
        let example = path(0);
        let path = || Some(example.as_str().into());
        let (acl, flags) = (Some(open_acl()), CreateMode::Persistent.wire());
        Requests {
            get: Template::new(OpCode::GetData, &ReadRequest { path: path(), watch: false }),
            get_watching: Template::new(OpCode::GetData, &ReadRequest { path: path(), watch: true }),
            exists_watching: Template::new(OpCode::Exists, &ReadRequest { path: path(), watch: true }),
            set: Template::new(OpCode::SetData, &SetDataRequest { path: path(), data: Some(&data), version: -1 }),
            create: Template::new(OpCode::Create, &CreateRequest { path: path(), data: Some(&data), acl, flags }),
            delete: Template::new(OpCode::Delete, &DeleteRequest { path: path(), version: -1 }),
            data,
        }
    }

    /// Appends a request.
    pub(super) fn put(&self, op: Op, number: u32, xid: i32, out: &mut Vec<u8>) {
        let template = match op {
            Op::Get => &self.get,
            Op::GetWatching => &self.get_watching,
            Op::ExistsWatching => &self.exists_watching,
            Op::Set => &self.set,
            Op::Create | Op::Ensure => &self.create,
            Op::Delete => &self.delete,
        };
        template.put(out, xid, number);
    }

    /// Checks the reply to `op` on znode `number`, sent with `xid`, after a reply with `zxid`. Returns its zxid.
    ///
    /// *Errors*: a reply that a correct server would not send.
    pub(super) fn check(&self, op: Op, number: u32, xid: i32, zxid: i64, frame: &[u8]) -> Result<i64> {
        self.check_reply(op, number, xid, zxid, frame)
            .with_context(|| format!("wrong reply to {op} of {} (xid {xid})", path(number)))
    }

    fn check_reply(&self, op: Op, number: u32, xid: i32, zxid: i64, frame: &[u8]) -> Result<i64> {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::decode(&mut reader)?;
        ensure!(header.xid == xid, "it has xid {}", header.xid);
        ensure!(header.zxid >= zxid, "zxid goes back from {zxid:#x} to {:#x}", header.zxid);
        let tolerated = match op {
            Op::Ensure => header.err == ErrorCode::NodeExists.wire(),
            Op::ExistsWatching => header.err == ErrorCode::NoNode.wire(),
            Op::Get | Op::GetWatching | Op::Set | Op::Create | Op::Delete => false,
        };
        if !tolerated {
            ensure!(header.err == 0, "{}", error_name(header.err));
            self.check_body(op, number, header.zxid, &mut reader)?;
        }
        Ok(header.zxid)
    }

    fn check_body(&self, op: Op, number: u32, zxid: i64, reader: &mut Reader<'_>) -> Result<()> {
        match op {
            Op::Get | Op::GetWatching => {
                let response = GetDataResponse::decode(reader)?;
                let data = response.data.context("the data is null")?;
                ensure!(data == self.data, "{} bytes of data, expected {} (--size)", data.len(), self.data.len());
                check_stat(&response.stat, self.data.len(), zxid)?;
            }
            Op::ExistsWatching => {
                StatResponse::decode(reader)?;
            }
            Op::Set => check_stat(&StatResponse::decode(reader)?.stat, self.data.len(), zxid)?,
            Op::Create | Op::Ensure => {
                let created = CreateResponse::decode(reader)?.path;
                let created = created.as_deref().unwrap_or("null");
                ensure!(created == path(number), "the path that was created is {created}");
            }
            Op::Delete => {}
        }
        ensure!(reader.rest().is_empty(), "{} bytes too many", reader.rest().len());
        Ok(())
    }
}

fn check_stat(stat: &Stat, data_len: usize, zxid: i64) -> Result<()> {
    let order = 0 < stat.czxid && stat.czxid <= stat.mzxid && stat.mzxid <= zxid && stat.pzxid <= zxid;
    let counts = stat.version >= 0 && stat.num_children == 0 && stat.ephemeral_owner == 0;
    let length = usize::try_from(stat.data_length) == Ok(data_len);
    ensure!(
        order && counts && length && 0 < stat.ctime && stat.ctime <= stat.mtime,
        "implausible stat: czxid {:#x}, mzxid {:#x}, pzxid {:#x} in a reply of zxid {zxid:#x}, ctime {}, mtime {}, version {}, \
         dataLength {}, numChildren {}, ephemeralOwner {:#x}",
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.ctime,
        stat.mtime,
        stat.version,
        stat.data_length,
        stat.num_children,
        stat.ephemeral_owner
    );
    Ok(())
}

/// Returns the zxid of the last write of the znode, from a good reply to `op`.
pub(super) fn mzxid(op: Op, frame: &[u8]) -> Result<i64> {
    let mut reader = Reader::new(frame);
    ReplyHeader::decode(&mut reader)?;
    match op {
        Op::Get | Op::GetWatching => Ok(GetDataResponse::decode(&mut reader)?.stat.mzxid),
        Op::Set | Op::ExistsWatching => Ok(StatResponse::decode(&mut reader)?.stat.mzxid),
        Op::Create | Op::Ensure | Op::Delete => bail!("the reply to {op} has no stat"),
    }
}

/// Whether the frame is a notification rather than a reply.
pub(super) fn is_notification(frame: &[u8]) -> bool {
    frame.starts_with(&XID_NOTIFICATION.to_be_bytes())
}

/// Checks that a notification tells of changed data of znode `number`.
pub(super) fn check_changed(frame: &[u8], number: u32) -> Result<()> {
    let mut reader = Reader::new(frame);
    ReplyHeader::decode(&mut reader)?;
    let event = WatcherEvent::decode(&mut reader)?;
    let path_changed = event.path.as_deref().unwrap_or("null");
    ensure!(
        event.event_type == EventType::NodeDataChanged.wire() && path_changed == path(number),
        "unexpected notification: type {}, path {path_changed}, expected type {} and path {}",
        event.event_type,
        EventType::NodeDataChanged.wire(),
        path(number)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(op: Op, number: u32, xid: i32) -> Vec<u8> {
        let mut out = Vec::new();
        Requests::new(3).put(op, number, xid, &mut out);
        out
    }

    #[test]
    fn a_patched_template_is_the_encoded_request() {
        let mut expected = Vec::new();
        put_frame(&mut expected, |out| {
            RequestHeader { xid: 77, op: OpCode::SetData.wire() }.encode(out);
            let path = Some("/bench/0012345".into());
            SetDataRequest { path, data: Some(b"xxx"), version: -1 }.encode(out);
        });
        assert_eq!(request(Op::Set, 12_345, 77), expected);
    }

    fn reply(xid: i32, zxid: i64, err: i32, data: &[u8], stat: Stat) -> Vec<u8> {
        let mut out = Vec::new();
        ReplyHeader { xid, zxid, err }.encode(&mut out);
        GetDataResponse { data: Some(data), stat }.encode(&mut out);
        out
    }

    fn good_stat() -> Stat {
        let times = (1_700_000_000_000, 1_700_000_000_001);
        Stat {
            czxid: 4,
            mzxid: 5,
            ctime: times.0,
            mtime: times.1,
            version: 1,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 3,
            num_children: 0,
            pzxid: 4,
        }
    }

    #[test]
    fn wrong_replies_are_found() {
        let check = |frame: &[u8]| Requests::new(3).check(Op::Get, 1, 7, 5, frame);
        assert_eq!(check(&reply(7, 5, 0, b"xxx", good_stat())).expect("a good reply"), 5);
        let bad = [
            ("another xid", reply(8, 5, 0, b"xxx", good_stat())),
            ("a zxid that goes back", reply(7, 4, 0, b"xxx", good_stat())),
            ("an error", reply(7, 5, ErrorCode::NoNode.wire(), b"xxx", good_stat())),
            ("short data", reply(7, 5, 0, b"xx", good_stat())),
            ("other data", reply(7, 5, 0, b"xyx", good_stat())),
            ("a stat from the future", reply(7, 5, 0, b"xxx", Stat { mzxid: 6, ..good_stat() })),
            ("a stat of other data", reply(7, 5, 0, b"xxx", Stat { data_length: 4, ..good_stat() })),
            ("a trailing byte", [reply(7, 5, 0, b"xxx", good_stat()), vec![0]].concat()),
            ("a truncated reply", reply(7, 5, 0, b"xxx", good_stat())[..80].to_vec()),
        ];
        for (what, frame) in bad {
            assert!(check(&frame).is_err(), "{what} passed");
        }
    }

    #[test]
    fn wrong_replies_are_described_without_debug_output() {
        let check = |op, frame: &[u8]| {
            let error = Requests::new(3).check(op, 1, 7, 5, frame).expect_err("a wrong reply");
            format!("{error:#}")
        };
        let mut refused = Vec::new();
        ReplyHeader { xid: 7, zxid: 9, err: ErrorCode::SystemError.wire() }.encode(&mut refused);
        assert_eq!(check(Op::Ensure, &refused), "wrong reply to create of /bench/0000001 (xid 7): SystemError (-1)");
        let stat = check(Op::Get, &reply(7, 5, 0, b"xxx", Stat { mzxid: 6, ..good_stat() }));
        assert!(
            stat.starts_with(
                "wrong reply to getData of /bench/0000001 (xid 7): implausible stat: czxid 0x4, mzxid 0x6"
            )
        );
        assert!(!stat.contains('{'), "{stat}");
    }

    #[test]
    fn only_ensure_tolerates_what_exists() {
        let mut frame = Vec::new();
        ReplyHeader { xid: 1, zxid: 9, err: ErrorCode::NodeExists.wire() }.encode(&mut frame);
        let check = |op| Requests::new(3).check(op, 1, 1, 0, &frame);
        assert!(check(Op::Ensure).is_ok() && check(Op::Create).is_err());
    }
}
