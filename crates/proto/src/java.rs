//! Java's string functions where they differ from Rust's.

use crate::jute::Text;

/// Removes the characters that `String.trim` removes at both ends: those up to U+0020, and no other white
/// space of Unicode.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Decodes bytes that should be UTF-8 like `new String(bytes, UTF_8)`. Each ill-formed sequence becomes one U+FFFD.
pub fn text(bytes: &[u8]) -> Text<'_> {
    std::str::from_utf8(bytes).map_or_else(|_| Text::Owned(repair(bytes)), Text::Borrowed)
}

/// Replaces ill-formed sequences. Java and Rust agree on the end of such a sequence except for the surrogates
/// of CESU-8.
fn repair(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while let Some(chunk) = bytes.utf8_chunks().next() {
        text.push_str(chunk.valid());
        bytes = &bytes[chunk.valid().len()..];
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            bytes = &bytes[chunk.invalid().len().max(surrogate_len(bytes))..];
        }
    }
    text
}

/// Returns the length of the surrogate, or part of one, encoded as three bytes (ED A0..BF 80..BF) at the
/// start of `bytes`.
fn surrogate_len(bytes: &[u8]) -> usize {
    // ZooKeeper: its writer and the Java client encode characters above U+FFFF as two surrogates; its reader decodes
    // each surrogate, complete or truncated, as one U+FFFD. We write UTF-8, which every client can read, including
    // Java's.
    match bytes {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
        [0xed, 0xa0..=0xbf, ..] => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_text_reads_as_in_java() {
        // `new String(bytes, UTF_8)` of Java 17 printed each expectation.
        let check = |bytes: &[u8], expected: &str| assert_eq!(text(bytes), expected, "{bytes:x?}");
        check(b"/\xf0\x9f\x98\x80", "/😀");
        check(b"\xed\xa0\x80", "\u{fffd}");
        check(b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}");
        check(b"a\xed\xa0", "a\u{fffd}");
        check(b"\xed\xbf", "\u{fffd}");
        check(b"\xed\xa0\xed\xb0", "\u{fffd}\u{fffd}");
        check(b"\xed\xa0A", "\u{fffd}A");
        check(b"\xed\xa0\xc3\xa4", "\u{fffd}ä");
        check(b"\xed\xbf\xbf\xbf", "\u{fffd}\u{fffd}");
        check(b"\xed\x80", "\u{fffd}");
        check(b"\xedA", "\u{fffd}A");
        check(b"\xff\xed\xa0\x80\xff", "\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xf0\x90A", "\u{fffd}A");
        check(b"\xc0A", "\u{fffd}A");
        check(b"\xe0\x80\x80", "\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xe2\x82", "\u{fffd}");
    }

    #[test]
    fn trim_takes_what_java_takes() {
        let check = |text, expected| assert_eq!(trim(text), expected, "{text:?}");
        check(" \t\n\r\0\u{1f}a b\u{1}", "a b");
        check(" \u{1} ", "");
        for kept in ["\u{a0}", "\u{85}", "\u{3000}", "\u{2028}", "\u{feff}", "\u{7f}"] {
            check(kept, kept);
        }
    }
}
