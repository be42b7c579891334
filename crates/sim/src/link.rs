//! A byte stream in each direction between a client and the server: bytes arrive in order, late, in any portions; a cut
//! loses what is on its way from some byte on, and each side notices at its own time.

use std::collections::VecDeque;

use crate::random::Random;

/// Names a link.
pub type LinkId = usize;

/// What a side finds when it reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Nothing has arrived.
    Nothing,
    /// Nothing will arrive any more.
    End,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Each with the time at which it arrives.
    portions: VecDeque<(u64, Vec<u8>)>,
    len: usize,
    last_arrival_ms: u64,
    /// Nothing more is written; when the reader learns it.
    ended_ms: Option<u64>,
}

impl Pipe {
    /// Writes what fits into `window_len` bytes; how many did.
    pub fn write(&mut self, bytes: &[u8], window_len: usize, arrival_ms: u64) -> usize {
        let count = bytes.len().min(window_len.saturating_sub(self.len));
        if count > 0 && self.ended_ms.is_none() {
            self.last_arrival_ms = self.last_arrival_ms.max(arrival_ms);
            self.portions.push_back((self.last_arrival_ms, bytes[..count].to_vec()));
            self.len += count;
        }
        count
    }

    /// Reads what has arrived, or the first part of it.
    pub fn read(&mut self, now_ms: u64, random: &mut Random) -> Read {
        let Some((arrival_ms, portion)) = self.portions.front_mut() else {
            return if self.ended_ms.is_some_and(|ended_ms| ended_ms <= now_ms) { Read::End } else { Read::Nothing };
        };
        if *arrival_ms > now_ms {
            return Read::Nothing;
        }
        let count = if random.once_in(3) { 1 + random.place(portion.len()) } else { portion.len() };
        let bytes: Vec<u8> = portion.drain(..count).collect();
        if portion.is_empty() {
            self.portions.pop_front();
        }
        self.len -= count;
        Read::Bytes(bytes)
    }

    /// The applier closes its side in order.
    pub fn end(&mut self, now_ms: u64) {
        let ended_ms = self.last_arrival_ms.max(now_ms);
        self.ended_ms = Some(self.ended_ms.map_or(ended_ms, |before| before.min(ended_ms)));
    }

    /// The stream breaks: what has not arrived is lost from some byte on, and the reader learns of it later.
    pub fn cut(&mut self, learned_ms: u64, random: &mut Random) {
        let kept = random.place(self.portions.len() + 1);
        self.portions.truncate(kept);
        if let Some((_, portion)) = self.portions.back_mut() {
            portion.truncate(1 + random.place(portion.len()));
        }
        self.len = self.portions.iter().map(|(_, portion)| portion.len()).sum();
        self.end(learned_ms);
    }

    /// When there is something to read, or the end is learned of.
    pub fn due_ms(&self) -> Option<u64> {
        self.portions.front().map(|(arrival_ms, _)| *arrival_ms).or(self.ended_ms)
    }

    /// Whether the applier or the network has ended it.
    pub fn has_ended(&self) -> bool {
        self.ended_ms.is_some()
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub struct Link {
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
}

/// All links there ever were, and how they behave.
#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
    window_len: usize,
    delay_ms_max: u64,
}

impl Network {
    /// Without links.
    pub fn new(window_len: u64, delay_ms_max: u64) -> Network {
        Network { links: Vec::new(), window_len: window_len as usize, delay_ms_max }
    }

    /// A new link.
    pub fn open(&mut self) -> LinkId {
        self.links.push(Link::default());
        self.links.len() - 1
    }

    /// The link of this name.
    pub fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id]
    }

    /// Writes to the client what the stream takes, off the front of `bytes`.
    pub fn write_down(&mut self, id: LinkId, bytes: &mut Vec<u8>, now_ms: u64, random: &mut Random) {
        let (window_len, arrival_ms) = (self.window_len, now_ms + random.within(0, self.delay_ms_max));
        let count = self.links[id].down.write(bytes, window_len, arrival_ms);
        bytes.drain(..count);
    }

    /// Writes to the server what the stream takes, off the front of `bytes`.
    pub fn write_up(&mut self, id: LinkId, bytes: &mut Vec<u8>, now_ms: u64, random: &mut Random) {
        let (window_len, arrival_ms) = (self.window_len, now_ms + random.within(0, self.delay_ms_max));
        let count = self.links[id].up.write(bytes, window_len, arrival_ms);
        bytes.drain(..count);
    }

    /// Breaks a link. Each side may learn of it much later.
    pub fn cut(&mut self, id: LinkId, now_ms: u64, random: &mut Random) {
        let late = |random: &mut Random| if random.once_in(3) { random.within(0, 3_000) } else { 0 };
        let (up_ms, down_ms) = (now_ms + late(random), now_ms + late(random));
        let link = &mut self.links[id];
        link.up.cut(up_ms, random);
        link.down.cut(down_ms, random);
    }
}
