//! Why a command failed: the words ZooKeeper's shell prints, a code for programs, an exit code. Source:
//! `CliWrapperException`, `KeeperException.getCodeMessage`.

use oxkeeper_client::Error;
use oxkeeper_proto::ErrorCode;

/// Of everything ZooKeeper's shell has no code of its own for.
const EXIT_FAILED: u8 = 1;
/// ZooKeeper: there is no such command.
const EXIT_NO_COMMAND: u8 = 127;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For programs: a name of ZooKeeper's error codes, or one of `Usage`, `BadPath`, `BadValue`, `NotConnected`,
    /// `NoCommand`, `Partial`.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// The znode it is about.
    pub(super) path: Option<String>,
    /// Of the process, when the command is its last.
    pub(super) exit: u8,
}

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.to_owned(), message: message.into(), path: None, exit: EXIT_FAILED }
    }

    /// The command is not written as it must be.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new("Usage", message)
    }

    /// A value of the command is none.
    pub(super) fn value(message: impl Into<String>) -> Failure {
        Failure::new("BadValue", message)
    }

    /// There is no such command.
    pub(super) fn no_command(name: &str) -> Failure {
        // ZooKeeper: says it twice.
        let message = format!("Command not found: Command not found {name}");
        Failure { exit: EXIT_NO_COMMAND, ..Failure::new("NoCommand", message) }
    }

    /// What came of a request about `path`.
    pub(super) fn refused(error: &Error, path: Option<&str>) -> Failure {
        let failure = Failure::new(&code_of(error), message_of(error, path));
        Failure { path: path.map(str::to_owned), ..failure }
    }

    /// There is no connection, or there is none any more.
    pub(super) fn is_connection_loss(&self) -> bool {
        self.code == "ConnectionLoss"
    }

    /// The server said that there is no such znode.
    pub(super) fn is_no_node(&self) -> bool {
        self.code == "NoNode"
    }
}

/// Attaches a path to the errors of requests.
pub(super) trait At<T> {
    /// The request was about this znode.
    fn at(self, path: &str) -> Result<T, Failure>;
    /// The request was about none.
    fn nowhere(self) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Error> {
    fn at(self, path: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::refused(&error, Some(path)))
    }

    fn nowhere(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::refused(&error, None))
    }
}

fn code_of(error: &Error) -> String {
    if let Error::Server(code) = error {
        format!("{code:?}")
    } else if let Error::UnknownCode(code) = error {
        format!("{code}")
    } else if let Error::SessionExpired = error {
        "SessionExpired".to_owned()
    } else {
        "ConnectionLoss".to_owned()
    }
}

fn message_of(error: &Error, path: Option<&str>) -> String {
    let Error::Server(code) = error else { return keeper_message(error, path) };
    let shown = path.unwrap_or("null");
    match code {
        ErrorCode::NoNode => format!("Node does not exist: {shown}"),
        ErrorCode::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {shown}"),
        ErrorCode::NodeExists => format!("Node already exists: {shown}"),
        ErrorCode::NotEmpty => format!("Node not empty: {shown}"),
        ErrorCode::NotReadOnly => format!("Not a read-only call: {shown}"),
        ErrorCode::InvalidAcl => format!("Acl is not valid : {shown}"),
        ErrorCode::NoAuth => format!("Insufficient permission : {shown}"),
        ErrorCode::BadArguments => format!("Arguments are not valid : {shown}"),
        ErrorCode::BadVersion => format!("version No is not valid : {shown}"),
        ErrorCode::ReconfigInProgress => {
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned()
        }
        ErrorCode::NewConfigNoQuorum => {
            "No quorum of new config is connected and up-to-date with the leader of last commmitted \
             config - try invoking reconfiguration after new servers are connected and synced"
                .to_owned()
        }
        ErrorCode::QuotaExceeded => format!("Quota has exceeded : {shown}"),
        ErrorCode::SystemError
        | ErrorCode::RuntimeInconsistency
        | ErrorCode::Marshalling
        | ErrorCode::Unimplemented
        | ErrorCode::SessionExpired
        | ErrorCode::AuthFailed
        | ErrorCode::SessionMoved
        | ErrorCode::EphemeralOnLocalSession
        | ErrorCode::NoWatcher
        | ErrorCode::ReconfigDisabled
        | ErrorCode::SessionClosedRequireSaslAuth
        | ErrorCode::ThrottledOp => keeper_message(error, path),
    }
}

/// What `KeeperException.getMessage` says.
pub(super) fn keeper_message(error: &Error, path: Option<&str>) -> String {
    let what = if let Error::Server(code) = error {
        words_of(*code).to_owned()
    } else if let Error::UnknownCode(code) = error {
        format!("Unknown error {code}")
    } else if let Error::SessionExpired = error {
        "Session expired".to_owned()
    } else {
        "ConnectionLoss".to_owned()
    };
    match path.filter(|path| !path.is_empty()) {
        Some(path) => format!("KeeperErrorCode = {what} for {path}"),
        None => format!("KeeperErrorCode = {what}"),
    }
}

fn words_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::SystemError => "SystemError",
        ErrorCode::RuntimeInconsistency => "RuntimeInconsistency",
        ErrorCode::Marshalling => "MarshallingError",
        ErrorCode::Unimplemented => "Unimplemented",
        ErrorCode::BadArguments => "BadArguments",
        ErrorCode::NewConfigNoQuorum => "NewConfigNoQuorum",
        ErrorCode::ReconfigInProgress => "ReconfigInProgress",
        ErrorCode::NoNode => "NoNode",
        ErrorCode::NoAuth => "NoAuth",
        ErrorCode::BadVersion => "BadVersion",
        ErrorCode::NoChildrenForEphemerals => "NoChildrenForEphemerals",
        ErrorCode::NodeExists => "NodeExists",
        ErrorCode::NotEmpty => "Directory not empty",
        ErrorCode::SessionExpired => "Session expired",
        ErrorCode::InvalidAcl => "InvalidACL",
        ErrorCode::AuthFailed => "AuthFailed",
        ErrorCode::SessionMoved => "Session moved",
        ErrorCode::NotReadOnly => "Not a read-only call",
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session",
        ErrorCode::NoWatcher => "No such watcher",
        ErrorCode::ReconfigDisabled => "Reconfig is disabled",
        ErrorCode::SessionClosedRequireSaslAuth => "Session closed because client failed to authenticate",
        ErrorCode::QuotaExceeded => "Quota has exceeded",
        ErrorCode::ThrottledOp => "Op throttled due to high load",
    }
}
