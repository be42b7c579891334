//! Comparison of this server's state with that of the others.
//!
//! With every ping a server sends the digest of its state after the last entry it has applied, and
//! after the last one whose number is a multiple of [`ALIGNED`]. A server that has applied as much
//! compares at once; the others compare when they get there. A digest covers everything since the
//! first entry, so states that differ once differ from then on, until the state is replaced.
//!
//! If a majority of the voters has the same digest after an entry, and this server another one,
//! this server is wrong and must stop. If no majority agrees (there are two voters, or the others
//! are away), it is unknown which one is wrong: then the leader goes on, and a server that differs
//! from it serves no clients, so that they all see one state, whichever it is. That server keeps
//! its vote: the vote is about the log, not about the resulting state, and without it nothing could
//! be decided any longer.

use std::collections::{BTreeMap, VecDeque};

use oxkeeper_proto::ServerId;
use oxkeeper_state::Digest;

/// Number of own digests kept, one for each entry.
const KEPT: usize = 512;
/// Interval, in entries, at which all servers send a digest, so that several can be compared after
/// the same entry.
const ALIGNED: u64 = 64;
/// Number of claims kept for each peer.
const CLAIMS: usize = 16;

/// Two servers whose states differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The other server.
    pub peer: ServerId,
    /// Number of entries that both had applied.
    pub applied: u64,
    /// Digest of this server's state after them.
    pub own: Digest,
    /// Digest of the other server's state.
    pub peers: Digest,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Own digests by number of applied entries, without gaps.
    own: VecDeque<(u64, Digest)>,
    claims: BTreeMap<ServerId, BTreeMap<u64, Digest>>,
    /// The last comparison with each peer: the entries applied, and the number since which it has
    /// differed.
    compared: BTreeMap<ServerId, (u64, Option<u64>)>,
    /// Mismatches found since they were last taken.
    news: Vec<Mismatch>,
}

impl Digests {
    /// Notes the digest after `applied` entries, one more than before.
    pub(crate) fn note(&mut self, applied: u64, digest: Digest) {
        if self.own.back().is_some_and(|&(last, _)| last + 1 != applied) {
            self.own.clear();
        }
        if self.own.len() == KEPT {
            self.own.pop_front();
        }
        self.own.push_back((applied, digest));
        let said = self.claims.iter().filter_map(|(&peer, claims)| Some((peer, *claims.get(&applied)?)));
        for (peer, peers) in said.collect::<Vec<_>>() {
            self.compare(Mismatch { peer, applied, own: digest, peers });
        }
    }

    /// Returns the claims to send with a ping.
    pub(crate) fn to_say(&self) -> impl Iterator<Item = (u64, Digest)> {
        let last = self.own.back().copied();
        let aligned = last.and_then(|(applied, _)| self.at(applied - applied % ALIGNED));
        aligned.filter(|_| aligned != last).into_iter().chain(last)
    }

    fn at(&self, applied: u64) -> Option<(u64, Digest)> {
        let (first, _) = *self.own.front()?;
        self.own.get(usize::try_from(applied.checked_sub(first)?).ok()?).copied()
    }

    /// Notes the digest that `peer` reports.
    pub(crate) fn said(&mut self, peer: ServerId, applied: u64, peers: Digest) {
        let reached = self.own.back().map_or(0, |&(last, _)| last);
        let claims = self.claims.entry(peer).or_default();
        if claims.len() >= CLAIMS {
            // A claim that is still to be compared is not given up for a later one.
            match claims.first_key_value() {
                Some((&oldest, _)) if oldest <= reached => drop(claims.remove(&oldest)),
                _ => return,
            }
        }
        claims.insert(applied, peers);
        if let Some((_, own)) = self.at(applied) {
            self.compare(Mismatch { peer, applied, own, peers });
        }
    }

