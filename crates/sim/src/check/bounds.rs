//! Promise: whatever has ended leaves nothing behind: no session, clock, watch, delivery or
//! proposal. The log is as short as the last checkpoint permits.

use oxkeeper_replica::Shared;
use oxkeeper_replica::watches::WatchCounts;

/// Log files that may hold less than a full segment: the one being written, and its successor or
/// predecessor at a boundary.
const EXTRA_SEGMENTS: u64 = 3;

/// Checks the state when no client is connected and no session is left.
pub fn check_idle(shared: &mut Shared) {
    assert_eq!(shared.state.sessions().len(), 0, "bounds: sessions");
    assert_eq!(shared.state.ephemerals_count(), 0, "bounds: ephemerals");
    assert_eq!(shared.sessions.get_mut().clocks.deadlines().len(), 0, "bounds: clocks");
    assert_eq!(shared.watches.get_mut().counts(), WatchCounts::default(), "bounds: watches");
}

/// Checks the length of the log. It was trimmed by the last checkpoint, which `needed_len` bytes of
/// entries follow.
pub fn check_log(segments: u64, needed_len: u64, entries: u64, segment_len: u64) {
    // Each entry takes whole granules of 512 bytes; each segment may exceed its size by one entry.
    let most = (needed_len + entries * 1024) / segment_len + EXTRA_SEGMENTS;
    assert!(segments <= most, "bounds: {segments} segments hold {needed_len} bytes in {entries} entries");
}
