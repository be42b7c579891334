//! What a command says: lines as ZooKeeper's shell prints them, or fields of one JSON object.
//!
//! A command says everything both ways; the format decides which is heard. Standard output and standard error are used as
//! ZooKeeper's shell uses them; with JSON everything is on standard output.

use std::fmt::Display;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use crate::out::{flush, put};

/// How commands answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As zkCli prints it
    #[default]
    Text,
    /// One object a command, one line each
    Json,
}

/// What one command says.
#[derive(Debug)]
pub(super) struct Report {
    format: Format,
    fields: Map<String, Value>,
    warnings: Vec<Value>,
}

impl Report {
    pub(super) fn new(format: Format) -> Report {
        Report { format, fields: Map::new(), warnings: Vec::new() }
    }

    /// A line for people, on standard output.
    pub(super) fn line(&self, text: impl Display) {
        self.text(format_args!("{text}\n"));
    }

    /// Text for people, on standard output.
    pub(super) fn text(&self, text: impl Display) {
        if self.format == Format::Text {
            put(text);
        }
    }

    /// A line for people, on standard error; also a warning for programs.
    pub(super) fn warn(&mut self, text: impl Display) {
        match self.format {
            Format::Text => eprintln!("{text}"),
            Format::Json => self.warnings.push(text.to_string().into()),
        }
    }

    /// A line for people, on standard error.
    pub(super) fn aside(&self, text: impl Display) {
        if self.format == Format::Text {
            eprintln!("{text}");
        }
    }

    /// A field for programs.
    pub(super) fn field(&mut self, name: &str, value: impl Into<Value>) {
        if self.format == Format::Json {
            self.fields.insert(name.to_owned(), value.into());
        }
    }

    /// Whether programs listen, so that what is only for people need not be gathered, and the other way round.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Says how it ended, last.
    pub(super) fn finish(self, command: &str, result: &Result<(), Failure>) {
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
