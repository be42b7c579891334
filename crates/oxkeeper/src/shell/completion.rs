//! Completes commands, options and the paths of znodes. Source: `JLineZNodeCompleter`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_client::Handle;
use parking_lot::Mutex;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokio::runtime;
use tokio::time::timeout;

use super::line::{Unfinished, needs_quotes, quoted, unfinished};
use super::usage;

/// How long the user waits for the names of children after Tab.
const CHILDREN_LIMIT: Duration = Duration::from_secs(2);

/// Completes lines with the help of the current connection.
pub(super) struct Completion {
    runtime: runtime::Handle,
    /// The current session; `connect` replaces it.
    handle: Arc<Mutex<Option<Handle>>>,
}

impl Completion {
    pub(super) fn new(runtime: runtime::Handle, handle: Arc<Mutex<Option<Handle>>>) -> Completion {
        Completion { runtime, handle }
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let Some(handle) = self.handle.lock().clone().filter(|handle| handle.state().is_connected()) else {
            return Vec::new();
        };
        let listed = async { handle.client().await?.get_children(parent, false).await };
        self.runtime
            .block_on(async { timeout(CHILDREN_LIMIT, listed).await })
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(candidates(&line[..at], |parent| self.children(parent)))
    }
}

/// Returns what the last word of `line` may become, and where that word begins.
fn candidates(line: &str, children: impl Fn(&str) -> Vec<String>) -> (usize, Vec<Pair>) {
    let word = unfinished(line);
    let mut found = match word.before.first() {
        None => commands(&word),
        Some(&"help") => commands(&word),
        Some(&command) => arguments(command, &word, children),
    };
    found.sort_unstable_by(|one, other| one.replacement.cmp(&other.replacement));
    (word.start, found)
}

fn plain<'a>(texts: impl IntoIterator<Item = &'a str>, word: &Unfinished<'_>) -> Vec<Pair> {
    let fitting = texts.into_iter().filter(|text| text.starts_with(word.text) && word.quote.is_none());
    fitting.map(|text| Pair { display: text.to_owned(), replacement: text.to_owned() }).collect()
}

fn commands(word: &Unfinished<'_>) -> Vec<Pair> {
    if word.before.len() > 1 { Vec::new() } else { plain(usage::commands().chain(["help"]), word) }
}

fn arguments(command: &str, word: &Unfinished<'_>, children: impl Fn(&str) -> Vec<String>) -> Vec<Pair> {
    let options = usage::options(command);
    let last = word.before.last().copied().unwrap_or_default();
    let is_value = options.iter().any(|(option, takes_value)| *takes_value && *option == last);
    if command == "addWatch" && last == "-m" {
        return plain(usage::WATCH_MODES, word);
    }
    if command == "printwatches" {
        return plain(["on", "off"], word);
    }
    if word.text.starts_with('-') && word.quote.is_none() {
        let unused = options.iter().map(|(option, _)| *option).filter(|option| !word.before.contains(option));
        return plain(unused, word);
    }
    let has_path = word.before.iter().any(|word| word.starts_with('/'));
    if word.text.starts_with('/') || word.text.is_empty() && !is_value && !has_path && usage::takes_path(command) {
        return paths(word, children);
    }
    Vec::new()
}

fn paths(word: &Unfinished<'_>, children: impl Fn(&str) -> Vec<String>) -> Vec<Pair> {
    // Behind its closing quote a path is whole: go on with what is below it.
    let (parent, prefix) = if word.closed { (word.text, "") } else { word.text.rsplit_once('/').unwrap_or(("", "")) };
    let names = children(if parent.is_empty() { "/" } else { parent });
    let names: Vec<_> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
    let parent = parent.trim_end_matches('/');
    // One path that needs quotes puts all in quotes, so that they begin alike.
    let path = |name: &String| format!("{parent}/{name}");
    let quote = word.quote.or_else(|| names.iter().any(|name| needs_quotes(&path(name))).then_some('"'));
    let quoted = names.iter().filter_map(|name| Some((name.clone(), quoted(&path(name), quote)?)));
    quoted.map(|(display, replacement)| Pair { display, replacement }).collect()
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Borrowed(hint)
    }
}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::super::line::words;
    use super::*;

    fn children(parent: &str) -> Vec<String> {
        let names: &[&str] = match parent {
            "/" => &["zoo", "ape", "apple", "w x"],
            "/zoo" => &["x"],
            "/w x" => &["it's", "\"a\" 'b'"],
            _ => &[],
        };
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn check(line: &str, start: usize, expected: &[&str]) {
        let (from, found) = candidates(line, children);
        let found: Vec<_> = found.iter().map(|pair| pair.replacement.as_str()).collect();
        assert_eq!((from, &found[..]), (start, expected), "{line}");
    }

    #[test]
    fn commands_come_first_and_behind_help() {
        check("getA", 0, &["getAcl", "getAllChildrenNumber"]);
        check("help getA", 5, &["getAcl", "getAllChildrenNumber"]);
        check("hel", 0, &["help"]);
        check("help get ", 9, &[]);
    }

    #[test]
    fn paths_follow_commands_that_take_one() {
        check("get /ap", 4, &["/ape", "/apple"]);
        check("get /zoo/", 4, &["/zoo/x"]);
        check("get /none/a", 4, &[]);
        check("ls -R /z", 6, &["/zoo"]);
        check("ls ", 3, &["\"/ape\"", "\"/apple\"", "\"/w x\"", "\"/zoo\""]);
        check("set /ape ", 9, &[]);
        check("whoami ", 7, &[]);
    }

    #[test]
    fn paths_with_blanks_are_quoted_as_the_parser_takes_them() {
        check("get /w", 4, &["\"/w x\""]);
        check("get '/w", 4, &["'/w x'"]);
        check("get \"/w x/", 4, &["\"/w x/it's\""]);
        check("get \"/w x\"", 4, &["\"/w x/it's\""]);
        assert_eq!(words(r#"get "/w x/it's""#), ["get", "/w x/it's"]);
    }

    #[test]
    fn options_and_their_values() {
        check("ls -", 3, &["-R", "-s", "-w"]);
        check("ls -s -", 6, &["-R", "-w"]);
        check("addWatch -m PERSISTENT_", 12, &["PERSISTENT_RECURSIVE"]);
        check("printwatches o", 13, &["off", "on"]);
        check("set -v ", 7, &[]);
    }
}
