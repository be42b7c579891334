//! Parameters and faults of an ensemble's run, all chosen by the seed before anything happens.
//!
//! About one run in three is without any given kind of fault: a fault that is always present hides
//! what happens without it.

use std::fmt;

use oxkeeper_proto::ServerId;
use oxkeeper_replica::LocalSessions::{self, Fixed, Off, Upgrading};
use oxkeeper_replica::ensemble::{Bugs, Pace};
use oxkeeper_state::Level;

use crate::host_clock::slowest_takes_ms;
use crate::options::Bug;
use crate::random::Random;

/// Options of a run. An interval of n means about every n ms; 0 means never.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of all random choices.
    pub seed: u64,
    /// Number of servers, 3 to 7.
    pub servers: u64,
    /// Virtual time before the faults stop and the run settles, ms.
    pub run_ms: u64,
    /// Highest feature levels of an older and a newer release. If they differ, each server begins
    /// with one of them, may come back with the other whenever it starts, and ends with the newer
    /// one.
    pub releases: [Level; 2],
    /// Deliberate defect outside the replica.
    pub bug: Bug,
    /// Deliberate defects inside the replica.
    pub bugs: Bugs,
    /// Whether the replica's invariants are checked after every event.
    pub check: bool,
    /// Number of clients.
    pub clients: u64,
    /// Number of threads among which a server's connections are distributed.
    pub threads: u64,
    /// Width of the session clocks' buckets, ms.
    pub tick_ms: u64,
    /// Duration of an election round, ms.
    pub heartbeat_ms: u64,
    /// Maximum pause between a client's turns, ms.
    pub think_ms_max: u64,
    /// Limit of outstanding requests per client.
    pub depth: u64,
    /// Maximum delay of a byte between a client and a server, ms.
    pub delay_ms_max: u64,
    /// Bytes in flight in one direction between a client and a server before the writer blocks.
    pub window_len: u64,
    /// Usual maximum delay of a frame between servers, ms.
    pub peer_delay_ms_max: u64,
    /// Minimum duration of a log write, ms.
    pub disk_ms_min: u64,
    /// Bandwidth of a link between servers, bytes per ms; 0 is unlimited.
    pub peer_bytes_per_ms: u64,
    /// Maximum duration of a log write, ms.
    pub disk_ms_max: u64,
    /// Time for which a leader's disk may stall before another server is to lead, ms.
    pub disk_stall_ms: u64,
    /// Size limit of a log entry, bytes, unless a single command is larger.
    pub entry_len_max: u64,
    /// Size of a log segment, bytes.
    pub segment_len: u64,
    /// Bytes of log to keep for peers that are behind.
    pub log_window_len: u64,
    /// Limit of log bytes to send to a peer as entries.
    pub sync_len_max: u64,
    /// Whether the servers may found the ensemble without waiting for all of them.
    pub initialize: bool,
    /// Interval between checkpoints of a server.
    pub checkpoint_every_ms: u64,
    /// Interval between crashes of a server, by a kill or a power failure.
    pub crash_every_ms: u64,
    /// Interval between crashes of the leader.
    pub leader_crash_every_ms: u64,
    /// Interval between power failures of all servers at once.
    pub blackout_every_ms: u64,
    /// Interval between losses of a server's disk.
    pub wipe_every_ms: u64,
    /// About one in this many candidates is cut off from all others but one, which then loses its
    /// disk; 0 means never.
    pub lost_promise_once_in: u64,
    /// Interval between breaks of a link between servers.
    pub cut_every_ms: u64,
    /// Interval between partitions, in which some servers cannot reach some others, in one
    /// direction or both.
    pub partition_every_ms: u64,
    /// Interval between moments at which the leader loses all other servers at once.
    pub lost_quorum_every_ms: u64,
    /// Interval between pauses of a server.
    pub pause_every_ms: u64,
    /// Interval between stalls of a disk.
    pub stall_every_ms: u64,
    /// Interval between periods in which a disk is full.
    pub full_every_ms: u64,
    /// Interval between jumps of a wall clock.
    pub wall_jump_every_ms: u64,
    /// Interval between requests for other voters.
    pub reconfig_every_ms: u64,
    /// Number of servers that found the ensemble.
    pub founders: u64,
    /// Whether a single server may be the only voter.
    pub one_voter: bool,
    /// Number of servers beyond `servers`, which do not vote at first.
    pub spares: u64,
    /// Whether the spare servers are members (observers) from the beginning; otherwise they are not
    /// members.
    pub observing: bool,
    /// Id of the first server.
    pub first_id: u8,
    /// Whether the last server has the largest possible id; otherwise ids have no gaps.
    pub last_is_255: bool,
    /// Interval between leadership transfers.
    pub transfer_every_ms: u64,
    /// Interval between isolations of a server that does not lead, in both directions.
    pub isolation_every_ms: u64,
    /// Duration of an isolation, ms.
    pub isolation_ms: u64,
    /// Time to load a fetched state, ms.
    pub load_ms: u64,
    /// Minimum time in which a starting process recovers, ms.
    pub start_ms: u64,
    /// Additional recovery time per znode and per log entry, µs.
    pub recovers_one_us: u64,
    /// Maximum drift of the hosts' monotonic clocks, parts per million; each clock has its own
    /// drift. 0 means true clocks.
    pub drift_ppm_max: u64,
    /// Time without a quorum after which a server enters read-only mode, ms; 0 means never.
    pub read_only_after_ms: u64,
    /// Number of clients that accept servers in read-only mode.
    pub read_only_clients: u64,
    /// Kind of local sessions, if new sessions are local.
    pub local_sessions: LocalSessions,
    /// Whether disks are lost and nothing else happens: a server that lost its disk must soon
    /// [catch up](crate::check::progress).
    pub lone_wipes: bool,
    /// Whether nothing happens that requires a new leader: the ensemble must
    /// [progress](crate::check::progress).
    pub steady: bool,
    /// Interval between cuts of a client's connection.
    pub client_cut_every_ms: u64,
    /// Interval between pauses of a client.
    pub client_pause_every_ms: u64,
}

