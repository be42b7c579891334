//! Parses the `myid` file, and the version in the name of a dynamic file.
//!
//! Source: `QuorumPeerConfig#setupMyId` and `#getVersionFromFilename`.

/// Reads the first line of a `myid` file.
///
/// *Errors*: the line is not a decimal number.
pub(super) fn parse_my_id(text: &str) -> Result<i64, String> {
    // ZooKeeper: white space around the number is an error there. Here it is not: a space that an editor adds should
    // not prevent a start.
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err("is empty; write this server's number into it".to_owned());
    }
    line.parse().map_err(|_| format!("{line:?} is not a number; write this server's number into the first line"))
}

/// Returns the version in the name of a dynamic file, `zoo.cfg.dynamic.<hex>`.
pub(super) fn version_of_file_name(name: &str) -> Option<i64> {
    name.rsplit_once('.').and_then(|(_, hex)| i64::from_str_radix(hex, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn my_id_is_one_decimal_line() {
        for (text, expected) in [("1", Some(1)), ("5\n", Some(5)), (" 7 \nrest", Some(7)), ("", None), ("x", None)] {
            assert_eq!(parse_my_id(text).ok(), expected, "{text:?}");
        }
        assert_eq!(version_of_file_name("zoo.cfg.dynamic.1001"), Some(0x1001));
        assert_eq!(version_of_file_name("zoo.cfg.dynamic"), None);
    }
}
