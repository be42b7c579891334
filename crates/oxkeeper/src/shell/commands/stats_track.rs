//! The data of a quota's znodes. Source: `StatsTrack`.

use std::collections::BTreeMap;
use std::fmt;

pub(super) const COUNT: &str = "count";
pub(super) const BYTES: &str = "bytes";
pub(super) const COUNT_HARD: &str = "countHardLimit";
pub(super) const BYTES_HARD: &str = "byteHardLimit";

/// Limits or numbers by name; an absent one counts as -1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StatsTrack(pub(super) BTreeMap<String, i64>);

impl StatsTrack {
    /// Parses `key=value` pairs between `,` or `;`. Leaves out everything else.
    pub(super) fn parse(data: &[u8]) -> StatsTrack {
        let text = String::from_utf8_lossy(data);
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            Some((key.to_owned(), value.parse().unwrap_or(-1)))
        });
        StatsTrack(pairs.collect())
    }

    pub(super) fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }

    pub(super) fn set(&mut self, key: &str, value: i64) {
        self.0.insert(key.to_owned(), value);
    }
}

/// ZooKeeper: `=` and `;` behind the first two keep readers of 3.4 from the rest.
impl fmt::Display for StatsTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES))?;
        let others: Vec<_> = self.0.iter().filter(|(key, _)| ![COUNT, BYTES].contains(&key.as_str())).collect();
        if !others.is_empty() {
            f.write_str("=")?;
        }
        others.into_iter().try_for_each(|(key, value)| write!(f, ";{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_zookeeper_writes_it() {
        for text in ["count=5,bytes=-1", "count=-1,bytes=7=;byteHardLimit=9;countHardLimit=-1"] {
            assert_eq!(StatsTrack::parse(text.as_bytes()).to_string(), text);
        }
        assert_eq!(StatsTrack::parse(b"").to_string(), "count=-1,bytes=-1");
        assert_eq!(StatsTrack::parse(b"bytes=3,nonsense").to_string(), "count=-1,bytes=3");
    }
}
