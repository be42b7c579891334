//! Metrics as plain values, for `mntr` and other exporters.
//!
//! This module turns a metric into lines of `mntr`, with the suffixes of summaries. Source:
//! `MonitorCommand`, `DefaultMetricsProvider#dump`, `AvgMinMaxCounter#values`,
//! `AvgMinMaxPercentileCounter#values`.

use std::borrow::Cow;

use crate::java;

/// One metric at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    /// Name without a prefix.
    pub(crate) name: Cow<'static, str>,
    /// Label of a labelled metric: the top-level namespace, the server id, etc.
    pub(crate) label: Option<String>,
    /// The value.
    pub(crate) value: Value,
    /// Help text, one sentence.
    pub(crate) help: &'static str,
    /// For a summary: recent percentiles 50, 90 and 99.
    pub(crate) recent: [Option<u64>; 3],
}

/// Value of a metric, by kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// Goes up and down; `srst` does not reset it.
    Gauge(Number),
    /// Only goes up.
    Counter(i64),
    /// A basic summary.
    Summary(Summary),
    /// An advanced summary.
    Distribution(Summary, Percentiles),
}

/// A number. Integers are printed as such, others always with a decimal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// `7`
    Int(i64),
    /// `7.0`
    Real(f64),
}

/// Summary of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// Minimum; 0 without values.
    pub(crate) min: i64,
    /// Maximum; 0 without values.
    pub(crate) max: i64,
    /// Number of values.
    pub(crate) count: i64,
    /// Sum of all values.
    pub(crate) sum: i64,
}

impl Summary {
    /// Returns the average, rounded half up to four decimals; 0 without values.
    pub(crate) fn average(&self) -> f64 {
        java::average(self.sum, self.count)
    }
}

/// Values that 50 %, 95 %, … of all values do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Percentiles {
    /// 50 %
    pub p50: i64,
    /// 95 %
    pub p95: i64,
    /// 99 %
    pub p99: i64,
    /// 99.9 %
    pub p999: i64,
}

impl Metric {
    /// Returns a metric without a label.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Metric { name: name.into(), label: None, value, help: "", recent: [None; 3] }
    }

    /// Returns an integer gauge.
    pub(crate) fn gauge(name: &'static str, value: i64) -> Self {
        Metric::new(name, Value::Gauge(Number::Int(value)))
    }

    /// Returns a counter.
    pub(crate) fn counter(name: &'static str, value: i64) -> Self {
        Metric::new(name, Value::Counter(value))
    }

    /// Sets the help text.
    pub(crate) fn help(self, help: &'static str) -> Self {
        Metric { help, ..self }
    }

    /// Adds a label.
    pub(crate) fn labelled(self, label: impl Into<String>) -> Self {
        Metric { label: Some(label.into()), ..self }
    }

    /// Returns the lines for `mntr`: name without `zk_`, and value as printed.
    pub(crate) fn lines(&self) -> Vec<(String, String)> {
        // ZooKeeper: the label is placed between `avg_` and the name, as if it were part of the
        // name.
        let name = match &self.label {
            Some(label) => Cow::Owned(format!("{label}_{}", self.name)),
            None => Cow::Borrowed(self.name.as_ref()),
        };
        let summary = |s: Summary| {
            let average = ("avg", java::double(s.average()));
            let rest = [("min", s.min), ("max", s.max), ("cnt", s.count), ("sum", s.sum)];
            std::iter::once(average).chain(rest.map(|(part, value)| (part, value.to_string())))
        };
        let part = |(part, value): (&str, String)| (format!("{part}_{name}"), value);
        match self.value {
            Value::Gauge(Number::Int(value)) | Value::Counter(value) => vec![(name.into_owned(), value.to_string())],
            Value::Gauge(Number::Real(value)) => vec![(name.into_owned(), java::double(value))],
            Value::Summary(s) => summary(s).map(part).collect(),
            Value::Distribution(s, p) => {
                let percentiles = [("p50", p.p50), ("p95", p.p95), ("p99", p.p99), ("p999", p.p999)];
                let percentiles = percentiles.map(|(part, value)| (part, value.to_string()));
                summary(s).chain(percentiles).map(part).collect()
            }
        }
    }

    /// Returns the position in `mntr`, which prints the kinds one after another.
    pub(super) fn rank(&self) -> u8 {
        let labelled = u8::from(self.label.is_some());
        match self.value {
            Value::Gauge(_) => labelled,
            Value::Counter(_) => 2 + labelled,
            Value::Summary(_) => 4 + 2 * labelled,
            Value::Distribution(..) => 5 + 2 * labelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metric: &Metric, expected: &[(&str, &str)]) {
        let lines = metric.lines();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_of_each_kind() {
        check(&Metric::gauge("watch_count", 4), &[("watch_count", "4")]);
        check(&Metric::new("avg_latency", Value::Gauge(Number::Real(0.0))), &[("avg_latency", "0.0")]);
        check(&Metric::counter("snap_count", 1), &[("snap_count", "1")]);
        let summary = Summary { min: 70, max: 74, count: 3, sum: 218 };
        check(
            &Metric::new("read_per_namespace", Value::Summary(summary)).labelled("n"),
            &[
                ("avg_n_read_per_namespace", "72.6667"),
                ("min_n_read_per_namespace", "70"),
                ("max_n_read_per_namespace", "74"),
                ("cnt_n_read_per_namespace", "3"),
                ("sum_n_read_per_namespace", "218"),
            ],
        );
        let percentiles = Percentiles { p50: 0, p95: 1, p99: 3, p999: 12 };
        check(
            &Metric::new("updatelatency", Value::Distribution(Summary::default(), percentiles)),
            &[
                ("avg_updatelatency", "0.0"),
                ("min_updatelatency", "0"),
                ("max_updatelatency", "0"),
                ("cnt_updatelatency", "0"),
                ("sum_updatelatency", "0"),
                ("p50_updatelatency", "0"),
                ("p95_updatelatency", "1"),
                ("p99_updatelatency", "3"),
                ("p999_updatelatency", "12"),
            ],
        );
    }
}
