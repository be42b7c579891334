//! Quotas: the set of counted subtrees, and the text of their limit and statistics znodes.
//!
//! Source: `Quotas`, `StatsTrack`, `DataTree.updateQuotaStat`, `PathTrie`.

use std::collections::{BTreeMap, BTreeSet};

/// Parent path of all quota znodes.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// Name of the znode that holds a subtree's limits.
pub const LIMITS: &str = "zookeeper_limits";
/// Name of the znode that holds a subtree's usage.
pub const STATS: &str = "zookeeper_stats";

/// The subtrees that have limits.
#[derive(Debug, Default)]
pub struct Quotas {
    prefixes: BTreeSet<String>,
}

impl Quotas {
    /// Returns the deepest counted subtree that contains `path`.
    pub fn prefix_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.prefixes.is_empty() {
            return None;
        }
        ancestors_and_self(path).find(|prefix| self.prefixes.contains(*prefix))
    }

    /// Returns every counted subtree.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.prefixes.iter().map(String::as_str)
    }

    /// Starts or stops counting a subtree. The root is never counted.
    pub(crate) fn set(&mut self, prefix: &str, counted: bool) {
        if counted && prefix.starts_with('/') {
            self.prefixes.insert(prefix.to_owned());
        } else {
            self.prefixes.remove(prefix);
        }
    }
}

/// Returns `path` and every path above it except the root, deepest first.
pub fn ancestors_and_self(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
        .take_while(|p| !p.is_empty())
}

/// Returns the path of the znode with the limits of `prefix`.
pub fn limits_path(prefix: &str) -> String {
    format!("{QUOTA_ROOT}{prefix}/{LIMITS}")
}

/// Returns the path of the znode with the usage of `prefix`.
pub fn stats_path(prefix: &str) -> String {
    format!("{QUOTA_ROOT}{prefix}/{STATS}")
}

/// Contents of a limits or statistics znode: `count=1,bytes=2`, with hard limits after a stray `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    values: BTreeMap<String, i64>,
}

impl Track {
    /// Parses the text; missing or malformed values count as unlimited.
    pub fn parse(data: Option<&[u8]>) -> Track {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let key = parts.next().filter(|key| !key.is_empty())?;
            Some((key.to_owned(), parts.next()?.parse().unwrap_or(-1)))
        });
        Track { values: pairs.collect() }
    }

    /// Parses the text as strictly as a check of hard limits does. Returns `None` if it is
    /// malformed.
    // ZooKeeper: throws an exception for null, for a pair without a value (`count=`) and for a value that is
    // not a number.
    pub fn strict(data: Option<&[u8]>) -> Option<Track> {
        const SEPARATORS: [char; 2] = [',', ';'];
        let text = String::from_utf8_lossy(data?);
        let text = text.trim_end_matches(SEPARATORS);
        if text.is_empty() {
            return Some(Track::default());
        }
        if text.starts_with(SEPARATORS) {
            return None;
        }
        let pairs = text.split(SEPARATORS).filter(|pair| !pair.is_empty()).map(|pair| {
            let mut parts = pair.trim_end_matches('=').split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            Some((key.to_owned(), if value.is_empty() { -1 } else { value.parse().ok()? }))
        });
        Some(Track { values: pairs.collect::<Option<_>>()? })
    }

    fn value(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    /// Returns the number of znodes; -1 is unlimited.
    pub fn count(&self) -> i64 {
        self.value("count")
    }

    /// Returns the bytes of data; -1 is unlimited.
    pub fn bytes(&self) -> i64 {
        self.value("bytes")
    }

    /// Returns the enforced limit on znodes; -1 is unlimited.
    pub fn count_hard(&self) -> i64 {
        self.value("countHardLimit")
    }

    /// Returns the enforced limit on bytes of data; -1 is unlimited.
    pub fn bytes_hard(&self) -> i64 {
        self.value("byteHardLimit")
    }

    /// Sets the usage.
    pub fn set_usage(&mut self, count: i64, bytes: i64) {
        self.values.insert("count".to_owned(), count);
        self.values.insert("bytes".to_owned(), bytes);
    }

    /// Returns the text, as the reference writes it.
    pub fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count(), self.bytes());
        let others = self.values.iter().filter(|(key, _)| *key != "count" && *key != "bytes");
        for (position, (key, value)) in others.enumerate() {
            // ZooKeeper: the stray `=` makes older parsers ignore what follows.
            text.push_str(if position == 0 { "=;" } else { ";" });
            text.push_str(&format!("{key}={value}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let check = |text: &str| assert_eq!(Track::parse(Some(text.as_bytes())).text(), text);
        check("count=2,bytes=5");
        check("count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2");
        assert_eq!(Track::parse(None).text(), "count=-1,bytes=-1");
        assert_eq!(Track::parse(Some(b"count=,bytes=7")).text(), "count=-1,bytes=7");
    }

    #[test]
    fn what_is_malformed_is_told_where_limits_refuse() {
        let check = |text: &str, expected: Option<(i64, i64)>| {
            let track = Track::strict(Some(text.as_bytes()));
            assert_eq!(track.map(|track| (track.count(), track.count_hard())), expected, "{text:?}");
        };
        check("", Some((-1, -1)));
        check(";,", Some((-1, -1)));
        check("count=1,bytes=2", Some((1, -1)));
        check("count=+1,bytes=-1=;;countHardLimit=7;", Some((1, 7)));
        check("count==5,=3", Some((-1, -1)));
        check("count=,bytes=1", None);
        check("count=1,bytes", None);
        check("count=x", None);
        check(",count=1", None);
        check("=", None);
        assert_eq!(Track::strict(None), None);
    }

    #[test]
    fn the_deepest_prefix_counts() {
        let mut quotas = Quotas::default();
        quotas.set("/a", true);
        quotas.set("/a/b", true);
        assert_eq!(quotas.prefix_of("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.prefix_of("/a/bc"), Some("/a"));
        assert_eq!(quotas.prefix_of("/b"), None);
    }
}
