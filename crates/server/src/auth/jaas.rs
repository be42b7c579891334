//! JAAS files: named sections of login modules with options. Source:
//! `javax.security.auth.login.Configuration`; the JDK's `ConfigFile`, whose lexical rules
//! (comments, words, quotes) are those of `java.io.StreamTokenizer`.
//!
//! Invariant: no input causes a panic or takes more than one pass. A value that requires the JVM's
//! properties is refused.

use std::collections::BTreeMap;

use thiserror::Error;

/// Maximum length of a JAAS file, bytes. A longer one is refused.
pub(super) const JAAS_LEN_MAX: usize = 1 << 20;

/// Sections by name.
pub(super) type Sections = BTreeMap<String, Vec<Module>>;

/// One login module of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Its Java class.
    pub(super) class: String,
    /// The options of the module.
    pub(super) options: BTreeMap<String, String>,
}

/// A syntax error and its line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub(super) struct SyntaxError {
    line: usize,
    message: String,
}

/// Parses a JAAS file. *Errors*: the file is not in JAAS syntax.
pub(super) fn parse(text: &str) -> Result<Sections, SyntaxError> {
    let mut tokens = Tokens::new(text);
    let mut sections = Sections::new();
    while tokens.next != Token::End {
        let line = tokens.line;
        let name = tokens.word("the name of a section")?;
        tokens.symbol('{')?;
        let mut modules = Vec::new();
        while !tokens.is_symbol('}') {
            modules.push(module(&mut tokens)?);
        }
        tokens.symbol('}')?;
        tokens.symbol(';')?;
        if sections.contains_key(&name) {
            return Err(SyntaxError { line, message: format!("there is another section {name}") });
        }
        sections.insert(name, modules);
    }
    Ok(sections)
}

fn module(tokens: &mut Tokens<'_>) -> Result<Module, SyntaxError> {
    let class = tokens.word("the class of a login module")?;
    let flag = tokens.word("required, requisite, sufficient or optional")?;
    if !["required", "requisite", "sufficient", "optional"].iter().any(|known| flag.eq_ignore_ascii_case(known)) {
        return Err(tokens.wrong(format!("{flag} is not one of required, requisite, sufficient, optional")));
    }
    let mut options = BTreeMap::new();
    while !tokens.is_symbol(';') {
        let key = tokens.word("an option, or `;`")?;
        tokens.symbol('=')?;
        let value = tokens.word("a value; if it is more than a word it must stand in double quotes")?;
        if value.split_once("${").is_some_and(|(_, rest)| rest.contains('}')) {
            return Err(tokens.wrong(format!("{key}: ${{…}} is a property of a JVM, write its value instead")));
        }
        options.insert(key, value);
    }
    tokens.symbol(';')?;
    Ok(Module { class, options })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(char),
    /// A number. The JDK reads unquoted digits as one, and allows none anywhere.
    Number,
    End,
}

