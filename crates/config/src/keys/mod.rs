//! The table of all keys, each defined once: name, form, kind, unit, default, and effect in this server.
//!
//! The parser, `oxkeeper config check` and the generated documentation are derived from this table.
//! To add a key, add a row: [`common`] for one server, [`ensemble`] for several, [`security`] for
//! identities and TLS, [`operations`] for monitoring and for features that only a JVM has.
//! Invariant: names are unique, and every default is a valid value of the key's own kind (tests below).
//! Source: `QuorumPeerConfig#parseProperties` and every system property that the server reads.

mod common;
mod ensemble;
mod operations;
mod security;
mod tls;

use super::Config;
use super::draft::Draft;
use super::properties::Source;

/// Sources in which a key may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Only a line of the file, which ZooKeeper itself interprets. A wrong value prevents the start.
    File,
    /// A line `key=` of the file, which becomes the JVM property `zookeeper.key`, or `-Dzookeeper.key=`; the
    /// file takes precedence. A number that cannot be parsed counts as absent, a flag as false.
    Property,
    /// A line of the file, which ZooKeeper interprets; without a line there, `-Dzookeeper.key=` counts.
    FileOrProperty,
    /// The sources of [`Form::Property`], and also `-Dkey=` without the prefix.
    EitherProperty,
    /// Only `-Dkey=`. A line of the file would become `zookeeper.key`, which nothing reads.
    BareProperty,
}

/// Kind of a key's values, and the setter for the field of the draft.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A whole number from `min` to `max`.
    Int {
        /// Least value. A smaller property counts as `min`; a smaller value in a line of form [`Form::File`] is wrong.
        min: i64,
        /// Greatest value.
        max: i64,
        /// Setter.
        set: fn(&mut Draft, i64),
    },
    /// A number with a fraction.
    Real(fn(&mut Draft, f64)),
    /// `true` or `false`.
    Flag(fn(&mut Draft, bool)),
    /// True for exactly this text, false for all others.
    Only(&'static str, fn(&mut Draft, bool)),
    /// Free text.
    Text(fn(&mut Draft, &str) -> Result<(), String>),
    /// A family of keys; the setter also gets the part that matches the `*` of the name.
    Family(fn(&mut Draft, &str, &str) -> Result<(), String>),
}

