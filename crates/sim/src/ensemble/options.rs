//! What a run of an ensemble does and which faults it meets: all of it chosen by the seed, before anything happens.
//!
//! Each kind of fault is left out of about one run in three: a fault that is always there hides what happens without it.

use std::fmt;

use oxkeeper_proto::ServerId;
use oxkeeper_replica::LocalSessions::{self, Fixed, Off, Upgrading};
use oxkeeper_replica::ensemble::{Bugs, Pace};
use oxkeeper_state::Level;

use super::clock::slowest_takes_ms;
use crate::options::Bug;
use crate::random::Random;

/// The options of a run. Faults are "about every so many ms"; 0 is never.
#[derive(Clone, Debug)]
pub struct Options {
    /// All choices follow from it.
    pub seed: u64,
    /// 3 to 7.
    pub servers: u64,
    /// Virtual time before the faults stop and the run settles, ms.
    pub run_ms: u64,
    /// The highest feature levels of an older and a newer release. If they differ, each server begins with one of them, may come
    /// back with the other whenever it starts, and ends with the newer one.
    pub releases: [Level; 2],
    /// What is wrong on purpose around the replica.
    pub bug: Bug,
    /// What is wrong on purpose within it.
    pub bugs: Bugs,
    /// The replica's invariants are looked at after every event.
    pub check: bool,
    /// Clients.
    pub clients: u64,
    /// Threads that the connections of a server are dealt out to.
    pub threads: u64,
    /// Width of the session clocks' buckets, ms.
    pub tick_ms: u64,
    /// A round of the election, ms.
    pub heartbeat_ms: u64,
    /// A client thinks at most so long, ms.
    pub think_ms_max: u64,
    /// Requests one client has outstanding at most.
    pub depth: u64,
    /// A client's byte is on its way at most this long, ms.
    pub delay_ms_max: u64,
    /// Bytes on their way to a client or from it before the other side cannot write.
    pub window_len: u64,
    /// A frame between servers is mostly on its way at most this long, ms.
    pub peer_delay_ms_max: u64,
    /// A write of the log takes at least this long, ms.
    pub disk_ms_min: u64,
    /// Bytes that a link between servers carries in a millisecond; 0 for any number.
    pub peer_bytes_per_ms: u64,
    /// A write of the log takes at most this long, ms.
    pub disk_ms_max: u64,
    /// A leader whose disk stands still for so long has another server lead, ms.
    pub disk_stall_ms: u64,
    /// Bytes of a log entry at most, unless one command has more.
    pub entry_len_max: u64,
    /// Bytes of a log segment.
    pub segment_len: u64,
    /// Bytes of log kept for peers that are behind.
    pub log_window_len: u64,
    /// Bytes of log that a peer is sent as entries.
    pub sync_len_max: u64,
    /// The servers found the ensemble without waiting for all.
    pub initialize: bool,
    /// A checkpoint, at each server.
    pub checkpoint_every_ms: u64,
    /// A server is killed or loses power.
    pub crash_every_ms: u64,
    /// The leader is.
    pub leader_crash_every_ms: u64,
    /// Power fails everywhere at once.
    pub blackout_every_ms: u64,
    /// A server loses its disk.
    pub wipe_every_ms: u64,
    /// About one in so many candidates is cut off from all others but one, which then loses its disk; 0 is never.
    pub lost_promise_once_in: u64,
    /// A link between servers breaks.
    pub cut_every_ms: u64,
    /// Some servers cannot reach some others, in one direction or both.
    pub partition_every_ms: u64,
    /// The leader loses all others at once.
    pub lost_quorum_every_ms: u64,
    /// A server stands still.
    pub pause_every_ms: u64,
    /// A disk stands still.
    pub stall_every_ms: u64,
    /// A disk is full.
    pub full_every_ms: u64,
    /// A wall clock jumps.
    pub wall_jump_every_ms: u64,
    /// Others vote from then on.
    pub reconfig_every_ms: u64,
    /// Servers that the ensemble is founded by.
    pub founders: u64,
    /// One server may vote alone.
    pub one_voter: bool,
    /// Servers beyond `servers` that do not vote at first.
    pub spares: u64,
    /// These are members, observers, from the beginning; otherwise they are none.
    pub observing: bool,
    /// The id of the first server.
    pub first_id: u8,
    /// The last server has the largest id there is; otherwise ids have no gaps.
    pub last_is_255: bool,
    /// The leader is told to go.
    pub transfer_every_ms: u64,
    /// A server that does not lead hears nobody, and nobody hears it.
    pub isolation_every_ms: u64,
    /// For so long, ms.
    pub isolation_ms: u64,
    /// A state that was fetched takes so long to load, ms.
    pub load_ms: u64,
    /// A process that starts takes at least so long until it has recovered, ms.
    pub start_ms: u64,
    /// For each znode and each log entry it takes so much longer, µs.
    pub recovers_one_us: u64,
    /// The monotonic clocks of hosts are wrong by at most so many parts in a million, each in its own way; 0 for true ones.
    pub drift_ppm_max: u64,
    /// A server that has no quorum for so long serves reads, ms; 0 for never.
    pub read_only_after_ms: u64,
    /// So many clients will do with that.
    pub read_only_clients: u64,
    /// Which new sessions only their server knows.
    pub local_sessions: LocalSessions,
    /// Nothing happens but that disks are lost: a server that lost its own must soon be [in step](crate::check::progress).
    pub lone_wipes: bool,
    /// Nothing worse happens than what an ensemble takes without a new leader: it must [progress](crate::check::progress).
    pub steady: bool,
    /// A client's connection is cut.
    pub client_cut_every_ms: u64,
    /// A client stands still.
    pub client_pause_every_ms: u64,
}

