//! The user's properties: keys and values, and the source and line of each.
//!
//! Owns the `-Dkey=value` words of `SERVER_JVMFLAGS`; the syntax of files is in `oxkeeper_state::properties`.
//! Does not know any key. Invariant: properties keep the order in which they were read, including duplicates,
//! so that each of them can be explained. Source: the format as documented for `java.util.Properties#load`;
//! `bin/zkServer.sh`.

use std::fmt;

use oxkeeper_state::properties;

/// Source of a property. The order is the order of precedence, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A `-D` word in `SERVER_JVMFLAGS` or `JVMFLAGS`.
    JvmFlags,
    /// A line of the configuration file.
    File,
    /// A line of the file that `dynamicConfigFile` names.
    DynamicFile,
    /// An option of our own command line, named by its zoo.cfg key.
    CommandLine,
    /// An environment variable of our own, named by its zoo.cfg key.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::JvmFlags => "SERVER_JVMFLAGS",
            Source::File => "file",
            Source::DynamicFile => "dynamic file",
            Source::CommandLine => "command line",
            Source::Environment => "environment",
        })
    }
}

/// One key and its value, as written: uninterpreted, without white space around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key; for a `-D` word the full name of the JVM property.
    pub key: String,
    /// The value; empty if there is none.
    pub value: String,
    /// Line of the file, counted from 1; `None` outside a file.
    pub line: Option<usize>,
    /// Source of the property.
    pub source: Source,
}

/// All properties that the user wrote, in reading order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Property>,
    ignored_words: Vec<String>,
}

/// The file is not in properties syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// First line of the property, counted from 1.
    pub line: usize,
    /// The mistake.
    pub message: String,
}

impl Properties {
    /// Reads a file in Java properties syntax.
    ///
    /// *Errors*: a `\u` escape without four hexadecimal digits, the only possible mistake in this syntax.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self, SyntaxError> {
        // ZooKeeper: it reads the file as ISO 8859-1, which garbles every non-ASCII path. We read valid UTF-8 as UTF-8.
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::from_file_text(text),
            Err(_) => Self::from_file_text(&bytes.iter().map(|&b| char::from(b)).collect::<String>()),
        }
    }

    /// Reads text in Java properties syntax; see [`Properties::from_file_bytes`].
    pub fn from_file_text(text: &str) -> Result<Self, SyntaxError> {
        let wrong = |properties::SyntaxError { line, message }| SyntaxError { line, message };
        let entry = |properties::Line { number, lines: _, key, value }| Property {
            key,
            value,
            line: Some(number),
            source: Source::File,
        };
        let entries = properties::parse(text).map_err(wrong)?.into_iter().map(entry).collect();
        Ok(Self { entries, ignored_words: Vec::new() })
    }

    /// Parses the words of `SERVER_JVMFLAGS`: `-Dkey=value` is a property; other words are kept only to be
    /// explained. White space separates words; quotes and backslashes work as in a shell. `-Dkey` alone has
    /// an empty value, as in Java.
    pub fn from_jvm_flags(flags: &str) -> Self {
        let mut properties = Self::default();
        for word in shell_words(flags) {
            match word.strip_prefix("-D") {
                Some(definition) => {
                    let (key, value) = definition.split_once('=').unwrap_or((definition, ""));
                    properties.push(Source::JvmFlags, key, value);
                }
                None => properties.ignored_words.push(word),
            }
        }
        properties
    }

    /// Adds one property that is not in a file.
    pub fn push(&mut self, source: Source, key: &str, value: &str) {
        self.push_at(source, None, key, value);
    }

    /// Adds one property with its line.
    pub(super) fn push_at(&mut self, source: Source, line: Option<usize>, key: &str, value: &str) {
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        self.entries.push(Property { key, value, line, source });
    }

    /// Appends all properties of `other`.
    pub fn extend(&mut self, other: Properties) {
        self.entries.extend(other.entries);
        self.ignored_words.extend(other.ignored_words);
    }

    /// Returns all properties in reading order.
    pub fn entries(&self) -> &[Property] {
        &self.entries
    }

    /// Returns the words of the JVM flags that are not `-D` definitions (`-Xmx512m`, …).
    pub fn ignored_words(&self) -> &[String] {
        &self.ignored_words
    }
}

/// Splits text at white space that is not protected by `'…'`, `"…"` or `\`.
fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let properties = Properties::from_file_text(text).expect("the text is well formed");
        let read: Vec<_> = properties
            .entries()
            .iter()
            .map(|p| (p.line.expect("a file has lines"), p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(read, expected, "{text:?}");
    }

    /// Expectations recorded from `java.util.Properties#load` of Java 17, trimmed as ZooKeeper trims them.
    #[test]
    fn the_syntax_is_javas() {
        check("", &[]);
        check("\n\n  \n\t", &[]);
        check("a=1\nb:2\nc 3\nd\t=\t4", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4")]);
        check("  a = 1  \r\nb : 2\rc\n", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "")]);
        check("# a=1\n  ! b=2\n#c \\\nd=4", &[(4, "d", "4")]);
        check("a=1 # not a comment", &[(1, "a", "1 # not a comment")]);
        check("a=1,\\\n   2,\\\r\n\t3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]);
        check("a\\\n  b=1", &[(1, "ab", "1")]);
        check("a=1\\\n# kept", &[(1, "a", "1# kept")]);
        check("a=1\\\\\nb=2", &[(1, "a", "1\\"), (2, "b", "2")]);
        check("a=end\\", &[(1, "a", "end")]);
        check("a\\:b\\=c\\ d=1", &[(1, "a:b=c d", "1")]);
        check("a==b", &[(1, "a", "=b")]);
        check("a = : b", &[(1, "a", ": b")]);
        check("=v", &[(1, "", "v")]);
        check("p=C:\\\\data\\tx\\q", &[(1, "p", "C:\\data\txq")]);
        check("p=\\u0041\\u00e9\\ud83d\\ude00", &[(1, "p", "Aé😀")]);
        check("server.1=[::1]:2888:3888", &[(1, "server.1", "[::1]:2888:3888")]);
        check("server.1:h:2888:3888", &[(1, "server.1", "h:2888:3888")]);
        check("a=1\na=2", &[(1, "a", "1"), (2, "a", "2")]);
    }

    #[test]
    fn a_malformed_escape_names_its_line() {
        for text in ["\n\na=\\u12g4", "\n\na=\\u12", "\n#\n\\u=1"] {
            let error = Properties::from_file_text(text).expect_err(text);
            assert_eq!(error.line, 3, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        let properties = Properties::from_file_bytes(b"a=\xe9").expect("well formed");
        assert_eq!(properties.entries()[0].value, "é");
    }

    #[test]
    fn jvm_flags_are_split_like_shell_words() {
        let flags = r#"-Xmx1000m  -Dzookeeper.snapCount=10 "-Da=b c" -Dq='x y' -De -Djute.maxbuffer=4\ 2"#;
        let properties = Properties::from_jvm_flags(flags);
        let read: Vec<_> = properties.entries().iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        let expected =
            [("zookeeper.snapCount", "10"), ("a", "b c"), ("q", "x y"), ("e", ""), ("jute.maxbuffer", "4 2")];
        assert_eq!(read, expected);
        assert_eq!(properties.ignored_words(), ["-Xmx1000m"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Properties::from_file_bytes(&bytes);
        }

        #[test]
        fn no_flags_panic(flags in "\\PC{0,80}") {
            Properties::from_jvm_flags(&flags);
        }
    }
}
