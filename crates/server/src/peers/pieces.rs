//! Splits frames into pieces for the wire, and reassembles them. Pure.
//!
//! A long frame is sent in several pieces, and an urgent frame between two of them: a heartbeat
//! waits for one piece, not for a whole frame that takes seconds. A piece is a head (u32) and its
//! bytes. The low 30 bits of the head are their number; [`MORE`] says that the frame continues in
//! the next piece that is not urgent, [`URGENT`] that the piece is a whole frame of its own.
//!
//! Invariant: the frames of one lane arrive whole, in order, and none twice. An urgent frame
//! arrives before every frame pushed after it, and possibly before some that were pushed earlier.

use super::FRAME_LEN_MAX;

/// Maximum length of a piece, bytes. An urgent frame is one piece.
pub(super) const PIECE_LEN_MAX: usize = 64 << 10;
/// Length of a piece's head, bytes.
const HEAD_LEN: usize = 4;
/// The frame continues in the next piece.
const MORE: u32 = 1 << 31;
/// The piece is a frame of its own, regardless of any frame in progress.
const URGENT: u32 = 1 << 30;
const LEN_MASK: u32 = URGENT - 1;
/// Length of the input buffer, several pieces.
const INPUT_LEN: usize = 256 << 10;
/// Bytes of an empty buffer's capacity that are kept for reuse.
const BUFFER_KEPT: usize = 4 << 20;

/// Received bytes.
#[derive(Debug)]
pub(super) struct Input {
    buffer: Box<[u8]>,
    /// `start..end` of the buffer is not processed yet.
    start: usize,
    end: usize,
    /// Pieces received of a frame that is not complete.
    begun: Vec<u8>,
}

impl Input {
    pub(super) fn new() -> Input {
        Input { buffer: vec![0; INPUT_LEN].into(), start: 0, end: 0, begun: Vec::new() }
    }

    /// Returns the space for further input. It is never empty, since the buffer holds more than one
    /// piece.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Notes that `len` bytes were received.
    pub(super) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Passes on every whole frame. *Errors*: the bytes are not valid pieces.
    pub(super) fn split(&mut self, frame: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        while let Some((head, rest)) = self.buffer[self.start..self.end].split_first_chunk::<HEAD_LEN>() {
            let head = u32::from_be_bytes(*head);
            let (flags, len) = (head & !LEN_MASK, (head & LEN_MASK) as usize);
            check(flags, len, self.begun.len())?;
            let Some(piece) = rest.get(..len) else { break };
            match flags {
                MORE => self.begun.extend_from_slice(piece),
                URGENT => frame(piece),
                _ if self.begun.is_empty() => frame(piece),
                _ => {
                    self.begun.extend_from_slice(piece);
                    frame(&self.begun);
                    self.begun.clear();
                    self.begun.shrink_to(BUFFER_KEPT);
                }
            }
            self.start += HEAD_LEN + len;
        }
        Ok(())
    }
}

/// Checks a head found `begun` bytes into a frame.
fn check(flags: u32, len: usize, begun: usize) -> Result<(), String> {
    match flags {
        _ if len > PIECE_LEN_MAX => Err(format!("a piece of {len} bytes; the limit is {PIECE_LEN_MAX}")),
        URGENT => Ok(()),
        0 | MORE if begun + len > FRAME_LEN_MAX => {
            Err(format!("a frame of more than {begun} bytes; the limit is {FRAME_LEN_MAX}"))
        }
        0 | MORE => Ok(()),
        _ => Err("a piece that is urgent and has others behind it".to_owned()),
    }
}

/// Bytes to send, in two lanes.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Pieces of frames, in order.
    bulk: Vec<u8>,
    /// Bytes of `bulk` already sent.
    sent: usize,
    /// Unsent bytes of the current piece of `bulk`, which nothing interrupts.
    left: usize,
    /// Urgent frames. They are sent between two pieces of `bulk` and are not interrupted.
    urgent: Vec<u8>,
    /// Bytes of `urgent` already sent.
    urgent_sent: usize,
}

