//! What only this server has, under `oxkeeper_`. Units stand in the names, as Prometheus recommends.

use super::Figures;
use super::family::{Family, Kind, Sample};
use crate::role::Role;

/// Every one.
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
    ];
    if let Some((_, done_s)) = figures.checkpoints.last {
        let help = "When the last checkpoint was done, Unix s";
        families.push(gauge("oxkeeper_last_checkpoint_timestamp_seconds", help, done_s as f64));
    }
    families
}

fn info() -> Family {
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let samples = vec![Sample { suffix: "", labels, value: 1.0 }];
    Family { name: "oxkeeper_build_info".into(), help: "The version of this server", kind: Kind::Gauge, samples }
}

/// One of the states is 1, the others 0.
fn serving(role: Role) -> Family {
    let states = [
        ("standalone", Role::Alone),
        ("leader", Role::Leader),
        ("follower", Role::Follower),
        ("observer", Role::Observer),
        ("read-only", Role::ReadOnly),
        ("not-serving", Role::NotServing),
    ];
    let sample = |(name, state): (&str, Role)| Sample {
        suffix: "",
        labels: vec![("state", name.to_owned())],
        value: f64::from(u8::from(state == role)),
    };
    let help = "What the server is among its peers: 1 at one of the states";
    Family { name: "oxkeeper_state".into(), help, kind: Kind::Gauge, samples: states.map(sample).to_vec() }
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
