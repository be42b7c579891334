//! Counters of one connection and of all connections of a thread, as four-letter words and metrics
//! show them.
//!
//! Each thread that owns connections owns one [`ServerStats`] and counts in it without locks; on
//! request those of all threads are merged. `crst` resets the connections' counters, `srst` the
//! server's; neither touches the other. Source: `ServerCnxn`, `ServerStats`, `BufferStats`,
//! `AvgMinMaxCounter`, `AvgMinMaxPercentileCounter`.

use oxkeeper_proto::frame::PREFIX_LEN;

use crate::delivery::Answered;

/// Summary of many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Number of values.
    pub count: u64,
    /// Sum of the values.
    pub sum: u64,
    /// Greatest value; 0 without any.
    pub max: u64,
    least: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { count: 0, sum: 0, max: 0, least: u64::MAX }
    }
}

impl Tally {
    /// Returns the least value; 0 without any.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.least }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
        self.least = self.least.min(value);
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Tally) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.least = self.least.min(other.least);
    }
}

/// Counts of a distribution at one moment, without the empty buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u16, u64)>);

/// Limit below which each value has its own bucket; from there on every doubling has half as many
/// buckets.
const EXACT: u64 = 32;
/// Number of doublings from [`EXACT`] on that have buckets: up to 2^20, as ms 17 minutes. Greater
/// values share the last bucket.
const DOUBLINGS: usize = 15;
const HALF: usize = EXACT as usize / 2;
const BUCKETS: usize = EXACT as usize + DOUBLINGS * HALF;

/// A tally with percentiles: exact below 32, at most 1/16 too great above.
///
/// The reference keeps a random sample of 4096 values and interpolates; this counts every value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Summary of the same values.
    pub tally: Tally,
    buckets: [u64; BUCKETS],
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { tally: Tally::default(), buckets: [0; BUCKETS] }
    }
}

impl Distribution {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.tally.record(value);
        self.buckets[bucket(value)] += 1;
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Distribution) {
        self.tally.merge(&other.tally);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, others)| *mine += others);
    }

    /// Returns the value that `per_mille` of 1000 values do not exceed; 0 without any.
    pub fn percentile(&self, per_mille: u64) -> u64 {
        self.percentile_of(&self.buckets, self.tally.count, per_mille).unwrap_or(0)
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        let counted = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        Counts(counted.map(|(bucket, count)| (bucket as u16, *count)).collect())
    }

    /// Returns the value that `per_mille` of 1000 values since then do not exceed; `None` without
    /// any.
    pub fn percentile_since(&self, then: &Counts, per_mille: u64) -> Option<u64> {
        let mut buckets = self.buckets;
        for &(bucket, count) in &then.0 {
            let now = &mut buckets[usize::from(bucket)];
            *now = now.saturating_sub(count);
        }
        self.percentile_of(&buckets, buckets.iter().sum(), per_mille)
    }

    fn percentile_of(&self, buckets: &[u64; BUCKETS], count: u64, per_mille: u64) -> Option<u64> {
        let rank = (count * per_mille).div_ceil(1000).max(1);
        let mut reached = 0;
        let found = buckets.iter().position(|count| {
            reached += count;
            reached >= rank
        })?;
        let greatest = if found < BUCKETS - 1 { greatest(found) } else { u64::MAX };
        Some(greatest.min(self.tally.max))
    }
}

/// Returns the bucket that counts a value.
fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let doubling = value.ilog2() - EXACT.ilog2();
    let within = (value >> (doubling + 1)) as usize - HALF;
    (EXACT as usize + doubling as usize * HALF + within).min(BUCKETS - 1)
}

/// Returns the greatest value that a bucket counts.
fn greatest(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(EXACT as usize) else { return bucket as u64 };
    let (doubling, within) = (above / HALF, above % HALF);
    (((HALF + within + 1) as u64) << (doubling + 1)) - 1
}

/// Sizes of responses, without the length prefix, as the reference counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Sizes of all responses.
    pub tally: Tally,
    /// Size of the last response, and the time at which it was made, ms.
    last: u64,
    last_ms: u64,
}

impl Sizes {
    /// Returns the size of the last response; 0 without any.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the last, least and greatest size.
    // ZooKeeper: -1 if there was none.
    pub fn shown(&self) -> [i64; 3] {
        match self.tally.count {
            0 => [-1; 3],
            _ => [self.last, self.tally.min(), self.tally.max].map(|size| size as i64),
        }
    }

    fn record(&mut self, len: usize, now_ms: u64) {
        self.tally.record(len as u64);
        (self.last, self.last_ms) = (len as u64, now_ms);
    }

    fn merge(&mut self, other: &Sizes) {
        self.tally.merge(&other.tally);
        if other.last_ms >= self.last_ms && other.tally.count > 0 {
            (self.last, self.last_ms) = (other.last, other.last_ms);
        }
    }
}

