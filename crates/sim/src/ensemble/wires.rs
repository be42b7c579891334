//! Links between servers: frames arrive in order, late; a link breaks and loses what is on its way from some frame on;
//! a direction may be silent for a while, which each end only notices by its patience.
//!
//! Mirrors `oxkeeper-server`'s `peers`: one link for each pair, dialled by the smaller place, a new one replaces the old.

use std::collections::VecDeque;

use crate::random::Random;

/// What an end hears of its peer, in order.
#[derive(Clone, Debug)]
pub enum Item {
    /// A new link, by its number.
    Up(u64),
    /// A frame on it.
    Frame(Vec<u8>),
    /// It has ended.
    Down,
}

/// One end's view.
#[derive(Debug, Default)]
struct End {
    inbox: VecDeque<(u64, Item)>,
    last_ms: u64,
    /// The newest link that it has not heard the end of.
    uses: Option<u64>,
    /// The link that its engine has taken over: what it sends goes there.
    sends: Option<u64>,
}

/// A pair of servers.
#[derive(Debug, Default)]
struct Wire {
    /// Of the smaller place first.
    ends: [End; 2],
    /// Until when what each end sends does not arrive.
    blocked_until_ms: [u64; 2],
    /// The newest link, and whether it still carries anything.
    link: u64,
    carries: bool,
}

/// All pairs.
#[derive(Debug)]
pub struct Wires {
    wires: Vec<Wire>,
    servers: usize,
    delay_ms_max: u64,
}

impl Wires {
    /// Without links.
    pub fn new(servers: usize, delay_ms_max: u64) -> Wires {
        Wires { wires: (0..servers * servers).map(|_| Wire::default()).collect(), servers, delay_ms_max }
    }

    /// The pair, and which of its ends `me` is.
    fn wire(&mut self, me: usize, peer: usize) -> (&mut Wire, usize) {
        let (low, high) = (me.min(peer), me.max(peer));
        (&mut self.wires[low * self.servers + high], usize::from(me > peer))
    }

    /// Sends a frame; when it arrives, unless it is lost.
    pub fn send(&mut self, me: usize, peer: usize, frame: Vec<u8>, now_ms: u64, random: &mut Random) -> Option<u64> {
        let delay_ms = self.delay(random);
        let (wire, end) = self.wire(me, peer);
        if !wire.carries || wire.ends[end].sends != Some(wire.link) {
            return None;
        }
        // What is not acknowledged is sent again once the way is free.
        let at_ms = now_ms.max(wire.blocked_until_ms[end]) + delay_ms;
        Some(wire.ends[1 - end].push(at_ms, Item::Frame(frame)))
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
            Item::Frame(_) => {}
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
        let other = &mut wire.ends[1 - end];
        for (at_ms, _) in other.inbox.iter_mut().filter(|(at_ms, _)| *at_ms > now_ms) {
            *at_ms = (*at_ms).max(until_ms);
        }
        other.last_ms = other.inbox.back().map_or(other.last_ms, |(at_ms, _)| *at_ms);
    }

    /// Nothing is blocked any more.
    pub fn heal(&mut self, now_ms: u64) {
        for wire in &mut self.wires {
            wire.blocked_until_ms = [0; 2];
            for end in &mut wire.ends {
                end.inbox.iter_mut().for_each(|(at_ms, _)| *at_ms = (*at_ms).min(now_ms + 1));
                end.last_ms = end.last_ms.min(now_ms + 1);
            }
        }
    }
}

impl End {
    fn push(&mut self, at_ms: u64, item: Item) -> u64 {
        self.last_ms = self.last_ms.max(at_ms);
        self.inbox.push_back((self.last_ms, item));
        self.last_ms
    }

    /// What has not arrived will not.
    fn forget_what_comes(&mut self, now_ms: u64) {
        while self.inbox.back().is_some_and(|(at_ms, item)| *at_ms > now_ms && matches!(item, Item::Frame(_))) {
            self.inbox.pop_back();
        }
        self.last_ms = self.inbox.back().map_or(now_ms, |(at_ms, _)| *at_ms);
    }

    /// From some frame on, nothing arrives.
    fn lose_some(&mut self, now_ms: u64, random: &mut Random) {
        let arrived = self.inbox.iter().take_while(|(at_ms, _)| *at_ms <= now_ms).count();
        let coming = self.inbox.len() - arrived;
        let kept = arrived + random.place(coming + 1);
        while self.inbox.len() > kept && self.inbox.back().is_some_and(|(_, item)| matches!(item, Item::Frame(_))) {
            self.inbox.pop_back();
        }
        self.last_ms = self.inbox.back().map_or(now_ms, |(at_ms, _)| *at_ms);
    }

    fn down(&mut self, at_ms: u64) {
        self.push(at_ms, Item::Down);
    }
}