    fn compare(&mut self, mismatch: Mismatch) {
        let Mismatch { peer, applied, own, peers } = mismatch;
        let (last, since) = self.compared.get(&peer).copied().unwrap_or_default();
        if applied < last {
            return;
        }
        if own == peers {
            self.compared.insert(peer, (applied, None));
            return;
        }
        self.compared.insert(peer, (applied, since.or(Some(applied))));
        if since.is_none() {
            self.news.push(mismatch);
        }
    }

    /// Mismatches found since the last call.
    pub(crate) fn take_news(&mut self) -> Vec<Mismatch> {
        std::mem::take(&mut self.news)
    }

    /// Returns whether the state of this server, `me`, differs from that of `leader`, and no
    /// majority has the same state as this server.
    pub(crate) fn is_doubtful(&self, leader: ServerId, me: ServerId, voters: &[ServerId]) -> bool {
        let Some((_, Some(since))) = self.compared.get(&leader).copied() else { return false };
        let confirmed = |&(applied, own): &(u64, Digest)| self.votes(applied, own, Some(me), voters) > voters.len() / 2;
        !self.own.iter().rev().take_while(|(applied, _)| *applied >= since).any(confirmed)
    }

    /// Returns whether a majority of the voters has one state, and this server another.
    pub(crate) fn is_minority(&self, voters: &[ServerId]) -> bool {
        if self.compared.values().all(|(_, since)| since.is_none()) {
            return false;
        }
        let outvotes = |&(&applied, &digest): &(&u64, &Digest)| {
            let differs = self.at(applied).is_some_and(|(_, own)| own != digest);
            differs && self.votes(applied, digest, None, voters) > voters.len() / 2
        };
        self.claims.values().flatten().any(|claim| outvotes(&claim))
    }

