//! Byte streams between a client and the server, one in each direction. Bytes arrive in order,
//! late, in arbitrary portions. A cut loses the bytes in flight from some byte on, and each side
//! notices it at its own time.

use std::collections::VecDeque;

use crate::random::Random;

/// Identifies a link.
pub type LinkId = usize;

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes that have arrived.
    Bytes(Vec<u8>),
    /// Nothing has arrived.
    Nothing,
    /// The stream has ended: nothing more will arrive.
    End,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Portions in flight, each with its arrival time.
    portions: VecDeque<(u64, Vec<u8>)>,
    len: usize,
    last_arrival_ms: u64,
    /// Time at which the reader learns that the stream has ended; nothing more can be written then.
    ended_ms: Option<u64>,
}

impl Pipe {
    /// Writes as many bytes as fit into `window_len`, and returns their number.
    pub fn write(&mut self, bytes: &[u8], window_len: usize, arrival_ms: u64) -> usize {
        let count = bytes.len().min(window_len.saturating_sub(self.len));
        if count > 0 && self.ended_ms.is_none() {
            self.last_arrival_ms = self.last_arrival_ms.max(arrival_ms);
            self.portions.push_back((self.last_arrival_ms, bytes[..count].to_vec()));
            self.len += count;
        }
        count
    }

    /// Reads the bytes that have arrived, or the first part of them.
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

    /// Ends the stream in order, after the bytes in flight.
    pub fn end(&mut self, now_ms: u64) {
        let ended_ms = self.last_arrival_ms.max(now_ms);
        self.ended_ms = Some(self.ended_ms.map_or(ended_ms, |before| before.min(ended_ms)));
    }

    /// Breaks the stream: the bytes in flight are lost from some byte on, and the reader learns of
    /// it later.
    pub fn cut(&mut self, learned_ms: u64, random: &mut Random) {
        let kept = random.place(self.portions.len() + 1);
        self.portions.truncate(kept);
        if let Some((_, portion)) = self.portions.back_mut() {
            portion.truncate(1 + random.place(portion.len()));
        }
        self.len = self.portions.iter().map(|(_, portion)| portion.len()).sum();
        self.end(learned_ms);
    }

    /// Returns the time at which there is something to read, or at which the reader learns of the
    /// end.
    pub fn due_ms(&self) -> Option<u64> {
        self.portions.front().map(|(arrival_ms, _)| *arrival_ms).or(self.ended_ms)
    }

    /// Returns whether the writer or the network has ended the stream.
    pub fn has_ended(&self) -> bool {
        self.ended_ms.is_some()
    }
}

/// Both directions of a link.
#[derive(Debug, Default)]
pub struct Link {
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
}

/// All links that ever existed, and the network's parameters.
#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
    window_len: usize,
    delay_ms_max: u64,
}

impl Network {
    /// Creates a network without links.
    pub fn new(window_len: u64, delay_ms_max: u64) -> Network {
        Network { links: Vec::new(), window_len: window_len as usize, delay_ms_max }
    }

    /// Opens a new link.
    pub fn open(&mut self) -> LinkId {
        self.links.push(Link::default());
        self.links.len() - 1
    }

    /// Returns the link with this id.
    pub fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id]
    }

    /// Writes to the client as many bytes as the stream accepts, and removes them from the front of
    /// `bytes`.
    pub fn write_down(&mut self, id: LinkId, bytes: &mut Vec<u8>, now_ms: u64, random: &mut Random) {
        let (window_len, arrival_ms) = (self.window_len, now_ms + random.within(0, self.delay_ms_max));
        let count = self.links[id].down.write(bytes, window_len, arrival_ms);
        bytes.drain(..count);
    }

    /// Writes to the server as many bytes as the stream accepts, and removes them from the front of
    /// `bytes`.
    pub fn write_up(&mut self, id: LinkId, bytes: &mut Vec<u8>, now_ms: u64, random: &mut Random) {
        let (window_len, arrival_ms) = (self.window_len, now_ms + random.within(0, self.delay_ms_max));
        let count = self.links[id].up.write(bytes, window_len, arrival_ms);
        bytes.drain(..count);
    }

    /// Breaks a link. Each side may notice much later.
    pub fn cut(&mut self, id: LinkId, now_ms: u64, random: &mut Random) {
        let late = |random: &mut Random| if random.once_in(3) { random.within(0, 3_000) } else { 0 };
        let (up_ms, down_ms) = (now_ms + late(random), now_ms + late(random));
        let link = &mut self.links[id];
        link.up.cut(up_ms, random);
        link.down.cut(down_ms, random);
    }
}
