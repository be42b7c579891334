//! Prints a znode's stat, for people and for programs. Source: `StatPrinter`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use oxkeeper_proto::records::Stat;
use serde_json::{Value, json};

use super::report::Report;

/// Prints the lines of `stat`.
pub(super) fn print(report: &Report, stat: &Stat) {
    let zone = TimeZone::system();
    report.line(format_args!("cZxid = 0x{:x}", stat.czxid));
    report.line(format_args!("ctime = {}", date(stat.ctime, &zone)));
    report.line(format_args!("mZxid = 0x{:x}", stat.mzxid));
    report.line(format_args!("mtime = {}", date(stat.mtime, &zone)));
    report.line(format_args!("pZxid = 0x{:x}", stat.pzxid));
    report.line(format_args!("cversion = {}", stat.cversion));
    report.line(format_args!("dataVersion = {}", stat.version));
    report.line(format_args!("aclVersion = {}", stat.aversion));
    report.line(format_args!("ephemeralOwner = 0x{:x}", stat.ephemeral_owner));
    report.line(format_args!("dataLength = {}", stat.data_length));
    report.line(format_args!("numChildren = {}", stat.num_children));
}

/// Returns the stat under the names that `stat` prints. Identifiers are strings, because not every program's numbers
/// hold 64 bits; times are milliseconds since 1970.
pub(super) fn json(stat: &Stat) -> Value {
    json!({
        "cZxid": format!("0x{:x}", stat.czxid),
        "ctime": stat.ctime,
        "mZxid": format!("0x{:x}", stat.mzxid),
        "mtime": stat.mtime,
        "pZxid": format!("0x{:x}", stat.pzxid),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": format!("0x{:x}", stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// Formats a time as `Date.toString` does, in the time zone of this machine (or `TZ`).
fn date(epoch_ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(epoch_ms) {
        Ok(time) => time.to_zoned_datetime(zone.clone()).strftime("%a %b %d %H:%M:%S %Z %Y").to_string(),
        // Beyond every calendar.
        Err(_) => format!("{epoch_ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_java_prints_them() {
        let check = |epoch_ms, zone: &str, expected: &str| {
            let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::posix(zone).expect("a zone") };
            assert_eq!(date(epoch_ms, &zone), expected);
        };
        check(0, "UTC", "Thu Jan 01 00:00:00 UTC 1970");
        check(1_795_403_011_999, "UTC", "Mon Nov 23 03:03:31 UTC 2026");
        check(1_795_403_011_999, "CET-1CEST,M3.5.0,M10.5.0/3", "Mon Nov 23 04:03:31 CET 2026");
    }
}
