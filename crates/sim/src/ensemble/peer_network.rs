//! Links between servers: frames arrive in order, late; a link breaks and loses what is on its way from some frame on;
//! a direction may be silent for a while, which each end only notices by its patience.
//!
//! A link may be narrow: each direction passes so many bytes in a millisecond, and frames wait for those in front of them. An
//! urgent one waits for a piece of a long frame only. It also overtakes frames that are late for another reason; but none that
//! was sent behind it arrives before it.
//!
//! Mirrors `oxkeeper-server`'s `peers`: one link for each pair, dialled by the smaller place, a new one replaces the old.

use std::collections::VecDeque;

use oxkeeper_replica::ensemble::frame::Frame;

use crate::random::Random;

/// An urgent frame waits so long for the piece that is under way, and for what the system holds, µs.
const PIECE_US: u64 = 3_000;
/// While a frame is on its way the ends see that something moves, about so often, ms.
const MOVES_EVERY_MS: u64 = 10;
/// At most so often for one frame.
const MOVES_MAX: u64 = 64;

/// What an end hears of its peer, in order.
#[derive(Clone, Debug)]
pub enum Item {
    /// A new link, by its number.
    Up(u64),
    /// A frame on it.
    Frame(Vec<u8>),
    /// A part of a frame has come (`true`), or left.
    Moves(bool),
    /// It has ended.
    Down,
}

impl Item {
    /// Whether it is lost when the link is.
    fn is_on_its_way(&self) -> bool {
        matches!(self, Item::Frame(_) | Item::Moves(_))
    }
}

/// One end's view.
#[derive(Debug, Default)]
struct End {
    inbox: VecDeque<(u64, Item)>,
    last_ms: u64,
    /// When the last urgent frame came, or will.
    urgent_ms: u64,
    /// The newest link that it has not heard the end of.
    uses: Option<u64>,
    /// The link that its engine has taken over: what it sends goes there.
    sends: Option<u64>,
}

/// What a direction of a link has to carry: until when each kind of frame keeps it busy, µs.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    bulk_us: u64,
    urgent_us: u64,
}

/// A pair of servers.
#[derive(Debug, Default)]
struct Wire {
    /// Of the smaller place first.
    ends: [End; 2],
    /// What each end sends.
    lines: [Line; 2],
    /// Until when what each end sends does not arrive.
    blocked_until_ms: [u64; 2],
    /// The newest link, and whether it still carries anything.
    link: u64,
    carries: bool,
}

/// All pairs.
#[derive(Debug)]
pub struct PeerNetwork {
    peer_network: Vec<Wire>,
    servers: usize,
    delay_ms_max: u64,
    /// 0: a frame takes no time but its delay.
    bytes_per_ms: u64,
    /// A bug: urgent frames wait behind all others.
    one_lane: bool,
}

impl PeerNetwork {
    /// Without links.
    pub fn new(servers: usize, delay_ms_max: u64, bytes_per_ms: u64, one_lane: bool) -> PeerNetwork {
        let peer_network = (0..servers * servers).map(|_| Wire::default()).collect();
        PeerNetwork { peer_network, servers, delay_ms_max, bytes_per_ms, one_lane }
    }

    /// The pair, and which of its ends `me` is.
    fn wire(&mut self, me: usize, peer: usize) -> (&mut Wire, usize) {
        let (low, high) = (me.min(peer), me.max(peer));
        (&mut self.peer_network[low * self.servers + high], usize::from(me > peer))
    }

    /// Sends a frame; when it arrives, or begins to, unless it is lost.
    pub fn send(&mut self, me: usize, peer: usize, frame: Vec<u8>, now_ms: u64, random: &mut Random) -> Option<u64> {
        let delay_ms = self.delay(random);
        let (bytes_per_ms, one_lane) = (self.bytes_per_ms, self.one_lane);
        let (wire, end) = self.wire(me, peer);
        if !wire.carries || wire.ends[end].sends != Some(wire.link) {
            return None;
        }
        // What is not acknowledged is sent again once the way is free.
        let now_us = 1_000 * now_ms.max(wire.blocked_until_ms[end]);
        let len_us = (1_000 * frame.len() as u64).checked_div(bytes_per_ms).unwrap_or_default();
        let is_urgent = !one_lane && Frame::is_urgent(&frame);
        let (start_us, end_us) = wire.lines[end].carry(now_us, len_us, is_urgent);
        let (start_ms, end_ms) = (start_us / 1_000, end_us / 1_000);
        let moves = ((end_ms - start_ms) / MOVES_EVERY_MS).min(MOVES_MAX);
        for at_ms in (1..=moves).map(|part| start_ms + part * (end_ms - start_ms) / (moves + 1)) {
            wire.ends[end].insert(at_ms, Item::Moves(false));
            wire.ends[1 - end].insert(at_ms + delay_ms, Item::Moves(true));
        }
        let (at_ms, other) = (end_ms + delay_ms, &mut wire.ends[1 - end]);
        let at_ms = match is_urgent {
            true => other.insert_urgent(at_ms, Item::Frame(frame)),
            false => other.push(at_ms, Item::Frame(frame)),
        };
        Some(if moves > 0 { start_ms + delay_ms } else { at_ms })
    }

