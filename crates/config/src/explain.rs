//! Explains each line's effect in this server, for `oxkeeper config check` and for the list of keys in the
//! documentation.
//!
//! Owns the texts for the outcomes of [`super::draft`]. Invariant: there is one [`Explained`] for each
//! property, in order, and then one for each mistake that is not the fault of a line.

use std::collections::BTreeMap;
use std::fmt;

use super::draft::{Outcome, interpret};
use super::keys::{self, Default as KeyDefault, Form, Group, Here, Key};
use super::properties::{Properties, Property, Source};
use super::settings::Config;

/// Verdict on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The line has its effect.
    Used,
    /// The line has no effect and needs none.
    Ignored,
    /// The line has no effect because this key is not read from this source.
    Misplaced,
    /// There is no such key. ZooKeeper accepts it silently.
    Unknown,
    /// The value is wrong.
    Wrong,
    /// The line asks for a feature that this build does not have: the server does not start.
    Unserved,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Used => "used",
            Verdict::Ignored => "ignored",
            Verdict::Misplaced => "misplaced",
            Verdict::Unknown => "unknown",
            Verdict::Wrong => "wrong",
            Verdict::Unserved => "unserved",
        })
    }
}

/// One property and the verdict on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Line of the file, counted from 1.
    pub line: Option<usize>,
    /// Source of the property.
    pub source: Source,
    /// The key as written.
    pub key: String,
    /// The value as written; for a secret, only its length.
    pub value: String,
    /// The verdict.
    pub verdict: Verdict,
    /// A short reason.
    pub reason: String,
}

/// Explains every property, and every mistake.
pub fn explain(properties: &Properties) -> Vec<Explained> {
    let interpretation = interpret(properties);
    let entries = properties.entries().iter().zip(&interpretation.outcomes);
    let mut explained: Vec<_> = entries.map(|(p, outcome)| one(p, outcome, &interpretation.config)).collect();
    for problem in &interpretation.problems {
        let at =
            |e: &&mut Explained| e.key == problem.key && e.line == problem.line && Some(e.source) == problem.source;
        match explained.iter_mut().rev().find(at) {
            Some(line) => {
                line.verdict = Verdict::Wrong;
                line.reason.clone_from(&problem.message);
            }
            None => explained.push(Explained {
                line: None,
                source: Source::File,
                key: problem.key.clone(),
                value: String::new(),
                verdict: Verdict::Wrong,
                reason: problem.message.clone(),
            }),
        }
    }
    explained
}

fn one(property: &Property, outcome: &Outcome, config: &Config) -> Explained {
    let (verdict, reason) = match outcome {
        Outcome::Applied(key) => match key.here {
            Here::Used => (Verdict::Used, key.about.to_owned()),
            Here::Ignored(why) => (Verdict::Ignored, why.to_owned()),
            Here::Unserved { when, what } if when(config) => {
                (Verdict::Unserved, format!("oxkeeper does not support {what}"))
            }
            Here::Unserved { .. } => (Verdict::Used, key.about.to_owned()),
        },
        Outcome::Overridden(winner) => (Verdict::Ignored, format!("overridden {}", place(winner))),
        Outcome::Misplaced(why) => (Verdict::Misplaced, why.clone()),
        Outcome::Foreign => (Verdict::Ignored, "a property of the JVM".to_owned()),
        Outcome::Unknown(Some(meant)) => (Verdict::Unknown, format!("no such key; did you mean {meant}?")),
        Outcome::Unknown(None) => (Verdict::Unknown, "no such key".to_owned()),
        Outcome::Wrong { message, .. } => (Verdict::Wrong, message.clone()),
    };
    let value = if is_secret(&property.key) { "…".to_owned() } else { property.value.clone() };
    Explained { line: property.line, source: property.source, key: property.key.clone(), value, verdict, reason }
}

fn place(property: &Property) -> String {
    match property.line {
        Some(line) => format!("by line {line}"),
        None => format!("by the {}", property.source),
    }
}

/// Returns the properties that ZooKeeper's JVM would have: those of its command line, and all lines of the
/// file that ZooKeeper does not interpret. Leaves out secrets.
pub(super) fn system_properties(properties: &Properties) -> BTreeMap<String, String> {
    let name = |property: &Property| match (property.source, keys::find(&property.key)) {
        (Source::JvmFlags, _) => Some(property.key.clone()),
        (Source::File, Some((key, _))) if matches!(key.form, Form::File | Form::FileOrProperty) => None,
        (Source::File, _) => Some(format!("zookeeper.{}", property.key)),
        (Source::DynamicFile | Source::CommandLine | Source::Environment, _) => None,
    };
    let value = |property: &Property| match is_secret(&property.key) {
        true => "…".to_owned(),
        false => property.value.clone(),
    };
    properties.entries().iter().filter_map(|property| Some((name(property)?, value(property)))).collect()
}

/// Returns whether the key's value must not be printed.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    (key.contains("password") && !key.ends_with("passwordpath")) || key.ends_with("superdigest")
}

/// The chapters of the documentation with the keys that have an effect: title, and value of [`Key::group`].
const CHAPTERS: [(&str, Group); 4] = [
    ("Common keys", Group::Common),
    ("Security", Group::Security),
    ("Ensemble", Group::Ensemble),
    ("Limits", Group::Limits),
];

/// Returns the tables of all keys in Markdown, for the documentation.
pub fn keys_markdown() -> String {
    let mut page = String::new();
    for (title, group) in CHAPTERS {
        page += &format!("## {title}\n\n| key | written as | kind | default | effect |\n|---|---|---|---|---|\n");
        for key in keys::all().filter(|key| key.group == group && !matches!(key.here, Here::Ignored(_))) {
            let (name, form, kind, default) = (escaped(key.name), form(key), key.kind_name(), default(key));
            page += &format!("| `{name}` | {form} | {kind} | {default} | {} |\n", effect(key));
        }
        page.push('\n');
    }
    page += "## Accepted and without effect\n\n\
        Files of ZooKeeper may have these keys. The server checks their values as ZooKeeper does, and they\n\
        have no other effect.\n\n\
        | key | written as | kind | default | in ZooKeeper | here |\n|---|---|---|---|---|---|\n";
    for key in keys::all() {
        if let Here::Ignored(why) = key.here {
            let (name, form, kind, default) = (escaped(key.name), form(key), key.kind_name(), default(key));
            let (about, why) = (escaped(key.about), escaped(why));
            page += &format!("| `{name}` | {form} | {kind} | {default} | {about}. | {why} |\n");
        }
    }
    page
}

/// Returns the effect of a key, and the case in which a server refuses it.
fn effect(key: &Key) -> String {
    let about = escaped(key.about);
    match key.here {
        Here::Used | Here::Ignored(_) => format!("{about}."),
        Here::Unserved { what, .. } => format!("{about}. *Refused* where it asks for {what}."),
    }
}

/// Escapes `|`, which would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn form(key: &Key) -> &'static str {
    match key.form {
        Form::File => "file",
        Form::Property | Form::FileOrProperty => "file, `-Dzookeeper.…`",
        Form::EitherProperty => "file, `-Dzookeeper.…`, `-D…`",
        Form::BareProperty => "`-D…`",
    }
}

fn default(key: &Key) -> String {
    match (key.default, key.unit) {
        (KeyDefault::None, _) => String::new(),
        (KeyDefault::Derived(words), _) => words.to_owned(),
        (KeyDefault::Is(value), "") => format!("`{value}`"),
        (KeyDefault::Is(value), unit) => format!("`{value}` {unit}"),
    }
}
