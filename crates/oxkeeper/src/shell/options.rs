//! Parses the options of a command. Source of syntax and messages: `DefaultParser` of Commons CLI 1.5, used without long
//! options.

use super::failure::Failure;

/// The options of one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    /// Name, and whether a value follows.
    pub(super) options: &'static [(&'static str, bool)],
    /// Whether at most one may be given.
    pub(super) exclusive: bool,
}

/// The parsed words of a command.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The arguments, the command itself first.
    pub(super) args: Vec<String>,
    options: Vec<(&'static str, Vec<String>)>,
}

impl Parsed {
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The first value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .filter(|(given, _)| *given == name)
            .flat_map(|(_, values)| values)
            .next()
            .map(String::as_str)
    }
}

impl Spec {
    /// Parses `words`.
    ///
    /// *Errors*: an option that is unknown, lacks its value, or excludes another.
    pub(super) fn parse(&self, words: &[String]) -> Result<Parsed, Failure> {
        let mut parsed = Parsed::default();
        // Whether the last option still takes a value.
        let mut open = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.args.extend(words.cloned());
                break;
            }
            if open && self.is_value(word) {
                parsed.add_value(word);
                open = false;
            } else if word.starts_with('-') && word != "-" {
                open = self.option(word, open, &mut parsed)?;
            } else {
                parsed.args.push(word.clone());
                open = false;
            }
        }
        parsed.check_complete(open)?;
        Ok(parsed)
    }

    fn find(&self, name: &str) -> Option<(&'static str, bool)> {
        self.options.iter().copied().find(|(known, _)| *known == name)
    }

    /// Whether the word after an option that takes a value is that value.
    fn is_value(&self, word: &str) -> bool {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { return true };
        let name = name.split('=').next().unwrap_or_default();
        let first = name.chars().next().map(String::from).unwrap_or_default();
        let is_option = self.find(name).is_some() || self.find(&first).is_some();
        !is_option || word.parse::<f64>().is_ok()
    }

    /// Parses a word that starts with a hyphen: one option, one with `=value`, or several in one word. Returns whether the
    /// last option still takes a value.
    fn option(&self, word: &str, open: bool, parsed: &mut Parsed) -> Result<bool, Failure> {
        let unknown = || parse_failure("UnrecognizedOptionException", format!("Unrecognized option: {word}"));
        if word.starts_with("--") {
            return Err(unknown());
        }
        let text = &word[1..];
        if let Some((name, value)) = text.split_once('=') {
            let found = self.find(name).filter(|(_, takes_value)| *takes_value && name.chars().count() == 1);
            let (name, _) = found.ok_or_else(unknown)?;
            self.give(name, open, parsed)?;
            parsed.add_value(value);
            return Ok(false);
        }
        if let Some((name, takes_value)) = self.find(text) {
            self.give(name, open, parsed)?;
            return Ok(takes_value);
        }
        let mut open = open;
        for (at, char) in text.char_indices() {
            let (name, takes_value) = self.find(char.encode_utf8(&mut [0; 4])).ok_or_else(unknown)?;
            self.give(name, open, parsed)?;
            open = takes_value;
            let behind = &text[at + char.len_utf8()..];
            if takes_value && !behind.is_empty() {
                parsed.add_value(behind);
                return Ok(false);
            }
        }
        Ok(open)
    }

    fn give(&self, name: &'static str, open: bool, parsed: &mut Parsed) -> Result<(), Failure> {
        parsed.check_complete(open)?;
        let other = parsed.options.iter().map(|(given, _)| *given).find(|given| *given != name);
        if let Some(other) = other.filter(|_| self.exclusive) {
            let message = format!(
                "The option '{name}' was specified but an option from this group has already been selected: '{other}'"
            );
            return Err(parse_failure("AlreadySelectedException", message));
        }
        parsed.options.push((name, Vec::new()));
        Ok(())
    }
}

impl Parsed {
    fn add_value(&mut self, value: &str) {
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = quoted.filter(|inner| !inner.contains('"')).unwrap_or(value);
        if let Some((_, values)) = self.options.last_mut() {
            values.push(value.to_owned());
        }
    }

    fn check_complete(&self, open: bool) -> Result<(), Failure> {
        match self.options.last() {
            Some((name, values)) if open && values.is_empty() => {
                Err(parse_failure("MissingArgumentException", format!("Missing argument for option: {name}")))
            }
            _ => Ok(()),
        }
    }
}

/// Words a failure as ZooKeeper's shell does, which prints the exception with its class.
pub(super) fn parse_failure(class: &str, message: String) -> Failure {
    Failure::usage(format!("org.apache.commons.cli.{class}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Spec = Spec { options: &[("s", false), ("v", true), ("b", false)], exclusive: false };

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn check(line: &str, args: &str, version: Option<&str>, flags: &str) {
        let parsed = SET.parse(&words(line)).expect("well formed");
        assert_eq!(parsed.args, words(args), "{line}");
        assert_eq!(parsed.value("v"), version, "{line}");
        let given: String = ["s", "v", "b"].into_iter().filter(|name| parsed.has(name)).collect();
        assert_eq!(given, flags, "{line}");
    }

    fn check_failure(spec: &Spec, line: &str, message: &str) {
        let failure = spec.parse(&words(line)).expect_err("malformed");
        assert_eq!(failure.message, format!("org.apache.commons.cli.{message}"), "{line}");
    }

    /// Each tried in ZooKeeper's shell.
    #[test]
    fn forms() {
        check("set /a x", "set /a x", None, "");
        check("set -s /a -v 3 x", "set /a x", Some("3"), "sv");
        check("set /a x -v=3", "set /a x", Some("3"), "v");
        check("set /a x -v3", "set /a x", Some("3"), "v");
        check("set /a x -sbv3", "set /a x", Some("3"), "svb");
        check("set /a x -v -1", "set /a x", Some("-1"), "v");
        check("set -s -- /a -x", "set /a -x", None, "s");
        check("set /a -", "set /a -", None, "");
        check("set /a x -v \"3\"", "set /a x", Some("3"), "v");
        check("set /a x -v 1 -v 2", "set /a x", Some("1"), "v");
    }

    #[test]
    fn failures() {
        check_failure(&SET, "set -q", "UnrecognizedOptionException: Unrecognized option: -q");
        check_failure(&SET, "set -sq", "UnrecognizedOptionException: Unrecognized option: -sq");
        check_failure(&SET, "set -s=1", "UnrecognizedOptionException: Unrecognized option: -s=1");
        check_failure(&SET, "set --v", "UnrecognizedOptionException: Unrecognized option: --v");
        check_failure(&SET, "set /a -5", "UnrecognizedOptionException: Unrecognized option: -5");
        check_failure(&SET, "set -v", "MissingArgumentException: Missing argument for option: v");
        check_failure(&SET, "set -v -s", "MissingArgumentException: Missing argument for option: v");
        let quota = Spec { options: &[("n", true), ("b", true)], exclusive: true };
        let message = "AlreadySelectedException: The option 'b' was specified but an option from this group has already been selected: 'n'";
        check_failure(&quota, "setquota -n 5 -b 5", message);
    }
}
