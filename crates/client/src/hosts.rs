//! A connect string: `host:port,host:port/chroot`. Source: `ConnectStringParser`.

use oxkeeper_proto::path::check_path;
use thiserror::Error;

/// Port of a host that is given without one.
const DEFAULT_PORT: u16 = 2181;

/// The servers to try, and the znode used as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    /// Host and port, in the order given.
    pub servers: Vec<(String, u16)>,
    /// Path that starts with `/`; empty for the real root.
    pub chroot: String,
}

/// Errors of a connect string.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConnectStringError {
    /// There is no server before the chroot.
    #[error("A HostProvider may not be empty!")]
    NoServer,
    /// The text after the colon is not a port.
    #[error("{0:?} is not a port: port must be 1–65535")]
    Port(String),
    /// The chroot is not a valid path.
    #[error("{0}")]
    Chroot(&'static str),
}

impl ConnectString {
    /// Parses `text`.
    ///
    /// *Errors*: each of [`ConnectStringError`].
    pub fn parse(text: &str) -> Result<ConnectString, ConnectStringError> {
        let (hosts, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            check_path(chroot).map_err(ConnectStringError::Chroot)?;
        }
        let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
        let servers = hosts.map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConnectStringError::NoServer);
        }
        Ok(ConnectString { servers, chroot: chroot.to_owned() })
    }
}

fn server(text: &str) -> Result<(String, u16), ConnectStringError> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or_default()),
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let number = if port.is_empty() { Some(DEFAULT_PORT) } else { port.parse().ok().filter(|&port| port > 0) };
    let number = number.ok_or_else(|| ConnectStringError::Port(port.to_owned()))?;
    Ok((host.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, servers: &[(&str, u16)], chroot: &str) {
        let servers = servers.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        let expected = ConnectString { servers, chroot: chroot.to_owned() };
        assert_eq!(ConnectString::parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn lists_ports_and_chroots() {
        check("localhost", &[("localhost", 2181)], "");
        check("a:1,b:2, c", &[("a", 1), ("b", 2), ("c", 2181)], "");
        check("a:1/", &[("a", 1)], "");
        check("a:1,b/x/y", &[("a", 1), ("b", 2181)], "/x/y");
        check("[::1]:7,[::2]", &[("::1", 7), ("::2", 2181)], "");
        check("a:", &[("a", 2181)], "");
    }

    #[test]
    fn what_is_none() {
        assert_eq!(ConnectString::parse("/x"), Err(ConnectStringError::NoServer));
        for port in ["x", "0", "-1", "99999"] {
            let error = ConnectString::parse(&format!("a:{port}")).expect_err("no port").to_string();
            assert_eq!(error, format!("{port:?} is not a port: port must be 1–65535"));
        }
        let ends = ConnectStringError::Chroot("Path must not end with / character");
        assert_eq!(ConnectString::parse("a/x/"), Err(ends));
    }
}
