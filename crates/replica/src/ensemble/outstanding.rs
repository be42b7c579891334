//! Commands of this server's clients, numbered, from their arrival until they are applied here.
//!
//! After any change of leader or link, the outstanding commands are sent again from the start to
//! the current leader; the duplicate filter of the state drops those that are already agreed on.
//! Invariant: numbers are given once and without gaps; an origin leaves the queue exactly when its
//! command is applied.

use std::collections::VecDeque;

use crate::delivery::{Origin, Proposals};

#[derive(Debug)]
struct Chunk {
    first: u64,
    count: u64,
    commands: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) boot: u64,
    chunks: VecDeque<Chunk>,
    origins: VecDeque<Origin>,
    /// Number of the oldest command that is not applied.
    first: u64,
    /// Number of the next command.
    next: u64,
    /// Number of the first command that has not been sent to the leader.
    sent: u64,
    len: usize,
}

impl Outstanding {
    pub(crate) fn new(boot: u64) -> Outstanding {
        let (chunks, origins) = (VecDeque::new(), VecDeque::new());
        Outstanding { boot, chunks, origins, first: 1, next: 1, sent: 1, len: 0 }
    }

    /// Takes in the proposals and leaves them empty.
    pub(crate) fn push(&mut self, proposals: &mut Proposals) {
        let count = proposals.origins.len() as u64;
        if count == 0 {
            return;
        }
        let commands = std::mem::take(&mut proposals.commands);
        self.len += commands.len();
        self.chunks.push_back(Chunk { first: self.next, count, commands });
        self.origins.extend(proposals.origins.drain(..));
        self.next += count;
    }

    /// Marks everything as unsent: there is a new leader, or a new link to it.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.first;
    }

    /// Returns the next commands to send, and the number of the first one.
    pub(crate) fn next_unsent(&mut self) -> Option<(u64, &[u8])> {
        // There are few chunks: only those behind the oldest command that is not applied.
        let position = self.chunks.partition_point(|chunk| chunk.first + chunk.count <= self.sent);
        let chunk = self.chunks.get(position)?;
        self.sent = chunk.first + chunk.count;
        Some((chunk.first, &chunk.commands))
    }

    /// Returns whether some commands have not been sent to the leader.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.next
    }

    /// Returns the bytes of the commands that are not applied.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Panics with the invariant that is broken.
    pub(crate) fn check(&self) {
        let Outstanding { first, next, sent, .. } = *self;
        let count = self.origins.len() as u64;
        assert!(first + count == next, "invariant: {count} origins wait for commands {first}..{next}");
        assert!(sent <= next, "invariant: command {sent} was sent, {next} comes next");
        let mut end = self.chunks.front().map_or(next, |chunk| chunk.first);
        assert!(end <= first, "invariant: command {first} waits, the first one is {end}");
        for chunk in &self.chunks {
            assert!(chunk.first == end, "invariant: behind command {end} waits {}", chunk.first);
            end += chunk.count;
            assert!(end > first, "invariant: commands {}..{end} are applied and wait", chunk.first);
        }
        assert!(end == next, "invariant: commands wait up to {end}, {next} comes next");
        let len: usize = self.chunks.iter().map(|chunk| chunk.commands.len()).sum();
        assert!(len == self.len, "invariant: commands of {len} bytes wait, counted {}", self.len);
    }

    /// Drops the connections of the origins: no client waits for an answer any longer. The commands
    /// themselves stay.
    pub(crate) fn orphan(&mut self) {
        self.origins.iter_mut().for_each(|origin| (origin.connection, origin.reads) = (None, None));
    }
}

/// Yields the origins of the applied commands, in order.
impl Iterator for Outstanding {
    type Item = Origin;

    fn next(&mut self) -> Option<Origin> {
        let origin = self.origins.pop_front()?;
        self.first += 1;
        while let Some(chunk) = self.chunks.front().filter(|chunk| chunk.first + chunk.count <= self.first) {
            self.len -= chunk.commands.len();
            self.chunks.pop_front();
        }
        Some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::check::tests::assert_found;

    fn outstanding() -> Outstanding {
        let mut outstanding = Outstanding::new(1);
        for count in [2, 3] {
            let origins = (0..count).map(|_| Origin::own(0)).collect();
            outstanding.push(&mut Proposals { commands: vec![0; 10 * count], origins });
        }
        outstanding.next();
        outstanding
    }

    #[test]
    fn what_is_wrong_in_a_window_is_found() {
        assert_found(
            outstanding,
            |outstanding| outstanding.check(),
            &[
                ("3 origins wait for commands 2..6", |it| drop(it.origins.pop_back())),
                ("command 9 was sent, 6 comes next", |it| it.sent = 9),
                ("command 2 waits, the first one is 3", |it| drop(it.chunks.pop_front())),
                ("behind command 3 waits 4", |it| it.chunks[1].first = 4),
                ("commands 1..3 are applied and wait", |it| {
                    it.first = 3;
                    it.origins.pop_front();
                }),
                ("commands wait up to 5, 6 comes next", |it| it.chunks[1].count = 2),
                ("commands of 50 bytes wait, counted 49", |it| it.len -= 1),
            ],
        );
    }
}
