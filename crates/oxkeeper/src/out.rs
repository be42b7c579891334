//! Standard output of commands that end by themselves.
//!
//! `println!` panics once nobody reads any more, as in `oxkeeper completions bash | head -1`.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes to standard output. Once nobody reads it any more there is nothing left to do.
pub(crate) fn put(text: impl Display) {
    if write!(io::stdout(), "{text}").is_err() {
        std::process::exit(1);
    }
}

/// Lets what was put be read.
pub(crate) fn flush() {
    if io::stdout().flush().is_err() {
        std::process::exit(1);
    }
}

/// A line on standard output, at once.
pub(crate) fn line(text: impl Display) {
    put(format_args!("{text}\n"));
    flush();
}

/// [`line`], written like `println!`.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::out::line(format_args!($($text)*))
    };
}
