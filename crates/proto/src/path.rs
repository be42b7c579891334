//! Path rules. Source: `PathUtils.validatePath`.

/// Checks that `path` may be the path of a znode.
///
/// *Errors*: the reason, in ZooKeeper's words.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if path == "/" {
        return Ok(());
    }
    if path.is_empty() {
        return Err("Path length must be > 0");
    }
    let Some(names) = path.strip_prefix('/') else { return Err("Path must start with / character") };
    if path.ends_with('/') {
        return Err("Path must not end with / character");
    }
    names.split('/').try_for_each(check_name)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => return Err("empty node name specified"),
        "." | ".." => return Err("relative paths not allowed"),
        _ => {}
    }
    if name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Ok(());
    }
    name.chars().try_for_each(check_char)
}

/// Checks a character. ZooKeeper: it checks UTF-16, where every character above U+FFFF is a pair of forbidden
/// surrogates.
fn check_char(char: char) -> Result<(), &'static str> {
    match char {
        '\0' => Err("null character not allowed"),
        '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'.. => Err("invalid character"),
        _ => Ok(()),
    }
}

/// Returns the path of the parent and the name within it; `None` for the root and for paths without a `/`.
///
/// The root as a parent is the empty path, which is also ZooKeeper's key for looking it up.
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    if path == "/" { None } else { path.rsplit_once('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |path: &str, expected: Result<(), &'static str>| assert_eq!(check_path(path), expected, "{path:?}");
        for good in ["/", "/a", "/a/b", "/a.b", "/...", "/ä€", "/a b"] {
            check(good, Ok(()));
        }
        check("", Err("Path length must be > 0"));
        check("a", Err("Path must start with / character"));
        check("/a/", Err("Path must not end with / character"));
        check("//", Err("Path must not end with / character"));
        check("/a//b", Err("empty node name specified"));
        check("/a/../b", Err("relative paths not allowed"));
        check("/.", Err("relative paths not allowed"));
        check("/a\0b", Err("null character not allowed"));
        for bad in ["/\u{1}", "/\u{7f}", "/\u{9f}", "/\u{e000}", "/\u{fffd}", "/😀"] {
            check(bad, Err("invalid character"));
        }
    }

    #[test]
    fn parents() {
        let check = |path: &str, expected: Option<(&str, &str)>| assert_eq!(split_path(path), expected, "{path:?}");
        check("/a/b", Some(("/a", "b")));
        check("/a", Some(("", "a")));
        check("/a/", Some(("/a", ""))); // the parent of a sequential znode
        check("/", None);
        check("a", None);
        check("", None);
    }
}
