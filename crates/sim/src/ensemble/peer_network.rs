//! Links between servers. Frames arrive in order, late. When a link breaks, the frames in flight
//! are lost from some frame on. A direction may be silent for a while, which each end notices only
//! by its timeout.
//!
//! A link may be narrow: each direction carries a limited number of bytes per millisecond, and
//! frames wait for those in front of them. An urgent frame waits only for one piece of a long
//! frame. It also overtakes frames that are late for another reason, but no frame sent after it
//! arrives before it.
//!
//! Mirrors `oxkeeper-server`'s `peers`: there is one link for each pair, dialled by the server with
//! the smaller place, and a new link replaces the old one.

use std::collections::VecDeque;

use oxkeeper_replica::ensemble::frame::Frame;

use crate::random::Random;

/// Longest wait of an urgent frame for the piece in progress, and for what the system has buffered,
/// µs.
const PIECE_US: u64 = 3_000;
/// Approximate interval at which the ends notice progress while a frame is in transit, ms.
const MOVES_EVERY_MS: u64 = 10;
/// Limit of such notices for one frame.
const MOVES_MAX: u64 = 64;

/// Item that an end receives from its peer, in order.
#[derive(Clone, Debug)]
pub enum Item {
    /// A new link, with its number.
    Up(u64),
    /// A frame that arrived on the link.
    Frame(Vec<u8>),
    /// A part of a frame has arrived (`true`) or left (`false`).
    Moves(bool),
    /// The link has ended.
    Down,
}

impl Item {
    /// Returns whether the item is lost if the link breaks.
    fn is_on_its_way(&self) -> bool {
        matches!(self, Item::Frame(_) | Item::Moves(_))
    }
}

/// State of one end.
#[derive(Debug, Default)]
struct End {
    inbox: VecDeque<(u64, Item)>,
    last_ms: u64,
    /// Arrival time of the last urgent frame, which may be in the future, ms.
    urgent_ms: u64,
    /// Newest link whose end this end has not noticed.
    uses: Option<u64>,
    /// Link that the engine has taken over and sends on.
    sends: Option<u64>,
}

/// Time until which each kind of frame keeps a direction of a link busy, µs.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    bulk_us: u64,
    urgent_us: u64,
}

/// Connection between a pair of servers.
#[derive(Debug, Default)]
struct Wire {
    /// Ends; that of the smaller place comes first.
    ends: [End; 2],
    /// Direction in which each end sends.
    lines: [Line; 2],
    /// Time until which each end's frames do not arrive, ms.
    blocked_until_ms: [u64; 2],
    /// Newest link, and whether it still carries frames.
    link: u64,
    carries: bool,
}

/// Links of all pairs of servers.
#[derive(Debug)]
pub struct PeerNetwork {
    peer_network: Vec<Wire>,
    servers: usize,
    delay_ms_max: u64,
    /// Bandwidth; 0 means that a frame takes no time but its delay.
    bytes_per_ms: u64,
    /// Whether urgent frames wait behind all others, for `Bug::OneLane`.
    one_lane: bool,
}

impl PeerNetwork {
    /// Creates a network without links.
    pub fn new(servers: usize, delay_ms_max: u64, bytes_per_ms: u64, one_lane: bool) -> PeerNetwork {
        let peer_network = (0..servers * servers).map(|_| Wire::default()).collect();
        PeerNetwork { peer_network, servers, delay_ms_max, bytes_per_ms, one_lane }
    }

    /// Returns the pair's connection, and the index of the end that is `me`.
    fn wire(&mut self, me: usize, peer: usize) -> (&mut Wire, usize) {
        let (low, high) = (me.min(peer), me.max(peer));
        (&mut self.peer_network[low * self.servers + high], usize::from(me > peer))
    }

