//! Commands of every server on their way into the log, at the leader, in the order of their
//! numbers.
//!
//! The queue opens once the leader's own epoch is applied: then the state knows the numbers that
//! the inherited log has. Invariant: each server's numbers enter without gaps; commands that are
//! already in are dropped.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;
use oxkeeper_proto::{ServerId, SessionId};
use oxkeeper_state::command::{self, BallotId, Counted, OWN_BOOT, batch_extent};
use oxkeeper_state::reconfig::{self, Ruling};
use oxkeeper_state::{Command, Level, State};

use super::frame::BadFrame;
use crate::stats::Tally;

/// Consecutive commands of one server.
#[derive(Debug)]
struct Section {
    server: ServerId,
    boot: u64,
    first: u64,
    commands: Vec<u8>,
    /// Whether it may contain a reconfig, on which the leader must rule.
    reconfigs: bool,
    /// Whether the leader has ruled.
    judged: bool,
}

/// Counts of the entries that a leader has packed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packed {
    /// Length of each entry, bytes.
    pub lens: Tally,
    /// Length of the last entry, bytes.
    pub last_len: u64,
    /// Commands in all entries.
    pub commands: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ProposalQueue {
    /// Counts since they were last taken.
    pub(crate) packed: Packed,
    /// Each server's start number (`boot`) and the next command number.
    next: HashMap<ServerId, (u64, u64), FixedState>,
    sections: VecDeque<Section>,
    len: usize,
    /// Sessions whose clients have come back, until they are taken: the session clocks must know of
    /// it before they are looked at, however long agreement takes.
    pub(crate) resumed: Vec<SessionId>,
    /// The agreed feature level, which determines the layout of entries.
    pub(crate) level: Level,
    /// A bug: nothing is dropped.
    pub(crate) takes_all: bool,
}

impl ProposalQueue {
    /// Opens the queue for all servers; `state` has their commands up to a number.
    pub(crate) fn open(state: &State) -> ProposalQueue {
        let next = state.admitted().map(|(server, (boot, last))| (server, (boot, last + 1)));
        ProposalQueue { next: next.collect(), level: state.level(), ..ProposalQueue::default() }
    }

    /// Takes commands of a member. *Errors*: they are not valid commands; none is taken.
    pub(crate) fn take(
        &mut self,
        server: ServerId,
        boot: u64,
        first: u64,
        mut commands: Vec<u8>,
    ) -> Result<(), BadFrame> {
        let Counted { count, reconfigs, mut resumed } = command::count_commands(&commands)?;
        if count == 0 {
            return Err(BadFrame::Forward("none"));
        }
        if boot == OWN_BOOT {
            return Err(BadFrame::Forward("they have no numbers"));
        }
        let (known_boot, next) = self.next.entry(server).or_default();
        if boot > *known_boot {
            (*known_boot, *next) = (boot, 1);
        }
        let end = first.checked_add(count).ok_or(BadFrame::Forward("there are no such numbers"))?;
        if self.takes_all {
            self.push(Section { server, boot, first, commands, reconfigs, judged: false });
            return Ok(());
        }
        // The commands are from an earlier start of the server, leave a gap (the server will send
        // them again), or are all known.
        if boot < *known_boot || first > *next || end <= *next {
            return Ok(());
        }
        self.resumed.append(&mut resumed);
        let known = *next - first;
        commands.drain(..prefix_len(&commands, known));
        let section = Section { server, boot, first: *next, commands, reconfigs, judged: false };
        *next = end;
        self.push(section);
        Ok(())
    }

    /// Takes commands of the leader itself.
    pub(crate) fn take_own(&mut self, commands: Vec<u8>) {
        self.push(Section { server: ServerId(0), boot: OWN_BOOT, first: 0, commands, reconfigs: false, judged: false });
    }

    fn push(&mut self, section: Section) {
        self.len += section.commands.len();
        self.sections.push_back(section);
    }

