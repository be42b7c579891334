//! The ensemble that a client wants to reach: a name in an auth packet of scheme `ensemble`, which
//! proves nothing and is not an identity. Source: `EnsembleAuthenticationProvider`.

use std::collections::BTreeSet;

/// The names of this ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleNames(Option<BTreeSet<String>>);

/// Expectation of a client about the ensemble's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// There is nothing to compare.
    None,
    /// The client expects this ensemble.
    Met,
    /// The client expects another ensemble.
    Failed,
}

impl EnsembleNames {
    /// Parses `ensembleAuthName`: names separated by commas. Without it no expectation fails.
    pub fn new(names: Option<&str>) -> EnsembleNames {
        // Java trims these characters.
        let trimmed = |name: &str| name.trim_matches(|c| c <= ' ').to_owned();
        EnsembleNames(names.map(|names| names.split(',').map(trimmed).collect()))
    }

    // ZooKeeper: names are trimmed where they are configured, and not where they are sent.
    pub(crate) fn check(&self, sent: Option<&[u8]>) -> Expectation {
        match (&self.0, sent) {
            (None, _) | (_, None | Some([])) => Expectation::None,
            (Some(names), Some(sent)) if names.contains(&*String::from_utf8_lossy(sent)) => Expectation::Met,
            (Some(_), Some(_)) => Expectation::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_those_configured() {
        let check = |names: Option<&str>, sent: Option<&[u8]>| EnsembleNames::new(names).check(sent);
        let names = Some(" a, b ,,\u{a0}c");
        for sent in [&b"a"[..], b"b", "\u{a0}c".as_bytes()] {
            assert_eq!(check(names, Some(sent)), Expectation::Met, "{sent:?}");
        }
        for sent in [&b"c"[..], b" a", b"b ", b"A", b"a, b", b",", b"\xff"] {
            assert_eq!(check(names, Some(sent)), Expectation::Failed, "{sent:?}");
            assert_eq!(check(Some(""), Some(sent)), Expectation::Failed, "{sent:?}");
            assert_eq!(check(None, Some(sent)), Expectation::None, "{sent:?}");
        }
        for sent in [None, Some(&b""[..])] {
            assert_eq!(check(names, sent), Expectation::None, "{sent:?}");
        }
    }
}