    /// Sends a frame. Returns the time at which it arrives or begins to arrive, or `None` if it is
    /// lost.
    pub fn send(&mut self, me: usize, peer: usize, frame: Vec<u8>, now_ms: u64, random: &mut Random) -> Option<u64> {
        let delay_ms = self.delay(random);
        let (bytes_per_ms, one_lane) = (self.bytes_per_ms, self.one_lane);
        let (wire, end) = self.wire(me, peer);
        if !wire.carries || wire.ends[end].sends != Some(wire.link) {
            return None;
        }
        // Unacknowledged frames are sent again once the direction is free.
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
        // Delays are mostly short, rarely long.
        if random.once_in(20) { random.within(0, 5 * self.delay_ms_max) } else { random.within(0, self.delay_ms_max) }
    }

    /// Returns the next item that `me` receives from `peer`.
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
                // A replaced link ends before the new one begins.
                if end.inbox.iter().all(|(_, item)| !matches!(item, Item::Up(_))) {
                    end.uses = None;
                }
            }
            Item::Frame(_) | Item::Moves(_) => {}
        }
        Some(item)
    }

    /// Returns the time at which `me` receives the next item.
    pub fn due_ms(&mut self, me: usize) -> Option<u64> {
        let peers = (0..self.servers).filter(|&peer| peer != me);
        let dues = peers.filter_map(|peer| {
            let (wire, end) = self.wire(me, peer);
            wire.ends[end].inbox.front().map(|(at_ms, _)| *at_ms)
        });
        dues.collect::<Vec<_>>().into_iter().min()
    }

    /// Returns whether a dial from `me` can succeed: no direction is blocked, and `me` knows of no
    /// link.
    pub fn may_dial(&mut self, me: usize, peer: usize, now_ms: u64) -> bool {
        let (wire, end) = self.wire(me, peer);
        wire.ends[end].uses.is_none() && wire.blocked_until_ms.iter().all(|&until_ms| until_ms <= now_ms)
    }

    /// Returns whether `me` believes that it has a link to `peer`.
    pub fn is_linked(&mut self, me: usize, peer: usize) -> bool {
        let (wire, end) = self.wire(me, peer);
        wire.ends[end].uses.is_some()
    }

    /// Returns whether both ends use the same link.
    pub fn carries(&mut self, me: usize, peer: usize) -> bool {
        let (wire, _) = self.wire(me, peer);
        wire.carries && wire.ends.iter().all(|end| end.sends == Some(wire.link))
    }

    /// Returns whether both directions are free.
    pub fn is_open(&mut self, me: usize, peer: usize, now_ms: u64) -> bool {
        let (wire, _) = self.wire(me, peer);
        wire.blocked_until_ms.iter().all(|&until_ms| until_ms <= now_ms)
    }

    /// Creates a new link, which replaces the old one at each end that still has it.
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

    /// Breaks the link in the network: each end learns of it soon, or never.
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

    /// Ends the link on behalf of `me`.
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

    /// Ends the links of a process that is gone. Its peers learn of it, unless its machine is gone,
    /// too.
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

    /// Blocks frames from `from` to `to` until `until_ms`, including those in flight.
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

    /// Unblocks all directions.
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
    /// Returns the times at which a frame that takes `len_us` begins to leave and has left.
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
    /// Inserts an item before those that come later, but not before a change of the link. Returns
    /// its arrival time.
    fn insert(&mut self, at_ms: u64, item: Item) -> u64 {
        let comes = |(there_ms, item): &&(u64, Item)| *there_ms > at_ms && item.is_on_its_way();
        let place = self.inbox.len() - self.inbox.iter().rev().take_while(comes).count();
        let at_ms = place.checked_sub(1).map_or(at_ms, |before| self.inbox[before].0.max(at_ms));
        self.inbox.insert(place, (at_ms, item));
        at_ms
    }

    /// Inserts an urgent item like [`End::insert`]; items that are pushed from now on come after
    /// it.
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

    /// Drops items that have not arrived.
    fn forget_what_comes(&mut self, now_ms: u64) {
        while self.inbox.back().is_some_and(|(at_ms, item)| *at_ms > now_ms && item.is_on_its_way()) {
            self.inbox.pop_back();
        }
        self.last_ms = self.inbox.back().map_or(now_ms, |(at_ms, _)| *at_ms);
    }

    /// Drops items from some frame on.
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
