//! Metrics that only this server has, under `oxkeeper_`. Names include the units, as Prometheus
//! recommends.

use super::family::{Family, Kind, Sample};
use super::figures::Figures;
use crate::telemetry::role::Role;
use oxkeeper_durable::layout::KNOWS;

/// Returns all of these metrics.
pub(super) fn families(figures: &Figures) -> Vec<Family> {
    let gauge = |name, help, value: f64| Family::one(name, Kind::Gauge, help, value);
    let mut families = vec![
        info(),
        serving(figures.place.role),
        log_syncs(figures),
        Family::one(
            "oxkeeper_slow_log_syncs_total",
            Kind::Counter,
            "Syncs of the log that took longer than a second",
            figures.engine.slow_syncs as f64,
        ),
        Family::one(
            "oxkeeper_slow_requests_total",
            Kind::Counter,
            "Writes that took longer than oxkeeper.slowRequestMs",
            figures.engine.slow_requests as f64,
        ),
        gauge("oxkeeper_applied_entries", "Log entries applied", figures.applied as f64),
        gauge("oxkeeper_checkpointed_entries", "Log entries the durable tree holds", figures.checkpointed as f64),
        gauge(
            "oxkeeper_log_behind_checkpoint_bytes",
            "Bytes of log entries behind the last checkpoint: what a restart replays",
            figures.behind_len as f64,
        ),
        gauge("oxkeeper_ballot", "Number of the ballot under which entries count now", figures.ballot as f64),
        gauge("oxkeeper_feature_level", "Feature level that the servers have agreed on", figures.level.0.into()),
        gauge("oxkeeper_feature_level_known", "Highest feature level that this release knows", KNOWS.0.into()),
    ];
    if figures.place.role != Role::Standalone {
        families.extend(agreement(figures));
    }
    if !figures.expiries.is_empty() {
        families.push(expiries(&figures.expiries));
    }
    if let Some((_, done_s)) = figures.checkpoints.last {
        let help = "When the last checkpoint was done, Unix s";
        families.push(gauge("oxkeeper_last_checkpoint_timestamp_seconds", help, done_s as f64));
    }
    families
}

/// Returns the metrics of a member of an ensemble.
fn agreement(figures: &Figures) -> [Family; 3] {
    let gauge = |name, help, value: f64| Family::one(name, Kind::Gauge, help, value);
    let (decided, undecided_len) = figures.engine.decided;
    [
        gauge("oxkeeper_decided_entries", "Log entries decided, as far as this server knows", decided as f64),
        gauge(
            "oxkeeper_undecided_bytes",
            "Bytes of log entries on this server that no majority has yet, as far as it knows",
            undecided_len as f64,
        ),
        gauge(
            "oxkeeper_waiting_bytes",
            "Bytes of writes of this server's own clients that are not applied yet",
            figures.engine.waiting_len as f64,
        ),
    ]
}

fn expiries(expiries: &[(&'static str, i64)]) -> Family {
    let sample =
        |&(to, at_s): &(&str, i64)| Sample { suffix: "", labels: vec![("to", to.to_owned())], value: at_s as f64 };
    let help = "When the certificate expires that this server shows, Unix s";
    let samples = expiries.iter().map(sample).collect();
    Family { name: "oxkeeper_certificate_expiry_timestamp_seconds".into(), help, kind: Kind::Gauge, samples }
}

fn info() -> Family {
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let samples = vec![Sample { suffix: "", labels, value: 1.0 }];
    Family { name: "oxkeeper_build_info".into(), help: "The version of this server", kind: Kind::Gauge, samples }
}

/// Returns the state metric: one of the states is 1, the others are 0.
fn serving(role: Role) -> Family {
    let sample = |state: Role| Sample {
        suffix: "",
        labels: vec![("state", state.name().to_owned())],
        value: f64::from(u8::from(state == role)),
    };
    let help = "What the server is among its peers: 1 at one of the states";
    Family { name: "oxkeeper_state".into(), help, kind: Kind::Gauge, samples: Role::ALL.map(sample).to_vec() }
}

fn log_syncs(figures: &Figures) -> Family {
    let syncs = &figures.engine.syncs;
    let cumulative = syncs.cumulative();
    let count = cumulative.last().map_or(0, |(_, count)| *count);
    let bound = |bound: f64| if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
    let mut samples: Vec<Sample> = cumulative
        .into_iter()
        .map(|(le, count)| Sample { suffix: "_bucket", labels: vec![("le", bound(le))], value: count as f64 })
        .collect();
    samples.extend([Sample::plain("_sum", syncs.sum_s()), Sample::plain("_count", count as f64)]);
    let help = "Time to write and sync the log";
    Family { name: "oxkeeper_log_sync_seconds".into(), help, kind: Kind::Histogram, samples }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::counters::CheckpointStats;
    use crate::telemetry::role::Place;

    fn all() -> Vec<Family> {
        let place = Place { role: Role::Leader, ..Place::default() };
        let checkpoints = CheckpointStats { last: Some((oxkeeper_proto::Zxid(1), 7)), ..CheckpointStats::default() };
        let mut figures = Figures { place, checkpoints, ..Figures::default() };
        figures.expiries = vec![("clients", 1_800_000_000), ("servers", 1_900_000_000)];
        (figures.engine.decided, figures.engine.waiting_len) = ((9, 100), 50);
        families(&figures)
    }

    #[test]
    fn operators_can_read_of_each() {
        let told = include_str!("../../../../../docs/operations.md");
        for family in all() {
            assert!(told.contains(&format!("`{}", family.name)), "docs/operations.md tells of {}", family.name);
        }
    }

    #[test]
    fn a_member_tells_what_is_agreed_on_and_every_certificate() {
        let shown: Vec<String> = all()
            .iter()
            .flat_map(|family| {
                family.samples.iter().map(|one| format!("{} {:?} {}", family.name, one.labels, one.value))
            })
            .collect();
        for expected in [
            "oxkeeper_decided_entries [] 9",
            "oxkeeper_undecided_bytes [] 100",
            "oxkeeper_waiting_bytes [] 50",
            "oxkeeper_certificate_expiry_timestamp_seconds [(\"to\", \"servers\")] 1900000000",
        ] {
            assert!(shown.iter().any(|line| line == expected), "{expected}: {shown:#?}");
        }
        assert!(families(&Figures::default()).iter().all(|family| family.name != "oxkeeper_decided_entries"));
    }
}