/// Counters of the connections of one thread, including those that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Frames received.
    pub received: u64,
    /// Bytes of the received frames, with the length prefix.
    pub received_bytes: u64,
    /// Frames sent: replies, handshakes and notifications.
    pub sent: u64,
    /// Replies and notifications, not handshakes.
    pub responses: Sizes,
    /// Bytes of replies.
    pub reply_bytes: u64,
    /// Bytes of notifications.
    pub event_bytes: u64,
    /// Latency of reads, pings and watch requests, ms.
    pub reads: Distribution,
    /// Latency of writes, ms, including those that failed.
    pub updates: Distribution,
    /// Handshakes requested.
    pub connects: u64,
    /// Handshakes that resume a session.
    pub resumes: u64,
    /// Failed authentications.
    pub auth_failed: u64,
    /// Clients that connected while this server served none.
    pub unserved: u64,
    /// Connections that did not begin with TLS: from this machine, and from other machines.
    pub plain: [u64; 2],
    /// Clients that expect this ensemble.
    pub ensemble_met: u64,
    /// Clients that expect another ensemble.
    pub ensemble_failed: u64,
    /// Clients that sent an expectation although neither they nor the server name an ensemble.
    pub ensemble_skipped: u64,
    /// Clients that were gone without closing their session.
    pub dropped: u64,
    /// Connections that were closed because no session was begun in time.
    pub silent: u64,
    /// Number of times that a client's input was not read because too much was proposed already.
    pub held_back: u64,
    /// Time for which input was not read for the sake of other connections, ms.
    pub throttled_ms: Distribution,
    /// Requests refused because they had waited too long.
    pub throttled: u64,
    /// Connections closed because of a large request.
    pub large_rejected: u64,
    /// Clients that were gone before it was their request's turn.
    pub stale_dropped: u64,
    /// Sessions refused because too many began.
    pub rationed: u64,
    /// Tokens spent, recorded whenever a session begins.
    pub token_deficit: Distribution,
}

impl ServerStats {
    /// Latency of all requests, ms.
    pub fn latency(&self) -> Tally {
        let mut latency = self.reads.tally;
        latency.merge(&self.updates.tally);
        latency
    }

    /// Adds the counters of another thread.
    pub fn merge(&mut self, other: &ServerStats) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.sent += other.sent;
        self.responses.merge(&other.responses);
        self.reply_bytes += other.reply_bytes;
        self.event_bytes += other.event_bytes;
        self.reads.merge(&other.reads);
        self.updates.merge(&other.updates);
        self.connects += other.connects;
        self.resumes += other.resumes;
        self.auth_failed += other.auth_failed;
        self.unserved += other.unserved;
        self.plain.iter_mut().zip(other.plain).for_each(|(own, other)| *own += other);
        self.ensemble_met += other.ensemble_met;
        self.ensemble_failed += other.ensemble_failed;
        self.ensemble_skipped += other.ensemble_skipped;
        self.dropped += other.dropped;
        self.silent += other.silent;
        self.held_back += other.held_back;
        self.throttled_ms.merge(&other.throttled_ms);
        self.throttled += other.throttled;
        self.large_rejected += other.large_rejected;
        self.stale_dropped += other.stale_dropped;
        self.rationed += other.rationed;
        self.token_deficit.merge(&other.token_deficit);
    }

    /// Resets the counters that `srst` resets.
    pub fn reset(&mut self) {
        // ZooKeeper: these are gauges, which stay.
        let ServerStats { auth_failed, plain, .. } = *self;
        *self = ServerStats { auth_failed, plain, ..ServerStats::default() };
    }

    fn responded(&mut self, frame_len: usize, now_ms: u64) {
        self.sent += 1;
        self.responses.record(frame_len - PREFIX_LEN, now_ms);
    }
}

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionStats {
    /// Frames received.
    pub received: u64,
    /// Frames sent: replies and notifications.
    pub sent: u64,
    /// The last answered operation, its xid, its zxid, and when it was answered (ms).
    pub last: Option<LastReply>,
    /// Latency of its requests, ms.
    pub latency: Tally,
}

/// The last answered request of a connection.
#[derive(Clone, Copy, Debug)]
pub struct LastReply {
    /// The request.
    pub answered: Answered,
    /// Time of the answer, ms.
    pub at_ms: u64,
    /// Latency, ms.
    pub latency_ms: u64,
}

/// Counters of a connection together with those of its thread: each event counts in both.
#[derive(Debug)]
pub(crate) struct Counting<'a> {
    pub(crate) connection: &'a mut ConnectionStats,
    pub(crate) server: &'a mut ServerStats,
}

