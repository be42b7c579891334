//! Several servers, the links between them and the time: performs the commands of a script, and
//! returns the outcome as lines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oxkeeper_replica::ensemble::{Bugs, Journal, JournalFull, Role, Want};

use oxkeeper_state::Level;

use super::disk::Mood;
use super::server::{Answer, Deed, Facts, Outcome, Plan, Server, is_fast};
use super::show::{self, Talk};

/// Largest number of rounds of turns at one moment: if there are more, the servers never come to
/// rest.
const TURNS_MAX: usize = 2_000;

/// Time in which an ensemble is founded, ms.
const FOUNDING_MS: u64 = 300;

/// Frames to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) frames: bool,
    pub(crate) chatter: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct World {
    bugs: Bugs,
    now_ms: u64,
    servers: BTreeMap<u8, Server>,
    paused: BTreeSet<u8>,
    /// Frames under way by sender and receiver; both directions are there while the link is up.
    under_way: BTreeMap<(u8, u8), VecDeque<Vec<u8>>>,
    /// Directions in which nothing arrives.
    held: BTreeSet<(u8, u8)>,
    known: BTreeMap<u8, Facts>,
    silent: BTreeSet<(u8, u8)>,
    asked: BTreeMap<i32, String>,
    shown: Shown,
    lines: Vec<String>,
}

impl World {
    /// Creates a world whose servers have these faults.
    pub(crate) fn new(bugs: Bugs) -> World {
        World { bugs, ..World::default() }
    }

    pub(crate) fn bugs(&self) -> Bugs {
        self.bugs
    }

