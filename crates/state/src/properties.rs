//! Java's properties syntax, used by `zoo.cfg` and by the new members of a `reconfig`.
//!
//! Owns lines, separators and escapes; knows no keys. Source: the format as documented for
//! `java.util.Properties#load`.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char as one_char};
use nom::combinator::{eof, opt, recognize, value};
use nom::multi::fold_many0;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};
use oxkeeper_proto::java;

/// One key and its value, unescaped and without surrounding whitespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// First line of the property, counted from 1.
    pub number: usize,
    /// Number of lines, including those on which it continues.
    pub lines: usize,
    /// The key.
    pub key: String,
    /// The value; empty if there is none.
    pub value: String,
}

/// Error for text that is not in properties syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// First line of the property, counted from 1.
    pub line: usize,
    /// Description of the error.
    pub message: String,
}

/// Reads text in Java properties syntax and returns its properties in order, including duplicates.
///
/// *Errors*: a `\u` escape without four hexadecimal digits, the only error the syntax knows.
pub fn parse(text: &str) -> Result<Vec<Line>, SyntaxError> {
    let line = |(number, lines, logical): (usize, usize, String)| {
        let (key, value) = split_key(&logical);
        let decode = |raw| unescape(raw).map_err(|message| SyntaxError { line: number, message });
        Ok(Line { number, lines, key: trimmed(&decode(key)?), value: trimmed(&decode(value)?) })
    };
    logical_lines(text).into_iter().map(line).collect()
}

fn trimmed(text: &str) -> String {
    java::trim(text).to_owned()
}

/// Returns whether Java's properties syntax treats `c` as whitespace; line ends are not part of it.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn line_end(input: &str) -> IResult<&str, &str> {
    alt((tag("\r\n"), tag("\n"), tag("\r"))).parse(input)
}

/// Skips blank lines and comments. A comment never continues on the next line.
fn skipped_line(input: &str) -> IResult<&str, ()> {
    let comment = pair(alt((one_char('#'), one_char('!'))), take_while(|c| !is_line_end(c)));
    let blanks = take_while(is_blank);
    let rest = alt((value((), (comment, alt((line_end, eof)))), value((), line_end)));
    preceded(blanks, rest).parse(input)
}

/// Parses one property and joins its continuation lines; other escapes are left alone.
fn logical_line(input: &str) -> IResult<&str, String> {
    // A backslash before a line end is dropped with the blanks that indent the next line. So is a backslash
    // that ends the file.
    let continuation = value("", (one_char('\\'), alt((line_end, eof)), take_while(is_blank)));
    let plain = take_while1(|c| c != '\\' && !is_line_end(c));
    let escape = recognize(pair(one_char('\\'), anychar));
    let pieces = fold_many0(alt((plain, continuation, escape)), String::new, |line, piece| line + piece);
    let (rest, (_, line, _)) = (take_while(is_blank), pieces, opt(line_end)).parse(input)?;
    Ok((rest, line))
}

/// Returns the properties of a text, each with the number of its first line and its number of
/// lines.
fn logical_lines(text: &str) -> Vec<(usize, usize, String)> {
    let mut lines = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let (after, logical) = match skipped_line(rest) {
            Ok((after, ())) => (after, None),
            Err(_) => match logical_line(rest) {
                Ok((after, logical)) => (after, Some(logical)),
                Err(_) => break, // only blanks are left
            },
        };
        let consumed = &rest[..rest.len() - after.len()];
        if consumed.is_empty() {
            break;
        }
        let ends = count_line_ends(consumed);
        let span = ends + usize::from(!consumed.ends_with(is_line_end));
        lines.extend(logical.filter(|text| !text.is_empty()).map(|text| (line, span, text)));
        line += ends;
        rest = after;
    }
    lines
}

fn count_line_ends(text: &str) -> usize {
    let crlf = text.matches("\r\n").count();
    text.chars().filter(|&c| is_line_end(c)).count() - crlf
}

/// Splits at the first unescaped `=`, `:` or blank; blanks may surround the separator.
fn split_key(line: &str) -> (&str, &str) {
    fn key(input: &str) -> IResult<&str, &str> {
        let plain = take_while1(|c| !is_blank(c) && !matches!(c, '\\' | '=' | ':'));
        let escape = recognize(pair(one_char('\\'), anychar));
        recognize(fold_many0(alt((plain, escape)), || (), |(), _| ())).parse(input)
    }
    fn separator(input: &str) -> IResult<&str, ()> {
        let sign = opt(alt((one_char('='), one_char(':'))));
        value((), (take_while(is_blank), sign, take_while(is_blank))).parse(input)
    }
    match pair(key, separator).parse(line) {
        Ok((rest, (key, ()))) => (key, rest),
        Err(_) => (line, ""),
    }
}

/// Resolves `\t \n \r \f \uXXXX`; any other escaped character stands for itself.
fn unescape(raw: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(raw.len()); // UTF-16, because `\u` escapes may be halves of a pair
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                Some('u') => {
                    units.push(unicode_unit(&mut chars)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            }
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn unicode_unit(chars: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or_else(|| "malformed \\uXXXX: four hexadecimal digits must follow \\u".to_owned())?;
        unit = unit << 4 | digit as u16; // a digit is below 16
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_counted_right(text in "[ab=\\\\ #\n\r]{0,60}") {
            let total = count_line_ends(&text) + 1;
            let lines = parse(&text).expect("no unicode escapes in it");
            prop_assert!(lines.iter().all(|line| line.lines > 0 && line.number + line.lines <= total + 1));
            prop_assert!(lines.is_sorted_by_key(|line| line.number));
        }
    }
}
