//! Quota metrics: limits and usage by top-level znode. Source: `QuotaMetricsUtils`.

use std::collections::BTreeMap;

use oxkeeper_state::State;
use oxkeeper_state::quota::{self, Track};

/// Limits and usage of the quota subtrees below one top-level znode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceQuota {
    pub(super) count_limit: i64,
    pub(super) bytes_limit: i64,
    pub(super) count_usage: i64,
    pub(super) bytes_usage: i64,
}

/// Quotas by top-level znode.
pub(crate) type Quotas = BTreeMap<String, NamespaceQuota>;

/// Sums the quotas of each top-level znode.
pub(crate) fn quotas(state: &State) -> Quotas {
    let mut quotas = Quotas::new();
    let track = |path: String| state.tree().lookup(&path).map(|slot| Track::parse(state.tree().znode(slot).data()));
    for prefix in state.quotas().prefixes() {
        let Some(namespace) = prefix.split('/').nth(1) else { continue };
        let quota = quotas.entry(namespace.to_owned()).or_default();
        // ZooKeeper: unlimited is -1, and is included in the sums as such.
        if let Some(limits) = track(quota::limits_path(prefix)) {
            let limit = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
            quota.count_limit += limit(limits.count_hard(), limits.count());
            quota.bytes_limit += limit(limits.bytes_hard(), limits.bytes());
        }
        if let Some(usage) = track(quota::stats_path(prefix)) {
            quota.count_usage += usage.count();
            quota.bytes_usage += usage.bytes();
        }
    }
    quotas
}