    /// Returns how many voters, including `me`, report this digest after `applied` entries.
    fn votes(&self, applied: u64, digest: Digest, me: Option<ServerId>, voters: &[ServerId]) -> usize {
        let claim = |voter: &ServerId| self.claims.get(voter).and_then(|claims| claims.get(&applied));
        let agrees = |voter: &&ServerId| me == Some(**voter) || claim(voter) == Some(&digest);
        voters.iter().filter(agrees).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(tree: u64) -> Digest {
        Digest { tree, ..Digest::default() }
    }

    /// Returns the digests of a server that has applied 100 entries.
    fn digests() -> Digests {
        let mut digests = Digests::default();
        (1..=100).for_each(|applied| digests.note(applied, digest(applied)));
        digests
    }

    fn differs(digests: &Digests, peer: u8) -> bool {
        digests.compared.get(&ServerId(peer)).is_some_and(|(_, since)| since.is_some())
    }

    #[test]
    fn what_is_said_is_the_last_and_the_last_aligned() {
        let said = |digests: &Digests| digests.to_say().map(|(applied, _)| applied).collect::<Vec<_>>();
        assert_eq!(said(&Digests::default()), []);
        assert_eq!(said(&digests()), [64, 100]);
        let mut even = Digests::default();
        (1..=64).for_each(|applied| even.note(applied, digest(applied)));
        assert_eq!(said(&even), [64], "once is enough");
        let mut late = Digests::default();
        late.note(70, digest(70));
        assert_eq!(said(&late), [70], "it began behind 64");
    }

    #[test]
    fn a_difference_is_found_behind_the_same_entry_whoever_is_there_first() {
        let mut digests = digests();
        for (peer, applied, tree, expected) in
            [(2, 100, 100, false), (3, 99, 99, false), (4, 100, 7, true), (5, 50, 7, true), (6, 101, 7, false)]
        {
            digests.said(ServerId(peer), applied, digest(tree));
            assert_eq!(differs(&digests, peer), expected, "{peer}");
        }
        digests.note(101, digest(101));
        assert!(differs(&digests, 6), "it had said it before");
        let news: Vec<_> = digests.take_news().iter().map(|it| (it.peer.0, it.applied, it.peers.tree)).collect();
        assert_eq!(news, [(4, 100, 7), (5, 50, 7), (6, 101, 7)]);
        // It is reported once, until they agree again.
        digests.said(ServerId(4), 101, digest(7));
        assert_eq!(digests.take_news(), []);
        digests.note(102, digest(102));
        digests.said(ServerId(4), 102, digest(102));
        digests.said(ServerId(4), 101, digest(7));
        assert!(!differs(&digests, 4), "an older one does not count");
        // An entry that no server keeps is not compared.
        digests.said(ServerId(7), 5_000, digest(7));
        digests.note(5_000, digest(7));
        digests.said(ServerId(8), 4_000, digest(1));
        assert!(!differs(&digests, 7) && !differs(&digests, 8));
    }

    #[test]
    fn who_differs_from_a_majority_is_wrong() {
        let check = |voters: &[u8], said: &[(u8, u64, u64)], is_minority: bool| {
            let voters: Vec<ServerId> = voters.iter().copied().map(ServerId).collect();
            let mut digests = digests();
            said.iter().for_each(|&(peer, applied, tree)| digests.said(ServerId(peer), applied, digest(tree)));
            assert_eq!(digests.is_minority(&voters), is_minority, "{voters:?} {said:?}");
        };
        check(&[1, 2, 3], &[(2, 100, 7), (3, 100, 7)], true);
        check(&[1, 2, 3], &[(2, 100, 7), (3, 100, 100)], false);
        check(&[1, 2, 3], &[(2, 100, 7), (3, 100, 8)], false);
        check(&[1, 2, 3], &[(2, 99, 7), (3, 100, 7)], false);
        check(&[1, 2, 3], &[(2, 100, 7), (4, 100, 7)], false);
        check(&[1, 2], &[(2, 100, 7)], false);
        check(&[2], &[(2, 100, 7)], true);
        check(&[2, 3], &[(2, 100, 7)], false);
        check(&[2, 3], &[(2, 100, 7), (3, 100, 7)], true);
        check(&[1, 2, 3, 4, 5], &[(2, 100, 7), (3, 100, 7), (4, 64, 7)], false);
        check(&[1, 2, 3, 4, 5], &[(2, 100, 7), (3, 100, 7), (4, 64, 7), (4, 100, 7)], true);
        check(&[1, 2, 3], &[(2, 101, 7), (3, 101, 7)], false);
    }

    /// A server that differs from the leader and agrees with a majority is not the wrong one.
    #[test]
    fn a_majority_ends_all_doubt() {
        let check = |said: &[(u8, u64, u64)], is_doubtful: bool| {
            let mut digests = digests();
            said.iter().for_each(|&(peer, applied, tree)| digests.said(ServerId(peer), applied, digest(tree)));
            let voters = [1, 2, 3].map(ServerId);
            assert_eq!(digests.is_doubtful(ServerId(2), ServerId(1), &voters), is_doubtful, "{said:?}");
        };
        check(&[], false);
        check(&[(2, 90, 90)], false);
        check(&[(2, 90, 7)], true);
        check(&[(2, 90, 7), (3, 80, 80)], true);
        check(&[(2, 90, 7), (3, 95, 8)], true);
        check(&[(2, 90, 7), (3, 90, 90)], false);
        check(&[(2, 90, 7), (2, 100, 7), (3, 95, 95)], false);
        check(&[(2, 90, 7), (2, 100, 100)], false);
    }

    /// A peer that is ahead, for however long, is compared with what this server reaches next.
    #[test]
    fn what_is_still_to_come_is_kept() {
        let mut digests = digests();
        (0..1_000).for_each(|more| digests.said(ServerId(2), 101 + more, digest(0)));
        assert_eq!(digests.claims[&ServerId(2)].len(), CLAIMS);
        digests.note(101, digest(101));
        assert!(differs(&digests, 2));
        (0..10_000).for_each(|applied| digests.said(ServerId(2), applied % 100, digest(0)));
        assert!(digests.claims[&ServerId(2)].len() <= CLAIMS);
    }
}
