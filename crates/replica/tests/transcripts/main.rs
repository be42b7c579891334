//! Scripted scenarios of an ensemble: `tests/scripts/*.txt`.
//!
//! A script has groups of commands, each followed by its outcome behind `----`; `#` begins a
//! comment. All commands of one file act on the same servers. `REWRITE=1 cargo test -p
//! oxkeeper-replica --test transcripts` writes the outcomes into the files: read the difference
//! before you keep it.
//!
//! The format is that of CockroachDB's and etcd's data-driven tests. The crate `datadriven` reads
//! it, too, but does not keep the order of the words behind a command, and reports neither the
//! place of a panic nor the differences in the other files.
//!
//! | command | effect |
//! |---|---|
//! | `servers 1 2 3 [founders=1,2] [initialize=1] [sync-len=N] [entry-len=N] [level=N] [older=3] [one-voter]` | starts servers, each with an empty disk |
//! | `founded 1 2 3 ...` | does the same, links them, lets them found an ensemble, and gives each a client with a session |
//! | `session 4`, `touch 4` | begins a session of a server's client, without which its other commands fail; renews it |
//! | `come 2 1`, `sessions 1` | moves the client of 1 to 2 with its session; lists the sessions in the state of 1 |
//! | `link 1 2`, `cut 1 2`, `link all`, `cut 3 all` | begins and ends links; the frames under way on a link end with it |
//! | `hold 1 2`, `release 1 2`, `deliver 1 2 [N]` | lets nothing of 1 arrive at 2; everything; N frames, or all |
//! | `run MS [frames] [chatter]`, `settle`, `turn 1` | gives all servers turns for MS; at this moment; gives one server one turn |
//! | `create 1 /a /b`, `reconfig 1 1 2 3:observer` | sends requests of a server's client |
//! | `hand-over 1` | makes a leader hand over to another server |
//! | `disk 1 fast|slow|full`, `persist 1`, `begin 2`, `finish 2` | sets the disk's behaviour; lets it answer once; begins and finishes a write beside the turns |
//! | `crash 1`, `restart 1`, `wipe 1`, `upgrade 1`, `downgrade 1`, `pause 1`, `resume 1` | acts on processes and machines |
//! | `checkpoint 1`, `install 3 1` | makes the durable tree hold the log's entries; makes 3 install the state of 1 |
//! | `forge 1 2 HEX` | delivers bytes to 2 in the name of 1 |
//! | `under-way`, `show [1]`, `compare` | lists the frames under way; shows the status of servers; compares their states |
//!
//! Lines begin with the time in ms. Ballots are `configuration.number@process`, zxids `epoch:counter`, entries are named by
//! index, commands by `server#number`.

mod disk;
mod script;
mod server;
mod show;
mod world;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::{env, fs};

use oxkeeper_replica::ensemble::Bugs;
use oxkeeper_state::Level;

use disk::Mood;
use script::Part;
use server::Plan;
use world::{Shown, World};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
/// Environment variable that makes the test write the outcomes into the scripts.
const REWRITE: &str = "REWRITE";

#[test]
fn what_servers_say_to_each_other_is_as_the_scripts_have_it() {
    let mut paths: Vec<PathBuf> = fs::read_dir(SCRIPTS).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut differences = Vec::new();
    for path in paths {
        let mut parts = script::parse(&fs::read_to_string(&path).unwrap());
        let difference = play(&path, &mut parts, Bugs::default());
        match env::var_os(REWRITE) {
            Some(_) => fs::write(path, script::print(&parts)).unwrap(),
            None => differences.extend(difference),
        }
    }
    assert!(differences.is_empty(), "{}\nIf that is as it should be: {REWRITE}=1\n", differences.join("\n"));
}

/// A script that does not notice a fault proves nothing.
#[test]
fn each_fault_on_purpose_makes_its_script_fail() {
    let none = Bugs::default();
    for (script, bugs) in [
        ("accepted_after_disk", Bugs { accepted_before_durable: true, ..none }),
        ("durability_gate", Bugs { no_durability_gate: true, ..none }),
        ("resend_over_a_new_link", Bugs { forget_reconnected: true, ..none }),
        ("install_takes_a_later_round", Bugs { naive_install: true, ..none }),
        ("epoch", Bugs { early_proposals: true, ..none }),
        ("resend_twice", Bugs { no_duplicate_filter: true, ..none }),
        ("expiry_led_before", Bugs { stale_clocks: true, ..none }),
        ("expiry_without_a_majority", Bugs { lonely_clocks: true, ..none }),
        ("expiry_came_too_late", Bugs { stale_expiry: true, ..none }),
        ("reconfig_void", Bugs { uncut_log: true, ..none }),
        ("reconfig_remove", Bugs { old_promise: true, ..none }),
        ("reconfig_void", Bugs { late_end: true, ..none }),
        ("join_blank", Bugs { lasting_configuration: true, ..none }),
        ("foreign_frames", Bugs { foreign_frames: true, ..none }),
        ("join_blank_below_the_level", Bugs { own_level: true, ..none }),
        ("level_of_an_older_server", Bugs { hasty_raise: true, ..none }),
        ("level_of_an_older_server", Bugs { unchecked_entries: true, ..none }),
    ] {
        let path = PathBuf::from(format!("{SCRIPTS}/{script}.txt"));
        let mut parts = script::parse(&fs::read_to_string(&path).unwrap());
        play(&path, &mut parts, none);
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| play(&path, &mut parts, bugs)));
        assert!(!matches!(played, Ok(None)), "{script}.txt does not notice {bugs:?}");
    }
}

