//! Limits on the requests under way on all connections of a server together, and on the rate of new
//! sessions.
//!
//! Owns the counts that many threads share, and the token bucket. Invariant: without a limit
//! nothing is counted, so that the usual server pays nothing for it. Time comes in as an argument,
//! and randomness comes from a seed.
//!
//! Source: `ZooKeeperServer#shouldThrottle`, `RequestThrottler`,
//! `#checkRequestSizeWhenReceivingMessage`, `BlueThrottle`.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Limits on requests under way.
#[derive(Clone, Debug, Default)]
pub struct LoadLimits {
    /// Number of requests under way above which a connection that has one itself is not read.
    pub outstanding_max: Option<u32>,
    /// Number of requests under way at which the next one waits.
    pub requests_max: Option<u32>,
    /// Time of waiting for other requests after which a request is refused, ms.
    pub wait_max_ms: Option<u64>,
    /// Length above which a request is a large one, bytes.
    pub large_len: Option<usize>,
    /// Limit on the bytes of all large requests under way.
    pub large_bytes_max: u64,
}

/// Token bucket settings for new sessions.
#[derive(Clone, Debug)]
pub struct Rations {
    /// Largest and initial number of tokens.
    pub tokens_max: u32,
    /// Tokens added at each filling.
    pub fill_count: u32,
    /// Time between two fillings, ms.
    pub fill_ms: u32,
    /// Time between two changes of the drop probability, ms; `None` if no session is refused at
    /// random.
    pub freeze_ms: Option<u32>,
    /// Increase of the drop probability while no tokens are left.
    pub drop_increase: f64,
    /// Decrease of the drop probability while tokens are left.
    pub drop_decrease: f64,
    /// Largest share of spent tokens at which it decreases.
    pub decrease_ratio: f64,
    /// Tokens that a new session takes, and that a resumed one takes.
    pub weights: [u32; 2],
}

/// Admission of sessions: a token bucket, and a drop probability that grows while the bucket is
/// empty.
#[derive(Debug)]
pub struct Gate {
    rations: Rations,
    tokens: u32,
    filled_ms: u64,
    frozen_ms: u64,
    drop: f64,
    random: u64,
}

impl Gate {
    /// Creates a full bucket, filled at `now_ms`.
    pub fn new(rations: Rations, now_ms: u64, seed: u64) -> Gate {
        Gate { tokens: rations.tokens_max, rations, filled_ms: now_ms, frozen_ms: now_ms, drop: 0.0, random: seed }
    }

    /// Takes the tokens of one session, if there are enough and it is not dropped at random.
    /// Returns whether it did.
    fn admit(&mut self, resumes: bool, now_ms: u64) -> bool {
        self.fill(now_ms);
        let need = self.rations.weights[usize::from(resumes)];
        if self.is_unlucky(now_ms) || self.tokens < need {
            return false;
        }
        self.tokens -= need;
        true
    }

    fn fill(&mut self, now_ms: u64) {
        let Rations { fill_count, fill_ms, tokens_max, .. } = self.rations;
        let since_ms = now_ms.saturating_sub(self.filled_ms);
        // ZooKeeper: a filling is late by 1 ms.
        if since_ms > u64::from(fill_ms) {
            let more = since_ms.saturating_mul(u64::from(fill_count)) / u64::from(fill_ms.max(1));
            self.tokens =
                u32::try_from(more).map_or(tokens_max, |more| self.tokens.saturating_add(more).min(tokens_max));
            self.filled_ms = now_ms;
        }
    }

    fn is_unlucky(&mut self, now_ms: u64) -> bool {
        let Some(freeze_ms) = self.rations.freeze_ms else { return false };
        if now_ms.saturating_sub(self.frozen_ms) > u64::from(freeze_ms) {
            let spendable = (f64::from(self.rations.tokens_max) * self.rations.decrease_ratio).round();
            if self.tokens == 0 {
                self.drop = (self.drop + self.rations.drop_increase).min(1.0);
            } else if f64::from(self.deficit()) <= spendable {
                self.drop = (self.drop - self.rations.drop_decrease).max(0.0);
            }
            self.frozen_ms = now_ms;
        }
        self.chance() < self.drop
    }

    /// Returns a random number in [0, 1). SplitMix64.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = self.random;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((next ^ (next >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn deficit(&self) -> u32 {
        self.rations.tokens_max - self.tokens
    }
}

/// Requests under way on all connections.
#[derive(Debug, Default)]
pub struct Load {
    limits: LoadLimits,
    gate: Option<Mutex<Gate>>,
    requests: AtomicU64,
    large_bytes: AtomicU64,
}

impl Load {
    /// Creates a load with nothing under way.
    pub fn new(limits: LoadLimits, gate: Option<Gate>) -> Load {
        Load { limits, gate: gate.map(Mutex::new), requests: AtomicU64::new(0), large_bytes: AtomicU64::new(0) }
    }

    /// Returns whether requests are counted.
    pub fn counts(&self) -> bool {
        self.limits.outstanding_max.is_some() || self.limits.requests_max.is_some()
    }

    /// Returns whether the next request waits until fewer are under way.
    pub fn is_full(&self) -> bool {
        self.limits.requests_max.is_some_and(|max| self.requests.load(Ordering::Relaxed) >= u64::from(max))
    }

