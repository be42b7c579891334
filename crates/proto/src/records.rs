//! Every record of the client protocol, in protocol order. Source: `zookeeper.jute`; described again in `jute-specs/`.
//!
//! A record is its fields in order: no tag, no length, no padding. `Option` is what may be null on the wire.

use bytes::BufMut;

use crate::jute::{DecodeError, Jute, Reader, Text};

/// Length of a session password, bytes. The C client hard-codes it.
pub const PASSWORD_LEN: usize = 16;

/// Declares records: one list of fields gives the struct and both directions of its codec.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name $(<$life>)? { $($(#[$fdoc])* pub $field: $type,)* }
            records!(@codec $name $(<$life>)? { $($field)* });
        )*
        /// The name of every record, in protocol order. The tests prove that none of them lacks a specification.
        pub const RECORD_NAMES: &[&str] = &[$(stringify!($name),)*];
    };
    (@codec $name:ident { $($field:ident)* }) => { records!(@impl 'a, $name, { $($field)* }); };
    (@codec $name:ident <$life:lifetime> { $($field:ident)* }) => { records!(@impl $life, $name<$life>, { $($field)* }); };
    (@impl $life:lifetime, $type:ty, { $($field:ident)* }) => {
        impl<$life> Jute<$life> for $type {
            #[inline]
            fn decode(reader: &mut Reader<$life>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Jute::decode(reader)?,)* })
            }
            #[inline]
            fn encode<B: BufMut>(&self, out: &mut B) {
                $(self.$field.encode(out);)*
            }
        }
    };
}