    /// Rules on the reconfigs among the waiting commands.
    pub(crate) fn judge(&mut self, mut rule: impl FnMut(&Command<'_>) -> Ruling) {
        for section in self.sections.iter_mut().filter(|section| section.reconfigs && !section.judged) {
            reconfig::judge(&mut section.commands, &mut rule);
            section.judged = true;
        }
    }

    /// Panics with the invariant that is broken.
    pub(crate) fn check(&self) {
        let len: usize = self.sections.iter().map(|section| section.commands.len()).sum();
        assert!(len == self.len, "invariant: commands of {len} bytes wait for the log, counted {}", self.len);
        let mut last = HashMap::<ServerId, (u64, u64), FixedState>::default();
        for Section { server, boot, first, commands, .. } in &self.sections {
            assert!(!commands.is_empty(), "invariant: a section of {server} is empty");
            if *boot == OWN_BOOT {
                continue;
            }
            let next = self.next.get(server).copied().unwrap_or_default();
            assert!(
                (*boot, *first) < next,
                "invariant: {server} has sent {next:?}, in the log comes {first} of {boot}"
            );
            let before = last.insert(*server, (*boot, *first));
            assert!(before < Some((*boot, *first)), "invariant: behind {before:?} of {server} comes {first} of {boot}");
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// Packs waiting commands into one entry of about `len_max` bytes, or more if one command alone
    /// is longer. Returns the entry, and whether it may contain a reconfig.
    pub(crate) fn pack(&mut self, ballot: BallotId, time_ms: i64, len_max: usize) -> (Vec<u8>, bool) {
        let mut entry = Vec::with_capacity(self.len.min(len_max) + 64 * self.sections.len());
        command::begin_agreed_at(self.level, ballot, time_ms, &mut entry);
        let (mut packed, mut reconfigs) = (0, false);
        while let Some(section) = self.sections.front_mut()
            && (packed == 0 || packed < len_max)
        {
            let (len, count) = batch_extent(&section.commands, len_max.saturating_sub(packed));
            if packed > 0 && packed + len > len_max {
                break;
            }
            let Section { server, boot, first, .. } = *section;
            command::put_section(server, boot, first, &section.commands[..len], &mut entry);
            packed += len;
            self.packed.commands += count as u64;
            reconfigs |= section.reconfigs;
            self.len -= len;
            if len == section.commands.len() {
                self.sections.pop_front();
            } else {
                section.commands.drain(..len);
                section.first += count as u64;
            }
        }
        self.packed.last_len = entry.len() as u64;
        self.packed.lens.record(self.packed.last_len);
        (entry, reconfigs)
    }
}

/// Returns the length of the first `count` commands, bytes.
fn prefix_len(commands: &[u8], count: u64) -> usize {
    let mut len = 0;
    for _ in 0..count {
        let prefix = commands[len..].first_chunk::<4>().expect("as many commands as were counted");
        len += 4 + u32::from_be_bytes(*prefix) as usize;
    }
    len
}

#[cfg(test)]
mod tests {
    use oxkeeper_proto::{OpCode, SessionId};
    use oxkeeper_state::{Identities, Settings};

    use super::*;
    use crate::ensemble::check::tests::assert_found;

    fn queue() -> ProposalQueue {
        let mut queue = ProposalQueue::open(&State::new(1));
        let (session, identities, op) = (SessionId(1), Identities::default(), OpCode::Sync);
        let mut command = Vec::new();
        Command { session, xid: 0, op, settings: Settings::default(), identities, body: b"", from: None }
            .encode(&mut command);
        queue.take(ServerId(2), 7, 1, command.repeat(3)).unwrap();
        queue.take_own(command.clone());
        queue.take(ServerId(2), 7, 4, command).unwrap();
        queue
    }

    #[test]
    fn what_is_wrong_in_an_intake_is_found() {
        assert_found(
            queue,
            |queue| queue.check(),
            &[
                ("wait for the log, counted 1", |it| it.len = 1),
                ("a section of 2 is empty", |it| {
                    it.len -= it.sections[2].commands.len();
                    it.sections[2].commands.clear();
                }),
                ("2 has sent (7, 5), in the log comes 5 of 7", |it| it.sections[2].first = 5),
                ("behind Some((7, 1)) of 2 comes 1 of 7", |it| it.sections[2].first = 1),
            ],
        );
    }
}
