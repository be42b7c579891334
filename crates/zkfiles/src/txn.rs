//! One transaction of a log: the result of a request. Source: `SerializeUtils.deserializeTxn`, `zookeeper.jute`.

use oxkeeper_proto::records::Acl;
use oxkeeper_proto::{DecodeError, Jute, Reader, Text};

/// Types of transactions: those of requests, and a few more.
pub mod op {
    #![expect(missing_docs, reason = "the names say it")]
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const SET_DATA: i32 = 5;
    pub const SET_ACL: i32 = 7;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const ERROR: i32 = -1;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
}

/// Bytes of a digest after a transaction.
const DIGEST_LEN: usize = 12;

/// A transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Id of the session.
    pub session: i64,
    /// Number of the request within its session.
    pub cxid: i32,
    /// Zxid.
    pub zxid: i64,
    /// Time, Unix ms.
    pub time_ms: i64,
    /// Type, see [`op`].
    pub op: i32,
    /// The change.
    pub body: Body,
    /// Version and value of the tree digest after the transaction.
    pub digest: Option<(i32, i64)>,
}

/// The change that a transaction makes.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A session began.
    CreateSession {
        /// Timeout, ms.
        timeout_ms: i32,
    },
    /// A session ended, and these znodes with it; old releases do not list them.
    CloseSession(Option<Vec<String>>),
    /// A znode was created.
    Create(Create),
    /// A znode was deleted.
    Delete {
        /// Path of the znode.
        path: String,
    },
    /// Data was set.
    SetData {
        /// Path of the znode.
        path: String,
        /// The new data.
        data: Option<Vec<u8>>,
        /// The new version.
        version: i32,
    },
    /// An ACL was set.
    SetAcl {
        /// Path of the znode.
        path: String,
        /// The new ACL.
        acl: Vec<Acl<'static>>,
        /// The new aversion.
        version: i32,
    },
    /// A version was checked; nothing changed.
    Check {
        /// Path of the znode.
        path: String,
        /// The version.
        version: i32,
    },
    /// The request failed; nothing changed.
    Error {
        /// Error code.
        err: i32,
    },
    /// Several operations, each with its type; if one of them is an error, nothing changed.
    Multi(Vec<(i32, Body)>),
}

/// A znode that was created.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Path, with its sequence number.
    pub path: String,
    /// Data.
    pub data: Option<Vec<u8>>,
    /// ACL.
    pub acl: Vec<Acl<'static>>,
    /// Kind of znode.
    pub kind: Kind,
    /// The stored cversion of its parent after the create; old releases do not record it.
    pub parent_cversion: Option<i32>,
}

/// Kind of a created znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stays until it is deleted.
    Persistent,
    /// Is removed with its session.
    Ephemeral,
    /// May be removed after its last child.
    Container,
    /// May be removed when it has not changed for this time, ms.
    Ttl(i64),
}

/// Reasons why bytes are not a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTransaction {
    /// The type is not supported.
    Unknown {
        /// Zxid of the transaction.
        zxid: i64,
        /// Type of the transaction.
        op: i32,
    },
    /// The layout is not that of the type.
    Malformed {
        /// Zxid of the transaction; 0 if not even that can be read.
        zxid: i64,
        /// Type of the transaction.
        op: i32,
        /// The decoding error.
        source: DecodeError,
    },
}

impl Transaction {
    /// Decodes a transaction. *Errors*: the bytes are not a transaction.
    pub fn decode(bytes: &[u8]) -> Result<Transaction, BadTransaction> {
        let reader = &mut Reader::new(bytes);
        let header = header(reader).map_err(|source| BadTransaction::Malformed { zxid: 0, op: 0, source })?;
        let (session, cxid, zxid, time_ms, op) = header;
        let malformed = |source| BadTransaction::Malformed { zxid, op, source };
        let body = Body::decode(op, reader).map_err(malformed)?.ok_or(BadTransaction::Unknown { zxid, op })?;
        let digest = match reader.rest().len() {
            0..DIGEST_LEN => None,
            _ => Some((i32::decode(reader).map_err(malformed)?, i64::decode(reader).map_err(malformed)?)),
        };
        Ok(Transaction { session, cxid, zxid, time_ms, op, body, digest })
    }
}

