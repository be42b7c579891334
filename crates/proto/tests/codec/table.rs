//! Maps each record of the specification to its type in `oxkeeper_proto`, and shows values of both in the same form.

use std::fmt;

use oxkeeper_proto::records::*;
use oxkeeper_proto::{DecodeError, Jute, Reader};

use super::jute::value::{Record, Value};

/// The hand-written codec of one record.
pub(crate) struct Codec {
    /// Name of the record in the specification.
    pub(crate) spec_name: &'static str,
    /// Name of the type.
    pub(crate) type_name: &'static str,
    /// Returns whether the bytes decode.
    pub(crate) accepts: fn(&[u8]) -> bool,
    /// Decodes the bytes and encodes the result again.
    pub(crate) recode: for<'a> fn(&'a [u8]) -> Result<Recoded<'a>, DecodeError>,
}

/// A record that has been decoded and encoded again.
pub(crate) struct Recoded<'a> {
    /// `Debug` text of the record.
    pub(crate) shown: String,
    /// Bytes of the record.
    pub(crate) bytes: Vec<u8>,
    /// Bytes after the record.
    pub(crate) rest: &'a [u8],
}

fn recode<'a, T: Jute<'a> + fmt::Debug>(bytes: &'a [u8]) -> Result<Recoded<'a>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let record = T::decode(&mut reader)?;
    let mut again = Vec::new();
    record.encode(&mut again);
    Ok(Recoded { shown: format!("{record:?}"), bytes: again, rest: reader.rest() })
}

macro_rules! codecs {
    ($($spec_name:ident => $type:ident,)*) => {
        /// The codecs of all records of the specification.
        pub(crate) const CODECS: &[Codec] = &[$(Codec {
            spec_name: stringify!($spec_name),
            type_name: stringify!($type),
            accepts: |bytes| <$type>::from_bytes(bytes).is_ok(),
            recode: |bytes| recode::<$type>(bytes),
        },)*];
    };
}

codecs! {
    Id => Id,
    ACL => Acl,
    Stat => Stat,
    ClientInfo => ClientInfo,
    ConnectRequest => ConnectRequest,
    ConnectResponse => ConnectResponse,
    RequestHeader => RequestHeader,
    ReplyHeader => ReplyHeader,
    CreateRequest => CreateRequest,
    CreateTTLRequest => CreateTtlRequest,
    CreateResponse => CreateResponse,
    Create2Response => Create2Response,
    DeleteRequest => DeleteRequest,
    ExistsRequest => ReadRequest,
    ExistsResponse => StatResponse,
    GetDataRequest => ReadRequest,
    GetDataResponse => GetDataResponse,
    GetChildrenRequest => ReadRequest,
    GetChildrenResponse => GetChildrenResponse,
    GetChildren2Request => ReadRequest,
    GetChildren2Response => GetChildren2Response,
    SetDataRequest => SetDataRequest,
    SetDataResponse => StatResponse,
    SyncRequest => PathRecord,
    SyncResponse => PathRecord,
    GetACLRequest => PathRecord,
    GetACLResponse => GetAclResponse,
    SetACLRequest => SetAclRequest,
    SetACLResponse => StatResponse,
    CheckVersionRequest => CheckVersionRequest,
    ReconfigRequest => ReconfigRequest,
    CheckWatchesRequest => WatchesRequest,
    RemoveWatchesRequest => WatchesRequest,
    AddWatchRequest => AddWatchRequest,
    ErrorResponse => ErrorResponse,
    SetWatches => SetWatches,
    SetWatches2 => SetWatches2,
    AuthPacket => AuthPacket,
    GetSASLRequest => SaslToken,
    SetSASLRequest => SaslToken,
    SetSASLResponse => SaslToken,
    GetEphemeralsRequest => PathRecord,
    GetEphemeralsResponse => GetEphemeralsResponse,
    GetAllChildrenNumberRequest => PathRecord,
    GetAllChildrenNumberResponse => GetAllChildrenNumberResponse,
    WhoAmIResponse => WhoAmIResponse,
    WatcherEvent => WatcherEvent,
    MultiHeader => MultiHeader,
}

/// Returns the codec of the record with this name in the specification.
pub(crate) fn codec(spec_name: &str) -> &'static Codec {
    let found = CODECS.iter().find(|codec| codec.spec_name == spec_name);
    found.unwrap_or_else(|| panic!("no codec for {spec_name}"))
}

/// Shows a value of the specification as the hand-written record with the same content shows itself.
///
/// Two fields of the same type that were swapped would encode and decode to the same bytes; their `Debug` texts differ.
pub(crate) struct AsWritten<'a>(pub(crate) &'a Record);

impl fmt::Debug for AsWritten<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = codec(&self.0.name).type_name;
        let mut shown = f.debug_struct(type_name);
        for (name, value) in &self.0.fields {
            let field = field_name(type_name, name);
            // The lists of setWatches are read up to the first null, so their items may be null.
            if let Value::Vector(Some(items)) = value
                && type_name.starts_with("SetWatches")
            {
                shown.field(&field, &Some(items.iter().map(ValueAsWritten).collect::<Vec<_>>()));
            } else {
                shown.field(&field, &ValueAsWritten(value));
            }
        }
        shown.finish()
    }
}

struct ValueAsWritten<'a>(&'a Value);

impl fmt::Debug for ValueAsWritten<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Boolean(truth) => truth.fmt(f),
            Value::Int(int) => int.fmt(f),
            Value::Long(long) => long.fmt(f),
            Value::Ustring(text) => text.fmt(f),
            Value::Buffer(bytes) => bytes.fmt(f),
            Value::Vector(items) => items.as_ref().map(|items| items.iter().map(Item).collect::<Vec<_>>()).fmt(f),
            Value::Record(record) => AsWritten(record).fmt(f),
        }
    }
}

/// An item of a vector: a ustring there is never null, so it is shown without `Some`.
struct Item<'a>(&'a Value);

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Value::Ustring(Some(text)) = self.0 { text.fmt(f) } else { ValueAsWritten(self.0).fmt(f) }
    }
}

/// Returns a field's name in Rust: snake case, unless a reserved word, a unit or a merged record requires another one.
fn field_name(type_name: &str, name: &str) -> String {
    match (type_name, name) {
        ("RequestHeader" | "MultiHeader", "type") => "op".to_owned(),
        ("AuthPacket", "type") => "auth_type".to_owned(),
        ("WatcherEvent", "type") => "event_type".to_owned(),
        ("WatchesRequest", "type") => "watcher_type".to_owned(),
        ("ConnectRequest" | "ConnectResponse", "timeOut") => "timeout_ms".to_owned(),
        ("PathRecord", "prefixPath") => "path".to_owned(),
        _ => snake_case(name),
    }
}

fn snake_case(name: &str) -> String {
    let spelt = name.chars().map(|char| {
        let underscore = if char.is_uppercase() { "_" } else { "" };
        format!("{underscore}{}", char.to_lowercase())
    });
    spelt.collect()
}
