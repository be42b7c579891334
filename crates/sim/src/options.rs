//! What a run does and which faults it meets: all of it chosen by the seed, before anything happens.
//!
//! Each kind of fault is left out of about one run in three: a fault that is always there hides what happens without it.

use std::fmt;

use crate::random::Random;

/// Something wrong on purpose in the simulated server's shell, never in production code: each must be caught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// Nothing is wrong.
    #[default]
    None,
    /// The log claims that an entry is durable when the next one is written.
    EarlyDurability,
    /// A restart forgets the last entry that was durable.
    LoseLastEntry,
    /// Events reach their connection behind the replies of the same batch.
    EventsAfterReplies,
    /// The clocks cannot tell that the server stood still.
    NoPauseGuard,
    /// A failed checkpoint is taken for one that was committed.
    FailedCheckpointCounts,
    /// A checkpoint may begin while an entry is half applied.
    CheckpointWithinEntry,
    /// A refused write stays in the log.
    RefusedIsLogged,
    /// A connection writes a reply without emptying its mailbox first.
    TurnBeforeMailbox,
    /// The log is trimmed up to what is applied, not up to the last checkpoint.
    TrimTooFar,
    /// The log is never trimmed.
    NeverTrim,
    /// A checkpoint holds entries that the log does not have yet.
    EagerCheckpoint,
    /// Sessions do not expire.
    NeverExpire,
    /// The first command of an entry is applied twice.
    ApplyTwice,
    /// A session is closed when its connection is lost.
    CloseWithConnection,
    /// Replies of one portion leave in the wrong order.
    RepliesSwapped,
    /// Requests behind a reconfig on its connection are answered before it.
    ReconfigOvertaken,
    /// The watches of a connection outlive it.
    WatchesStay,
    /// A bit of what a client is sent is flipped.
    FlippedBit,
    /// One server's state becomes another one than those of the others, without any client seeing that.
    SilentDivergence,
    /// An ensemble's leader takes the wall's clock for the one that sessions expire by.
    ExpiryByWallClock,
    /// The threads of an ensemble's connections have another clock than its engine: that of the next server.
    ForeignClock,
    /// A server that serves reads only says that it has done what is written.
    ReadOnlyWrites,
    /// A session that only one server knows ends with its connection.
    LocalEndsWithConnection,
    /// A server of an ensemble goes by the feature level that it knows, whatever is agreed on.
    LevelOfItsOwn,
    /// Between servers heartbeats wait behind all other frames, and of a frame that comes nobody hears before all of it is there.
    OneLane,
    /// What a peer lacks that loads a state it was sent is trimmed meanwhile.
    PinEndsWithTransfer,
}

/// The options of a run. Rates are "once in so many steps"; 0 is never.
#[derive(Clone, Debug)]
pub struct Options {
    /// All choices follow from it.
    pub seed: u64,
    /// Steps before the faults stop and the run settles.
    pub steps: u64,
    /// What is wrong on purpose.
    pub bug: Bug,
    /// Clients.
    pub clients: u64,
    /// Threads the connections are dealt out to.
    pub threads: u64,
    /// Width of the session clocks' buckets, ms.
    pub tick_ms: u64,
    /// Time between two steps is at most this, ms.
    pub step_ms_max: u64,
    /// A byte is on its way at most this long, ms.
    pub delay_ms_max: u64,
    /// Bytes on their way to one side before the other cannot write.
    pub window_len: u64,
    /// Requests one client has outstanding at most.
    pub depth: u64,
    /// Turns of the engine for ten of all others: the fewer, the longer the log entries.
    pub engine_turns: u64,
    /// Commands applied under one lock at most.
    pub apply_max: u64,
    /// Bytes of a log entry at most, unless one command has more.
    pub entry_len_max: u64,
    /// Bytes of a log segment.
    pub segment_len: u64,
    /// The process is killed; what it wrote stays in the system's memory.
    pub kill_every: u64,
    /// Power fails: what was not synced is lost, kept or torn.
    pub power_every: u64,
    /// The disk is full for a while.
    pub full_every: u64,
    /// A connection is cut.
    pub cut_every: u64,
    /// A client stands still.
    pub client_pause_every: u64,
    /// The server stands still.
    pub server_pause_every: u64,
    /// The wall clock jumps.
    pub wall_jump_every: u64,
    /// A checkpoint begins.
    pub checkpoint_every: u64,
}

impl Options {
    /// The options that `seed` chooses.
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

/// Never, or about once in `usual` steps.
fn rate(random: &mut Random, usual: u64) -> u64 {
    if random.once_in(3) { 0 } else { random.within(usual / 2, usual * 2) }
}

impl fmt::Display for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}