impl Output {
    /// Returns the number of unsent bytes.
    pub(super) fn len(&self) -> usize {
        self.bulk.len() - self.sent + self.urgent.len() - self.urgent_sent
    }

    /// Adds a frame, split into pieces.
    pub(super) fn push(&mut self, frame: &[u8]) {
        let mut rest = frame;
        while let Some((piece, behind)) = rest.split_at_checked(PIECE_LEN_MAX).filter(|(_, behind)| !behind.is_empty())
        {
            put(MORE, piece, &mut self.bulk);
            rest = behind;
        }
        put(0, rest, &mut self.bulk);
    }

    /// Adds a frame ahead of everything whose sending has not begun. A frame too long for one piece
    /// is added at the end.
    pub(super) fn push_urgent(&mut self, frame: &[u8]) {
        match frame.len() > PIECE_LEN_MAX {
            true => self.push(frame),
            false => put(URGENT, frame, &mut self.urgent),
        }
    }

    /// Returns the bytes to send next.
    pub(super) fn next(&self) -> &[u8] {
        let bulk = &self.bulk[self.sent..];
        match self.left {
            _ if self.urgent.is_empty() => bulk,
            0 => &self.urgent[self.urgent_sent..],
            left => &bulk[..left],
        }
    }

    /// Notes that the first `len` bytes of [`Output::next`] were sent. Nothing may be pushed
    /// between the two calls.
    pub(super) fn sent(&mut self, len: usize) {
        if self.left > 0 || self.urgent.is_empty() {
            return self.sent_bulk(len);
        }
        self.urgent_sent += len;
        if self.urgent_sent == self.urgent.len() {
            self.urgent.clear();
            self.urgent_sent = 0;
        }
    }

    fn sent_bulk(&mut self, mut len: usize) {
        while len > 0 {
            if self.left == 0 {
                self.left = HEAD_LEN + piece_len(&self.bulk[self.sent..]);
            }
            let step = len.min(self.left);
            self.sent += step;
            self.left -= step;
            len -= step;
        }
        if self.sent == self.bulk.len() {
            self.bulk.clear();
            self.bulk.shrink_to(BUFFER_KEPT);
            self.sent = 0;
        } else if self.sent > BUFFER_KEPT && self.sent > self.bulk.len() / 2 {
            self.bulk.drain(..self.sent);
            self.sent = 0;
        }
    }
}

fn put(flags: u32, piece: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(piece.len()).expect("a piece is short");
    out.extend_from_slice(&(flags | len).to_be_bytes());
    out.extend_from_slice(piece);
}

