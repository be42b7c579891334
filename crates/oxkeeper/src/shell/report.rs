//! The output of a command: lines as ZooKeeper's shell prints them, or fields of one JSON object.
//!
//! A command reports everything both ways; the format decides which is printed. Standard output and standard error are used as
//! ZooKeeper's shell uses them; with JSON everything is on standard output.

use std::fmt::Display;
use std::io::{IsTerminal, stdout};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::progress::Progress;
use crate::out::{flush, put};

/// The format of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The output of zkCli
    #[default]
    Text,
    /// One object for each command, on one line
    Json,
}

/// The output of one command.
#[derive(Debug)]
pub(super) struct Report {
    format: Format,
    progress: Progress,
    fields: Map<String, Value>,
    warnings: Vec<Value>,
}

impl Report {
    /// Begins a report without progress.
    pub(super) fn new(format: Format) -> Report {
        Report { format, progress: Progress::none(), fields: Map::new(), warnings: Vec::new() }
    }

    /// Begins the report of `command`, with its progress.
    pub(super) fn begin(format: Format, command: &str) -> Report {
        Report { progress: Progress::begin(command), ..Report::new(format) }
    }

    /// Returns the progress of the command.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Ends the progress of a command whose lines show how far it is, unless standard output goes elsewhere.
    pub(super) fn lines_are_progress(&self) {
        if self.format == Format::Text && stdout().is_terminal() {
            self.progress.end();
        }
    }

    /// Prints a line for people, on standard output.
    pub(super) fn line(&self, text: impl Display) {
        self.text(format_args!("{text}\n"));
    }

    /// Prints text for people, on standard output.
    pub(super) fn text(&self, text: impl Display) {
        if self.format == Format::Text {
            self.progress.aside(|| put(text));
        }
    }

    /// Prints a warning for people, on standard error, or keeps it for programs.
    pub(super) fn warn(&mut self, text: impl Display) {
        match self.format {
            Format::Text => self.progress.aside(|| eprintln!("{text}")),
            Format::Json => self.warnings.push(text.to_string().into()),
        }
    }

    /// Prints a line for people, on standard error.
    pub(super) fn aside(&self, text: impl Display) {
        if self.format == Format::Text {
            self.progress.aside(|| eprintln!("{text}"));
        }
    }

    /// Adds a field for programs.
    pub(super) fn field(&mut self, name: &str, value: impl Into<Value>) {
        if self.format == Format::Json {
            self.fields.insert(name.to_owned(), value.into());
        }
    }

    /// Whether the output is JSON, so that a command need not gather fields that nobody prints.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Reports how the command ended, last.
    pub(super) fn finish(self, command: &str, result: &Result<(), Failure>) {
        self.progress.end();
        match self.format {
            Format::Text => {
                if let Err(Failure { message, .. }) = result
                    && !message.is_empty()
                {
                    eprintln!("{message}");
                }
            }
            Format::Json => {
                let mut object = Map::new();
                object.insert("command".to_owned(), command.into());
                object.insert("ok".to_owned(), result.is_ok().into());
                if let Err(failure) = result {
                    object.insert("exit".to_owned(), failure.exit.into());
                    let Failure { code, message, path, exit: _ } = failure;
                    object.insert("error".to_owned(), json!({"code": code, "message": message, "path": path}));
                }
                object.extend(self.fields);
                if !self.warnings.is_empty() {
                    object.insert("warnings".to_owned(), self.warnings.into());
                }
                put(format_args!("{}\n", Value::Object(object)));
            }
        }
        flush();
    }
}
