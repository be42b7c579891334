//! The configured limits, in the form that connections use.
//!
//! Source: `QuorumZooKeeperServer#getGlobalOutstandingLimit`, `BlueThrottle`,
//! `ZooKeeperServer#setLargeRequestMaxBytes`.

use oxkeeper_replica::Load;
use oxkeeper_replica::load::{Gate, LoadLimits, Rations};

use oxkeeper_config::{Config, Limits};

/// Returns a load with no requests in flight.
pub(crate) fn load(config: &Config, now_ms: u64, seed: u64) -> Load {
    let gate = rations(&config.limits, config.local_sessions_enabled).map(|rations| Gate::new(rations, now_ms, seed));
    let servers = config.ensemble.membership.as_ref().map_or(1, |membership| membership.members.len());
    Load::new(load_limits(&config.limits, servers), gate)
}

fn load_limits(limits: &Limits, servers: usize) -> LoadLimits {
    let sharers = if servers > 2 { servers as u32 - 1 } else { 1 };
    let unless_zero = |value: u32| Some(value).filter(|&value| value > 0);
    LoadLimits {
        outstanding_max: limits.global_outstanding_limit.map(|limit| limit / sharers),
        requests_max: unless_zero(limits.request_throttle_max_requests),
        wait_max_ms: unless_zero(limits.throttled_op_wait_time_ms).map(u64::from),
        large_len: limits.large_request_threshold.map(|bytes| bytes as usize),
        large_bytes_max: u64::from(limits.large_request_bytes_max),
    }
}

fn rations(limits: &Limits, local_sessions: bool) -> Option<Rations> {
    let (global, local) = (limits.connection_weight_global, limits.connection_weight_local);
    // ZooKeeper: nothing may cost less than a local session, and the configured token counts refer
    // to global ones.
    let (global, renew) = (global.max(local), limits.connection_weight_renew.max(local));
    let (times, weights) = match limits.connection_weights_enabled {
        true => (global, [if local_sessions { local } else { global }, renew]),
        false => (1, [1, 1]),
    };
    (limits.connection_tokens > 0).then(|| Rations {
        tokens_max: limits.connection_tokens.saturating_mul(times),
        fill_count: limits.connection_token_fill_count.saturating_mul(times),
        fill_ms: limits.connection_token_fill_time_ms,
        freeze_ms: limits.connection_freeze_time_ms,
        drop_increase: limits.connection_drop_increase,
        drop_decrease: limits.connection_drop_decrease,
        decrease_ratio: limits.connection_decrease_ratio,
        weights,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_share_what_may_be_outstanding() {
        let limits = Limits { global_outstanding_limit: Some(1000), ..Limits::default() };
        let check = |servers, expected| assert_eq!(load_limits(&limits, servers).outstanding_max, Some(expected));
        check(1, 1000);
        check(2, 1000);
        check(3, 500);
        check(5, 250);
    }

    #[test]
    fn weights_count_only_if_enabled() {
        let limits = Limits {
            connection_tokens: 10,
            connection_token_fill_count: 2,
            connection_weight_global: 3,
            connection_weight_local: 4,
            connection_weight_renew: 2,
            ..Limits::default()
        };
        let check = |limits: &Limits, local, expected| {
            let rations =
                rations(limits, local).map(|rations| (rations.tokens_max, rations.fill_count, rations.weights));
            assert_eq!(rations, expected);
        };
        check(&limits, false, Some((10, 2, [1, 1])));
        let weighed = Limits { connection_weights_enabled: true, ..limits };
        check(&weighed, false, Some((40, 8, [4, 4])));
        check(&weighed, true, Some((40, 8, [4, 4])));
        let usual = Limits { connection_weight_local: 1, ..weighed };
        check(&usual, true, Some((30, 6, [1, 2])));
        check(&Limits { connection_tokens: 0, ..usual }, true, None);
    }
}