/// Approximate maximum of what a server lacks in a short run, bytes.
const CATCH_UP_LEN: u64 = 300_000;

impl Options {
    /// Returns the options that `seed` chooses for `servers` servers.
    pub fn new(seed: u64, servers: u64, run_ms: u64) -> Options {
        let random = &mut Random::new(seed ^ 0x656e_7365_6d62_6c65);
        let changes = &mut Random::new(seed ^ 0x6d65_6d62_6572_7368);
        let reconfig_every_ms = rate(changes, 800);
        let spares = if reconfig_every_ms > 0 { changes.within(0, 2) } else { 0 };
        let transfer_every_ms = rate(changes, 1_500);
        let one_voter = reconfig_every_ms > 0 && changes.once_in(2);
        let founders = if one_voter && changes.once_in(2) { 1 } else { servers };
        let quorum = &mut Random::new(seed ^ 0x6c6f_7374_5f71_756f);
        let losing = &mut Random::new(seed ^ 0x7072_6f6d_6973_6573);
        let numbering = &mut Random::new(seed ^ 0x6e75_6d62_6572_696e);
        let network = &mut Random::new(seed ^ 0x6261_6e64_7769_6474);
        let recovery = &mut Random::new(seed ^ 0x7265_636f_7665_7279);
        let drift = &mut Random::new(seed ^ 0x6472_6966_7469_6e67);
        let reading = &mut Random::new(seed ^ 0x7265_6164_5f6f_6e6c);
        let locals = &mut Random::new(seed ^ 0x6c6f_6361_6c5f_7365);
        let observers = &mut Random::new(seed ^ 0x6f62_7365_7276_6572);
        let spares = if reconfig_every_ms > 0 { spares } else { observers.one_of(&[0, 0, 1, 2]) };
        let tick_ms = random.one_of(&[100, 200]);
        // A round must be longer than a round trip and a log write, or no leader lasts.
        let heartbeat_ms = random.one_of(&[tick_ms / 4, tick_ms / 2]).max(40);
        Options {
            seed,
            servers,
            run_ms,
            releases: [Level::KNOWN; 2],
            bug: Bug::None,
            bugs: Bugs::default(),
            check: true,
            clients: random.within(1, 5),
            threads: random.within(1, 2),
            tick_ms,
            heartbeat_ms,
            think_ms_max: random.one_of(&[10, 40, 200]),
            depth: random.one_of(&[1, 4, 16]),
            delay_ms_max: random.one_of(&[0, 2, 10]),
            window_len: random.one_of(&[200, 4 << 10, 1 << 20]),
            peer_delay_ms_max: random.one_of(&[0, 1, heartbeat_ms / 25]),
            disk_ms_min: 0,
            peer_bytes_per_ms: network.one_of(&[0, 0, 0, 2_000, 500]),
            isolation_every_ms: rate(network, 3_000),
            isolation_ms: network.one_of(&[10, 100, 1_000]),
            load_ms: network.one_of(&[0, 0, 100, 500]),
            start_ms: recovery.one_of(&[0, 0, 50, 300]),
            recovers_one_us: recovery.one_of(&[0, 0, 300, 3_000]),
            drift_ppm_max: drift.one_of(&[0, 0, 200, 20_000, 100_000]),
            read_only_after_ms: reading.one_of(&[0, 0, tick_ms, 4 * tick_ms]),
            read_only_clients: reading.within(1, 5),
            local_sessions: locals.one_of(&[Off, Off, Off, Off, Fixed, Upgrading]),
            lone_wipes: false,
            steady: false,
            disk_ms_max: random.one_of(&[0, 1, heartbeat_ms / 5]),
            disk_stall_ms: random.one_of(&[300, 2_000, 10_000]),
            entry_len_max: random.one_of(&[1, 600, 1 << 20]),
            // Each new segment costs a quarter of a mebibyte of preallocation.
            segment_len: random.one_of(&[2 << 10, 16 << 10, 64 << 10, 64 << 10]),
            log_window_len: random.one_of(&[0, 4 << 10, 64 << 10]),
            sync_len_max: random.one_of(&[2 << 10, 16 << 10, 1 << 20]),
            initialize: random.once_in(2),
            checkpoint_every_ms: random.one_of(&[300, 1_000, 4_000]),
            crash_every_ms: rate(random, 1_500),
            leader_crash_every_ms: rate(random, 2_000),
            blackout_every_ms: rate(random, 3_000),
            // If a sole voter loses data, the data is lost.
            wipe_every_ms: Some(rate(random, 3_000)).filter(|_| founders > 1).unwrap_or_default(),
            lost_promise_once_in: if founders > 1 && losing.once_in(2) { losing.within(1, 8) } else { 0 },
            cut_every_ms: rate(random, 700),
            partition_every_ms: rate(random, 1_500),
            lost_quorum_every_ms: rate(quorum, 3_000),
            pause_every_ms: rate(random, 1_500),
            stall_every_ms: rate(random, 1_500),
            full_every_ms: rate(random, 3_000),
            wall_jump_every_ms: rate(random, 2_000),
            reconfig_every_ms,
            founders,
            one_voter,
            spares,
            observing: observers.once_in(2),
            first_id: u8::from(!numbering.once_in(3)),
            last_is_255: numbering.once_in(4),
            transfer_every_ms,
            client_cut_every_ms: rate(random, 1_000),
            client_pause_every_ms: rate(random, 1_500),
        }
    }

