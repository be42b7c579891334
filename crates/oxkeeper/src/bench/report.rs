//! The results of a measurement, as a table or as one JSON object, and the progress bar meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value};

use super::args::Output;
use super::lost::Lost;
use super::process::{Cpu, Probe};

/// Says that a measurement ended early; its report has been printed.
pub(super) fn ended_early(lost: &Lost, time: Duration, planned: Duration) -> String {
    let (time, planned) = (time.as_secs_f64(), planned.as_secs_f64());
    format!("{lost}. The measurement ended after {time:.1} of {planned:.1} s; the report covers that time")
}

/// Prints `report` to stdout.
pub(super) fn print(report: &impl Serialize, output: Output) -> Result<()> {
    match output {
        Output::Json => say!("{}", serde_json::to_string(report)?),
        Output::Table => say!("{}", table(&serde_json::to_value(report)?)),
    }
    Ok(())
}

/// Makes a table of field names and values.
fn table(report: &Value) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, value) in report.as_object().into_iter().flatten() {
        table.add_row([name.replace('_', " "), cell(value)]);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    table
}

fn cell(value: &Value) -> String {
    if let Some(counts) = value.as_object() {
        return counts.iter().map(|(name, count)| format!("{name}: {}", cell(count))).collect::<Vec<_>>().join("\n");
    }
    match value.as_f64() {
        Some(number) if value.is_f64() => grouped(&format!("{number:.2}")),
        Some(_) => grouped(&value.to_string()),
        None => value.as_str().map_or_else(|| value.to_string(), str::to_string),
    }
}

/// Puts commas between the thousands of a number.
pub(super) fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let first = (digits.len() + 2) % 3 + 1;
    let (head, tail) = digits.split_at(first.min(digits.len()));
    let tail: String = tail.as_bytes().chunks(3).map(|group| format!(",{}", String::from_utf8_lossy(group))).collect();
    format!("{sign}{head}{tail}{fraction}")
}

/// The number of sessions on each server that has any.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Servers(Map<String, Value>);

impl Servers {
    /// Counts `sessions` sessions that were spread over the servers in turn.
    pub(super) fn of(servers: &[SocketAddr], sessions: u32) -> Servers {
        let count = |index: usize| (sessions as usize + servers.len() - 1 - index) / servers.len();
        let counts = servers.iter().enumerate().map(|(index, server)| (server.to_string(), count(index)));
        Servers(counts.filter(|(_, count)| *count > 0).map(|(server, count)| (server, count.into())).collect())
    }
}

/// Percentiles of the times, µs.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    p50_us: f64,
    p90_us: f64,
    pub(super) p99_us: f64,
    p999_us: f64,
    pub(super) max_us: f64,
    mean_us: f64,
}

/// Makes a histogram of nanoseconds up to five minutes, exact to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(300_000_000_000, 3).expect("the bounds are valid")
}

/// Records a time; one beyond the histogram's bound counts as the bound.
pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos() as u64);
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Latency {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: histogram.max() as f64 / 1e3,
            mean_us: histogram.mean() / 1e3,
        }
    }
}

/// The cost of operations.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    seconds: f64,
    ops: u64,
    pub(super) ops_per_s: f64,
    #[serde(flatten)]
    pub(super) latency: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_us_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cores_busy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_rss_bytes: Option<u64>,
    bench_cpu_us_per_op: f64,
    /// The loss that ended the measurement early.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
}

impl Cost {
    /// Computes the cost of `ops` operations in `time` that used `cpu`.
    pub(super) fn new(ops: u64, time: Duration, cpu: Cpu, times: &Histogram<u64>, probe: &Probe) -> Cost {
        let (seconds, count) = (time.as_secs_f64(), ops.max(1) as f64);
        Cost {
            seconds,
            ops,
            ops_per_s: ops as f64 / seconds,
            latency: times.into(),
            server_cpu_us_per_op: cpu.server.map(|server| server * 1e6 / count),
            server_cores_busy: cpu.server.map(|server| server / seconds),
            server_rss_bytes: probe.resident(),
            bench_cpu_us_per_op: cpu.own * 1e6 / count,
            lost: None,
        }
    }

    /// Marks a measurement that a loss ended early.
    pub(super) fn until(self, lost: Option<&Lost>) -> Cost {
        Cost { lost: lost.map(ToString::to_string), ..self }
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    drawn_at: Instant,
}

impl Progress {
    /// Time between two draws. Drawing more often would take CPU time from the server.
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Makes a bar of `len` steps.
    pub(super) fn new(what: &str, len: u64) -> Progress {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}").expect("the template is valid");
        Progress {
            bar: ProgressBar::new(len).with_style(style).with_message(what.to_string()),
            drawn_at: Instant::now(),
        }
    }

    /// Prints one line to stderr.
    pub(super) fn say(&self, text: &str) {
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Shows that `done` steps are done.
    pub(super) fn show(&mut self, done: u64, now: Instant) {
        if now.duration_since(self.drawn_at) >= Progress::INTERVAL {
            self.drawn_at = now;
            self.bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_that_was_recorded() {
        let mut times = histogram();
        (1..=1000).for_each(|us| record(&mut times, Duration::from_micros(us)));
        record(&mut times, Duration::from_secs(1_000_000));
        let latency = Latency::from(&times);
        assert!((latency.p50_us - 501.0).abs() < 2.0 && (latency.p99_us - 991.0).abs() < 2.0, "{latency:?}");
        assert!(latency.max_us >= 299e6, "{latency:?}");
    }

    #[test]
    fn sessions_are_counted_where_they_are() {
        let servers = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(|server| server.parse().expect("an address"));
        let spread = |sessions| serde_json::to_string(&Servers::of(&servers, sessions)).expect("plain data");
        assert_eq!(spread(1), r#"{"127.0.0.1:1":1}"#);
        assert_eq!(spread(8), r#"{"127.0.0.1:1":3,"127.0.0.1:2":3,"127.0.0.1:3":2}"#);
    }

    #[test]
    fn thousands_are_separated() {
        let shown = ["0", "999", "1000", "-1234567.25", "12345", "0.50"].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "-1,234,567.25", "12,345", "0.50"]);
    }

    #[test]
    fn a_table_has_every_field() {
        let servers = serde_json::json!({"a:1": 6, "b:2": 5});
        let report =
            serde_json::json!({"ops_per_s": 51_012.345, "workload": "get", "ops": 7_654_321, "servers": servers});
        let text = table(&report).to_string();
        for expected in ["ops per s", "51,012.35", "workload", "get", "7,654,321", "a:1: 6", "b:2: 5"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