/// Bytes that a server lacks at most in a short run, about.
const CATCH_UP_LEN: u64 = 300_000;

impl Options {
    /// The options that `seed` chooses for `servers` servers.
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
        // A round must be longer than the way there and back and a write of the log, or leaders never last.
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
            // Each new one costs a quarter of a mebibyte of filling.
            segment_len: random.one_of(&[2 << 10, 16 << 10, 64 << 10, 64 << 10]),
            log_window_len: random.one_of(&[0, 4 << 10, 64 << 10]),
            sync_len_max: random.one_of(&[2 << 10, 16 << 10, 1 << 20]),
            initialize: random.once_in(2),
            checkpoint_every_ms: random.one_of(&[300, 1_000, 4_000]),
            crash_every_ms: rate(random, 1_500),
            leader_crash_every_ms: rate(random, 2_000),
            blackout_every_ms: rate(random, 3_000),
            // What a voter alone loses is lost.
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

    /// The same without any fault.
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

    /// The same without the troubles that later versions of the simulator have brought: what a seed meant before.
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

    /// Servers with the pace that they have by default, without faults.
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

    /// Servers, members or not.
    pub fn hosts(&self) -> usize {
        (self.servers + self.spares) as usize
    }

    /// The id of the server in `place`, which count from 0.
    pub fn id(&self, place: usize) -> ServerId {
        let is_last = place + 1 == self.hosts();
        ServerId(if is_last && self.last_is_255 { u8::MAX } else { self.first_id + place as u8 })
    }

    /// The place of the server with this id.
    pub fn place(&self, id: ServerId) -> usize {
        (0..self.hosts()).find(|&place| self.id(place) == id).expect("ids are those of servers")
    }

    /// How long clients wait at most when nothing is wrong, ms: a silent link is given up, dialled again, a leader is
    /// found, and all of it twice, by the slowest clock there may be; and what a server lacks comes over a narrow link.
    pub fn patience_ms(&self) -> u64 {
        slowest_takes_ms(25 * self.heartbeat_ms, self.drift_ppm_max)
            + CATCH_UP_LEN.checked_div(self.peer_bytes_per_ms).unwrap_or_default()
    }

    /// How fast the servers notice things, as `oxkeeper-server` derives it.
    pub fn pace(&self) -> Pace {
        let heartbeat_ms = self.heartbeat_ms;
        Pace { heartbeat_ms, silence_ms: 5 * heartbeat_ms, contact_ms: self.tick_ms.max(5 * heartbeat_ms) }
    }
}

/// Never, or about every `usual` ms.
fn rate(random: &mut Random, usual: u64) -> u64 {
    if random.once_in(3) { 0 } else { random.within(usual / 2, usual * 2) }
}

impl fmt::Display for Options {
    /// The faults first.
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