    fn delay(&self, random: &mut Random) -> u64 {
        // Mostly quick, seldom slow.
        if random.once_in(20) { random.within(0, 5 * self.delay_ms_max) } else { random.within(0, self.delay_ms_max) }
    }

    /// The next thing `me` hears of `peer`.
    pub fn poll(&mut self, me: usize, peer: usize, now_ms: u64) -> Option<Item> {
        let (wire, end) = self.wire(me, peer);
        let end = &mut wire.ends[end];
        let (at_ms, _) = end.inbox.front()?;
        if *at_ms > now_ms {
            return None;
        }
        let (_, item) = end.inbox.pop_front()?;
        match item {
            Item::Up(link) => end.sends = Some(link),
            Item::Down => {
                end.sends = None;
                // One that was replaced ends in front of the new one.
                if end.inbox.iter().all(|(_, item)| !matches!(item, Item::Up(_))) {
                    end.uses = None;
                }
            }
            Item::Frame(_) | Item::Moves(_) => {}
        }
        Some(item)
    }

    /// When `me` hears something next.
    pub fn due_ms(&mut self, me: usize) -> Option<u64> {
        let peers = (0..self.servers).filter(|&peer| peer != me);
        let dues = peers.filter_map(|peer| {
            let (wire, end) = self.wire(me, peer);
            wire.ends[end].inbox.front().map(|(at_ms, _)| *at_ms)
        });
        dues.collect::<Vec<_>>().into_iter().min()
    }

    /// Whether a dial from `me` would do: nothing is blocked, and `me` knows of no link.
    pub fn may_dial(&mut self, me: usize, peer: usize, now_ms: u64) -> bool {
        let (wire, end) = self.wire(me, peer);
        wire.ends[end].uses.is_none() && wire.blocked_until_ms.iter().all(|&until_ms| until_ms <= now_ms)
    }

    /// Whether `me` has a link to `peer`, as far as it knows.
    pub fn is_linked(&mut self, me: usize, peer: usize) -> bool {
        let (wire, end) = self.wire(me, peer);
        wire.ends[end].uses.is_some()
    }

    /// Whether both ends use one link.
    pub fn carries(&mut self, me: usize, peer: usize) -> bool {
        let (wire, _) = self.wire(me, peer);
        wire.carries && wire.ends.iter().all(|end| end.sends == Some(wire.link))
    }

    /// Whether both directions are free.
    pub fn is_open(&mut self, me: usize, peer: usize, now_ms: u64) -> bool {
        let (wire, _) = self.wire(me, peer);
        wire.blocked_until_ms.iter().all(|&until_ms| until_ms <= now_ms)
    }

    /// A new link. It replaces the old one at an end that still has it.
    pub fn connect(&mut self, me: usize, peer: usize, now_ms: u64, random: &mut Random) {
        let delays = [self.delay(random), self.delay(random)];
        let (wire, _) = self.wire(me, peer);
        wire.link += 1;
        wire.carries = true;
        wire.lines = Default::default();
        for (end, delay_ms) in wire.ends.iter_mut().zip(delays) {
            end.forget_what_comes(now_ms);
            if end.uses.is_some() && !matches!(end.inbox.back(), Some((_, Item::Down))) {
                end.push(now_ms + delay_ms, Item::Down);
            }
            end.uses = Some(wire.link);
            end.push(now_ms + delay_ms, Item::Up(wire.link));
        }
    }

    /// The network breaks the link: each end learns of it soon, or never.
    pub fn cut(&mut self, me: usize, peer: usize, now_ms: u64, random: &mut Random) {
        let (wire, _) = self.wire(me, peer);
        if !std::mem::replace(&mut wire.carries, false) {
            return;
        }
        for end in &mut wire.ends {
            end.lose_some(now_ms, random);
            if end.uses == Some(wire.link) && !random.once_in(3) {
                end.down(now_ms + random.within(0, 50));
            }
        }
    }

    /// `me` ends the link.
    pub fn kill(&mut self, me: usize, peer: usize, now_ms: u64, random: &mut Random) {
        let delay_ms = self.delay(random);
        let (wire, end) = self.wire(me, peer);
        if wire.ends[end].uses.is_none() {
            return;
        }
        let newest = wire.ends[end].uses == Some(wire.link);
        wire.ends[end].inbox.clear();
        wire.ends[end].last_ms = now_ms;
        wire.ends[end].down(now_ms);
        if newest && std::mem::replace(&mut wire.carries, false) {
            let blocked = wire.blocked_until_ms[end] > now_ms;
            let other = &mut wire.ends[1 - end];
            other.lose_some(now_ms, random);
            if other.uses == Some(wire.link) && !blocked {
                other.down(now_ms + delay_ms);
            }
        }
    }