    /// Returns the options without any fault.
    pub fn calm(self) -> Options {
        Options {
            crash_every_ms: 0,
            leader_crash_every_ms: 0,
            blackout_every_ms: 0,
            wipe_every_ms: 0,
            lost_promise_once_in: 0,
            cut_every_ms: 0,
            partition_every_ms: 0,
            lost_quorum_every_ms: 0,
            pause_every_ms: 0,
            stall_every_ms: 0,
            full_every_ms: 0,
            wall_jump_every_ms: 0,
            reconfig_every_ms: 0,
            transfer_every_ms: 0,
            isolation_every_ms: 0,
            client_cut_every_ms: 0,
            client_pause_every_ms: 0,
            ..self
        }
    }

    /// Returns the options without the troubles that later versions of the simulator have added, so
    /// that a seed keeps its former meaning.
    pub fn as_it_was(self) -> Options {
        Options {
            start_ms: 0,
            recovers_one_us: 0,
            drift_ppm_max: 0,
            read_only_after_ms: 0,
            read_only_clients: 0,
            local_sessions: Off,
            spares: if self.reconfig_every_ms > 0 { self.spares } else { 0 },
            observing: false,
            ..self
        }
    }

    /// Returns options with the default pace of servers, without faults.
    pub fn by_default(self) -> Options {
        Options {
            tick_ms: 2_000,
            heartbeat_ms: 100,
            clients: 4,
            think_ms_max: 10,
            peer_delay_ms_max: 1,
            peer_bytes_per_ms: 0,
            disk_stall_ms: 5_000,
            founders: self.servers,
            one_voter: false,
            spares: 0,
            read_only_after_ms: 0,
            local_sessions: Off,
            ..self.calm()
        }
    }

