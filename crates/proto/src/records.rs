//! Every record of the client protocol, in protocol order. Source: `zookeeper.jute`; described again in `jute-specs/`.
//!
//! A record consists of its fields in order: no tag, no length, no padding. Fields that may be null on the
//! wire are `Option`s.

use bytes::BufMut;

use crate::jute::{DecodeError, Jute, Reader, Text};

/// Length of a session password, bytes. The C client hard-codes it.
pub const PASSWORD_LEN: usize = 16;

/// Declares records: one list of fields generates the struct and both directions of its codec.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name $(<$life>)? { $($(#[$fdoc])* pub $field: $type,)* }
            records!(@codec $name $(<$life>)? { $($field)* });
        )*
        /// Names of all records, in protocol order. The tests prove that each has a specification.
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
    /// An authentication scheme and an identity within it.
    Id<'a> {
        /// `world`, `auth`, `digest`, `ip`, `x509`, `sasl`, `super`.
        scheme: Option<Text<'a>>,
        /// Identity; Kazoo sends an empty string as null.
        id: Option<Text<'a>>,
    }
    /// One entry of an access control list.
    Acl<'a> {
        /// Bits of [`crate::op::perms`]; not validated.
        perms: i32,
        /// Identity that has the permissions.
        id: Id<'a>,
    }
    /// Stat of a znode: everything that clients see besides its data, 68 bytes.
    Stat {
        /// Transaction that created the znode.
        czxid: i64,
        /// Transaction that last set its data.
        mzxid: i64,
        /// Time of creation, Unix ms.
        ctime: i64,
        /// Time of the last change of its data, Unix ms.
        mtime: i64,
        /// Number of changes of its data.
        version: i32,
        /// Number of creations and deletions of children.
        cversion: i32,
        /// Number of changes of its ACL.
        aversion: i32,
        /// Session of an ephemeral; 0 for other znodes.
        ephemeral_owner: i64,
        /// Length of the data, bytes.
        data_length: i32,
        /// Number of direct children.
        num_children: i32,
        /// Transaction that last created or deleted a child.
        pzxid: i64,
    }
    /// One identity of a connection, in the form that whoAmI shows.
    ClientInfo<'a> {
        /// Scheme.
        auth_scheme: Option<Text<'a>>,
        /// User, without secrets.
        user: Option<Text<'a>>,
    }

    /// The first frame of a connection, without the optional `readOnly` byte (see
    /// [`ConnectRequest::decode_with_read_only`]).
    ConnectRequest<'a> {
        /// 0; ignored.
        protocol_version: i32,
        /// The highest zxid the client has seen.
        last_zxid_seen: i64,
        /// Requested session timeout, ms; clamped.
        timeout_ms: i32,
        /// 0 for a new session.
        session_id: i64,
        /// Session password, 16 bytes; null is accepted.
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
    /// Header of every request.
    RequestHeader {
        /// Number of the request, echoed in the reply.
        xid: i32,
        /// An [`crate::OpCode`].
        op: i32,
    }
    /// Header of every reply and notification, 16 bytes.
    ReplyHeader {
        /// The xid of the request.
        xid: i32,
        /// The last zxid the server has applied.
        zxid: i64,
        /// An [`crate::ErrorCode`], or 0.
        err: i32,
    }

    /// Request of operations 1, 15 and 19.
    CreateRequest<'a> {
        /// Full path, before any sequence suffix.
        path: Option<Text<'a>>,
        /// Data; null is kept as null.
        data: Option<&'a [u8]>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// A [`crate::op::CreateMode`].
        flags: i32,
    }
    /// Request of operation 21.
    CreateTtlRequest<'a> {
        /// Full path, before any sequence suffix.
        path: Option<Text<'a>>,
        /// Data; null is kept as null.
        data: Option<&'a [u8]>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// A [`crate::op::CreateMode`].
        flags: i32,
        /// Ttl, ms.
        ttl: i64,
    }
    /// Response to operation 1.
    CreateResponse<'a> {
        /// Full path, with its sequence suffix.
        path: Option<Text<'a>>,
    }
    /// Response to operations 15, 19 and 21.
    Create2Response<'a> {
        /// Full path, with its sequence suffix.
        path: Option<Text<'a>>,
        /// Stat of the new znode.
        stat: Stat,
    }
    /// Request of operation 2.
    DeleteRequest<'a> {
        /// Path of the znode.
        path: Option<Text<'a>>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Request of operations 3, 4, 8 and 12.
    ReadRequest<'a> {
        /// Path of the znode.
        path: Option<Text<'a>>,
        /// Whether to set a one-shot watch.
        watch: bool,
    }
    /// Response to operations 3, 5 and 7.
    StatResponse {
        /// Stat of the znode.
        stat: Stat,
    }
    /// Response to operation 4.
    GetDataResponse<'a> {
        /// Data; null if it was created as null.
        data: Option<&'a [u8]>,
        /// Stat of the znode.
        stat: Stat,
    }
    /// Response to operation 8.
    GetChildrenResponse<'a> {
        /// Names, in no order.
        children: Option<Vec<Text<'a>>>,
    }
    /// Response to operation 12.
    GetChildren2Response<'a> {
        /// Names, in no order.
        children: Option<Vec<Text<'a>>>,
        /// Stat of the parent.
        stat: Stat,
    }
    /// Request of operation 5.
    SetDataRequest<'a> {
        /// Path of the znode.
        path: Option<Text<'a>>,
        /// Data; null is kept as null.
        data: Option<&'a [u8]>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Request of operations 6, 9, 103 and 104, and response to 9: a path and nothing else.
    PathRecord<'a> {
        /// Path of a znode, or a prefix.
        path: Option<Text<'a>>,
    }
    /// Response to operation 6.
    GetAclResponse<'a> {
        /// ACL, with digests masked for clients that may only read.
        acl: Option<Vec<Acl<'a>>>,
        /// Stat of the znode.
        stat: Stat,
    }
    /// Request of operation 7.
    SetAclRequest<'a> {
        /// Path of the znode.
        path: Option<Text<'a>>,
        /// Must not be null or empty.
        acl: Option<Vec<Acl<'a>>>,
        /// Expected aversion, -1 for any.
        version: i32,
    }
    /// Request of operation 13, only inside a multi.
    CheckVersionRequest<'a> {
        /// Path of the znode.
        path: Option<Text<'a>>,
        /// Expected version, -1 for any.
        version: i32,
    }
    /// Request of operation 16.
    ReconfigRequest<'a> {
        /// Lines `server.N=…`, separated by commas.
        joining_servers: Option<Text<'a>>,
        /// Ids, separated by commas.
        leaving_servers: Option<Text<'a>>,
        /// The complete new membership, as an alternative to the other two.
        new_members: Option<Text<'a>>,
        /// Expected configuration version, -1 for any.
        cur_config_id: i64,
    }
    /// Request of operations 17 and 18.
    WatchesRequest<'a> {
        /// Exact path of the watches.
        path: Option<Text<'a>>,
        /// A [`crate::op::WatcherType`].
        watcher_type: i32,
    }
    /// Request of operation 106.
    AddWatchRequest<'a> {
        /// Path of the watch.
        path: Option<Text<'a>>,
        /// A [`crate::op::AddWatchMode`].
        mode: i32,
    }
    /// Response to operation 106, and an error in a multi result.
    ErrorResponse {
        /// An [`crate::ErrorCode`], or 0.
        err: i32,
    }
    /// Request of operation 101.
    SetWatches<'a> {
        /// The highest zxid the client saw in a reply.
        relative_zxid: i64,
        /// Watches set by getData, or by exists on a znode that existed.
        data_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by exists on a znode that did not exist.
        exist_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by getChildren.
        child_watches: Option<Vec<Option<Text<'a>>>>,
    }
    /// Request of operation 105.
    SetWatches2<'a> {
        /// The highest zxid the client saw in a reply.
        relative_zxid: i64,
        /// Watches set by getData, or by exists on a znode that existed.
        data_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by exists on a znode that did not exist.
        exist_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by getChildren.
        child_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by addWatch mode 0.
        persistent_watches: Option<Vec<Option<Text<'a>>>>,
        /// Watches set by addWatch mode 1.
        persistent_recursive_watches: Option<Vec<Option<Text<'a>>>>,
    }
    /// Request of operation 100.
    AuthPacket<'a> {
        /// 0; ignored.
        auth_type: i32,
        /// Scheme.
        scheme: Option<Text<'a>>,
        /// Credentials.
        auth: Option<&'a [u8]>,
    }
    /// Request of operation 102, and its response.
    SaslToken<'a> {
        /// One step of the exchange.
        token: Option<&'a [u8]>,
    }
    /// Response to operation 103.
    GetEphemeralsResponse<'a> {
        /// Full paths.
        ephemerals: Option<Vec<Text<'a>>>,
    }
    /// Response to operation 104.
    GetAllChildrenNumberResponse {
        /// Number of descendants at every depth.
        total_number: i32,
    }
    /// Response to operation 107.
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
    /// Header of each operation and result of a multi, 9 bytes.
    MultiHeader {
        /// An [`crate::OpCode`]; -1 at the end, and before an error.
        op: i32,
        /// True only at the end.
        done: bool,
        /// -1 in requests; 0 or an error code in results.
        err: i32,
    }
}

impl<'a> ConnectRequest<'a> {
    /// Decodes the request and its `readOnly` byte, which clients older than 3.4, Go and Node do not send.
    ///
    /// *Errors*: `Truncated`, `NegativeLength`.
    pub fn decode_with_read_only(frame: &'a [u8]) -> Result<(ConnectRequest<'a>, Option<bool>), DecodeError> {
        let mut reader = Reader::new(frame);
        let request = ConnectRequest::decode(&mut reader)?;
        Ok((request, bool::decode(&mut reader).ok()))
    }
}

impl<'a> Acl<'a> {
    /// Returns the same entry with owned text.
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
