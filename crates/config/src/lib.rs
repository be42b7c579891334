//! zoo.cfg and the JVM flags: their syntax, their meaning, and the effect of each line in this server.
//!
//! Two types separate syntax and meaning: [`Properties`] (keys and values with their lines) and [`Config`]
//! (typed, checked, units in the names). One table of [`keys`] connects them; the parser, `oxkeeper config
//! check` and the documentation are derived from it. Absent: looking up host names, creating directories, and
//! reading the environment: the caller passes its contents to [`Config::load`].
//!
//! Reading order: [`properties`], [`keys`], [`settings`], [`membership`], [`draft`], [`dynamic`], [`mod@explain`].
//! Source: `QuorumPeerConfig`, `ServerConfig`, `bin/zkServer.sh`.

mod draft;
mod dynamic;
mod explain;
mod keys;
mod load;
mod log_filter;
mod membership;
mod my_id;
mod properties;
mod settings;
#[cfg(test)]
mod tests;
mod word;

pub use draft::Problem;
pub use dynamic::ConfigFile;
pub use explain::{Explained, Verdict, explain, keys_markdown};
pub use load::ConfigError;
pub use log_filter::{LOG_VARIABLE, parse_log_filter};
pub use membership::members_of;
pub use membership::{MEMBERS_MAX, Member, Membership};
pub use oxkeeper_state::membership::HostPort;
pub use properties::{Properties, Property, Source, SyntaxError};
pub use settings::{Admin, AuditConfig, Config, Containers, Ensemble, Limits, Security, Storage, Tls};
pub use word::{Whitelist, Word};

/// Exit code of the process if its configuration is wrong (ZooKeeper's `INVALID_INVOCATION`).
pub const EXIT_CODE_INVALID: u8 = 2;
