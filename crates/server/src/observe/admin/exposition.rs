//! Metrics in Prometheus's text format, version 0.0.4.
//!
//! This module owns the format. Invariant: a metric's name appears in a single group, with its help
//! and type. Source: `io.prometheus.client.exporter.common.TextFormat`.

use std::fmt::{self, Write as _};

use crate::observe::metrics::family::{Family, Sample};

/// Content type of a page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics as one page.
pub(super) fn page(families: &[Family]) -> String {
    let mut page = String::new();
    families.iter().try_for_each(|family| write_family(&mut page, family)).expect("a String takes all");
    page
}

fn write_family(page: &mut String, family: &Family) -> fmt::Result {
    let name = &family.name;
    writeln!(page, "# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(page, "# TYPE {name} {}", family.kind.name())?;
    family.samples.iter().try_for_each(|sample| write_sample(page, name, sample))
}

fn write_sample(page: &mut String, name: &str, sample: &Sample) -> fmt::Result {
    write!(page, "{name}{}", sample.suffix)?;
    for (index, (label, value)) in sample.labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(page, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' })?;
    }
    let end = if sample.labels.is_empty() { "" } else { "}" };
    writeln!(page, "{end} {}", Real(sample.value))
}

/// Formats a number for Prometheus.
struct Real(f64);

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::family::Kind;

    #[test]
    fn every_kind() {
        let quantile = |q: &str, value| Sample { suffix: "", labels: vec![("quantile", q.to_owned())], value };
        let summary = Family {
            name: "fsynctime".into(),
            help: "Time to sync,\nms",
            kind: Kind::Summary,
            samples: vec![quantile("0.5", f64::NAN), Sample::plain("_count", 3.0), Sample::plain("_sum", 2.5)],
        };
        let gauge = Family {
            name: "quota".into(),
            help: "x",
            kind: Kind::Gauge,
            samples: vec![Sample { suffix: "", labels: vec![("key", "a\"\\\n".to_owned())], value: -1.0 }],
        };
        let infinite = Family {
            name: "h".into(),
            help: "y",
            kind: Kind::Histogram,
            samples: vec![Sample { suffix: "_bucket", labels: vec![("le", "+Inf".to_owned())], value: 1e21 }],
        };
        let expected = "\
# HELP fsynctime Time to sync,\\nms
# TYPE fsynctime summary
fsynctime{quantile=\"0.5\"} NaN
fsynctime_count 3
fsynctime_sum 2.5
# HELP quota x
# TYPE quota gauge
quota{key=\"a\\\"\\\\\\n\"} -1
# HELP h y
# TYPE h histogram
h_bucket{le=\"+Inf\"} 1000000000000000000000
";
        assert_eq!(page(&[summary, gauge, infinite]), expected);
    }
}