    /// The process is gone. Its peers hear of it, unless its machine is gone, too.
    pub fn die(&mut self, me: usize, machine: bool, now_ms: u64, random: &mut Random) {
        for peer in (0..self.servers).filter(|&peer| peer != me) {
            let delay_ms = self.delay(random);
            let (wire, end) = self.wire(me, peer);
            let used = wire.ends[end].uses.take();
            wire.ends[end].sends = None;
            wire.ends[end].inbox.clear();
            wire.ends[end].last_ms = now_ms;
            if used != Some(wire.link) || !std::mem::replace(&mut wire.carries, false) {
                continue;
            }
            let blocked = wire.blocked_until_ms[end] > now_ms;
            let other = &mut wire.ends[1 - end];
            other.lose_some(now_ms, random);
            if other.uses == Some(wire.link) && !machine && !blocked {
                other.down(now_ms + delay_ms);
            }
        }
    }

    /// What `from` sends to `to` does not arrive until then. What is on its way neither.
    pub fn block(&mut self, from: usize, to: usize, until_ms: u64, now_ms: u64) {
        let (wire, end) = self.wire(from, to);
        wire.blocked_until_ms[end] = wire.blocked_until_ms[end].max(until_ms);
        let until_ms = wire.blocked_until_ms[end];
        wire.ends[end].inbox.retain(|(at_ms, item)| *at_ms <= now_ms || !matches!(item, Item::Moves(false)));
        let other = &mut wire.ends[1 - end];
        for (at_ms, _) in other.inbox.iter_mut().filter(|(at_ms, _)| *at_ms > now_ms) {
            *at_ms = (*at_ms).max(until_ms);
        }
        other.last_ms = other.inbox.back().map_or(other.last_ms, |(at_ms, _)| *at_ms);
    }

    /// Nothing is blocked any more.
    pub fn heal(&mut self, now_ms: u64) {
        for wire in &mut self.peer_network {
            wire.blocked_until_ms = [0; 2];
            wire.lines = Default::default();
            for end in &mut wire.ends {
                end.inbox.iter_mut().for_each(|(at_ms, _)| *at_ms = (*at_ms).min(now_ms + 1));
                end.last_ms = end.last_ms.min(now_ms + 1);
            }
        }
    }
}

impl Line {
    /// When a frame that takes `len_us` begins to leave, and when all of it has.
    fn carry(&mut self, now_us: u64, len_us: u64, is_urgent: bool) -> (u64, u64) {
        let Line { bulk_us, urgent_us } = self;
        if !is_urgent {
            let start_us = now_us.max(*bulk_us);
            *bulk_us = start_us + len_us;
            return (start_us, *bulk_us);
        }
        let waits_us = bulk_us.saturating_sub(now_us).min(PIECE_US);
        let start_us = (now_us + waits_us).max(*urgent_us);
        *urgent_us = start_us + len_us;
        *bulk_us = (*bulk_us).max(now_us) + len_us;
        (start_us, *urgent_us)
    }
}

impl End {
    /// In front of what comes later, but of nothing that tells of the link.
    fn insert(&mut self, at_ms: u64, item: Item) -> u64 {
        let comes = |(there_ms, item): &&(u64, Item)| *there_ms > at_ms && item.is_on_its_way();
        let place = self.inbox.len() - self.inbox.iter().rev().take_while(comes).count();
        let at_ms = place.checked_sub(1).map_or(at_ms, |before| self.inbox[before].0.max(at_ms));
        self.inbox.insert(place, (at_ms, item));
        at_ms
    }

    /// The same; what is pushed from now on comes behind it.
    fn insert_urgent(&mut self, at_ms: u64, item: Item) -> u64 {
        let at_ms = self.insert(at_ms.max(self.urgent_ms.min(self.last_ms)), item);
        self.urgent_ms = at_ms;
        self.last_ms = self.last_ms.max(at_ms);
        at_ms
    }

    fn push(&mut self, at_ms: u64, item: Item) -> u64 {
        self.last_ms = self.last_ms.max(at_ms);
        self.inbox.push_back((self.last_ms, item));
        self.last_ms
    }

    /// What has not arrived will not.
    fn forget_what_comes(&mut self, now_ms: u64) {
        while self.inbox.back().is_some_and(|(at_ms, item)| *at_ms > now_ms && item.is_on_its_way()) {
            self.inbox.pop_back();
        }
        self.last_ms = self.inbox.back().map_or(now_ms, |(at_ms, _)| *at_ms);
    }

    /// From some frame on, nothing arrives.
    fn lose_some(&mut self, now_ms: u64, random: &mut Random) {
        let arrived = self.inbox.iter().take_while(|(at_ms, _)| *at_ms <= now_ms).count();
        let coming = self.inbox.len() - arrived;
        let kept = arrived + random.place(coming + 1);
        while self.inbox.len() > kept && self.inbox.back().is_some_and(|(_, item)| item.is_on_its_way()) {
            self.inbox.pop_back();
        }
        self.last_ms = self.inbox.back().map_or(now_ms, |(at_ms, _)| *at_ms);
    }

    fn down(&mut self, at_ms: u64) {
        self.push(at_ms, Item::Down);
    }
}
