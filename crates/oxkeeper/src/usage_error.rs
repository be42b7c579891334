//! Wrong use of the command line that its parser cannot find.

use std::error::Error;
use std::fmt;

/// The exit code of wrong use, as that of the parser.
pub(crate) const EXIT_CODE: u8 = 2;

/// A command line that cannot be used, and why.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}
