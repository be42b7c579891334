//! Operation codes, special xids and the small enumerations of the protocol. Source: `ZooDefs`, `CreateMode`,
//! `Watcher`.

/// Declares a closed enumeration with its wire values, once, in protocol order.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// Every value, in protocol order.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// Returns the value with this number on the wire.
            pub fn from_wire(value: i32) -> Option<$name> {
                match value {
                    $($value => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Returns the number on the wire.
            pub fn wire(self) -> i32 {
                self as i32
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// Operations of requests; the `type` of a RequestHeader.
    OpCode {
        /// CreateRequest → CreateResponse.
        Create = 1,
        /// DeleteRequest → nothing.
        Delete = 2,
        /// ExistsRequest → ExistsResponse.
        Exists = 3,
        /// GetDataRequest → GetDataResponse.
        GetData = 4,
        /// SetDataRequest → SetDataResponse.
        SetData = 5,
        /// GetACLRequest → GetACLResponse.
        GetAcl = 6,
        /// SetACLRequest → SetACLResponse.
        SetAcl = 7,
        /// GetChildrenRequest → GetChildrenResponse.
        GetChildren = 8,
        /// SyncRequest → SyncResponse.
        Sync = 9,
        /// Nothing → nothing.
        Ping = 11,
        /// GetChildren2Request → GetChildren2Response.
        GetChildren2 = 12,
        /// CheckVersionRequest, only inside a multi.
        Check = 13,
        /// Several writes, all or nothing.
        Multi = 14,
        /// CreateRequest → Create2Response.
        Create2 = 15,
        /// ReconfigRequest → GetDataResponse.
        Reconfig = 16,
        /// CheckWatchesRequest → nothing.
        CheckWatches = 17,
        /// RemoveWatchesRequest → nothing.
        RemoveWatches = 18,
        /// CreateRequest → Create2Response.
        CreateContainer = 19,
        /// Internal: the reaper of containers.
        DeleteContainer = 20,
        /// CreateTTLRequest → Create2Response.
        CreateTtl = 21,
        /// Several reads.
        MultiRead = 22,
        /// AuthPacket → nothing.
        Auth = 100,
        /// SetWatches → nothing.
        SetWatches = 101,
        /// GetSASLRequest → SetSASLResponse.
        Sasl = 102,
        /// GetEphemeralsRequest → GetEphemeralsResponse.
        GetEphemerals = 103,
        /// GetAllChildrenNumberRequest → GetAllChildrenNumberResponse.
        GetAllChildrenNumber = 104,
        /// SetWatches2 → nothing.
        SetWatches2 = 105,
        /// AddWatchRequest → ErrorResponse.
        AddWatch = 106,
        /// Nothing → WhoAmIResponse.
        WhoAmI = 107,
        /// Internal: a session begins.
        CreateSession = -10,
        /// Nothing → nothing, then the server closes the connection.
        CloseSession = -11,
        /// Internal: a session continues at the server that sends this. ZooKeeper has no such operation.
        ResumeSession = -12,
        /// Internal: a failed operation in a multi result or a log.
        Error = -1,
    }
}

/// Classes of operations, by the place of their execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpClass {
    /// Answered from the current state, or from the watches of the connection.
    Read,
    /// Goes through the log and gets a zxid there.
    Write,
    /// Changes nothing, and is ordered after everything that was decided before.
    Barrier,
    /// Concerns only the connection that sent it.
    Connection,
    /// Not sent by clients: used by servers, in logs, or within a multi.
    Internal,
}

impl OpCode {
    /// Returns the kind of operation.
    pub fn class(self) -> OpClass {
        match self {
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::GetChildren2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::MultiRead
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::AddWatch
            | OpCode::WhoAmI => OpClass::Read,
            OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::Reconfig
            | OpCode::CloseSession => OpClass::Write,
            OpCode::Sync => OpClass::Barrier,
            OpCode::Ping | OpCode::Auth | OpCode::Sasl | OpCode::SetWatches | OpCode::SetWatches2 => {
                OpClass::Connection
            }
            // ZooKeeper: it executes a client's deleteContainer without checking permissions; here clients cannot send
            // it.
            OpCode::Check | OpCode::CreateSession | OpCode::ResumeSession | OpCode::DeleteContainer | OpCode::Error => {
                OpClass::Internal
            }
        }
    }
}

wire_enum! {
    /// The `flags` of a CreateRequest: an enumeration, not a bit mask.
    CreateMode {
        /// Exists until it is deleted.
        Persistent = 0,
        /// Is deleted with its session.
        Ephemeral = 1,
        /// Persistent, with a sequence suffix.
        PersistentSequential = 2,
        /// Ephemeral, with a sequence suffix.
        EphemeralSequential = 3,
        /// In a multi it makes the operation a createContainer; elsewhere it equals `Persistent`, and the
        /// operation decides.
        Container = 4,
        /// Removed if it is unchanged and has no children for its ttl.
        PersistentWithTtl = 5,
        /// Like `PersistentWithTtl`, with a sequence suffix.
        PersistentSequentialWithTtl = 6,
    }
}

impl CreateMode {
    /// Returns whether the znode is deleted with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    /// Returns whether the server appends a sequence number to the name.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::PersistentSequentialWithTtl
        )
    }

    /// Returns whether the znode has a ttl.
    pub fn has_ttl(self) -> bool {
        matches!(self, CreateMode::PersistentWithTtl | CreateMode::PersistentSequentialWithTtl)
    }
}

