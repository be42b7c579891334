//! Splits a line of input into words, and quotes a word for a line. Source: `ZooKeeperMain.MyCommandOptions.ARGS_PATTERN`.

/// The words of `line`. A word is quoted as a whole, with `'` or `"`, or not at all; there are no escapes.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        rest = match word(rest) {
            Some((word, behind)) => {
                words.push(word.to_owned());
                behind.trim_start_matches(is_blank)
            }
            // ZooKeeper: a quote that nothing closes is skipped.
            None => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)).1,
        };
    }
    words
}

/// The last word of a line that is still being typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished<'a> {
    /// The words before it.
    pub(super) before: Vec<&'a str>,
    /// Offset of its first byte in the line; a quote belongs to it.
    pub(super) start: usize,
    /// The word without its quotes.
    pub(super) text: &'a str,
    /// The quote that it begins with, if any.
    pub(super) quote: Option<char>,
    /// Whether the quote is closed.
    pub(super) closed: bool,
}

/// Finds the word that ends `line`; it is empty behind a blank.
pub(super) fn unfinished(line: &str) -> Unfinished<'_> {
    let (mut before, mut rest) = (Vec::new(), line);
    loop {
        let inner = rest.trim_start_matches(is_blank);
        let start = line.len() - inner.len();
        let quote = inner.chars().next().filter(|first| is_quote(*first));
        let (word, behind) = match quote {
            None => inner.split_at(inner.find(is_blank).unwrap_or(inner.len())),
            Some(quote) => match inner[1..].split_once(quote) {
                Some(closed) => closed,
                None => return Unfinished { before, start, text: &inner[1..], quote: Some(quote), closed: false },
            },
        };
        if behind.is_empty() {
            return Unfinished { before, start, text: word, quote, closed: quote.is_some() };
        }
        before.push(word);
        rest = behind;
    }
}

/// Writes `text` as one word of a line, in quotes where it needs them or where `quote` asks for them. `None` for a text
/// that no line can express: there are no escapes, so a word that needs quotes must lack one of the two.
pub(super) fn quoted(text: &str, quote: Option<char>) -> Option<String> {
    if quote.is_none() && !needs_quotes(text) {
        return Some(text.to_owned());
    }
    let quote = quote.into_iter().chain(['"', '\'']).find(|quote| !text.contains(*quote))?;
    Some(format!("{quote}{text}{quote}"))
}

/// Whether `text` is not one word unless it is quoted.
pub(super) fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.starts_with(is_quote) || text.contains(is_blank)
}

fn is_quote(char: char) -> bool {
    matches!(char, '"' | '\'')
}

/// The first word of `text` and what follows, unless `text` begins with a quote that is not closed.
fn word(text: &str) -> Option<(&str, &str)> {
    let inner = text.trim_start_matches(is_blank);
    let first = inner.chars().next()?;
    if !is_quote(first) {
        return Some(inner.split_at(inner.find(is_blank).unwrap_or(inner.len())));
    }
    if let Some((quoted, behind)) = inner[1..].split_once(first) {
        return Some((quoted, behind));
    }
    // ZooKeeper: the blank before such a quote begins a word.
    let (at, _) = text[..text.len() - inner.len()].char_indices().last()?;
    let word = &text[at..];
    Some(word.split_at(word[1..].find(is_blank).map_or(word.len(), |end| end + 1)))
}

/// Whether Java's `\s` matches `char`.
fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::{quoted, unfinished, words};

    fn check(line: &str, expected: &[&str]) {
        assert_eq!(words(line), expected, "{line:?}");
    }

    #[test]
    fn blanks_and_quotes() {
        check("ls /", &["ls", "/"]);
        check("  ls \t /  ", &["ls", "/"]);
        check("create /a \"two words\" 'it is \"quoted\"'", &["create", "/a", "two words", "it is \"quoted\""]);
        check("set /a \"\"", &["set", "/a", ""]);
        check("", &[]);
        check("  ", &[]);
    }

    #[test]
    fn a_quoted_word_is_read_as_it_was() {
        for text in ["/a", "/a b", "/it's a", "/\"a\" b", "/a\"b", "\"", "", "/ü\u{a0}x"] {
            for quote in [None, Some('"'), Some('\'')] {
                let quoted = quoted(text, quote).expect("one quote is left");
                assert_eq!(words(&format!("get {quoted}")), ["get", text], "{quoted}");
            }
        }
        assert_eq!(quoted("/both \" and '", None), None);
        assert_eq!(quoted("/a\"'b", None).as_deref(), Some("/a\"'b"));
    }

    #[test]
    fn the_word_being_typed() {
        let check = |line: &str, before: &[&str], start: usize, text: &str, quote: Option<char>, closed: bool| {
            let word = unfinished(line);
            let parts = (&word.before[..], word.start, word.text, word.quote, word.closed);
            assert_eq!(parts, (before, start, text, quote, closed), "{line:?}");
        };
        check("", &[], 0, "", None, false);
        check("ge", &[], 0, "ge", None, false);
        check("get ", &["get"], 4, "", None, false);
        check("get /a", &["get"], 4, "/a", None, false);
        check("get \"/a b", &["get"], 4, "/a b", Some('"'), false);
        check("get '/a b'", &["get"], 4, "/a b", Some('\''), true);
        check("get '/a b' ", &["get", "/a b"], 11, "", None, false);
        check("set /ü\u{a0}", &["set"], 4, "/ü\u{a0}", None, false);
    }

    /// Java's pattern splits these lines in the same way.
    #[test]
    fn oddities() {
        check("set /a b\"c d\"", &["set", "/a", "b\"c", "d\""]);
        check("'a''b'c", &["a", "b", "c"]);
        check("\"abc", &["abc"]);
        check("ls \"abc d", &["ls", "abc", "d"]);
        check("  \"abc d", &[" \"abc", "d"]);
    }
}
