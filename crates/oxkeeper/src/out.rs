//! Standard output of commands that are not servers.
//!
//! `println!` panics if the reader of standard output has gone, as in `oxkeeper completions bash | head -1`.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes to standard output. If its reader has gone, ends the process, because there is nothing left to do.
pub(crate) fn put(text: impl Display) {
    if write!(io::stdout(), "{text}").is_err() {
        std::process::exit(1);
    }
}

/// Flushes standard output.
pub(crate) fn flush() {
    if io::stdout().flush().is_err() {
        std::process::exit(1);
    }
}

/// Writes a line to standard output and flushes it.
pub(crate) fn line(text: impl Display) {
    put(format_args!("{text}\n"));
    flush();
}

/// Calls [`line()`] with arguments like those of `println!`.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::out::line(format_args!($($text)*))
    };
}