/// Default of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// This value.
    Is(&'static str),
    /// A value that depends on other keys, in words.
    Derived(&'static str),
    /// No value.
    None,
}

/// Effect of a key in this server.
#[derive(Clone, Copy)]
pub(super) enum Here {
    /// The key has its effect.
    Used,
    /// The key has no effect, for this reason.
    Ignored(&'static str),
    /// The feature does not exist in this build. A server with a configuration that asks for it must not start.
    Unserved {
        /// Returns whether the configuration asks for the feature.
        when: fn(&Config) -> bool,
        /// The feature.
        what: &'static str,
    },
}

/// A chapter of the documentation. Keys without an effect have a separate chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Keys that most configurations set.
    Common,
    /// Identities, ACLs and TLS.
    Security,
    /// Keys of ensembles.
    Ensemble,
    /// Limits and intervals.
    Limits,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Name in the file. A name that ends in `*` is a family.
    pub(super) name: &'static str,
    /// Sources in which the key may be written.
    pub(super) form: Form,
    /// Kind of its values.
    pub(super) kind: Kind,
    /// Unit of the value; empty if there is none.
    pub(super) unit: &'static str,
    /// Default.
    pub(super) default: Default,
    /// A sentence for the documentation: the key's effect here, or in ZooKeeper if it has none here.
    pub(super) about: &'static str,
    /// The chapter of the documentation.
    pub(super) group: Group,
    /// Effect in this server.
    pub(super) here: Here,
    /// A value that asks for an important feature that does not exist here; it causes a warning although the
    /// key has no effect.
    pub(super) missed: Option<&'static str>,
}

impl Key {
    /// Makes a row for a key that is used and has neither unit nor default.
    const fn new(group: Group, name: &'static str, form: Form, kind: Kind, about: &'static str) -> Self {
        Key { name, form, kind, unit: "", default: Default::None, about, group, here: Here::Used, missed: None }
    }

    const fn common(name: &'static str, form: Form, kind: Kind, about: &'static str) -> Self {
        Key::new(Group::Common, name, form, kind, about)
    }

    const fn security(name: &'static str, form: Form, kind: Kind, about: &'static str) -> Self {
        Key::new(Group::Security, name, form, kind, about)
    }

    const fn ensemble(name: &'static str, form: Form, kind: Kind, about: &'static str) -> Self {
        Key::new(Group::Ensemble, name, form, kind, about)
    }

    const fn limit(name: &'static str, form: Form, kind: Kind, about: &'static str) -> Self {
        Key::new(Group::Limits, name, form, kind, about)
    }

    const fn unit(self, unit: &'static str) -> Self {
        Key { unit, ..self }
    }

    const fn default(self, value: &'static str) -> Self {
        Key { default: Default::Is(value), ..self }
    }

    const fn derived(self, words: &'static str) -> Self {
        Key { default: Default::Derived(words), ..self }
    }

    const fn ignored(self, why: &'static str) -> Self {
        Key { here: Here::Ignored(why), ..self }
    }

    /// Sets the value that causes a warning because it asks for an important feature that does not exist here.
    const fn missed(self, value: &'static str) -> Self {
        Key { missed: Some(value), ..self }
    }

    const fn unserved(self, when: fn(&Config) -> bool, what: &'static str) -> Self {
        Key { here: Here::Unserved { when, what }, ..self }
    }

    /// Returns the part of `written` that matches the `*` if it belongs to this row; empty for a plain name.
    fn matches<'a>(&self, written: &'a str) -> Option<&'a str> {
        match self.name.strip_suffix('*') {
            Some(prefix) => written.strip_prefix(prefix),
            None => (written == self.name).then_some(""),
        }
    }

    /// Returns whether a wrong value must prevent the start. A wrong property of the JVM does not.
    pub(super) fn is_strict(&self, source: Source) -> bool {
        matches!(self.form, Form::File | Form::FileOrProperty) && source != Source::JvmFlags
    }

    /// Parses `value` and stores it. `suffix` comes from [`find`], together with the key.
    ///
    /// *Errors*: `value` is not of this kind.
    pub(super) fn apply(&self, draft: &mut Draft, suffix: &str, value: &str, source: Source) -> Result<(), String> {
        let strict = self.is_strict(source);
        match self.kind {
            Kind::Int { min, max, set } => set(draft, parse_int(value, min, max, strict)?),
            Kind::Real(set) => set(draft, value.parse().map_err(|_| format!("{value:?} is not a number"))?),
            Kind::Flag(set) => {
                let flag = Self::parse_flag(value);
                // ZooKeeper: any text but `true` makes a property false, even if its default is true.
                if flag.is_ok() || !strict {
                    set(draft, flag.as_ref().copied().unwrap_or(false));
                }
                flag?;
            }
            Kind::Only(word, set) => set(draft, value == word),
            Kind::Text(set) => set(draft, value)?,
            Kind::Family(set) => set(draft, suffix, value)?,
        }
        Ok(())
    }

    fn parse_flag(text: &str) -> Result<bool, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(format!("{text:?} must be true or false"))
        }
    }

    /// Returns the kind as one word, for people.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Int { .. } => "number",
            Kind::Real(_) => "fraction",
            Kind::Flag(_) => "true/false",
            Kind::Only("yes", _) | Kind::Only("no", _) => "yes/no",
            Kind::Only("true", _) | Kind::Only("false", _) => "true/false",
            Kind::Only(_, _) | Kind::Text(_) | Kind::Family(_) => "text",
        }
    }
}

fn parse_int(text: &str, min: i64, max: i64, strict: bool) -> Result<i64, String> {
    let number = if strict { text.parse().ok() } else { decode_java_number(text) };
    match number {
        None => Err(format!("{text:?} is not a whole number")),
        Some(number) if number > max => Err(format!("{number} is too large: the maximum is {max}")),
        Some(number) if number < min && strict => Err(format!("{number} is too small: the minimum is {min}")),
        Some(number) => Ok(number.max(min)),
    }
}

/// Parses a number like Java's `Long.decode`: decimal, `0x…`, `#…` or octal `0…`, with a sign.
fn decode_java_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).or_else(|| digits.strip_prefix('#'));
    let (radix, digits) = match hex {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    let first_is_digit = digits.chars().next().is_some_and(|c| c.is_digit(radix)); // one sign only
    let magnitude = first_is_digit.then(|| i128::from_str_radix(digits, radix).ok()).flatten()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// Returns all rows, in the order of the documentation.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    let rows = [common::KEYS, ensemble::KEYS, security::KEYS];
    rows.into_iter().flatten().chain(tls::keys()).chain(operations::KEYS)
}

/// Returns the row for a key as written in a file, and the part that matches its `*`. A full name takes
/// precedence over a family, and a longer family over a shorter one.
pub(super) fn find(written: &str) -> Option<(&'static Key, &str)> {
    all()
        .filter_map(|key| key.matches(written).map(|suffix| (key, suffix)))
        .max_by_key(|(key, _)| (!key.name.ends_with('*'), key.name.len()))
}

/// Names that are in the administrator's guide but that no version ever read, with the names that work.
const MISNOMERS: &[(&str, &str)] = &[
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
    ("maxclientcnxns", "maxClientCnxns"),
];