    /// Takes the outcome of the last command.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn show_frames(&mut self, shown: Shown) {
        self.shown = shown;
    }

    fn say(&mut self, id: u8, text: &str) {
        self.lines.push(format!("{:>5} {id}: {text}", self.now_ms));
    }

    fn server(&mut self, id: u8) -> &mut Server {
        self.servers.get_mut(&id).unwrap_or_else(|| panic!("there is no server {id}"))
    }

    pub(crate) fn ids(&self) -> Vec<u8> {
        self.servers.keys().copied().collect()
    }

    // Machines.

    pub(crate) fn add(&mut self, plan: Plan) {
        let id = plan.id;
        self.servers.insert(id, Server::new(plan));
        self.start(id);
    }

    pub(crate) fn start(&mut self, id: u8) {
        let now_ms = self.now_ms;
        match self.server(id).start(now_ms) {
            Ok(()) => drop(self.note_facts(id)),
            Err(JournalFull) => self.say(id, "cannot start: its disk is full"),
        }
    }

    /// Ends its process and its links, which the others notice.
    pub(crate) fn crash(&mut self, id: u8) {
        self.server(id).crash();
        self.known.remove(&id);
        self.paused.remove(&id);
        for peer in self.ids() {
            self.cut(id, peer);
        }
    }

    pub(crate) fn wipe(&mut self, id: u8) {
        assert!(!self.server(id).is_running(), "server {id} runs");
        self.server(id).wipe();
    }

    pub(crate) fn pause(&mut self, id: u8) {
        self.paused.insert(id);
    }

    pub(crate) fn resume(&mut self, id: u8) {
        self.paused.remove(&id);
    }

    pub(crate) fn set_disk(&mut self, id: u8, mood: Mood) {
        self.server(id).disk.set_mood(mood);
    }

    pub(crate) fn checkpoint(&mut self, id: u8) {
        self.server(id).checkpoint();
        let disk = &self.server(id).disk;
        let (first, end) = (disk.first_index(), disk.next_index());
        self.say(id, &format!("its log has {first}..{end}"));
    }

    pub(crate) fn install(&mut self, id: u8, source: u8) {
        let now_ms = self.now_ms;
        let mut server = self.servers.remove(&id).unwrap_or_else(|| panic!("there is no server {id}"));
        let installed = server.install(self.server(source), now_ms);
        self.servers.insert(id, server);
        installed.expect("the disk has room");
        self.known.remove(&id);
        self.paused.remove(&id);
        // The process continues with new links, as it does after every recovery.
        let peers: Vec<u8> = self.ids().into_iter().filter(|&peer| self.under_way.contains_key(&(id, peer))).collect();
        for peer in peers {
            self.under_way.insert((id, peer), VecDeque::new());
            self.under_way.insert((peer, id), VecDeque::new());
            self.server(peer).link_down(id, now_ms);
            self.server(peer).link_up(id, now_ms);
            self.server(id).link_up(peer, now_ms);
        }
        self.note_facts(id);
    }

    /// Lets the servers found the ensemble, and gives each a client with a session. Only the leader
    /// is reported.
    pub(crate) fn found(&mut self) {
        each_pair_of(&self.ids(), |one, other| self.link(one, other));
        self.run(FOUNDING_MS);
        for id in self.ids() {
            self.open_session(id);
        }
        self.settle();
        self.lines.clear();
        let now_ms = self.now_ms;
        for id in self.ids() {
            let facts = self.server(id).facts(now_ms).expect("it runs");
            assert!(facts.serving, "server {id} does not serve");
            if facts.rules {
                self.say(id, &format!("leads, all serve, {} entries are applied", facts.applied));
            }
        }
    }

    /// Begins a session of a server's client.
    pub(crate) fn open_session(&mut self, id: u8) {
        let (xid, now_ms) = (self.next_xid("a session"), self.now_ms);
        self.server(id).open_session(xid, now_ms);
    }

    /// Moves the client of another server to this one.
    pub(crate) fn come(&mut self, id: u8, of: u8) {
        let (xid, now_ms) = (self.next_xid("the session"), self.now_ms);
        self.server(id).resume_session(of, xid, now_ms);
    }

    /// Lists the sessions in the state of a server.
    pub(crate) fn list_sessions(&mut self, id: u8) {
        let sessions: Vec<String> = self.server(id).sessions().into_iter().map(show::session).collect();
        self.say(id, &format!("has sessions {}", sessions.join(", ")));
    }

    /// Replaces the program of a server by one that knows this level.
    pub(crate) fn replace_program(&mut self, id: u8, knows: Level) {
        assert!(!self.server(id).is_running(), "server {id} runs");
        let plan = &mut self.server(id).plan;
        (plan.knows, plan.raises_to) = (knows, knows);
    }

    /// Renews the session of a server's client.
    pub(crate) fn touch(&mut self, id: u8) {
        let now_ms = self.now_ms;
        self.server(id).touch(now_ms);
    }

    // Links.

    pub(crate) fn link(&mut self, one: u8, other: u8) {
        let now_ms = self.now_ms;
        let runs = |world: &mut World, id| world.server(id).is_running();
        if one == other || !runs(self, one) || !runs(self, other) || self.under_way.contains_key(&(one, other)) {
            return;
        }
        for (from, to) in [(one, other), (other, one)] {
            self.under_way.insert((from, to), VecDeque::new());
            self.silent.remove(&(from, to));
        }
        self.server(one).link_up(other, now_ms);
        self.server(other).link_up(one, now_ms);
    }

    pub(crate) fn cut(&mut self, one: u8, other: u8) {
        let now_ms = self.now_ms;
        for (from, to) in [(one, other), (other, one)] {
            self.held.remove(&(from, to));
            if self.under_way.remove(&(from, to)).is_some() && self.server(from).is_running() {
                self.server(from).link_down(to, now_ms);
            }
        }
    }

    pub(crate) fn hold(&mut self, from: u8, to: u8) {
        self.held.insert((from, to));
    }

    pub(crate) fn release(&mut self, from: u8, to: u8) {
        self.held.remove(&(from, to));
    }

    /// Delivers up to `count` frames, held or not.
    pub(crate) fn deliver(&mut self, from: u8, to: u8, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.under_way.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { break };
            self.arrive(from, to, &frame);
        }
        self.turn(to);
    }

    /// Delivers a frame that no server sent, as if a hostile or an old server were at the other
    /// end.
    pub(crate) fn forge(&mut self, from: u8, to: u8, frame: &[u8]) {
        self.arrive(from, to, frame);
    }

    /// Lists the frames under way, by name.
    pub(crate) fn list_under_way(&mut self) {
        for ((from, to), frames) in self.under_way.clone() {
            for frame in frames {
                self.show_frame(from, to, &frame, "..", Shown { frames: true, ..self.shown });
            }
        }
    }

    fn show_frame(&mut self, from: u8, to: u8, frame: &[u8], arrow: &str, shown: Shown) {
        let now_ms = self.now_ms;
        let Some(facts) = self.server(from).facts(now_ms).or_else(|| self.server(to).facts(now_ms)) else { return };
        let (talk, text) = show::frame(frame, &facts.configuration, from, to);
        if shown.frames && (talk == Talk::News || shown.chatter) {
            self.lines.push(format!("{:>5} {from}{arrow}{to} {text}", self.now_ms));
        }
    }

    fn arrive(&mut self, from: u8, to: u8, frame: &[u8]) {
        let now_ms = self.now_ms;
        self.show_frame(from, to, frame, "->", self.shown);
        if let Err(problem) = self.server(to).receive(from, frame, now_ms) {
            self.say(to, &format!("refuses a frame of {from}: {problem}"));
            self.cut(from, to);
        }
    }

    // Clients.

    pub(crate) fn create(&mut self, id: u8, path: &str) {
        let (xid, now_ms) = (self.next_xid(&format!("create {path}")), self.now_ms);
        self.server(id).create(path, xid, now_ms);
    }

    pub(crate) fn reconfig(&mut self, id: u8, members: &[(u8, &str)]) {
        let (xid, now_ms) = (self.next_xid("reconfig"), self.now_ms);
        self.server(id).reconfig(members, xid, now_ms);
    }

    fn next_xid(&mut self, what: &str) -> i32 {
        let xid = self.asked.len() as i32 + 1;
        self.asked.insert(xid, what.to_owned());
        xid
    }

    pub(crate) fn transfer_leadership(&mut self, id: u8) {
        let now_ms = self.now_ms;
        let begun = self.server(id).transfer_leadership(now_ms);
        self.say(id, if begun { "wants another leader" } else { "cannot hand over" });
    }

    // Turns, and time.

    /// Gives every server turns for `for_ms`.
    pub(crate) fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        loop {
            self.settle();
            let running = self.servers.iter().filter(|(id, _)| !self.paused.contains(id));
            let next_ms = running.filter_map(|(_, server)| server.next_turn_ms()).min().unwrap_or(until_ms);
            if self.now_ms >= until_ms {
                return;
            }
            self.now_ms = next_ms.max(self.now_ms + 1).min(until_ms);
        }
    }

    /// Gives every server turns until nothing more happens at this moment.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let ids = self.ids();
            if ids.into_iter().filter(|&id| self.turn(id)).count() == 0 {
                return;
            }
        }
        panic!("the servers do not come to rest at {} ms", self.now_ms);
    }

    /// Runs one turn, and the disk work that is done at once. Returns whether anything happened.
    pub(crate) fn turn(&mut self, id: u8) -> bool {
        if !self.server(id).is_running() || self.paused.contains(&id) {
            return false;
        }
        let now_ms = self.now_ms;
        let mut happened = self.listen(id);
        let outcome = self.server(id).turn(now_ms);
        happened |= self.note(id, outcome);
        if is_fast(&self.server(id).disk) {
            happened |= self.persist(id);
        }
        happened | self.look(id)
    }

    /// Sends the frames of an engine, and reports its actions. Returns whether there were any.
    fn note(&mut self, id: u8, outcome: Outcome) -> bool {
        let Outcome { frames, deeds } = outcome;
        let happened = !frames.is_empty() || !deeds.is_empty();
        for (peer, frame) in frames {
            self.under_way.entry((id, peer)).or_default().push_back(frame);
        }
        for deed in deeds {
            match deed {
                Deed::Applied { index, entry } => self.say(id, &format!("applies {index}: {}", show::entry(&entry))),
                Deed::Answered(Answer { xid, zxid, err }) => {
                    let asked = self.asked.get(&xid).cloned().unwrap_or_default();
                    self.say(id, &format!("answers {asked}: {}, zxid {}", show::outcome(err), show::zxid(zxid)));
                }
                Deed::Expired(session) => self.say(id, &format!("session {} expires", show::session(session))),
                Deed::Silent(peer) if self.silent.insert((id, peer)) => {
                    self.say(id, &format!("hears nothing of {peer}"))
                }
                Deed::Silent(_) => {}
                Deed::DiskStalled => self.say(id, "its disk stands still: another server is to lead"),
            }
        }
        happened
    }

    fn listen(&mut self, id: u8) -> bool {
        let mut heard = false;
        for from in self.ids() {
            if self.held.contains(&(from, id)) {
                continue;
            }
            // A running server hears the others at once; a frame of its own turn waits for the next
            // one.
            while let Some(frame) = self.under_way.get_mut(&(from, id)).and_then(VecDeque::pop_front) {
                self.arrive(from, id, &frame);
                heard = true;
            }
        }
        heard
    }

    /// Lets the disk do the work under way, and everything staged by the turns since.
    pub(crate) fn persist(&mut self, id: u8) -> bool {
        let (mut worked, now_ms) = (false, self.now_ms);
        while self.server(id).begin_disk(now_ms) && self.finish_disk(id) {
            worked = true;
        }
        worked
    }

    /// Starts disk work; turns continue meanwhile.
    pub(crate) fn begin_disk(&mut self, id: u8) {
        let now_ms = self.now_ms;
        let begun = self.server(id).begin_disk(now_ms);
        self.say(id, if begun { "its disk works" } else { "its disk has nothing to do" });
    }

    /// Finishes the work under way. Returns whether the server continues.
    pub(crate) fn finish_disk(&mut self, id: u8) -> bool {
        let now_ms = self.now_ms;
        match self.server(id).finish_disk(now_ms) {
            Ok(outcome) => {
                self.note(id, outcome);
                self.look(id);
                true
            }
            Err(JournalFull) => {
                self.say(id, "its disk is full");
                self.crash(id);
                false
            }
        }
    }

    /// Reports news of a server.
    fn look(&mut self, id: u8) -> bool {
        if !self.server(id).is_running() {
            return false;
        }
        let want = self.server(id).take_want();
        if let Some(Want::Install { from, at }) = want {
            self.say(id, &format!("wants the state of {from}, with {at} entries"));
            self.paused.insert(id);
        }
        if let Some(problem) = self.server(id).outdated() {
            self.say(id, &format!("ends: {problem}"));
            self.crash(id);
            return true;
        }
        self.note_facts(id) | want.is_some()
    }

    fn note_facts(&mut self, id: u8) -> bool {
        let now_ms = self.now_ms;
        let Some(facts) = self.server(id).facts(now_ms) else { return false };
        let former = self.known.insert(id, facts.clone());
        let is_new = |same: fn(&Facts, &Facts) -> bool| former.as_ref().is_none_or(|former| !same(former, &facts));
        let mut news = Vec::new();
        if is_new(|a, b| a.configuration == b.configuration) && facts.configuration.id > 0 {
            news.push(show::configuration(&facts.configuration));
        }
        if is_new(|a, b| a.role == b.role) {
            news.push(role(facts.role));
        }
        if is_new(|a, b| a.rules == b.rules) && (facts.rules || former.is_some()) {
            news.push(if facts.rules { "takes commands" } else { "takes no more commands" }.to_owned());
        }
        if is_new(|a, b| a.leaving == b.leaving) && former.is_some() && !facts.leaving && facts.role == Role::Leading {
            news.push("goes on leading".to_owned());
        }
        if is_new(|a, b| a.serving == b.serving) && (facts.serving || former.is_some()) {
            news.push(if facts.serving { "serves" } else { "serves nobody" }.to_owned());
        }
        news.iter().for_each(|text| self.say(id, text));
        !news.is_empty()
    }

    /// Shows the status of a server.
    pub(crate) fn show(&mut self, id: u8) {
        let now_ms = self.now_ms;
        let server = self.server(id);
        let disk = server.disk.clone();
        let on_disk = format!(
            "disk {}..{}, promise {}, round {}",
            disk.first_index(),
            disk.next_index(),
            show::scalar_ballot(disk.scalar(show::PROMISE)),
            show::scalar_ballot(disk.scalar(show::ROUND))
        );
        let Some(facts) = server.facts(now_ms) else { return self.say(id, &format!("down; {on_disk}")) };
        let Facts { applied, decided, ahead_of_disk, ref linked, .. } = facts;
        let early = if ahead_of_disk { " ahead of its disk" } else { "" };
        let text =
            format!("{}; decided {decided}, applied {applied}{early}; {on_disk}; linked {linked:?}", role(facts.role));
        self.say(id, &text);
    }

    /// Compares the states of all running servers.
    pub(crate) fn compare(&mut self) {
        let now_ms = self.now_ms;
        let mut states = BTreeMap::<(u64, u64), Vec<u8>>::new();
        for id in self.ids() {
            if let Some(facts) = self.server(id).facts(now_ms) {
                let digest = self.server(id).digest();
                states.entry((facts.applied, digest)).or_default().push(id);
            }
        }
        for ((applied, _), ids) in &states {
            self.lines.push(format!("{ids:?} have applied {applied} entries"));
        }
        let mut digests = BTreeMap::<u64, u64>::new();
        for (applied, digest) in states.keys() {
            let known = *digests.entry(*applied).or_insert(*digest);
            assert_eq!(known, *digest, "two servers that have applied {applied} entries differ");
        }
    }
}

/// Calls `act` for each pair once.
pub(crate) fn each_pair_of(ids: &[u8], mut act: impl FnMut(u8, u8)) {
    for (place, &one) in ids.iter().enumerate() {
        ids[..place].iter().for_each(|&other| act(other, one));
    }
}

fn role(role: Role) -> String {
    match role {
        Role::Uninitialized => "is blank".to_owned(),
        Role::Looking => "knows no leader".to_owned(),
        Role::Following(leader) => format!("follows {leader}"),
        Role::Observing(leader) => format!("learns from {leader}"),
        Role::Leading => "leads".to_owned(),
    }
}
