//! Error codes. Source: `KeeperException.Code`. Only codes that clients know, because an unknown one breaks
//! the Java client.

use crate::op::wire_enum;

wire_enum! {
    /// The `err` of a ReplyHeader, when it is not 0.
    ErrorCode {
        /// The server cannot execute the request now and has not executed it (here: the disk is full).
        SystemError = -1,
        /// In a multi result: not tried, because an earlier operation failed.
        RuntimeInconsistency = -2,
        /// The request body is not what its operation needs.
        Marshalling = -5,
        /// The operation does not exist or is switched off.
        Unimplemented = -6,
        /// A path, mode or ttl is not allowed.
        BadArguments = -8,
        /// Reconfiguration would leave no quorum.
        NewConfigNoQuorum = -13,
        /// Another reconfiguration is under way.
        ReconfigInProgress = -14,
        /// The znode, or the parent of a new one, does not exist.
        NoNode = -101,
        /// The ACL does not allow it.
        NoAuth = -102,
        /// The expected version is not the current one.
        BadVersion = -103,
        /// Ephemeral znodes have no children.
        NoChildrenForEphemerals = -108,
        /// The znode exists already.
        NodeExists = -110,
        /// The znode has children.
        NotEmpty = -111,
        /// The session has ended.
        SessionExpired = -112,
        /// The ACL is empty or malformed, or names an identity that does not exist.
        InvalidAcl = -114,
        /// Authentication was refused; the connection closes.
        AuthFailed = -115,
        /// The session belongs to another connection now.
        SessionMoved = -118,
        /// The server is read-only.
        NotReadOnly = -119,
        /// A local session may not own ephemerals.
        EphemeralOnLocalSession = -120,
        /// There is no such watch.
        NoWatcher = -121,
        /// Reconfiguration is switched off.
        ReconfigDisabled = -123,
        /// Authentication is required; the connection closes.
        SessionClosedRequireSaslAuth = -124,
        /// A hard quota would be exceeded.
        QuotaExceeded = -125,
        /// The request waited too long before its execution.
        ThrottledOp = -127,
    }
}