/// Returns the key that the author of `written` probably meant.
pub(super) fn suggest(written: &str) -> Option<&'static str> {
    let bare = written.strip_prefix("zookeeper.").unwrap_or(written);
    if let Some((_, right)) = MISNOMERS.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(bare)) {
        return Some(right);
    }
    let distance = |key: &&'static Key| edit_distance(&bare.to_ascii_lowercase(), &key.name.to_ascii_lowercase());
    let (nearest, distance) = all().map(|key| (key, distance(&key))).min_by_key(|&(_, distance)| distance)?;
    let tolerated = (bare.chars().count() / 4).clamp(1, 3);
    (distance <= tolerated && nearest.name != written).then_some(nearest.name)
}

/// Returns the number of insertions, deletions and replacements between two texts.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

const INT_MIN: i64 = i32::MIN as i64;
const INT_MAX: i64 = i32::MAX as i64;

/// Returns the kind of a Java `int` of at least `min`.
const fn int(min: i64, set: fn(&mut Draft, i64)) -> Kind {
    Kind::Int { min, max: INT_MAX, set }
}

/// Returns the kind of a Java `long` of at least `min`.
const fn long(min: i64, set: fn(&mut Draft, i64)) -> Kind {
    Kind::Int { min, max: i64::MAX, set }
}

/// Returns the kind of a TCP port.
const fn port(set: fn(&mut Draft, i64)) -> Kind {
    Kind::Int { min: 0, max: u16::MAX as i64, set }
}

/// Converts a number to a narrower type; the row's range ensures that it fits.
fn fit<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).ok().expect("the row's range lies within the field's type")
}

/// Kinds of values that are checked as in ZooKeeper but not stored.
mod unused {
    use super::{INT_MIN, Kind, int, long};

    pub(super) const INT: Kind = int(INT_MIN, |_, _| {});
    pub(super) const LONG: Kind = long(i64::MIN, |_, _| {});
    pub(super) const REAL: Kind = Kind::Real(|_, _| {});
    pub(super) const FLAG: Kind = Kind::Flag(|_, _| {});
    pub(super) const LOOSE_FLAG: Kind = Kind::Only("true", |_, _| {});
    pub(super) const TEXT: Kind = Kind::Text(|_, _| Ok(()));
    pub(super) const FAMILY: Kind = Kind::Family(|_, _, _| Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_unique_and_defaults_are_legal() {
        let mut names: Vec<_> = all().map(|key| key.name).collect();
        for key in all() {
            if let Default::Is(value) = key.default {
                key.apply(&mut Draft::empty(), "", value, Source::File)
                    .unwrap_or_else(|error| panic!("{}: {error}", key.name));
            }
            assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{}: {}", key.name, key.about);
        }
        names.sort_unstable();
        let total = names.len();
        names.dedup();
        assert_eq!(names.len(), total, "a key is defined twice");
    }

    #[test]
    fn every_misnomer_leads_to_a_key() {
        for (wrong, right) in MISNOMERS {
            assert!(find(right).is_some_and(|(key, _)| key.name == *right), "{right}");
            assert!(find(wrong).is_none(), "{wrong} is a key");
        }
    }

    #[test]
    fn misspellings_are_recognised() {
        let cases = [
            ("ticktime", Some("tickTime")),
            ("tickTme", Some("tickTime")),
            ("datadir", Some("dataDir")),
            ("maxClientCnxn", Some("maxClientCnxns")),
            ("4lw.commands.whitlist", Some("4lw.commands.whitelist")),
            ("zookeeper.snapCount", Some("snapCount")),
            ("requestThrottleLimit", Some("request_throttle_max_requests")),
            ("somethingElseEntirely", None),
            ("x", None),
        ];
        for (written, expected) in cases {
            assert_eq!(suggest(written), expected, "{written}");
        }
    }

    #[test]
    fn numbers_of_properties_are_decoded_as_java_decodes() {
        let cases = [
            ("10", Some(10)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x10", Some(16)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("-0x8000000000000000", Some(i64::MIN)),
            ("0x8000000000000000", None),
            ("", None),
            ("--1", None),
            ("0x-1", None),
            ("1k", None),
            (" 1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decode_java_number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_full_name_beats_a_family() {
        let names = |written| find(written).map(|(key, suffix)| (key.name, suffix));
        assert_eq!(names("metricsProvider.className"), Some(("metricsProvider.className", "")));
        assert_eq!(names("metricsProvider.maxQueueSize"), Some(("metricsProvider.*", "maxQueueSize")));
        assert_eq!(names("server.12"), Some(("server.*", "12")));
        assert_eq!(names("groupX"), Some(("group*", "X")));
        assert_eq!(names("servers"), None);
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "\\PC{0,20}|-?[0-9]{1,22}", suffix in "\\PC{0,4}|[0-9]{1,3}") {
            for key in all() {
                for source in [Source::File, Source::JvmFlags] {
                    let _ = key.apply(&mut Draft::empty(), &suffix, &value, source);
                }
            }
            let _ = suggest(&value);
        }
    }
}
