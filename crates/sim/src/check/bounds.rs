//! Promise: what is over leaves nothing behind: no session, clock, watch, delivery or proposal; and the log is as short
//! as the last checkpoint permits.

use oxkeeper_replica::Shared;
use oxkeeper_replica::watches::WatchCounts;

/// Files of the log that hold less than a segment: the one written, and its successor or predecessor at a boundary.
const EXTRA_SEGMENTS: u64 = 3;

/// Nobody is connected and no session is left.
pub fn check_idle(shared: &mut Shared) {
    assert_eq!(shared.state.sessions().len(), 0, "bounds: sessions");
    assert_eq!(shared.state.ephemerals_count(), 0, "bounds: ephemerals");
    assert_eq!(shared.sessions.get_mut().clocks.deadlines().len(), 0, "bounds: clocks");
    assert_eq!(shared.watches.get_mut().counts(), WatchCounts::default(), "bounds: watches");
}

/// `needed_len` bytes of entries are behind the last checkpoint, and the log was trimmed by it.
pub fn check_log(segments: u64, needed_len: u64, entries: u64, segment_len: u64) {
    // Every entry takes whole granules of 512 bytes; each segment may be one entry longer than it should.
    let most = (needed_len + entries * 1024) / segment_len + EXTRA_SEGMENTS;
    assert!(segments <= most, "bounds: {segments} segments hold {needed_len} bytes in {entries} entries");
}
