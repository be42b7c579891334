//! JSON in the form of ZooKeeper's admin server: members in a given order, Jackson's layout, Java's
//! numbers.
//!
//! Source: `JsonOutputter`, Jackson's `DefaultPrettyPrinter`.

use std::fmt::{self, Write as _};

use crate::java;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// Formatted like a Java double; NaN and infinities become strings.
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Returns a string.
    pub(crate) fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// Returns a list.
    pub(crate) fn list<T: Into<Json>>(items: impl IntoIterator<Item = T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }

    /// Returns an object with its members in order.
    pub(crate) fn object<K: Into<String>, V: Into<Json>>(members: impl IntoIterator<Item = (K, V)>) -> Json {
        Json::Object(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Json {
        Json::Int(value)
    }
}

impl From<i32> for Json {
    fn from(value: i32) -> Json {
        Json::Int(i64::from(value))
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Json {
        Json::Real(value)
    }
}

impl From<String> for Json {
    fn from(value: String) -> Json {
        Json::Text(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Json {
        Json::Text(value.to_owned())
    }
}

/// Pretty-prints the value, without a trailing newline.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self, 0)
    }
}

/// Writes a value. Objects are indented; lists are not, and do not indent their items.
fn write(f: &mut fmt::Formatter<'_>, value: &Json, depth: usize) -> fmt::Result {
    match value {
        Json::Null => f.write_str("null"),
        Json::Bool(value) => write!(f, "{value}"),
        Json::Int(value) => write!(f, "{value}"),
        Json::Real(value) if value.is_finite() => f.write_str(&java::double(*value)),
        Json::Real(value) => write!(f, "\"{}\"", java::double(*value)),
        Json::Text(text) => quote(f, text),
        Json::List(items) => {
            for (index, item) in items.iter().enumerate() {
                f.write_str(if index == 0 { "[ " } else { ", " })?;
                write(f, item, depth)?;
            }
            f.write_str(if items.is_empty() { "[ ]" } else { " ]" })
        }
        Json::Object(members) if members.is_empty() => f.write_str("{ }"),
        Json::Object(members) => {
            for (index, (name, value)) in members.iter().enumerate() {
                f.write_str(if index == 0 { "{\n" } else { ",\n" })?;
                indent(f, depth + 1)?;
                quote(f, name)?;
                f.write_str(" : ")?;
                write(f, value, depth + 1)?;
            }
            f.write_char('\n')?;
            indent(f, depth)?;
            f.write_char('}')
        }
    }
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            c if c < ' ' => write!(f, "\\u{:04X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Json, expected: &str) {
        assert_eq!(value.to_string(), expected);
    }

    /// Recorded from 3.9.5.
    #[test]
    fn the_layout_is_jacksons() {
        check(&Json::list::<i64>([]), "[ ]");
        check(&Json::object::<&str, i64>([]), "{ }");
        check(&Json::list([1, 2]), "[ 1, 2 ]");
        let connection = || Json::object([("interest_ops", 1)]);
        let reply = [("connections", Json::List(vec![connection(), connection()])), ("error", Json::Null)];
        let expected = "{\n  \"connections\" : [ {\n    \"interest_ops\" : 1\n  }, {\n    \"interest_ops\" : 1\n  } ],\n  \"error\" : null\n}";
        check(&Json::object(reply), expected);
        check(&Json::object([("a", Json::object([("b", true)]))]), "{\n  \"a\" : {\n    \"b\" : true\n  }\n}");
    }

    #[test]
    fn numbers_are_javas() {
        check(&Json::Real(0.0), "0.0");
        check(&Json::Real(1.795450004576E9), "1.795450004576E9");
        check(&Json::Real(f64::NAN), "\"NaN\"");
        check(&Json::Int(i64::MIN), "-9223372036854775808");
    }

    #[test]
    fn texts_are_escaped() {
        check(&Json::text("a\"b\\c\n\t\u{1}ü"), "\"a\\\"b\\\\c\\n\\t\\u0001ü\"");
        check(&Json::text("\u{1f}\u{8}\u{c}\r"), "\"\\u001F\\b\\f\\r\"");
    }
}