records! {
    /// Who: an authentication scheme and an identity within it.
    Id<'a> {
        /// `world`, `auth`, `digest`, `ip`, `x509`, `sasl`, `super`.
        scheme: Option<Text<'a>>,
        /// Kazoo sends an empty string as null.
        id: Option<Text<'a>>,
    }
    /// One entry of an access control list.
    Acl<'a> {
        /// Bits of [`crate::op::perms`]; not validated.
        perms: i32,
        /// Whom they are for.
        id: Id<'a>,
    }
    /// What clients see of a znode beside its data, 68 bytes.
    Stat {
        /// Transaction that created the znode.
        czxid: i64,
        /// Transaction that last set its data.
        mzxid: i64,
        /// When it was created, Unix ms.
        ctime: i64,
        /// When its data was last set, Unix ms.
        mtime: i64,
        /// How often its data was set.
        version: i32,
        /// How often a child was created or deleted.
        cversion: i32,
        /// How often its ACL was set.
        aversion: i32,
        /// The session it ends with; 0 unless ephemeral.
        ephemeral_owner: i64,
        /// Bytes of data.
        data_length: i32,
        /// Direct children.
        num_children: i32,
        /// Transaction that last created or deleted a child.
        pzxid: i64,
    }
    /// One identity of a connection, as whoAmI shows it.
    ClientInfo<'a> {
        /// Its scheme.
        auth_scheme: Option<Text<'a>>,
        /// Its user, without secrets.
        user: Option<Text<'a>>,
    }

    /// The first frame of a connection, without the optional `readOnly` byte (see [`ConnectRequest::decode_with_read_only`]).
    ConnectRequest<'a> {
        /// 0; ignored.
        protocol_version: i32,
        /// The highest zxid the client has seen.
        last_zxid_seen: i64,
        /// The session timeout it asks for, ms; clamped.
        timeout_ms: i32,
        /// 0 for a new session.
        session_id: i64,
        /// 16 bytes; null tolerated.
        passwd: Option<&'a [u8]>,
    }
    /// The answer to a ConnectRequest, without the optional `readOnly` byte.
    ConnectResponse<'a> {
        /// 0.
        protocol_version: i32,
        /// The negotiated timeout, ms; 0 when the session is not valid.
        timeout_ms: i32,
        /// 0 when the session is not valid.
        session_id: i64,
        /// Always 16 bytes.
        passwd: Option<&'a [u8]>,
    }
    /// In front of every request.
    RequestHeader {
        /// Echoed.
        xid: i32,
        /// An [`crate::OpCode`].
        op: i32,
    }
    /// In front of every reply and notification, 16 bytes.
    ReplyHeader {
        /// Of the request.
        xid: i32,
        /// The last zxid the server has applied.
        zxid: i64,
        /// An [`crate::ErrorCode`], or 0.
        err: i32,
    }

    /// Ops 1, 15 and 19.
    CreateRequest<'a> {
        /// Full path, before any sequence suffix.
        path: Option<Text<'a>>,
        /// May be null, which is kept.
        data: Option<&'a [u8]>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// A [`crate::op::CreateMode`].
        flags: i32,
    }
    /// Op 21.
    CreateTtlRequest<'a> {
        /// Full path, before any sequence suffix.
        path: Option<Text<'a>>,
        /// May be null, which is kept.
        data: Option<&'a [u8]>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// A [`crate::op::CreateMode`].
        flags: i32,
        /// ms.
        ttl: i64,
    }
    /// To op 1.
    CreateResponse<'a> {
        /// With its sequence suffix.
        path: Option<Text<'a>>,
    }
    /// To ops 15, 19 and 21.
    Create2Response<'a> {
        /// With its sequence suffix.
        path: Option<Text<'a>>,
        /// Of the new znode.
        stat: Stat,
    }
    /// Op 2.
    DeleteRequest<'a> {
        /// Which znode.
        path: Option<Text<'a>>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Ops 3, 4, 8 and 12.
    ReadRequest<'a> {
        /// Which znode.
        path: Option<Text<'a>>,
        /// Whether to leave a one-shot watch.
        watch: bool,
    }
    /// To ops 3, 5 and 7.
    StatResponse {
        /// Of the znode.
        stat: Stat,
    }
    /// To op 4.
    GetDataResponse<'a> {
        /// Null if it was created so.
        data: Option<&'a [u8]>,
        /// Of the znode.
        stat: Stat,
    }
    /// To op 8.
    GetChildrenResponse<'a> {
        /// Names, in no order.
        children: Option<Vec<Text<'a>>>,
    }
    /// To op 12.
    GetChildren2Response<'a> {
        /// Names, in no order.
        children: Option<Vec<Text<'a>>>,
        /// Of the parent.
        stat: Stat,
    }
    /// Op 5.
    SetDataRequest<'a> {
        /// Which znode.
        path: Option<Text<'a>>,
        /// May be null, which is kept.
        data: Option<&'a [u8]>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Ops 6, 9, 103 and 104, and the response to 9: a path and nothing else.
    PathRecord<'a> {
        /// Which znode, or a prefix.
        path: Option<Text<'a>>,
    }
    /// To op 6.
    GetAclResponse<'a> {
        /// With digests masked for those who may only read.
        acl: Option<Vec<Acl<'a>>>,
        /// Of the znode.
        stat: Stat,
    }
    /// Op 7.
    SetAclRequest<'a> {
        /// Which znode.
        path: Option<Text<'a>>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// Expected aversion, -1 for any.
        version: i32,
    }
    /// Op 13, only inside a multi.
    CheckVersionRequest<'a> {
        /// Which znode.
        path: Option<Text<'a>>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Op 16.
    ReconfigRequest<'a> {
        /// `server.N=…` lines, comma separated.
        joining_servers: Option<Text<'a>>,
        /// Ids, comma separated.
        leaving_servers: Option<Text<'a>>,
        /// The whole new membership, instead.
        new_members: Option<Text<'a>>,
        /// Expected configuration version, -1 for any.
        cur_config_id: i64,
    }
    /// Ops 17 and 18.
    WatchesRequest<'a> {
        /// At exactly this path.
        path: Option<Text<'a>>,
        /// A [`crate::op::WatcherType`].
        watcher_type: i32,
    }
    /// Op 106.
    AddWatchRequest<'a> {
        /// At this path.
        path: Option<Text<'a>>,
        /// A [`crate::op::AddWatchMode`].
        mode: i32,
    }
    /// To op 106, and an error in a multi result.
    ErrorResponse {
        /// An [`crate::ErrorCode`], or 0.
        err: i32,
    }
    /// Op 101.
    SetWatches<'a> {
        /// The highest zxid the client saw in a reply.
        relative_zxid: i64,
        /// Set by getData, or by exists on a znode that was there.
        data_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by exists on a znode that was not there.
        exist_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by getChildren.
        child_watches: Option<Vec<Option<Text<'a>>>>,
    }
    /// Op 105.
    SetWatches2<'a> {
        /// The highest zxid the client saw in a reply.
        relative_zxid: i64,
        /// Set by getData, or by exists on a znode that was there.
        data_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by exists on a znode that was not there.
        exist_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by getChildren.
        child_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by addWatch mode 0.
        persistent_watches: Option<Vec<Option<Text<'a>>>>,
        /// Set by addWatch mode 1.
        persistent_recursive_watches: Option<Vec<Option<Text<'a>>>>,
    }
    /// Op 100.
    AuthPacket<'a> {
        /// 0; ignored.
        auth_type: i32,
        /// Which provider.
        scheme: Option<Text<'a>>,
        /// Its credentials.
        auth: Option<&'a [u8]>,
    }
    /// Op 102 and its response.
    SaslToken<'a> {
        /// One step of the exchange.
        token: Option<&'a [u8]>,
    }
    /// To op 103.
    GetEphemeralsResponse<'a> {
        /// Full paths.
        ephemerals: Option<Vec<Text<'a>>>,
    }
    /// To op 104.
    GetAllChildrenNumberResponse {
        /// Descendants at every depth.
        total_number: i32,
    }
    /// To op 107.
    WhoAmIResponse<'a> {
        /// The identities of this connection.
        client_info: Option<Vec<ClientInfo<'a>>>,
    }
    /// The body of a notification.
    WatcherEvent<'a> {
        /// An [`crate::op::EventType`].
        event_type: i32,
        /// [`crate::op::STATE_SYNC_CONNECTED`].
        state: i32,
        /// Full path.
        path: Option<Text<'a>>,
    }
    /// In front of each operation and result of a multi, 9 bytes.
    MultiHeader {
        /// An [`crate::OpCode`]; -1 at the end, and in front of an error.
        op: i32,
        /// True only at the end.
        done: bool,
        /// -1 in requests; 0 or an error code in results.
        err: i32,
    }
}

impl<'a> ConnectRequest<'a> {
    /// The request and its `readOnly` byte, which clients older than 3.4, Go and Node do not send.
    ///
    /// *Errors*: `Truncated`, `NegativeLength`.
    pub fn decode_with_read_only(frame: &'a [u8]) -> Result<(ConnectRequest<'a>, Option<bool>), DecodeError> {
        let mut reader = Reader::new(frame);
        let request = ConnectRequest::decode(&mut reader)?;
        Ok((request, bool::decode(&mut reader).ok()))
    }
}

impl<'a> Acl<'a> {
    /// The same entry with text of its own.
    pub fn into_owned(self) -> Acl<'static> {
        let own = |text: Option<Text<'a>>| text.map(|text| Text::Owned(text.into_owned()));
        Acl { perms: self.perms, id: Id { scheme: own(self.id.scheme), id: own(self.id.id) } }
    }
}

impl Copy for RequestHeader {}
impl Copy for Stat {}

impl Stat {
    /// Length on the wire, bytes.
    pub const LEN: usize = 68;
}
