//! Parameters and faults of a run, all chosen by the seed before anything happens.
//!
//! About one run in three is without any given kind of fault: a fault that is always present hides
//! what happens without it.

use std::fmt;

use crate::random::Random;

/// A deliberate defect in the simulated server's shell, never in production code. The checkers must
/// catch each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// No defect.
    #[default]
    None,
    /// The log reports an entry as durable, but writes it only together with the next one.
    EarlyDurability,
    /// A restart loses the last durable entry.
    LoseLastEntry,
    /// Events reach their connection after the replies of the same batch.
    EventsAfterReplies,
    /// The session clocks do not notice that the server was paused.
    NoPauseGuard,
    /// A failed checkpoint counts as committed.
    FailedCheckpointCounts,
    /// A checkpoint may begin while an entry is partly applied.
    CheckpointWithinEntry,
    /// A refused write stays in the log.
    RefusedIsLogged,
    /// A connection writes a reply without emptying its mailbox first.
    TurnBeforeMailbox,
    /// The log is trimmed up to the applied index instead of the last checkpoint.
    TrimTooFar,
    /// The log is never trimmed.
    NeverTrim,
    /// A checkpoint includes entries that are not yet in the log.
    EagerCheckpoint,
    /// Sessions do not expire.
    NeverExpire,
    /// The first command of an entry is applied twice.
    ApplyTwice,
    /// A session is closed when its connection is lost.
    CloseWithConnection,
    /// Replies that are delivered together leave in the wrong order.
    RepliesSwapped,
    /// Requests that follow a reconfig on its connection are answered before it.
    ReconfigOvertaken,
    /// The watches of a connection outlive it.
    WatchesStay,
    /// A bit in the bytes sent to a client is flipped.
    FlippedBit,
    /// One server's state diverges from the others', without any client noticing.
    SilentDivergence,
    /// The leader of an ensemble expires sessions by its wall clock.
    ExpiryByWallClock,
    /// Connection threads in an ensemble use another clock than their engine: that of the next
    /// server.
    ForeignClock,
    /// A server in read-only mode reports writes as done.
    ReadOnlyWrites,
    /// A local session ends with its connection.
    LocalEndsWithConnection,
    /// A server of an ensemble uses the feature level that it knows, whatever level is agreed on.
    LevelOfItsOwn,
    /// Heartbeats between servers wait behind all other frames, and a receiver does not notice a
    /// frame before all of it has arrived.
    OneLane,
    /// Log entries that a peer still lacks are trimmed while the peer loads the state that it was
    /// sent.
    PinEndsWithTransfer,
}

/// Options of a run. A rate of n means once in n steps on average; 0 means never.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of all random choices.
    pub seed: u64,
    /// Steps before the faults stop and the run settles.
    pub steps: u64,
    /// Deliberate defect.
    pub bug: Bug,
    /// Number of clients.
    pub clients: u64,
    /// Number of threads among which the connections are distributed.
    pub threads: u64,
    /// Width of the session clocks' buckets, ms.
    pub tick_ms: u64,
    /// Maximum time between two steps, ms.
    pub step_ms_max: u64,
    /// Maximum delay of a byte, ms.
    pub delay_ms_max: u64,
    /// Bytes in flight in one direction before its writer blocks.
    pub window_len: u64,
    /// Limit of outstanding requests per client.
    pub depth: u64,
    /// Engine turns per ten other turns; fewer turns make longer log entries.
    pub engine_turns: u64,
    /// Limit of commands applied under one lock.
    pub apply_max: u64,
    /// Size limit of a log entry, bytes, unless a single command is larger.
    pub entry_len_max: u64,
    /// Size of a log segment, bytes.
    pub segment_len: u64,
    /// Rate of process kills, which leave written data in the operating system's cache.
    pub kill_every: u64,
    /// Rate of power failures: data that was not synced is lost, kept or torn.
    pub power_every: u64,
    /// Rate of periods in which the disk is full.
    pub full_every: u64,
    /// Rate of connection cuts.
    pub cut_every: u64,
    /// Rate of client pauses.
    pub client_pause_every: u64,
    /// Rate of server pauses.
    pub server_pause_every: u64,
    /// Rate of wall clock jumps.
    pub wall_jump_every: u64,
    /// Rate of checkpoints.
    pub checkpoint_every: u64,
}

impl Options {
    /// Returns the options that `seed` chooses.
    pub fn new(seed: u64, steps: u64) -> Options {
        let random = &mut Random::new(seed ^ 0x6f78_6b65_6570_6572);
        Options {
            seed,
            steps,
            bug: Bug::None,
            clients: random.within(1, 6),
            threads: random.within(1, 3),
            tick_ms: random.one_of(&[50, 100, 400]),
            step_ms_max: random.within(1, 3),
            delay_ms_max: random.one_of(&[0, 2, 10, 40]),
            window_len: random.one_of(&[200, 4 << 10, 1 << 20]),
            depth: random.one_of(&[1, 4, 16, 64]),
            engine_turns: random.one_of(&[1, 3, 6]),
            apply_max: random.one_of(&[1, 3, 256]),
            entry_len_max: random.one_of(&[1, 600, 1 << 20]),
            segment_len: random.one_of(&[2 << 10, 16 << 10, 1 << 20]),
            kill_every: rate(random, 2_000),
            power_every: rate(random, 2_000),
            full_every: rate(random, 1_500),
            cut_every: rate(random, 500),
            client_pause_every: rate(random, 1_000),
            server_pause_every: rate(random, 1_000),
            wall_jump_every: rate(random, 1_000),
            checkpoint_every: rate(random, 300),
        }
    }
}

/// Returns 0 (never), or a rate of about once in `usual` steps.
fn rate(random: &mut Random, usual: u64) -> u64 {
    if random.once_in(3) { 0 } else { random.within(usual / 2, usual * 2) }
}

impl fmt::Display for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}