    /// Returns the number of servers, whether members or not.
    pub fn hosts(&self) -> usize {
        (self.servers + self.spares) as usize
    }

    /// Returns the id of the server in `place`; places count from 0.
    pub fn id(&self, place: usize) -> ServerId {
        let is_last = place + 1 == self.hosts();
        ServerId(if is_last && self.last_is_255 { u8::MAX } else { self.first_id + place as u8 })
    }

    /// Returns the place of the server with this id.
    pub fn place(&self, id: ServerId) -> usize {
        (0..self.hosts()).find(|&place| self.id(place) == id).expect("ids are those of servers")
    }

    /// Returns how long clients may have to wait if nothing is wrong, ms: a silent link is given up
    /// and dialled again, and a leader is found, all of it twice, by the slowest possible clock;
    /// and a server receives what it lacks over a narrow link.
    pub fn patience_ms(&self) -> u64 {
        slowest_takes_ms(25 * self.heartbeat_ms, self.drift_ppm_max)
            + CATCH_UP_LEN.checked_div(self.peer_bytes_per_ms).unwrap_or_default()
    }

    /// Returns how fast the servers notice changes, derived as in `oxkeeper-server`.
    pub fn pace(&self) -> Pace {
        let heartbeat_ms = self.heartbeat_ms;
        Pace { heartbeat_ms, silence_ms: 5 * heartbeat_ms, contact_ms: self.tick_ms.max(5 * heartbeat_ms) }
    }
}

/// Returns 0 (never), or an interval of about `usual` ms.
fn rate(random: &mut Random, usual: u64) -> u64 {
    if random.once_in(3) { 0 } else { random.within(usual / 2, usual * 2) }
}

impl fmt::Display for Options {
    /// Lists the faults first.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = [
            (self.crash_every_ms, "a server is killed or loses power"),
            (self.leader_crash_every_ms, "the leader is killed or loses power"),
            (self.blackout_every_ms, "power fails everywhere"),
            (self.wipe_every_ms, "a server loses its disk"),
            (self.cut_every_ms, "a link between servers breaks"),
            (self.partition_every_ms, "some servers cannot reach some others"),
            (self.lost_quorum_every_ms, "the leader loses all others"),
            (self.pause_every_ms, "a server stands still"),
            (self.stall_every_ms, "a disk stands still"),
            (self.full_every_ms, "a disk is full"),
            (self.wall_jump_every_ms, "a wall clock jumps"),
            (self.reconfig_every_ms, "others vote"),
            (self.transfer_every_ms, "the leader hands over"),
            (self.isolation_every_ms, "a follower is cut off"),
            (self.client_cut_every_ms, "a client's connection breaks"),
            (self.client_pause_every_ms, "a client stands still"),
        ];
        writeln!(formatter, "seed {}, {} servers, {} ms; faults:", self.seed, self.servers, self.run_ms)?;
        for (every_ms, what) in faults.iter().filter(|(every_ms, _)| *every_ms > 0) {
            writeln!(formatter, "  about every {every_ms} ms {what}")?;
        }
        write!(formatter, "{self:?}")
    }
}
