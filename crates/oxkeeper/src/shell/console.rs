//! Where lines come from: a terminal, with editing, completion and a history file, or a pipe.

use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufRead};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Result;
use oxkeeper_client::Handle;
use parking_lot::Mutex;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use tokio::runtime;

use super::events::LinePrinter;
use super::usage;

/// Lines the history file keeps.
const HISTORY_MAX: usize = 1000;
/// Lines with secrets, which no file keeps.
const SECRET: [&str; 1] = ["addauth"];

/// Lines, one after the other.
pub(super) trait Lines {
    /// The next line; `None` at the end.
    fn next(&mut self, prompt: &str) -> Result<Option<String>>;
}

/// Lines of a pipe or a file, without prompts. Those that begin with `#` are comments.
pub(super) struct Piped;

impl Lines for Piped {
    fn next(&mut self, _prompt: &str) -> Result<Option<String>> {
        let mut line = Vec::new();
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

/// Lines that somebody types.
pub(super) struct Typed {
    editor: Editor<Completion, FileHistory>,
    file: Option<PathBuf>,
}

impl Typed {
    /// Events go through `printer` from now on, so that they do not run into the line being typed.
    pub(super) fn open(completion: Completion, printer: &LinePrinter) -> Result<Typed> {
        let config = Config::builder().max_history_size(HISTORY_MAX)?.history_ignore_dups(true)?.build();
        let history = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(completion));
        *printer.lock() = Some(Box::new(editor.create_external_printer()?));
        let file = history_file();
        if let Some(file) = &file {
            // No history yet, or one that cannot be read: begin anew.
            let _ = editor.load_history(file);
        }
        Ok(Typed { editor, file })
    }

    /// Writes the history, before a command may end the shell. A file that cannot be written is no reason to complain.
    fn keep(&mut self) {
        if let Some(file) = &self.file
            && let Some(directory) = file.parent()
            && DirBuilder::new().recursive(true).mode(0o700).create(directory).is_ok()
            && OpenOptions::new().create(true).append(true).mode(0o600).open(file).is_ok()
        {
            let _ = self.editor.append_history(file);
        }
    }
}

impl Lines for Typed {
    fn next(&mut self, prompt: &str) -> Result<Option<String>> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    let first = line.split_whitespace().next().unwrap_or_default();
                    if !first.is_empty() && !SECRET.contains(&first) {
                        self.editor.add_history_entry(&line)?;
                        self.keep();
                    }
                    return Ok(Some(line));
                }
                // Ctrl-C drops the line, Ctrl-D leaves.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `$OXKEEPER_HISTORY` (empty for none), else in the XDG directory for state.
fn history_file() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OXKEEPER_HISTORY") {
        return Some(PathBuf::from(named)).filter(|file| !file.as_os_str().is_empty());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("oxkeeper").join("history"))
}

/// Completes commands, and the paths of znodes. Source: `JLineZNodeCompleter`.
pub(super) struct Completion {
    runtime: runtime::Handle,
    /// Of the moment; `connect` changes it.
    handle: std::sync::Arc<Mutex<Option<Handle>>>,
}

impl Completion {
    pub(super) fn new(runtime: runtime::Handle, handle: std::sync::Arc<Mutex<Option<Handle>>>) -> Completion {
        Completion { runtime, handle }
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let Some(handle) = self.handle.lock().clone().filter(|handle| handle.state().is_connected()) else {
            return Vec::new();
        };
        let listed = async { handle.client().await?.get_children(parent, false).await };
        self.runtime.block_on(listed).unwrap_or_default()
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = line[..at].rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let (candidates, from) = candidates(&line[start..at], |parent| self.children(parent));
        Ok((start + from, candidates))
    }
}

/// What `word` may become, and which part of it is replaced.
fn candidates(word: &str, children: impl Fn(&str) -> Vec<String>) -> (Vec<String>, usize) {
    let (mut found, from): (Vec<String>, usize) = match word.rsplit_once('/') {
        Some((parent, prefix)) if word.starts_with('/') => {
            let names = children(if parent.is_empty() { "/" } else { parent });
            (names.into_iter().filter(|name| name.starts_with(prefix)).collect(), word.len() - prefix.len())
        }
        _ => (usage::commands().filter(|name| name.starts_with(word)).map(str::to_owned).collect(), 0),
    };
    found.sort_unstable();
    (found, from)
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
    use super::*;

    #[test]
    fn commands_and_paths() {
        let children = |parent: &str| match parent {
            "/" => vec!["zoo".to_owned(), "ape".to_owned(), "apple".to_owned()],
            "/zoo" => vec!["x".to_owned()],
            _ => Vec::new(),
        };
        let check = |word: &str, expected: &[&str], from: usize| {
            assert_eq!(candidates(word, children), (expected.iter().map(|&name| name.to_owned()).collect(), from));
        };
        check("getA", &["getAcl", "getAllChildrenNumber"], 0);
        check("/ap", &["ape", "apple"], 1);
        check("/", &["ape", "apple", "zoo"], 1);
        check("/zoo/", &["x"], 5);
        check("/none/a", &[], 6);
    }
}
