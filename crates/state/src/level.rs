//! Feature levels: what a program knows, and what an ensemble has agreed to use.
//!
//! Each program knows all levels up to its own highest, [`Level::KNOWN`]. The state holds the level
//! that its servers have agreed on; a log entry raises it once every member knows the next one, and
//! nothing lowers it. Everything that a program of a lower level could not read or would apply
//! differently depends on the agreed level: kinds of log entries, operations, switches of commands,
//! rules of `apply`, layouts of records. A log is thus applied alike by every program that knows
//! its levels.
//!
//! | level | brings |
//! |---|---|
//! | 0 | data written before there were levels, and imported data |
//! | 1 | the level itself in the state; switches of commands beyond the first eight; renewals |
//!
//! To add a level: raise [`Level::KNOWN`], add a row for the new constant above, and check
//! [`State::level`](crate::State::level) wherever the new behaviour begins.

use std::fmt;

use oxkeeper_proto::{DecodeError, Jute, Reader};

/// A feature level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u32);

impl Level {
    /// Data written before there were levels.
    pub const NONE: Level = Level(0);
    /// Commands may have switches beyond the first eight.
    pub const WIDE_SETTINGS: Level = Level(1);
    /// The highest level of this program.
    pub const KNOWN: Level = Level::WIDE_SETTINGS;
    /// The level of a future version; see [`next_version`](crate::next_version).
    #[cfg(feature = "next-version")]
    pub const NEXT: Level = Level(Level::KNOWN.0 + 1);
    /// The highest level there is, including that of a future version.
    pub const LAST: Level = if cfg!(feature = "next-version") { Level(Level::KNOWN.0 + 1) } else { Level::KNOWN };

    /// Decodes a level as the durable tree stores it: a u32, possibly followed by fields of later
    /// levels. An empty slice stands for [`Level::NONE`]. *Errors*: the bytes are not a level.
    pub fn decode(bytes: &[u8]) -> Result<Level, DecodeError> {
        match bytes {
            [] => Ok(Level::NONE),
            bytes => i32::decode(&mut Reader::new(bytes)).map(|level| Level(level as u32)),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