fn header(reader: &mut Reader<'_>) -> Result<(i64, i32, i64, i64, i32), DecodeError> {
    let session = i64::decode(reader)?;
    let cxid = i32::decode(reader)?;
    Ok((session, cxid, i64::decode(reader)?, i64::decode(reader)?, i32::decode(reader)?))
}

impl Body {
    /// Decodes the body; `None` if the type is unknown.
    fn decode(op: i32, reader: &mut Reader<'_>) -> Result<Option<Body>, DecodeError> {
        Ok(Some(match op {
            op::CREATE_SESSION => Body::CreateSession { timeout_ms: i32::decode(reader)? },
            op::CLOSE_SESSION => Body::CloseSession(closed_paths(reader)),
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => Body::Create(create(op, reader)?),
            op::DELETE | op::DELETE_CONTAINER => Body::Delete { path: path(reader)? },
            op::SET_DATA | op::RECONFIG => {
                Body::SetData { path: path(reader)?, data: data(reader)?, version: i32::decode(reader)? }
            }
            op::SET_ACL => Body::SetAcl { path: path(reader)?, acl: acl(reader)?, version: i32::decode(reader)? },
            op::CHECK => Body::Check { path: path(reader)?, version: i32::decode(reader)? },
            op::ERROR => Body::Error { err: i32::decode(reader)? },
            op::MULTI => match multi(reader)? {
                Some(parts) => Body::Multi(parts),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// Returns whether the body has no effect although it lists operations: it is a failed multi, which lists
    /// the parts that would have succeeded.
    pub fn is_void(&self) -> bool {
        matches!(self, Body::Multi(parts) if parts.iter().any(|(op, _)| *op == op::ERROR))
    }
}

fn path(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let path = Option::<Text<'_>>::decode(reader)?.ok_or(DecodeError::Null("the path of a transaction"))?;
    Ok(path.into_owned())
}

fn data(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, DecodeError> {
    Ok(reader.buffer()?.map(<[u8]>::to_vec))
}

fn acl(reader: &mut Reader<'_>) -> Result<Vec<Acl<'static>>, DecodeError> {
    let list: Option<Vec<Acl<'_>>> = Jute::decode(reader)?;
    Ok(list.unwrap_or_default().into_iter().map(Acl::into_owned).collect())
}

fn create(op: i32, reader: &mut Reader<'_>) -> Result<Create, DecodeError> {
    let (path, data, acl) = (path(reader)?, data(reader)?, acl(reader)?);
    let ephemeral = matches!(op, op::CREATE | op::CREATE2) && bool::decode(reader)?;
    // ZooKeeper: before 3.4 the cversion was not recorded.
    let is_old = op == op::CREATE && reader.rest().is_empty();
    let parent_cversion = if is_old { -1 } else { i32::decode(reader)? };
    let kind = match op {
        op::CREATE_TTL => Kind::Ttl(i64::decode(reader)?),
        op::CREATE_CONTAINER => Kind::Container,
        _ if ephemeral => Kind::Ephemeral,
        _ => Kind::Persistent,
    };
    Ok(Create { path, data, acl, kind, parent_cversion: Some(parent_cversion).filter(|&cversion| cversion != -1) })
}

/// Reads the paths of a closeSession. ZooKeeper: before 3.6, and with `closeSessionTxn.enabled=false`, none
/// are recorded, but a digest may follow.
fn closed_paths(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let ahead = &mut reader.clone();
    let paths: Option<Vec<Text<'_>>> = Jute::decode(ahead).ok()?;
    if !matches!(ahead.rest().len(), 0 | DIGEST_LEN) {
        return None;
    }
    *reader = ahead.clone();
    Some(paths.unwrap_or_default().into_iter().map(Text::into_owned).collect())
}

/// Decodes the parts of a multi; `None` if the type of one is unknown.
fn multi(reader: &mut Reader<'_>) -> Result<Option<Vec<(i32, Body)>>, DecodeError> {
    let count = i32::decode(reader)?;
    let mut parts = Vec::new();
    for _ in 0..count.max(0) {
        let op = i32::decode(reader)?;
        let body = reader.buffer()?.unwrap_or_default();
        // Each part is a plain operation: a multi must not contain a multi.
        let body = if op == op::MULTI { None } else { Body::decode(op, &mut Reader::new(body))? };
        match body {
            Some(body) => parts.push((op, body)),
            None => return Ok(None),
        }
    }
    Ok(Some(parts))
}