wire_enum! {
    /// The `type` of a WatcherEvent that a server sends.
    EventType {
        /// The znode was created.
        NodeCreated = 1,
        /// The znode was deleted.
        NodeDeleted = 2,
        /// The znode's data was set.
        NodeDataChanged = 3,
        /// A child was created or deleted.
        NodeChildrenChanged = 4,
    }
}

wire_enum! {
    /// The `mode` of an AddWatchRequest.
    AddWatchMode {
        /// Stays after it has fired.
        Persistent = 0,
        /// Stays, and covers every descendant.
        PersistentRecursive = 1,
    }
}

wire_enum! {
    /// The `type` of CheckWatchesRequest and RemoveWatchesRequest.
    WatcherType {
        /// One-shot child watch.
        Children = 1,
        /// One-shot data or exists watch.
        Data = 2,
        /// Any watch at the path.
        Any = 3,
        /// Persistent watch.
        Persistent = 4,
        /// Persistent recursive watch.
        PersistentRecursive = 5,
    }
}

/// The xid of a notification.
pub const XID_NOTIFICATION: i32 = -1;
/// The xid of every ping reply, whatever the request carried.
pub const XID_PING: i32 = -2;
/// The xid that Java and C clients give an auth packet.
pub const XID_AUTH: i32 = -4;
/// The xid that Java and C clients give setWatches.
pub const XID_SET_WATCHES: i32 = -8;

/// The `state` of every WatcherEvent that a server sends: SyncConnected.
pub const STATE_SYNC_CONNECTED: i32 = 3;

/// Permission bits of an ACL entry.
pub mod perms {
    /// getData, getChildren, exists, check.
    pub const READ: i32 = 1;
    /// setData.
    pub const WRITE: i32 = 2;
    /// Creation of a child.
    pub const CREATE: i32 = 4;
    /// Deletion of a child.
    pub const DELETE: i32 = 8;
    /// setACL.
    pub const ADMIN: i32 = 16;
    /// All permissions.
    pub const ALL: i32 = 31;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_cannot_ask_for_is_internal() {
        let internal: Vec<_> = OpCode::ALL.iter().filter(|op| op.class() == OpClass::Internal).collect();
        let known =
            [OpCode::Check, OpCode::DeleteContainer, OpCode::CreateSession, OpCode::ResumeSession, OpCode::Error];
        assert_eq!(internal, known.iter().collect::<Vec<_>>());
        assert!(OpCode::ALL.iter().filter(|op| op.class() == OpClass::Barrier).eq([&OpCode::Sync]));
    }
}
