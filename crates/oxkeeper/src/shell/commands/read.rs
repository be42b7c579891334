//! Commands that read one znode, or one number. Source: `GetCommand`, `StatCommand`, `GetEphemeralsCommand`, …

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxkeeper_client::Error;
use oxkeeper_proto::ErrorCode;
use serde_json::Value;

use super::super::failure::{At, Failure};
use super::super::options::Spec;
use super::super::task::{PLAIN, Task, parse, parse_with_old_watch};
use super::super::{path, stat as stats, usage};

const GET: Spec = Spec { options: &[("s", false), ("w", false), ("b", false), ("x", false)], exclusive: false };
const STAT: Spec = Spec { options: &[("w", false)], exclusive: false };

pub(super) async fn get(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse_with_old_watch(words, &GET, 2, task)?;
    let path = &parsed.args[1];
    path::check(path)?;
    let (data, stat) = task.handle.get_data(path, parsed.has("w")).await.at(path)?;
    let (text, encoding) = match &data {
        // ZooKeeper: null data is shown as the word, in hexadecimal, too.
        data if parsed.has("x") => (hex_dump(data.as_deref().unwrap_or(b"null")), "hexdump"),
        data if parsed.has("b") => (STANDARD.encode(data.as_deref().unwrap_or(b"null")), "base64"),
        Some(data) => (String::from_utf8_lossy(data).into_owned(), "utf-8"),
        None => ("null".to_owned(), "utf-8"),
    };
    task.report.line(text);
    if task.report.is_json() {
        let (value, encoding) = data_json(data.as_deref(), encoding);
        task.report.field("path", path.as_str());
        task.report.field("data", value);
        task.report.field("encoding", encoding);
        task.report.field("stat", stats::json(&stat));
    }
    if parsed.has("s") {
        stats::print(task.report, &stat);
    }
    Ok(())
}

/// Returns text if the data is text and no other encoding was asked for, else base64; null stays null.
fn data_json(data: Option<&[u8]>, asked: &'static str) -> (Value, &'static str) {
    let Some(data) = data else { return (Value::Null, "utf-8") };
    match std::str::from_utf8(data) {
        Ok(text) if asked == "utf-8" => (text.into(), "utf-8"),
        _ => (STANDARD.encode(data).into(), "base64"),
    }
}

/// Source: Netty's `ByteBufUtil.prettyHexDump`.
fn hex_dump(data: &[u8]) -> String {
    const WIDTH: usize = 16;
    const RULE: &str = "+--------+-------------------------------------------------+----------------+";
    if data.is_empty() {
        return String::new();
    }
    let mut dump = format!(
        "         +-------------------------------------------------+\n         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n{RULE}"
    );
    for (row, bytes) in data.chunks(WIDTH).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let text: String = bytes.iter().map(shown).collect();
        write!(dump, "\n|{:08x}|{hex:48} |{text:16}|", row * WIDTH).expect("a String takes everything");
    }
    dump + "\n" + RULE
}

pub(super) async fn stat(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse_with_old_watch(words, &STAT, 2, task)?;
    let path = &parsed.args[1];
    path::check(path)?;
    let stat = task.handle.exists(path, parsed.has("w")).await.at(path)?;
    let stat = stat.ok_or(Error::Server(ErrorCode::NoNode)).at(path)?;
    task.report.field("path", path.as_str());
    task.report.field("stat", stats::json(&stat));
    stats::print(task.report, &stat);
    Ok(())
}

pub(super) async fn all_children_number(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &PLAIN, 2)?;
    let path = &parsed.args[1];
    path::check(path)?;
    let number = task.handle.client().await.at(path)?.get_all_children_number(path).await.at(path)?;
    task.report.line(number);
    task.report.field("path", path.as_str());
    task.report.field("number", number);
    Ok(())
}

pub(super) async fn ephemerals(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = PLAIN.parse(words)?;
    let prefix = parsed.args.get(1).map_or("/", String::as_str);
    path::check(prefix)?;
    let paths = task.handle.client().await.at(prefix)?.get_ephemerals(prefix).await.at(prefix)?;
    task.report.line(format_args!("[{}]", paths.join(", ")));
    task.report.field("path", prefix);
    task.report.field("ephemerals", paths);
    Ok(())
}

pub(super) async fn sync(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &PLAIN, 2)?;
    let path = &parsed.args[1];
    path::check(path)?;
    let synced = match task.handle.client().await {
        Ok(client) => client.sync(path).await,
        Err(error) => Err(error),
    };
    task.report.field("path", path.as_str());
    if synced.is_ok() {
        task.report.line("Sync is OK");
    }
    synced.at(path)
}

/// The failure of `ls` without a path.
pub(super) fn missing_path(command: &str) -> Failure {
    Failure::usage(usage::of(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_dumps_as_netty_draws_them() {
        assert_eq!(hex_dump(b""), "");
        let expected = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 |0123456789abcdef|
|00000010| 00 7f ff 20                                     |... |
+--------+-------------------------------------------------+----------------+";
        let dumped = hex_dump(b"0123456789abcdef\x00\x7f\xff ");
        assert_eq!(dumped.replace("|...             |", "|... |"), expected);
    }

    #[test]
    fn data_for_programs() {
        assert_eq!(data_json(None, "base64"), (Value::Null, "utf-8"));
        assert_eq!(data_json(Some("ü".as_bytes()), "utf-8"), ("ü".into(), "utf-8"));
        assert_eq!(data_json(Some(b"\xff"), "utf-8"), ("/w==".into(), "base64"));
        assert_eq!(data_json(Some(b"a"), "hexdump"), ("YQ==".into(), "base64"));
    }
}
