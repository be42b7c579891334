//! The loss of a server: it ends a measurement early, but what was measured until then counts.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use anyhow::Result;

/// A server that no longer answers.
#[derive(Debug)]
pub(super) struct Lost(String);

impl Lost {
    /// The connection to `server` ended.
    pub(super) fn connection(server: SocketAddr, reason: impl fmt::Display) -> Lost {
        Lost(format!("lost the server {server}: {reason}"))
    }

    /// No connection to `server` can be made.
    pub(super) fn no_connection(server: SocketAddr, reason: impl fmt::Display) -> Lost {
        Lost(format!("cannot connect to {server}: {reason}"))
    }

    /// No server has answered for `seconds`.
    pub(super) fn silent(seconds: u64) -> Lost {
        Lost(format!("no server has answered for {seconds} s"))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Lost {}

/// Returns the loss that ended a measurement, if one did.
///
/// *Errors*: every other reason.
pub(super) fn loss(measured: Result<()>) -> Result<Option<Lost>> {
    match measured {
        Ok(()) => Ok(None),
        Err(error) => error.downcast().map(Some),
    }
}
