//! Metrics grouped for exporters: one name, help and type with all values.

use std::borrow::Cow;

use crate::observe::words::metrics::{Metric, Number, Summary, Value};

/// A group of samples under one name.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

/// Prometheus metric types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gauge,
    Counter,
    Summary,
    Histogram,
}

impl Kind {
    /// Returns the name of the type in the format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        }
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Suffix of the name.
    pub(crate) suffix: &'static str,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// Returns a sample without labels.
    pub(crate) fn plain(suffix: &'static str, value: f64) -> Sample {
        Sample { suffix, labels: Vec::new(), value }
    }
}

impl Family {
    /// Returns a family with one sample and no labels.
    pub(crate) fn one(name: &'static str, kind: Kind, help: &'static str, value: f64) -> Family {
        Family { name: name.into(), help, kind, samples: vec![Sample::plain("", value)] }
    }
}

/// Groups metrics by name, in the order of first appearance.
pub(crate) fn group(metrics: Vec<Metric>) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let samples = samples(&metric);
        match families.iter_mut().find(|family| family.name == metric.name) {
            Some(family) => family.samples.extend(samples),
            None => families.push(Family { kind: kind(&metric.value), name: metric.name, help: metric.help, samples }),
        }
    }
    families
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Gauge(_) => Kind::Gauge,
        Value::Counter(_) => Kind::Counter,
        Value::Summary(_) | Value::Distribution(..) => Kind::Summary,
    }
}

fn samples(metric: &Metric) -> Vec<Sample> {
    let plain = |value: f64| vec![Sample::plain("", value)];
    let mut samples = match metric.value {
        Value::Gauge(Number::Int(value)) | Value::Counter(value) => plain(value as f64),
        Value::Gauge(Number::Real(value)) => plain(value),
        Value::Summary(summary) => summarised(metric, summary, &["0.5"]),
        Value::Distribution(summary, _) => summarised(metric, summary, &["0.5", "0.9", "0.99"]),
    };
    if let Some(label) = &metric.label {
        samples.iter_mut().for_each(|sample| sample.labels.insert(0, ("key", label.clone())));
    }
    samples
}

/// Returns ZooKeeper's quantiles: one for a basic summary, three for an advanced one; NaN without
/// values.
fn summarised(metric: &Metric, summary: Summary, quantiles: &[&str]) -> Vec<Sample> {
    let quantiles = quantiles.iter().zip(metric.recent);
    let mut samples: Vec<Sample> = quantiles
        .map(|(quantile, value)| {
            let value = value.map_or(f64::NAN, |value| value as f64);
            Sample { suffix: "", labels: vec![("quantile", (*quantile).to_owned())], value }
        })
        .collect();
    samples.push(Sample::plain("_count", summary.count as f64));
    samples.push(Sample::plain("_sum", summary.sum as f64));
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::words::metrics::Percentiles;

    #[test]
    fn labelled_metrics_of_one_name_stand_together() {
        let gauge = |name, label: &str| Metric::gauge(name, 1).labelled(label);
        let families = group(vec![gauge("a", "x"), gauge("b", "x"), gauge("a", "y")]);
        let names: Vec<_> = families.iter().map(|family| (family.name.as_ref(), family.samples.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 1)]);
        assert_eq!(families[0].samples[1].labels, [("key", "y".to_owned())]);
    }

    #[test]
    fn quantiles_are_the_references() {
        let summary = Summary { min: 1, max: 9, count: 3, sum: 12 };
        let shown = |metric: Metric| {
            let samples = samples(&metric);
            let text = |sample: &Sample| format!("{}{:?}={}", sample.suffix, sample.labels, sample.value);
            samples.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        let basic = Metric { recent: [Some(2), Some(9), Some(9)], ..Metric::new("x", Value::Summary(summary)) };
        assert_eq!(shown(basic), "[(\"quantile\", \"0.5\")]=2 _count[]=3 _sum[]=12");
        let advanced = Metric::new("x", Value::Distribution(summary, Percentiles::default()));
        let nothing = ["0.5", "0.9", "0.99"].map(|q| format!("[(\"quantile\", \"{q}\")]=NaN")).join(" ");
        assert_eq!(shown(advanced), format!("{nothing} _count[]=3 _sum[]=12"));
    }
}
