//! Reads command lines: from a terminal, with editing, completion and a history file; from a pipe; or from `-e`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufRead};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Result;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::completion::Completion;
use super::events::LinePrinter;

/// Number of lines that the history file keeps.
const HISTORY_MAX: usize = 1000;
/// Commands whose lines hold secrets; the history file does not keep them.
const SECRET: [&str; 1] = ["addauth"];

/// A source of lines.
pub(super) trait Lines {
    /// Reads the next line; `None` at the end.
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

/// The commands of `-e`.
pub(super) struct Given(pub(super) std::vec::IntoIter<String>);

impl Lines for Given {
    fn next(&mut self, _prompt: &str) -> Result<Option<String>> {
        Ok(self.0.next())
    }
}

/// Lines that somebody types.
pub(super) struct Typed {
    editor: Editor<Completion, FileHistory>,
    file: Option<PathBuf>,
}

impl Typed {
    /// Opens the terminal. From now on events go through `printer`, so that they do not run into the line being typed.
    pub(super) fn open(completion: Completion, printer: &LinePrinter) -> Result<Typed> {
        let config = Config::builder().max_history_size(HISTORY_MAX)?.history_ignore_dups(true)?;
        let config = config.completion_type(CompletionType::List).build();
        let history = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(completion));
        *printer.lock() = Some(Box::new(editor.create_external_printer()?));
        let file = history_file();
        if let Some(file) = &file {
            // Without a history, or with one that cannot be read, the shell begins a new one.
            let _ = editor.load_history(file);
        }
        Ok(Typed { editor, file })
    }

    /// Appends to the history file, before a command may end the shell. The shell works without the file, so errors are
    /// ignored.
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
                // Ctrl-C drops the line, Ctrl-D ends the shell.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Returns `$OXKEEPER_HISTORY` (empty for none), else a file in the XDG state directory.
fn history_file() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("OXKEEPER_HISTORY") {
        return Some(PathBuf::from(named)).filter(|file| !file.as_os_str().is_empty());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("oxkeeper").join("history"))
}
