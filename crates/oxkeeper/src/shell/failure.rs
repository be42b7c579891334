//! Failures of commands: the words ZooKeeper's shell prints, a code for programs, an exit code. Source:
//! `CliWrapperException`, `KeeperException.getCodeMessage`.

use std::io::ErrorKind;

use oxkeeper_client::Error;
use oxkeeper_proto::ErrorCode;

/// The exit code of every other failure.
const EXIT_FAILED: u8 = 1;
/// ZooKeeper: the exit code of an unknown command.
const EXIT_NO_COMMAND: u8 = 127;
/// The exit code that shells give a process ended by SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// The failure of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For programs: a name of ZooKeeper's error codes, or one of `Usage`, `BadPath`, `BadValue`, `NotConnected`,
    /// `NoCommand`, `Partial`, `Interrupted`.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// The znode that the command was about.
    pub(super) path: Option<String>,
    /// The exit code of the process if the command is its last.
    pub(super) exit: u8,
}

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.to_owned(), message: message.into(), path: None, exit: EXIT_FAILED }
    }

    /// Makes the failure of a malformed command.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new("Usage", message)
    }

    /// Makes the failure of a command with an invalid value.
    pub(super) fn value(message: impl Into<String>) -> Failure {
        Failure::new("BadValue", message)
    }

    /// Makes the failure of an unknown command.
    pub(super) fn no_command(name: &str) -> Failure {
        // ZooKeeper: says it twice.
        let message = format!("Command not found: Command not found {name}");
        Failure { exit: EXIT_NO_COMMAND, ..Failure::new("NoCommand", message) }
    }

    /// Makes the failure of a command that Ctrl-C cancelled.
    pub(super) fn interrupted() -> Failure {
        let message = "Interrupted. Requests that were sent may still take effect";
        Failure { exit: EXIT_INTERRUPTED, ..Failure::new("Interrupted", message) }
    }

    /// Makes the failure of a request about `path`.
    pub(super) fn refused(error: &Error, path: Option<&str>) -> Failure {
        let mut failure = Failure::new(&code_of(error), message_of(error, path));
        if let Some(reason) = reason_of(error) {
            failure.add_reason(&reason);
        }
        Failure { path: path.map(str::to_owned), ..failure }
    }

    /// Adds a reason behind ZooKeeper's words.
    pub(super) fn add_reason(&mut self, reason: &str) {
        self.message += &format!(" ({reason})");
    }

    /// Whether there is no connection, or no longer one.
    pub(super) fn is_connection_loss(&self) -> bool {
        self.code == "ConnectionLoss"
    }

    /// Whether the server does not have the znode.
    pub(super) fn is_no_node(&self) -> bool {
        self.code == "NoNode"
    }
}

/// Attaches a path to the errors of requests.
pub(super) trait At<T> {
    /// Attaches the path of the znode that the request was about.
    fn at(self, path: &str) -> Result<T, Failure>;
    /// Attaches no path, because the request was not about a znode.
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

/// Says why the connection was lost, unless it was lost before the request.
fn reason_of(error: &Error) -> Option<String> {
    match error {
        Error::Server(_) | Error::UnknownCode(_) | Error::SessionExpired => None,
        Error::ConnectionLost(ErrorKind::NotConnected) => None,
        Error::ConnectionLost(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Some("the server closed the connection".to_owned())
        }
        Error::UnknownHost(_)
        | Error::Io(_)
        | Error::ConnectionLost(_)
        | Error::Tls(_)
        | Error::HandshakeTimeout
        | Error::Silent
        | Error::Decode(_)
        | Error::FrameLength(_)
        | Error::OutOfOrder { .. }
        | Error::EventsOverflow => Some(error.to_string()),
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

/// The message of `KeeperException.getMessage`.
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