/// Tokenizer with one token of lookahead.
struct Tokens<'a> {
    rest: std::str::Chars<'a>,
    line: usize,
    next: Token,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Tokens<'a> {
        let mut tokens = Tokens { rest: text.chars(), line: 1, next: Token::End };
        tokens.advance();
        tokens
    }

    fn wrong(&self, message: String) -> SyntaxError {
        SyntaxError { line: self.line, message }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = match &self.next {
            // The word itself is omitted: it may be a password.
            Token::Word(_) => "a word".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::Number => "a number without quotes".to_owned(),
            Token::End => "the end of the file".to_owned(),
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    fn is_symbol(&self, symbol: char) -> bool {
        self.next == Token::Symbol(symbol)
    }

    fn symbol(&mut self, symbol: char) -> Result<(), SyntaxError> {
        if !self.is_symbol(symbol) {
            return Err(self.expected(&format!("`{symbol}`")));
        }
        self.advance();
        Ok(())
    }

    fn word(&mut self, what: &str) -> Result<String, SyntaxError> {
        let Token::Word(word) = &mut self.next else { return Err(self.expected(what)) };
        let word = std::mem::take(word);
        self.advance();
        Ok(word)
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self) -> Option<char> {
        let taken = self.rest.next();
        self.line += usize::from(taken == Some('\n'));
        taken
    }

    fn advance(&mut self) {
        self.next = loop {
            match self.take() {
                None => break Token::End,
                Some('/') => self.skip_comment(),
                Some(c) if c <= ' ' => {}
                Some('"') => break Token::Word(self.quoted()),
                Some(c) if c.is_ascii_digit() || c == '.' || c == '-' => break self.number(c),
                Some(c) if is_word(c) => break Token::Word(self.unquoted(c)),
                Some(c) => break Token::Symbol(c),
            }
        };
    }

    /// Skips `/* … */`, `// …` and, like the JDK by default, `/ …`.
    fn skip_comment(&mut self) {
        if self.peek() == Some('*') {
            self.take();
            let mut last = ' ';
            while let Some(c) = self.take() {
                if (last, c) == ('*', '/') {
                    return;
                }
                last = c;
            }
            return;
        }
        while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
            self.take();
        }
    }

    fn unquoted(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.peek().filter(|&c| is_word(c) || c.is_ascii_digit() || c == '.') {
            word.push(c);
            self.take();
        }
        word
    }

    /// Reads a number. Anything that begins like one is a number; a `-` that begins none is a
    /// symbol.
    fn number(&mut self, first: char) -> Token {
        let is_part = |c: &char| c.is_ascii_digit() || *c == '.';
        if first == '-' && self.peek().filter(is_part).is_none() {
            return Token::Symbol('-');
        }
        while self.peek().filter(is_part).is_some() {
            self.take();
        }
        Token::Number
    }

    /// Reads a quoted word, up to the closing quote or the end of the line.
    fn quoted(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|&c| c != '\n' && c != '\r') {
            self.take();
            match c {
                '"' => break,
                '\\' => text.extend(self.escaped()),
                c => text.push(c),
            }
        }
        text
    }

    /// Reads an escape after the backslash. Like Java, supports octal digits.
    fn escaped(&mut self) -> Option<char> {
        let c = self.take()?;
        Some(match c {
            '0'..='7' => self.octal(c),
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            other => other,
        })
    }

    /// Reads up to three octal digits; the third only if the first is 0 to 3.
    fn octal(&mut self, first: char) -> char {
        let len_max = if first <= '3' { 3 } else { 2 };
        let mut value = first.to_digit(8).unwrap_or_default();
        for _ in 1..len_max {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.take();
        }
        char::from_u32(value).unwrap_or_default()
    }
}

/// Returns whether the character can begin or continue a word.
fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '$' | '_' | '-' | '*') || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(text: &str) -> Vec<(String, String)> {
        let sections =
            parse(&format!("S {{ x.Y required {text}; }};")).unwrap_or_else(|error| panic!("{text}: {error}"));
        sections["S"][0].options.clone().into_iter().collect()
    }

    #[test]
    fn a_file_of_zookeepers_guide() {
        let text = r#"
            /* users */
            Server {
                org.apache.zookeeper.server.auth.DigestLoginModule required
                user_super="adminsecret" // may do all
                user_bob="bobsecret";
            };
            "Client-2" { a.B Required username="bob" password="bobsecret"; c.D optional; };
            Empty {};
        "#;
        let sections = parse(text).expect("it is from the guide");
        let names: Vec<_> = sections.keys().map(String::as_str).collect();
        assert_eq!(names, ["Client-2", "Empty", "Server"]);
        let users: Vec<_> = sections["Server"][0].options.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(users, [("user_bob", "bobsecret"), ("user_super", "adminsecret")]);
        assert_eq!(sections["Client-2"].iter().map(|module| &*module.class).collect::<Vec<_>>(), ["a.B", "c.D"]);
    }

    #[test]
    fn values() {
        let check = |text: &str, expected: &str| assert_eq!(options(text)[0].1, expected, "{text}");
        check(r#"a=word-1.b"#, "word-1.b");
        check(r#"a = "two words; // no comment""#, "two words; // no comment");
        check(r#"a="\"\\\t\101\q""#, "\"\\\tAq");
        check(r#"a="größe""#, "größe");
        check(r#"a="${""#, "${");
        check(r#"a="""#, "");
    }

    #[test]
    fn mistakes_have_a_line() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        };
        check("S {\n x.Y needed; };", "line 2: needed is not one of");
        check("S {\n x.Y required user_a=123; };", "line 2: expected a value");
        check("S { x.Y required user_a='x'; };", "line 1: expected a value");
        check("S { x.Y required user_a=\"b\" };", "line 1: expected an option");
        check("S { x.Y required; }", "line 1: expected `;`, found the end");
        check("S {};\nS {};", "line 2: there is another section S");
        check("S { x.Y required a=\"${user.home}\"; };", "line 1: a: ${…}");
        check("{", "line 1: expected the name");
        assert_eq!(parse("/* never ends"), Ok(Sections::new()));
        let error = parse("S { x.Y required user_a=secret secret2; };").expect_err("no `=`");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~\n\u{a0}-\u{ff}]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_like_a_file_panics(pieces in proptest::collection::vec("[S{};=\"\\\\/*.a1 \n-]{1,4}", 0..30)) {
            let _ = parse(&pieces.concat());
        }
    }
}
