//! Types for ids, so that they cannot be confused with other integers.

use std::fmt;

/// A ZooKeeper transaction id: epoch in the high 32 bits, counter in the low 32. Totally ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Makes the zxid of `counter` in `epoch`.
    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((i64::from(epoch) << 32) | i64::from(counter))
    }

    /// Returns the epoch, the high 32 bits.
    pub fn epoch(self) -> u32 {
        (self.0 as u64 >> 32) as u32
    }

    /// Returns the counter, the low 32 bits.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A session id. 0 means "none"; clients print it as unsigned hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: the id in a first ConnectRequest, and in the answer that says a session has expired.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// The id of a server in an ensemble: the `N` of `server.N` in the configuration.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u8);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Prints only the number, because messages show ids in lists and maps.
impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
