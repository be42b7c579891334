//! Errors in the use of the command line that its parser cannot detect.

use std::error::Error;
use std::fmt;

/// Exit code of a usage error, the same as the parser's.
pub(crate) const EXIT_CODE: u8 = 2;

/// A usage error: the reason why a command line cannot be used.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UsageError {}