/// Returns the length of a piece written by `put`.
fn piece_len(bytes: &[u8]) -> usize {
    let head = bytes.first_chunk::<HEAD_LEN>().expect("pieces are pushed whole");
    (u32::from_be_bytes(*head) & LEN_MASK) as usize
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        Urgent(usize),
        /// Moves up to this many bytes from output to input.
        Move(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let len = || prop_oneof![0usize..100, Just(PIECE_LEN_MAX), Just(PIECE_LEN_MAX + 1), 0usize..(200 << 10)];
        prop_oneof![
            len().prop_map(Act::Push),
            (0usize..200).prop_map(Act::Urgent),
            prop_oneof![1usize..20, 1usize..(100 << 10)].prop_map(Act::Move),
        ]
    }

    /// Moves up to `len` bytes and returns the frames completed by them.
    fn pass(output: &mut Output, input: &mut Input, mut len: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while len > 0 && output.len() > 0 {
            let room = input.room();
            let count = output.next().len().min(len).min(room.len());
            room[..count].copy_from_slice(&output.next()[..count]);
            input.filled(count);
            output.sent(count);
            input.split(&mut |frame| frames.push(frame.to_vec())).unwrap();
            len -= count;
        }
        frames
    }

    /// Returns a frame that begins with its lane and its number in that lane.
    fn frame(lane: u8, number: u8, len: usize) -> Vec<u8> {
        [vec![lane, number], vec![number ^ lane; len]].concat()
    }

    proptest! {
        #[test]
        fn each_lane_arrives_whole_and_in_order(acts in vec(act(), 1..60)) {
            let (mut output, mut input) = (Output::default(), Input::new());
            let (mut pushed, mut arrived) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            // For each bulk frame in flight, the number of urgent frames that must arrive before
            // it.
            let mut behind = Vec::new();
            let mut take = |frames: Vec<Vec<u8>>, behind: &[usize]| {
                for frame in frames {
                    let lane = usize::from(frame[0]);
                    let enough = lane == 1 || arrived[1].len() >= behind[arrived[0].len()];
                    arrived[lane].push(frame);
                    prop_assert!(enough, "an urgent frame comes later than one that was pushed behind it");
                }
                Ok(())
            };
            for act in acts {
                match act {
                    Act::Push(len) => {
                        let frame = frame(0, pushed[0].len() as u8, len);
                        output.push(&frame);
                        behind.push(pushed[1].len());
                        pushed[0].push(frame);
                    }
                    Act::Urgent(len) => {
                        let frame = frame(1, pushed[1].len() as u8, len);
                        output.push_urgent(&frame);
                        pushed[1].push(frame);
                    }
                    Act::Move(len) => take(pass(&mut output, &mut input, len), &behind)?,
                }
            }
            take(pass(&mut output, &mut input, usize::MAX), &behind)?;
            prop_assert_eq!(output.len(), 0);
            prop_assert!(pushed == arrived);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..2000), head: u32) {
            for bytes in [bytes.clone(), [&head.to_be_bytes()[..], &bytes].concat()] {
                let mut input = Input::new();
                input.room()[..bytes.len()].copy_from_slice(&bytes);
                input.filled(bytes.len());
                let _ = input.split(&mut |_| {});
            }
        }
    }

    /// Only one piece of a long frame is sent before an urgent one, however much is waiting.
    #[test]
    fn an_urgent_frame_waits_for_one_piece() {
        let (mut output, mut input) = (Output::default(), Input::new());
        output.push(&vec![7; 40 << 20]);
        assert_eq!(pass(&mut output, &mut input, 1), Vec::<Vec<u8>>::new());
        output.push_urgent(b"alive");
        assert_eq!(pass(&mut output, &mut input, PIECE_LEN_MAX + 100), [b"alive"]);
        assert_eq!(pass(&mut output, &mut input, usize::MAX).len(), 1);
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        let refused = |head: u32| {
            let mut input = Input::new();
            input.room()[..HEAD_LEN].copy_from_slice(&head.to_be_bytes());
            input.filled(HEAD_LEN);
            input.split(&mut |_| {}).unwrap_err()
        };
        assert!(refused(PIECE_LEN_MAX as u32 + 1).starts_with("a piece of 65537 bytes"));
        assert!(refused(URGENT | LEN_MASK).starts_with("a piece of"));
        assert!(refused(MORE | URGENT | 1).starts_with("a piece that is urgent"));
        // Pieces without an end are not a frame, either.
        let (mut input, mut pieces) = (Input::new(), 0);
        let piece = [&(MORE | PIECE_LEN_MAX as u32).to_be_bytes()[..], &vec![0; PIECE_LEN_MAX]].concat();
        let problem = loop {
            input.room()[..piece.len()].copy_from_slice(&piece);
            input.filled(piece.len());
            match input.split(&mut |_| panic!("no frame ends")) {
                Ok(()) => pieces += 1,
                Err(problem) => break problem,
            }
        };
        assert!(problem.starts_with("a frame of more than") && pieces == FRAME_LEN_MAX / PIECE_LEN_MAX, "{problem}");
    }
}