    /// Returns whether connections that have a request under way are not read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.limits.outstanding_max.is_some_and(|max| self.requests.load(Ordering::Relaxed) > u64::from(max))
    }

    /// Returns whether a request that has waited this long is refused.
    pub(crate) fn is_too_late(&self, waited_ms: u64) -> bool {
        self.limits.wait_max_ms.is_some_and(|max_ms| waited_ms > max_ms)
    }

    /// Returns whether a request of this length is a large one.
    pub(crate) fn is_large(&self, len: usize) -> bool {
        self.limits.large_len.is_some_and(|large_len| len > large_len)
    }

    /// Returns whether there is room for a request of this length.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let large_bytes = || self.large_bytes.load(Ordering::Relaxed);
        !self.is_large(len) || large_bytes() + len as u64 <= self.limits.large_bytes_max
    }

    /// Counts a request that begins; `large_len` is its length if it is a large one.
    pub fn begin(&self, large_len: Option<usize>) {
        if self.counts() {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(len) = large_len {
            self.large_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
    }

    /// Counts requests that are no longer under way, and the bytes of the large ones.
    pub fn finish(&self, requests: u32, large_bytes: u64) {
        if self.counts() && requests > 0 {
            self.requests.fetch_sub(u64::from(requests), Ordering::Relaxed);
        }
        if large_bytes > 0 {
            self.large_bytes.fetch_sub(large_bytes, Ordering::Relaxed);
        }
    }

    /// Returns whether a session may begin or continue, and the number of tokens spent after that.
    pub(crate) fn admit(&self, resumes: bool, now_ms: u64) -> (bool, u32) {
        let Some(gate) = &self.gate else { return (true, 0) };
        let mut gate = gate.lock();
        (gate.admit(resumes, now_ms), gate.deficit())
    }

    /// Returns the drop probability.
    pub fn drop_probability(&self) -> f64 {
        self.gate.as_ref().map_or(0.0, |gate| gate.lock().drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATIONS: Rations = Rations {
        tokens_max: 2,
        fill_count: 1,
        fill_ms: 10,
        freeze_ms: None,
        drop_increase: 0.5,
        drop_decrease: 0.25,
        decrease_ratio: 0.0,
        weights: [1, 1],
    };

    fn check(rations: Rations, asked: &[(u64, bool)], expected: &[bool]) {
        let mut gate = Gate::new(rations, 0, 7);
        let admitted: Vec<bool> = asked.iter().map(|&(now_ms, resumes)| gate.admit(resumes, now_ms)).collect();
        assert_eq!(admitted, expected);
    }

    #[test]
    fn tokens_are_spent_and_come_back() {
        check(
            RATIONS,
            &[(0, false), (0, true), (0, false), (10, false), (11, false), (12, false)],
            &[true, true, false, false, true, false],
        );
        // There are never more than at first, however long no session begins.
        check(RATIONS, &[(1 << 40, false), (1 << 40, false), (1 << 40, false)], &[true, true, false]);
        check(
            Rations { weights: [2, 1], ..RATIONS },
            &[(0, false), (0, true), (11, false), (11, true)],
            &[true, false, false, true],
        );
    }

    #[test]
    fn the_chance_grows_while_no_tokens_are_left() {
        let mut gate = Gate::new(Rations { freeze_ms: Some(5), fill_ms: 1_000, ..RATIONS }, 0, 7);
        assert!(gate.admit(false, 0) && gate.admit(false, 0));
        let drop = |gate: &mut Gate, now_ms| {
            gate.is_unlucky(now_ms);
            gate.drop
        };
        assert_eq!([5, 6, 11, 12, 18].map(|now_ms| drop(&mut gate, now_ms)), [0.0, 0.5, 0.5, 1.0, 1.0]);
        assert!(!gate.admit(false, 19), "nobody is lucky");
        gate.fill(2_000);
        let falls = [2_000, 2_006, 2_012, 2_018, 2_024].map(|now_ms| drop(&mut gate, now_ms));
        assert_eq!(falls, [0.75, 0.5, 0.25, 0.0, 0.0]);
        assert!(gate.admit(false, 2_024));
    }

    #[test]
    fn chance_is_spread_evenly() {
        let mut gate = Gate::new(RATIONS, 0, 1);
        let low = (0..1000).filter(|_| gate.chance() < 0.3).count();
        assert!((250..350).contains(&low), "{low}");
    }

    #[test]
    fn requests_and_large_bytes() {
        let limits = LoadLimits {
            outstanding_max: Some(2),
            requests_max: Some(3),
            wait_max_ms: Some(5),
            large_len: Some(10),
            large_bytes_max: 25,
        };
        let load = Load::new(limits, None);
        load.begin(None);
        load.begin(Some(11));
        assert_eq!((load.is_crowded(), load.is_full()), (false, false));
        assert!(load.has_room(14) && !load.has_room(15) && load.has_room(10));
        load.begin(None);
        assert_eq!((load.is_crowded(), load.is_full()), (true, true));
        load.finish(2, 11);
        assert_eq!((load.is_crowded(), load.is_full(), load.has_room(25)), (false, false, true));
        assert_eq!((load.is_too_late(5), load.is_too_late(6)), (false, true));
        let free = Load::default();
        free.begin(None);
        assert_eq!(
            (free.is_crowded(), free.is_full(), free.has_room(1 << 30), free.admit(false, 0)),
            (false, false, true, (true, 0))
        );
    }
}
