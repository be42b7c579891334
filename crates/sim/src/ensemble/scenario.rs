//! Scenarios: runs with more of some troubles, and none of the others. A defect that requires
//! several things to go wrong at the right moments shows in few seeds of the right scenario.

use std::str::FromStr;

use oxkeeper_state::Level;

use super::Options;

/// A selection of troubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Every kind of trouble, as the seed chooses.
    Everything,
    /// Slow disks, stalls, and power failures of all servers.
    Power,
    /// Links that break under low load.
    Links,
    /// Repeated changes of the voters, with server crashes in between.
    Changes,
    /// A leader that loses its quorum again and again.
    Lonely,
    /// Clients that are away for about as long as their sessions last, and slow followers.
    Absences,
    /// Candidates that are cut off while the servers that have promised them something lose their
    /// disks. Leadership transfers make sure that there are candidates.
    Promises,
    /// Servers of two releases that come and go.
    Releases,
    /// Narrow links under load, and followers that are cut off now and then: sending what they lack
    /// takes longer than a link may be silent.
    Narrow,
    /// A server that loses its disk under load, while the others keep short logs, and loading the
    /// fetched state takes long.
    ReplacedDisk,
    /// A leader crash every five seconds, with servers at their default settings.
    Failover,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Scenario; 11] = [
        Scenario::Everything,
        Scenario::Power,
        Scenario::Links,
        Scenario::Changes,
        Scenario::Lonely,
        Scenario::Absences,
        Scenario::Promises,
        Scenario::Releases,
        Scenario::Narrow,
        Scenario::ReplacedDisk,
        Scenario::Failover,
    ];

    /// Returns the scenario's name.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Everything => "everything",
            Scenario::Power => "power",
            Scenario::Links => "links",
            Scenario::Changes => "changes",
            Scenario::Lonely => "lonely",
            Scenario::Absences => "absences",
            Scenario::Promises => "promises",
            Scenario::Releases => "releases",
            Scenario::Narrow => "narrow",
            Scenario::ReplacedDisk => "replaced-disk",
            Scenario::Failover => "failover",
        }
    }

    /// Returns the options that a seed has chosen, with the troubles of this scenario.
    pub fn shape(self, options: Options) -> Options {
        match self {
            Scenario::Everything => options,
            Scenario::Power => power(options),
            Scenario::Links => links(options),
            Scenario::Changes => changes(options),
            Scenario::Lonely => lonely(options),
            Scenario::Absences => absences(options),
            Scenario::Promises => promises(options),
            Scenario::Releases => releases(options),
            Scenario::Narrow => narrow(options),
            Scenario::ReplacedDisk => replaced_disk(options),
            Scenario::Failover => failover(options),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Scenario, String> {
        let names: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        known.ok_or_else(|| format!("no scenario is called `{name}`; there are: {}", names.join(", ")))
    }
}

fn power(options: Options) -> Options {
    Options {
        disk_ms_max: options.heartbeat_ms / 5,
        blackout_every_ms: 400,
        stall_every_ms: 300,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

fn links(options: Options) -> Options {
    Options {
        cut_every_ms: 100,
        peer_delay_ms_max: options.heartbeat_ms / 6,
        clients: 1,
        think_ms_max: 200,
        depth: 1,
        window_len: 1 << 20,
        ..options.calm()
    }
}

fn changes(options: Options) -> Options {
    Options {
        reconfig_every_ms: 150,
        spares: 2,
        leader_crash_every_ms: 500,
        crash_every_ms: 700,
        cut_every_ms: 300,
        transfer_every_ms: 700,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

fn lonely(options: Options) -> Options {
    Options { lost_quorum_every_ms: 700, clients: 4, think_ms_max: 200, ..options.calm() }
}

fn absences(options: Options) -> Options {
    Options {
        disk_ms_max: options.heartbeat_ms / 2,
        stall_every_ms: 300,
        client_pause_every_ms: 300,
        client_cut_every_ms: 200,
        clients: 5,
        think_ms_max: 10,
        ..options.calm()
    }
}

fn promises(options: Options) -> Options {
    Options {
        lost_promise_once_in: 1,
        disk_ms_max: 20,
        peer_delay_ms_max: 5,
        transfer_every_ms: 150,
        founders: options.servers,
        spares: 0,
        sync_len_max: 1 << 20,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

/// Upgrades from the previous release to this one; in tests, which enable the cargo feature
/// `next-version`, from this one to the next.
fn releases(options: Options) -> Options {
    let releases = [Level(Level::LAST.0 - 1), Level::LAST];
    Options { releases, crash_every_ms: 300, leader_crash_every_ms: 500, ..options.calm() }
}

fn narrow(options: Options) -> Options {
    Options {
        peer_bytes_per_ms: 200,
        tick_ms: 200,
        heartbeat_ms: 100,
        peer_delay_ms_max: 1,
        disk_ms_max: options.disk_ms_max.min(10),
        isolation_every_ms: 400,
        isolation_ms: 2_500,
        clients: 5,
        think_ms_max: 4,
        depth: 16,
        window_len: 1 << 20,
        entry_len_max: 1 << 20,
        founders: options.servers,
        spares: 0,
        log_window_len: 8 << 20,
        load_ms: 0,
        sync_len_max: 1 << 20,
        initialize: false,
        steady: true,
        ..options.calm()
    }
}

fn replaced_disk(options: Options) -> Options {
    Options {
        lone_wipes: true,
        wipe_every_ms: 600,
        load_ms: 600,
        checkpoint_every_ms: 60,
        founders: options.servers,
        spares: 0,
        log_window_len: 0,
        segment_len: 2 << 10,
        clients: 4,
        think_ms_max: 10,
        depth: 4,
        window_len: 1 << 20,
        ..options.calm()
    }
}

fn failover(options: Options) -> Options {
    Options { leader_crash_every_ms: 5_000, disk_ms_max: 20, ..options.by_default() }
}