impl Counting<'_> {
    /// Counts a received frame; `len` excludes the length prefix.
    pub(crate) fn received(&mut self, len: usize) {
        self.connection.received += 1;
        self.server.received += 1;
        self.server.received_bytes += (PREFIX_LEN + len) as u64;
    }

    /// Counts the answer to a handshake.
    pub(crate) fn connected(&mut self) {
        self.connection.sent += 1;
        self.server.sent += 1;
    }

    /// Counts the answer to a handshake that created a session, which counts as a write.
    pub(crate) fn opened(&mut self, answered: Answered, now_ms: u64) {
        self.connected();
        let latency_ms = self.took(answered, now_ms);
        self.server.updates.record(latency_ms);
    }

    /// Counts a notification; `frame_len` includes the length prefix.
    pub(crate) fn notified(&mut self, frame_len: usize, now_ms: u64) {
        self.connection.sent += 1;
        self.server.event_bytes += (frame_len - PREFIX_LEN) as u64;
        self.server.responded(frame_len, now_ms);
    }

    /// Counts the answer to a read; `frame_len` includes the length prefix.
    pub(crate) fn read(&mut self, answered: Answered, frame_len: usize, now_ms: u64) {
        let latency_ms = self.answered(answered, frame_len, now_ms);
        self.server.reads.record(latency_ms);
    }

    /// Counts the answer to a write; `frame_len` includes the length prefix.
    pub(crate) fn updated(&mut self, answered: Answered, frame_len: usize, now_ms: u64) {
        let latency_ms = self.answered(answered, frame_len, now_ms);
        self.server.updates.record(latency_ms);
    }

    fn answered(&mut self, answered: Answered, frame_len: usize, now_ms: u64) -> u64 {
        self.connection.sent += 1;
        self.server.reply_bytes += (frame_len - PREFIX_LEN) as u64;
        self.server.responded(frame_len, now_ms);
        self.took(answered, now_ms)
    }

    fn took(&mut self, answered: Answered, now_ms: u64) -> u64 {
        let latency_ms = now_ms.saturating_sub(answered.received_ms);
        self.connection.latency.record(latency_ms);
        self.connection.last = Some(LastReply { answered, at_ms: now_ms, latency_ms });
        latency_ms
    }
}

impl ConnectionStats {
    /// Resets everything, for `crst`.
    pub fn reset(&mut self) {
        *self = ConnectionStats::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(values: impl IntoIterator<Item = u64>) -> Distribution {
        let mut distribution = Distribution::default();
        values.into_iter().for_each(|value| distribution.record(value));
        distribution
    }

    fn percentiles(distribution: &Distribution) -> [u64; 4] {
        [500, 950, 990, 999].map(|per_mille| distribution.percentile(per_mille))
    }

    #[test]
    fn a_value_is_in_a_bucket_that_is_little_greater() {
        let mut last = 0;
        for value in (0..4096).chain((12..40).map(|bit| 1 << bit)) {
            let found = bucket(value);
            assert!(found >= last, "{value}");
            last = found;
            if value < 1 << 20 {
                assert!(greatest(found) >= value && greatest(found) <= value + value / 16, "{value}");
                assert_eq!(bucket(greatest(found)), found, "{value}");
                assert!(found == BUCKETS - 1 || bucket(greatest(found) + 1) == found + 1, "{value}");
            } else {
                assert_eq!(found, BUCKETS - 1, "{value}");
            }
        }
    }

    #[test]
    fn percentiles_of_few_and_many() {
        assert_eq!(percentiles(&distribution([])), [0; 4]);
        assert_eq!(percentiles(&distribution([7])), [7; 4]);
        assert_eq!(percentiles(&distribution([3, 1, 2, 900])), [2, 900, 900, 900]);
        // 1..=1000: 500 and 950 lie in buckets that end at 511 and 959.
        assert_eq!(percentiles(&distribution(1..=1000)), [511, 959, 991, 1000]);
        assert_eq!(percentiles(&distribution([1 << 40, 1])), [1, 1 << 40, 1 << 40, 1 << 40]);
    }

    #[test]
    fn percentiles_of_what_came_since() {
        let mut values = distribution([1000; 5]);
        let then = values.counts();
        assert_eq!(values.percentile_since(&then, 500), None);
        (1..=3).for_each(|value| values.record(value));
        assert_eq!(values.percentile_since(&then, 500), Some(2));
        assert_eq!(values.percentile_since(&then, 990), Some(3));
        assert_eq!(values.percentile_since(&Counts::default(), 990), Some(1000));
        assert_eq!(Distribution::default().percentile_since(&then, 500), None);
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let mut merged = distribution(0..700);
        merged.merge(&distribution(700..1000));
        assert_eq!(merged, distribution(0..1000));
        let tally = merged.tally;
        assert_eq!((tally.count, tally.sum, tally.min(), tally.max), (1000, 499_500, 0, 999));
        assert_eq!(Tally::default().min(), 0);
    }

    #[test]
    fn srst_leaves_failed_authentications() {
        let mut stats = ServerStats { auth_failed: 2, received: 3, ..ServerStats::default() };
        stats.reset();
        assert_eq!(stats, ServerStats { auth_failed: 2, ..ServerStats::default() });
    }

    #[test]
    fn the_last_response_is_that_of_the_thread_that_answered_last() {
        let sizes = |len, now_ms| {
            let mut sizes = Sizes::default();
            sizes.record(len, now_ms);
            sizes
        };
        let mut merged = sizes(30, 5);
        merged.merge(&sizes(20, 9));
        merged.merge(&sizes(40, 7));
        merged.merge(&Sizes::default());
        assert_eq!((merged.last(), merged.tally.min(), merged.tally.max), (20, 20, 40));
    }
}
