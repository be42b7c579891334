//! One line of input into words. Source: `ZooKeeperMain.MyCommandOptions.ARGS_PATTERN`.

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

/// The first word of `text` and what follows, unless `text` begins with a quote that is not closed.
fn word(text: &str) -> Option<(&str, &str)> {
    let inner = text.trim_start_matches(is_blank);
    let first = inner.chars().next()?;
    if !matches!(first, '"' | '\'') {
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

/// What `\s` matches in Java.
fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::words;

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

    /// What Java's pattern makes of these, tried there.
    #[test]
    fn oddities() {
        check("set /a b\"c d\"", &["set", "/a", "b\"c", "d\""]);
        check("'a''b'c", &["a", "b", "c"]);
        check("\"abc", &["abc"]);
        check("ls \"abc d", &["ls", "abc", "d"]);
        check("  \"abc d", &[" \"abc", "d"]);
    }
}