/// Plays a script, and puts the outcomes into it. Returns how they differ from the former ones.
fn play(path: &Path, parts: &mut [Part], bugs: Bugs) -> Option<String> {
    let name = path.file_name().expect("a script has a name").to_string_lossy();
    let mut world = World::new(bugs);
    let mut difference = None;
    for part in parts {
        let Part::Group { line, commands, expected } = part else { continue };
        let mut got = Vec::new();
        for command in &*commands {
            let _context = Context(format!("{name}:{line}: {command}"));
            perform(&mut world, command);
            got.append(&mut world.take_lines());
        }
        if got != *expected && difference.is_none() {
            let (expected, got) = (expected.join("\n"), got.join("\n"));
            difference = Some(format!("{name}:{line}: expected\n{expected}\nbut got\n{got}\n"));
        }
        *expected = got;
    }
    difference
}

/// Prints the position in the script if a replica panics.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}", self.0);
        }
    }
}

fn perform(world: &mut World, command: &str) {
    let mut words: Vec<&str> = command.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    world.show_frames(Shown { frames: has("frames"), chatter: has("chatter") });
    words.retain(|word| !["frames", "chatter"].contains(word));
    match words.as_slice() {
        ["servers", words @ ..] => add_servers(world, words),
        ["founded", words @ ..] => {
            add_servers(world, words);
            world.found();
        }
        ["touch", id] => world.touch(number(id)),
        ["session", id] => world.open_session(number(id)),
        ["come", id, of] => world.come(number(id), number(of)),
        ["sessions", ids @ ..] => ids.iter().for_each(|id| world.list_sessions(number(id))),
        ["link", "all"] => each_pair(world, "all", "all", World::link),
        ["link", one, other] => each_pair(world, one, other, World::link),
        ["cut", one, other] => each_pair(world, one, other, World::cut),
        ["hold", from, to] => each_pair(world, from, to, World::hold),
        ["release", from, to] => each_pair(world, from, to, World::release),
        ["deliver", from, to] => world.deliver(number(from), number(to), usize::MAX),
        ["deliver", from, to, count] => world.deliver(number(from), number(to), number(count)),
        ["run", ms] => world.run(number(ms)),
        ["settle"] => world.settle(),
        ["turn", id] => drop(world.turn(number(id))),
        ["create", id, paths @ ..] => paths.iter().for_each(|path| world.create(number(id), path)),
        ["reconfig", id, members @ ..] => {
            let members: Vec<(u8, &str)> = members.iter().map(|member| in_role(member)).collect();
            world.reconfig(number(id), &members);
        }
        ["hand-over", id] => world.transfer_leadership(number(id)),
        ["disk", id, "fast"] => world.set_disk(number(id), Mood::Fast),
        ["disk", id, "slow"] => world.set_disk(number(id), Mood::Slow),
        ["disk", id, "full"] => world.set_disk(number(id), Mood::Full),
        ["persist", id] => drop(world.persist(number(id))),
        ["begin", id] => world.begin_disk(number(id)),
        ["finish", id] => drop(world.finish_disk(number(id))),
        ["crash", ids @ ..] => ids.iter().for_each(|id| world.crash(number(id))),
        ["restart", ids @ ..] => ids.iter().for_each(|id| world.start(number(id))),
        ["upgrade", id] => world.replace_program(number(id), Level::KNOWN),
        ["downgrade", id] => world.replace_program(number(id), Level::NONE),
        ["wipe", id] => world.wipe(number(id)),
        ["pause", id] => world.pause(number(id)),
        ["resume", id] => world.resume(number(id)),
        ["checkpoint", id] => world.checkpoint(number(id)),
        ["install", id, source] => world.install(number(id), number(source)),
        ["forge", from, to, hex] => world.forge(number(from), number(to), &from_hex(hex)),
        ["under-way"] => world.list_under_way(),
        ["show"] => world.ids().into_iter().for_each(|id| world.show(id)),
        ["show", ids @ ..] => ids.iter().for_each(|id| world.show(number(id))),
        ["compare"] => world.compare(),
        unknown => panic!("there is no command {unknown:?}"),
    }
}

/// Adds servers from words such as `1 2 3 founders=1,2 one-voter`.
fn add_servers(world: &mut World, words: &[&str]) {
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let list = |name: &str| option(name).map(|ids| ids.split(',').map(number).collect::<Vec<u8>>());
    let ids: Vec<u8> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let founders = list("founders").unwrap_or_else(|| ids.clone());
    let is_older = |id| list("older").is_some_and(|ids| ids.contains(&id));
    for id in ids {
        world.add(Plan {
            id,
            founders: founders.clone(),
            initialize: list("initialize").is_some_and(|ids| ids.contains(&id)),
            sync_len_max: option("sync-len").map_or(1 << 20, number),
            one_voter: words.contains(&"one-voter"),
            entry_len_max: option("entry-len").map_or(1 << 10, number),
            knows: if is_older(id) { Level::NONE } else { Level::KNOWN },
            // The level has scripts of its own.
            raises_to: option("level").filter(|_| !is_older(id)).map_or(Level::NONE, |level| Level(number(level))),
            bugs: world.bugs(),
        });
    }
}

/// Calls `act` for a pair of servers, or for one with every other.
fn each_pair(world: &mut World, one: &str, other: &str, act: fn(&mut World, u8, u8)) {
    let ids = |word: &str| if word == "all" { world.ids() } else { vec![number(word)] };
    let (ones, others) = (ids(one), ids(other));
    for &one in &ones {
        others.iter().filter(|&&other| other != one).for_each(|&other| act(world, one, other));
    }
}

/// Parses `3` or `3:observer`.
fn in_role(member: &str) -> (u8, &str) {
    let (id, role) = member.split_once(':').unwrap_or((member, "participant"));
    (number(id), role)
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len() / 2).map(|at| byte(2 * at)).collect()
}
