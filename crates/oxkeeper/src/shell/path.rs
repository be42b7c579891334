//! Checks the paths that the user writes before they are sent. Source: `PathUtils.validatePath`, whose words these are.

use oxkeeper_proto::path::check_path;

use super::failure::Failure;

/// *Errors*: what is wrong and where, counted in UTF-16 units.
pub(super) fn check(path: &str) -> Result<(), Failure> {
    let Err(reason) = check_path(path) else { return Ok(()) };
    let message = match fault(path).filter(|_| path.starts_with('/') && !path.ends_with('/')) {
        Some(at) => format!("Invalid path string \"{path}\" caused by {reason} @{at}"),
        None => reason.to_owned(),
    };
    Err(Failure { path: Some(path.to_owned()), ..Failure::new("BadPath", message) })
}

/// Checks a path whose last name gets a suffix.
pub(super) fn check_sequential(path: &str) -> Result<(), Failure> {
    check(&format!("{path}1"))
}

/// Returns the offset of the first fault, in UTF-16 units.
fn fault(path: &str) -> Option<usize> {
    let mut start = 1;
    for name in path.get(1..)?.split('/') {
        let wrong = match name {
            "" => Some(0),
            "." => Some(0),
            ".." => Some(1),
            _ => {
                let good = |char: &char| check_path(&format!("/a{char}")).is_ok();
                let len = name.chars().take_while(good).map(char::len_utf16).sum();
                (len < name.encode_utf16().count()).then_some(len)
            }
        };
        if let Some(at) = wrong {
            return Some(start + at);
        }
        start += name.encode_utf16().count() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_where() {
        for good in ["/", "/a", "/a b/ü"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let message = |path: &str| check(path).expect_err("no path").message;
        assert_eq!(message(""), "Path length must be > 0");
        assert_eq!(message("a"), "Path must start with / character");
        assert_eq!(message("/a/"), "Path must not end with / character");
        assert_eq!(message("//a"), "Invalid path string \"//a\" caused by empty node name specified @1");
        assert_eq!(message("/a/../b"), "Invalid path string \"/a/../b\" caused by relative paths not allowed @4");
        assert_eq!(message("/ab/."), "Invalid path string \"/ab/.\" caused by relative paths not allowed @4");
        assert_eq!(message("/ü\u{1}"), "Invalid path string \"/ü\u{1}\" caused by invalid character @2");
        assert_eq!(check_sequential("/a/"), Ok(()));
    }
}
